"""Outlines of words: exact bands, generated words, the literal published procedure by hand."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import LinearRing, Polygon

from mmtextplug.craft.arc import Frame, arc_frame, box_frame
from mmtextplug.craft.gaussian import render_gaussians
from mmtextplug.craft.grouping import group_words
from mmtextplug.craft.polygon import push_out, undo_threshold, word_polygon
from mmtextplug.craft.ribbon import reach, ribbon_outline, trace_ribbon

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "analysis"
if str(TOOLS) not in sys.path:
    sys.path.insert(0, str(TOOLS))

import literal_craft as literal  # noqa: E402
from compare_polygons import cases, mean_ious, run  # noqa: E402

THRESHOLDS = (0.7, 0.4, 0.4)


# --- exact bands -------------------------------------------------------------------------------


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
    """The polygon is the band 1.2 times as thick, with the same margin at the ends."""
    exact = placed(band(line(0.1 * thickness), 1.2 * thickness), degrees, line(0))
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
def test_straight_words_have_a_rectangle(degrees, thickness):
    """Along the box, as much larger than the word as a curved outline is."""
    line = np.stack([np.linspace(-80, 80, 80), np.zeros(80)], axis=1)
    region = raster(placed(band(line, thickness), degrees, line))
    longer = np.stack([line[:, 0] * (1 + 0.1 * thickness / 80), line[:, 1]], axis=1)
    exact = placed(band(longer, 1.2 * thickness), degrees, line)
    words = group_words(region, np.zeros_like(region), polygons=True)
    (polygon,), (box,) = words.polygons, words.boxes
    assert polygon.shape == (4, 2)
    assert polygon.dtype == np.float32
    assert iou(polygon, exact) > 0.82
    assert iou(polygon, exact) > iou(box, exact) + 0.05
    assert LinearRing(polygon).is_ccw
    assert np.linalg.norm(polygon - box[0], axis=1).argmin() == 0


@pytest.mark.parametrize("degrees", [0, 90])
def test_curved_word_with_gaps(degrees):
    """Characters far apart, held together by links one pixel thin, which tell no height."""
    line = arc(90, 110)
    exact = placed(band(arc(90, 110, 1.4), 1.2 * 14), degrees, line)
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
    assert ribbon_outline(ribbon, mask, 1.2).shape == (14, 2)
    assert ribbon_outline(replace(ribbon, height=150.0), np.ones_like(mask), 1.2) is None


def test_outline_must_cover_the_word():
    hump = np.rint(np.sin(np.linspace(0, np.pi, 200)) * 20)
    mask = column_mask(80, 40 - hump, 53 - hump)
    ribbon = trace_ribbon(mask)
    assert ribbon_outline(ribbon, mask, 1.2).shape == (14, 2)
    mask[65:] = 1
    assert ribbon_outline(ribbon, mask, 1.2) is None


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


# --- any bend, any orientation -----------------------------------------------------------------


def word_of(line: np.ndarray, thickness: float, degrees: float):
    """The polygon of a band in a drawn map, and the line's two ends as drawn."""
    region = raster(placed(band(line, thickness), degrees, line))
    words = group_words(region, np.zeros_like(region), polygons=True)
    (polygon,) = words.polygons
    return polygon, placed(line[[0, -1]], degrees, line), region


ARCS = {
    "radius": st.floats(45, 75),
    "bend": st.floats(60, 240),
    "thickness": st.floats(9, 16),
    "degrees": st.integers(0, 359),
}


@settings(max_examples=40, deadline=None)
@given(**ARCS)
def test_arcs_of_any_bend(radius, bend, thickness, degrees):
    assume(radius * np.radians(bend) > 4.5 * thickness)  # shorter ones tell no curvature
    line = arc(radius, bend)
    polygon, ends, _ = word_of(line, thickness, degrees)
    exact = placed(band(arc(radius, bend, 0.1 * thickness), 1.2 * thickness), degrees, line)
    assert iou(polygon, exact) > 0.8
    assert Polygon(polygon).is_valid
    assert LinearRing(polygon).is_ccw
    # The arc's top points up when it is not turned; read along it, or against it, from the left.
    along = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    if abs(along.sum()) < 0.1 or abs(abs(along[0]) - abs(along[1])) < 0.1:
        return
    standing = abs(along[1]) > abs(along[0])
    start = polygon[[0, 1]].mean(0) if standing else polygon[[0, -1]].mean(0)
    first, last = ends if along.sum() > 0 else ends[::-1]
    assert np.linalg.norm(start - first) < 0.6 * thickness
    assert np.linalg.norm(start - last) > 0.6 * thickness
    turn = bend + np.degrees(0.2 * thickness / radius)
    assert len(polygon) == 14 or turn > 175
    assert len(polygon) >= 2 * turn / 31 + 2


@settings(max_examples=25, deadline=None)
@given(**ARCS, turns=st.integers(0, 3), mirrored=st.booleans())
def test_turning_the_map_turns_the_polygon(radius, bend, thickness, degrees, turns, mirrored):
    polygon, _, region = word_of(arc(radius, bend), thickness, degrees)
    turned = np.rot90(region, turns)
    turned = turned.T if mirrored else turned
    words = group_words(turned, np.zeros_like(turned), polygons=True)
    moved = words.polygons[0][:, ::-1] if mirrored else words.polygons[0]
    for _ in range(turns):  # undone: (x, y) of the turned map was at (last - y, x) before
        moved = np.column_stack([len(region) - 1 - moved[:, 1], moved[:, 0]])
    assert len(words.polygons[0]) == len(polygon)
    assert iou(moved, polygon) > 0.99


def test_an_outline_keeps_to_its_word_wherever_it_is():
    mask = raster(placed(band(arc(60, 120), 12), 40, arc(60, 120))).astype(np.uint8)
    box = np.float32([[0, 0], [200, 0], [200, 100], [0, 100]])
    here = word_polygon(mask, (0, 0), box)
    there = word_polygon(mask, (1000, 2000), box + np.float32([1000, 2000]))
    assert len(here) == 14
    np.testing.assert_allclose(there, here + np.float32([1000, 2000]), atol=2e-3)


# --- coordinates -------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    curvature=st.floats(-0.02, 0.02).filter(lambda k: k == 0 or abs(k) > 1e-9),
    angle=st.floats(-3.1, 3.1),
    points=st.lists(st.tuples(st.floats(-120, 120), st.floats(-40, 40)), min_size=1, max_size=8),
)
def test_frames_lead_there_and_back(curvature, angle, points):
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    frame = Frame(np.array([30.0, -7.0]), axes, curvature)
    points = np.array(points)
    np.testing.assert_allclose(frame.from_map(frame.to_map(points)), points, atol=1e-5)


def test_frame_by_hand():
    # A circle of radius 10 about (0, 10): a quarter of it leads from the top to the right.
    frame = Frame(np.zeros(2), np.eye(2), 0.1)
    quarter = 5 * np.pi
    points = np.array([[0.0, 0.0], [quarter, 0.0], [-quarter, 4.0], [quarter, -5.0]])
    expected = [[0, 0], [10, 10], [-6, 10], [15, 10]]
    np.testing.assert_allclose(frame.to_map(points), expected, atol=1e-12)


@pytest.mark.parametrize(("radius", "degrees"), [(40, 250), (50, 180), (80, 90), (150, 50)])
def test_the_circle_of_an_arc_is_found(radius, degrees):
    line = arc(radius, degrees)
    rows, columns = np.nonzero(raster(placed(band(line, 12), 30, line)))
    pixels = np.column_stack([columns, rows]).astype(np.float64)
    frame = arc_frame(pixels, pixels)
    assert 1 / abs(frame.curvature) == pytest.approx(radius, rel=0.06)
    np.testing.assert_allclose(frame.axes[0], [np.cos(np.pi / 6), 0.5], atol=0.02)
    middle = placed(line[39:41].mean(0, keepdims=True), 30, line)[0]
    np.testing.assert_allclose(frame.origin, middle, atol=1.5)


def test_what_has_no_circle():
    def pixels(mask: np.ndarray) -> np.ndarray:
        return np.argwhere(mask)[:, ::-1].astype(np.float64)

    disc = np.zeros((60, 60), np.uint8)
    cv2.circle(disc, (30, 30), 20, 1, -1)
    ring = np.zeros((120, 120), np.uint8)
    cv2.circle(ring, (60, 60), 45, 1, 6)
    hook = np.zeros((60, 60), np.uint8)  # a bent character: as thick as its radius
    cv2.ellipse(hook, (30, 30), (12, 12), 0, 0, 270, 1, 13)
    for mask in (np.ones((12, 90)), np.ones((1, 30)), np.ones((30, 1)), disc, ring, hook):
        assert arc_frame(pixels(mask), pixels(mask)) is None
    slope = np.array([(x, x // 3) for x in range(90)], np.float64)
    assert arc_frame(slope, slope) is None


def test_box_frame_follows_the_long_side():
    frame = box_frame(np.float32([[5, 7], [45, 7], [45, 17], [5, 17]]))
    np.testing.assert_array_equal(frame.origin, [5, 7])
    np.testing.assert_allclose(frame.axes, np.eye(2))
    assert not frame.standing
    frame = box_frame(np.float32([[5, 7], [15, 7], [15, 47], [5, 47]]))
    np.testing.assert_array_equal(frame.origin, [15, 7])
    np.testing.assert_allclose(frame.axes, [[0, 1], [-1, 0]])
    assert frame.standing
    assert box_frame(np.zeros((4, 2), np.float32)) is None


@pytest.mark.parametrize("degrees", [60, 160, 200])
def test_chords_keep_the_area(degrees):
    """Seven rungs of an annular sector, radii 30 and 50."""
    turn = np.radians(degrees)
    angle = np.linspace(-turn / 2, turn / 2, 7)
    around = np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    corners = np.concatenate([50 * around, (30 * around)[::-1]])
    sector = (50**2 - 30**2) * turn / 2
    chords = 1 - Polygon(corners).area / sector
    pushed = push_out(corners)
    assert chords == pytest.approx((turn / 6) ** 2 / 6, rel=0.05)
    assert Polygon(pushed).area == pytest.approx(sector, rel=0.25 * chords)
    # What the outer chords gained, the inner ones lost.
    fine = np.linspace(-turn / 2, turn / 2, 400)
    circle = np.stack([np.sin(fine), -np.cos(fine)], axis=1)
    exact = np.concatenate([50 * circle, (30 * circle)[::-1]])
    assert iou(pushed, exact) > iou(corners, exact) + 0.3 * chords


# --- what is no word ---------------------------------------------------------------------------


def test_how_much_larger_words_are_than_what_exceeds_the_threshold():
    """Characters of the label transform, weaker and weaker, cut off at several thresholds."""
    chars = torch.tensor([[[20 + 24 * i, 20], [44 + 24 * i, 20], [44 + 24 * i, 60],
                           [20 + 24 * i, 60]] for i in range(5)]).float()  # fmt: skip
    exact = render_gaussians(chars, (80, 160))[0].numpy()
    found = {}
    for peak in (1.0, 0.8, 0.65):
        for threshold in (0.2, 0.3, 0.4):
            region = peak * exact
            text = region > threshold
            height = np.ptp(np.flatnonzero(text.any(1))) + 1
            found[peak, threshold] = undo_threshold(region[text], threshold)
            assert found[peak, threshold] * height == pytest.approx(40, abs=2.5)
    assert found[1.0, 0.4] == pytest.approx(1.23, abs=0.02)
    assert found[0.65, 0.4] > 1.7 * found[1.0, 0.2]


@pytest.mark.parametrize(
    ("scores", "low_text", "expected"),
    [
        (np.zeros(0, np.float32), 0.4, 1.0),
        (np.ones(5, np.float32), 0.0, 1.0),
        (np.full(5, 0.41, np.float32), 0.4, 1.7),
        (np.full(5, 0.4, np.float32), 0.4, 1.7),
        (np.full(5, 1.0, np.float32), 1e-6, 0.9),
        (np.full(1, 0.9, np.float32), 0.4, 1 / (0.6 * math.sqrt(2 * math.log(0.9 / 0.4) / 0.9))),
    ],
)
def test_undoing_a_threshold_at_its_limits(scores, low_text, expected):
    assert undo_threshold(scores, low_text) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (9, 9)])
def test_tiny_and_thin_masks(shape):
    mask = np.ones(shape, np.uint8)
    box = np.float32([[-2, -2], [41, -2], [41, 41], [-2, 41]])
    polygon = word_polygon(mask, (0, 0), box, 1.2)
    if min(shape) < 2 or mask.size < 10:
        np.testing.assert_array_equal(polygon, box)
    else:
        assert Polygon(polygon).area == pytest.approx((shape[0] * 1.2) * (shape[1] * 1.2), rel=0.05)


def test_empty_masks_have_their_box():
    box = np.float32([[0, 0], [40, 0], [40, 20], [0, 20]])
    for shape in ((20, 40), (0, 0), (0, 5)):
        polygon = word_polygon(np.zeros(shape, np.uint8), (0, 0), box)
        np.testing.assert_array_equal(polygon, box)
        assert polygon is not box


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    blur=st.floats(0.5, 5),
)
def test_any_mask_has_a_sound_outline(seed, size, blur):
    noise = np.random.default_rng(seed).random(size, np.float32)
    region = cv2.GaussianBlur(noise, (0, 0), blur)
    region = (region > np.median(region)).astype(np.float32)
    words = group_words(region, np.zeros_like(region), polygons=True)
    for polygon, box in zip(words.polygons, words.boxes, strict=True):
        assert np.isfinite(polygon).all()
        if not np.array_equal(polygon, box):
            assert Polygon(polygon).is_valid
            assert LinearRing(polygon).is_ccw


# --- the literal procedure ---------------------------------------------------------------------


def test_literal_pivots_by_hand():
    """Segments of 10 columns; a pivot is the first of the tallest columns of an odd segment."""
    columns = [(x, 20, 30) for x in range(110)]
    columns[14] = (14, 18, 33)
    columns[17] = (17, 18, 33)
    columns[35] = (35, 22, 30)
    pivots, heights, centres = literal.literal_pivots(columns, 110)
    assert pivots == [(14.0, 25.5), (30.0, 25.0), (50.0, 25.0), (70.0, 25.0), (90.0, 25.0)]
    assert heights == [16, 11, 11, 11, 11]
    np.testing.assert_allclose(centres[0], (4.5, 25))
    np.testing.assert_allclose(centres[3], (34.5, 25.1))
    np.testing.assert_allclose(centres[10], (104.5, 25))


def test_literal_pivots_lag_behind_gaps_and_stop():
    columns = [(x, 20, 30) for x in range(110)]
    # Without columns 20 to 29, column 30 alone is segment 2, and 31 on are segment 3.
    pivots, _, centres = literal.literal_pivots(columns[:20] + columns[30:], 110)
    assert centres[2] == (30.0, 25.0)
    assert pivots[1] == (31.0, 25.0)
    # A first column beyond segment 0 ends the scan, a scan that ends early leaves (0, 0).
    assert literal.literal_pivots(columns[10:], 110) is None
    assert literal.literal_pivots(columns[:100], 110)[2][10] == (0.0, 0.0)
    assert literal.literal_pivots(columns[:90], 110) is None  # nothing in segment 9
    high = [(x, 0, 40) for x in range(110)]  # segments of 10 columns, 41 high: narrower than 1 / 4
    assert literal.literal_pivots(high, 110) is None


def test_literal_end_by_hand():
    word = np.zeros((40, 100), np.uint8)
    word[15:26, :58] = 1
    stick = np.array([50.0, 12.0, 50.0, 28.0])
    # Half a height of 5: shifts by 5, 7, 9 come to columns 55, 57, 59, the first one free.
    moved = literal.literal_end(word, stick, 5, 1, 0.25)
    np.testing.assert_allclose(moved, [59, 12 + 0.25 * 9, 59, 28 + 0.25 * 9])
    # Left of it the word goes on to the border: the last shift tried is 1.7 times the height.
    moved = literal.literal_end(word, stick, 5, -1, 0.0)
    np.testing.assert_allclose(moved, [33, 12, 33, 28])


def literal_polygon_of(region: np.ndarray) -> np.ndarray | None:
    boxes, labels, kept = literal.literal_words(region, np.zeros_like(region), *THRESHOLDS)
    assert len(boxes) == 1
    return literal.literal_polygon(labels, kept[0], boxes[0])


def test_literal_polygon_of_an_arc():
    line = arc(80, 90)
    exact = placed(band(arc(80, 90, 3), 1.45 * 14), 0, line)
    region = raster(placed(band(line, 14), 0, line))
    polygon = literal_polygon_of(region)
    assert polygon.shape == (14, 2)
    assert iou(polygon, exact) > 0.75
    # The fault that ours mends: standing, the same word is scanned along the wrong axis.
    assert literal_polygon_of(region.T.copy()) is None
    (outline,) = literal.literal_outlines(region.T.copy(), np.zeros_like(region), *THRESHOLDS)
    assert outline.shape == (4, 2)


def test_literal_polygon_of_straight_and_small_words():
    flat = np.zeros((60, 120), np.float32)
    flat[10:50, 10:110] = 1
    assert literal_polygon_of(flat) is None  # fills more than 0.7 of its box
    small = np.zeros((30, 40), np.float32)
    small[10:13, 10:30] = 1  # its box is 6 high
    assert literal_polygon_of(small) is None


# --- generated words ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["line", "column"])
def test_ours_is_at_least_as_good_everywhere(kind):
    """Mean IoU with exact outlines, from the maps of a perfect network, four words a cell."""
    bends, turns = (0, 60, 120, 250), (0, 30, 90, 135)
    verdicts = run(list(cases([kind], bends, turns, [16, 32], 4)), seed=5, quiet=True)
    for (_, bend, turn), (box, published, ours) in mean_ious(verdicts).items():
        assert ours > 0.84, (bend, turn)
        assert ours > max(box, published) - 0.01, (bend, turn)
        standing = turn == {"line": 90, "column": 0}[kind]
        if bend >= 60:
            assert ours > box + 0.2
        if bend > 180 or (bend and standing):  # tightly curved, tall and vertical words
            assert ours > published + 0.2, (bend, turn)
    ious = np.array([verdict.ious for verdict in verdicts])
    assert ious[:, 2].mean() > 0.9
    assert ious[:, 2].mean() > ious[:, :2].max(axis=1).mean() + 0.2
