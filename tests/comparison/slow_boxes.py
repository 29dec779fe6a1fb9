"""Boxes for tests: exact overlaps in fractions, and pictures of noise to put them on."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def boxes_of(rows) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def slow_iou(a, b) -> Fraction:
    a, b = ([Fraction(float(value)) for value in box] for box in (a, b))
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(tall, 0)
    total = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)) - shared
    return shared / total if total else Fraction(0)


def noise(height: int = 120, width: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
