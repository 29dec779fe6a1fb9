"""Words of any shape laid straight: where a straight crop's pixels lie in the image, and back.

A word is a band between two rails, its upper and its lower side in reading order. A quad is laid
straight by its homography; an outline of more points strip by strip between paired points, with
straight lines across, so that neighbouring strips meet without a gap. Pure NumPy; the points of
many words at once, on any device, are made by `sampling_grid`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

VERTICAL = 2.0
"""A word of two or more characters that is higher than this times its width reads downwards (the
author of CRAFT names it for multi-lingual text)."""


@dataclass(frozen=True)
class Band:
    """A word between two rails; shares run from 0 to 1 along it and from 0 to 1 across it.

    Attributes:
        upper, lower (np.ndarray): ``(m, 2)`` float64 (x, y), paired, in reading order.
        ticks (np.ndarray): ``(m,)`` share of the length at each pair: 0 to 1, not falling.
        length, height (float): In pixels of the image.
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
        width = max(round(height * self.length / max(self.height, 1e-6)), 1)
        return (width if max_width is None else min(width, max_width)), height

    def ends(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points on the rails in homogeneous coordinates, each ``(n, 3)``, at shares ``(n,)``.

        What lies between them at a share ``t`` across is ``(1 - t) * upper + t * lower``.
        """
        upper, lower = (
            np.stack([np.interp(along, self.ticks, x) for x in rail.T], axis=1)
            for rail in (self.upper, self.lower)
        )
        first = 1 + self.tilt[0] * along
        if any(self.tilt):
            # Along a side of a quad the homography moves at the pace of its denominator.
            last = 1 + self.tilt[0]
            upper = self._paced(self.upper, along, 1.0, last)
            lower = self._paced(self.lower, along, 1 + self.tilt[1], last + self.tilt[1])
        weights = first, first + self.tilt[1]
        return tuple(
            np.concatenate([points * w[:, None], w[:, None]], axis=1)
            for points, w in zip((upper, lower), weights, strict=True)
        )

    @staticmethod
    def _paced(rail: np.ndarray, along: np.ndarray, start: float, end: float) -> np.ndarray:
        pace = (along * end / (start + along * (end - start)))[:, None]
        return rail[0] + pace * (rail[-1] - rail[0])

    def to_image(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Points ``(..., 2)`` (x, y) of a crop of that (width, height), in the image; float64."""
        shares = (np.asarray(points, np.float64).reshape(-1, 2) + 0.5) / size
        upper, lower = self.ends(shares[:, 0])
        mixed = upper + (lower - upper) * shares[:, 1:]
        return (mixed[:, :2] / mixed[:, 2:]).reshape(np.shape(points))


def quad_band(quad: np.ndarray) -> Band | None:
    """The band of a convex quad ``(4, 2)`` that reads from corner 0 to corner 1; None without area.

    Source: Heckbert, Fundamentals of Texture Mapping, 1989, section 2.2.3.
    """
    quad = np.asarray(quad, np.float64)
    if not np.isfinite(quad).all():
        return None
    p0, p1, p2, p3 = quad
    edges = np.roll(quad, -1, axis=0) - quad
    following = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    sides = np.linalg.norm(edges, axis=1)
    length, height = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
    # Nearly flat corners have a horizon next to them.
    if min(length, height) < 1e-3 or (turns < 1e-3 * length * height).any():
        return None
    total, right, down = p0 - p1 + p2 - p3, p1 - p2, p3 - p2
    det = right[0] * down[1] - right[1] * down[0]
    along = (total[0] * down[1] - total[1] * down[0]) / det
    across = (right[0] * total[1] - right[1] * total[0]) / det
    return Band(
        quad[:2], quad[[3, 2]], np.array([0.0, 1.0]), length, height, (float(along), float(across))
    )


def polygon_band(polygon: np.ndarray) -> Band | None:
    """The band of an outline ``(k, 2)``, ``k > 4``, that starts where its upper side does.

    The first half of the points is the upper side, the second half, backwards, the lower one, and
    they are paired one by one, as Total-Text and CTW1500 annotate curved words. Where the number
    is odd, or strips between pairs turn over, both sides are divided by their lengths instead.

    Returns:
        Band | None: None if no way of pairing gives a band without a fold.
    """
    polygon = np.asarray(polygon, np.float64)
    if len(polygon) < 4 or not np.isfinite(polygon).all():
        return None
    half = len(polygon) // 2
    candidates = []
    if len(polygon) % 2 == 0:
        candidates.append((polygon[:half], polygon[half:][::-1]))
    for first in {half, len(polygon) - half}:
        candidates.append(_paired_by_length(polygon[:first], polygon[first:][::-1]))
    for upper, lower in candidates:
        band = _strips(upper, lower)
        if band is not None:
            return band
    return None


def word_band(
    polygon: np.ndarray, *, length: int | None = None, vertical: float = VERTICAL
) -> Band | None:
    """The band of an annotated word.

    Args:
        polygon (np.ndarray): ``(k, 2)``, clockwise from its first character's top left. Outlines
            that are no band count as the smallest rectangle around them.
        length (int, optional): Number of characters; a single one is never vertical.
        vertical (float): A word higher than this times its width reads downwards; of outlines with
            more than four points the first side says itself where it leads.

    Returns:
        Band | None: None for a word without area.
    """
    polygon = np.asarray(polygon, np.float64).reshape(-1, 2)
    if len(polygon) < 3 or not np.isfinite(polygon).all():
        return None
    band = polygon_band(polygon) if len(polygon) > 4 else None
    if band is not None:
        return band
    quad = polygon
    if len(quad) != 4 or quad_band(quad) is None:
        quad = _rectangle(polygon)
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
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
            below a crop go on in its direction.
        device (torch.device | str): Where to make it; a few numbers for each column travel there.

    Returns:
        Tensor: ``(N, H, W, 2)`` float32 (x, y) in pixels of the image.
    """
    width, height = padded
    rails = np.zeros((2, len(bands), width, 3), np.float32)
    for index, (band, size) in enumerate(zip(bands, sizes, strict=True)):
        along = (np.arange(width) + 0.5) / size[0]
        rails[:, index] = band.ends(np.minimum(along, 1.0))
    upper, lower = torch.from_numpy(rails).to(device, non_blocking=True)
    heights = torch.tensor([size[1] for size in sizes], dtype=torch.float32)
    heights = heights.to(device, non_blocking=True)
    across = (torch.arange(height, device=device) + 0.5)[None] / heights[:, None]
    across = across.clamp(max=1.0)[:, :, None, None]
    mixed = upper[:, None] + (lower - upper)[:, None] * across
    return mixed[..., :2] / mixed[..., 2:]


def _strips(upper: np.ndarray, lower: np.ndarray) -> Band | None:
    steps = np.linalg.norm(np.diff((upper + lower) / 2, axis=0), axis=1)
    rungs = np.linalg.norm(lower - upper, axis=1)
    length, height = float(steps.sum()), float(rungs.mean())
    if min(length, height) < 1e-3:
        return None
    corners = np.stack([upper[:-1], upper[1:], lower[1:], lower[:-1]], axis=1)
    diagonals = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    areas = (diagonals[0][:, 0] * diagonals[1][:, 1] - diagonals[0][:, 1] * diagonals[1][:, 0]) / 2
    # Strips may narrow to nothing, at a repeated point, but not turn over.
    if areas.sum() < 1e-3 * length * height or (areas < -1e-3 * length * height).any():
        return None
    ticks = np.concatenate([[0.0], np.cumsum(steps)]) / length
    return Band(upper, lower, ticks, length, height)


def _paired_by_length(upper: np.ndarray, lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ticks = []
    for rail in (upper, lower):
        steps = np.linalg.norm(np.diff(rail, axis=0), axis=1)
        ticks.append(np.concatenate([[0.0], np.cumsum(steps)]) / max(steps.sum(), 1e-9))
    both = np.union1d(*ticks)
    return tuple(
        np.stack([np.interp(both, tick, x) for x in rail.T], axis=1)
        for tick, rail in zip(ticks, (upper, lower), strict=True)
    )


def _rectangle(polygon: np.ndarray) -> np.ndarray:
    """The smallest rectangle around an outline, clockwise, from the corner nearest to its start."""
    corners = cv2.boxPoints(cv2.minAreaRect(polygon.astype(np.float32))).astype(np.float64)
    nearest = int(np.linalg.norm(corners - polygon[0], axis=1).argmin())
    if math.isclose(cv2.contourArea(corners.astype(np.float32)), 0.0):
        return corners
    return np.roll(corners, -nearest, axis=0)
