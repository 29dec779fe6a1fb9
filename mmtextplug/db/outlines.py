"""Simplified outlines of the components of a mask, and the mean score within each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from mmtextplug.compiled import compiled

# Columns and rows of the eight neighbours, counter-clockwise on the screen from the east.
STEPS = np.array([[1, 0], [1, -1], [0, -1], [-1, -1], [-1, 0], [-1, 1], [0, 1], [1, 1]])


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
    mask: np.ndarray, *, epsilon_ratio: float, unclip_ratio: float, min_width: float
) -> Outlines:
    """Simplified outer contours of the 8-connected components of a mask.

    Contours are those of ``cv2.findContours`` (outer ones, ``CHAIN_APPROX_SIMPLE``), simplified by
    ``cv2.approxPolyDP``. The first is not called, since it spends most of its time on holes and on
    components that are dropped at once: a map of noise has tens of thousands.

    Args:
        mask: ``(H, W)`` uint8 0/1.
        epsilon_ratio: Share of a contour's perimeter that its outline may stray.
        unclip_ratio, min_width: A component is dropped here if its outline, offset by its area
            times the ratio over its perimeter, cannot fill a rectangle with sides of this width.

    Returns:
        Outlines: Those of at least four points.
    """
    # Background all around, so that the walk needs no check of bounds.
    framed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.int8)
    framed[1:-1, 1:-1] = mask
    points, starts = compiled(_contours)(framed, STEPS, float(unclip_ratio), float(min_width))
    rings = []
    for start, end in pairwise(starts.tolist()):
        contour = points[start:end]
        epsilon = epsilon_ratio * cv2.arcLength(contour, True)
        rings.append(cv2.approxPolyDP(contour, epsilon, True))
    return Outlines.of([ring for ring in rings if len(ring) >= 4])


def _contours(mask, steps, unclip_ratio, min_width):  # pragma: no cover
    """Border following (Suzuki and Abe, CVGIP 30, 1985, algorithm 1 without the hierarchy).

    In the mask, 2 comes to mean a pixel on a border that was followed, -2 one where the border
    was left on the east. Returns ``(M, 2)`` int32 points, those of the map without its frame where
    the walk along an outer border turns, and ``(N + 1,)`` int64 starts.
    """
    points = np.empty((1024, 2), np.int32)
    starts = np.zeros(1024, np.int64)
    found, count = 0, 0
    for y0 in range(1, mask.shape[0] - 1):
        row = mask[y0]
        for x0 in range(1, mask.shape[1] - 1):
            if row[x0] < 1:
                continue
            outer = row[x0] == 1 and row[x0 - 1] == 0
            if not outer and row[x0 + 1] != 0:
                continue
            # The last step of the walk comes from the first neighbour clockwise from the
            # background; a pixel alone has no walk.
            background = 4 if outer else 0
            entry = background
            for turn in range(1, 8):
                code = (background - turn) & 7
                if mask[y0 + steps[code, 1], x0 + steps[code, 0]] != 0:
                    entry = code
                    break
            if entry == background:
                mask[y0, x0] = -2
                continue
            x_last, y_last = x0 + steps[entry, 0], y0 + steps[entry, 1]
            x, y, code, before = x0, y0, entry, (entry + 4) & 7
            left, right, top, bottom = x0, x0, y0, y0
            while True:
                # From where the walk came, counter-clockwise to the next pixel.
                open_east = False
                code = (code + 1) & 7
                while mask[y + steps[code, 1], x + steps[code, 0]] == 0:
                    open_east |= code == 0
                    code = (code + 1) & 7
                if open_east:
                    mask[y, x] = -2
                elif mask[y, x] == 1:
                    mask[y, x] = 2
                if code != before:
                    if count == len(points):
                        larger = np.empty((2 * count, 2), np.int32)
                        larger[:count] = points
                        points = larger
                    points[count, 0], points[count, 1] = x - 1, y - 1
                    count += 1
                left, right = min(left, x), max(right, x)
                top, bottom = min(top, y), max(bottom, y)
                before = code
                at_last = x == x_last and y == y_last
                x, y = x + steps[code, 0], y + steps[code, 1]
                if at_last and x == x0 and y == y0:
                    break
                code = (code + 4) & 7

            # A = |closed integral of x dy| <= L w / 2 for any closed curve as wide as w, and
            # likewise for its height: that bounds D', hence the least rectangle, whose shorter
            # side is at most the root of its area.
            width, height = right - left, bottom - top
            grow = unclip_ratio * min(width, height)
            large = math.sqrt((width + grow) * (height + grow)) >= min_width
            if not outer or not large or count - starts[found] < 4:
                count = starts[found]
                continue
            found += 1
            if found == len(starts):
                longer = np.empty(2 * found, np.int64)
                longer[:found] = starts
                starts = longer
            starts[found] = count
    return points[:count], starts[: found + 1]


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
