"""Precision, recall and hmean of words at a least IoU, as the ICDAR 2015 evaluation counts them.

A page is judged once: which predictions may match which words does not depend on the score that a
prediction must have, so any number of score thresholds is counted from one judgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from mmtextplug.evaluation.overlaps import (
    Overlaps,
    Predictions,
    Truth,
    measure_overlaps,
    outside_ignored,
    to_polygons,
)

STRATEGIES = ("vanilla", "max_matching")


class Counts(NamedTuple):
    """What a page, or a data set, comes to.

    Attributes:
        hits (int): Pairs of a word and a prediction.
        truths (int): Annotated words that are not ignored.
        predictions (int): Predicted words that do not lie in ignored ones.
    """

    hits: int
    truths: int
    predictions: int


@dataclass(frozen=True)
class Page:
    """An image with its words judged, at any score.

    Attributes:
        truth_judged (np.ndarray): ``(N,)`` bool, annotated words that count.
        pred_judged (np.ndarray): ``(M,)`` bool, predicted words that count.
        scores (np.ndarray): ``(M,)`` float32; thresholds are compared with that precision, so that
            a score of 0.7 reaches 0.7.
        rows, cols (np.ndarray): ``(P,)`` int64, pairs of words that count and overlap enough, by
            rows, then columns.
    """

    truth_judged: np.ndarray
    pred_judged: np.ndarray
    scores: np.ndarray
    rows: np.ndarray
    cols: np.ndarray

    def select(self, score_thr: float) -> np.ndarray:
        """Predicted words that count at a score threshold, ``(M,)`` bool."""
        return self.pred_judged & (self.scores >= np.float32(score_thr))


def judge_page(
    truth: Truth, predictions: Predictions, *, iou_thr: float = 0.5, ignore_thr: float = 0.5
) -> Page:
    """Find out which predicted words may match which annotated ones.

    Args:
        truth (Truth): N annotated words.
        predictions (Predictions): M predicted words.
        iou_thr (float): In [0, 1): a pair overlaps enough if its IoU is above.
        ignore_thr (float): In [0, 1]: a prediction does not count if a larger share of its area
            lies in one ignored word.

    Raises:
        ValueError: If a threshold is out of its range.

    Source: the evaluation of ICDAR 2015's challenge 4, task 1.
    """
    check_thresholds(iou_thr, ignore_thr)
    overlaps = measure_overlaps(
        to_polygons(truth.outlines),
        to_polygons(predictions.outlines),
        # Who shares less can neither match nor be ignored: IoU is below both shares.
        pred_share=min(iou_thr, ignore_thr),
    )
    return judge_overlaps(overlaps, truth.ignored, predictions.scores, iou_thr, ignore_thr)


def judge_overlaps(
    overlaps: Overlaps, ignored: np.ndarray, scores: np.ndarray, iou_thr: float, ignore_thr: float
) -> Page:
    """`judge_page` of words whose overlaps are known.

    Args:
        overlaps (Overlaps): Of N annotated and M predicted words.
        ignored (np.ndarray): ``(N,)`` bool.
        scores (np.ndarray): ``(M,)``.
        iou_thr, ignore_thr (float): See `judge_page`.
    """
    pred_judged = outside_ignored(overlaps, ignored, ignore_thr)
    enough = overlaps.iou() > iou_thr
    enough &= ~ignored[overlaps.rows] & pred_judged[overlaps.cols]
    scores = np.asarray(scores, dtype=np.float32)
    return Page(~ignored, pred_judged, scores, overlaps.rows[enough], overlaps.cols[enough])


def check_thresholds(iou_thr: float, ignore_thr: float) -> None:
    """Raise a ValueError unless thresholds of `judge_page` are in their ranges."""
    if not 0 <= iou_thr < 1:
        raise ValueError(f"iou_thr is {iou_thr}; it must be in [0, 1)")
    if not 0 <= ignore_thr <= 1:
        raise ValueError(f"ignore_thr is {ignore_thr}; it must be in [0, 1]")


def match_page(
    page: Page, score_thr: float = 0.0, strategy: str = "vanilla"
) -> tuple[np.ndarray, np.ndarray]:
    """Pair annotated and predicted words one to one.

    Args:
        page (Page): From `judge_page`.
        score_thr (float): Predictions with lower scores do not count.
        strategy (str): 'vanilla', first come, first served, in the order of annotated, then of
            predicted words, as the official evaluation does it; or 'max_matching', as many pairs
            as can be.

    Returns:
        tuple[np.ndarray, np.ndarray]: ``(H,)`` int64 each: annotated and predicted words.

    Raises:
        ValueError: If there is no such strategy.
    """
    check_strategy(strategy)
    counts = page.scores[page.cols] >= np.float32(score_thr)
    rows, cols = page.rows[counts], page.cols[counts]
    if strategy == "max_matching":
        able = csr_matrix(
            (np.ones(len(rows), bool), (rows, cols)), (len(page.truth_judged), len(page.scores))
        )
        partner = maximum_bipartite_matching(able, perm_type="column")
        matched = np.nonzero(partner >= 0)[0]
        return matched, partner[matched].astype(np.int64)
    # Pairs of words that have no other choice, nearly all, need no going through one by one.
    row_uses, col_uses = np.bincount(rows), np.bincount(cols)
    sole = (row_uses[rows] == 1) & (col_uses[cols] == 1)
    taken = np.nonzero(sole)[0].tolist()
    seen_rows, seen_cols = set(), set()
    for pair in np.nonzero(~sole)[0].tolist():
        row, col = int(rows[pair]), int(cols[pair])
        if row not in seen_rows and col not in seen_cols:
            seen_rows.add(row)
            seen_cols.add(col)
            taken.append(pair)
    taken = np.array(sorted(taken), dtype=np.int64)
    return rows[taken], cols[taken]


def count_page(page: Page, score_thr: float = 0.0, strategy: str = "vanilla") -> Counts:
    """Count a page at a score threshold; arguments as for `match_page`."""
    hits = len(match_page(page, score_thr, strategy)[0])
    return Counts(hits, int(page.truth_judged.sum()), int(page.select(score_thr).sum()))


def sweep_page(page: Page, score_thrs: Sequence[float], strategy: str = "vanilla") -> np.ndarray:
    """Count a page at several score thresholds.

    Args:
        page (Page): From `judge_page`.
        score_thrs (Sequence[float]): T thresholds.
        strategy (str): See `match_page`.

    Returns:
        np.ndarray: ``(T, 3)`` int64: hits, annotated and predicted words.
    """
    # Between two thresholds that no score separates nothing changes.
    order = np.sort(page.scores)
    levels = np.searchsorted(order, np.asarray(score_thrs, dtype=np.float32), side="left")
    counted: dict[int, Counts] = {}
    for level, score_thr in zip(levels.tolist(), score_thrs):
        if level not in counted:
            counted[level] = count_page(page, score_thr, strategy)
    return np.array([counted[level] for level in levels.tolist()], np.int64).reshape(-1, 3)


def add_counts(counts: Iterable[Counts]) -> Counts:
    """Counts of a data set from those of its pages."""
    total = np.array([tuple(one) for one in counts], dtype=np.int64).reshape(-1, 3).sum(0)
    return Counts(*total.tolist())


def rates(counts: Counts) -> dict[str, float]:
    """Precision, recall and hmean, in [0, 1]; what would be divided by nothing is 0."""
    precision = counts.hits / counts.predictions if counts.predictions else 0.0
    recall = counts.hits / counts.truths if counts.truths else 0.0
    return dict(precision=precision, recall=recall, hmean=harmonic_mean(precision, recall))


def harmonic_mean(precision: float, recall: float) -> float:
    """2PR / (P + R), and 0 where both are 0."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def check_strategy(strategy: str) -> None:
    """Raise a ValueError unless there is such a matching strategy."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; it must be one of {', '.join(STRATEGIES)}")
