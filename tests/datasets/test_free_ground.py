"""Rectangles without words, against all rectangles there are."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.datasets.free_ground import free_rectangles


def largest_by_trying(taken: np.ndarray, min_side: int) -> int:
    """The largest area of a rectangle of free pixels, of all that there are."""
    height, width = taken.shape
    best = 0
    for y0, y1 in itertools.combinations(range(height + 1), 2):
        for x0, x1 in itertools.combinations(range(width + 1), 2):
            if min(y1 - y0, x1 - x0) >= min_side and not taken[y0:y1, x0:x1].any():
                best = max(best, (y1 - y0) * (x1 - x0))
    return best


boxes = st.tuples(*[st.integers(-3, 14)] * 2, *[st.integers(0, 6)] * 2)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(boxes, max_size=4),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_free_disjoint_large_enough_and_the_largest_first(height, width, words, min_side, margin):
    polygons = [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]) for x, y, w, h in words]
    taken = np.zeros((height, width), bool)
    for x, y, w, h in words:
        rows = slice(max(y - margin, 0), max(y + h + margin + 1, 0))
        taken[rows, max(x - margin, 0) : max(x + w + margin + 1, 0)] = True
    found = free_rectangles((height, width), polygons, min_side, margin)
    areas = []
    for x0, y0, x1, y1 in found:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert min(x1 - x0, y1 - y0) >= min_side
        # What is chosen is the largest of what is still free, and then no longer free.
        assert (x1 - x0) * (y1 - y0) == largest_by_trying(taken, min_side)
        taken[y0:y1, x0:x1] = True
        areas.append((x1 - x0) * (y1 - y0))
    assert areas == sorted(areas, reverse=True)
    assert largest_by_trying(taken, min_side) == 0


def test_slanted_words_keep_their_distance():
    word = np.array([[10.6, 20.2], [30.1, 10.4], [32.0, 14.0], [12.3, 24.9]])
    (left, top, right, bottom) = (10 - 8, 10 - 8, 32 + 8, 25 + 8)
    found = free_rectangles((100, 100), [word], 5)
    assert found[:2] == [(0, bottom + 1, 100, 100), (right + 1, 0, 100, bottom + 1)]
    canvas = np.zeros((100, 100), np.uint8)
    cv2.rectangle(canvas, (left, top), (right, bottom), 1, -1)
    assert all(not canvas[y0:y1, x0:x1].any() for x0, y0, x1, y1 in found)


@pytest.mark.parametrize("size", [(3, 100), (100, 3), (0, 5)])
def test_photos_that_are_too_small(size):
    assert free_rectangles(size, [], 4) == []
