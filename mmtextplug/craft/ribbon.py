"""The centre line of a word that no circle fits, and its outline, by the paper's control lines.

Scan across the word, take the tallest columns as pivots, turn them perpendicular to the centre
line, give them one length, push the outermost two out to the ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from shapely.geometry import Polygon

PIVOTS = 5
"""Control lines between the two ends."""

SEGMENTS = 2 * PIVOTS + 1
"""Slices of a word along its centre line: pivots are found in the odd ones."""

STRAIGHT_FILL = 0.7
"""A word is straight when one column fills more than this share of its height."""

STRAIGHT_BEND = 0.1
"""A word is straight when its centre line bends by no more than this share of its height."""

MIN_SEGMENT = 0.25
"""Narrowest slice, as a share of the pivots' height, that still tells a direction."""

MIN_COVER = 0.8
"""Share of the word's pixels that a traced outline must cover, or it is not the outline."""


@dataclass(frozen=True)
class Ribbon:
    """A centre line with the directions across it, in a straightened word.

    Attributes:
        points: ``(PIVOTS, 2)`` (u, v) on the centre line, u ascending.
        tangents: ``(PIVOTS, 2)`` unit vectors along it.
        height: thickness of the thresholded word across the centre line.
    """

    points: np.ndarray
    tangents: np.ndarray
    height: float


def trace_ribbon(mask: np.ndarray) -> Ribbon | None:
    """The centre line of a straightened word from left to right; None when it is straight.

    Args:
        mask: ``(h, w)`` uint8, non-zero at the word's pixels.
    """
    height, width = mask.shape
    filled = mask != 0
    columns = np.flatnonzero(filled.sum(axis=0) >= 2)
    if not len(columns):
        return None
    top = filled.argmax(axis=0)[columns]
    bottom = height - 1 - filled[::-1].argmax(axis=0)[columns]
    heights, centres = bottom - top + 1, (top + bottom) / 2
    if heights.max() > STRAIGHT_FILL * height:
        return None

    segment = columns * SEGMENTS // width
    line = centre_line(segment, columns, centres, width)
    if bend(line) <= max(1.0, STRAIGHT_BEND * np.median(heights)):
        return None
    points, pivot_heights = line[1::2].copy(), np.full(PIVOTS, np.nan)
    for i in np.unique(segment[segment % 2 == 1]):
        inside = np.flatnonzero(segment == i)
        tallest = inside[heights[inside] == heights[inside].max()]
        column = tallest[len(tallest) // 2]
        points[i // 2] = columns[column], centres[column]
        pivot_heights[i // 2] = heights[column]
    found = ~np.isnan(pivot_heights)
    if 2 * found.sum() < PIVOTS or width / SEGMENTS < MIN_SEGMENT * np.nanmax(pivot_heights):
        return None
    tangents = line[2::2] - line[:-2:2]
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    # A column through a slanted band is longer than the band is thick.
    across = (pivot_heights * tangents[:, 0])[found]
    return Ribbon(points, tangents, float(np.median(across)))


def centre_line(
    segment: np.ndarray, columns: np.ndarray, centres: np.ndarray, width: int
) -> np.ndarray:
    """Mean point of each slice, ``(SEGMENTS, 2)``; slices without columns are interpolated.

    Args:
        segment: ``(C,)`` the slice that each column lies in.
        columns: ``(C,)`` u of the columns.
        centres: ``(C,)`` v half-way between the first and the last pixel of each.
        width: of all slices together.
    """
    number = np.bincount(segment, minlength=SEGMENTS)
    found = number > 0
    u = (np.arange(SEGMENTS) + 0.5) * (width / SEGMENTS)
    u[found] = np.bincount(segment, columns, minlength=SEGMENTS)[found] / number[found]
    v = np.bincount(segment, centres, minlength=SEGMENTS)[found] / number[found]
    return np.column_stack([u, np.interp(u, u[found], v)])


def bend(line: np.ndarray) -> float:
    """Largest vertical distance of ``(P, 2)`` points from the straight line that fits them best."""
    u, v = (line - line.mean(axis=0)).T
    return float(np.abs(v - u * (u @ v) / (u @ u)).max())


def ribbon_outline(ribbon: Ribbon, mask: np.ndarray, expand: float) -> np.ndarray | None:
    """The ribbon's outline, clockwise from its top left end; None when it is not a sound one.

    Args:
        ribbon: in the coordinates of ``mask``.
        mask: ``(h, w)`` uint8, non-zero at the word's pixels.
        expand: Height of the outline over the ribbon's.

    Returns:
        ``(2 * PIVOTS + 4, 2)`` float64: the upper side from left to right, then the lower one back.
    """
    half = ribbon.height * expand / 2
    margin = half - ribbon.height / 2
    pixels = np.argwhere(mask)[:, ::-1]
    directions = np.stack([-ribbon.tangents[0], ribbon.tangents[-1]])
    ends = [
        point + (reach(pixels, point, direction, half) + margin) * direction
        for point, direction in zip(ribbon.points[[0, -1]], directions, strict=True)
    ]
    centre = np.concatenate([ends[:1], ribbon.points, ends[1:]])
    tangents = np.concatenate([ribbon.tangents[:1], ribbon.tangents, ribbon.tangents[-1:]])
    upwards = half * np.stack([tangents[:, 1], -tangents[:, 0]], axis=1)
    outline = np.concatenate([centre + upwards, (centre - upwards)[::-1]])
    if not Polygon(outline).is_valid:
        return None
    drawn = cv2.fillPoly(np.zeros_like(mask), [np.rint(outline).astype(np.int32)], 1)
    covered = np.count_nonzero(drawn[pixels[:, 1], pixels[:, 0]])
    return outline if covered >= MIN_COVER * len(pixels) else None


def reach(pixels: np.ndarray, point: np.ndarray, direction: np.ndarray, half: float) -> int:
    """Steps of one pixel from a point until a line across the direction touches no pixel.

    Args:
        pixels: ``(P, 2)`` (u, v).
        point: ``(2,)`` where the line starts out.
        direction: ``(2,)`` unit vector in which it moves.
        half: half the length of the line.
    """
    offsets = pixels - point
    along = np.rint(offsets @ direction).astype(np.int64)
    across = np.abs(offsets @ np.array([direction[1], -direction[0]]))
    touched = np.zeros(max(int(along.max()), 0) + 2, bool)
    touched[along[(across <= half) & (along >= 0)]] = True
    return int(touched.argmin())
