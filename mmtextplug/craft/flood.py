"""Watershed of a score map and its seeds, compiled by Numba, which waits for no other thread.

Labelling the words of a batch has to fit beside a training step, and scikit-image's watershed takes
several times as long for maps of a word's size. The basins are the same where no two scores lie in
one step of `LEVELS`. Within a step the flood that came first goes on, not the higher one, and what
lies higher behind a saddle counts as the saddle. In smooth maps whose peaks all have seeds, borders
move by a column, rarely by more; a hill without a seed goes to either of two basins whose saddles
to it lie in one step. In rough maps, full of such hills, that may be a tenth of the pixels.
"""

from __future__ import annotations

import numpy as np

from mmtextplug.compiled import compiled

LEVELS = 1024
"""Scores are compared in so many steps between 0 and 1."""

PROMINENCE = 0.1
"""Share of its height by which the summit of a character stands out from the others."""


def flood(score: np.ndarray, seeds: np.ndarray, background: float) -> np.ndarray:
    """Let labelled seeds grow downhill until they meet or the score falls to the background.

    Pixels are taken in the order of their score, and among equals in the order in which the flood
    reached them; neighbours are the eight around (Meyer, Un algorithme optimal pour la ligne de
    partage des eaux, 1991, without the line).

    Args:
        score (np.ndarray): ``(H, W)`` float32.
        seeds (np.ndarray): ``(H, W)`` int32, labels from 1; 0 elsewhere.
        background (float): Scores not above it are not flooded.

    Returns:
        np.ndarray: ``(H, W)`` int32, 0 where no label has come.
    """
    labels = np.array(seeds, dtype=np.int32, order="C")
    compiled(_loop)(np.ascontiguousarray(score, dtype=np.float32), labels, float(background))
    return labels


def summits(score: np.ndarray, prominence: float, floor: float) -> np.ndarray:
    """Mark the summits of a score map that stand out from their surroundings.

    Of each 8-connected area above the floor the highest pixel is a summit; another local maximum
    is one if the way from it to anything higher leads down by at least a share of its height: its
    dynamics (Grimaud, A new measure of contrast: the dynamics, 1992) over its score. Of equal
    neighbours, the first in raster order counts as higher.

    Args:
        score (np.ndarray): ``(H, W)`` float32, finite.
        prominence (float): That share, above 0.
        floor (float): Not negative; scores not above it do not exist.

    Returns:
        np.ndarray: ``(H, W)`` int32, labels from 1 at the summits, 0 elsewhere.
    """
    score = np.ascontiguousarray(score, dtype=np.float32)
    labels = np.zeros(score.shape, np.int32)
    above = np.flatnonzero(score > floor)
    falling = above[np.argsort(-score.ravel()[above], kind="stable")]
    compiled(_summits)(score.ravel(), falling, float(prominence), labels)
    return labels


def _summits(score, falling, prominence, labels):  # pragma: no cover
    height, width = labels.shape
    # Areas above the level that has been reached: a forest whose roots are the highest pixels.
    parent = np.full(height * width, -1, np.int64)
    rank = np.zeros(height * width, np.int64)
    count = 0
    for place in range(len(falling)):
        pixel = falling[place]
        rank[pixel] = place
        parent[pixel] = pixel
        root = pixel
        y, x = pixel // width, pixel % width
        for ny in range(max(y - 1, 0), min(y + 2, height)):
            for nx in range(max(x - 1, 0), min(x + 2, width)):
                other = ny * width + nx
                if parent[other] < 0:
                    continue
                while parent[other] != other:
                    parent[other] = parent[parent[other]]
                    other = parent[other]
                if other == root:
                    continue
                lower, upper = (other, root) if rank[other] > rank[root] else (root, other)
                if lower != pixel and score[lower] - score[pixel] >= prominence * score[lower]:
                    count += 1
                    labels[lower // width, lower % width] = count
                parent[lower] = upper
                root = upper
    for place in range(len(falling)):
        pixel = falling[place]
        if parent[pixel] == pixel:
            count += 1
            labels[pixel // width, pixel % width] = count


def _loop(score, labels, background):  # pragma: no cover
    height, width = score.shape
    # One queue a level, as chains through the pixels: no memory grows.
    first = np.full(LEVELS + 1, -1, np.int32)
    last = np.full(LEVELS + 1, -1, np.int32)
    following = np.full(height * width, -1, np.int32)

    def push(pixel, level):
        if first[level] < 0:
            first[level] = pixel
        else:
            following[last[level]] = pixel
        last[level] = pixel

    top = -1
    for y in range(height):
        for x in range(width):
            if labels[y, x] != 0:
                level = min(max(int(score[y, x] * LEVELS), 0), LEVELS)
                push(y * width + x, level)
                top = max(top, level)
    level = top
    while level >= 0:
        pixel = first[level]
        if pixel < 0:
            level -= 1
            continue
        first[level] = following[pixel]
        y, x = pixel // width, pixel % width
        for ny in range(max(y - 1, 0), min(y + 2, height)):
            for nx in range(max(x - 1, 0), min(x + 2, width)):
                if labels[ny, nx] != 0 or not score[ny, nx] > background:
                    continue
                labels[ny, nx] = labels[y, x]
                # What lies higher behind a saddle is flooded at the saddle's level.
                push(ny * width + nx, min(max(int(score[ny, nx] * LEVELS), 0), level))
