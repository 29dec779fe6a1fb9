"""DetEval: words found whole, split and merged, by two shares of area, as ICDAR 2013 counts them.

A word may be found by one prediction, by several that each lie in it, or, together with others, by
one prediction that covers them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import shapely

from mmtextplug.evaluation.hmean import harmonic_mean
from mmtextplug.evaluation.overlaps import (
    Overlaps,
    Predictions,
    Truth,
    are_outlines,
    measure_overlaps,
    outside_ignored,
    to_polygons,
)


class DetEvalCounts(NamedTuple):
    """What a page, or a data set, comes to; counts of pages add up.

    Attributes:
        truths (int): Annotated words that are not ignored.
        predictions (int): Predicted words that do not lie in ignored ones.
        one_to_one (int): Pairs of a word and a prediction.
        split_truths, split_predictions (int): Words found in pieces, and their pieces.
        merged_truths, merged_predictions (int): Words found together with others, and the
            predictions that hold several.
    """

    truths: int = 0
    predictions: int = 0
    one_to_one: int = 0
    split_truths: int = 0
    split_predictions: int = 0
    merged_truths: int = 0
    merged_predictions: int = 0


def judge_deteval(
    truth: Truth,
    predictions: Predictions,
    *,
    area_recall: float = 0.8,
    area_precision: float = 0.4,
    boxes: bool = True,
) -> DetEvalCounts:
    """Match the words of a page one to one, one to many, then many to one.

    With ``boxes`` the counts are those of the official script for ICDAR 2013: an outline is its
    bounding box, its last row and column of pixels included, so (10, 10, 19, 14) has 50 pixels.
    Without, outlines are polygons with geometric areas, which is how curved words are judged;
    Total-Text recommends shares of 0.7 and 0.6 then. (Its own script follows other rules with the
    same name, so its numbers are not these.)

    One rule of the script is left out because it cannot reject a pair at the official threshold:
    that the centres of a pair be closer than the mean of its diagonals. The centres of any two
    boxes that overlap are.

    Args:
        truth (Truth): N annotated words.
        predictions (Predictions): M predicted words; scores do not matter.
        area_recall (float): In (0, 1], least share of an annotated word that is found.
        area_precision (float): In (0, 1], least share of a predicted word that lies in annotated
            ones. A prediction does not count if more than that lies in one ignored word.
        boxes (bool): Whether outlines are taken as boxes of whole pixels.

    Raises:
        ValueError: If a share is out of its range.

    Source: Wolf & Jolion, Object count / area graphs for the evaluation of object detection and
        segmentation algorithms, 2006, section 4; the DetEval script of ICDAR 2013's challenge 2,
        task 1.
    """
    for name, share in (("area_recall", area_recall), ("area_precision", area_precision)):
        if not 0 < share <= 1:
            raise ValueError(f"{name} is {share}; it must be in (0, 1]")
    shapes = to_pixel_boxes if boxes else to_polygons
    overlaps = measure_overlaps(shapes(truth.outlines), shapes(predictions.outlines))
    judged = outside_ignored(overlaps, truth.ignored, area_precision)
    return match_deteval(overlaps, truth.ignored, judged, area_recall, area_precision)


def to_pixel_boxes(outlines: Sequence[np.ndarray]) -> np.ndarray:
    """Bounding boxes of outlines with their last pixels, ``(N,)`` of ``shapely.Polygon``.

    Outlines that are none (see `to_polygons`) become empty polygons.
    """
    boxes = np.full(len(outlines), shapely.Polygon(), dtype=object)
    usable = np.nonzero(are_outlines(outlines))[0]
    if len(usable):
        low = np.array([np.min(outlines[i], axis=0) for i in usable], dtype=np.float64)
        high = np.array([np.max(outlines[i], axis=0) for i in usable], dtype=np.float64) + 1
        boxes[usable] = shapely.box(*low.T, *high.T)
    return boxes


def match_deteval(
    overlaps: Overlaps,
    ignored: np.ndarray,
    judged: np.ndarray,
    area_recall: float,
    area_precision: float,
) -> DetEvalCounts:
    """The matching of `judge_deteval`.

    Args:
        overlaps (Overlaps): Of N annotated and M predicted words.
        ignored (np.ndarray): ``(N,)`` bool.
        judged (np.ndarray): ``(M,)`` bool, predictions that count.
        area_recall, area_precision (float): See `judge_deteval`.
    """
    rows, cols = overlaps.rows, overlaps.cols
    found, inside = overlaps.truth_share(), overlaps.pred_share()
    valid = ~ignored[rows] & judged[cols]
    # Whether a pair is the only good one asks the ignored words, too: so does the script.
    good = (found >= area_recall) & (inside >= area_precision)
    row_good, col_good = np.bincount(rows, good), np.bincount(cols, good)
    # Words that overlap a word, however little: if there are several, it is not one to one.
    row_meets = np.bincount(rows, judged[cols])
    col_meets = np.bincount(cols, ~ignored[rows])
    sole = good & valid & (row_good[rows] == 1) & (col_good[cols] == 1)
    sole &= (row_meets[rows] == 1) & (col_meets[cols] == 1)
    taken_rows, taken_cols = set(rows[sole].tolist()), set(cols[sole].tolist())
    one_to_one = len(taken_rows)

    groups = []
    splits = valid & (inside >= area_precision) & (row_meets[rows] >= 2)
    merges = valid & (found >= area_recall) & (col_meets[cols] >= 2)
    for pairs, ones, many, one_taken, many_taken, share, enough in (
        (splits, rows, cols, taken_rows, taken_cols, found, area_recall),
        (merges, cols, rows, taken_cols, taken_rows, inside, area_precision),
    ):
        sizes = []
        # First come, first served, in the order of the files.
        for one, members in grouped(pairs, ones, many, share).items():
            free = [(word, part) for word, part in members if word not in many_taken]
            if one in one_taken or not free or round(sum(part for _, part in free), 4) < enough:
                continue
            one_taken.add(one)
            many_taken.update(word for word, _ in free)
            sizes.append(len(free))
        one_to_one += sizes.count(1)
        sizes = [size for size in sizes if size > 1]
        groups.append((len(sizes), sum(sizes)))
    (split_truths, split_predictions), (merged_predictions, merged_truths) = groups
    return DetEvalCounts(
        int((~ignored).sum()),
        int(judged.sum()),
        one_to_one,
        split_truths,
        split_predictions,
        merged_truths,
        merged_predictions,
    )


def grouped(
    pairs: np.ndarray, ones: np.ndarray, many: np.ndarray, share: np.ndarray
) -> dict[int, list[tuple[int, float]]]:
    """Selected pairs by their word on the one side: words on the other side, and shares."""
    chosen = np.nonzero(pairs)[0]
    chosen = chosen[np.lexsort((many[chosen], ones[chosen]))]
    groups: dict[int, list[tuple[int, float]]] = {}
    for one, other, part in zip(
        ones[chosen].tolist(), many[chosen].tolist(), share[chosen].tolist()
    ):
        groups.setdefault(one, []).append((other, part))
    return groups


def summarize_deteval(
    counts: Iterable[DetEvalCounts], *, split_credit: float = 0.8, merge_credit: float = 1.0
) -> dict[str, float]:
    """Precision, recall and hmean of a data set, in [0, 1], and how words were found.

    Args:
        counts (Iterable[DetEvalCounts]): Of its pages.
        split_credit (float): In [0, 1], of a word found in pieces, and of each of its pieces.
        merge_credit (float): In [0, 1], of a word found together with others, and of a prediction
            that holds several.

    Raises:
        ValueError: If a credit is out of its range.
    """
    for name, credit in (("split_credit", split_credit), ("merge_credit", merge_credit)):
        if not 0 <= credit <= 1:
            raise ValueError(f"{name} is {credit}; it must be in [0, 1]")
    total = DetEvalCounts(*map(sum, zip(DetEvalCounts(), *counts)))
    recalled = total.one_to_one + split_credit * total.split_truths
    recalled += merge_credit * total.merged_truths
    right = total.one_to_one + split_credit * total.split_predictions
    right += merge_credit * total.merged_predictions
    precision = right / total.predictions if total.predictions else 0.0
    recall = recalled / total.truths if total.truths else 0.0
    return dict(
        precision=precision,
        recall=recall,
        hmean=harmonic_mean(precision, recall),
        one_to_one=total.one_to_one,
        split=total.split_truths,
        merged=total.merged_truths,
    )
