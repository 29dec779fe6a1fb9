"""Where the characters of annotated words are, for CLEval: points, and what holds them.

They are spread as CLEval's authors' tool does it, to the last digit where a rounding decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from mmtextplug.evaluation.overlaps import Truth, are_outlines, to_polygons

MOST_GUESSED = 10
"""The most characters that a word of unknown text is taken to have."""


def char_points(
    truth: Truth, polygons: bool, char_centres: Sequence[np.ndarray | None] | None
) -> list[np.ndarray]:
    """Centres of the characters of all annotated words, ignored ones, too; ``(n, 2)`` each.

    Those of outlines that are none are NaN: such characters are never found. See
    `judge_cleval`.
    """
    if char_centres is None:
        char_centres = [None] * len(truth.outlines)
    if len(char_centres) != len(truth.outlines):
        raise ValueError(
            f"char_centres has {len(char_centres)} entries for {len(truth.outlines)} words; give "
            "one to each, None where its characters are unknown"
        )
    unknown = np.array([text is None for text in truth.texts], dtype=bool) | truth.ignored
    if polygons:
        lengths = np.full(len(unknown), MOST_GUESSED)
    else:
        quads = to_quads(truth.outlines, "annotated")
        aspect = aspect_ratios(quads)
        lengths = guess_lengths(np.maximum(aspect, 1 / aspect))
    lengths = [
        int(length) if guess else len(text)
        for length, guess, text in zip(lengths, unknown, truth.texts)
    ]
    if polygons:
        spread = [polygon_centres(one, n) for one, n in zip(truth.outlines, lengths)]
    else:
        spread = quad_centres(quads, aspect, lengths)
    return [
        pseudo if known is None else np.asarray(known, dtype=np.float64).reshape(-1, 2)
        for pseudo, known in zip(spread, char_centres)
    ]


def false_lengths(outlines: Sequence[np.ndarray], polygons: bool) -> np.ndarray:
    """Characters that each predicted word counts if it matches none, ``(M,)`` int64."""
    if polygons:
        # The tool adds 1e5 to the ratio of a polygon's sides, where 1e-5 was meant.
        return np.ones(len(outlines), dtype=np.int64)
    return guess_lengths(1 / (1e-5 + aspect_ratios(to_quads(outlines, "predicted"))))


def to_quads(outlines: Sequence[np.ndarray], kind: str) -> np.ndarray:
    """Outlines of 4 points as ``(N, 4, 2)`` float64.

    Raises:
        ValueError: If one has another number of points.
    """
    for index, points in enumerate(outlines):
        if len(points) != 4:
            raise ValueError(
                f"{kind} word {index} has {len(points)} points, not 4; CLEval of other outlines "
                "takes polygons=True"
            )
    return np.array(outlines, dtype=np.float64).reshape(-1, 4, 2)


def aspect_ratios(quads: np.ndarray) -> np.ndarray:
    """Width over height of ``(N, 4, 2)`` quads, means of opposite sides, ``(N,)``."""
    with np.errstate(invalid="ignore"):
        sides = np.roll(quads, -1, 1) - quads
    top, right, bottom, left = np.hypot(sides[..., 0], sides[..., 1]).T
    return ((top + bottom) / 2 + 1e-5) / ((right + left) / 2 + 1e-5)


def guess_lengths(ratios: np.ndarray) -> np.ndarray:
    """Ratios rounded up, `MOST_GUESSED` at most, that where they are NaN; ``(N,)`` int64."""
    lengths = np.minimum(np.rint(0.5 + ratios), MOST_GUESSED)
    return np.nan_to_num(lengths, nan=MOST_GUESSED).astype(np.int64)


def quad_centres(quads: np.ndarray, aspect: np.ndarray, lengths: Sequence[int]) -> list[np.ndarray]:
    """Points evenly along the middle of quads, upright if more than twice as high as wide.

    Args:
        quads (np.ndarray): ``(N, 4, 2)``, (x, y) in pixels.
        aspect (np.ndarray): ``(N,)``, of `aspect_ratios`.
        lengths (Sequence[int]): N numbers of characters n.

    Returns:
        list[np.ndarray]: ``(n, 2)`` each.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if not len(quads):
        return []
    quads = np.where((aspect < 0.5)[:, None, None], np.roll(quads, 1, 1), quads)
    first = np.cumsum(lengths) - lengths
    index = np.repeat(np.arange(len(quads)), lengths)
    order = (np.arange(len(index)) - first[index])[:, None]
    with np.errstate(invalid="ignore"):
        start, end = (quads[:, 0] + quads[:, 3]) / 2, (quads[:, 1] + quads[:, 2]) / 2
        step = (end - start)[index] / lengths[index, None]
        points = start[index] + step / 2 + step * order
    return np.split(points, first[1:])


def polygon_centres(outline: np.ndarray, length: int) -> np.ndarray:
    """Points evenly along the middle of a polygon, by segments, not by pixels.

    Args:
        outline (np.ndarray): ``(K, 2)``, (x, y) in pixels: its first half along the top, its other
            half back along the bottom.
        length (int): How many characters n.

    Returns:
        np.ndarray: ``(n, 2)``.
    """
    if not are_outlines([outline])[0]:
        return np.full((length, 2), np.nan)
    outline = np.asarray(outline, dtype=np.float64)
    if len(outline) == 3:
        # The fourth corner of an upright box, as the tool has it.
        outline = np.concatenate([outline, [[outline[0, 0], outline[2, 1]]]])
    half = len(outline) // 2
    sides = np.stack([outline[:half], outline[: -half - 1 : -1]])
    # Every segment has as many steps as there are characters, so that a character spans as many
    # steps as there are segments; all but the ends of segments are cut to whole pixels.
    step = (sides[:, 1:] - sides[:, :-1])[:, :, None] / max(length, 1)
    steps = sides[:, :-1, None] + step * np.arange(max(length, 1))[:, None]
    steps[:, :, 1:] = np.trunc(steps[:, :, 1:])
    # An odd outline's lower side ends at its middle point.
    ends = np.stack([outline[half - 1], outline[half]])[:, None]
    steps = np.concatenate([steps.reshape(2, -1, 2), ends], axis=1)
    bounds = steps[:, :: half - 1][:, : length + 1]
    return (bounds[:, :-1] + bounds[:, 1:]).sum(0) / 4


def points_inside(
    points: np.ndarray, outlines: Sequence[np.ndarray], polygons: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie in which outlines.

    Points on an edge count as they do in the tool: on a left or upper one of a quad they are
    inside, on a right or lower one, or on any of a polygon, they are not.

    Args:
        points (np.ndarray): ``(P, 2)``, (x, y) in pixels.
        outlines (Sequence[np.ndarray]): M of ``(K, 2)``.
        polygons (bool): Whether they are polygons, not quads.

    Returns:
        tuple[np.ndarray, np.ndarray]: Points and outlines, ``(H,)`` int64 each.
    """
    finite = np.nonzero(np.isfinite(points).all(axis=1))[0]
    places = shapely.points(points[finite])
    if polygons:
        which, shape = shapely.STRtree(to_polygons(outlines)).query(places, predicate="within")
        return finite[which], shape
    quads = to_quads(outlines, "predicted")
    usable = np.nonzero(are_outlines(outlines))[0]
    boxes = shapely.box(*quads[usable].min(1).T, *quads[usable].max(1).T)
    which, shape = shapely.STRtree(boxes).query(places)
    which, shape = finite[which], usable[shape]
    # Inside is where a ray to the right crosses an odd number of edges.
    starts = quads[shape]
    (x0, y0), (x1, y1) = starts.transpose(2, 0, 1), np.roll(starts, 1, 1).transpose(2, 0, 1)
    x, y = points[which].T[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = ((y0 <= y) != (y1 <= y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    inside = crossed.sum(1) % 2 == 1
    return which[inside], shape[inside]
