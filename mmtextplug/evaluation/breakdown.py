"""Where a detector fails: hits and misses by size, direction, length and curvature of words.

One number hides whether small, turned, long or bent words are lost. Words are measured from their
outlines alone, annotated and predicted ones alike, whatever their first points and numbers of
points are: recall is that of the annotated words of a kind, precision that of the predicted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from mmtextplug.datasets.graphemes import visible_length
from mmtextplug.evaluation.hmean import Page, harmonic_mean, match_page
from mmtextplug.evaluation.overlaps import Predictions, Truth


@dataclass(frozen=True)
class Aspect:
    """One way to sort words.

    Attributes:
        name (str): What is measured.
        edges (tuple[float, ...]): Between kinds, ascending; a word on an edge is of the kind above.
        labels (tuple[str, ...]): Of the kinds, one more than edges.
    """

    name: str
    edges: tuple[float, ...]
    labels: tuple[str, ...]


ASPECTS = (
    Aspect(
        "height",
        (8, 12, 18, 30, 60),
        ("< 8 px", "8-12 px", "12-18 px", "18-30 px", "30-60 px", ">= 60 px"),
    ),
    Aspect(
        "direction",
        (10, 30, 60, 80),
        ("level (< 10 deg)", "10-30 deg", "30-60 deg", "60-80 deg", "upright (>= 80 deg)"),
    ),
    Aspect(
        "length",
        (1.5, 3, 6, 12),
        ("< 1.5 heights", "1.5-3 heights", "3-6 heights", "6-12 heights", ">= 12 heights"),
    ),
    Aspect(
        "curvature", (0.25, 1), ("straight (< 0.25)", "bent (< 1 height)", "strongly bent (>= 1)")
    ),
    Aspect(
        "characters", (2, 4, 8, 12), ("1 char", "2-3 chars", "4-7 chars", "8-11 chars", ">= 12")
    ),
)
"""The aspects of `measure_words`, in its order."""


def measure_words(
    outlines: Sequence[np.ndarray], texts: Sequence[str | None] | None = None
) -> np.ndarray:
    """Measure words by their outlines.

    Taken as a ribbon, bent or not, a word has a height h and a length L with area ``h L`` and
    perimeter ``2 (h + L)``; an outline rounder than a square, which has no such solution, is taken
    as a square of its perimeter. The direction is that of the longer sides of the smallest
    rectangle around it, as the angle with the horizontal, 0 to 90 degrees; a word about as high as
    long (up to 1.2 heights) has none and counts as level. Curvature is by how many heights the
    word bulges: by which the shorter sides of that rectangle exceed its own height. It is 0.2 for
    an arc of 20 degrees of a word of 5 heights, 0.6 for one of 60 degrees; an outline of four
    points is straight.

    Args:
        outlines (Sequence[np.ndarray]): N arrays ``(K, 2)``, (x, y) in pixels.
        texts (Sequence[str | None], optional): What the words say.

    Returns:
        np.ndarray: ``(N, 5)`` float64: height in pixels, direction in degrees, length in heights,
        curvature in heights, number of characters. NaN where it is not known, and everywhere for
        outlines that are none.
    """
    measured = np.full((len(outlines), len(ASPECTS)), np.nan)
    for row, points in enumerate(outlines):
        points = np.asarray(points, dtype=np.float64)
        if len(points) >= 3 and np.isfinite(points).all():
            measured[row, :4] = _measure(points)
    if texts is not None:
        known = [i for i, text in enumerate(texts) if text]
        measured[known, 4] = [visible_length(texts[i]) for i in known]
    return measured


def _measure(points: np.ndarray) -> tuple[float, float, float, float]:
    outline = shapely.polygons(points)
    area, perimeter = outline.area, outline.length
    root = np.sqrt(max(perimeter**2 - 16 * area, 0.0))
    height, length = (perimeter - root) / 4, (perimeter + root) / 4
    if height <= 0:  # points on a line
        return 0.0, np.nan, np.nan, np.nan
    # Near the origin: OpenCV's rectangles are of single precision.
    corners = cv2.boxPoints(cv2.minAreaRect((points - points.mean(0)).astype(np.float32)))
    sides = np.array([corners[1] - corners[0], corners[2] - corners[1]], dtype=np.float64)
    extents = np.linalg.norm(sides, axis=1)
    x, y = np.abs(sides[extents.argmax()])
    direction = float(np.degrees(np.arctan2(y, x))) if length > 1.2 * height else 0.0
    curvature = max(0.0, extents.min() / height - 1) if len(points) > 4 else 0.0
    return height, direction, length / height, curvature


def count_kinds(
    truth_values: np.ndarray,
    pred_values: np.ndarray,
    truth_hit: np.ndarray,
    pred_hit: np.ndarray,
) -> np.ndarray:
    """Count the words of a page by their kinds.

    Args:
        truth_values (np.ndarray): ``(N, 5)`` of `measure_words`, words that count.
        pred_values (np.ndarray): ``(M, 5)``.
        truth_hit, pred_hit (np.ndarray): ``(N,)`` and ``(M,)`` bool, those that are matched.

    Returns:
        np.ndarray: ``(R, 4)`` int64, a row for each kind of each aspect: annotated words, those
        found, predicted words, those right. Words whose value is NaN are in none. Adds up over
        pages.
    """
    parts = []
    for column, aspect in enumerate(ASPECTS):
        counts = np.zeros((len(aspect.labels), 4), dtype=np.int64)
        for offset, values, hit in ((0, truth_values, truth_hit), (2, pred_values, pred_hit)):
            known = ~np.isnan(values[:, column])
            kinds = np.searchsorted(aspect.edges, values[known, column], side="right")
            counts[:, offset] = np.bincount(kinds, minlength=len(counts))
            counts[:, offset + 1] = np.bincount(kinds[hit[known]], minlength=len(counts))
        parts.append(counts)
    return np.concatenate(parts)


def count_page_kinds(
    truth: Truth, predictions: Predictions, page: Page, score_thr: float, strategy: str
) -> np.ndarray:
    """`count_kinds` of a judged page, of the words that count at a score threshold.

    Args:
        truth (Truth), predictions (Predictions): The words of the page.
        page (Page): From `judge_page`.
        score_thr (float), strategy (str): See `match_page`.
    """
    rows, cols = match_page(page, score_thr, strategy)
    selected = page.select(score_thr)
    truth_hit, pred_hit = np.zeros(len(page.truth_judged), bool), np.zeros(len(selected), bool)
    truth_hit[rows], pred_hit[cols] = True, True
    return count_kinds(
        measure_words(truth.outlines, truth.texts)[page.truth_judged],
        measure_words(predictions.outlines)[selected],
        truth_hit[page.truth_judged],
        pred_hit[selected],
    )


@dataclass(frozen=True)
class Row:
    """One kind of words: rates in [0, 1], None where there is nothing to divide by."""

    aspect: str
    kind: str
    truths: int
    predictions: int
    recall: float | None
    precision: float | None

    @property
    def hmean(self) -> float | None:
        if self.recall is None or self.precision is None:
            return None
        return harmonic_mean(self.precision, self.recall)


def summarize_kinds(counts: np.ndarray) -> list[Row]:
    """Rates from the sum of `count_kinds` over all pages, kinds without words left out."""
    kinds = [(aspect.name, label) for aspect in ASPECTS for label in aspect.labels]
    rows = []
    for (aspect, kind), (truths, found, predictions, right) in zip(kinds, counts.tolist()):
        if truths or predictions:
            recall = found / truths if truths else None
            precision = right / predictions if predictions else None
            rows.append(Row(aspect, kind, truths, predictions, recall, precision))
    return rows


def format_kinds(rows: Sequence[Row]) -> str:
    """A table in plain text."""

    def share(value: float | None) -> str:
        return f"{value:>9.4f}" if value is not None else f"{'-':>9}"

    lines = [
        f"{'':<12}{'':<20}{'annotated':>10}{'predicted':>10}"
        f"{'recall':>9}{'precision':>10}{'hmean':>9}"
    ]
    last = None
    for row in rows:
        name = row.aspect if row.aspect != last else ""
        last = row.aspect
        predicted = f"{row.predictions:>10,}" if row.precision is not None else f"{'-':>10}"
        lines.append(
            f"{name:<12}{row.kind:<20}{row.truths:>10,}{predicted}"
            f"{share(row.recall)} {share(row.precision)}{share(row.hmean)}"
        )
    return "\n".join(lines)
