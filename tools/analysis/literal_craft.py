"""The published CRAFT grouping, step by step and slowly: one full-map pass per component and step.

It is the yardstick of ``mmtextplug.craft.grouping`` and ``mmtextplug.craft.polygon``: the tests
compare boxes and polygons with it, ``benchmark_grouping.py`` compares times and
``compare_polygons.py`` outlines. It keeps the cost structure of the public code (every component is
handled on images of the whole map), and its faults, so do not use it for anything else.
"""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

PIVOTS = 5
FILL = 0.7
EXPAND = 1.45
MIN_SIDE = 10
FIRST_SHIFT, SHIFT_STEP, SHIFT_LIMIT = 0.5, 0.2, 2.0


def literal_boxes(
    region: np.ndarray,
    affinity: np.ndarray,
    text_threshold: float,
    link_threshold: float,
    low_text: float,
) -> np.ndarray:
    """Boxes of one pair of float32 score maps, ``(N, 4, 2)`` float32 in map pixels."""
    return literal_words(region, affinity, text_threshold, link_threshold, low_text)[0]


def literal_words(
    region: np.ndarray,
    affinity: np.ndarray,
    text_threshold: float,
    link_threshold: float,
    low_text: float,
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Boxes ``(N, 4, 2)``, the label of each pixel ``(H, W)`` int32, and the label of each box.

    Two departures from the published procedure, both where that one fails: a component left
    without any text pixel is dropped (it crashes there), and the size arithmetic is done in Python
    integers (it overflows 32 bits there on components of millions of pixels).
    """
    map_h, map_w = region.shape
    _, text = cv2.threshold(region.copy(), low_text, 1, cv2.THRESH_BINARY)
    _, link = cv2.threshold(affinity.copy(), link_threshold, 1, cv2.THRESH_BINARY)
    either = np.clip(text + link, 0, 1).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(either, connectivity=4)

    boxes, kept = [], []
    for k in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[k])
        if area < 10:
            continue
        if np.max(region[labels == k]) < np.float32(text_threshold):
            continue

        canvas = np.zeros((map_h, map_w), np.uint8)
        canvas[labels == k] = 255
        canvas[np.logical_and(link == 1, text == 0)] = 0
        if not canvas.any():
            continue

        niter = int(math.sqrt(area * min(width, height) / (width * height)) * 2)
        x0, x1 = max(left - niter, 0), min(left + width + niter + 1, map_w)
        y0, y1 = max(top - niter, 0), min(top + height + niter + 1, map_h)
        kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (1 + niter, 1 + niter))
        canvas[y0:y1, x0:x1] = cv2.dilate(canvas[y0:y1, x0:x1], kernel)

        rows, columns = np.where(canvas != 0)
        pixels = np.stack([columns, rows], axis=1).astype(np.int32)
        box = cv2.boxPoints(cv2.minAreaRect(pixels))

        first, second = math.dist(box[0], box[1]), math.dist(box[1], box[2])
        if abs(1 - max(first, second) / (min(first, second) + 1e-5)) <= 0.1:
            l, t = pixels.min(axis=0)  # noqa: E741
            r, b = pixels.max(axis=0)
            box = np.array([[l, t], [r, t], [r, b], [l, b]], np.float32)
        box = np.roll(box, 4 - int(box.sum(axis=1).argmin()), axis=0)
        boxes.append(box)
        kept.append(k)
    return np.array(boxes, np.float32).reshape(-1, 4, 2), labels, kept


def literal_polygon(labels: np.ndarray, label: int, box: np.ndarray) -> np.ndarray | None:
    """The published outline of one word, ``(14, 2)`` float32; None where that procedure has none.

    It is None, too, where two pivots share a column and the published code divides by zero.

    Args:
        labels: ``(H, W)`` int32, the component of each pixel of the map.
        label: that of the word.
        box: ``(4, 2)`` float32, the word's box in the map.
    """
    width = int(np.linalg.norm(box[0] - box[1]) + 1)
    height = int(np.linalg.norm(box[1] - box[2]) + 1)
    if width < MIN_SIDE or height < MIN_SIDE:
        return None
    target = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    matrix = cv2.getPerspectiveTransform(box.astype(np.float32), target)
    if np.linalg.det(matrix) == 0:
        return None
    inverse = np.linalg.inv(matrix)
    warped = cv2.warpPerspective(
        labels.astype(np.float32), matrix, (width, height), flags=cv2.INTER_NEAREST
    )
    word = (warped == label).astype(np.uint8)

    columns = []
    for x in range(width):
        rows = np.flatnonzero(word[:, x])
        if len(rows) >= 2:
            columns.append((x, int(rows[0]), int(rows[-1])))
    tallest = max((bottom - top + 1 for _, top, bottom in columns), default=-1)
    if tallest > FILL * height:
        return None

    found = literal_pivots(columns, width)
    if found is None:
        return None
    pivots, heights, centres = found
    half = float(np.median(heights)) * EXPAND / 2
    sticks = []
    for i, (x, y) in enumerate(pivots):
        dx = centres[2 * i + 2][0] - centres[2 * i][0]
        dy = centres[2 * i + 2][1] - centres[2 * i][1]
        angle = 0.0 if dx == 0 else -math.atan2(dy, dx)
        c, s = half * math.cos(angle), half * math.sin(angle)
        sticks.append(np.array([x - s, y - c, x + s, y + c]))

    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(pivots)]
    if any(dx == 0 for dx, _ in steps):
        return None
    slopes = [dy / dx for dx, dy in steps]
    first = literal_end(word, sticks[0], half, -1, slopes[0] + slopes[1])
    last = literal_end(word, sticks[-1], half, 1, slopes[-2] + slopes[-1])
    sticks = [first, *sticks, last]

    points = [stick[:2] for stick in sticks] + [stick[2:] for stick in sticks[::-1]]
    mapped = np.column_stack([np.array(points), np.ones(len(points))]) @ inverse.T
    return (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)


def literal_pivots(
    columns: list[tuple[int, int, int]], width: int
) -> tuple[list[tuple[float, float]], list[int], list[tuple[float, float]]] | None:
    """Pivots, their heights, and the mean points of all segments; None if a pivot is missing.

    Args:
        columns: ``(x, top, bottom)`` of the columns with at least two pixels, in order.
        width: of the word's box; each segment takes one eleventh of it.
    """
    segments = 2 * PIVOTS + 1
    segment_width = width / segments
    pivots: list[tuple[float, float] | None] = [None] * PIVOTS
    heights = [0] * PIVOTS
    centres = [(0.0, 0.0)] * segments
    segment, count, tallest = 0, 0, -1
    sum_x = sum_y = 0.0
    for x, top, bottom in columns:
        # One step a column, and a column may be more than one segment further on.
        if (segment + 1) * segment_width <= x:
            if count == 0:
                break
            centres[segment] = (sum_x / count, sum_y / count)
            segment, count, tallest = segment + 1, 0, -1
            sum_x = sum_y = 0.0
        y, height = (top + bottom) / 2, bottom - top + 1
        sum_x, sum_y, count = sum_x + x, sum_y + y, count + 1
        if segment % 2 == 1 and height > tallest:
            pivots[segment // 2] = (float(x), y)
            heights[segment // 2] = tallest = height
    # A scan that has not come to the last segment leaves it at (0, 0): the last stick turns over.
    if segment == segments - 1:
        centres[-1] = (sum_x / count, sum_y / count)
    if any(pivot is None for pivot in pivots) or segment_width < 0.25 * max(heights):
        return None
    return pivots, heights, centres


def literal_end(
    word: np.ndarray, stick: np.ndarray, half: float, direction: int, slope: float
) -> np.ndarray:
    """Move the outermost stick ``(x0, y0, x1, y1)`` outwards until it no longer meets the word.

    Args:
        word: ``(h, w)`` uint8.
        stick: where it stands.
        half: half of the word's height.
        direction: -1 at the start, 1 at the end.
        slope: sum of the two outermost slopes between pivots.
    """
    for share in np.arange(FIRST_SHIFT, SHIFT_LIMIT, SHIFT_STEP):
        dx = 2 * half * share
        moved = stick + direction * np.array([dx, slope * dx, dx, slope * dx])
        x0, y0, x1, y1 = (int(value) for value in moved)
        line = np.zeros_like(word)
        cv2.line(line, (x0, y0), (x1, y1), 1, 1)
        if not (word & line).any() or share + 2 * SHIFT_STEP >= SHIFT_LIMIT:
            break
    return moved


def literal_outlines(
    region: np.ndarray,
    affinity: np.ndarray,
    text_threshold: float,
    link_threshold: float,
    low_text: float,
) -> list[np.ndarray]:
    """The published polygon of each word; its box, ``(4, 2)``, where there is none."""
    boxes, labels, kept = literal_words(region, affinity, text_threshold, link_threshold, low_text)
    polygons = [literal_polygon(labels, k, box) for k, box in zip(kept, boxes)]
    return [box if polygon is None else polygon for polygon, box in zip(polygons, boxes)]
