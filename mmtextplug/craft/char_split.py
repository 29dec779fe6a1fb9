"""From one word's region score to its characters: the watershed of the CRAFT paper.

Pure NumPy, SciPy and scikit-image, on the CPU. `split_characters` works on a rectified word, where
reading runs from left to right; `word_characters` rectifies a word of a page's map first, straight,
standing or curved, and brings its characters back to the page.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from mmtextplug.craft.grouping import as_score_map

VERTICAL = 1.5
"""A box higher than this times its width is read from top to bottom."""

CROP_HEIGHT = 32
"""Pixels that a small word is enlarged to before it is split, at most `MAX_ZOOM` times."""

MAX_ZOOM = 4.0

RUNG_SPREAD = 0.05
"""How far the lengths across a ribbon may differ, as a share of their mean."""


def split_characters(
    region: np.ndarray,
    *,
    length: int | None = None,
    foreground: float = 0.6,
    background: float = 0.2,
) -> np.ndarray:
    """Split a rectified word into characters by a watershed on its region score.

    Each 8-connected area above ``foreground`` is the seed of a character, which grows downhill
    until it meets another or the score falls to ``background``. Its box spans the columns that it
    has got; up and down it spans the whole crop, as in an equal split, because the height of a word
    is known better from its box than from the blurred score of each character.

    Args:
        region: ``(h, w)`` region score, the word read from left to right. NaN and infinities count
            as 0.
        length: Number of visible characters that are expected. If the characters found agree so
            badly with it that `word_confidence` is below 0.5, the crop is cut into that many equal
            parts instead. None: unknown, what is found counts.
        foreground: Scores above it are the heart of a character.
        background: Scores not above it belong to no character.

    Returns:
        ``(n, 4, 2)`` float32 quads (x, y), clockwise from top left, in reading order. The crop
        reaches from -0.5 to ``w - 0.5`` and ``h - 0.5``: centres of pixels have whole numbers.

    Raises:
        ValueError: The map is not two-dimensional, ``length`` is negative, or not
            ``background <= foreground``.

    Source: Baek et al., Character Region Awareness for Text Detection, CVPR 2019, section 3.2.2;
    the two thresholds are those that the author names for it.
    """
    region = as_score_map(region, "region")
    if length is not None and length < 0:
        raise ValueError(f"length must not be negative, got {length}")
    if not background <= foreground:
        raise ValueError(
            f"background={background} must not be greater than foreground={foreground}"
        )
    height, width = region.shape
    if not region.size:
        return np.zeros((0, 4, 2), np.float32)
    spans = _basins(region, foreground, background)
    if length is not None and word_confidence(length, len(spans)) < 0.5:
        cuts = np.linspace(0, width, length + 1)
        spans = np.stack([cuts[:-1], cuts[1:]], axis=1)
    quads = np.empty((len(spans), 4, 2), np.float32)
    quads[:, [0, 3], 0], quads[:, [1, 2], 0] = spans[:, :1] - 0.5, spans[:, 1:] - 0.5
    quads[:, :2, 1], quads[:, 2:, 1] = -0.5, height - 0.5
    return quads


def word_confidence(length: int, found: int) -> float:
    """How far the number of characters found can be trusted, in [0, 1].

    ``(l - min(l, |l - found|)) / l`` (CRAFT paper, section 3.2.2, equation 1); 0 for ``l = 0``.

    Args:
        length: Number of visible characters of the word.
        found: Number of characters that were found.
    """
    return (length - min(length, abs(length - found))) / length if length > 0 else 0.0


def word_characters(region: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Characters of one word on the region score of a whole image.

    Args:
        region: ``(H, W)`` region score.
        outline: ``(k, 2)`` (x, y) in the map, clockwise: a box, an outline of `group_words` that
            follows a curved word, or any polygon, which counts as the rectangle around it.

    Returns:
        ``(n, 4, 2)`` float32 quads in the map, in reading order: from left to right, or downwards
        in a word that stands, and clockwise from the corner where reading starts.
    """
    rails = _rails(np.asarray(outline, np.float64))
    if rails is None:
        return np.zeros((0, 4, 2), np.float32)
    steps = np.linalg.norm(np.diff(rails.mean(axis=0), axis=0), axis=1)
    ticks = np.concatenate([[0.0], np.cumsum(steps)])
    height = np.linalg.norm(rails[1] - rails[0], axis=1).mean()
    zoom = min(max(CROP_HEIGHT / max(height, 1e-6), 1.0), MAX_ZOOM)
    size = np.maximum(np.rint([ticks[-1] * zoom, height * zoom]), 1).astype(int)

    def to_map(points: np.ndarray) -> np.ndarray:
        shares = (points + 0.5) / size
        upper, lower = (
            np.stack([np.interp(shares[..., 0] * ticks[-1], ticks, x) for x in rail.T], axis=-1)
            for rail in rails
        )
        return upper + (lower - upper) * shares[..., 1:]

    grid = np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), axis=-1)
    where = to_map(grid).astype(np.float32)
    crop = cv2.remap(region, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderValue=0)
    return to_map(split_characters(crop).astype(np.float64)).astype(np.float32)


def _basins(region: np.ndarray, foreground: float, background: float) -> np.ndarray:
    """First column and the one after the last of each character, ``(n, 2)``, left to right."""
    seeds, count = ndimage.label(region > foreground, np.ones((3, 3), int))
    if not count:
        return np.zeros((0, 2))
    labels = watershed(-region, seeds, mask=region > background)
    columns = [part[1] for part in ndimage.find_objects(labels)]
    spans = np.array([[part.start, part.stop] for part in columns], float)
    return spans[np.argsort(spans.sum(axis=1), kind="stable")]


def _rails(outline: np.ndarray) -> np.ndarray | None:
    """The two long sides of a word in reading order, ``(2, m, 2)``; None for a degenerate one."""
    if len(outline) < 3 or not np.isfinite(outline).all():
        return None
    if len(outline) > 4 and len(outline) % 2 == 0:
        # A ribbon starts at either corner of its first end, and is of one width.
        for points in (outline, np.roll(outline, -1, axis=0)):
            upper, lower = np.split(points, 2)
            rungs = np.linalg.norm(upper - lower[::-1], axis=1)
            if np.ptp(rungs) <= RUNG_SPREAD * rungs.mean():
                return np.stack([upper, lower[::-1]])
    if len(outline) != 4:
        outline = cv2.boxPoints(cv2.minAreaRect(outline.astype(np.float32))).astype(np.float64)
        outline = np.roll(outline, -int(outline.sum(axis=1).argmin()), axis=0)
    width, height = (math.dist(outline[1], outline[i]) for i in (0, 2))
    if min(width, height) == 0:
        return None
    if height > VERTICAL * width:
        outline = np.roll(outline, -1, axis=0)
    return np.stack([outline[:2], outline[:1:-1]])
