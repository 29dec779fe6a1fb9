"""Words cut out of a batch of images: which, how large, and what is in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

from mmtextplug.craft.rectify import quad_band, word_band
from mmtextplug.craft.word_crops import (
    DIVISOR,
    WordCrop,
    buckets,
    cut_out,
    words_without_characters,
)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def sample(words: list[tuple], shape=(100, 200)) -> TextDetDataSample:
    """Each word: polygon, text, chars, ignored."""
    polygons, texts, chars, ignored = zip(*words) if words else ((), (), (), ())
    instances = InstanceData()
    instances.polygons = [np.ravel(p) for p in polygons]
    instances.texts = list(texts)
    instances.chars = list(chars)
    instances.char_confidence = np.zeros(len(words), np.float32)
    instances.ignored = torch.tensor(ignored, dtype=torch.bool)
    return TextDetDataSample(gt_instances=instances, metainfo=dict(img_shape=shape))


KNOWN = np.stack([box(0, 0, 5, 5)])


def test_only_words_without_characters_inside_the_image_cost_anything():
    first = sample(
        [
            (box(10, 10, 50, 20), "abcd", None, False),
            (box(60, 10, 90, 20), "abc", KNOWN, False),  # known
            (box(60, 30, 90, 40), "abc", None, True),  # ignored
            (box(60, 50, 90, 60), None, None, False),  # no text is known
        ]
    )
    second = sample([(box(60, 10, 90, 20), "abc", KNOWN, False)])
    third = sample([(box(10, 10, 50, 20), "a b", None, False)])
    crops, hopeless = words_without_characters([first, second, sample([]), third])
    assert hopeless == 0
    assert [(c.image, c.word, c.places) for c in crops] == [
        (0, 0, [True] * 4),
        (0, 3, None),
        (3, 0, [True, False, True]),
    ]
    np.testing.assert_allclose(crops[0].band.upper, [[10, 10], [50, 10]])


@pytest.mark.parametrize(
    ("polygon", "text"),
    [
        (box(10, 10, 10, 20), "ab"),
        (np.full((4, 2), np.nan, np.float32), "ab"),
        (box(10, 10, 50, 20), " \u200b"),
        (box(10, 10, 10, 10), "a"),
    ],
)
def test_what_cannot_be_labelled_is_counted(polygon, text):
    assert words_without_characters([sample([(polygon, text, None, False)])]) == ([], 1)


def test_a_line_read_from_right_to_left_has_its_places_from_left_to_right():
    words = sample([(box(10, 10, 90, 30), "שלום לך", None, False)])
    (crop,), _ = words_without_characters([words])
    assert crop.places == [True, True, False, True, True, True, True]
    words = sample([(box(160, 10, 240, 30), "שלום לך", None, False)])  # its right half is outside
    (crop,), _ = words_without_characters([words])
    assert crop.places == [True, True, False]


def test_a_standing_line_has_its_places_in_the_order_of_its_text_in_any_script():
    words = sample([(box(10, 0, 30, 90), "אב גדהו", None, False)])
    (crop,), _ = words_without_characters([words])
    assert crop.places == [True, True, False, True, True, True, True]


@pytest.mark.parametrize("shift", [(-120, 0), (240, 0), (0, -60), (0, 130)])
def test_words_outside_of_the_image_are_not_counted(shift):
    outside = sample([(box(-20, 10, 20, 30) + np.float32(shift), "ab", None, False)])
    assert words_without_characters([outside]) == ([], 0)


def test_of_a_cut_word_the_places_in_view_remain():
    # Places of 20 pixels from -50 on: the middles of the third to the sixth are at 0, 20, 40, 60.
    cut = sample([(box(-50, 10, 70, 30), "ab def", None, False)])
    (crop,), _ = words_without_characters([cut])
    assert crop.places == [False, True, True, True]
    np.testing.assert_allclose(crop.band.upper, [[-10, 10], [70, 10]], atol=1e-6)
    np.testing.assert_allclose(crop.band.lower, [[-10, 30], [70, 30]], atol=1e-6)
    # Nothing but the space, or less than half a place, is in view.
    for shift in (-115, 195):
        gone = sample([(box(shift, 10, shift + 120, 30), "abcdef", None, False)])
        assert words_without_characters([gone]) == ([], 1)
    # Without a text, places are as wide as the word is high.
    unknown = sample([(box(150, 10, 250, 30), None, None, False)])
    (crop,), _ = words_without_characters([unknown])
    assert crop.places is None
    np.testing.assert_allclose(crop.band.upper, [[150, 10], [190, 10]], atol=1e-6)


def test_a_curve_that_leaves_the_image_and_comes_back_is_left_out():
    turns = np.radians(np.linspace(170, 10, 9))
    ring = np.stack([np.cos(turns), -np.sin(turns)], 1)
    polygon = np.concatenate([[100, 70] + 90 * ring, [100, 70] + 60 * ring[::-1]])
    arch = sample([(polygon.astype(np.float32), "twelveletter", None, False)])
    assert words_without_characters([arch]) == ([], 1)


def test_a_sample_without_the_field_is_left_alone():
    plain = sample([])
    del plain.gt_instances.chars
    assert words_without_characters([plain]) == ([], 0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 900), st.sampled_from([20, 32, 48, 64])), max_size=40),
    st.integers(1, 200_000),
)
def test_buckets_hold_each_crop_once_with_little_padding(sizes, max_pixels):
    found = list(buckets(sizes, max_pixels))
    assert sorted(i for bucket in found for i in bucket) == list(range(len(sizes)))
    for bucket in found:
        widths = [sizes[i][0] for i in bucket]
        padded = -(-max(widths) // DIVISOR) * DIVISOR
        assert padded <= max(1.25 * min(widths), -(-min(widths) // DIVISOR) * DIVISOR)
        (height,) = {-(-sizes[i][1] // DIVISOR) * DIVISOR for i in bucket}
        assert len(bucket) == 1 or len(bucket) * padded * height <= max_pixels


def test_a_straight_crop_at_its_own_size_is_the_image_itself():
    images = torch.rand(2, 3, 64, 96)
    # Pixels 8 to 40 and 4 to 36: the outline runs half a pixel outside of their centres.
    band = quad_band(box(8, 4, 40, 36) - 0.5)
    crops = [WordCrop(1, 0, band, None), WordCrop(0, 0, band, None)]
    found = cut_out(images, crops, [(32, 32)] * 2)
    torch.testing.assert_close(found, images[[1, 0], :, 4:36, 8:40], rtol=1e-4, atol=1e-5)


def test_crops_of_several_sizes_are_padded_with_the_mean_colour():
    images = torch.rand(1, 3, 64, 128) + 1
    bands = [quad_band(box(0, 0, 40, 20) - 0.5), quad_band(box(0, 0, 100, 20) - 0.5)]
    crops = [WordCrop(0, i, band, None) for i, band in enumerate(bands)]
    found = cut_out(images, crops, [(40, 20), (100, 20)])
    assert found.shape == (2, 3, 32, 128)
    torch.testing.assert_close(found[0, :, :20, :40], images[0, :, :20, :40], rtol=1e-4, atol=1e-4)
    assert found[0, :, :20, :40].min() >= 0.9
    for crop, width in zip(found, (40, 100)):
        assert crop[:, 20:].abs().max() == 0
        assert crop[:, :, width:].abs().max() == 0


def test_outside_of_the_image_is_the_mean_colour():
    images = torch.ones(1, 3, 64, 64)
    crop = WordCrop(0, 0, quad_band(box(-32, 0, 32, 32) - 0.5), None)
    found = cut_out(images, [crop], [(64, 32)])
    assert found[..., :31].abs().max() == 0
    assert found[..., 33:].min() > 0.999


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_large_words_are_averaged_not_thinned(factor):
    # Stripes one pixel wide: taking every so-many-th pixel would see only one kind.
    images = torch.zeros(1, 1, 256, 512)
    images[..., ::2] = 1
    crop = WordCrop(0, 0, quad_band(box(0, 0, 512, 256) - 0.5), None)
    size = (512 // factor, 256 // factor)
    found = cut_out(images, [crop], [size])[..., : size[1], : size[0]]
    torch.testing.assert_close(found[..., 1:-1], torch.full_like(found[..., 1:-1], 0.5))


def test_a_curved_word_is_laid_straight():
    # A ring of radius 60 to 80 about (100, 100), its upper half, brightness = angle.
    y, x = np.mgrid[:128, :200]
    angle = np.degrees(np.arctan2(100 - y, x - 100))
    images = torch.tensor(angle[None, None], dtype=torch.float32)
    turns = np.radians(np.linspace(170, 10, 33))
    ring = np.stack([np.cos(turns), -np.sin(turns)], 1)
    polygon = np.concatenate([100 + 80 * ring, 100 + 60 * ring[::-1]]).astype(np.float32)
    band = word_band(polygon)
    width, height = band.size(32)
    assert width == pytest.approx(32 * np.radians(160) * 70 / 20, rel=0.01)
    found = cut_out(images, [WordCrop(0, 0, band, None)], [(width, height)])[0, 0, :32, :width]
    expected = 170 - 160 * (np.arange(width) + 0.5) / width
    np.testing.assert_allclose(found[8:24], np.broadcast_to(expected, (16, width)), atol=1.0)
