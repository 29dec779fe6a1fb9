"""Characters of the words found on a page, by the watershed on its region score.

A word is rectified first, straight, standing or curved, and its characters are brought back to the
page. Pure NumPy and OpenCV, on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import cv2
import numpy as np

from mmtextplug.craft.band import Band
from mmtextplug.craft.char_split import BACKGROUND, FOREGROUND, seed_spans, span_quads
from mmtextplug.craft.flood import PROMINENCE, summits
from mmtextplug.craft.grouping import as_score_map
from mmtextplug.craft.rectify import READ_DOWNWARDS, polygon_band, word_band

PEAK_SHARE = 0.7
"""A character's summit reaches this share of the highest one of its word, or `FOREGROUND`. Chosen
as that was, on photos of two sizes, together with `PROMINENCE`."""

BARRIER_SHARE = 0.4
"""Lower summits down to this share of the highest one, such as faint punctuation, are left out, and
keep the characters out of their places."""

CROP_HEIGHT = 32
"""Pixels that a small word is enlarged to before it is split, at most `MAX_ZOOM` times."""

MAX_ZOOM = 4.0

RUNG_SPREAD = 0.05
"""How far the lengths across a ribbon may differ, as a share of their mean."""

# Maps have sides of less than 16 bits where OpenCV handles them.
_FARTHEST = 2.0**20


def check_char_shift(char_shift: float) -> None:
    """A ValueError unless it is a number between -0.5 and 0.5."""
    if not isinstance(char_shift, Real) or not -0.5 < char_shift < 0.5:
        raise ValueError(f"char_shift={char_shift!r} must be a number between -0.5 and 0.5")


def page_characters(
    region: np.ndarray, outlines: Sequence[np.ndarray], *, char_shift: float = 0.0
) -> list[np.ndarray]:
    """Characters of all words found on the region score of a whole image.

    Where outlines overlap, as a small word's lies in the box of a large one, what is in the smaller
    belongs to it alone.

    Args:
        region: ``(H, W)`` region score, an array or a tensor of any float type on any device.
        outlines: The words', see `word_characters`.
        char_shift: See `word_characters`.

    Returns:
        A float32 array ``(n, 4, 2)`` for each word, see `word_characters`; an empty one for
        outlines that are not finite, or none.

    Raises:
        ValueError: ``char_shift`` is out of its range.
    """
    check_char_shift(char_shift)
    region = as_score_map(region, "region")
    found = [np.zeros((0, 4, 2), np.float32) for _ in outlines]
    usable = [
        word
        for word, outline in enumerate(outlines)
        if region.size and len(outline) >= 3 and (np.abs(outline) < _FARTHEST).all()
    ]
    areas = [abs(cv2.contourArea(np.asarray(outlines[word], np.float32))) for word in usable]
    owners = np.zeros(region.shape, np.int32)
    for index in np.argsort(-np.array(areas), kind="stable").tolist():
        corners = np.rint(outlines[usable[index]]).astype(np.int32)
        cv2.fillPoly(owners, [corners], usable[index] + 1)
    for word in usable:
        found[word] = word_characters(
            region, outlines[word], owners=owners, word=word + 1, char_shift=char_shift
        )
    return found


def word_characters(
    region: np.ndarray,
    outline: np.ndarray,
    *,
    owners: np.ndarray | None = None,
    word: int = 0,
    char_shift: float = 0.0,
) -> np.ndarray:
    """Characters of one word on the region score of a whole image.

    There each word has its own level: in small and faint ones, characters stay below the threshold
    of the hearts, or two are above it together. Seeds of the watershed are therefore the summits of
    the score (see `summits`) that are high enough beside the word's highest one, which is always a
    character. The boxes are those of `split_word`.

    Args:
        region: ``(H, W)`` region score.
        outline: ``(k, 2)`` (x, y) in the map, clockwise: a box, an outline of `group_words` that
            follows a curved word, or any polygon, which counts as the rectangle around it.
        owners: ``(H, W)`` int32: which word a pixel belongs to; 0: to any that reaches it.
        word: The number of this one; summits on pixels of others are none of its characters.
        char_shift: How far the scores of characters lie to the right of them in the image, as a
            share of their widths. 0 for a network that has learnt from exact boxes.

    Returns:
        ``(n, 4, 2)`` float32 quads in the map, in reading order: from left to right, or downwards
        in a word that stands, and clockwise from the corner where reading starts.
    """
    band = _page_band(np.asarray(outline, np.float64))
    if band is None:
        return np.zeros((0, 4, 2), np.float32)
    zoom = min(max(CROP_HEIGHT / band.height, 1.0), MAX_ZOOM)
    size = band.size(max(round(band.height * zoom), 1))
    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1)
    where = band.to_image(grid, size).astype(np.float32)
    crop = cv2.remap(region, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderValue=0)
    crop = as_score_map(crop, "region")
    own = np.ones(crop.shape, bool)
    if owners is not None:
        x, y = np.rint(where).astype(int).reshape(-1, 2).T
        owner = owners[y.clip(0, len(owners) - 1), x.clip(0, owners.shape[1] - 1)]
        own = ((owner == 0) | (owner == word)).reshape(crop.shape)
    peak = float(crop.max(where=own, initial=0.0))
    floor = min(FOREGROUND, PEAK_SHARE * peak)
    seeds = summits(crop, PROMINENCE, min(floor, BARRIER_SHARE * peak))
    seeds, count = _in_order(seeds, [own & (crop > floor), crop > floor])
    spans = seed_spans(crop, seeds, BACKGROUND, count)
    if char_shift and count:
        right, down = band.upper[-1] + band.lower[-1] - band.upper[0] - band.lower[0]
        spans = _moved(spans, char_shift * right / max(np.hypot(right, down), 1e-9), size[0])
    return band.to_image(span_quads(spans, size[1]), size).astype(np.float32)


def _in_order(seeds: np.ndarray, wanted: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Seeds renumbered, those in the first of the areas that has any first; and how many."""
    places = np.flatnonzero(seeds)
    for area in wanted:
        inside = area.ravel()[places]
        if inside.any():
            numbers = np.arange(1, len(places) + 1, dtype=np.int32)
            seeds.ravel()[places[np.argsort(~inside, kind="stable")]] = numbers
            return seeds, int(inside.sum())
    return seeds, 0


def _moved(spans: np.ndarray, share: float, width: int) -> np.ndarray:
    """Move all edges back by a share of the characters' widths, but not where the word ends."""
    way = share * (spans[:, 1] - spans[:, 0])
    # Neighbours move their edges alike: what met still meets.
    way = np.stack([np.r_[way[:1], way[:-1]] + way, way + np.r_[way[1:], way[-1:]]], axis=1) / 2
    free = (spans > 0) & (spans < width)
    return np.where(free, np.clip(spans - way, 0, width), spans)


def _page_band(outline: np.ndarray) -> Band | None:
    """The band of an outline that was found, not annotated: any point may be its first."""
    if len(outline) < 3 or not np.isfinite(outline).all():
        return None
    if len(outline) > 4 and len(outline) % 2 == 0:
        # A ribbon starts at either corner of its first end, and is of one width.
        for points in (outline, np.roll(outline, -1, axis=0)):
            upper, lower = np.split(points, 2)
            rungs = np.linalg.norm(upper - lower[::-1], axis=1)
            if np.ptp(rungs) <= RUNG_SPREAD * rungs.mean():
                return polygon_band(points)
    if len(outline) != 4:
        outline = cv2.boxPoints(cv2.minAreaRect(outline.astype(np.float32))).astype(np.float64)
        outline = np.roll(outline, -int(outline.sum(axis=1).argmin()), axis=0)
    return word_band(outline, vertical=READ_DOWNWARDS)
