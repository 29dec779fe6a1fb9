"""Characters of the words of a page: against where Gaussians were drawn."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.craft.grouping import group_words
from mmtextplug.craft.page_chars import page_characters, word_characters


def blobs(
    size: tuple[int, int], centres: list[tuple[float, float]], sigma: float | tuple[float, float]
) -> np.ndarray:
    """Gaussians of height 1 at (x, y), merged by maximum."""
    sx, sy = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    y, x = np.mgrid[: size[0], : size[1]]
    maps = [np.exp(-(((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2) / 2) for cx, cy in centres]
    return np.max(maps, axis=0).astype(np.float32)


# --- a word on a page ---------------------------------------------------------------------------


def line_of_characters(angle: float, count: int = 4, step: float = 16, sigma: float = 5):
    """Characters on a line at ``angle`` degrees: map, their centres, the box, the turn."""
    turn = np.array(
        [
            [math.cos(math.radians(angle)), math.sin(math.radians(angle))],
            [-math.sin(math.radians(angle)), math.cos(math.radians(angle))],
        ]
    )
    along = (np.arange(count) - (count - 1) / 2) * step
    centre = np.array([80.0, 70.0])
    centres = centre + np.stack([along, 0 * along], 1) @ turn
    half = np.array([count * step / 2, 8.0])
    box = centre + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ turn
    return blobs((140, 160), [tuple(c) for c in centres], sigma), centres, box, turn


@pytest.mark.parametrize("angle", [0, 20, -37, 45])
def test_characters_of_a_rotated_word(angle):
    region, centres, box, turn = line_of_characters(angle)
    chars = word_characters(region, box)
    assert chars.shape == (4, 4, 2)
    assert chars.dtype == np.float32
    np.testing.assert_allclose(chars.mean(1), centres, atol=1.0)
    sides = np.linalg.norm(np.roll(chars, -1, axis=1) - chars, axis=2)
    np.testing.assert_allclose(sides[:, [1, 3]], 16, atol=1e-3)  # as high as the word
    # Between two characters lie 16 pixels; 0.2 is 8.97 from a centre, at most 8 are left.
    np.testing.assert_allclose(sides[:, [0, 2]], 16, atol=1.0)
    np.testing.assert_allclose((chars[:, 1] - chars[:, 0]) @ turn[1], 0, atol=1e-3)
    np.testing.assert_allclose(chars[0, 0], box[0], atol=1.0)


def test_a_standing_word_is_read_downwards():
    region, centres, _, _ = line_of_characters(90)
    assert (np.diff(centres[:, 1]) > 0).all()
    box = np.array([[72, 38], [88, 38], [88, 102], [72, 102]], np.float32)
    chars = word_characters(region, box)
    np.testing.assert_allclose(chars.mean(1), centres, atol=1.0)
    # Reading starts at the top; the first corner is where the text's own top left would be.
    np.testing.assert_allclose(chars[0, 0], [88, 38], atol=1.0)
    np.testing.assert_allclose(chars[0, 3], [72, 38], atol=1.0)


def test_small_characters_are_found_between_pixels():
    # 5 pixels a character: enlarged four times before the watershed.
    region, centres, _, _ = line_of_characters(0, count=5, step=5, sigma=1.6)
    box = np.array([[67.5, 66.5], [92.5, 66.5], [92.5, 73.5], [67.5, 73.5]], np.float32)
    chars = word_characters(region, box)
    np.testing.assert_allclose(chars.mean(1), centres, atol=0.35)


def test_characters_follow_a_curved_word():
    # Eleven characters on an arc of radius 100 about (130, 150), from -50 to 50 degrees.
    angles = np.radians(np.linspace(-50, 50, 11))
    centres = np.stack([130 + 100 * np.sin(angles), 150 - 100 * np.cos(angles)], 1)
    region = blobs((150, 260), [tuple(c) for c in centres], 6.5)
    words = group_words(region, region, link_threshold=0.3, polygons=True)
    assert len(words) == 1
    assert len(words.polygons[0]) == 14
    chars = word_characters(region, words.polygons[0])
    assert len(chars) == 11
    np.testing.assert_allclose(chars.mean(1), centres, atol=4.0)
    tops = chars[:, :2].mean(1) - centres
    np.testing.assert_allclose(  # upwards is away from the arc's centre
        tops / np.linalg.norm(tops, axis=1, keepdims=True),
        np.stack([np.sin(angles), -np.cos(angles)], 1),
        atol=0.25,
    )
    # The same word lying on its side, read downwards.
    turned = word_characters(
        np.ascontiguousarray(np.rot90(region, -1)),
        group_words(
            np.rot90(region, -1), np.rot90(region, -1), link_threshold=0.3, polygons=True
        ).polygons[0],
    )
    assert len(turned) == 11
    expected = np.stack([149 - centres[:, 1], centres[:, 0]], 1)
    np.testing.assert_allclose(turned.mean(1), expected, atol=4.0)


def test_any_other_polygon_counts_as_its_rectangle():
    region, centres, _, _ = line_of_characters(0)
    hexagon = np.array([[48, 70], [60, 62], [100, 62], [112, 70], [100, 78], [60, 78]], np.float32)
    np.testing.assert_allclose(word_characters(region, hexagon).mean(1), centres, atol=1.0)


@pytest.mark.parametrize(
    "outline",
    [
        np.full((4, 2), 5.0),
        np.array([[5, 5], [25, 5], [25, 5], [5, 5]], float),
        np.array([[5, 5], [25, 5]], float),
        np.array([[5, 5], [25, np.nan], [25, 9], [5, 9]], float),
        np.array([[500, 500], [520, 500], [520, 510], [500, 510]], float),
    ],
)
def test_a_degenerate_or_distant_outline_has_no_characters(outline):
    assert word_characters(np.ones((40, 40), np.float32), outline).shape == (0, 4, 2)


def test_faint_words_have_characters_too():
    region, centres, box, _ = line_of_characters(0)
    for height in (0.9, 0.6, 0.2):
        chars = word_characters((height * region).astype(np.float32), box)
        np.testing.assert_allclose(chars.mean(1), centres, atol=1.0)
    assert word_characters(np.zeros_like(region), box).shape == (0, 4, 2)
    assert word_characters(-region, box).shape == (0, 4, 2)


@pytest.mark.parametrize("angle", [0, 37, 90])
def test_scores_beside_the_characters_are_moved_back(angle):
    region, centres, box, turn = line_of_characters(angle)
    # As a network would draw characters whose boxes are 16 wide, an eighth of that to the right.
    seen = np.roll(region, 2, axis=1)
    outline = np.roll(box, -3, axis=0) if angle == 90 else box
    plain, moved = word_characters(seen, outline), word_characters(seen, outline, char_shift=1 / 8)
    along = (plain.mean(1) - moved.mean(1)) @ turn[0]
    # Inner edges move by two pixels along the text's share of the horizontal; its ends stay.
    np.testing.assert_allclose(along[1:3], 2 * turn[0, 0], atol=0.2)
    ends = (plain - moved) @ turn[0]
    np.testing.assert_allclose([ends[0, 0], ends[0, 3], ends[3, 1], ends[3, 2]], 0, atol=1e-3)
    if angle == 0:
        edges = moved[:, [0, 1], 0] - centres[:, :1]
        np.testing.assert_allclose(edges, [[-8, 8]] * 4, atol=0.8)


def test_characters_within_the_word_move_as_a_whole():
    # No neighbour is near, and both ends of the word are far.
    region = blobs((40, 160), [(50, 20), (110, 20)], 5)
    box = np.array([[10, 12], [150, 12], [150, 28], [10, 28]], np.float32)
    plain, moved = word_characters(region, box), word_characters(region, box, char_shift=-0.1)
    np.testing.assert_allclose(moved[..., 0] - plain[..., 0], 0.1 * 10 / 0.6, atol=0.2)
    np.testing.assert_array_equal(moved[..., 1], plain[..., 1])


@pytest.mark.parametrize("value", [0.5, -0.5, float("nan"), "0.1", None])
def test_shifts_out_of_range_are_named(value):
    with pytest.raises(ValueError, match=r"char_shift=.* must be a number between"):
        page_characters(np.zeros((9, 9), np.float32), [], char_shift=value)


def test_summits_count_by_their_words_highest_one():
    # Heights 1, 0.72, 0.66 and 1: the third is below 0.7 of the word's level.
    y, x = np.mgrid[:40, :100]
    hills = [
        h * np.exp(-(((x - cx) / 5) ** 2 + ((y - 20) / 5) ** 2) / 2)
        for cx, h in [(18, 1.0), (39, 0.72), (60, 0.66), (81, 1.0)]
    ]
    box = np.array([[10, 12], [89, 12], [89, 28], [10, 28]], np.float32)
    region = np.max(hills, axis=0).astype(np.float32)
    found = word_characters(region, box)
    np.testing.assert_allclose(found.mean(1)[:, 0], [18, 39, 81], atol=1)
    # It keeps its place all the same: the last one begins where its own Gaussian has its box.
    np.testing.assert_allclose(found[2, [0, 3], 0], 81 - 5 / 0.6, atol=0.5)
    # Where no other is higher than 0.9, it is above it.
    weaker = np.maximum(np.minimum(hills[0], 0.9), np.max(hills[1:3], axis=0)).astype(np.float32)
    found = word_characters(weaker, np.array([[10, 12], [68, 12], [68, 28], [10, 28]], np.float32))
    np.testing.assert_allclose(found.mean(1)[:, 0], [18, 39, 60], atol=1)


def test_two_characters_above_the_threshold_together_are_two():
    # Between them the score falls to 0.8, and both are above the threshold of the hearts together.
    region = blobs((40, 80), [(30, 20), (48, 20)], 5)
    bridge = 0.8 * np.exp(-(((np.mgrid[:40, :80][0] - 20) / 5) ** 2) / 2)
    bridge[:, :30] = bridge[:, 49:] = 0
    region = np.maximum(region, bridge).astype(np.float32)
    box = np.array([[22, 12], [56, 12], [56, 28], [22, 28]], np.float32)
    np.testing.assert_allclose(word_characters(region, box).mean(1)[:, 0], [30, 48], atol=1.5)
    # A dent of less than a tenth is none between characters.
    shallow = np.maximum(region, 0.95 * (bridge > 0.5)).astype(np.float32)
    assert len(word_characters(shallow, box)) == 1


def test_characters_of_a_small_word_are_none_of_the_large_word_around_it():
    large = blobs((80, 120), [(30, 30), (85, 30)], (16, 17))
    small = blobs((80, 120), [(60 + 9 * i, 62) for i in range(4)], 3)
    region = np.maximum(large, small)
    outlines = [
        np.array([[5, 3], [112, 3], [112, 70], [5, 70]], np.float32),
        np.array([[55, 57], [92, 57], [92, 67], [55, 67]], np.float32),
    ]
    assert len(word_characters(region, outlines[0])) == 6
    for order in (slice(None), slice(None, None, -1)):
        chars = dict(zip("ab"[order], page_characters(region, outlines[order])))
        np.testing.assert_allclose(chars["a"].mean(1)[:, 0], [30, 85], atol=3)
        np.testing.assert_allclose(chars["b"].mean(1)[:, 0], [60, 69, 78, 87], atol=1)
    assert page_characters(region, []) == []
    # A word that smaller ones cover wholly still has what is in it.
    covered = page_characters(region, [outlines[1], outlines[1]])
    assert [len(chars) for chars in covered] == [4, 4]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(12, 60), st.integers(12, 60), st.booleans())
def test_every_word_found_has_a_character(seed, height, width, polygons):
    rng = np.random.default_rng(seed)
    maps = [cv2.GaussianBlur(rng.random((height, width)), (0, 0), 2) * 3 - 0.9 for _ in range(2)]
    region, affinity = (m.astype(np.float32) for m in maps)
    words = group_words(region, affinity, text_threshold=0.5, polygons=polygons)
    chars = page_characters(region, words.polygons if polygons else list(words.boxes))
    assert len(chars) == len(words)
    for quads, box in zip(chars, words.boxes, strict=True):
        assert quads.dtype == np.float32
        assert quads.shape[1:] == (4, 2)
        assert len(quads) >= 1
        assert np.isfinite(quads).all()
        if not polygons:
            assert (quads.min((0, 1)) > box.min(0) - 0.51).all()
            assert (quads.max((0, 1)) < box.max(0) + 0.51).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_count_as_nothing(value):
    region, centres, box, _ = line_of_characters(0)
    region[:3] = value
    region[66, 120] = value
    np.testing.assert_allclose(word_characters(region, box).mean(1), centres, atol=1.0)


@pytest.mark.parametrize(
    "outline",
    [
        np.zeros((0, 2)),
        np.zeros((2, 2)),
        np.full((4, 2), np.nan),
        np.array([[0, 0], [np.inf, 0], [9, 9], [0, 9]]),
        np.array([[0, 0], [1e30, 0], [1e30, 9], [0, 9]]),
    ],
)
def test_outlines_that_are_none_have_no_characters_and_harm_no_others(outline):
    region = np.zeros((20, 40), np.float32)
    region[6:14, 10:16] = region[6:14, 22:28] = 1
    word = np.array([[6, 4], [32, 4], [32, 16], [6, 16]], np.float32)
    alone = page_characters(region, [word])[0]
    assert len(alone) == 2
    nothing, found = page_characters(torch.from_numpy(region).half(), [outline, word])
    assert nothing.shape == (0, 4, 2)
    np.testing.assert_array_equal(found, alone)


def test_maps_without_pixels_have_no_characters():
    (found,) = page_characters(np.zeros((0, 5), np.float32), [np.eye(4, 2) * 9])
    assert found.shape == (0, 4, 2)
    assert page_characters(np.zeros((5, 5)), []) == []
