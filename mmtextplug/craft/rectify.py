"""The band that an annotated word of any shape is laid straight by.

A word is a band between two rails, its upper and its lower side in reading order. A quad is laid
straight by its homography; an outline of more points strip by strip between paired points, with
straight lines across, so that neighbouring strips meet without a gap.
"""

from __future__ import annotations

import cv2
import numpy as np

from mmtextplug.craft.band import Band, extent, norm, steps
from mmtextplug.datasets.instances import turn_clockwise

VERTICAL = 2.0
"""A word of two or more characters that is higher than this times its width reads downwards (the
author of CRAFT names it for multi-lingual text)."""

READ_DOWNWARDS = 1.5
"""The same for words that were found on a page, and for lines of text."""

SQUARE = 0.85
"""Points of an outline are paired one by one if the lines between them cross the word as squarely
as this (see `_squareness`); of Total-Text's outlines with an even number of points 97 % are."""

# From here on 32-bit floats do not even tell neighbouring pixels apart.
_FARTHEST = 2.0**24
# Pixels; and shares of length times height: the least area of a word, the most of a fold.
_LEAST, _LEAST_AREA, _FOLD = 1e-3, 1e-3, 1e-3
# How much more square an outline must get to end elsewhere than in its middle, to begin elsewhere
# than at its first point; what is less square than the last one is no band.
_OTHER_END, _OTHER_START, _LEAST_SQUARE = 0.05, 0.1, 0.6
# How many points away from the middle of the outline its upper side may end.
_END_SEARCH = 6


def quad_band(quad: np.ndarray) -> Band | None:
    """The band of a convex quad ``(4, 2)`` that reads from corner 0 to corner 1.

    Returns:
        Band | None: None if it is not finite, convex, clockwise, or of any area.

    Source: Heckbert, Fundamentals of Texture Mapping, 1989, section 2.2.3.
    """
    quad = np.asarray(quad, np.float64)
    if not _is_on_a_page(quad):
        return None
    p0, p1, p2, p3 = quad
    edges = _sides(quad)
    turns = _cross(edges, edges[[1, 2, 3, 0]])
    length, height = extent(quad[:2], quad[[3, 2]])
    # Nearly flat corners have a horizon next to them.
    if min(length, height) < _LEAST or (turns < _LEAST_AREA * length * height).any():
        return None
    total, right, down = p0 - p1 + p2 - p3, p1 - p2, p3 - p2
    det = _cross(right, down)
    tilt = float(_cross(total, down) / det), float(_cross(right, total) / det)
    return Band(quad[:2], quad[[3, 2]], np.array([0.0, 1.0]), length, height, tilt)


def polygon_band(polygon: np.ndarray) -> Band | None:
    """The band of a clockwise outline ``(k, 2)``, ``k > 4``, that starts where its upper side does.

    The first half of the points is the upper side, the second half, backwards, the lower one, and
    they are paired one by one, as Total-Text and CTW1500 annotate curved words. Where their number
    is odd, or the lines between pairs lie aslant, the upper side ends where they lie squarely, and
    both sides are divided by their lengths instead. It may begin one point earlier or later, too;
    such a word reads to the right, or downwards if it is steep.

    Returns:
        Band | None: None if no way of pairing gives a band without folds.
    """
    polygon = np.asarray(polygon, np.float64)
    if len(polygon) < 4 or not _is_on_a_page(polygon):
        return None
    half = len(polygon) // 2
    best, merit = None, _LEAST_SQUARE
    if len(polygon) % 2 == 0:
        paired = _strips(polygon[:half], polygon[half:][::-1])
        squareness = 0.0 if paired is None else _squareness(paired)
        if squareness >= SQUARE:
            return paired
        if squareness >= _LEAST_SQUARE:
            best, merit = paired, squareness + _OTHER_END
    nearest = max(half - _END_SEARCH, 2)
    farthest = min(len(polygon) - half + _END_SEARCH, len(polygon) - 2)
    for shift in (0, -1, 1):
        points = np.roll(polygon, -shift, axis=0)
        for first in range(nearest, farthest + 1):
            band = _strips(*_paired_by_length(points[:first], points[first:][::-1]))
            value = 0.0 if band is None else _squareness(band) - _OTHER_START * abs(shift)
            if value > merit:
                best, merit = _read_onwards(band) if shift else band, value
    return best


def word_band(
    polygon: np.ndarray,
    *,
    length: int | None = None,
    vertical: float = VERTICAL,
    rectangle: bool = True,
) -> Band | None:
    """The band of an annotated word.

    Args:
        polygon (np.ndarray): ``(k, 2)``, from its first character's top left along the top; turned
            if it is not clockwise (see `mmtextplug.datasets.instances.turn_clockwise`). Outlines
            that are no band count as the smallest rectangle around them, read in their own
            direction.
        length (int, optional): Number of characters; a single one is never vertical.
        vertical (float): A word higher than this times its width reads downwards.
        rectangle (bool): False gives outlines that are no band none, not that of a rectangle.

    Returns:
        Band | None: None for a word without area, and for one that is not finite.
    """
    polygon = np.asarray(polygon, np.float64).reshape(-1, 2)
    if len(polygon) % 2 and len(polygon) > 3 and (polygon[0] == polygon[-1]).all():
        polygon = polygon[:-1]  # closed by repeating its first point
    if len(polygon) < 3 or not _is_on_a_page(polygon):
        return None
    local = polygon - polygon[0]
    if _cross(local[:-1], local[1:]).sum() < 0:
        polygon, _ = turn_clockwise(polygon)
    quad = polygon
    if len(polygon) > 4:
        band = polygon_band(polygon)
        if band is not None and band.height <= vertical * band.length:
            return band
        if band is not None:
            quad = np.concatenate([band.upper[[0, -1]], band.lower[[-1, 0]]])
    if len(quad) != 4 or quad_band(quad) is None:
        if not rectangle:
            return None
        quad = _rectangle(polygon)
    sides = norm(_sides(quad))
    if length != 1 and sides[1] + sides[3] > vertical * (sides[0] + sides[2]):
        quad = np.roll(quad, -1, axis=0)
    return quad_band(quad)


def _is_on_a_page(points: np.ndarray) -> bool:
    """Whether all coordinates are finite and of a size that pixels may have."""
    return bool((np.abs(points) < _FARTHEST).all())


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _sides(quad: np.ndarray) -> np.ndarray:
    return quad[[1, 2, 3, 0]] - quad


def _areas(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Area of each strip, negative where it turned over."""
    return _cross(lower[1:] - upper[:-1], lower[:-1] - upper[1:]) / 2


def _squareness(band: Band) -> float:
    """How squarely the lines between a band's rails cross it: 1 for a rectangle, 0 along the rails.

    Its area over its length times its height; for a parallelogram the sine of its angle.
    """
    return float(_areas(band.upper, band.lower).sum() / (band.length * band.height))


def _strips(upper: np.ndarray, lower: np.ndarray) -> Band | None:
    length, height = extent(upper, lower)
    if min(length, height) < _LEAST:
        return None
    # Strips may narrow to nothing, at a repeated point, but not turn over.
    if (_areas(upper, lower) < -_FOLD * length * height).any():
        return None
    # Both rails' lengths, not the middle line's: where that stands still, they may go on.
    walked = np.cumsum(steps(upper) + steps(lower))
    ticks = np.concatenate([[0.0], walked / walked[-1]])
    return Band(upper, lower, ticks, length, height)


def _read_onwards(band: Band) -> Band:
    """A band whose beginning is not known, read to the right, or downwards if it is steep."""
    right, down = band.upper[-1] + band.lower[-1] - band.upper[0] - band.lower[0]
    if (right if abs(down) <= VERTICAL * abs(right) else down) >= 0:
        return band
    rails = band.lower[::-1], band.upper[::-1]
    return Band(*rails, 1 - band.ticks[::-1], band.length, band.height)


def _paired_by_length(upper: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ticks = []
    for rail in (upper, lower):
        walked = np.concatenate([[0.0], np.cumsum(steps(rail))])
        ticks.append(walked / walked[-1] if walked[-1] else np.linspace(0, 1, len(rail)))
    both = np.union1d(*ticks)
    return tuple(
        np.stack([np.interp(both, tick, x) for x in rail.T], axis=1)
        for tick, rail in zip(ticks, (upper, lower))
    )


def _rectangle(polygon: np.ndarray) -> np.ndarray:
    """The smallest rectangle around an outline, clockwise, its first side in reading direction."""
    # Relative to a corner: OpenCV's 32-bit floats are coarse far from the origin.
    local = (polygon - polygon[0]).astype(np.float32)
    corners = cv2.boxPoints(cv2.minAreaRect(local)).astype(np.float64) + polygon[0]
    half = max(len(polygon) // 2, 2)
    reading = polygon[half - 1] - polygon[0]
    if len(polygon) > 3:
        # The upper side counts more: the lower one of a crossed outline runs against it.
        reading = 2 * reading + polygon[-half] - polygon[-1]
    sides = _sides(corners)
    agreement = sides @ reading / np.maximum(norm(sides), 1e-9)
    return np.roll(corners, -int(agreement.argmax()), axis=0)
