"""Simplified outlines of the components of a mask, and the mean score within each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Outlines:
    """Closed outlines of different numbers of points, one after another.

    Attributes:
        points: ``(M, 2)`` int32, (x, y) of pixels.
        starts: ``(N + 1,)`` int64; outline ``i`` is ``points[starts[i]:starts[i + 1]]``.
    """

    points: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of(cls, rings: list[np.ndarray]) -> Outlines:
        """From arrays with x and y of ``k > 0`` points each, all ``(k, 2)`` or ``(k, 1, 2)``."""
        starts = np.cumsum([0, *map(len, rings)])
        points = np.concatenate(rings) if rings else np.zeros(0, np.int32)
        return cls(points.reshape(-1, 2), starts)

    @property
    def index(self) -> np.ndarray:
        """``(M,)``, the outline that each point belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def low(self) -> np.ndarray:
        """``(N, 2)``, least x and y."""
        return np.minimum.reduceat(self.points, self.starts[:-1]) if len(self) else self.points

    @property
    def high(self) -> np.ndarray:
        """``(N, 2)``, largest x and y."""
        return np.maximum.reduceat(self.points, self.starts[:-1]) if len(self) else self.points

    def take(self, order: np.ndarray) -> Outlines:
        """The outlines with these indices, in this order."""
        counts = np.diff(self.starts)[order]
        starts = np.append(0, np.cumsum(counts))
        moved = np.repeat(self.starts[order] - starts[:-1], counts)
        return Outlines(self.points[np.arange(starts[-1]) + moved], starts)


def component_outlines(
    mask: np.ndarray,
    *,
    epsilon_ratio: float,
    unclip_ratio: float,
    min_width: float,
    margin: float = 0.0,
) -> Outlines:
    """Simplified outer contours of the 8-connected components of a mask.

    Args:
        mask: ``(H, W)`` uint8 0/1.
        epsilon_ratio: Share of a contour's perimeter that its outline may stray.
        unclip_ratio, min_width, margin: A component is dropped here if its outline, grown by the
            margin and offset by its area times the ratio over its perimeter, cannot fill a
            rectangle with sides of this width.

    Returns:
        Outlines: Those of at least four points.
    """
    if not mask.size:
        return Outlines.of([])
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = hierarchy[0, :, 3].tolist() if contours else []
    rings = []
    for contour, parent in zip(contours, parents):
        # Holes have a parent; components within holes have none.
        if parent >= 0 or len(contour) < 4:
            continue
        # A = |closed integral of x dy| <= L w / 2 for any closed curve as wide as w, and likewise
        # for its height, and a margin m adds m to A / L at most: that bounds D', hence the least
        # rectangle, whose shorter side is at most the root of its area.
        _, _, columns, rows = cv2.boundingRect(contour)
        grow = unclip_ratio * (min(columns, rows) - 1 + 2 * margin) + 2 * margin
        if math.sqrt((columns - 1 + grow) * (rows - 1 + grow)) < min_width:
            continue
        epsilon = epsilon_ratio * cv2.arcLength(contour, True)
        outline = cv2.approxPolyDP(contour, epsilon, True)
        if len(outline) >= 4:
            rings.append(outline)
    return Outlines.of(rings)


def outline_scores(prob: np.ndarray, outlines: Outlines) -> np.ndarray:
    """Mean probability of the pixels in and on each outline, as OpenCV fills it; ``(N,)``."""
    low, sides = outlines.low, outlines.high - outlines.low + 1
    scratch = np.empty(sides.astype(np.int64).prod(axis=1).max(initial=0), np.uint8)
    scores = np.empty(len(outlines))
    local = outlines.points - low[outlines.index]
    bounds = np.hstack([low, sides]).tolist()
    starts = outlines.starts.tolist()
    for i, (x, y, w, h) in enumerate(bounds):
        inside = scratch[: w * h].reshape(h, w)
        inside[:] = 0
        cv2.fillPoly(inside, [local[starts[i] : starts[i + 1]]], 1)
        scores[i] = cv2.mean(prob[y : y + h, x : x + w], inside)[0]
    return scores
