"""Words of an image as polygons, and by how much annotated and predicted ones overlap.

Everything that metrics need of geometry is here, once: pairs whose bounding boxes do not meet are
never looked at, and Shapely intersects all others in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely


@dataclass(frozen=True)
class Truth:
    """The annotated words of an image.

    Attributes:
        outlines (list[np.ndarray]): ``(K, 2)`` each, (x, y) in pixels.
        ignored (np.ndarray): ``(N,)`` bool, words that nobody is judged by.
        texts (list[str | None]): Transcriptions, None where unknown.
    """

    outlines: list[np.ndarray]
    ignored: np.ndarray
    texts: list[str | None]


@dataclass(frozen=True)
class Predictions:
    """The predicted words of an image.

    Attributes:
        outlines (list[np.ndarray]): ``(K, 2)`` each, (x, y) in pixels.
        scores (np.ndarray): ``(M,)``; those of words without scores are 1.
    """

    outlines: list[np.ndarray]
    scores: np.ndarray


def to_polygons(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Shapely polygons of outlines, all valid.

    Outlines that cross or touch themselves are mended as MMOCR does it: by a buffer of width 0
    and, should that leave several parts, their convex hull. Outlines of fewer than 3 points, or
    with a NaN or infinite coordinate, become empty polygons, which overlap nothing.

    Args:
        outlines (Sequence[np.ndarray]): ``(K, 2)`` each, (x, y) in pixels.

    Returns:
        np.ndarray: ``(N,)`` of ``shapely.Polygon``.
    """
    polygons = np.full(len(outlines), shapely.Polygon(), dtype=object)
    usable = np.nonzero(are_outlines(outlines))[0]
    if not len(usable):
        return polygons
    points = [np.asarray(outlines[i], dtype=np.float64) for i in usable]
    index = np.repeat(np.arange(len(points)), [len(one) for one in points])
    made = shapely.polygons(shapely.linearrings(np.concatenate(points), indices=index))
    for i in np.nonzero(~shapely.is_valid(made))[0]:
        mended = shapely.buffer(made[i], 0)
        made[i] = mended if mended.geom_type == "Polygon" else mended.convex_hull
    polygons[usable] = made
    return polygons


def is_outline(points: np.ndarray) -> bool:
    """Whether ``(K, 2)`` points have at least three, all finite."""
    return len(points) >= 3 and bool(np.isfinite(points).all())


def are_outlines(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """`is_outline` of many at once, ``(N,)`` bool."""
    sizes = np.array([len(points) for points in outlines], dtype=np.int64)
    filled = np.nonzero(sizes)[0]
    finite = np.zeros(len(sizes), dtype=bool)
    if len(filled):
        all_points = np.isfinite(np.concatenate([outlines[i] for i in filled])).all(1)
        starts = np.cumsum(sizes[filled]) - sizes[filled]
        finite[filled] = np.logical_and.reduceat(all_points, starts)
    return finite & (sizes >= 3)


@dataclass(frozen=True)
class Overlaps:
    """Pairs of annotated and predicted words that overlap, by rows, then by columns.

    Attributes:
        rows, cols (np.ndarray): ``(P,)`` int64, index of the annotated and of the predicted word.
        areas (np.ndarray): ``(P,)`` float64, of their intersections, in square pixels, above 0.
        truth_areas, pred_areas (np.ndarray): ``(N,)`` and ``(M,)`` float64, of all words.
    """

    rows: np.ndarray
    cols: np.ndarray
    areas: np.ndarray
    truth_areas: np.ndarray
    pred_areas: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(N, M)."""
        return len(self.truth_areas), len(self.pred_areas)

    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, ``(P,)``."""
        return self.areas / (self.truth_areas[self.rows] + self.pred_areas[self.cols] - self.areas)

    def truth_share(self) -> np.ndarray:
        """Share of the annotated word that the prediction covers, of each pair, ``(P,)``."""
        return self.areas / self.truth_areas[self.rows]

    def pred_share(self) -> np.ndarray:
        """Share of the prediction that lies in the annotated word, of each pair, ``(P,)``."""
        return self.areas / self.pred_areas[self.cols]

    def dense(self, values: np.ndarray) -> np.ndarray:
        """A value of each pair as a matrix ``(N, M)``, 0 elsewhere."""
        matrix = np.zeros(self.shape)
        matrix[self.rows, self.cols] = values
        return matrix


def measure_overlaps(
    truths: np.ndarray, predictions: np.ndarray, *, pred_share: float = 0.0
) -> Overlaps:
    """Intersect all annotated with all predicted words of an image.

    Args:
        truths (np.ndarray): ``(N,)`` valid ``shapely.Polygon``, of `to_polygons`.
        predictions (np.ndarray): ``(M,)``.
        pred_share (float): Pairs that share less of the prediction's area are of no interest;
            those of which the bounding boxes tell so are left out.

    Returns:
        Overlaps: The pairs with an intersection of positive area.
    """
    truth_areas, pred_areas = shapely.area(truths), shapely.area(predictions)
    # A tree of bounding boxes; without words there is nothing to put into one.
    rows, cols = shapely.STRtree(predictions).query(truths)
    order = np.lexsort((cols, rows))
    rows, cols = rows[order], cols[order]
    if pred_share > 0:
        a, b = shapely.bounds(truths)[rows], shapely.bounds(predictions)[cols]
        sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
        # Less by a hair, for rounding.
        able = sides.prod(1) >= (pred_share - 1e-6) * pred_areas[cols]
        rows, cols = rows[able], cols[able]
    areas = shapely.area(shapely.intersection(truths[rows], predictions[cols]))
    found = areas > 0
    return Overlaps(rows[found], cols[found], areas[found], truth_areas, pred_areas)


def outside_ignored(overlaps: Overlaps, ignored: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Which predictions are judged: those of which no ignored word holds more than a share.

    Source: the evaluation of ICDAR 2015's challenge 4, task 1.

    Args:
        overlaps (Overlaps): Of N annotated and M predicted words.
        ignored (np.ndarray): ``(N,)`` bool.
        share (float): Of the prediction's area.

    Returns:
        np.ndarray: ``(M,)`` bool.
    """
    judged = np.ones(overlaps.shape[1], dtype=bool)
    inside = ignored[overlaps.rows] & (overlaps.pred_share() > share)
    judged[overlaps.cols[inside]] = False
    return judged
