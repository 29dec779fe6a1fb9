"""Summits of score maps and single characters that stand alone: against slow literal versions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.craft.flood import PROMINENCE, summits
from mmtextplug.craft.grouping import MIN_AREA, group_words
from mmtextplug.craft.isolated import stands_alone


def literal_summits(score: np.ndarray, prominence: float, floor: float) -> set[tuple[int, int]]:
    """Take away pixel after pixel from below: a summit's area has long held nothing higher."""
    pixels = [tuple(p) for p in np.argwhere(score > floor).tolist()]
    falling = sorted(pixels, key=lambda p: (-score[p], p))
    found = set()
    for place, summit in enumerate(falling):
        higher, saddle = set(falling[:place]), None
        for last in range(place, len(falling)):
            area = np.zeros(score.shape, np.uint8)
            area[tuple(np.transpose(falling[: last + 1]))] = 1
            labels = cv2.connectedComponents(area, connectivity=8)[1]
            if any(labels[p] == labels[summit] for p in higher):
                saddle = last
                break
        if saddle is None or (
            saddle > place
            and score[summit] - score[falling[saddle]] >= np.float64(prominence) * score[summit]
        ):
            found.add(summit)
    return found


def rough_map(rng: np.random.Generator, height: int, width: int, levels: int) -> np.ndarray:
    """A smooth random map in [0, 1], of few levels: with ties and plateaus."""
    noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), rng.uniform(0.4, 1.5))
    noise = (noise - noise.min()) / max(float(np.ptp(noise)), 1e-6)
    return (np.rint(noise * levels) / levels).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 8), st.integers(1, 9)),
    levels=st.sampled_from([4, 64, 2**14]),
    # No multiple of a step between levels: sums of floats do not decide.
    prominence=st.sampled_from([0.013, 0.093, 0.31, 0.83]),
    floor=st.sampled_from([0.0, 0.3]),
)
def test_summits_are_the_literal_ones(seed, size, levels, prominence, floor):
    score = rough_map(np.random.default_rng(seed), *size, levels)
    labels = summits(score, prominence, floor)
    expected = literal_summits(score, prominence, floor)
    assert {tuple(p) for p in np.argwhere(labels).tolist()} == expected
    assert sorted(labels[labels > 0].tolist()) == list(range(1, len(expected) + 1))


def test_two_hills_are_two_summits_up_to_the_depth_between_them():
    score = np.float32([[0.5, 1.0, 0.7, 0.8, 0.2]])
    # 0.8 stands 0.1 above the saddle to 1.0: an eighth of its height.
    assert summits(score, 0.12, 0.1).tolist() == [[0, 2, 0, 1, 0]]
    assert summits(score, 0.13, 0.1).tolist() == [[0, 1, 0, 0, 0]]
    # Nothing joins them above the floor.
    assert np.flatnonzero(summits(score, 0.13, 0.75)).tolist() == [1, 3]
    assert summits(np.zeros((0, 3), np.float32), 0.1, 0.0).shape == (0, 3)
    assert summits(np.zeros((2, 2), np.float32), 0.1, 0.0).max() == 0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 16), st.integers(1, 18)),
    linked=st.floats(0, 0.3),
    thresholds=st.sampled_from([(0.5, 0.8), (0.4, 0.7), (0.0, 0.9), (0.7, 0.7)]),
)
def test_weak_words_are_those_that_literally_stand_alone(seed, size, linked, thresholds):
    rng = np.random.default_rng(seed)
    region, affinity = rough_map(rng, *size, 64), rough_map(rng, *size, 64) * linked * 3
    isolated, text_threshold = thresholds
    low, link = 0.4, 0.5
    expected = []
    mask = (region > low) | (affinity > link)
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    for k in range(1, count):
        own = labels == k
        peak = region[own & (region > low)].max(initial=-1)
        if own.sum() < MIN_AREA or peak < np.float32(isolated):
            continue
        alone = not (own & (affinity > link)).any()
        alone = alone and len(literal_summits(np.where(own, region, 0), PROMINENCE, 0.0)) == 1
        expected.append(bool(peak >= np.float32(text_threshold)) or alone)
    settings_ = dict(link_threshold=link, low_text=low)
    every = group_words(region, affinity, text_threshold=isolated, **settings_)
    found = group_words(
        region, affinity, text_threshold=text_threshold, isolated_threshold=isolated, **settings_
    )
    np.testing.assert_array_equal(found.boxes, every.boxes[np.array(expected, bool)])
    np.testing.assert_array_equal(found.scores, every.scores[np.array(expected, bool)])


def page(*blobs: tuple[float, float, float]) -> np.ndarray:
    """Gaussians of sigma 4 on a (40, 100) map: centre (x, y) and height."""
    y, x = np.mgrid[:40, :100]
    hills = [h * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 32) for cx, cy, h in blobs]
    return np.max(hills, axis=0).astype(np.float32)


def test_a_digit_alone_needs_less_than_two_characters_do():
    region = page((15, 20, 0.6), (55, 20, 0.6), (65, 20, 0.6))
    link = np.zeros_like(region)
    assert len(group_words(region, link, low_text=0.2)) == 0
    words = group_words(region, link, low_text=0.2, isolated_threshold=0.5)
    assert len(words) == 1
    np.testing.assert_allclose(words.boxes[0].mean(0), [15, 20], atol=0.6)
    assert words.scores[0] == pytest.approx(0.6)
    # The digit has a neighbour as soon as a link pixel touches it.
    link[20, 16] = 0.5
    assert len(group_words(region, link, low_text=0.2, isolated_threshold=0.5)) == 0
    assert len(group_words(region, 0 * link, low_text=0.2, isolated_threshold=0.61)) == 0


def test_without_it_nothing_is_asked(monkeypatch):
    monkeypatch.setattr("mmtextplug.craft.grouping.stands_alone", pytest.fail)
    region = page((15, 20, 0.6), (60, 20, 0.9))
    assert len(group_words(region, 0 * region)) == 1
    # Nor of words that are strong enough, or too weak.
    assert len(group_words(region, 0 * region, isolated_threshold=0.65)) == 1


def test_nothing_stands_alone_in_an_empty_window():
    none = np.zeros((0, 0), bool)
    assert stands_alone(none, np.zeros((0, 0), np.float32), none) is False


@pytest.mark.parametrize("value", [-0.1, 0.71, float("nan"), float("inf"), "0.5", [0.5]])
def test_values_out_of_range_are_named(value):
    zeros = np.zeros((9, 9))
    with pytest.raises(ValueError, match=r"isolated_threshold=.* from 0 to text_threshold=0\.7"):
        group_words(zeros, zeros, isolated_threshold=value)
    for fine in (0, 0.7, np.float32(0.5), None):
        assert len(group_words(zeros, zeros, isolated_threshold=fine)) == 0
