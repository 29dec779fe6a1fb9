"""Words from score maps: boxes against the slow literal procedure, polygons against exact bands."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import LinearRing, Polygon

from mmtextplug.craft.grouping import (
    as_score_map,
    dilated_outlines,
    find_components,
    group_words,
    order_corners,
    text_rows,
)
from mmtextplug.craft.polygon import reach, ribbon_outline, trace_ribbon, word_polygon

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
    for polygon, box in zip(words.polygons, words.boxes, strict=True):
        if len(polygon) == 4:
            np.testing.assert_array_equal(polygon, box)
        else:
            assert polygon.shape == (14, 2)
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
    np.testing.assert_array_equal(words.polygons[0], words.boxes[0])


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


# --- polygons ----------------------------------------------------------------------------------


def arc(radius: float, degrees: float, extra: float = 0) -> np.ndarray:
    """Points on an arc that bulges upwards, ``extra`` pixels longer at either end."""
    half = np.radians(degrees) / 2 + extra / radius
    angle = np.linspace(-half, half, 80)
    return radius * np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def wave(length: float, height: float, extra: float = 0) -> np.ndarray:
    x = np.linspace(-length / 2 - extra, length / 2 + extra, 80)
    return np.stack([x, height * np.sin(2 * np.pi * x / length)], axis=1)


def band(line: np.ndarray, thickness: float) -> np.ndarray:
    """The exact outline of a band of constant thickness around a line, clockwise."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    up = np.stack([along[:, 1], -along[:, 0]], axis=1) * thickness / 2
    return np.concatenate([line + up, (line - up)[::-1]])


def placed(points: np.ndarray, degrees: float, reference: np.ndarray) -> np.ndarray:
    """Rotate points and bring the middle of the rotated reference to (130.3, 129.6)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, s], [-s, c]])
    middle = ((reference @ turn).min(axis=0) + (reference @ turn).max(axis=0)) / 2
    return points @ turn - middle + [130.3, 129.6]


def raster(outline: np.ndarray, size: int = 260) -> np.ndarray:
    """(size, size) float32, 1 where at least half of a pixel is inside the outline."""
    large = np.zeros((8 * size, 8 * size), np.uint8)
    cv2.fillPoly(large, [np.rint((outline * 8 + 3.5) * 16).astype(np.int32)], 255, shift=4)
    small = cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)
    return (small > 127).astype(np.float32)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    first, second = Polygon(first), Polygon(second)
    return first.intersection(second).area / first.union(second).area


@pytest.mark.parametrize("degrees", [0, 35, 90, 135, 180, 250, 270, 300])
@pytest.mark.parametrize(
    ("line", "thickness", "least"),
    [
        (lambda extra: arc(80, 90, extra), 14, 0.82),
        (lambda extra: arc(60, 150, extra), 12, 0.75),
        (lambda extra: arc(200, 40, extra), 12, 0.82),
        (lambda extra: wave(160, 15, extra), 12, 0.75),
    ],
    ids=["quarter", "near-half", "gentle", "wave"],
)
def test_curved_words_of_any_orientation(line, thickness, least, degrees):
    """The polygon is the band 1.45 times as thick, with the same margin at the ends."""
    exact = placed(band(line(0.225 * thickness), 1.45 * thickness), degrees, line(0))
    region = raster(placed(band(line(0), thickness), degrees, line(0)))
    words = group_words(region, np.zeros_like(region), polygons=True)
    (polygon,), (box,) = words.polygons, words.boxes
    assert polygon.shape == (14, 2)
    assert polygon.dtype == np.float32
    assert Polygon(polygon).is_valid
    assert LinearRing(polygon).is_ccw  # with y downwards that is clockwise
    assert iou(polygon, exact) > least
    assert iou(polygon, exact) > iou(box, exact) + 0.2


@pytest.mark.parametrize("degrees", [0, 90])
def test_polygon_starts_at_the_first_corner(degrees):
    region = raster(placed(band(arc(80, 60), 14), degrees, arc(80, 60)))
    words = group_words(region, np.zeros_like(region), polygons=True)
    (polygon,), (box,) = words.polygons, words.boxes
    assert len(polygon) == 14
    assert np.abs(polygon - box[0]).sum(axis=1).argmin() == 0


def test_tall_is_wide_transposed():
    region = raster(placed(band(arc(80, 90), 14), 0, arc(80, 90)))
    wide = group_words(region, np.zeros_like(region), polygons=True)
    tall = group_words(region.T, np.zeros_like(region), polygons=True)
    assert len(wide.polygons[0]) == len(tall.polygons[0]) == 14
    assert iou(wide.polygons[0], tall.polygons[0][:, ::-1]) > 0.93


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 115])
@pytest.mark.parametrize("thickness", [8, 14, 30])
def test_straight_words_have_their_box(degrees, thickness):
    line = np.stack([np.linspace(-80, 80, 80), np.zeros(80)], axis=1)
    region = raster(placed(band(line, thickness), degrees, line))
    words = group_words(region, np.zeros_like(region), polygons=True)
    (polygon,), (box,) = words.polygons, words.boxes
    np.testing.assert_array_equal(polygon, box)
    assert polygon is not box


@pytest.mark.parametrize("degrees", [0, 90])
def test_curved_word_with_gaps(degrees):
    """Characters far apart, held together by links one pixel thin, which tell no height."""
    line = arc(90, 110)
    exact = placed(band(arc(90, 110, 4), 1.45 * 14), degrees, line)
    centre = placed(line, degrees, line)
    region = raster(placed(band(line, 14), degrees, line))
    gaps = np.ones_like(region)
    for start in (8, 26, 44, 62):
        cv2.polylines(gaps, [np.rint(centre[start : start + 9]).astype(np.int32)], False, 0, 16)
    region *= gaps
    affinity = np.zeros_like(region)
    cv2.polylines(affinity, [np.rint(centre).astype(np.int32)], False, 1.0, 1)
    cv2.dilate(affinity, np.ones((2, 2), np.uint8), affinity)
    words = group_words(region, affinity, polygons=True)
    (polygon,) = words.polygons
    assert len(polygon) == 14
    assert iou(polygon, exact) > 0.75


def test_shapes_that_are_no_ribbons_have_their_box():
    ring = np.zeros((120, 120), np.float32)
    cv2.circle(ring, (60, 60), 45, 1.0, 6)
    cross = np.zeros((120, 160), np.float32)
    cross[55:65, 10:150] = cross[10:110, 75:85] = 1
    for region in (ring, cross):
        words = group_words(region, np.zeros_like(region), polygons=True)
        np.testing.assert_array_equal(words.polygons[0], words.boxes[0])


def test_thickness_is_measured_across_the_centre_line():
    """A V of slope 0.8 whose columns are 15 pixels high is 15 / sqrt(1.64) thick."""
    mask = np.zeros((140, 275), np.uint8)
    for u in range(275):
        v = round(110 - 0.8 * abs(u - 137))
        mask[v - 7 : v + 8, u] = 1
    ribbon = trace_ribbon(mask)
    assert ribbon.height == pytest.approx(15 / np.sqrt(1.64), rel=0.01)
    np.testing.assert_allclose(ribbon.tangents[:, 0], [0.781, 0.781, 1, 0.781, 0.781], atol=0.01)
    # The middles of slices 25 columns wide; among equal columns the middle one is the pivot.
    np.testing.assert_allclose(ribbon.points[:, 0], [37, 87, 137, 187, 237])


def column_mask(height: int, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """(height, W) uint8 with column u filled from ``top[u]`` to ``bottom[u]``, inclusive."""
    v = np.arange(height)[:, None]
    return ((v >= top) & (v <= bottom)).astype(np.uint8)


def test_what_is_straight():
    hump = np.rint(np.sin(np.linspace(0, np.pi, 200)) * 8)  # bends by about +-4
    assert trace_ribbon(column_mask(80, 30 - hump, 29 + 14 - hump)) is not None
    assert trace_ribbon(column_mask(80, 10 - hump, 9 + 48 - hump)) is None  # a tenth of 48
    # Tall letters amid small ones: the middles bend, yet a column fills the box.
    assert trace_ribbon(column_mask(32, 18 - 2 * hump, np.full(200, 26))) is None
    assert trace_ribbon(column_mask(80, 18 - 2 * hump, np.full(200, 26))) is not None
    slope = np.arange(200) // 5
    assert trace_ribbon(column_mask(80, slope, slope + 13)) is None


def test_outline_must_not_cross_itself():
    top = 110 - np.rint(0.8 * np.abs(np.arange(-99, 100)))
    mask = column_mask(140, top, top + 14)
    ribbon = trace_ribbon(mask)
    assert ribbon_outline(ribbon, mask).shape == (14, 2)
    assert ribbon_outline(replace(ribbon, height=150.0), np.ones_like(mask)) is None


def test_outline_must_cover_the_word():
    hump = np.rint(np.sin(np.linspace(0, np.pi, 200)) * 20)
    mask = column_mask(80, 40 - hump, 53 - hump)
    ribbon = trace_ribbon(mask)
    assert ribbon_outline(ribbon, mask).shape == (14, 2)
    mask[65:] = 1
    assert ribbon_outline(ribbon, mask) is None


def test_word_polygon_of_degenerate_input():
    mask = np.ones((3, 3), np.uint8)
    for box in (np.zeros((4, 2)), [[0, 0], [40, 0], [40, 0], [0, 0]]):
        np.testing.assert_array_equal(word_polygon(mask, (0, 0), np.float32(box)), box)
    empty = np.float32([[0, 0], [40, 0], [40, 20], [0, 20]])
    np.testing.assert_array_equal(word_polygon(np.zeros((20, 40), np.uint8), (0, 0), empty), empty)


def test_reach():
    pixels = np.array([[0, 0], [1, 0], [2, 1], [5, 0], [3, 9]])
    point, right = np.zeros(2), np.array([1.0, 0.0])
    assert reach(pixels, point, right, 2.0) == 3  # 0, 1, 2 touch; (3, 9) is beyond the line's end
    assert reach(pixels, point, right, 9.0) == 4
    assert reach(pixels, point, -right, 2.0) == 1
    assert reach(pixels, np.array([7.0, 0.0]), right, 2.0) == 0
