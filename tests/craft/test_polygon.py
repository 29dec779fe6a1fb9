"""Outlines of words: exact bands, generated words, what is no word."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import shapely
import torch
from bent_words import Case, cases, make_word, perfect_maps
from compare_polygons import mean_ious, run
from exact_bands import arc, band, iou, placed, raster, wave
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import LinearRing, Polygon

from mmtextplug.craft.gaussian import render_gaussians
from mmtextplug.craft.grouping import group_words
from mmtextplug.craft.page_chars import page_characters
from mmtextplug.craft.polygon import push_out, undo_threshold, word_polygon
from mmtextplug.datasets.fonts import bundled_fonts

# --- exact bands -------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 35, 90, 135, 180, 250, 270, 300])
@pytest.mark.parametrize(
    ("line", "thickness", "least", "corners"),
    [
        (lambda extra: arc(80, 90, extra), 14, 0.82, 14),
        (lambda extra: arc(60, 150, extra), 12, 0.75, 14),
        (lambda extra: arc(200, 40, extra), 12, 0.82, 14),
        (lambda extra: wave(160, 15, extra), 12, 0.85, 18),
        (lambda extra: wave(180, 3, extra), 12, 0.8, 14),
    ],
    ids=["quarter", "near-half", "gentle", "wave", "ripple"],
)
def test_curved_words_of_any_orientation(line, thickness, least, corners, degrees):
    """The polygon is the band 1.2 times as thick, with the same margin at the ends."""
    exact = placed(band(line(0.1 * thickness), 1.2 * thickness), degrees, line(0))
    region = raster(placed(band(line(0), thickness), degrees, line(0)))
    words = group_words(region, np.zeros_like(region), polygons=True)
    (polygon,), (box,) = words.polygons, words.boxes
    assert polygon.shape == (corners, 2)
    assert polygon.dtype == np.float32
    assert Polygon(polygon).is_valid
    assert LinearRing(polygon).is_ccw  # with y downwards that is clockwise
    assert iou(polygon, exact) > least
    assert iou(polygon, exact) > iou(box, exact) + 0.15


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


def test_word_polygon_of_degenerate_input():
    mask = np.ones((3, 3), np.uint8)
    for box in (np.zeros((4, 2)), [[0, 0], [40, 0], [40, 0], [0, 0]]):
        np.testing.assert_array_equal(word_polygon(mask, (0, 0), np.float32(box)), box)
    empty = np.float32([[0, 0], [40, 0], [40, 20], [0, 20]])
    np.testing.assert_array_equal(word_polygon(np.zeros((20, 40), np.uint8), (0, 0), empty), empty)


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


@settings(max_examples=30, deadline=None)
@given(
    periods=st.floats(0.7, 1.3),
    height=st.floats(3, 40),
    phase=st.floats(0, 6.2),
    thickness=st.floats(9, 14),
    degrees=st.integers(0, 359),
)
def test_waves_of_any_height(periods, height, phase, thickness, degrees):
    def line(extra: float) -> np.ndarray:
        x = np.linspace(-85 - extra, 85 + extra, 200)
        return np.stack([x, height * np.sin(2 * np.pi * periods * x / 170 + phase)], axis=1)

    assume(height * (2 * np.pi * periods / 170) ** 2 * thickness < 0.8)  # radius over thickness
    polygon, _, region = word_of(line(0), thickness, degrees)
    steepness = 2 * np.pi * periods * height / 170
    exact = placed(band(line(0.05 * thickness), 1.2 * thickness), degrees, line(0))
    assert iou(polygon, exact) > (0.75 if steepness < 0.8 else 0.65)
    assert Polygon(polygon).is_valid
    assert LinearRing(polygon).is_ccw
    pixels = np.argwhere(region > 0)[:, ::-1].astype(np.float64)
    assert shapely.contains_xy(Polygon(polygon).buffer(0.01), pixels).mean() > 0.98


def test_an_outline_keeps_to_its_word_wherever_it_is():
    mask = raster(placed(band(arc(60, 120), 12), 40, arc(60, 120))).astype(np.uint8)
    box = np.float32([[0, 0], [200, 0], [200, 100], [0, 100]])
    here = word_polygon(mask, (0, 0), box)
    there = word_polygon(mask, (1000, 2000), box + np.float32([1000, 2000]))
    assert len(here) == 14
    np.testing.assert_allclose(there, here + np.float32([1000, 2000]), atol=2e-3)


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


@pytest.mark.parametrize("thickness", [2, 14, 30])
def test_links_join_words_but_say_nothing_of_their_height(thickness):
    """As a link refiner's centre lines, which may be thicker than small text."""
    region, affinity = np.zeros((60, 120), np.float32), np.zeros((60, 120), np.float32)
    region[24:36, 10:50] = region[24:36, 70:110] = 1
    top = 30 - thickness // 2
    affinity[top : top + thickness, 10:110] = 1
    (polygon,) = group_words(region, affinity, polygons=True).polygons
    expand = 12 * (1 / (0.6 * math.sqrt(2 * math.log(2.5) / 0.9)))
    assert np.ptp(polygon[:, 1]) == pytest.approx(expand, abs=0.1)
    assert np.ptp(polygon[:, 0]) == pytest.approx(100 + expand - 12, abs=1.5)


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


AMPLITUDES = (0.15, 0.3, 0.6, 1.0, 1.5)


def test_ours_is_at_least_as_good_on_waves():
    """Likewise; a circle fits none of them, and along its box a wave is loose."""
    chosen = list(cases(["wave"], AMPLITUDES, (0, 30, 90, 135), [16, 32], 4))
    verdicts = run(chosen, seed=5, quiet=True)
    for (_, amplitude, turn), (box, published, ours) in mean_ious(verdicts).items():
        assert ours > 0.82, (amplitude, turn)
        assert ours > max(box, published) + 0.02, (amplitude, turn)
    ious = np.array([verdict.ious for verdict in verdicts])
    assert ious[:, 2].mean() > 0.87
    assert ious[:, 2].mean() > ious[:, :2].max(axis=1).mean() + 0.2


@pytest.mark.parametrize("amplitude", AMPLITUDES)
def test_nothing_of_a_wavy_word_is_cut_off(amplitude):
    """Neither text pixels, though a word is full of gaps, nor characters at its ends."""
    missed, total = 0, 0
    for i, case in enumerate(cases(["wave"], [amplitude], [0, 30, 90], [20, 32], 4)):
        shape = make_word(case, np.random.default_rng([9, i]), bundled_fonts())
        (region, affinity), _ = perfect_maps(case, shape)
        words = group_words(region, affinity, polygons=True)
        (polygon,) = words.polygons
        text = np.argwhere(region > 0.4)[:, ::-1].astype(np.float64)
        assert shapely.contains_xy(Polygon(polygon), text).mean() > 0.98
        assert len(polygon) >= 14 or amplitude < 0.3
        (found,) = page_characters(region, words.polygons)
        exact = shape.words[0].chars.mean(axis=1) / 2
        assert len(found) >= len(exact)
        far = np.linalg.norm(found.mean(axis=1)[:, None] - exact, axis=2).min(axis=0)
        missed += (far > 0.35 * case.height / 2).sum()
        total += len(exact)
    assert missed <= 0.02 * total


def test_straight_words_of_tall_and_small_letters_are_not_waves():
    for kind in ("line", "column"):
        for i in range(12):
            case = Case(kind, 0, 30, 24)
            shape = make_word(case, np.random.default_rng([4, i]), bundled_fonts())
            (polygon,) = group_words(*perfect_maps(case, shape)[0], polygons=True).polygons
            assert polygon.shape == (4, 2)
