"""Centre lines: pairing, drawing against a slow literal version, and masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.craft.link_targets import (
    CentreLine,
    centre_line,
    draw_centre_lines,
    draw_link_maps,
)
from mmtextplug.craft.targets import WordLabels


def literal(lines: list[CentreLine], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every pixel to every stretch, one by one; and how near a pixel is to a border."""
    found, slack = np.zeros(size), np.full(size, np.inf)
    for line in lines:
        radii = [max(thickness / 2, np.sqrt(0.5) + 1e-3) for thickness in line.thickness]
        for a, b, ra, rb in zip(line.points[:-1], line.points[1:], radii[:-1], radii[1:]):
            for y in range(size[0]):
                for x in range(size[1]):
                    p, d = np.array([x, y], float), b - a
                    t = np.clip((p - a) @ d / (d @ d), 0, 1) if (d @ d) > 1e-12 else 0.0
                    excess = np.linalg.norm(p - a - t * d) - (ra + t * (rb - ra))
                    slack[y, x] = min(slack[y, x], abs(excess))
                    found[y, x] = max(found[y, x], excess <= 0)
    return found, slack


numbers = st.floats(-6, 22, width=32)


@st.composite
def lines(draw):
    count = draw(st.integers(2, 4))
    points = draw(st.lists(st.tuples(numbers, numbers), min_size=count, max_size=count))
    thickness = draw(st.lists(st.floats(0, 9, width=32), min_size=count, max_size=count))
    return CentreLine(np.array(points, float), np.array(thickness, float))


@settings(max_examples=40, deadline=None)
@given(st.lists(lines(), max_size=2))
def test_drawing_is_the_distance_to_each_stretch(some):
    drawn = draw_centre_lines(some, (14, 17))
    wanted, slack = literal(some, (14, 17))
    assert drawn.shape == (1, 14, 17)
    assert drawn.dtype == torch.float32
    sure = slack > 1e-4
    np.testing.assert_array_equal(drawn[0].numpy()[sure], wanted[sure])


def test_by_hand():
    line = CentreLine(np.array([[2.0, 3.0], [6.0, 3.0]]), np.array([2.0, 2.0]))
    rows = draw_centre_lines([line], (7, 10))[0].int().tolist()
    straight = [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    ends = [0, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    nothing = [0] * 10
    assert rows == [nothing, nothing, straight, ends, straight, nothing, nothing]


def test_each_line_on_its_own_map():
    line = CentreLine(np.array([[1.0, 1.0], [5.0, 1.0]]), np.array([1.0, 1.0]))
    other = CentreLine(line.points + np.array([0, 3]), line.thickness)
    maps = draw_centre_lines([line, other], (6, 8), batch_index=[2, 0], batch_size=3)
    assert torch.equal(maps[2], draw_centre_lines([line], (6, 8))[0])
    assert torch.equal(maps[0], draw_centre_lines([other], (6, 8))[0])
    assert maps[1].sum() == 0


@pytest.mark.parametrize("step", [(1, 1), (1, -1), (1, 2), (3, 1), (2, -3)])
@pytest.mark.parametrize("start", [(20, 20), (20.5, 20), (20.25, 20.75)])
def test_the_thinnest_lines_between_whole_pixels_hold_together(step, start):
    line = CentreLine(np.array([start, np.add(start, 6 * np.array(step))], float), np.zeros(2))
    drawn = draw_centre_lines([line], (45, 45))[0].numpy().astype(np.uint8)
    assert cv2.connectedComponents(drawn, connectivity=4)[0] == 2


@settings(max_examples=60, deadline=None)
@given(st.floats(0, np.pi), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0, 1))
def test_the_thinnest_lines_hold_together_in_any_direction(angle, x, y, thickness):
    middle, reach = np.array([20 + x, 20 + y]), 15 * np.array([np.cos(angle), np.sin(angle)])
    line = CentreLine(np.array([middle - reach, middle + reach]), np.full(2, thickness))
    drawn = draw_centre_lines([line], (41, 41))[0].numpy().astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(drawn, connectivity=4)
    assert count == 2
    assert np.hypot(*stats[1, 2:4]) >= 29


def test_nothing_to_draw():
    assert draw_centre_lines([], (3, 4), batch_size=2).tolist() == np.zeros((2, 3, 4)).tolist()
    line = CentreLine(np.array([[-50.0, -50.0], [-40.0, -50.0]]), np.ones(2))
    assert draw_centre_lines([line], (3, 4)).sum() == 0
    assert draw_centre_lines([line], (0, 0)).shape == (1, 0, 0)


# --- where the centre line runs ----------------------------------------------------------------


def test_a_rectangle_an_eighth_thick():
    line = centre_line(np.array([[10, 20], [90, 20], [90, 36], [10, 36]]))
    np.testing.assert_allclose(line.points, [[10, 28], [90, 28]])
    np.testing.assert_allclose(line.thickness, [2, 2])


def test_in_perspective_the_thickness_follows():
    line = centre_line(np.array([[0, 0], [100, 10], [100, 26], [0, 40]]))
    np.testing.assert_allclose(line.points, [[0, 20], [100, 18]])
    np.testing.assert_allclose(line.thickness, [5, 2])


def test_a_standing_line_runs_downwards():
    line = centre_line(np.array([[10, 5], [18, 5], [18, 95], [10, 95]]))
    np.testing.assert_allclose(line.points, [[14, 5], [14, 95]])
    np.testing.assert_allclose(line.thickness, [1, 1])
    assert len(centre_line(np.array([[0, 0], [8, 0], [8, 8], [0, 8]])).points) == 2


def arc(points: int, radius: float = 100, height: float = 24, bend: float = 2.0) -> np.ndarray:
    """An outline of as many points above as below, from left to right and back."""
    angle = np.linspace(-bend / 2, bend / 2, points)
    upper, lower = (
        np.stack([150 + r * np.sin(angle), 150 - r * np.cos(angle)], 1)
        for r in (radius + height / 2, radius - height / 2)
    )
    return np.concatenate([upper, lower[::-1]])


def test_paired_points_of_a_curved_line_as_ctw1500_has_them():
    line = centre_line(arc(7))
    assert line.points.shape == (7, 2)
    np.testing.assert_allclose(np.linalg.norm(line.points - 150, axis=1), 100)
    np.testing.assert_allclose(line.thickness, 3)
    assert line.points[0, 0] < line.points[-1, 0]


def test_unpaired_points_are_paired_by_their_distances():
    uneven = np.delete(arc(7), 10, axis=0)  # one point below is missing
    line = centre_line(uneven)
    ends = centre_line(arc(7)).points[[0, -1]]
    np.testing.assert_allclose(line.points[[0, -1]], ends, atol=1e-6)
    assert (np.abs(np.linalg.norm(line.points - 150, axis=1) - 100) < 4).all()


@pytest.mark.parametrize(
    "polygon",
    [
        [[0, 0], [50, 20], [50, 0], [0, 20]],  # crosses itself
        [[0, 0], [50, 0], [50, 0], [0, 0]],  # no area
        [[0, 0], [np.nan, 0], [50, 20], [0, 20]],
        [[0, 0], [np.inf, 0], [50, 20], [0, 20]],
        [[0, 0], [50, 0]],
        [[40, 0], [52, 36], [90, 36], [60, 58], [70, 95], [40, 72], [10, 95], [20, 58], [-10, 36],
         [28, 36]],  # a star
    ],
)  # fmt: skip
def test_no_line_of_text(polygon):
    assert centre_line(np.array(polygon, float)) is None


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 2 * np.pi), st.floats(0.1, 3.0), st.integers(2, 9))
def test_turning_the_page_turns_the_line(turn, bend, points):
    outline = arc(points, bend=bend) - 150
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    plain, turned = centre_line(outline), centre_line(outline @ matrix.T)
    if points == 2:  # a quad may count as standing
        return
    np.testing.assert_allclose(turned.points, plain.points @ matrix.T, atol=1e-6)
    np.testing.assert_allclose(turned.thickness, plain.thickness, atol=1e-9)


# --- maps of a batch ---------------------------------------------------------------------------

LINE = np.array([[4, 4], [36, 4], [36, 12], [4, 12]], np.float32)


def labels(polygons: list[np.ndarray], confidence: list[float], valid=None) -> WordLabels:
    return WordLabels(polygons, [None] * len(polygons), np.array(confidence, np.float32), valid)


def test_ignored_and_unpaired_lines_are_masked_not_drawn():
    crossed = (LINE + np.float32([0, 14]))[[0, 2, 1, 3]]
    maps = draw_link_maps(
        [labels([LINE, crossed, LINE + np.float32([0, 28])], [1, 1, 0])], (44, 44)
    )
    assert maps.unpaired == [(0, 1)]
    link, confidence = maps.link[0], maps.confidence[0]
    assert link[8, 4:37].tolist() == [1] * 33
    assert link[14:].sum() == 0
    assert confidence[:14].min() == 1
    assert confidence[36, 20] == 0
    assert confidence[34, 5] == 0
    assert confidence[20, 6] == 0
    assert confidence[22, 35] == 0
    assert confidence[43].min() == 1


def test_the_line_of_a_word_inside_an_ignored_area_is_trained():
    area = np.array([[0, 0], [44, 0], [44, 44], [0, 44]], np.float32)
    maps = draw_link_maps([labels([area, LINE], [0, 1])], (44, 44))
    assert maps.confidence[0, 8, 20] == 1
    assert maps.confidence[0, 30, 20] == 0
    assert maps.link[0, 8, 20] == 1


def test_padding_is_not_trained_and_images_without_lines_are_background():
    frame = np.array([[0, 0], [20, 0], [20, 44], [0, 44]], np.float32) - 0.5
    maps = draw_link_maps([labels([], []), labels([LINE], [1], frame)], (44, 44))
    assert maps.link[0].sum() == 0
    assert maps.confidence[0].min() == 1
    assert maps.confidence[1, :, :20].min() == 1
    assert maps.confidence[1, :, 20:].max() == 0
    assert maps.unpaired == []
