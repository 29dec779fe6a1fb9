"""What is wrong with the characters of words, seen beside each other and beside their outlines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from mmtextplug.datasets.annotations import Word
from mmtextplug.datasets.graphemes import reads_leftwards
from mmtextplug.datasets.word_outlines import Outlines, cross

CHARS_STRAY = "characters lie outside of their word's outline"
CHARS_DISORDERED = "characters are out of reading order"
CHARS_AGAINST = "characters are turned otherwise than the outline"

# How far the centre of a character may lie outside of its word, in heights of the word.
STRAY = 0.25
# From one character to the next, in letters, what counts as going forth or back.
MOVED = 0.3
# Cosine of the angle between letters and an outline that they stand across.
ACROSS = 0.5

Fault = tuple[int, str, str]
"""Index of the word, kind, detail."""


def char_faults(
    words: Sequence[Word], outlines: Outlines, heights: np.ndarray, *, ordered: bool = True
) -> list[Fault]:
    """Check the characters of the words of an image.

    Args:
        words (Sequence[Word]): N words, with or without characters.
        outlines (Outlines): Theirs.
        heights (np.ndarray): ``(N,)``, pixels.
        ordered (bool): Whether outlines are to follow the reading direction.
    """
    known = [i for i, word in enumerate(words) if word.chars is not None and len(word.chars)]
    if not known:
        return []
    counts = np.array([len(words[i].chars) for i in known])
    owner = np.repeat(known, counts)
    chars = np.concatenate([words[i].chars for i in known]).astype(np.float64)
    centres = chars.mean(1)
    apart = shapely.distance(shapely.polygons(outlines.rings)[owner], shapely.points(centres))
    # What lies outside of an outline that crosses itself is not clear.
    stray = owner[(apart > STRAY * heights[owner]) & outlines.simple[owner]]
    faults = [
        (int(i), CHARS_STRAY, f"{number} of {len(words[i].chars)}")
        for i, number in zip(*np.unique(stray, return_counts=True))
    ]
    disordered = set(_disordered(chars, owner))
    faults += [(i, CHARS_DISORDERED, repr(words[i].text)[:60]) for i in sorted(disordered)]
    if not ordered:
        return faults
    start = np.cumsum(counts) - counts
    axes, _ = _letter_axes(chars)
    run = centres[start + counts - 1] - centres[start]
    along = outlines.along[known]
    against = _cosine(np.add.reduceat(axes, start), along) < ACROSS
    backwards = _cosine(run, along) < -ACROSS
    fine = outlines.simple[known] & (outlines.area[known] > 0) & (outlines.count[known] > 3)
    for k in np.flatnonzero(fine & (against | backwards)):
        text = words[known[k]].text or ""
        if known[k] not in disordered and (against[k] or not reads_leftwards(text)):
            faults.append((known[k], CHARS_AGAINST, repr(text)[:60]))
    return faults


def _letter_axes(chars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Twice the directions of letters ``(C, 4, 2)``: along the line and down, ``(C, 2)`` each."""
    first, second, third, fourth = chars.transpose(1, 0, 2)
    return second + third - first - fourth, third + fourth - first - second


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the angles between vectors ``(..., 2)``; 1 where one has no length."""
    norm = np.hypot(a[..., 0], a[..., 1]) * np.hypot(b[..., 0], b[..., 1])
    return np.where(norm > 0, (a * b).sum(-1) / np.maximum(norm, 1e-12), 1.0)


def _disordered(chars: np.ndarray, owner: np.ndarray) -> list[int]:
    """The owners whose characters ``(C, 4, 2)`` neither follow each other along their letters nor
    stand on each other: both ways they go to and fro, or nowhere."""
    step = np.diff(chars.mean(1), axis=0)
    along, down = (axis[1:] + axis[:-1] for axis in _letter_axes(chars))
    # In letters along and down; slanted ones have slanted axes, along which commas hang.
    area = cross(along, down)
    area = np.where(np.abs(area) > 1e-9, area, np.inf)
    moved = 4 * np.stack([cross(step, down), cross(along, step)]) / area
    inside = owner[1:] == owner[:-1]
    step_owner, moved = owner[1:][inside], moved[:, inside]
    if not len(step_owner):
        return []
    starts = np.flatnonzero(np.diff(step_owner, prepend=-1))
    count = np.diff(starts, append=len(step_owner))
    forth = np.maximum.reduceat(moved, starts, axis=1) > MOVED
    back = np.minimum.reduceat(moved, starts, axis=1) < -MOVED
    somewhere = np.add.reduceat(np.abs(moved), starts, axis=1) > MOVED / 2 * count
    in_order = (somewhere & ~(forth & back)).any(0)
    return step_owner[starts][~in_order].tolist()
