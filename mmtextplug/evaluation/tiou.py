"""TIoU: like hmean at IoU 0.5, but each match counts by how tightly its outlines agree.

A match loses by what it cuts off its word, and by what it holds of other words.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import shapely

from mmtextplug.evaluation.hmean import (
    check_thresholds,
    harmonic_mean,
    judge_overlaps,
    match_page,
)
from mmtextplug.evaluation.overlaps import (
    Overlaps,
    Predictions,
    Truth,
    measure_overlaps,
    to_polygons,
)

NEGLIGIBLE = 0.01
"""Shares up to this cost nothing: the official script's, of which the paper says nothing."""


class TIoUCounts(NamedTuple):
    """What a page, or a data set, comes to; counts of pages add up.

    Attributes:
        recalled, right (float): Sums of the matches' TIoU for recall and for precision.
        truths (int): Annotated words that are not ignored.
        predictions (int): Predicted words that do not lie in ignored ones.
    """

    recalled: float = 0.0
    right: float = 0.0
    truths: int = 0
    predictions: int = 0


def judge_tiou(
    truth: Truth, predictions: Predictions, *, iou_thr: float = 0.5, ignore_thr: float = 0.5
) -> TIoUCounts:
    """Match the words of a page as ICDAR 2015 does it, and weigh the matches.

    Args:
        truth (Truth): N annotated words.
        predictions (Predictions): M predicted words; scores do not matter.
        iou_thr (float): In [0, 1): a pair matches if its IoU is above.
        ignore_thr (float): In [0, 1]: a prediction does not count if a larger share of its area
            lies in one ignored word.

    Raises:
        ValueError: If a threshold is out of its range.

    Source: Liu et al., Tightness-aware Evaluation Protocol for Scene Text Detection, CVPR 2019,
        section 3, and the authors' script where they differ.
    """
    check_thresholds(iou_thr, ignore_thr)
    truths, preds = to_polygons(truth.outlines), to_polygons(predictions.outlines)
    overlaps = measure_overlaps(truths, preds)
    page = judge_overlaps(overlaps, truth.ignored, np.ones(len(preds)), iou_thr, ignore_thr)
    rows, cols = match_page(page)
    pairs = np.searchsorted(
        overlaps.rows * len(preds) + overlaps.cols, rows * len(preds) + cols
    )  # the pairs stand by rows, then columns
    # Not 1 - truth_share(), which is above 0.01 where the script has just that.
    whole = overlaps.truth_areas[rows]
    cut = (whole - overlaps.areas[pairs]) / whole
    foreign = foreign_areas(truths, preds, overlaps, rows, cols) / overlaps.pred_areas[cols]
    weights = [1 - np.where(share > NEGLIGIBLE, share, 0) for share in (cut, foreign)]
    iou = overlaps.iou()[pairs]
    recalled, right = (float((iou * weight).sum()) for weight in weights)
    return TIoUCounts(recalled, right, int(page.truth_judged.sum()), int(page.pred_judged.sum()))


def foreign_areas(
    truths: np.ndarray, preds: np.ndarray, overlaps: Overlaps, rows: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Area of each matched prediction that lies in other words but not in its own.

    Ignored words are among the others: the authors' script means to leave them out, but asks
    whether the matched word is ignored, which it never is.

    Args:
        truths, preds (np.ndarray): ``(N,)`` and ``(M,)`` polygons.
        overlaps (Overlaps): Of them.
        rows, cols (np.ndarray): ``(H,)`` int64, matches.

    Returns:
        np.ndarray: ``(H,)`` float64, in square pixels.
    """
    partner = np.full(len(preds), -1)
    partner[cols] = rows
    other = (partner[overlaps.cols] >= 0) & (partner[overlaps.cols] != overlaps.rows)
    holders = overlaps.cols[other]
    order = np.argsort(holders, kind="stable")
    holders, first = np.unique(holders[order], return_index=True)
    groups = np.split(truths[overlaps.rows[other]][order], first[1:]) if len(holders) else []
    words = np.array([shapely.union_all(group) for group in groups], dtype=object)
    areas = np.zeros(len(preds))
    areas[holders] = shapely.area(
        shapely.intersection(shapely.difference(words, truths[partner[holders]]), preds[holders])
    )
    return areas[cols]


def summarize_tiou(counts: Iterable[TIoUCounts]) -> dict[str, float]:
    """Tightness-aware precision, recall and hmean of a data set, in [0, 1], from its pages'."""
    total = TIoUCounts(*map(sum, zip(TIoUCounts(), *counts)))
    precision = total.right / total.predictions if total.predictions else 0.0
    recall = total.recalled / total.truths if total.truths else 0.0
    return dict(precision=precision, recall=recall, hmean=harmonic_mean(precision, recall))
