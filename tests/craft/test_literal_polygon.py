"""The literal published polygon procedure, with which ours is compared, by hand."""

from __future__ import annotations

import literal_craft as literal
import numpy as np
from exact_bands import arc, band, iou, placed, raster

THRESHOLDS = (0.7, 0.4, 0.4)


def test_literal_pivots_by_hand():
    """Segments of 10 columns; a pivot is the first of the tallest columns of an odd segment."""
    columns = [(x, 20, 30) for x in range(110)]
    columns[14] = (14, 18, 33)
    columns[17] = (17, 18, 33)
    columns[35] = (35, 22, 30)
    pivots, heights, centres = literal.literal_pivots(columns, 110)
    assert pivots == [(14.0, 25.5), (30.0, 25.0), (50.0, 25.0), (70.0, 25.0), (90.0, 25.0)]
    assert heights == [16, 11, 11, 11, 11]
    np.testing.assert_allclose(centres[0], (4.5, 25))
    np.testing.assert_allclose(centres[3], (34.5, 25.1))
    np.testing.assert_allclose(centres[10], (104.5, 25))


def test_literal_pivots_lag_behind_gaps_and_stop():
    columns = [(x, 20, 30) for x in range(110)]
    # Without columns 20 to 29, column 30 alone is segment 2, and 31 on are segment 3.
    pivots, _, centres = literal.literal_pivots(columns[:20] + columns[30:], 110)
    assert centres[2] == (30.0, 25.0)
    assert pivots[1] == (31.0, 25.0)
    # A first column beyond segment 0 ends the scan, a scan that ends early leaves (0, 0).
    assert literal.literal_pivots(columns[10:], 110) is None
    assert literal.literal_pivots(columns[:100], 110)[2][10] == (0.0, 0.0)
    assert literal.literal_pivots(columns[:90], 110) is None  # nothing in segment 9
    high = [(x, 0, 40) for x in range(110)]  # segments of 10 columns, 41 high: narrower than 1 / 4
    assert literal.literal_pivots(high, 110) is None


def test_literal_end_by_hand():
    word = np.zeros((40, 100), np.uint8)
    word[15:26, :58] = 1
    stick = np.array([50.0, 12.0, 50.0, 28.0])
    # Half a height of 5: shifts by 5, 7, 9 come to columns 55, 57, 59, the first one free.
    moved = literal.literal_end(word, stick, 5, 1, 0.25)
    np.testing.assert_allclose(moved, [59, 12 + 0.25 * 9, 59, 28 + 0.25 * 9])
    # Left of it the word goes on to the border: the last shift tried is 1.7 times the height.
    moved = literal.literal_end(word, stick, 5, -1, 0.0)
    np.testing.assert_allclose(moved, [33, 12, 33, 28])


def literal_polygon_of(region: np.ndarray) -> np.ndarray | None:
    boxes, labels, kept = literal.literal_words(region, np.zeros_like(region), *THRESHOLDS)
    assert len(boxes) == 1
    return literal.literal_polygon(labels, kept[0], boxes[0])


def test_literal_polygon_of_an_arc():
    line = arc(80, 90)
    exact = placed(band(arc(80, 90, 3), 1.45 * 14), 0, line)
    region = raster(placed(band(line, 14), 0, line))
    polygon = literal_polygon_of(region)
    assert polygon.shape == (14, 2)
    assert iou(polygon, exact) > 0.75
    # The fault that ours mends: standing, the same word is scanned along the wrong axis.
    assert literal_polygon_of(region.T.copy()) is None
    (outline,) = literal.literal_outlines(region.T.copy(), np.zeros_like(region), *THRESHOLDS)
    assert outline.shape == (4, 2)


def test_literal_polygon_of_straight_and_small_words():
    flat = np.zeros((60, 120), np.float32)
    flat[10:50, 10:110] = 1
    assert literal_polygon_of(flat) is None  # fills more than 0.7 of its box
    small = np.zeros((30, 40), np.float32)
    small[10:13, 10:30] = 1  # its box is 6 high
    assert literal_polygon_of(small) is None
