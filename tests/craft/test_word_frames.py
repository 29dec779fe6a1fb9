"""Coordinates along and across words: lines, circles and smooth lines, by hand and fitted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from exact_bands import arc, band, placed, raster, wave
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.craft.arc import Frame, arc_frame, box_frame
from mmtextplug.craft.ribbon import (
    best_degrees,
    fit_ribbon,
    fit_ribbons,
    ribbon_through,
    spread,
)

# --- lines and circles -------------------------------------------------------------------------


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


# --- smooth lines ------------------------------------------------------------------------------


def test_ribbon_along_a_line_by_hand():
    points = np.column_stack([np.arange(10.0, 31.0), np.full(21, 4.0)])
    ribbon = ribbon_through(points, standing=False)
    at = np.array([[10.0, 4.0], [13.0, 9.0], [40.0, 2.0], [5.0, 4.0], [13.4, 4.0]])
    expected = np.array([[0.0, 0.0], [3.0, 5.0], [30.0, -2.0], [-5.0, 0.0], [3.4, 0.0]])
    np.testing.assert_allclose(ribbon.from_map(at), expected, atol=1e-12)
    np.testing.assert_allclose(ribbon.to_map(expected), at, atol=1e-12)
    assert ribbon.turn(100.0) == 0


def test_ribbon_along_a_circle_by_hand():
    """A quarter of a circle of radius 40 about the origin, from its top to its right."""
    angle = np.linspace(0, np.pi / 2, 400)
    ribbon = ribbon_through(40 * np.stack([np.sin(angle), -np.cos(angle)], axis=1), standing=True)
    diagonal = np.sqrt(0.5)
    at = np.array([[0.0, -45.0], [30 * diagonal, -30 * diagonal], [43.0, 0.0], [43.0, 8.0]])
    expected = [[0, -5], [10 * np.pi, 10], [20 * np.pi, -3], [20 * np.pi + 8, -3]]
    np.testing.assert_allclose(ribbon.from_map(at), expected, atol=0.05)
    np.testing.assert_allclose(ribbon.to_map(np.array(expected)), at, atol=0.05)
    assert ribbon.turn(20 * np.pi) == pytest.approx(np.pi / 2, rel=0.01)
    assert ribbon.turn(10.0) == pytest.approx(10 / 40, rel=0.01)
    assert ribbon.standing


def test_no_ribbon_leads_through_one_point_twice():
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert ribbon_through(points, standing=False) is None
    assert ribbon_through(points[[0, 1, 0, 1]], standing=False) is None


def test_spread_leaves_out_a_hundredth_a_side():
    v = np.random.default_rng(0).permutation(np.arange(201.0))
    assert spread(v) == 198 - 2 + 1
    np.testing.assert_array_equal(spread(np.stack([v, 2 * v], axis=1)), [197, 393])
    assert spread(np.array([3.0])) == 1


def test_degrees_by_hand():
    """Pixels 10 high along polynomials: a degree is tried where it makes them thinner."""
    u, across = (x.ravel().astype(float) for x in np.meshgrid(np.arange(100), np.arange(10)))
    t = u / 50 - 1
    assert best_degrees(u, across, thickness=10.0) == []
    assert best_degrees(u, across + 5 * t**2, thickness=15.0)[0] == 2
    assert best_degrees(u, across + 5 * t**3 - 4 * t, thickness=15.0)[0] == 3
    sine = across + 8 * np.sin(np.pi * t)
    assert best_degrees(u, sine, thickness=24.0)[0] in (3, 5)
    assert 2 not in best_degrees(u, across + 8 * np.sin(np.pi * t), thickness=12.0)
    # Where there is no length, or nothing to gain, there is none.
    assert best_degrees(np.full(20, 3.0), np.arange(20.0), thickness=20.0) == []
    assert best_degrees(u, sine, thickness=8.0) == []


def pixels_along(line: np.ndarray, thickness: float, degrees: float) -> np.ndarray:
    rows, columns = np.nonzero(raster(placed(band(line, thickness), degrees, line)))
    return np.column_stack([columns, rows]).astype(np.float64)


@pytest.mark.parametrize("degrees", [0, 30, 90])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("height", [3, 12, 25])
def test_the_smooth_line_of_a_wave_is_found(height, gaps, degrees):
    line = wave(180, height)
    pixels = pixels_along(line, 12, degrees)
    exact = placed(wave(180, height, 6), degrees, line)
    angle = np.radians(degrees)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if gaps:
        pixels = pixels[np.floor(pixels @ axes[0] / 6) % 3 > 0]
    frame = Frame(np.array([130.3, 129.6]), axes)
    ribbon = fit_ribbon(pixels, frame, 7)
    distances = np.linalg.norm(ribbon.points[:, None] - exact, axis=2).min(axis=1)
    assert distances.max() < 2.0
    assert distances.mean() < 1.0
    assert np.ptp(ribbon.from_map(pixels)[:, 1]) < 12 + 4
    cost, closest = fit_ribbons(pixels, frame, 12.0 + 2 * height)[0]
    assert cost > 1.03
    assert np.ptp(closest.from_map(pixels)[:, 1]) < 12 + 6


def test_a_wave_turns_as_sharply_as_at_its_crests():
    ribbon = ribbon_through(wave(180, 5), standing=False)
    crest = 5 * (2 * np.pi / 180) ** 2  # its curvature there
    assert ribbon.turn(180.0) == pytest.approx(180 * crest, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 20), st.lists(st.tuples(st.floats(0, 1), st.floats(-8, 8)), min_size=1))
def test_ribbons_lead_there_and_back(height, places):
    ribbon = ribbon_through(wave(200, height), standing=False)
    share, across = np.array(places).T
    points = np.column_stack([share * ribbon.walked[-1], across])
    np.testing.assert_allclose(ribbon.from_map(ribbon.to_map(points)), points, atol=0.6)


def test_a_point_has_no_smooth_line():
    frame = Frame(np.zeros(2), np.eye(2))
    assert fit_ribbon(np.full((20, 2), 5.0), frame, 3) is None
    assert fit_ribbons(np.full((20, 2), 5.0), frame, 9.0) == []
    column = np.column_stack([np.zeros(20), np.arange(20.0)])
    assert fit_ribbon(column, frame, 3) is None
