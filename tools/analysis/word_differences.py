"""Which words two detectors found alike on a photo, and which not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from mmtextplug.evaluation.overlaps import measure_overlaps, to_polygons

TOLERANCE = 2.0
"""Pixels that corners of equal words may be apart."""

SAME_IOU = 0.5
"""Words that overlap by as much are the same one."""


@dataclass(frozen=True)
class WordDifferences:
    """The words of a photo, by indices, matched one to one.

    Attributes:
        equal: Pairs of words with corners that are the same within a tolerance, and how far these
            are apart, in pixels.
        moved: The same of other pairs that are the same word.
        missing: What only the reference has.
        extra: What the reference does not have.
    """

    equal: list[tuple[int, int, float]]
    moved: list[tuple[int, int, float]]
    missing: list[int]
    extra: list[int]


def corner_distance(first: np.ndarray, second: np.ndarray) -> float:
    """How far the corners of two words are apart at most, whichever of them each begins with.

    Args:
        first, second (np.ndarray): ``(k, 2)``, in the same direction of rotation.

    Returns:
        float: In pixels; infinite if they do not have as many corners, or one is not finite.
    """
    if len(first) != len(second) or not len(first):
        return np.inf
    turned = np.stack([np.roll(second, turn, axis=0) for turn in range(len(second))])
    distance = np.linalg.norm(turned - first, axis=2).max(1).min()
    return float(distance) if np.isfinite(distance) else np.inf


def _matched(pairs: Sequence[tuple[int, int]], shape: tuple[int, int]) -> list[tuple[int, int]]:
    """As many of the pairs as there can be with each index once on each side."""
    if not len(pairs):
        return []
    rows, cols = np.array(pairs).T
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, cols)), shape).tocsr()
    found = maximum_bipartite_matching(graph, perm_type="column")
    return [(int(row), int(col)) for row, col in enumerate(found) if col >= 0]


def compare_words(
    reference: Sequence[np.ndarray], words: Sequence[np.ndarray], tolerance: float = TOLERANCE
) -> WordDifferences:
    """Match the words of a photo with those of a reference.

    Args:
        reference, words (Sequence[np.ndarray]): ``(k, 2)`` each, (x, y) in pixels.
        tolerance (float): Of the corners of equal words, in pixels.
    """
    first = [np.asarray(word, float).reshape(-1, 2) for word in reference]
    second = [np.asarray(word, float).reshape(-1, 2) for word in words]
    shape = len(first), len(second)
    if not all(shape):
        return WordDifferences([], [], list(range(shape[0])), list(range(shape[1])))
    centres = [np.array([word.mean(0) for word in side]) for side in (first, second)]
    tolerance += 1e-6  # for rounding
    # Corners that are so near have centres that are, too.
    apart = np.linalg.norm(centres[0][:, None] - centres[1], axis=2)
    near = [
        (int(i), int(j))
        for i, j in np.argwhere(apart <= tolerance)
        if corner_distance(first[i], second[j]) <= tolerance
    ]
    equal = _matched(near, shape)
    left = set(range(shape[0])) - {i for i, _ in equal}
    right = set(range(shape[1])) - {j for _, j in equal}
    overlaps = measure_overlaps(to_polygons(first), to_polygons(second))
    same = [
        (int(i), int(j))
        for i, j, iou in zip(overlaps.rows, overlaps.cols, overlaps.iou())
        if iou >= SAME_IOU and i in left and j in right
    ]
    moved = _matched(same, shape)

    def with_distance(pairs: list[tuple[int, int]]) -> list[tuple[int, int, float]]:
        return [(i, j, corner_distance(first[i], second[j])) for i, j in pairs]

    return WordDifferences(
        with_distance(equal),
        with_distance(moved),
        sorted(left - {i for i, _ in moved}),
        sorted(right - {j for _, j in moved}),
    )
