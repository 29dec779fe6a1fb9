"""Characters from region scores: against boundaries computed by hand for Gaussian blobs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import watershed

from mmtextplug.craft.char_split import (
    split_characters,
    split_word,
    word_confidence,
)
from mmtextplug.craft.flood import LEVELS, flood
from mmtextplug.craft.gaussian import render_gaussians


def blobs(
    size: tuple[int, int], centres: list[tuple[float, float]], sigma: float | tuple[float, float]
) -> np.ndarray:
    """Gaussians of height 1 at (x, y), merged by maximum."""
    sx, sy = (sigma, sigma) if isinstance(sigma, (int, float)) else sigma
    y, x = np.mgrid[: size[0], : size[1]]
    maps = [np.exp(-(((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2) / 2) for cx, cy in centres]
    return np.max(maps, axis=0).astype(np.float32)


def literal_components(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last column of each 8-connected component, by flood fill."""
    left, found = {tuple(p) for p in np.argwhere(mask)}, []
    while left:
        stack, part = [left.pop()], []
        while stack:
            y, x = stack.pop()
            part.append(x)
            for neighbour in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if neighbour in left:
                    left.remove(neighbour)
                    stack.append(neighbour)
        found.append((min(part), max(part)))
    return found


# --- one rectified word -------------------------------------------------------------------------


def test_three_characters_meet_half_way_and_end_as_their_gaussians_do():
    # Half-way between the centres is between two pixels. A Gaussian of 7 pixels belongs to a box of
    # 7 / 0.6 = 11.67 pixels either way, wherever the flood stops below. The first one reaches to
    # the word's end, which is nearer than half of its width; the last one does not.
    region = blobs((24, 80), [(10, 12), (31, 12), (52, 12)], 7)
    for background in (0.02, 0.05, 0.2):
        quads = split_characters(region, background=background)
        assert quads.dtype == np.float32
        left, right = quads[:, 0, 0], quads[:, 1, 0]
        np.testing.assert_array_equal(left, [-0.5, 20.5, 41.5])
        np.testing.assert_array_equal(right[:2], [20.5, 41.5])
        np.testing.assert_allclose(right[2], 52 + 7 / 0.6, atol=0.6)
        np.testing.assert_array_equal(quads[:, [0, 3], 0], np.stack([left, left], 1))
        np.testing.assert_array_equal(quads[:, [1, 2], 0], np.stack([right, right], 1))
        np.testing.assert_array_equal(quads[:, :2, 1], -0.5)
        np.testing.assert_array_equal(quads[:, 2:, 1], 23.5)


def test_characters_far_apart_leave_a_gap():
    region = blobs((20, 100), [(20, 10), (70, 10)], 5)
    quads = split_characters(region)
    np.testing.assert_allclose(quads[:, 0, 0], [20 - 5 / 0.6, 70 - 5 / 0.6], atol=0.6)
    np.testing.assert_allclose(quads[:, 1, 0], [20 + 5 / 0.6, 70 + 5 / 0.6], atol=0.6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(8, 40), st.integers(0, 30)), min_size=1, max_size=8))
def test_the_boxes_that_labels_were_drawn_from_are_found_again(widths_and_gaps):
    quads, x = [], 12.0
    for width, gap in widths_and_gaps:
        quads.append([[x, 0], [x + width, 0], [x + width, 31], [x, 31]])
        x += width + gap
    quads = torch.tensor(quads)
    region = render_gaussians(quads, (32, int(x) + 20))[0].numpy()
    found = split_characters(region, length=len(quads))
    assert len(found) == len(quads)
    left, right = quads[:, 0, 0].numpy(), quads[:, 1, 0].numpy()
    inside = slice(1, -1)  # the outer sides may reach to the ends of the crop
    # Between a wide and a narrow neighbour the flood stops where their scores are equal.
    slack = 0.3 * np.maximum(right - left, np.pad(right - left, 1)[2:]).max() + 1
    np.testing.assert_allclose(found[inside, 0, 0], left[inside], atol=slack)
    np.testing.assert_allclose(found[inside, 1, 0], right[inside], atol=slack)
    overlap = np.minimum(found[:, 1, 0], right) - np.maximum(found[:, 0, 0], left)
    union = np.maximum(found[:, 1, 0], right) - np.minimum(found[:, 0, 0], left)
    assert (overlap[inside] / union[inside] > 0.6).all()


def test_thresholds_decide_what_is_a_character():
    region = blobs((20, 100), [(20, 10)], 5) + 0.5 * blobs((20, 100), [(70, 10)], 5)
    assert len(split_characters(region)) == 1  # 0.5 is no heart of a character
    assert len(split_characters(region, foreground=0.45)) == 2


def test_a_known_length_moves_the_threshold_of_the_hearts_no_further_than_it_must():
    # Two peaks of 0.9 and 1 over a saddle of 0.7, and a faint third of 0.4.
    region = blobs((20, 100), [(20, 10)], 5)
    region = np.maximum(region, 0.9 * blobs((20, 100), [(34, 10)], 5))
    region = np.maximum(region, 0.4 * blobs((20, 100), [(70, 10)], 5))
    region[:, 20:34] = np.maximum(
        region[:, 20:34], 0.7 * (np.abs(np.arange(20) - 9.5) < 3)[:, None]
    )
    found = {n: split_word(region, [True] * n, foreground=0.6) for n in (1, 2, 3)}
    assert [found[length].found for length in (1, 2, 3)] == [1, 1, 1]  # without knowing
    assert [len(found[length].quads) for length in (1, 2, 3)] == [1, 2, 3]
    assert [found[length].confidence for length in (1, 2, 3)] == [1, 0.5, 0.5]
    assert [found[length].equal for length in (1, 2, 3)] == [False, False, True]
    np.testing.assert_allclose(found[2].quads.mean(1)[:, 0], [20, 34], atol=4)
    assert split_word(region).confidence == 1  # nothing to compare with


def test_spaces_are_gaps_of_equal_parts():
    split = split_word(np.zeros((4, 10)), [True, True, False, True, True])
    assert (split.equal, split.found, split.confidence) == (True, 0, 0.5)
    np.testing.assert_allclose(split.quads[:, 0, 0], [-0.5, 1.5, 5.5, 7.5])
    np.testing.assert_allclose(split.quads[:, 1, 0], [1.5, 3.5, 7.5, 9.5])


def test_more_characters_than_pixels():
    split = split_word(np.zeros((3, 2)), [True] * 7)
    assert len(split.quads) == 7
    assert np.isfinite(split.quads).all()
    np.testing.assert_allclose(split.quads[:, 1, 0] - split.quads[:, 0, 0], 2 / 7, rtol=1e-5)


@pytest.mark.parametrize(
    ("region", "spans"),
    [
        (np.zeros((0, 7)), []),
        (np.zeros((7, 0)), []),
        (np.zeros((5, 9)), []),
        (np.full((5, 9), 0.6), []),  # not above the threshold
        (np.full((5, 9), np.nan), []),
        (np.full((5, 9), np.inf), []),
        (np.ones((5, 9)), [(-0.5, 8.5)]),
        (np.ones((1, 1)), [(-0.5, 0.5)]),
        (np.where(np.eye(6) > 0, 1.0, np.nan), [(-0.5, 5.5)]),  # diagonal neighbours are one
    ],
)
def test_degenerate_maps(region, spans):
    quads = split_characters(region)
    assert quads.shape == (len(spans), 4, 2)
    assert [(q[0, 0], q[1, 0]) for q in quads] == spans


def test_two_blobs_above_each_other_are_two_and_in_order():
    region = blobs((60, 40), [(22, 45), (18, 12)], 5)
    quads = split_characters(region)
    assert len(quads) == 2
    centres = quads[:, :2, 0].mean(1)
    assert 14 < centres[0] < 20 < centres[1] < 26


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (None, 2),
        (2, 2),
        (3, 2),  # confidence 2/3
        (4, 2),  # 1/2 is still trusted
        (5, 5),  # 2/5 is not: equal parts
        (1, 1),  # 0: one part
        (0, 0),
    ],
)
def test_equal_parts_where_the_number_found_is_not_credible(length, expected):
    region = blobs((20, 60), [(15, 10), (45, 10)], 6)
    quads = split_characters(region, length=length)
    assert len(quads) == expected
    if expected in (1, 5):
        edges = np.linspace(-0.5, 59.5, expected + 1)
        np.testing.assert_allclose(quads[:, 0, 0], edges[:-1])
        np.testing.assert_allclose(quads[:, 1, 0], edges[1:])
        np.testing.assert_array_equal(quads[:, 2, 1], 19.5)


def test_nothing_found_is_split_by_length_alone():
    quads = split_characters(np.zeros((4, 10)), length=4)
    np.testing.assert_allclose(quads[:, 0, 0], [-0.5, 2, 4.5, 7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": -1}, "length"),
        ({"background": 0.8}, "background=0.8"),
        ({"foreground": float("nan")}, "foreground=nan"),
        ({"background": -0.1}, "background=-0.1"),
        ({"foreground": 1.0}, "foreground=1.0 < 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_characters(np.zeros((4, 4)), **arguments)


def test_a_batch_is_no_map():
    with pytest.raises(ValueError, match=r"region must be a \(H, W\)"):
        split_characters(np.zeros((1, 4, 4)))


def test_the_map_is_not_changed():
    region = blobs((20, 60), [(15, 10), (45, 10)], 6)
    region[3, 3] = np.nan
    before = region.copy()
    split_characters(region)
    np.testing.assert_array_equal(region, before)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 40))
def test_random_maps_give_one_ordered_box_for_each_heart(seed, height, width):
    rng = np.random.default_rng(seed)
    noise = rng.random((height, width)).astype(np.float32)
    region = cv2.GaussianBlur(noise, (0, 0), 1.0) * 2 - 0.5
    hearts = literal_components(region > 0.6)
    quads = split_characters(region, foreground=0.6)
    assert len(quads) == len(hearts)
    centres = quads[:, :2, 0].mean(1)
    assert (np.diff(centres) >= 0).all()
    assert (quads[:, 1, 0] > quads[:, 0, 0]).all()
    assert quads[..., 0].min(initial=0) >= -0.5
    assert quads[..., 0].max(initial=0) <= width - 0.5


def scikit_image(score: np.ndarray, seeds: np.ndarray, background: float) -> np.ndarray:
    return watershed(-score, seeds, mask=score > background, connectivity=np.ones((3, 3)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 51), st.booleans())
def test_the_flood_is_scikit_images_watershed_where_scores_are_steps_apart(
    seed, height, width, smooth
):
    rng = np.random.default_rng(seed)
    score = (rng.permutation(LEVELS)[: height * width] / LEVELS).astype(np.float32)
    if smooth:  # in the order of a blurred map: fewer hills, but still some behind saddles
        blurred = cv2.GaussianBlur(score.reshape(height, width), (0, 0), 1.5)
        score = np.sort(score)[blurred.ravel().argsort().argsort()]
    score = score.reshape(height, width)
    seeds = np.zeros((height, width), np.int32)
    places = rng.choice(score.size, min(4, score.size), replace=False)
    seeds.flat[places] = np.arange(1, len(places) + 1)
    seeds[score <= 0.25] = 0
    np.testing.assert_array_equal(flood(score, seeds, 0.25), scikit_image(score, seeds, 0.25))


def test_basins_of_smooth_scores_end_within_a_column_of_scikit_images():
    def columns(labels):
        return np.array(
            [np.flatnonzero((labels == k).any(0))[[0, -1]] for k in range(1, count + 1)]
        )

    rng = np.random.default_rng(0)
    maps = moved = 0
    while maps < 200:
        height, width, characters = rng.integers((12, 24, 2), (41, 161, 9))
        y, x = np.mgrid[:height, :width]
        score = np.zeros((height, width))
        for _ in range(characters):
            cx, cy = rng.uniform(0, width), rng.uniform(0.3, 0.7) * height
            sx, sy = rng.uniform((2.5, 3), (8, 8))
            peak = rng.uniform(0.8, 1)  # above the threshold of the hearts: each has a seed
            score += peak * np.exp(-(((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2) / 2)
        score = np.minimum(score, 1).astype(np.float32)
        parts, seeds = cv2.connectedComponents((score > 0.75).astype(np.uint8), connectivity=8)
        count = parts - 1
        if count < 2:
            continue
        maps += 1
        found, expected = flood(score, seeds, 0.0625), scikit_image(score, seeds, 0.0625)
        np.testing.assert_array_equal(found > 0, score > 0.0625)
        assert (found != expected).mean() < 0.01
        distance = np.abs(columns(found) - columns(expected)).max()
        assert distance <= 1
        moved += distance > 0
    assert moved <= 0.08 * maps  # 4 % of 4,000 such maps


def test_a_hill_between_saddles_of_one_step_goes_to_the_flood_that_comes_first():
    seeds = np.array([[1, 0, 0, 0, 2]], np.int32)
    # 0.5004 is in the step of 0.5, which begins at 512 / 1024; 0.502 is two above.
    for saddle, owner in ((0.5004, 1), (0.502, 2)):
        score = np.array([[1, 0.5, 0.6, saddle, 1]], np.float32)
        assert flood(score, seeds, 0.25).tolist() == [[1, 1, owner, 2, 2]]
        assert scikit_image(score, seeds, 0.25).tolist() == [[1, 1, 2, 2, 2]]


def test_a_plateau_is_shared_by_distance():
    score = np.array([[1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1]], np.float32)
    seeds = np.array([[1, 0, 0, 0, 0, 0, 0, 2]], np.int32)
    assert flood(score, seeds, 0.25).tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]]
    assert flood(score, seeds, 0.5).tolist() == seeds.tolist()


# --- confidence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "found", "confidence"),
    [
        *((5, 5, 1), (5, 4, 0.8), (5, 6, 0.8), (5, 0, 0), (5, 10, 0), (5, 99, 0)),
        *((1, 1, 1), (1, 2, 0), (2, 3, 0.5), (0, 0, 0), (0, 3, 0), (8, 6, 0.75)),
    ],
)
def test_confidence(length, found, confidence):
    assert word_confidence(length, found) == pytest.approx(confidence)


@given(st.integers(1, 100), st.integers(0, 300))
def test_confidence_is_a_share_that_falls_with_the_error(length, found):
    value = word_confidence(length, found)
    assert 0 <= value <= 1
    assert (value == 1) == (length == found)
    assert value == word_confidence(length, 2 * length - found) or found > 2 * length
