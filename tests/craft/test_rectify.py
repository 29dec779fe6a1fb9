"""Words laid straight: against OpenCV's homographies, literal loops and pictures known by hand."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from shapely.geometry import MultiPoint, Point, Polygon

from mmtextplug.craft.band import Band, sampling_grid
from mmtextplug.craft.rectify import VERTICAL, polygon_band, quad_band, word_band

QUAD = [[10.0, 20.0], [70.0, 20.0], [70.0, 40.0], [10.0, 40.0]]
# Three strips of 10, 10 and 20 pixels, 4 high; the last one rises by 8.
STAIRS = [[0, 0], [10, 0], [20, 0], [40, -8], [40, -4], [20, 4], [10, 4], [0, 4]]


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def quads(draw: st.DrawFn) -> np.ndarray:
    """A convex quad, clockwise, in perspective: its corners on a turned ellipse."""
    angles = np.radians([-135, -45, 45, 135]) + [draw(numbers(-0.6, 0.6)) for _ in range(4)]
    radii = np.array([draw(numbers(2, 150)), draw(numbers(2, 150))])
    turn = draw(numbers(-3.2, 3.2))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    centre = [draw(numbers(-50, 2000)), draw(numbers(-50, 2000))]
    points = (np.stack([np.cos(angles), np.sin(angles)], 1) * radii) @ rotation + centre
    return points.astype(np.float32).astype(np.float64)


@st.composite
def ribbons(draw: st.DrawFn) -> np.ndarray:
    """An outline of 2k points along a wave: pairs across it, at uneven distances, never folded."""
    count = draw(st.integers(3, 9))
    steps = [draw(numbers(10, 40)) for _ in range(count - 1)]
    x = np.concatenate([[0.0], np.cumsum(steps)])
    y = [draw(numbers(-4, 4)) for _ in range(count)]
    heights = np.array([draw(numbers(8, 14)) for _ in range(count)])
    upper = np.stack([x, y - heights / 2], 1)
    lower = np.stack([x, y + heights / 2], 1)
    turn = draw(numbers(-3.2, 3.2))
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.concatenate([upper, lower[::-1]]) @ rotation + [500, 300]


def arc(
    centre: tuple[float, float],
    radii: tuple[float, float],
    angles: tuple[float, float],
    pairs: int,
) -> np.ndarray:
    """An outline between two circles; angles in degrees, 0 to the right, 270 up."""
    angle = np.radians(np.linspace(*angles, pairs))
    ray = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.concatenate([ray * radii[0], ray[::-1] * radii[1]]) + centre


ARC = arc((150, 150), (110, 80), (200, 340), 12)


def corners(size: tuple[int, int]) -> np.ndarray:
    width, height = size[0] - 0.5, size[1] - 0.5
    return np.array([[-0.5, -0.5], [width, -0.5], [width, height], [-0.5, height]])


def crop(image: np.ndarray, band: Band, size: tuple[int, int]) -> np.ndarray:
    x, y = sampling_grid([band], [size], size)[0].numpy().transpose(2, 0, 1)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR)


def literal_strips(polygon: np.ndarray, x: float, y: float, size: tuple[int, int]) -> np.ndarray:
    """One pixel of a crop: walk along both sides together, then go straight across."""
    half = len(polygon) // 2
    pairs = [(polygon[i], polygon[len(polygon) - 1 - i]) for i in range(half)]
    steps = []
    for (a, b), (c, d) in pairwise(pairs):
        steps.append((np.hypot(*(c - a)) + np.hypot(*(d - b))) / 2)
    left = (x + 0.5) / size[0] * sum(steps)
    for (a, b), (c, d), step in zip(pairs[:-1], pairs[1:], steps):
        if left <= step:
            top, bottom = a + (c - a) * left / step, b + (d - b) * left / step
            return top + (bottom - top) * (y + 0.5) / size[1]
        left -= step
    top, bottom = pairs[-1]
    return top + (bottom - top) * (y + 0.5) / size[1]


# --- quads --------------------------------------------------------------------------------------


def test_a_rectangle_by_hand():
    band = quad_band(np.array(QUAD))
    assert (band.length, band.height, band.tilt) == (60, 20, (0, 0))
    # Crops in the word's own proportions: 60 x 20 at a height of 32 is 96 wide.
    assert band.size(32) == (96, 32)
    assert band.size(32, max_width=64) == (64, 32)
    # Pixels of a crop of 6 x 2 are 10 x 10 in the image; their centres are half of that inside.
    got = band.to_image(np.array([[[0, 0], [5, 1]], [[-0.5, -0.5], [5.5, 1.5]]]), (6, 2))
    assert_allclose(got, [[[15, 25], [65, 35]], [[10, 20], [70, 40]]])


def test_a_trapezoid_in_perspective_by_hand():
    # The right side is half as high as the left one, so twice as far away: the denominator goes
    # from 1 to 2, and the nearer half of the crop takes two thirds of the image.
    band = quad_band(np.array([[0, 0], [60, 10], [60, 30], [0, 40]]))
    assert_allclose(band.tilt, (1, 0), atol=1e-12)
    assert_allclose(band.to_image(np.array([1.0, 0.5]), (3, 2)), [40, 20])
    assert_allclose(band.to_image(np.array([1.0, -0.5]), (3, 2)), [40, 20 / 3])
    assert_allclose(band.to_image(np.array([1.0, 1.5]), (3, 2)), [40, 40 - 20 / 3])
    assert_allclose(band.height, 30)


@settings(max_examples=150, deadline=None)
@given(quads(), st.integers(1, 300), st.integers(1, 80), st.lists(numbers(0, 1), min_size=2))
def test_quads_equal_opencv_homographies(quad, width, height, shares):
    band, size = quad_band(quad), (width, height)
    shares = np.array(shares[: len(shares) // 2 * 2], float).reshape(-1, 2)
    points = np.concatenate([shares * size - 0.5, corners(size)])
    matrix = cv2.getPerspectiveTransform(corners(size).astype(np.float32), quad.astype(np.float32))
    want = cv2.perspectiveTransform(points[None], matrix)[0]
    # OpenCV takes corners of single precision, which slivers make much of.
    assert_allclose(band.to_image(points, size), want, atol=1e-4 * np.ptp(quad, axis=0).max())
    assert_allclose(band.to_image(corners(size), size), quad, atol=1e-9)


def test_quads_that_are_not_convex_and_clockwise_have_no_homography():
    quad = np.array(QUAD)
    for order in ([0, 3, 2, 1], [0, 1, 3, 2], [0, 2, 1, 3], [0, 0, 1, 2], [0, 1, 1, 0]):
        assert quad_band(quad[order]) is None
    dented = np.array([[0, 0], [10, 0], [2, 2], [0, 10.0]])
    assert quad_band(dented) is None
    for bad in (np.nan, np.inf, 1e30):
        spoilt = quad.copy()
        spoilt[2, 1] = bad
        assert quad_band(spoilt) is None


# --- outlines -----------------------------------------------------------------------------------


def test_strips_by_hand():
    band = polygon_band(np.array(STAIRS, float))
    step = np.hypot(20, 8)
    assert_allclose(band.length, 20 + step)
    assert_allclose(band.ticks, np.array([0, 10, 20, 20 + step]) / (20 + step))
    assert_allclose(band.height, 4)
    size = (1000, 4)
    column = (20 + step / 2) / (20 + step) * 1000 - 0.5  # in the middle of the last strip
    assert_allclose(band.to_image(np.array([column, 1.5]), size), [30, -2], atol=1e-9)
    assert_allclose(band.to_image(corners(size), size), np.array(STAIRS)[[0, 3, 4, 7]], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(ribbons(), st.integers(1, 200), st.integers(1, 40), st.integers(0, 2**31))
def test_strips_equal_a_literal_walk(outline, width, height, seed):
    band, size = polygon_band(outline), (width, height)
    points = np.random.default_rng(seed).uniform(0, 1, (20, 2)) * size - 0.5
    want = [literal_strips(outline, x, y, size) for x, y in points]
    assert_allclose(band.to_image(points, size), want, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(ribbons())
def test_neighbouring_strips_meet_without_a_gap(outline):
    band, size = polygon_band(outline), (1000, 10)
    for tick in band.ticks[1:-1]:
        near = [[tick * 1000 - 0.5 + d, y] for d in (-1e-7, 1e-7) for y in (0.0, 4.0, 9.0)]
        before, after = band.to_image(np.array(near), size).reshape(2, 3, 2)
        assert_allclose(before, after, atol=1e-6)


def test_a_rail_that_stands_still_makes_no_jump():
    # A wedge (the lower side turns on the spot), and one whose middle does not move at all.
    for outline in (
        [[0, 0], [20, 0], [30, 0], [40, 0], [25, 20], [15, 20], [15, 20], [0, 20]],
        [[0, 0], [20, 0], [24, 0], [44, 0], [44, 20], [20, 20], [24, 20], [0, 20]],
    ):
        band = polygon_band(np.array(outline, float))
        assert band is not None
        columns = np.linspace(-0.5, 999.5, 5001)
        for row in (-0.5, 4.5, 9.5):
            points = np.stack([columns, np.full_like(columns, row)], 1)
            walked = np.diff(band.to_image(points, (1000, 10)), axis=0)
            assert np.abs(walked).max() < 0.05


def test_pairs_repeated_on_both_sides_change_nothing():
    plain = np.array(STAIRS, float)
    repeated = plain[[0, 1, 1, 2, 3, 4, 5, 6, 6, 7]]
    points = np.random.default_rng(0).uniform(-0.5, 9.5, (50, 2))
    want = polygon_band(plain).to_image(points, (10, 10))
    assert_allclose(polygon_band(repeated).to_image(points, (10, 10)), want, atol=1e-9)


def test_an_odd_outline_is_divided_by_length_and_ends_where_it_is_square():
    # Two points above, three below, and the other way round.
    for outline in (
        [[0, 0], [40, 0], [40, 10], [10, 10], [0, 10]],
        [[0, 0], [10, 0], [40, 0], [40, 10], [0, 10]],
    ):
        band = polygon_band(np.array(outline, float))
        points = np.array([[10.0, 2.0], [39.5, 9.5]])
        assert_allclose(band.to_image(points, (40, 10)), points + 0.5, atol=1e-9)
        assert (band.length, band.height) == (40, 10)
    # A finer upper side: 11 points to 8.
    fine = arc((150, 150), (110, 80), (200, 340), 11)[:11]
    coarse = arc((150, 150), (110, 80), (200, 340), 8)[8:]
    band = polygon_band(np.concatenate([fine, coarse]))
    assert_allclose(band.upper[[0, -1]], fine[[0, -1]])
    assert_allclose(band.lower[[-1, 0]], coarse[[0, -1]])
    assert_allclose(band.to_image(np.array([9.5, 9.5]), (20, 20)), [150, 55], atol=1.5)


def test_an_even_outline_that_does_not_end_in_its_middle():
    # Two points above and four below: paired one by one the second pair would lie aslant.
    outline = np.array([[0, 0], [60, 0], [60, 12], [40, 12], [20, 12], [0, 12]], float)
    band = polygon_band(outline)
    points = np.array([[30.0, 2.0], [-0.5, 11.5], [59.5, -0.5]])
    assert_allclose(band.to_image(points, (60, 12)), points + 0.5, atol=1e-9)


@pytest.mark.parametrize("turn", range(4))
def test_an_outline_that_begins_in_the_middle_of_a_side(turn):
    # Bent like a roof, and begun at the ridge. Where it begins is not known, so it reads to the
    # right or, turned to stand, downwards.
    roof = np.array([[30, 0], [60, 8], [58, 20], [29, 12], [0, 20], [2, 8]], float)
    matrix = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turn)
    outline = roof @ matrix
    band = polygon_band(outline)
    start, end = (band.upper[0] + band.lower[0]) / 2, (band.upper[-1] + band.lower[-1]) / 2
    ends = np.array([[1, 14], [59, 14]]) @ matrix
    assert_allclose([start, end], ends[np.argsort(ends.sum(1))], atol=1e-9)
    assert Polygon(np.concatenate([band.upper, band.lower[::-1]])).exterior.is_ccw  # y points down
    assert_allclose(
        Polygon(np.concatenate([band.upper, band.lower[::-1]])).area, Polygon(outline).area
    )


def test_an_outline_that_begins_below_its_upper_side():
    # From the lower left corner upwards; the upper side is bent at 20, not in its middle.
    outline = np.array([[2, 14], [0, 4], [20, 0], [60, 8], [58, 20], [20, 10]], float)
    for points in (outline, np.roll(outline, -3, axis=0)):  # and the other way up
        band = polygon_band(points)
        assert_allclose(band.upper[[0, -1]], outline[[1, 3]])
        assert_allclose(band.lower[[0, -1]], outline[[0, 4]])
        share = np.hypot(20, 4) / (np.hypot(20, 4) + np.hypot(40, 8))
        got = band.to_image(np.array([band.ticks[1] * 60 - 0.5, -0.5]), (60, 10))
        assert_allclose(got, [20, 0], atol=1.5)
        assert_allclose(band.ticks[1], share, atol=0.03)


def test_what_is_not_much_squarer_does_not_move_the_beginning():
    # From corner 1 on, 0.957 instead of 0.927.
    pentagon = np.array([[0, 0], [40, 0], [46, 14], [40, 30], [4, 28]], float)
    assert_array_equal(polygon_band(pentagon).upper[0], [0, 0])


@pytest.mark.parametrize("lean", [20, 45])
def test_slanted_pairs_stay_as_they_are_annotated(lean):
    # Italic, unevenly paired: squarely enough at 20 degrees; at 45 other pairs are no better.
    shift = 20 * np.tan(np.radians(lean))
    outline = [[0, 0], [20, 0], [60, 0], [60 - shift, 20], [26 - shift, 20], [-shift, 20]]
    band = polygon_band(np.array(outline))
    assert_array_equal(band.upper, outline[:3])
    assert_array_equal(band.lower, outline[:2:-1])


def test_what_no_pairing_crosses_squarely_is_a_rectangle():
    # Begins with a tip, as if both sides shared their first point.
    tip = np.array([[0, 40], [90, 0], [150, 10], [150, 30], [90, 38]], float)
    assert polygon_band(tip) is None
    band = word_band(tip)
    around = Polygon(band.to_image(corners((9, 9)), (9, 9)))
    assert_allclose(around.area, Polygon(tip).minimum_rotated_rectangle.area, rtol=1e-5)
    assert around.buffer(1e-3).covers(Polygon(tip))
    start, end = band.to_image(np.array([[-0.5, 4], [8.5, 4]]), (9, 9))
    assert end[0] - start[0] > 100


def test_outlines_that_fold_are_no_bands():
    crossing = np.array([[0, 0], [10, 0], [20, 0], [0, 10], [10, 10], [20, 10]], float)
    assert polygon_band(crossing) is None
    assert polygon_band(np.array(STAIRS[::-1], float)) is None
    # 40 long, with a step back of 5 on both sides.
    back = np.array([[0, 0], [20, 0], [15, 0], [40, 0], [40, 10], [15, 10], [20, 10], [0, 10]])
    assert polygon_band(back) is None
    fan = np.array([[0, 0], [20, 0], [40, 0], [20, 20], [20, 20]])  # one side is a single point
    with np.errstate(all="raise"):
        assert polygon_band(np.zeros((6, 2))) is None
        assert word_band(fan) is not None
    assert polygon_band(np.array([[0, 0], [5, 0], [9, 0], [9, 0], [5, 0], [0, 0]])) is None
    assert polygon_band(np.array(STAIRS, float)[:3]) is None


# --- annotated words ----------------------------------------------------------------------------


def test_a_high_word_reads_downwards():
    high = np.array([[0, 0], [10, 0], [10, 31], [0, 31]], float)
    band = word_band(high, length=5)
    assert (band.length, band.height) == (31, 10)
    # The crop's left end is the top of the word, its upper side the right one.
    assert_allclose(band.to_image(corners((31, 10)), (31, 10)), high[[1, 2, 3, 0]])
    assert word_band(high).length == 31
    for kept in (word_band(high, length=1), word_band(high, length=5, vertical=3.1)):
        assert (kept.length, kept.height) == (10, 31)
    at_limit = high * [1, VERTICAL * 10 / 31]
    assert word_band(at_limit).length == 10
    # The same as an outline of six points, which says that it reads to the right.
    outline = high[[0, 0, 1, 2, 2, 3]]
    outline[[1, 4], 0] = 5
    assert (word_band(outline).length, word_band(outline, length=1).length) == (31, 10)
    assert_allclose(word_band(outline).to_image(corners((9, 9)), (9, 9)), high[[1, 2, 3, 0]])


@pytest.mark.parametrize("turn", range(4))
def test_a_wide_word_reads_from_its_first_corner(turn):
    quad = np.roll(np.array(QUAD), -turn, axis=0)
    if turn % 2 == 0:
        assert_allclose(word_band(quad).to_image(corners((3, 3)), (3, 3)), quad)
    else:  # begun along a short side, it is three times as high as wide
        assert_allclose(
            word_band(quad).to_image(corners((3, 3)), (3, 3)), np.roll(quad, -1, axis=0)
        )


@settings(max_examples=60, deadline=None)
@given(quads(), st.integers(1, 9))
def test_what_is_clockwise_in_a_crop_is_so_in_the_image(quad, length):
    band = word_band(quad, length=length)
    assert band.length * VERTICAL >= band.height or length == 1
    box = band.to_image(np.array([[2, 1], [5, 1], [5, 6], [2, 6.0]]), (20, 8))
    assert not Polygon(box * [1, -1]).exterior.is_ccw
    assert Polygon(quad).buffer(1e-6).covers(Polygon(box))


def test_counter_clockwise_words_are_turned():
    quad = np.array([[0, 2], [50, 0], [52, 20], [1, 24]], float)
    got = word_band(quad[[0, 3, 2, 1]]).to_image(corners((9, 9)), (9, 9))
    assert_allclose(got, quad, atol=1e-9)
    for backwards in (ARC[::-1], np.roll(ARC[::-1], 12, axis=0)):
        got, want = word_band(backwards), word_band(ARC)
        assert_allclose(got.upper, want.upper)
        assert_allclose(got.lower, want.lower)


def test_an_outline_closed_by_its_first_point():
    quad = np.array([[0, 0], [60, 10], [60, 30], [0, 40]], float)
    closed = word_band(np.concatenate([quad, quad[:1]]))
    assert_allclose(closed.tilt, (1, 0), atol=1e-12)  # the homography, no strips
    assert_array_equal(closed.upper, quad[:2])
    stairs = np.array(STAIRS, float)
    assert_array_equal(
        word_band(np.concatenate([stairs, stairs[:1]])).ticks, word_band(stairs).ticks
    )


def test_what_is_no_band_counts_as_the_rectangle_around_it():
    # A bow tie, and a zigzag that crosses itself, far from the origin; read as their points run.
    bow = np.array([[0, 0], [40, 0], [0, 10], [40, 10]], float) + 90_001
    assert_allclose(word_band(bow).to_image(corners((8, 2)), (8, 2)), bow[[0, 1, 3, 2]], atol=1e-4)
    up = np.array([[0, 40], [0, 20], [0, 0], [10, 40], [10, 20], [10, 0]], float) + 90_001
    assert_allclose(word_band(up).to_image(corners((8, 2)), (8, 2)), up[[0, 2, 5, 3]], atol=1e-4)
    triangle = word_band(np.array([[0, 20], [30, 0], [60, 20]], float), length=1)
    assert_allclose([triangle.length, triangle.height], [60, 20], atol=1e-4)


def test_words_without_area_or_with_bad_numbers_are_none():
    quad = np.array(QUAD)
    for nothing in (
        np.zeros((0, 2)),
        quad[:1],
        quad[:2],
        np.zeros((4, 2)),
        np.repeat(quad[:1], 9, axis=0),
        np.array([[0, 0], [10, 0], [20, 0], [5, 0]]),
        np.linspace([0, 0], [30, 10], 8),
        quad * 1e-5,
        quad * 1e30,
        quad * [1, np.nan],
        quad * [np.inf, 1],
        np.array(STAIRS) * [1, np.nan],
    ):
        assert word_band(nothing, length=3) is None
    assert word_band(np.array([[5, 5], [6, 5], [6, 6], [5, 6]]), length=12).size(32) == (32, 32)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 1.5, 100.0, 1e-6, 1e6, -3e7, 1e300])
            | st.floats(-1e3, 1e3)
            | st.floats(allow_nan=True, allow_infinity=True),
            st.sampled_from([0.0, 1.0, 1.5, 100.0, 1e-6, 1e6]) | st.floats(-1e3, 1e3),
        ),
        max_size=12,
    ),
    st.none() | st.integers(0, 3),
)
@example([(0, 0), (1e6, 0), (1e6, 0.01), (0, 0.01)], 3)
@example([(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)], None)
def test_any_outline_gives_none_or_finite_points(points, length):
    with np.errstate(all="raise", under="ignore"):
        band = word_band(np.array(points, float).reshape(-1, 2), length=length)
    if band is None:
        return
    assert min(band.length, band.height) > 0
    assert (np.diff(band.ticks) >= 0).all()
    assert_array_equal(band.ticks[[0, -1]], [0, 1])
    size = band.size(16)
    assert 1 <= size[0] <= 16_000
    grid = sampling_grid([band], [(7, 3)], (9, 4))
    assert torch.isfinite(grid).all()
    span = np.abs(points).max() + 1e-3
    assert np.abs(band.to_image(np.array([[-9.0, -9], [3, 1], [99, 99]]), size)).max() < 3 * span


# --- sections -----------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(quads() | ribbons(), st.integers(0, 39), st.integers(1, 40), st.integers(0, 2**31))
def test_a_part_is_the_whole_between_two_columns(outline, start, count, seed):
    band, stop = word_band(outline, length=1), min(start + count, 40)
    part = band.part(start / 40, stop / 40)
    points = np.random.default_rng(seed).uniform(0, 1, (20, 2)) * [stop - start, 8] - 0.5
    want = band.to_image(points + np.array([start, 0]), (40, 8))
    assert_allclose(part.to_image(points, (stop - start, 8)), want, atol=1e-8)
    assert_array_equal(part.ticks[[0, -1]], [0, 1])
    if any(band.tilt):
        # The very homography of its four corners.
        ends = band.to_image(corners((stop - start, 8)) + np.array([start, 0]), (40, 8))
        again = quad_band(ends)
        assert_allclose(part.tilt, again.tilt, atol=1e-6)
        assert_allclose([part.length, part.height], [again.length, again.height])


def test_a_part_has_its_own_length_and_height():
    # Rails of 10 + 30 pixels, 4 high in the first strip, then growing to 12.
    outline = [[0, 0], [10, 0], [40, 0], [40, 12], [10, 4], [0, 4]]
    band = polygon_band(np.array(outline, float))
    second = (30 + np.hypot(30, 8)) / 2
    assert_allclose(band.length, 10 + second)
    assert_allclose(band.height, (10 * 4 + second * 8) / (10 + second))
    first = band.part(0, band.ticks[1])
    assert_allclose([first.length, first.height], [10, 4])
    rest = band.part((10 + second / 2) / band.length, 1)
    assert_allclose([rest.length, rest.height], [second / 2, 10])
    halves = band.part(0.2, 0.8).part(0.5, 1)
    assert_allclose(
        halves.to_image(corners((4, 4)), (4, 4)),
        band.part(0.5, 0.8).to_image(corners((4, 4)), (4, 4)),
    )


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.6, 0.5), (-0.1, 1), (0, 1.1), (np.nan, 1)])
def test_a_part_must_lie_within(shares):
    with pytest.raises(ValueError, match="need 0 <= start < end <= 1, got start="):
        quad_band(np.array(QUAD)).part(*shares)


# --- batches ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(quads() | ribbons(), st.integers(1, 40), st.integers(1, 12)), max_size=5))
def test_a_padded_batch_equals_its_crops_pixel_by_pixel(words):
    bands = [word_band(outline) for outline, *_ in words]
    sizes = [(width, height) for _, width, height in words]
    grid = sampling_grid(bands, sizes, (45, 14))
    assert grid.shape == (len(words), 14, 45, 2)
    assert grid.dtype == torch.float32
    for band, (width, height), got in zip(bands, sizes, grid.numpy()):
        # Padding stays on the last end and on the lower side.
        x, y = np.minimum(np.arange(45), width - 0.5), np.minimum(np.arange(14), height - 0.5)
        want = band.to_image(np.stack(np.meshgrid(x, y), axis=-1), (width, height))
        assert_allclose(got, want, rtol=1e-6, atol=2e-3)


def test_steep_perspective_is_exact_in_single_precision():
    # The far side is 300 times smaller, 3,000 pixels away from the origin.
    quad = np.array([[3000, 3000], [3300, 3149.5], [3300, 3150.5], [3000, 3300]])
    band = quad_band(quad)
    got = sampling_grid([band], [(64, 32)], (64, 32))[0]
    grid = np.stack(np.meshgrid(np.arange(64), np.arange(32)), axis=-1)
    assert_allclose(got.numpy(), band.to_image(grid, (64, 32)), atol=2e-3)
    turned = quad_band(np.roll(quad, 1, axis=0))
    got = sampling_grid([turned], [(32, 64)], (32, 64))[0]
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(64)), axis=-1)
    assert_allclose(got.numpy(), turned.to_image(grid, (32, 64)), atol=2e-3)


# --- pictures -----------------------------------------------------------------------------------


def test_dots_on_an_arc_come_out_in_a_line():
    # Dots at a tenth, 35 %, half and 80 % of the arc, the third one nearer to the outer side.
    image = np.zeros((200, 300), np.float32)
    y, x = np.mgrid[:200, :300]
    shares, radii = [0.1, 0.35, 0.5, 0.8], [95, 95, 104, 95]
    for share, radius in zip(shares, radii):
        angle = np.radians(200 + 140 * share)
        cx, cy = 150 + radius * np.cos(angle), 150 + radius * np.sin(angle)
        image = np.maximum(image, np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18))
    band = word_band(arc((150, 150), (110, 80), (200, 340), 29))
    size = band.size(60)
    # 95 pixels by 140 degrees; 30 pixels high, shown twice as large.
    assert size[0] == pytest.approx(2 * 95 * np.radians(140), abs=1)
    flat = crop(image, band, size)
    for share, radius in zip(shares, radii):
        column, row = share * size[0] - 0.5, (110 - radius) * 2 - 0.5
        left = max(int(column) - 15, 0)
        found = np.unravel_index(flat[:, left : left + 31].argmax(), (60, 31))
        assert_allclose([found[1] + left, found[0]], [column, row], atol=1.2)
        assert flat[found[0], found[1] + left] > 0.95


def test_a_picture_on_a_slanted_wall_comes_back():
    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.uniform(0, 1, (40, 120)).astype(np.float32), (0, 0), 4)
    picture = (picture - picture.min()) / np.ptp(picture)
    quad = np.array([[30, 60], [250, 20], [270, 160], [50, 130]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners((120, 40)).astype(np.float32), quad)
    page = cv2.warpPerspective(picture, matrix, (300, 200), borderMode=cv2.BORDER_REPLICATE)
    flat = crop(page, word_band(quad), (120, 40))
    assert np.abs(flat - picture).max() < 0.03


@settings(max_examples=20, deadline=None)
@given(ribbons() | st.just(ARC), st.integers(1, 12))
def test_characters_of_a_curved_word_lie_within_it(outline, count):
    band, size = word_band(outline, length=count), (12 * count, 16)
    word, areas = Polygon(outline).buffer(1e-6), []
    cuts = np.linspace(-0.5, size[0] - 0.5, count + 1)
    for left, right in pairwise(cuts):
        across = np.linspace(left, right, 400)
        top = np.stack([across, np.full_like(across, -0.5)], 1)
        bottom = np.stack([across[::-1], np.full_like(across, 15.5)], 1)
        outside = [Point(p) for p in band.to_image(np.concatenate([top, bottom]), size)]
        assert word.covers(MultiPoint(outside))
        box = Polygon(outside)
        areas.append(box.area)
        # What its sides cut off where the outline bends, between two of the points, is nothing.
        assert box.difference(word).area < 1e-3 * box.area
    # Together they are the word.
    assert_allclose(sum(areas), Polygon(outline).area, rtol=1e-3)
