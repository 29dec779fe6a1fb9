"""Coordinates along and across a word: along the sides of its box, or along a circle's arc.

In them a word is straight, whatever its bend and orientation, and can be outlined as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

STRAIGHT_ARC = 0.2
"""An arc whose middle lies off its chord by no more than this share of its width is straight."""

LEAST_LENGTH = 3.0
"""An arc shorter than this times its width tells no curvature."""

LEAST_RADIUS = 1.0
"""Nor does one whose radius is less than this times its width: it is a bent character."""

MAX_TURN = math.radians(330)
"""What turns further is a ring."""

# The constraint under which Pratt's fit is an eigenproblem: B^2 + C^2 - 4 A D = 1.
_PRATT_INVERSE = np.array([[0, 0, 0, -0.5], [0, 1, 0, 0], [0, 0, 1, 0], [-0.5, 0, 0, 0]])


@dataclass(frozen=True)
class Frame:
    """Coordinates (u, v): u along a line or an arc, v across it, towards its lower side.

    Attributes:
        origin: ``(2,)`` (x, y) of the point (0, 0) on the line, in the map.
        axes: ``(2, 2)`` rows are the unit vectors of u and v there; u turned clockwise is v.
        curvature: 1 / radius, positive if the centre lies at positive v; 0 for a line.
        standing: whether u leads downwards rather than to the right.
    """

    origin: np.ndarray
    axes: np.ndarray
    curvature: float = 0.0
    standing: bool = False

    def to_map(self, points: np.ndarray) -> np.ndarray:
        """Points ``(..., 2)`` (u, v) as (x, y) in the map, float64."""
        u, v = points[..., 0], points[..., 1]
        if self.curvature:
            radius = 1 / self.curvature
            angle = u * self.curvature
            u, v = (radius - v) * np.sin(angle), radius - (radius - v) * np.cos(angle)
        return self.origin + u[..., None] * self.axes[0] + v[..., None] * self.axes[1]

    def from_map(self, points: np.ndarray) -> np.ndarray:
        """Points ``(..., 2)`` (x, y) of the map as (u, v), float64, u within half a turn."""
        local = (points - self.origin) @ self.axes.T
        if not self.curvature:
            return local
        # The angle about the centre, and the distance from it, in radii.
        across, down = self.curvature * local[..., 0], 1 - self.curvature * local[..., 1]
        polar = np.stack([np.arctan2(across, down), 1 - np.hypot(across, down)], axis=-1)
        return polar / self.curvature

    def turn(self, length: float) -> float:
        """By how much so many pixels of the line turn, in radians."""
        return length * abs(self.curvature)


def box_frame(box: np.ndarray) -> Frame | None:
    """Along the long side of a ``(4, 2)`` box, from the side of its first corner; None if flat."""
    corners = box.astype(np.float64)
    axes = corners[[1, 3]] - corners[0]
    sides = np.hypot(*axes.T)
    if sides.min() < 1:
        return None
    axes /= sides[:, None]
    if sides[1] > sides[0]:
        return Frame(corners[1], np.stack([axes[1], -axes[0]]), standing=True)
    return Frame(corners[0], axes)


def arc_frame(pixels: np.ndarray, border: np.ndarray) -> Frame | None:
    """Along the circle that fits a word best; None where that is a line, or the word no arc of it.

    u leads to the right in words that lie, down in those that stand.

    Args:
        pixels: ``(n, 2)`` (x, y) of the word in the map, or of a fair sample of it.
        border: ``(m, 2)`` those at its border.

    Source of the fit: V. Pratt, Direct least-squares fitting of algebraic surfaces, SIGGRAPH 1987.
    Of the algebraic fits it is one that finds the line of a thick straight band.
    """
    count = len(pixels)
    terms = np.ones((4, count))
    mean = pixels.sum(axis=0) / count
    x, y = np.subtract(pixels.T, mean[:, None], out=terms[1:3])
    scale = math.sqrt((x @ x + y @ y) / count)
    terms[1:3] /= scale
    terms[0] = x * x + y * y
    values, vectors = np.linalg.eig(_PRATT_INVERSE @ (terms @ terms.T / count))
    values, vectors = values.real, vectors.real
    best = np.where(values > -1e-9, values, np.inf).argmin()
    a, b, c, d = vectors[:, best].tolist()
    norm = b * b + c * c - 4 * a * d
    if norm <= 0 or abs(a) < 1e-4 * math.sqrt(norm):
        return None
    radius = scale * math.sqrt(norm) / (2 * abs(a))
    # The eigenvalue is the mean square of the distances from the middle of the band.
    thickness = scale * math.sqrt(12 * max(values[best], 0.0))
    least = 8 * radius * max(1.0, STRAIGHT_ARC * thickness)
    if 2 * 12 * scale**2 < least:
        return None  # clearly a line, the word being about sqrt(12) * scale long
    centre = np.array([-b, -c]) / (2 * a)
    spokes = terms[1:3] - centre[:, None]
    middle = (spokes / np.maximum(np.hypot(*spokes), 1e-9)).sum(axis=1)
    if not middle.any():
        return None
    middle /= math.hypot(*middle)
    along = np.array([-middle[1], middle[0]])
    along = -along if along.sum() < 0 else along
    down = np.array([-along[1], along[0]])
    curvature = -float(np.sign(middle @ down)) / radius
    origin = mean + scale * centre + radius * middle
    standing = bool(abs(along[1]) > abs(along[0]))
    frame = Frame(origin, np.stack([along, down]), curvature, standing)
    u = frame.from_map(border)[:, 0]
    length = u.max() - u.min() + 1
    ribbon = LEAST_LENGTH * thickness < length < MAX_TURN * radius
    ribbon = ribbon and radius > LEAST_RADIUS * thickness
    return frame if ribbon and length**2 > least else None
