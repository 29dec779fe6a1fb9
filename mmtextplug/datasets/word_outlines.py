"""The outlines of all words of an image at once: areas, turns, sides, directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


class Outlines:
    """Some outlines, the points of all in one array, and what follows from them.

    Args:
        polygons (Sequence[np.ndarray]): N arrays ``(K, 2)`` of finite points, K at least 3; N > 0.

    Attributes:
        count (np.ndarray): ``(N,)`` points of each.
        low, high (np.ndarray): ``(N, 2)`` corners of their boxes.
        area (np.ndarray): ``(N,)``, positive when clockwise on the screen.
        convex, simple (np.ndarray): ``(N,)`` bool; simple: without crossing itself.
        rings (np.ndarray): ``(N,)`` shapely rings.
        along, across (np.ndarray): ``(N, 2)``, from the middle of the first pair of upper and
            lower points to that of the last; from the upper to the lower points of both.
    """

    def __init__(self, polygons: Sequence[np.ndarray]) -> None:
        self.count = np.array([len(polygon) for polygon in polygons])
        self.stop = np.cumsum(self.count)
        self.start = self.stop - self.count
        self.points = np.concatenate(polygons).astype(np.float64)
        following = np.arange(1, len(self.points) + 1)
        following[self.stop - 1] = self.start
        local = self.points - np.repeat(self.points[self.start], self.count, axis=0)
        edges = local[following] - local
        self.low = np.minimum.reduceat(self.points, self.start)
        self.high = np.maximum.reduceat(self.points, self.start)
        self.area = 0.5 * np.add.reduceat(cross(local, local[following]), self.start)
        turns = cross(edges, edges[following])
        # As the area says it: positive turns of a clockwise outline are convex.
        turns *= np.repeat(np.sign(self.area), self.count)
        self.convex = np.minimum.reduceat(turns, self.start) >= 0
        self.lengths = np.hypot(*edges.T)
        owner = np.repeat(np.arange(len(self.count)), self.count)
        self.rings = shapely.linearrings(self.points, indices=owner)
        self.simple = shapely.is_simple(self.rings)
        half = self.count // 2
        first, last = self.points[self.start], self.points[self.stop - 1]
        top, bottom = self.points[self.start + half - 1], self.points[self.stop - half]
        self.along = (top + bottom - first - last) / 2
        self.across = (bottom + last - first - top) / 2

    def sides(self, ordered: bool) -> tuple[np.ndarray, np.ndarray]:
        """(width, height) of each; of other outlines than quads, those of the ribbon of the same
        area and perimeter, however it bends."""
        half = 0.5 * np.add.reduceat(self.lengths, self.start)
        root = np.sqrt(np.maximum(half**2 - 4 * np.abs(self.area), 0))
        width, height = (half + root) / 2, (half - root) / 2
        if ordered:
            quads = np.flatnonzero(self.count == 4)
            top, right, bottom, left = (self.lengths[self.start[quads] + i] for i in range(4))
            width[quads], height[quads] = (top + bottom) / 2, (left + right) / 2
        return width, height
