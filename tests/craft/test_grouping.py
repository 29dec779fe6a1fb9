"""Words from score maps: boxes against the slow literal procedure."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from mmtextplug.craft.grouping import (
    as_score_map,
    dilated_outlines,
    find_components,
    group_words,
    order_corners,
    text_rows,
)

LITERAL = Path(__file__).resolve().parents[2] / "tools" / "analysis" / "literal_craft.py"


def load_literal():
    spec = importlib.util.spec_from_file_location("literal_craft", LITERAL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.literal_boxes


literal_boxes = load_literal()


# --- boxes -------------------------------------------------------------------------------------


def random_map(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """A (H, W) float32 map in [0, 1] of one of several characters."""
    if kind == "noise":
        return rng.random((height, width), np.float32) ** 2
    if kind == "blobs":
        noise = rng.random((height, width), np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.7, 4)))
        return (smooth - smooth.min()) / max(float(np.ptp(smooth)), 1e-6)
    canvas = np.zeros((height, width), np.float32)
    if kind == "ellipses":  # rotated, of any slenderness, across borders too
        for _ in range(rng.integers(1, 8)):
            centre = (int(rng.integers(-3, width + 3)), int(rng.integers(-3, height + 3)))
            axes = tuple(int(v) for v in rng.integers(1, 25, 2))
            angle, value = float(rng.uniform(0, 180)), float(rng.uniform(0.2, 1))
            cv2.ellipse(canvas, centre, axes, angle, 0, 360, value, -1)
    elif kind == "levels":  # scores that meet the thresholds exactly
        canvas[:] = rng.choice(np.float32([0, 0.4, 0.5, 0.7, 1]), (height, width))
    return canvas


KINDS = ["noise", "blobs", "ellipses", "levels", "zero"]
THRESHOLD = st.one_of(
    st.sampled_from([0.0, 0.4, 0.5, 0.7, 1.0]), st.floats(-0.125, 1.125, width=32)
)


@settings(max_examples=250, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    thresholds=st.tuples(THRESHOLD, THRESHOLD, THRESHOLD),
)
def test_boxes_equal_the_literal_procedure(seed, kinds, size, thresholds):
    rng = np.random.default_rng(seed)
    region, affinity = (random_map(rng, kind, *size) for kind in kinds)
    text_threshold, link_threshold, low_text = thresholds
    expected = literal_boxes(region, affinity, *thresholds)
    words = group_words(
        region,
        affinity,
        text_threshold=text_threshold,
        link_threshold=link_threshold,
        low_text=low_text,
        polygons=True,
    )
    assert words.boxes.shape == expected.shape
    assert words.boxes.dtype == words.scores.dtype == np.float32
    np.testing.assert_allclose(words.boxes, expected, rtol=0, atol=0.5)
    assert len(words) == len(words.scores) == len(words.polygons)
    assert ((words.scores >= 0) & (words.scores <= 1)).all()
    for polygon in words.polygons:
        assert polygon.shape[1:] == (2,)
        if len(polygon) != 4:
            assert len(polygon) >= 14
            assert Polygon(polygon).is_valid


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    size=st.tuples(st.integers(4, 60), st.integers(4, 60)),
)
def test_outline_has_the_hull_of_the_dilated_pixels(seed, kinds, size):
    rng = np.random.default_rng(seed)
    assert_hulls_of_dilated_pixels(*(random_map(rng, kind, *size) for kind in kinds))


def test_outline_across_rows_without_text():
    """The second of three rows, 16 at y 11, sticks out from the line (20, 10) to (10, 15)."""
    region, affinity = np.zeros((2, 40, 50), np.float32)
    region[10, 20:31] = region[11, 16:31] = region[15, 10:31] = 1
    affinity[10:16, 20:31] = 1
    assert_hulls_of_dilated_pixels(region, affinity)
    assert_hulls_of_dilated_pixels(region[:, ::-1], affinity[:, ::-1])


def assert_hulls_of_dilated_pixels(region, affinity):
    text = region > 0.4
    components = find_components(text | (affinity > 0.4))
    components = components.select(
        np.array([text[components.labels == k].any() for k in components.ids], bool)
    )
    outlines = dilated_outlines(text_rows(region, text, components), components, text.shape)
    assert len(outlines) == len(components.ids)
    for k, (_, _, w, h), area, points in zip(
        components.ids, components.bounds, components.area, outlines, strict=True
    ):
        niter = int(2 * np.sqrt(area * min(w, h) / (w * h)))
        mask = ((components.labels == k) & text).astype(np.uint8)
        dilated = cv2.dilate(mask, np.ones((1 + niter, 1 + niter), np.uint8))
        hulls = [
            {tuple(point) for point in cv2.convexHull(p.astype(np.int32))[:, 0].tolist()}
            for p in (np.argwhere(dilated)[:, ::-1], points)
        ]
        assert hulls[0] == hulls[1]


def test_hand_computed_box():
    """A 20x6 word: area 120, int(2 sqrt(6)) = 4, so 2 pixels more on every side."""
    region = np.zeros((40, 60), np.float32)
    region[10:16, 15:35] = 0.9
    words = group_words(region, np.zeros_like(region))
    np.testing.assert_allclose(words.boxes, [[[13, 8], [36, 8], [36, 17], [13, 17]]], atol=1e-4)
    np.testing.assert_allclose(words.scores, [0.9])
    assert words.polygons is None


def test_even_kernels_lean_right_and_down():
    """A 3x4 word: int(2 sqrt(3)) = 3, 1 pixel more left and above, 2 right and below."""
    region = np.zeros((30, 30), np.float32)
    region[10:14, 12:15] = 1
    np.testing.assert_array_equal(
        group_words(region, np.zeros_like(region)).boxes,
        [[[11, 9], [16, 9], [16, 15], [11, 15]]],
    )


def test_links_join_words_but_do_not_widen_them():
    region = np.zeros((30, 60), np.float32)
    region[10:20, 5:15] = region[10:20, 25:35] = 1
    affinity = np.zeros_like(region)
    assert len(group_words(region, affinity)) == 2
    affinity[2:28, 15:25] = 1  # taller than the characters
    (box,) = group_words(region, affinity).boxes
    # area 200 + 260, bounds 30x26: int(2 sqrt(460 / 30)) = 7, 3 before and 4 after.
    np.testing.assert_allclose(box, [[2, 7], [38, 7], [38, 23], [2, 23]], atol=1e-4)


@pytest.mark.parametrize(("sides", "upright"), [((40, 37), True), ((40, 33), False)])
def test_nearly_square_components_get_an_upright_box(sides, upright):
    """Both grow by 11 in diagonal directions: ratios of about 1.06 and 1.15, either side of 1.1."""
    region = np.zeros((80, 80), np.float32)
    corners = cv2.boxPoints(((40, 40), sides, 45))
    cv2.fillPoly(region, [np.rint(corners).astype(np.int32)], 1.0)
    (box,) = group_words(region, np.zeros_like(region)).boxes
    assert (len(np.unique(box[:, 0])) == 2) is upright
    np.testing.assert_allclose(
        [box], literal_boxes(region, np.zeros_like(region), 0.7, 0.4, 0.4), atol=0.5
    )


def test_a_component_of_millions_of_pixels():
    """int(2 sqrt(2000)) = 89; the area times a side is beyond 32 bits."""
    region = np.zeros((2100, 2100), np.float32)
    region[50:2050, 50:2050] = 1
    (box,) = group_words(region, np.zeros_like(region)).boxes
    np.testing.assert_array_equal(box, [[6, 6], [2094, 6], [2094, 2094], [6, 2094]])


def test_filters():
    region = np.zeros((20, 40), np.float32)
    region[2:5, 2:5] = 1  # 9 pixels
    assert len(group_words(region, 0 * region)) == 0
    region[5, 4] = 1  # 10, 4-connected
    assert len(group_words(region, 0 * region)) == 1
    region[5, 4], region[5, 5] = 0, 1  # 10, but the last only touches at a corner
    assert len(group_words(region, 0 * region)) == 0
    region[:] = 0
    region[5:15, 5:30] = 0.6
    assert len(group_words(region, 0 * region)) == 0
    assert len(group_words(region, 0 * region, text_threshold=0.6)) == 1
    assert len(group_words(region, 0 * region, text_threshold=0.6, low_text=0.6)) == 0  # strict


@pytest.mark.parametrize("text_threshold", [-np.inf, -1.0, 0.0, 0.2])
def test_components_of_links_alone_are_no_words(text_threshold):
    region = np.full((20, 20), 0.3, np.float32)
    affinity = np.zeros_like(region)
    affinity[5:15, 5:15] = 1
    assert len(group_words(region, affinity, text_threshold=text_threshold)) == 0


def test_sweeping_the_score_is_sweeping_the_threshold():
    noise = np.random.default_rng(3).random((200, 200), np.float32)
    region = np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 4 - 1.5, 0, 1)
    affinity = np.zeros_like(region)
    words = group_words(region, affinity, text_threshold=0.5, low_text=0.6)
    assert len(words) > 20
    for threshold in (0.65, 0.7, 0.8):
        higher = group_words(region, affinity, text_threshold=threshold, low_text=0.6)
        assert 0 < len(higher) < len(words)
        np.testing.assert_array_equal(
            words.boxes[words.scores >= np.float32(threshold)], higher.boxes
        )


def test_scores_above_one_are_clipped():
    assert group_words(np.full((9, 9), 1.3), np.zeros((9, 9))).scores.tolist() == [1.0]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (3, 3), (50, 40)])
def test_maps_without_words(shape):
    for value in (0.0, np.nan, 1.0 if shape[0] * shape[1] < 10 else 0.0):
        words = group_words(np.full(shape, value), np.full(shape, value), polygons=True)
        assert words.boxes.shape == (0, 4, 2)
        assert words.scores.shape == (0,)
        assert words.polygons == []


def test_all_ones():
    words = group_words(np.ones((30, 50)), np.ones((30, 50)), polygons=True)
    np.testing.assert_allclose(words.boxes, [[[0, 0], [49, 0], [49, 29], [0, 29]]], atol=1e-4)
    # 30 pixels high; on each side half a pixel, and what a threshold of 0.4 takes of a Gaussian
    # whose highest tenth reaches 1.
    edge = 0.5 + 15 * (1 / (0.6 * np.sqrt(2 * np.log(2.5) / 0.9)) - 1)
    expected = [[-edge, -edge], [49 + edge, 29 + edge]]
    np.testing.assert_allclose(words.polygons[0][[0, 2]], expected, atol=1e-4)


def test_non_finite_scores_count_as_zero():
    region = np.zeros((40, 60))
    region[10:16, 15:35] = 0.9
    affinity = np.zeros((40, 60))
    expected = group_words(region, affinity).boxes
    region[12, 36:50], region[0, :30], region[30:, 0] = np.nan, np.inf, -np.inf
    affinity[:, 40:] = np.inf
    region[20, 20] = 1e300  # no float32
    np.testing.assert_array_equal(group_words(region, affinity).boxes, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors(dtype):
    region = torch.zeros(40, 60, dtype=getattr(torch, dtype), requires_grad=True)
    with torch.no_grad():
        region[10:16, 15:35] = 0.75
    words = group_words(region, torch.zeros(60, 40).t())
    np.testing.assert_allclose(words.boxes, [[[13, 8], [36, 8], [36, 17], [13, 17]]], atol=1e-4)
    assert words.scores.tolist() == [0.75]


def test_input_is_not_changed_and_may_be_read_only():
    region = np.random.default_rng(0).random((40, 60), np.float32)[::-1, ::2]
    region.flags.writeable = False
    before = region.copy()
    assert len(group_words(region, region, low_text=0.6, link_threshold=0.9)) > 0
    np.testing.assert_array_equal(region, before)


@pytest.mark.parametrize(
    ("region", "affinity", "message"),
    [
        (np.zeros((4, 5)), np.zeros((5, 4)), r"same shape, got \(4, 5\) and \(5, 4\)"),
        (np.zeros((1, 4, 5)), np.zeros((4, 5)), r"region must be a \(H, W\) array"),
        (np.zeros((4, 5)), np.zeros(5), r"affinity must be a \(H, W\) array"),
        (np.zeros((4, 5), complex), np.zeros((4, 5)), "complex128"),
        (torch.zeros(2, 4, 5), torch.zeros(4, 5), r"got shape \(2, 4, 5\)"),
    ],
)
def test_bad_maps(region, affinity, message):
    with pytest.raises(ValueError, match=message):
        group_words(region, affinity)


def test_as_score_map_copies_only_when_it_must():
    scores = np.ones((3, 4), np.float32)
    assert as_score_map(scores) is scores


def test_order_corners():
    box = np.float32([[5, 0], [9, 4], [5, 8], [1, 4]])  # 5, 13, 13, 5: the first of equals
    boxes = np.stack([np.roll(box, shift, axis=0) for shift in range(4)])
    ordered = order_corners(boxes)
    assert (ordered.sum(axis=2)[:, 0] == 5).all()
    for before, after in zip(boxes, ordered, strict=True):
        assert any(np.array_equal(np.roll(before, k, axis=0), after) for k in range(4))
