"""The polygons of a batch as DB's targets need them: corners in one array, the offset of each, and
what is wrong with those that cannot be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

FAULTS = ("", "malformed", "not finite", "crosses itself", "no area", "small")
"""What may be wrong with a polygon; `TextPolygons.fault` holds places in this table."""

# Coordinates beyond are as useless as infinite ones.
_FAR = 1e6
# In square pixels; below it a polygon is a line or a point.
_MIN_AREA = 1.0


@dataclass(frozen=True)
class TextPolygons:
    """N polygons of a batch of images, on the host, in pixels of the maps.

    Attributes:
        points (np.ndarray): ``(V, 2)`` float64, the corners of one polygon after another's.
        count (np.ndarray): ``(N,)`` int64, corners of each; 0 if it is malformed or not finite.
        distance (np.ndarray): ``(N,)`` float64, the offset D of shrinking and growing; 0 where
            nothing but a mask is drawn.
        image (np.ndarray): ``(N,)`` int64, the map of each.
        fault (np.ndarray): ``(N,)`` int64, its place in `FAULTS`; 0 for those without.
    """

    points: np.ndarray
    count: np.ndarray
    distance: np.ndarray
    image: np.ndarray
    fault: np.ndarray

    def __len__(self) -> int:
        return len(self.count)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest coordinates, ``(N, 2)`` each; inf and -inf where there are none."""
        low, high = np.full((2, len(self), 2), np.inf)
        high = -high
        drawn = self.count > 0
        if drawn.any():
            starts = (self.count.cumsum() - self.count)[drawn]
            low[drawn] = np.minimum.reduceat(self.points, starts)
            high[drawn] = np.maximum.reduceat(self.points, starts)
        return low, high


def checked_settings(
    shrink_ratio: float, thr_min: float, thr_max: float, min_side: float
) -> dict[str, float]:
    """What targets are drawn by, as a dict.

    Raises:
        ValueError: If a number is out of its range.
    """
    if not (0 <= shrink_ratio < 1 and 0 <= thr_min < thr_max <= 1 and 0 <= min_side < np.inf):
        raise ValueError(
            f"DB's targets: shrink_ratio={shrink_ratio} must be in [0, 1), thr_min={thr_min} less "
            f"than thr_max={thr_max}, both in [0, 1], and min_side={min_side} 0 or more"
        )
    return dict(shrink_ratio=shrink_ratio, thr_min=thr_min, thr_max=thr_max, min_side=min_side)


def text_polygons(
    polygons: Sequence[np.ndarray],
    *,
    shrink_ratio: float = 0.4,
    min_side: float = 0.0,
    batch_index: Sequence[int] | None = None,
) -> TextPolygons:
    """Measure polygons (DB paper, section 3.4: ``D = A (1 - r^2) / L``) and find their faults.

    Args:
        polygons (Sequence[np.ndarray]): N polygons, ``(K, 2)`` or flat ``(2K,)``, any number of
            corners, either direction, in map pixels. Repeated corners do no harm.
        shrink_ratio (float): r.
        min_side (float): Polygons whose minimum-area rectangle has a shorter side are 'small', in
            map pixels.
        batch_index (Sequence[int], optional): ``(N,)``, the map of each polygon. Default: map 0.

    Returns:
        TextPolygons: 'malformed' are polygons of fewer than three points or an odd number of
        coordinates; 'crosses itself' those that are not simple, touching themselves included;
        'no area' those of less than one square pixel.

    Raises:
        ValueError: If ``batch_index`` has another length, or ``shrink_ratio`` is not in [0, 1).
    """
    if not 0 <= shrink_ratio < 1:
        raise ValueError(f"text_polygons: shrink_ratio={shrink_ratio} is not in [0, 1)")
    total = len(polygons)
    image = np.zeros(total, np.int64) if batch_index is None else np.asarray(batch_index, np.int64)
    if image.shape != (total,):
        raise ValueError(f"text_polygons: {len(image)} batch indices for {total} polygons")
    flat = [np.asarray(polygon, np.float64).reshape(-1) for polygon in polygons]
    sizes = np.array([len(values) for values in flat], np.int64)
    fault = np.where((sizes < 6) | (sizes % 2 > 0), FAULTS.index("malformed"), 0)
    values = np.concatenate([np.zeros(0), *flat])
    owner = np.repeat(np.arange(total), sizes)
    useless = owner[~(np.abs(values) <= _FAR)]
    fault[useless] = np.where(fault[useless], fault[useless], FAULTS.index("not finite"))

    count = np.where(fault == 0, sizes // 2, 0)
    points = values[fault[owner] == 0].reshape(-1, 2)
    distance = np.zeros(total)
    drawn = np.flatnonzero(count)
    if len(drawn):
        fault[drawn], distance[drawn] = _measure(points, count[drawn], 1 - shrink_ratio**2)
        if min_side > 0:
            _find_small(points, count, fault, min_side)
        distance[fault > 0] = 0
    return TextPolygons(points, count, distance, image, fault)


def _measure(points: np.ndarray, count: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Faults and offsets of polygons that have corners, ``(M,)`` each."""
    ends = np.cumsum(count)
    starts = ends - count
    owner = np.repeat(np.arange(len(count)), count)
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = starts
    # About the first corner: far from the origin the products would cancel.
    local = points - points[starts][owner]
    after = local[following]
    twice = np.add.reduceat(local[:, 0] * after[:, 1] - local[:, 1] * after[:, 0], starts)
    area = np.abs(twice) / 2
    length = np.add.reduceat(np.hypot(*(after - local).T), starts)
    simple = shapely.is_valid(shapely.polygons(shapely.linearrings(points, indices=owner)))
    fault = np.select(
        # A line crosses itself, too, but is better called by the other name.
        [(area < _MIN_AREA) & (_extent(points, starts) < _MIN_AREA), ~simple, area < _MIN_AREA],
        [FAULTS.index("no area"), FAULTS.index("crosses itself"), FAULTS.index("no area")],
        0,
    )
    return fault, np.where(fault == 0, factor * area / np.maximum(length, 1e-9), 0.0)


def _extent(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Shorter side of the upright box around each polygon."""
    sides = np.maximum.reduceat(points, starts) - np.minimum.reduceat(points, starts)
    return sides.min(axis=1)


def _find_small(points: np.ndarray, count: np.ndarray, fault: np.ndarray, min_side: float) -> None:
    """Marks the small among the polygons without a fault, in place."""
    corners = points.astype(np.float32)
    ends = np.cumsum(count)
    for n in np.flatnonzero((fault == 0) & (count > 0)):
        sides = cv2.minAreaRect(corners[ends[n] - count[n] : ends[n]])[1]
        if min(sides) < min_side:
            fault[n] = FAULTS.index("small")
