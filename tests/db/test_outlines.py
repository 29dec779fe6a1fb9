"""Outlines against those of each component alone, scores against a mean over the whole map."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.db.outlines import Outlines, component_outlines, outline_scores


def slow_outlines(mask: np.ndarray, epsilon_ratio: float) -> list[list[list[int]]]:
    """Each component on a map of its own, of which it is the only outer contour."""
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    found = []
    for label in range(1, count):
        alone = (labels == label).astype(np.uint8)
        (contour,), _ = cv2.findContours(alone, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        outline = cv2.approxPolyDP(contour, epsilon_ratio * cv2.arcLength(contour, True), True)
        if len(outline) >= 4:
            found.append(outline.reshape(-1, 2).tolist())
    return sorted(found)


def as_lists(outlines: Outlines) -> list[list[list[int]]]:
    parts = np.split(outlines.points, outlines.starts[1:-1]) if len(outlines) else []
    return sorted(part.tolist() for part in parts)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0, 1),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.01, 0.05]),
)
def test_outlines_are_those_of_each_component_alone(seed, height, width, density, side, epsilon):
    rng = np.random.default_rng(seed)
    mask = (rng.random((height, width)) < density).astype(np.uint8)
    # Larger squares make thick components with holes and components within these.
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
    found = component_outlines(mask, epsilon_ratio=epsilon, unclip_ratio=1.5, min_width=0)
    assert as_lists(found) == slow_outlines(mask, epsilon)


def test_rings_within_rings_are_all_outer_and_holes_are_none():
    mask = np.zeros((41, 41), np.uint8)
    for inset in (0, 4, 8, 12):
        mask[inset : 41 - inset, inset : 41 - inset] = 1
        mask[inset + 2 : 39 - inset, inset + 2 : 39 - inset] = 0
    found = component_outlines(mask, epsilon_ratio=0.01, unclip_ratio=1.5, min_width=5)
    squares = [[[i, i], [i, 40 - i], [40 - i, 40 - i], [40 - i, i]] for i in (0, 4, 8, 12)]
    assert as_lists(found) == sorted(squares)


def test_what_cannot_become_wide_enough_is_dropped_early_and_nothing_else():
    # 3x9 and 4x9 pixels: (2 + 1.5 * 2) * (8 + 1.5 * 2) = 55 and (3 + 4.5) * (8 + 4.5) = 93.75.
    mask = np.zeros((20, 20), np.uint8)
    mask[1:4, 1:10] = 1
    mask[10:14, 1:10] = 1
    rules = dict(epsilon_ratio=0.01, unclip_ratio=1.5)
    for width, count in {55**0.5 - 0.01: 2, 55**0.5 + 0.01: 1, 93.75**0.5 + 0.01: 0}.items():
        assert len(component_outlines(mask, min_width=width, **rules)) == count


@pytest.mark.parametrize("shape", [(0, 0), (0, 7), (7, 0), (1, 1), (1, 9), (9, 1), (5, 5)])
@pytest.mark.parametrize("value", [0, 1])
def test_degenerate_masks(shape, value):
    mask = np.full(shape, value, np.uint8)
    found = component_outlines(mask, epsilon_ratio=0.01, unclip_ratio=1.5, min_width=0)
    whole = [[[0, 0], [0, 4], [4, 4], [4, 0]]]
    assert as_lists(found) == (whole if value and shape == (5, 5) else [])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scores_are_means_over_what_opencv_fills(seed):
    rng = np.random.default_rng(seed)
    prob = rng.random((50, 60)).astype(np.float32)
    rings = [
        rng.integers([0, 0], [60, 50], (rng.integers(4, 9), 2)).astype(np.int32)
        for _ in range(rng.integers(1, 6))
    ]
    expected = []
    for ring in rings:  # these cross themselves and each other
        mask = np.zeros(prob.shape, np.uint8)
        cv2.fillPoly(mask, [ring], 1)
        expected.append(prob[mask > 0].astype(np.float64).mean())
    assert outline_scores(prob, Outlines.of(rings)) == pytest.approx(expected, abs=1e-9)


def test_outlines_are_taken_in_any_order():
    rings = [np.arange(2 * n, dtype=np.int32).reshape(-1, 1, 2) + n for n in (4, 6, 5)]
    outlines = Outlines.of(rings)
    assert outlines.index.tolist() == [0] * 4 + [1] * 6 + [2] * 5
    assert outlines.low.tolist() == [[4, 5], [6, 7], [5, 6]]
    assert outlines.high.tolist() == [[10, 11], [16, 17], [13, 14]]
    taken = outlines.take(np.array([2, 0]))
    assert np.array_equal(taken.points, np.concatenate([rings[2], rings[0]]).reshape(-1, 2))
    assert taken.starts.tolist() == [0, 5, 9]
    nothing = outlines.take(np.array([], dtype=np.int64))
    assert len(nothing) == 0
    assert nothing.low.shape == nothing.points.shape == (0, 2)
