"""What a word's page is made of: the watershed that split it, its crop, its labels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmtextplug.craft.char_split import Split, split_word
from mmtextplug.craft.rectify import word_band
from mmtextplug.craft.targets import WordLabels, draw_score_maps
from mmtextplug.craft.word_crops import WordCrop
from mmtextplug.craft.word_labeller import WordLabel
from mmtextplug.visualization import word_page
from mmtextplug.visualization.word_page import read_page

THRESHOLDS = dict(foreground=0.75, background=0.05)


def word_watershed(region, length, **thresholds):
    split = split_word(region, None if length is None else [True] * length, **thresholds)
    return word_page.word_watershed(region, split.threshold, thresholds["background"])


def peaks(*heights: float, height: int = 16, pitch: int = 20) -> np.ndarray:
    """A region score with a Gaussian of each height, left to right."""
    y, x = np.mgrid[:height, : pitch * len(heights)]
    far = [((x - (i + 0.5) * pitch + 0.5) ** 2, value) for i, value in enumerate(heights)]
    down = (y - (height - 1) / 2) ** 2
    return np.max([v * np.exp(-(d + down) / 50) for d, v in far], axis=0).astype(np.float32)


def test_basins_meet_in_the_middle_of_equal_peaks():
    shed = word_watershed(peaks(0.9, 0.9, 0.9), None, **THRESHOLDS)
    assert shed.threshold == 0.75
    assert shed.seeds.max() == 3
    middle = shed.basins[8]
    # Each peak is symmetric: 20 columns of 60 for each.
    assert [int((middle == label).sum()) for label in (1, 2, 3)] == [20, 20, 20]
    assert (np.diff(middle) >= 0).all()


@pytest.mark.parametrize(("length", "count"), [(None, 1), (1, 1), (2, 2), (7, 1)])
def test_a_known_length_moves_the_threshold(length, count):
    region = peaks(0.9, 0.6)
    shed = word_watershed(region, length, **THRESHOLDS)
    assert shed.seeds.max() == count
    if count == 1:
        assert shed.threshold == 0.75
    else:
        assert 0.55 < shed.threshold < 0.6  # just below the lower peak
    np.testing.assert_array_equal(shed.seeds > 0, region > shed.threshold)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.one_of(st.none(), st.integers(1, 6)))
def test_it_is_the_watershed_of_the_splitter(seed, length):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20), rng.integers(1, 60)
    region = cv2.resize(rng.random((4, 9), np.float32), (int(width), int(height)))
    shed = word_watershed(region, length, **THRESHOLDS)
    np.testing.assert_array_equal(shed.seeds > 0, region > shed.threshold)
    assert ((shed.basins == shed.seeds) | (shed.seeds == 0)).all()
    assert (region[shed.basins > 0] > 0.05).all()
    split = split_word(region, None if length is None else [True] * length, **THRESHOLDS)
    if not split.equal:
        assert len(split.quads) == shed.seeds.max(initial=0)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (3, 1)])
def test_nothing_to_split(shape):
    shed = word_watershed(np.full(shape, np.nan), 2, **THRESHOLDS)
    assert shed.basins.shape == shape
    assert not shed.basins.any()
    assert shed.threshold == 0.75


def word(
    split_equal: bool, places: list[bool] | None, threshold: float
) -> tuple[WordLabel, InstanceData]:
    box = np.array([[10, 20], [90, 20], [90, 52], [10, 52]], np.float32) - 0.5
    region = peaks(0.9, 0.6)
    halves = [[[x, -0.5], [x + 20, -0.5], [x + 20, 15.5], [x, 15.5]] for x in (-0.5, 19.5)]
    split = Split(np.float32(halves), 0.5, 1, split_equal, threshold)
    band = word_band(box)
    chars = band.to_image(split.quads, (40, 16)).astype(np.float32)
    words = InstanceData(polygons=[box[[0, 1]], box.ravel()], texts=["x", "ab"])
    return WordLabel(WordCrop(0, 1, band, places), region, split, chars), words


@pytest.mark.parametrize(
    ("equal", "places", "threshold", "seeds"),
    [(False, [True, True], 0.55, 2), (True, [True, True], 0.75, 1), (False, None, 0.75, 1)],
)
def test_page_of_a_straight_word(equal, places, threshold, seeds):
    image = np.random.default_rng(0).integers(0, 256, (64, 100, 3), np.uint8)
    label, words = word(equal, places, threshold)
    outline = words.polygons[1].reshape(-1, 2)
    labels = WordLabels([outline], [label.chars], np.ones(1, np.float32))
    maps = draw_score_maps([labels], (64, 100))
    page = read_page(image, words, maps, label, 0.5, size=(80, 32), background=0.05)
    assert (page.number, page.text, page.confidence) == (1, "ab", 0.5)
    # A crop of the word's own size is a part of the image.
    np.testing.assert_allclose(page.crop.astype(int), image[20:52, 10:90].astype(int), atol=1)
    np.testing.assert_allclose(page.targets[0], maps.region[0, 20:52, 10:90], atol=1e-3)
    np.testing.assert_allclose(page.targets[1], maps.affinity[0, 20:52, 10:90], atol=1e-3)
    np.testing.assert_array_equal(page.polygon, outline)
    # With the threshold that the word was split with.
    assert page.watershed.seeds.max() == seeds
