"""CLEval: detection judged by characters, so that split and merged words lose little, not all.

Characters of annotated words are points, evenly spaced unless they are known, and a prediction
finds those that lie in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import shapely

from mmtextplug.evaluation.char_points import char_points, false_lengths, points_inside
from mmtextplug.evaluation.hmean import harmonic_mean
from mmtextplug.evaluation.overlaps import Predictions, Truth, measure_overlaps, to_polygons


class CLEvalCounts(NamedTuple):
    """What a page, or a data set, comes to; counts of pages add up.

    Attributes:
        truth_chars (int): Characters of annotated words that are not ignored.
        pred_chars (int): Characters that predictions hold, those held twice counted twice, and
            `false_chars`.
        found (int): Characters held by at least one prediction that matches their word.
        splits, pieces (int): Words that several predictions match, and how many more than one.
        merges, members (int): Predictions that match several words, and how many more than one.
        overlapped (int): By how many times more than once characters are held.
        false_chars (int): Characters that predictions without a match would have.
    """

    truth_chars: int = 0
    pred_chars: int = 0
    found: int = 0
    splits: int = 0
    pieces: int = 0
    merges: int = 0
    members: int = 0
    overlapped: int = 0
    false_chars: int = 0


def judge_cleval(
    truth: Truth,
    predictions: Predictions,
    *,
    area_precision: float = 0.3,
    polygons: bool = False,
    char_centres: Sequence[np.ndarray | None] | None = None,
) -> CLEvalCounts:
    """Match the words of a page, and count the characters that they share.

    The counts are those of the authors' tool, version 0.1.1, for whole numbers as coordinates,
    with its box type QUAD (also LTRB) or, with ``polygons``, POLY, including what seems unmeant: a
    false prediction counts the more characters the *higher* it is for its width, and a polygon
    always one. A word whose text is unknown is taken to have as many characters as an ignored one
    has there: as many as its longer sides hold its shorter ones, rounded up, ten at most, and a
    polygon always ten.

    Args:
        truth (Truth): N annotated words, with their first points at the top left in reading order.
        predictions (Predictions): M predicted words; scores do not matter.
        area_precision (float): In (0, 1], least share of a prediction that lies in the words it
            matches, and that an ignored word must hold for the prediction not to count.
        polygons (bool): Whether outlines may have any number of points, the first half of them
            along the top of the word, the other half back along its bottom. Otherwise all have 4.
        char_centres (Sequence[np.ndarray | None], optional): For each annotated word ``(n, 2)``
            centres of its characters, (x, y) in pixels, where they are known; they also say how
            many it has. Default: points are spread evenly, as many as its text has.

    Raises:
        ValueError: If ``area_precision`` is out of its range, an outline has not 4 points though
            ``polygons`` is off, or ``char_centres`` are not as many as words.

    Source: Baek et al., CLEval: Character-Level Evaluation for Text Detection and Recognition
        Tasks, 2020, sections 3.1 to 3.3, and the authors' tool where they differ.
    """
    if not 0 < area_precision <= 1:
        raise ValueError(f"area_precision is {area_precision}; it must be in (0, 1]")
    centres = char_points(truth, polygons, char_centres)
    pred_lengths = false_lengths(predictions.outlines, polygons)
    owner = np.repeat(np.arange(len(centres)), [len(one) for one in centres])
    points = np.concatenate([np.empty((0, 2)), *centres])
    chars, holders = points_inside(points, predictions.outlines, polygons)
    overlaps = measure_overlaps(
        without_words(to_polygons(truth.outlines), truth.ignored), to_polygons(predictions.outlines)
    )

    # Pairs of words that share area, characters, or both.
    _, count = overlaps.shape
    keys, pair_of = np.unique(
        np.concatenate([overlaps.rows, owner[chars]]) * count
        + np.concatenate([overlaps.cols, holders]),
        return_inverse=True,
    )
    rows, cols = np.divmod(keys, max(count, 1))
    of_area, of_char = np.split(pair_of, [len(overlaps.rows)])
    share = np.zeros(len(keys))
    share[of_area] = overlaps.pred_share()
    held = np.bincount(of_char, minlength=len(keys)) > 0

    # A prediction does not count if one ignored word holds enough of it, or all those of which it
    # holds characters do so together.
    of_ignored = truth.ignored[rows]
    together = np.bincount(cols, share * (of_ignored & held), minlength=count)
    judged = together < area_precision
    judged[cols[of_ignored & (share >= area_precision)]] = False

    valid = ~of_ignored & judged[cols]
    good = held & (share >= area_precision)
    # Whether a pair is the only good one asks the predictions that do not count, too.
    match = good & valid & (np.bincount(rows, good)[rows] == 1)
    match &= np.bincount(cols, good)[cols] == 1
    match |= good & valid & (np.bincount(rows, good & valid)[rows] >= 2)
    joined = held & valid
    match |= (
        joined
        & (np.bincount(cols, joined)[cols] >= 2)
        & (np.bincount(cols, share * joined)[cols] >= area_precision)
    )

    counted = match[of_char]
    found, hits = len(np.unique(chars[counted])), int(counted.sum())
    per_truth = np.bincount(rows[match])
    per_pred = np.bincount(cols[match], minlength=count)
    false_chars = int(pred_lengths[judged & (per_pred == 0)].sum())
    return CLEvalCounts(
        truth_chars=int((~truth.ignored[owner]).sum()),
        pred_chars=hits + false_chars,
        found=found,
        splits=int((per_truth > 1).sum()),
        pieces=int(np.maximum(per_truth - 1, 0).sum()),
        merges=int((per_pred > 1).sum()),
        members=int(np.maximum(per_pred - 1, 0).sum()),
        overlapped=hits - found,
        false_chars=false_chars,
    )


def without_words(truths: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Polygons of annotated words, ignored ones without what they share with others, ``(N,)``."""
    words = np.nonzero(~ignored)[0]
    holes = np.nonzero(ignored)[0]
    first, second = shapely.STRtree(truths[words]).query(truths[holes], predicate="intersects")
    cut = truths.copy()
    for hole in np.unique(first):
        covered = shapely.union_all(truths[words[second[first == hole]]])
        cut[holes[hole]] = shapely.difference(truths[holes[hole]], covered)
    return cut


def summarize_cleval(
    counts: Iterable[CLEvalCounts], *, split_penalty: float = 1.0, merge_penalty: float = 1.0
) -> dict[str, float]:
    """Precision, recall and hmean of characters of a data set, in [0, 1], and what went wrong.

    Args:
        counts (Iterable[CLEvalCounts]): Of its pages.
        split_penalty (float): At least 0, characters that recall loses for each prediction more
            than one that matches a word.
        merge_penalty (float): At least 0, characters that precision loses for each word more than
            one that a prediction matches.

    Raises:
        ValueError: If a penalty is below 0 or no number.
    """
    for name, penalty in (("split_penalty", split_penalty), ("merge_penalty", merge_penalty)):
        if not penalty >= 0:
            raise ValueError(f"{name} is {penalty}; it must be 0 or more")
    total = CLEvalCounts(*map(sum, zip(CLEvalCounts(), *counts)))
    recalled = max(0.0, total.found - split_penalty * total.pieces)
    right = max(0.0, total.found - merge_penalty * total.members)
    precision = right / total.pred_chars if total.pred_chars else 0.0
    recall = recalled / total.truth_chars if total.truth_chars else 0.0
    return dict(
        precision=precision,
        recall=recall,
        hmean=harmonic_mean(precision, recall),
        splits=total.splits,
        merges=total.merges,
        overlapped=total.overlapped,
        false_chars=total.false_chars,
    )
