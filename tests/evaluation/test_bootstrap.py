"""The bootstrap: against exact distributions and a literal resampling."""

from __future__ import annotations

import numpy as np
import pytest

from mmtextplug.evaluation import bootstrap
from mmtextplug.evaluation.bootstrap import interval, rates_of, resample_counts
from mmtextplug.evaluation.hmean import Counts, rates


def test_rates_of_many_counts_at_once():
    counts = np.array([[[1, 2, 3], [0, 0, 0]], [[0, 0, 4], [0, 5, 0]]])
    many = rates_of(counts)
    for index in np.ndindex(2, 2):
        one = rates(Counts(*counts[index].tolist()))
        assert many[index] == pytest.approx([one["precision"], one["recall"], one["hmean"]])


def test_images_are_drawn_whole_and_alike_for_all_detectors():
    counts = np.array([[[1, 10, 100], [2, 20, 200]], [[3, 30, 300], [6, 60, 600]]])
    drawn = resample_counts(counts, samples=400, seed=3)
    assert drawn.shape == (400, 2, 3)
    # Two images: both, or one of them twice.
    assert {tuple(row) for row in drawn[:, 0].tolist()} == {
        (4, 40, 400),
        (2, 20, 200),
        (6, 60, 600),
    }
    np.testing.assert_array_equal(drawn[:, 1], 2 * drawn[:, 0])
    assert np.mean(drawn[:, 0, 0] == 4) == pytest.approx(0.5, abs=0.08)


def test_distribution_is_that_of_drawing_with_replacement():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 10, (30, 1, 3))
    drawn = resample_counts(counts, samples=4000)[:, 0, 0]
    literal = [counts[rng.integers(0, 30, 30), 0, 0].sum() for _ in range(4000)]
    assert drawn.mean() == pytest.approx(counts[:, 0, 0].sum(), rel=0.02)
    assert drawn.std() == pytest.approx(np.std(literal), rel=0.06)
    assert interval(drawn) == pytest.approx(interval(np.array(literal)), rel=0.05)


def test_seed_and_chunks(monkeypatch):
    counts = np.arange(30).reshape(10, 1, 3)
    whole = resample_counts(counts, samples=9, seed=1)
    np.testing.assert_array_equal(whole, resample_counts(counts, samples=9, seed=1))
    assert (whole != resample_counts(counts, samples=9, seed=2)).any()
    monkeypatch.setattr(bootstrap, "_CHUNK", 20)
    np.testing.assert_array_equal(whole, resample_counts(counts, samples=9, seed=1))


def test_interval():
    assert interval(np.arange(101), 0.9) == pytest.approx([5, 95])
    assert interval(np.zeros((5, 2))).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("images", "samples"), [(0, 5), (3, 0)])
def test_nothing_to_draw(images, samples):
    with pytest.raises(ValueError, match=f"{images} images, {samples} samples"):
        resample_counts(np.zeros((images, 3)), samples)
