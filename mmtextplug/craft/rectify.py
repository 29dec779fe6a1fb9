"""Words of any shape laid straight: where a straight crop's pixels lie in the image, and back.

A word is a band between two rails, its upper and its lower side in reading order. A quad is laid
straight by its homography; an outline of more points strip by strip between paired points, with
straight lines across, so that neighbouring strips meet without a gap. Pure NumPy; the points of
many words at once, on any device, are made by `sampling_grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from mmtextplug.datasets.icdar import turn_clockwise

VERTICAL = 2.0
"""A word of two or more characters that is higher than this times its width reads downwards (the
author of CRAFT names it for multi-lingual text)."""

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
# Crops are not wider than this times their height: more would be memory without text.
_WIDEST = 1000


@dataclass(frozen=True)
class Band:
    """A word between two rails; shares run from 0 to 1 along it and from 0 to 1 across it.

    Shares are those of a crop, whatever its size: column ``x`` of a crop ``w`` pixels wide lies at
    ``(x + 0.5) / w`` along, row ``y`` at ``(y + 0.5) / h`` across. In a quad seen in perspective
    equal shares are not equal lengths in the image.

    Attributes:
        upper, lower (np.ndarray): ``(m, 2)`` float64 (x, y), paired, in reading order.
        ticks (np.ndarray): ``(m,)`` share of the length at each pair: 0 to 1, not falling.
        length, height (float): In pixels of the image: means of both rails, and along the word.
        tilt (tuple[float, float]): Perspective along and across, of a quad: the homography's
            denominator is ``1 + tilt[0] * along + tilt[1] * across``. (0, 0) for strips.
    """

    upper: np.ndarray
    lower: np.ndarray
    ticks: np.ndarray
    length: float
    height: float
    tilt: tuple[float, float] = (0.0, 0.0)

    def size(self, height: int, max_width: int | None = None) -> tuple[int, int]:
        """Width and height in pixels of a crop that shows the word in its own proportions."""
        ratio = self.length / max(self.height, self.length / _WIDEST, 1e-9)
        width = max(round(height * ratio), 1)
        return (width if max_width is None else min(width, max_width)), height

    def ends(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points on the rails in homogeneous coordinates, each ``(n, 3)``, at shares ``(n,)``.

        What lies between them at a share ``t`` across is ``(1 - t) * upper + t * lower``. Shares
        below 0 count as 0, above 1 as 1.
        """
        along = np.clip(along, 0.0, 1.0)
        first, down = 1 + self.tilt[0] * along, self.tilt[1]
        if any(self.tilt):
            # Along a side of a quad the homography moves at the pace of its denominator.
            last = 1 + self.tilt[0]
            paces = along * last / first, along * (last + down) / (first + down)
        else:
            paces = along, along
        return tuple(
            np.stack([*(w * np.interp(pace, self.ticks, x) for x in rail.T), w], axis=1)
            for rail, pace, w in zip((self.upper, self.lower), paces, (first, first + down))
        )

    def to_image(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Points ``(..., 2)`` (x, y) of a crop of that (width, height), in the image; float64.

        The crop reaches from -0.5 to ``width - 0.5`` and ``height - 0.5``; points outside of it
        come to the nearest point of its border, so that nothing leaves the word.
        """
        shares = (np.asarray(points, np.float64).reshape(-1, 2) + 0.5) / size
        upper, lower = self.ends(shares[:, 0])
        mixed = upper + (lower - upper) * np.clip(shares[:, 1:], 0.0, 1.0)
        return (mixed[:, :2] / mixed[:, 2:]).reshape(np.shape(points))

    def part(self, start: float, end: float) -> Band:
        """The band of a section of the word, such as what the image's border leaves of it.

        Args:
            start, end (float): Shares along, as a crop's columns have them: columns ``a`` to ``b``
                (without ``b``) of a crop ``w`` pixels wide are ``part(a / w, b / w)``, and a share
                ``t`` of the part is ``start + t * (end - start)`` of the whole, in perspective too.

        Raises:
            ValueError: If not ``0 <= start < end <= 1``.
        """
        if not 0 <= start < end <= 1:
            raise ValueError(f"need 0 <= start < end <= 1, got start={start}, end={end}")
        within = self.ticks[(self.ticks > start) & (self.ticks < end)]
        along = np.concatenate([[start], within, [end]])
        upper, lower = (points[:, :2] / points[:, 2:] for points in self.ends(along))
        weight = 1 + self.tilt[0] * start
        tilt = self.tilt[0] * (end - start) / weight, self.tilt[1] / weight
        ticks = (along - start) / (end - start)
        return Band(upper, lower, ticks, *_extent(upper, lower), tilt)


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
    length, height = _extent(quad[:2], quad[[3, 2]])
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
    polygon: np.ndarray, *, length: int | None = None, vertical: float = VERTICAL
) -> Band | None:
    """The band of an annotated word.

    Args:
        polygon (np.ndarray): ``(k, 2)``, from its first character's top left along the top; turned
            if it is not clockwise (see `mmtextplug.datasets.icdar.turn_clockwise`). Outlines that
            are no band count as the smallest rectangle around them, read in their own direction.
        length (int, optional): Number of characters; a single one is never vertical.
        vertical (float): A word higher than this times its width reads downwards.

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
        quad = _rectangle(polygon)
    sides = _norm(_sides(quad))
    if length != 1 and sides[1] + sides[3] > vertical * (sides[0] + sides[2]):
        quad = np.roll(quad, -1, axis=0)
    return quad_band(quad)


def sampling_grid(
    bands: Sequence[Band],
    sizes: Sequence[tuple[int, int]],
    padded: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Where the pixels of a batch of crops lie in their images.

    Args:
        bands (Sequence[Band]): N words.
        sizes (Sequence[tuple[int, int]]): (width, height) of each crop.
        padded (tuple[int, int]): (width, height) of all of them in the batch; pixels right of or
            below a crop lie on the word's last end and on its lower side.
        device (torch.device | str): Where to make it; a few numbers for each column travel there.

    Returns:
        Tensor: ``(N, H, W, 2)`` float32 (x, y) in pixels of the image.
    """
    width, height = padded
    columns = np.arange(width) + 0.5
    rails = np.zeros((2, len(bands), width, 3), np.float32)
    for index, (band, size) in enumerate(zip(bands, sizes, strict=True)):
        rails[:, index] = band.ends(columns / size[0])
    upper, lower = torch.from_numpy(rails).to(device, non_blocking=True)
    heights = torch.tensor([size[1] for size in sizes], dtype=torch.float32)
    heights = heights.to(device, non_blocking=True)
    across = (torch.arange(height, device=device) + 0.5)[None] / heights[:, None]
    # Unlike upper + (lower - upper) * across, this keeps small denominators exact near the end.
    mixed = torch.lerp(
        upper[:, None], lower[:, None], across.clamp(max=1.0)[:, :, None, None].expand(-1, -1, 1, 3)
    )
    return mixed[..., :2] / mixed[..., 2:]


def _is_on_a_page(points: np.ndarray) -> bool:
    """Whether all coordinates are finite and of a size that pixels may have."""
    return bool((np.abs(points) < _FARTHEST).all())


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.hypot(vectors[:, 0], vectors[:, 1])


def _sides(quad: np.ndarray) -> np.ndarray:
    return quad[[1, 2, 3, 0]] - quad


def _steps(rail: np.ndarray) -> np.ndarray:
    return _norm(rail[1:] - rail[:-1])


def _extent(upper: np.ndarray, lower: np.ndarray) -> tuple[float, float]:
    """Mean length of two rails, and the mean distance between their points along them."""
    steps = (_steps(upper) + _steps(lower)) / 2
    rungs = _norm(lower - upper)
    length = float(steps.sum())
    return length, float(((rungs[:-1] + rungs[1:]) / 2 * steps).sum() / max(length, 1e-9))


def _areas(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Area of each strip, negative where it turned over."""
    return _cross(lower[1:] - upper[:-1], lower[:-1] - upper[1:]) / 2


def _squareness(band: Band) -> float:
    """How squarely the lines between a band's rails cross it: 1 for a rectangle, 0 along the rails.

    Its area over its length times its height; for a parallelogram the sine of its angle.
    """
    return float(_areas(band.upper, band.lower).sum() / (band.length * band.height))


def _strips(upper: np.ndarray, lower: np.ndarray) -> Band | None:
    length, height = _extent(upper, lower)
    if min(length, height) < _LEAST:
        return None
    # Strips may narrow to nothing, at a repeated point, but not turn over.
    if (_areas(upper, lower) < -_FOLD * length * height).any():
        return None
    # Both rails' lengths, not the middle line's: where that stands still, they may go on.
    walked = np.cumsum(_steps(upper) + _steps(lower))
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
        walked = np.concatenate([[0.0], np.cumsum(_steps(rail))])
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
    agreement = sides @ reading / np.maximum(_norm(sides), 1e-9)
    return np.roll(corners, -int(agreement.argmax()), axis=0)
