"""The published CRAFT grouping, step by step and slowly: one full-map pass per component and step.

It is the yardstick of ``mmtextplug.craft.grouping``: the tests compare boxes with it, and
``benchmark_grouping.py`` compares times. It keeps the cost structure of the public code (every
component is handled on images of the whole map), so do not use it for anything else.
"""

from __future__ import annotations

import math

import cv2
import numpy as np


def literal_boxes(
    region: np.ndarray,
    affinity: np.ndarray,
    text_threshold: float,
    link_threshold: float,
    low_text: float,
) -> np.ndarray:
    """Boxes of one pair of float32 score maps, ``(N, 4, 2)`` float32 in map pixels.

    Two departures from the published procedure, both where that one fails: a component left
    without any text pixel is dropped (it crashes there), and the size arithmetic is done in Python
    integers (it overflows 32 bits there on components of millions of pixels).
    """
    map_h, map_w = region.shape
    _, text = cv2.threshold(region.copy(), low_text, 1, cv2.THRESH_BINARY)
    _, link = cv2.threshold(affinity.copy(), link_threshold, 1, cv2.THRESH_BINARY)
    either = np.clip(text + link, 0, 1).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(either, connectivity=4)

    boxes = []
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
    return np.array(boxes, np.float32).reshape(-1, 4, 2)
