"""What is measured of polygons, and what is found to be wrong with them."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.db.shapes import FAULTS, checked_settings, text_polygons

SQUARE = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)


def faults(*polygons, **kwargs) -> list[str]:
    return [FAULTS[n] for n in text_polygons(polygons, **kwargs).fault]


def star(seed: int, corners: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    spokes = np.stack([np.cos(angle), np.sin(angle)], 1)
    return spokes * rng.uniform(5, 30, (corners, 1)) + rng.uniform(-50, 500, 2)


def test_the_offset_by_hand():
    # 100 x 20: D = 2000 * 0.84 / 240.
    box = np.array([0, 0, 100, 0, 100, 20, 0, 20])
    shapes = text_polygons([box, SQUARE], batch_index=[1, 0])
    assert shapes.distance.tolist() == pytest.approx([7.0, 4.2])
    assert text_polygons([box], shrink_ratio=0.5).distance[0] == pytest.approx(6.25)
    assert shapes.count.tolist() == [4, 4]
    assert shapes.image.tolist() == [1, 0]
    np.testing.assert_array_equal(shapes.points[:4], box.reshape(4, 2))
    low, high = shapes.bounds()
    assert low.tolist() == [[0, 0], [0, 0]]
    assert high.tolist() == [[100, 20], [20, 20]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(3, 12)), max_size=5))
def test_offsets_equal_those_of_shapely(seeds):
    polygons = [star(*seed) for seed in seeds]
    shapes = text_polygons([p.reshape(-1) for p in polygons])
    for polygon, distance, fault in zip(polygons, shapes.distance, shapes.fault):
        shape = shapely.Polygon(polygon)
        if shape.area < 1 or not shape.is_valid:
            assert fault > 0
            assert distance == 0
        else:
            assert fault == 0
            assert distance == pytest.approx(0.84 * shape.area / shape.length)


def test_each_fault_has_its_name():
    nan, far = SQUARE.copy(), SQUARE.copy()
    nan[2, 1], far[0, 0] = np.nan, 1e9
    assert faults(SQUARE) == [""]
    assert faults([], [1, 2], [[1, 2], [3, 4]], [1, 2, 3, 4, 5, 6, 7]) == ["malformed"] * 4
    assert faults(nan, far, SQUARE * np.inf) == ["not finite"] * 3
    assert faults(SQUARE[[0, 2, 1, 3]], SQUARE[[0, 1, 2, 0, 3]]) == ["crosses itself"] * 2
    # A line, a point, and what is there and back again.
    line = np.array([[0, 0], [5, 0], [9, 0]])
    assert faults(line, np.full((4, 2), 3.0), SQUARE * 0.04) == ["no area"] * 3
    # Corners that repeat one after another are no fault, whichever direction the outline runs in.
    assert faults(SQUARE[[0, 0, 1, 2, 2, 2, 3]], SQUARE[::-1]) == ["", ""]


def test_repeated_corners_and_the_direction_change_nothing():
    plain = text_polygons([SQUARE]).distance[0]
    assert text_polygons([SQUARE[[0, 0, 1, 2, 3, 3]]]).distance[0] == pytest.approx(plain)
    assert text_polygons([SQUARE[::-1]]).distance[0] == pytest.approx(plain)
    # Nor does the place, though products of such coordinates have few digits to spare.
    assert text_polygons([SQUARE + 4e5 + 1 / 3]).distance[0] == pytest.approx(plain, abs=1e-8)


def test_small_is_what_a_turned_rectangle_says():
    turn = np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])
    strip = np.array([[0, 0], [60, 0], [60, 7], [0, 7]]) @ turn
    assert faults(strip, min_side=8.0) == ["small"]
    assert faults(strip, min_side=6.9) == [""]
    assert faults(strip) == [""]
    shapes = text_polygons([strip, SQUARE], min_side=8.0)
    assert shapes.distance[0] == 0
    assert shapes.distance[1] == pytest.approx(4.2)


def test_faulty_ones_among_good_ones_leave_those_alone():
    shapes = text_polygons([[1, 2], SQUARE, SQUARE * np.nan, SQUARE[[0, 2, 1, 3]], SQUARE + 5])
    assert shapes.count.tolist() == [0, 4, 0, 4, 4]
    assert shapes.distance.tolist() == pytest.approx([0, 4.2, 0, 0, 4.2])
    low, high = shapes.bounds()
    assert low[[1, 4]].tolist() == [[0, 0], [5, 5]]
    assert (high[[0, 2]] == -np.inf).all()


def test_nothing_at_all():
    shapes = text_polygons([])
    assert len(shapes) == 0
    assert shapes.points.shape == (0, 2)
    assert shapes.bounds()[0].shape == (0, 2)


@pytest.mark.parametrize(
    "wrong",
    [dict(shrink_ratio=1.0), dict(shrink_ratio=-0.1), dict(thr_min=0.7, thr_max=0.3),
     dict(thr_max=1.2), dict(min_side=-1.0), dict(thr_min=float("nan"))],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    settings = dict(shrink_ratio=0.4, thr_min=0.3, thr_max=0.7, min_side=8.0)
    assert checked_settings(**settings) == settings
    with pytest.raises(ValueError, match="must be in"):
        checked_settings(**{**settings, **wrong})


def test_arguments_that_contradict_each_other():
    with pytest.raises(ValueError, match="2 batch indices for 1 polygons"):
        text_polygons([SQUARE], batch_index=[0, 1])
    with pytest.raises(ValueError, match=r"shrink_ratio=1.0 is not in \[0, 1\)"):
        text_polygons([SQUARE], shrink_ratio=1.0)
