"""Rectangles of a photo in which no word is annotated: backgrounds for generated text."""

from __future__ import annotations

from collections.abc import Sequence

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
    height, width = size
    words = [
        (*(np.floor(p.min(0)).astype(int) - margin), *(np.ceil(p.max(0)).astype(int) + margin + 1))
        for p in polygons
    ]
    chosen: list[Box] = []
    free = [(0, 0, width, height)] if min(size) >= min_side else []
    free = _without(free, words, min_side)
    while free:
        best = max(free, key=lambda box: ((box[2] - box[0]) * (box[3] - box[1]), box))
        chosen.append(best)
        free = _without(free, [best], min_side)
    return chosen


def _without(free: list[Box], taken: Sequence[Box], min_side: int) -> list[Box]:
    """The maximal rectangles that remain of some when others are taken."""
    for x0, y0, x1, y1 in taken:
        rest = []
        for box in free:
            if x0 >= box[2] or x1 <= box[0] or y0 >= box[3] or y1 <= box[1]:
                rest.append(box)
                continue
            rest += [
                (box[0], box[1], min(x0, box[2]), box[3]),
                (max(x1, box[0]), box[1], box[2], box[3]),
                (box[0], box[1], box[2], min(y0, box[3])),
                (box[0], max(y1, box[1]), box[2], box[3]),
            ]
        free = _maximal([b for b in rest if min(b[2] - b[0], b[3] - b[1]) >= min_side])
    return free


def _maximal(boxes: list[Box]) -> list[Box]:
    """Those that lie in no other."""
    boxes = sorted(set(boxes))

    def inside(a: Box, b: Box) -> bool:
        return a[0] >= b[0] and a[1] >= b[1] and a[2] <= b[2] and a[3] <= b[3]

    return [a for a in boxes if not any(a is not b and inside(a, b) for b in boxes)]
