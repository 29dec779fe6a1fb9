"""Overlaps of words: against hand-computed areas and against one pair at a time."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.evaluation.overlaps import (
    are_outlines,
    is_outline,
    measure_overlaps,
    outside_ignored,
    to_polygons,
)

# isort: split
from mmocr.utils import poly_make_valid


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


def overlaps_of(truths, predictions, **kwargs):
    return measure_overlaps(to_polygons(truths), to_polygons(predictions), **kwargs)


def test_hand_computed():
    # The second prediction touches the first word only along an edge.
    found = overlaps_of(
        [box(0, 0, 10, 10), box(20, 0, 30, 10)],
        [box(5, 0, 15, 10), box(10, 0, 20, 10), box(20, 0, 30, 10), box(0, 0, 30, 10)],
    )
    assert list(zip(found.rows, found.cols)) == [(0, 0), (0, 3), (1, 2), (1, 3)]
    assert found.areas.tolist() == [50, 100, 100, 100]
    assert found.shape == (2, 4)
    assert found.iou().tolist() == [50 / 150, 100 / 300, 1, 100 / 300]
    assert found.truth_share().tolist() == [0.5, 1, 1, 1]
    assert found.pred_share().tolist() == [0.5, 100 / 300, 1, 100 / 300]
    assert found.dense(found.areas).tolist() == [[50, 0, 0, 100], [0, 0, 100, 100]]


@pytest.mark.parametrize(
    ("truths", "predictions"), [([], []), ([box(0, 0, 1, 1)], []), ([], [box(0, 0, 1, 1)])]
)
def test_nothing_on_one_side(truths, predictions):
    found = overlaps_of(truths, predictions)
    assert found.shape == (len(truths), len(predictions))
    assert len(found.rows) == len(found.iou()) == 0
    assert outside_ignored(found, np.ones(len(truths), bool)).tolist() == [True] * len(predictions)


def test_what_is_no_outline_overlaps_nothing():
    good = box(0, 0, 10, 10)
    nan, infinite = good.copy(), good.copy()
    nan[2, 1], infinite[0, 0] = np.nan, np.inf
    outlines = [good, nan, good[:2], np.zeros((0, 2)), infinite, good]
    assert are_outlines(outlines).tolist() == [True, False, False, False, False, True]
    assert [is_outline(points) for points in outlines] == are_outlines(outlines).tolist()
    assert are_outlines([]).tolist() == []
    assert shapely.area(to_polygons(outlines)).tolist() == [100, 0, 0, 0, 0, 100]
    found = overlaps_of([good], outlines)
    assert found.cols.tolist() == [0, 5]
    assert found.iou().tolist() == [1, 1]


def test_points_on_a_line_overlap_nothing():
    line = np.array([[0, 0], [5, 5], [10, 10]], dtype=float)
    assert to_polygons([line])[0].area == 0
    assert len(overlaps_of([line], [box(0, 0, 10, 10)]).rows) == 0


def test_crossing_outlines_are_mended_as_mmocr_does():
    rng = np.random.default_rng(0)
    outlines = [box(0, 0, 10, 10)[[0, 2, 1, 3]]]
    outlines += [rng.integers(0, 20, (k, 2)).astype(float) for k in (4, 5, 6, 8, 12) * 20]
    ours = to_polygons(outlines)
    assert shapely.is_valid(ours).all()
    assert {polygon.geom_type for polygon in ours} == {"Polygon"}
    for polygon, points in zip(ours, outlines):
        assert polygon.equals(poly_make_valid(shapely.Polygon(points)))


def page(rng, count):
    centre, side = rng.uniform(0, 60, (count, 1, 2)), rng.uniform(1, 20, (count, 1, 2))
    angle = rng.uniform(0, np.pi, count)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1)
    return list(box(-0.5, -0.5, 0.5, 0.5) * side @ turn.reshape(-1, 2, 2) + centre)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(0, 12), st.floats(0, 0.9))
def test_equal_to_one_pair_at_a_time(seed, truths, predictions, share):
    rng = np.random.default_rng(seed)
    truths, predictions = page(rng, truths), page(rng, predictions)
    full = overlaps_of(truths, predictions)
    dense = full.dense(full.areas)
    for i, a in enumerate(truths):
        for j, b in enumerate(predictions):
            area = shapely.Polygon(a).intersection(shapely.Polygon(b)).area
            assert dense[i, j] == pytest.approx(area, abs=1e-9)
    # What is left out shares too little, and nothing else is changed.
    some = overlaps_of(truths, predictions, pred_share=share)
    kept = {(i, j): area for i, j, area in zip(some.rows, some.cols, some.areas)}
    for i, j, area, part in zip(full.rows, full.cols, full.areas, full.pred_share()):
        assert kept.get((i, j), area) == area
        assert (i, j) in kept or part < share


def test_predictions_inside_ignored_words():
    # Shares of the predictions in the ignored word: 1, 0.5 and 0.4.
    found = overlaps_of(
        [box(0, 0, 10, 10), box(0, 0, 10, 10)],
        [box(1, 1, 5, 5), box(5, 0, 15, 10), box(6, 0, 16, 10)],
    )
    assert outside_ignored(found, np.array([False, True])).tolist() == [False, True, True]
    assert outside_ignored(found, np.array([False, False])).all()
    assert outside_ignored(found, np.array([False, True]), 0.45).tolist() == [False, False, True]
