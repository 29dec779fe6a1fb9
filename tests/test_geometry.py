"""Quads, homographies, windows and filled polygons against hand-computed and exact references."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon

from mmtextplug import geometry
from mmtextplug.geometry import (
    Windows,
    convex_quads,
    cross,
    diagonal_intersection,
    fill_polygons,
    polygon_area,
    quad_to_square,
)

SQUARE = [[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]]  # clockwise on the screen


def coordinates(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def inscribed_quads(draw: st.DrawFn, low: float = 0.0, high: float = 30.0) -> np.ndarray:
    """A convex quad, clockwise, its corners on a rotated ellipse: never affine to a square."""
    angles = np.radians([-135, -45, 45, 135]) + [draw(coordinates(-0.6, 0.6)) for _ in range(4)]
    radii = np.array([draw(coordinates(1.5, 12.0)), draw(coordinates(1.5, 12.0))])
    turn = draw(coordinates(-3.2, 3.2))
    centre = [draw(coordinates(low, high)), draw(coordinates(low, high))]
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (np.stack([np.cos(angles), np.sin(angles)], 1) * radii) @ rotation + centre


# --- area, convexity, centre -------------------------------------------------------------------


def test_cross_is_the_signed_area_of_two_vectors():
    assert cross(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 4.0])) == 10
    assert cross(torch.tensor([2.0, 4.0]), torch.tensor([3.0, 1.0])) == -10


def test_area_is_positive_clockwise_negative_otherwise_and_keeps_leading_dimensions():
    square = torch.tensor(SQUARE)
    stacked = torch.stack([square, square.flip(0)])[None]
    assert polygon_area(stacked).tolist() == [[12.0, -12.0]]
    triangle = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 2.0]])
    assert polygon_area(triangle).item() == 5.0


def test_area_far_from_the_origin_does_not_cancel():
    # At a million pixels a float32 product is exact to some 100,000 square pixels only.
    assert polygon_area(torch.tensor(SQUARE) + 1e6).item() == 12.0


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        (SQUARE, True),
        (SQUARE[1:] + SQUARE[:1], True),
        (SQUARE[::-1], False),  # counter-clockwise
        ([[0, 0], [4, 3], [4, 0], [0, 3]], False),  # self-crossing
        ([[0, 0], [4, 0], [1, 1], [0, 4]], False),  # dented
        ([[0, 0], [2, 0], [4, 0], [0, 3]], False),  # a triangle: three corners on a line
        ([[0, 0], [4, 0], [4, 0], [0, 3]], False),  # a corner twice
        ([[0, 0], [4, 0], [4, 0], [0, 0]], False),  # a line
        ([[2, 2]] * 4, False),
        ([[0, 0], [0.03, 0], [0.03, 0.03], [0, 0.03]], False),  # 9e-4 square pixels
        ([[0, 0], [0.04, 0], [0.04, 0.04], [0, 0.04]], True),  # 1.6e-3
        ([[float("nan"), 0], [4, 0], [4, 3], [0, 3]], False),
        ([[0, 0], [float("inf"), 0], [4, 3], [0, 3]], False),
        ([[0, 0], [4, 0], [4, float("-inf")], [0, 3]], False),
    ],
)
def test_convex_quads_by_hand(corners, expected):
    assert convex_quads(torch.tensor([corners], dtype=torch.float32)).tolist() == [expected]


def test_convex_quads_of_nothing_and_with_another_least_area():
    assert convex_quads(torch.zeros(0, 4, 2)).shape == (0,)
    square = torch.tensor([SQUARE])
    assert convex_quads(square, min_area=11.9).item()
    assert not convex_quads(square, min_area=12.1).item()


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), min_size=4, max_size=4))
def test_convex_quads_equal_an_exact_judge(corners):
    # Small integers, so that both are exact.
    polygon = Polygon(corners)
    strict = all(
        Polygon([corners[i - 1], corners[i], corners[(i + 1) % 4]]).area > 0 for i in range(4)
    )
    convex = polygon.is_valid and strict and polygon.convex_hull.area == polygon.area
    # Shapely's y points up: its counter-clockwise is clockwise on the screen.
    expected = convex and polygon.exterior.is_ccw
    assert convex_quads(torch.tensor([corners], dtype=torch.float32)).item() == expected


def test_diagonals_meet_by_hand():
    kite = [[0.0, -2.0], [3.0, 0.0], [0.0, 6.0], [-3.0, 0.0]]
    quads = torch.tensor([SQUARE, kite, [[0, 0], [6, 0], [4, 2], [2, 2]]])
    expected = torch.tensor([[2.0, 1.5], [0.0, 0.0], [3.0, 1.5]])
    torch.testing.assert_close(diagonal_intersection(quads), expected)


@given(inscribed_quads())
def test_the_centre_lies_on_both_diagonals(quad):
    centre = diagonal_intersection(torch.from_numpy(quad)[None])[0].numpy()
    for a, b in ((0, 2), (1, 3)):
        direction = (quad[b] - quad[a]) / np.linalg.norm(quad[b] - quad[a])
        offset = centre - quad[a]
        assert abs(direction[0] * offset[1] - direction[1] * offset[0]) < 1e-9


# --- homographies ------------------------------------------------------------------------------


def test_quad_to_square_of_a_rectangle_by_hand():
    matrix = quad_to_square(torch.tensor([[[2.0, 1.0], [10.0, 1.0], [10.0, 5.0], [2.0, 5.0]]]))[0]
    matrix = matrix / matrix[2, 2]
    expected = torch.tensor([[0.25, 0.0, -1.5], [0.0, 0.5, -1.5], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(matrix, expected)


@settings(max_examples=200)
@given(inscribed_quads())
def test_quad_to_square_equals_opencv_and_is_positive_inside(quad):
    centre = diagonal_intersection(torch.from_numpy(quad)[None]).numpy()
    local = (quad - centre).astype(np.float32)
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    expected = cv2.getPerspectiveTransform(local, square)
    matrix = quad_to_square(torch.from_numpy(local).double()[None])[0].numpy()
    inside = np.r_[local, local * 0.3, [[0, 0]]].astype(np.float64)
    points = np.c_[inside, np.ones(len(inside))]
    assert (points @ matrix.T)[:, 2].min() > 0
    ours, theirs = points @ matrix.T, points @ expected.T
    np.testing.assert_allclose(ours[:, :2] / ours[:, 2:], theirs[:, :2] / theirs[:, 2:], atol=1e-5)
    np.testing.assert_allclose((ours[:, :2] / ours[:, 2:])[:4], square, atol=1e-9)


# --- windows -----------------------------------------------------------------------------------


def test_windows_hold_the_pixels_between_their_corners_clipped_to_the_map():
    low = torch.tensor([[1.0, 2.0], [0.2, 0.2], [-9.0, -9.0], [7.5, 0.0], [3.2, 3.2], [-1e30, 4.5]])
    high = torch.tensor([[3.0, 2.0], [1.9, 0.9], [-1.0, 3.0], [99.0, 1.0], [3.8, 3.8], [1e30, 9e9]])
    windows = Windows.around(low, high, (6, 9))
    sides = torch.stack([windows.left, windows.top, windows.width, windows.height], 1)
    assert sides[0].tolist() == [1, 2, 3, 1]
    assert sides[1, 0] == 1  # x = 1 only
    assert sides[3].tolist() == [8, 0, 1, 2]
    assert sides[5].tolist() == [0, 5, 9, 1]
    assert windows.area.tolist() == [3, 0, 0, 2, 0, 9]


BOXES = st.lists(st.tuples(*[st.integers(-4, 12)] * 4), max_size=7)


@settings(max_examples=60, deadline=None)
@given(boxes=BOXES, chunk=st.sampled_from([1, 7, 50, 10_000]))
def test_windows_visit_each_pixel_once_whatever_the_chunk(boxes, chunk):
    size = (8, 10)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    low, high = corners[:, :2], corners[:, 2:]
    expected = [
        (index, x, y)
        for index, (x0, y0, x1, y1) in enumerate(boxes)
        for y in range(max(y0, 0), min(y1, 7) + 1)
        for x in range(max(x0, 0), min(x1, 9) + 1)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "PIXELS_PER_CHUNK", chunk)
        chunks = list(Windows.around(low, high, size).pixels(torch.device("cpu")))
    visited = [
        triple for part in chunks for triple in zip(*(t.tolist() for t in part), strict=False)
    ]
    assert visited == expected
    largest = max((x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in boxes) if boxes else 0
    assert all(len(part[0]) <= max(chunk, largest) for part in chunks)


# --- filled polygons ---------------------------------------------------------------------------


@st.composite
def star_polygons(draw: st.DrawFn) -> np.ndarray:
    count = draw(st.integers(3, 9))
    angles = np.sort([draw(coordinates(0, 6.28)) for _ in range(count)])
    radii = np.array([draw(coordinates(1, 12)) for _ in range(count)])
    centre = np.array([draw(coordinates(-3, 22)), draw(coordinates(-3, 18))])
    return centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(star_polygons(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(0, 1)),
        max_size=4,
    )
)
def test_filling_equals_a_point_in_polygon_test_of_every_pixel(entries):
    height, width = 14, 18
    filled = fill_polygons(
        [e[0] for e in entries],
        [e[1] for e in entries],
        (height, width),
        batch_index=[e[2] for e in entries],
        batch_size=2,
    ).numpy()
    assert filled.shape == (2, height, width)
    shapes = [(Polygon(p), value, plane) for p, value, plane in entries]
    # Stars around a point are never self-crossing, but two equal angles may touch.
    shapes = [s for s in shapes if s[0].is_valid]
    if len(shapes) < len(entries):
        return
    for plane in range(2):
        for y in range(height):
            for x in range(width):
                point = Point(x, y)
                mine = [s for s in shapes if s[2] == plane]
                if any(s[0].exterior.distance(point) < 1e-3 for s in mine):
                    continue
                inside = [value for shape, value, _ in mine if shape.contains(point)]
                assert filled[plane, y, x] == min(inside, default=np.inf)


def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_out():
    left = np.array([[0, 0], [5, 0], [5, 4], [0, 4]], np.float32)
    filled = fill_polygons([left, left + np.float32([5, 0])], [1.0, 2.0], (4, 10))[0]
    assert (filled[:, :5] == 1).all()
    assert (filled[:, 5:] == 2).all()


def test_self_crossing_and_concave_polygons_fill_by_the_even_odd_rule():
    pentagram = [0, 144, 288, 72, 216]
    star = np.array([[10 + 9 * np.sin(np.radians(a)), 10 - 9 * np.cos(np.radians(a))]
                     for a in pentagram])  # fmt: skip
    filled = fill_polygons([star], [0.5], (20, 20))[0]
    assert torch.isinf(filled[10, 10])  # its heart is wound twice
    assert filled[3, 10] == 0.5


def test_filling_skips_what_is_not_finite_and_survives_nothing_and_giants():
    assert torch.isinf(fill_polygons([], [], (3, 4), batch_size=2)).all()
    square = np.array([[1, 1], [3, 1], [3, 3], [1, 3]], np.float64) - 0.5
    broken = square.copy()
    broken[2, 0] = np.nan
    filled = fill_polygons([broken, square, broken * np.inf, square[:0]], [0, 0.5, 0, 0], (4, 4))[0]
    assert (filled == 0.5).sum() == 4
    assert torch.isinf(filled).sum() == 12
    giant = (square - 1.5) * 1e6
    assert (fill_polygons([giant], [0.0], (5, 7)) == 0).all()
    line = np.array([[0, 1], [3, 1], [3, 1]], np.float32)
    assert torch.isinf(fill_polygons([line], [0.0], (4, 4))).all()


def test_filling_leaves_the_polygons_alone():
    square = np.array([[1, 1], [3, 1], [3, 3], [1, 3]], np.float32)
    before = square.copy()
    fill_polygons([square], [0.0], (4, 4))
    np.testing.assert_array_equal(square, before)
