"""Rectangles of a photo in which no word is annotated: backgrounds for generated text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Box = tuple[int, int, int, int]


def free_rectangles(
    size: tuple[int, int], polygons: Sequence[np.ndarray], min_side: int, margin: int = 8
) -> list[Box]:
    """The largest rectangles without words that do not overlap each other, greedily chosen.

    Args:
        size (tuple[int, int]): Height and width of the photo.
        polygons (Sequence[np.ndarray]): ``(k, 2)``, outlines of all words, the ignored ones too.
        min_side (int): Shorter rectangles are left out.
        margin (int): Distance to words, in pixels.

    Returns:
        list[tuple[int, int, int, int]]: ``(x0, y0, x1, y1)`` in pixels, ends not included, the
        largest first.
    """
    taken = [
        (*(np.floor(p.min(0)).astype(int) - margin), *(np.ceil(p.max(0)).astype(int) + margin + 1))
        for p in polygons
    ]
    chosen: list[Box] = []
    while True:
        areas = {
            box: (box[2] - box[0]) * (box[3] - box[1])
            for box in _maximal_free(size, taken)
            if min(box[2] - box[0], box[3] - box[1]) >= min_side
        }
        best = max(areas, key=lambda box: (areas[box], box), default=None)
        if best is None:
            return chosen
        chosen.append(best)
        taken.append(best)


def _maximal_free(size: tuple[int, int], taken: Sequence[Box]) -> Iterator[Box]:
    """The free rectangles that lie in no other, and some that do."""
    corners = np.array(taken, dtype=int).reshape(-1, 4).clip(0, [size[1], size[0]] * 2)
    # Edges of rectangles are edges of what is taken: cells between those edges are enough.
    xs = np.unique([0, size[1], *corners[:, 0], *corners[:, 2]])
    ys = np.unique([0, size[0], *corners[:, 1], *corners[:, 3]])
    free = np.ones((len(ys) - 1, len(xs) - 1), dtype=bool)
    for left, top, right, bottom in corners:
        rows = slice(*np.searchsorted(ys, [top, bottom]))
        free[rows, slice(*np.searchsorted(xs, [left, right]))] = False
    xs, ys = xs.tolist(), ys.tolist()
    tops = [0] * (len(xs) - 1)
    for cells, bottom in zip(free.tolist(), ys[1:]):
        tops = [top if cell else bottom for cell, top in zip(cells, tops)]
        yield from _under_a_skyline(tops, xs, bottom)


def _under_a_skyline(tops: Sequence[int], xs: Sequence[int], bottom: int) -> Iterator[Box]:
    """The widest rectangles down to a line, whose columns are free from their tops on."""
    rising: list[tuple[int, int]] = []  # where a rectangle begins, and its top; each top is higher
    for x, top in zip(xs, (*tops, bottom)):
        left = x
        while rising and rising[-1][1] <= top:
            left, higher = rising.pop()
            yield left, higher, x, bottom
        if top < bottom:
            rising.append((left, top))
