"""Rectangles against a brute-force search, polygons against fine offsets, words by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.db.boxes import (
    ARC_TOLERANCE,
    WordRules,
    find_words,
    offset_polygons,
    offset_rectangles,
)
from mmtextplug.db.outlines import Outlines, component_outlines
from mmtextplug.db.targets import db_targets

# --- boxes -------------------------------------------------------------------------------------


def random_ring(rng: np.random.Generator, points: int, reach: int) -> np.ndarray:
    """A ring of whole numbers somewhere on a map, most often with dents, no point twice in a row.

    Small ones cross and touch themselves by rounding, others by a few points being swapped.
    """
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    radius = rng.uniform(0.3, 1, points) * reach
    stretch = rng.uniform(0.2, 1)
    ring = np.stack([np.cos(angles), stretch * np.sin(angles)], 1) * radius[:, None]
    if rng.random() < 0.3:
        ring[1:4] = ring[[2, 3, 1]]
    ring = (ring + rng.uniform(0, 3000, 2)).round().astype(np.int32)
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    return ring if len(ring) > 2 else random_ring(rng, points, reach + 1)


def exact_offset(ring: np.ndarray, distance: float) -> shapely.Polygon:
    """All within a distance of a closed curve or inside it: a fine capsule around each edge."""
    edges = shapely.linestrings(np.stack([ring, np.roll(ring, -1, axis=0)], axis=1))
    merged = shapely.unary_union(shapely.buffer(edges, distance, quad_segs=128))
    return shapely.Polygon(merged.exterior)


def least_area(ring: np.ndarray, distance: float) -> float:
    """Least (w + 2D)(h + 2D) over very many directions."""
    angles = np.linspace(0, np.pi / 2, 20_001)
    extents = []
    for axis in (np.array([np.cos(angles), np.sin(angles)]),
                 np.array([-np.sin(angles), np.cos(angles)])):  # fmt: skip
        extents.append(np.ptp((ring - ring[0]) @ axis, axis=0) + 2 * distance)
    return float((extents[0] * extents[1]).min())


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 12), st.integers(3, 300), st.floats(0.1, 3))
def test_rectangle_is_the_least_around_the_offset_outline(seed, points, reach, ratio):
    ring = random_ring(np.random.default_rng(seed), points, reach)
    polygon = shapely.Polygon(ring)
    (distance,), (box,), (width,) = offset_rectangles(Outlines.of([ring]), ratio)
    assert distance == pytest.approx(polygon.area * ratio / polygon.length, rel=1e-12)
    if polygon.area == 0:
        assert width == 0
        return
    box = box.astype(np.float64)
    sides = np.linalg.norm(np.diff(box[:3], axis=0), axis=1)
    assert min(sides) == pytest.approx(width, abs=2e-3)
    # Least: no direction gives less (a grid of directions gives a little more, rarely).
    least = least_area(ring, distance)
    assert sides.prod() == pytest.approx(least, rel=2e-3, abs=0.01)
    assert sides.prod() <= least * (1 + 1e-4) + 0.01
    # Around: the outline, offset on its own with very fine arcs, lies in it; corners float32.
    curve = exact_offset(ring, distance)
    assert shapely.Polygon(box).buffer(5e-3).covers(curve)
    # Shapely's own search finds none smaller around it.
    assert shapely.oriented_envelope(curve).area == pytest.approx(sides.prod(), rel=1e-3, abs=0.02)
    # A rectangle, clockwise.
    assert (box[1] - box[0]) @ (box[2] - box[1]) == pytest.approx(0, abs=2e-3 * sides.sum())
    assert shapely.is_ccw(shapely.LinearRing(box))


def test_rectangles_by_hand():
    upright = np.array([[10, 5], [10, 15], [50, 15], [50, 5]], np.int32)
    tilted = np.array([[0, 0], [30, 40], [26, 43], [-4, 3]], np.int32)  # 50 x 5
    flat = np.array([[0, 0], [5, 0], [9, 0], [3, 0]], np.int32)
    eight = np.array([[0, 0], [4, 4], [4, 0], [0, 4]], np.int32)  # its halves cancel out
    distance, boxes, width = offset_rectangles(Outlines.of([upright, tilted, flat, eight]), 1.5)
    assert distance.tolist() == pytest.approx([1.5 * 400 / 100, 1.5 * 250 / 110, 0, 0])
    assert width.tolist() == pytest.approx([22, 5 + 2 * 1.5 * 250 / 110, 0, 0])
    assert sorted(boxes[0].tolist()) == [[4, -1], [4, 21], [56, -1], [56, 21]]
    assert boxes[1].mean(axis=0).tolist() == pytest.approx([13, 21.5], abs=1e-5)
    long = np.linalg.norm(np.diff(boxes[1], axis=0), axis=1).max()
    assert long == pytest.approx(50 + 2 * distance[1], abs=1e-4)


def test_a_margin_is_added_before_the_offset():
    # 10 x 30 grown by half a pixel: A = 300 + 40 + pi / 4, L = 80 + pi.
    ring = np.array([[0, 0], [30, 0], [30, 10], [0, 10]], np.int32)
    (distance,), (box,), (width,) = offset_rectangles(Outlines.of([ring]), 1.5, 0.5)
    expected = 1.5 * (340 + np.pi / 4) / (80 + np.pi) + 0.5
    assert distance == pytest.approx(expected)
    assert width == pytest.approx(10 + 2 * expected)
    assert np.ptp(box, axis=0).tolist() == pytest.approx([30 + 2 * expected, 10 + 2 * expected])
    assert offset_rectangles(Outlines.of([ring]), 1.5)[0][0] == pytest.approx(1.5 * 300 / 80)


def test_half_a_pixel_gives_exact_kernels_of_low_words_back():
    rng = np.random.default_rng(0)
    overlaps = {0.0: [], 0.5: []}
    for _ in range(60):
        height = rng.uniform(8, 14)
        extent = (height * rng.uniform(2, 5), height)
        word = cv2.boxPoints(((60 + rng.random(), 40 + rng.random()), extent, rng.uniform(-20, 20)))
        kernel = db_targets([word], [False], (80, 120)).kernel[0].numpy()
        for margin, found in overlaps.items():
            boxes = find_words(kernel, rules=WordRules(margin=margin)).boxes
            truth, best = shapely.Polygon(word), 0.0
            for box in boxes:
                other = shapely.Polygon(box)
                best = max(best, truth.intersection(other).area / truth.union(other).area)
            found.append(best)
    assert np.mean(overlaps[0.5]) > 0.8
    assert np.mean(overlaps[0.5]) > np.mean(overlaps[0.0]) + 0.1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 2.0]), st.floats(3, 15))
def test_nothing_is_dropped_early_that_would_be_wide_enough(seed, margin, least):
    rng = np.random.default_rng(seed)
    mask = (rng.random((40, 60)) < 0.7).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 3), np.uint8))
    counts = []
    for early in (0.0, least):
        outlines = component_outlines(
            mask, epsilon_ratio=0.01, unclip_ratio=1.5, min_width=early, margin=margin
        )
        counts.append(int((offset_rectangles(outlines, 1.5, margin)[2] >= least).sum()))
    assert counts[0] == counts[1]


# --- polygons ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(4, 12), st.integers(5, 400), st.floats(0.05, 2))
def test_polygons_are_fine_offsets_but_for_the_arcs(seed, points, reach, ratio):
    rng = np.random.default_rng(seed)
    rings = [random_ring(rng, points, reach) for _ in range(3)]
    distance = ratio * reach / 10 * np.array([1, 0.5, 0.1])
    for ring, d, grown in zip(rings, distance, offset_polygons(Outlines.of(rings), distance)):
        fine = exact_offset(ring, d)
        found = shapely.Polygon(grown.astype(np.float64))
        assert grown.dtype == np.float32
        assert found.is_valid
        assert shapely.is_ccw(found.exterior)
        # GEOS simplifies dents of the input by up to a hundredth of the distance.
        tolerance = ARC_TOLERANCE + 0.01 * d + 1e-3
        assert fine.buffer(tolerance).covers(found)
        assert found.buffer(tolerance).covers(fine)


def test_an_outline_that_crosses_itself_loses_no_part():
    bow = np.array([[0, 0], [20, 20], [20, 0], [0, 30]], np.int32)
    (grown,) = offset_polygons(Outlines.of([bow]), np.array([2.0]))
    assert shapely.Polygon(grown).buffer(ARC_TOLERANCE).covers(shapely.MultiPoint(bow).buffer(1.9))


def test_spikes_get_round_ends_too():
    # Two outlines at once: a square with a line out and back, and a plain square.
    spike = np.array([[0, 0], [10, 0], [10, 5], [30, 5], [10, 5], [10, 10], [0, 10]], np.int32)
    plain = np.array([[0, 0], [0, 9], [9, 9], [9, 0]], np.int32) + 50
    grown = offset_polygons(Outlines.of([plain, spike]), np.array([2.0, 3.0]))
    assert [*grown[0].min(axis=0), *grown[0].max(axis=0)] == [48, 48, 61, 61]
    assert [*grown[1].min(axis=0), *grown[1].max(axis=0)] == [-3, -3, 33, 13]


def test_a_gap_that_closes_leaves_the_outer_ring():
    # A letter C, 30 x 30, with a gap of 4: offset by 3 on either side it closes around a hole.
    c = [[0, 0], [30, 0], [30, 13], [25, 13], [25, 5], [5, 5], [5, 25], [25, 25], [25, 17],
         [30, 17], [30, 30], [0, 30]]  # fmt: skip
    (grown,) = offset_polygons(Outlines.of([np.array(c, np.int32)]), np.array([3.0]))
    square = shapely.box(0, 0, 30, 30).buffer(3, quad_segs=256)
    # Filled, but for a notch of the gap's mouth.
    assert shapely.Polygon(grown).area == pytest.approx(square.area, rel=0.01)


def test_an_offset_of_nothing_leaves_the_outline():
    ring = np.array([[3, 4], [3, 14], [23, 14], [23, 4]], np.int32)
    (grown,) = offset_polygons(Outlines.of([ring]), np.array([0.0]))
    assert sorted(grown.tolist()) == sorted(ring.tolist())
    assert shapely.is_ccw(shapely.LinearRing(grown))
    assert offset_polygons(Outlines.of([]), np.zeros(0)) == []


# --- words -------------------------------------------------------------------------------------


def page(size: tuple[int, int], *boxes: tuple[int, int, int, int, float]) -> np.ndarray:
    """Probabilities with bright boxes (left, top, right, bottom exclusive, value)."""
    prob = np.zeros(size, np.float32)
    for left, top, right, bottom, value in boxes:
        prob[top:bottom, left:right] = value
    return prob


def test_a_word_by_hand():
    # 41 x 11 pixels: the contour through their centres is 40 x 10, so D' = 1.5 * 400 / 100 = 6.
    words = find_words(page((40, 80), (20, 15, 61, 26, 0.8)), polygons=True)
    assert words.boxes.tolist() == [[[14, 9], [66, 9], [66, 31], [14, 31]]]
    assert words.scores.tolist() == pytest.approx([0.8])
    outline = shapely.Polygon(words.polygons[0])
    exact = 400 + 6 * 100 + math.pi * 36
    assert outline.area == pytest.approx(exact, rel=0.01)
    assert outline.bounds == (14, 9, 66, 31)


def test_words_come_by_score_and_equal_ones_from_the_top():
    boxes = [(5, 5, 25, 15, 0.5), (5, 30, 25, 40, 0.9), (40, 30, 60, 40, 0.5), (40, 5, 60, 15, 0.5)]
    prob = page((50, 70), *boxes)
    words = find_words(prob, polygons=True)
    assert words.scores.tolist() == pytest.approx([0.9, 0.5, 0.5, 0.5])
    centres = [[14.5, 34.5], [14.5, 9.5], [49.5, 9.5], [49.5, 34.5]]
    assert words.boxes.mean(axis=1).tolist() == centres
    outlined = shapely.centroid([shapely.Polygon(polygon) for polygon in words.polygons])
    assert shapely.get_coordinates(outlined) == pytest.approx(np.array(centres), abs=0.05)
    for limit in range(5):
        some = find_words(prob, rules=WordRules(max_candidates=limit), polygons=True)
        assert np.array_equal(some.boxes, words.boxes[:limit])
        assert len(some.polygons) == min(limit, 4)


def test_noise_does_not_take_the_place_of_a_word():
    rng = np.random.default_rng(0)
    prob = (rng.random((300, 300)) < 0.2).astype(np.float32) * 0.9  # thousands of components
    prob[:, :100] = 0
    prob[40:60, 20:80] = 0.6
    rules = WordRules(max_candidates=1, min_text_width=20)
    words = find_words(prob, rules=rules, polygons=True)
    assert words.scores.tolist() == pytest.approx([0.6])


def test_holes_are_no_words_and_what_lies_within_is_one():
    prob = page((60, 90), (10, 10, 80, 50, 0.9), (15, 15, 75, 45, 0), (30, 25, 60, 36, 0.7))
    words = find_words(prob, polygons=True)
    assert len(words) == 2
    assert words.boxes[0].mean(axis=0).tolist() == [44.5, 30]  # the inner: a higher mean
    frame = 70 * 40 - 60 * 30
    expected = (frame * 0.9 + 30 * 11 * 0.7) / (70 * 40)
    assert words.scores.tolist() == pytest.approx([0.7, expected])


@pytest.mark.parametrize("polygons", [False, True])
def test_least_size_is_that_of_the_word_and_alike_for_polygons(polygons):
    # 21 x 4 pixels: 20 x 3, D' = 1.5 * 60 / 46; the shorter side is 3 + 2 D' = 6.91.
    prob = page((20, 40), (5, 5, 26, 9, 0.9))
    side = 3 + 2 * 1.5 * 60 / 46
    for width, count in ((0, 1), (side - 0.01, 1), (side + 0.01, 0)):
        words = find_words(prob, rules=WordRules(min_text_width=width), polygons=polygons)
        assert len(words) == count
        assert (words.polygons is None) is not polygons
    assert len(find_words(prob, rules=WordRules(min_text_score=0.91))) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1, 30))
def test_early_checks_drop_no_word(seed, width):
    rng = np.random.default_rng(seed)
    prob = cv2.GaussianBlur(rng.random((60, 70)).astype(np.float32), (0, 0), rng.uniform(0.5, 3))
    prob = (prob - prob.min()) / np.ptp(prob)
    every = find_words(prob, 0.5, WordRules(min_text_width=0))
    sides = np.linalg.norm(np.diff(every.boxes[:, :3], axis=1), axis=2).min(axis=1)
    unclear = np.abs(sides - width) < 1e-3
    some = find_words(prob, 0.5, WordRules(min_text_width=width)).boxes.tolist()
    wide = every.boxes[(sides >= width) & ~unclear].tolist()
    assert [b for b in some if b in wide] == wide
    assert len(wide) <= len(some) <= len(wide) + unclear.sum()


def test_a_map_of_thresholds_takes_the_place_of_the_number():
    rng = np.random.default_rng(1)
    prob = cv2.GaussianBlur(rng.random((80, 90)).astype(np.float32), (0, 0), 3)
    prob = (prob - prob.min()) / np.ptp(prob)
    plain = find_words(prob, 0.3)
    same = find_words(prob, np.full((80, 90), 0.3, np.float32))
    assert len(plain) > 0
    assert np.array_equal(same.boxes, plain.boxes)
    assert np.array_equal(same.scores, plain.scores)
    # Right of the word's middle the threshold is out of reach, or is no number.
    prob = page((40, 80), (20, 15, 61, 26, 0.8))
    for value in (0.9, np.nan, np.inf, -np.inf):
        threshold = np.full(prob.shape, 0.3)
        threshold[:, 41:] = value
        (box,) = find_words(prob, torch.from_numpy(threshold)).boxes
        assert box.mean(axis=0).tolist() == [30, 20]


@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.2, np.nan, np.inf, -np.inf, -3.0])
@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1), (30, 40)])
def test_maps_without_text(shape, value, polygons):
    words = find_words(np.full(shape, value, np.float32), polygons=polygons)
    assert words.boxes.shape == (0, 4, 2)
    assert words.scores.shape == (0,)
    assert words.polygons == ([] if polygons else None)


def test_small_and_large_maps_full_of_text():
    for shape in [(1, 1), (1, 30), (2, 2)]:
        assert len(find_words(np.ones(shape, np.float32), polygons=True)) == 0
    dot = page((9, 9), (4, 4, 5, 5, 1.0))
    assert len(find_words(dot, rules=WordRules(min_text_width=0), polygons=True)) == 0
    # Past what 16 bits hold: 40,000 wide.
    rules = WordRules(epsilon_ratio=1e-4)
    words = find_words(np.ones((31, 40_001), np.float32), rules=rules, polygons=True)
    distance = 1.5 * 30 * 40_000 / (2 * 40_030)
    corners = [-distance, -distance, 40_000 + distance, 30 + distance]
    assert [*words.boxes[0].min(axis=0), *words.boxes[0].max(axis=0)] == pytest.approx(corners)
    assert [*words.polygons[0].min(axis=0), *words.polygons[0].max(axis=0)] == pytest.approx(
        corners
    )
    assert words.scores.tolist() == [1]


def test_numbers_that_are_none_are_not_text():
    prob = page((40, 80), (20, 15, 61, 26, 0.8))
    expected = find_words(prob)
    prob[0, 0], prob[5, 70], prob[39] = np.inf, np.nan, -np.inf
    words = find_words(prob)
    assert np.array_equal(words.boxes, expected.boxes)
    assert np.array_equal(words.scores, expected.scores)


def test_bad_input():
    with pytest.raises(ValueError, match=r"prob must be a \(H, W\) array"):
        find_words(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match="threshold must be"):
        find_words(np.zeros((3, 4)), np.zeros((1, 3, 4)))
    with pytest.raises(ValueError, match=r"same shape, got \(3, 4\) and \(4, 3\)"):
        find_words(np.zeros((3, 4)), np.zeros((4, 3)))
    for name in ("min_text_score", "min_text_width", "unclip_ratio", "epsilon_ratio"):
        for value in (-1, np.nan, np.inf, "1", None):
            with pytest.raises(ValueError, match=f"{name} must be a finite number"):
                WordRules(**{name: value})
