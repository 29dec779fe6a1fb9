"""Coordinates along and across a word that is neither straight nor an arc, such as a wave.

A smooth line is fitted through the word's pixels; along it the word is straight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmtextplug.craft.arc import Frame

POINTS = 65
"""The line is a polyline of so many points."""

CRESTS = 8
"""How sharply a line turns is told by this share of its points."""

DEGREES = (2, 3, 4, 5, 6, 7)
"""Of the polynomials that are tried as lines."""

DEGREE_COST = 0.02
"""A degree more must make the word thinner by this share of its height."""

TRIES = 2
"""The most promising degrees are fitted in full."""

ROUNDS = 3
"""A line is fitted so often, each time across the last one: the ends of a word stand aslant at
first, and the pixels of a column are not those across it where it is steep."""

INSET = 0.05
"""Of each end of a word this share of its length is laid straight as what is next to it: there a
polynomial follows the corners of an end that still stands aslant."""

TRIM = 0.01
"""Share of a word's pixels that may stick out on either side where its thickness is estimated."""


@dataclass(frozen=True)
class Ribbon:
    """Coordinates (u, v): u along a smooth line, v across it, towards its lower side.

    Attributes:
        points: ``(K, 2)`` (x, y) in the map, on the line, in reading order.
        tangents: ``(K, 2)`` unit vectors along it.
        walked: ``(K,)`` u of the points, ascending from 0. Beyond them the line is straight.
        standing: whether the word is read downwards rather than to the right.
    """

    points: np.ndarray
    tangents: np.ndarray
    walked: np.ndarray
    standing: bool = False

    def to_map(self, points: np.ndarray) -> np.ndarray:
        """Points ``(m, 2)`` (u, v) as (x, y) in the map, float64."""
        u, v = points.T
        within = np.clip(u, 0, self.walked[-1])
        foot, along = (
            np.column_stack([np.interp(within, self.walked, x) for x in values.T])
            for values in (self.points, self.tangents)
        )
        along /= np.hypot(*along.T)[:, None]
        across = np.column_stack([-along[:, 1], along[:, 0]])
        return foot + (u - within)[:, None] * along + v[:, None] * across

    def from_map(self, points: np.ndarray) -> np.ndarray:
        """Points ``(m, 2)`` (x, y) of the map as (u, v), float64, beside the line's nearest point.

        Where the line bends, points farther from it than its radius share those of others.
        """
        # The nearest point maximises p.q - q.q / 2.
        nearness = points @ self.points.T - (self.points**2).sum(axis=1) / 2
        nearest = nearness.argmax(axis=1)
        (x, y), (a, b) = (points - self.points[nearest]).T, self.tangents[nearest].T
        return np.column_stack([self.walked[nearest] + a * x + b * y, a * y - b * x])

    def turn(self, length: float) -> float:
        """By how much the line would turn in so many pixels if it did as where it turns most."""
        angles = np.unwrap(np.arctan2(self.tangents[:, 1], self.tangents[:, 0]))
        part = (len(angles) - 1) // CRESTS
        most = np.abs(angles[part:] - angles[:-part]).max()
        return float(most / part * (len(angles) - 1) * length / self.walked[-1])


def fit_ribbons(pixels: np.ndarray, frame: Frame, thickness: float) -> list[tuple[float, Ribbon]]:
    """Smooth lines through the middle of a word, where they seem to make it thinner.

    Args:
        pixels: ``(n, 2)`` (x, y) of the word in the map, or of a fair sample of it.
        frame: roughly along the word.
        thickness: what `spread` says of the word otherwise laid straight.

    Returns:
        Up to `TRIES` of them, each with the factor of size by which it must be closer than what is
        simpler: at least 1, more the more a line may wind.
    """
    found = []
    for degree in best_degrees(*frame.from_map(pixels).T, thickness)[:TRIES]:
        ribbon = fit_ribbon(pixels, frame, degree)
        if ribbon is not None:
            found.append((1 + DEGREE_COST * degree, ribbon))
    return found


def fit_ribbon(pixels: np.ndarray, frame: Frame, degree: int) -> Ribbon | None:
    """The smooth line through the middle of a word; None where there is none.

    Args:
        pixels, frame: as in `fit_ribbons`.
        degree: of the polynomials that are fitted, each along the last line.
    """
    coordinates: Frame | Ribbon = frame
    u, v = frame.from_map(pixels).T
    for _ in range(ROUNDS):
        low, high = float(u.min()), float(u.max())
        if high - low < 1:
            return None
        inset = INSET * (high - low)
        knots = np.linspace(low + inset, high - inset, POINTS)
        line = _powers(knots, low, high, degree) @ _solve(_powers(u, low, high, degree), v)
        points = coordinates.to_map(np.column_stack([knots, line]))
        coordinates = ribbon_through(points, frame.standing)
        if coordinates is None:
            return None
        u, v = coordinates.from_map(pixels).T
    return coordinates


def spread(v: np.ndarray) -> np.ndarray:
    """The range of ``(n, ...)`` pixels along the first axis, `TRIM` of them left out a side."""
    low, high = int(TRIM * len(v)), int((1 - TRIM) * (len(v) - 1))
    ordered = np.partition(v, (low, high), axis=0)
    return ordered[high] - ordered[low] + 1


def best_degrees(u: np.ndarray, v: np.ndarray, thickness: float) -> list[int]:
    """The degrees of polynomials v(u) that a word is thinner along, the best one first.

    Args:
        u, v: ``(n,)`` of the word's pixels, roughly along and across it.
        thickness: of the word without them, see `spread`.
    """
    low, high = float(u.min()), float(u.max())
    if high - low < 1:
        return []
    powers = _powers(u, low, high, DEGREES[-1])
    terms = np.zeros((DEGREES[-1] + 1, len(DEGREES)))
    for i, degree in enumerate(DEGREES):
        terms[: degree + 1, i] = _solve(powers[:, : degree + 1], v)
    slopes = powers[:, :-1] @ (terms[1:] * np.arange(1, len(terms))[:, None]) * (2 / (high - low))
    # Across the line, not across u.
    heights = spread((v[:, None] - powers @ terms) / np.sqrt(1 + slopes**2))
    heights = heights * (1 + DEGREE_COST * np.array(DEGREES))
    return [DEGREES[i] for i in heights.argsort(kind="stable") if heights[i] < thickness]


def _powers(u: np.ndarray, low: float, high: float, degree: int) -> np.ndarray:
    """``(n, degree + 1)``: 1, t, t^2, ..., t from -1 at ``low`` to 1 at ``high``."""
    return ((2 * u - low - high) / (high - low))[:, None] ** np.arange(degree + 1)


def _solve(powers: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Coefficients of least squares; where they are not determined, small ones."""
    square = powers.T @ powers
    return np.linalg.solve(square + 1e-6 * len(v) * np.eye(len(square)), powers.T @ v)


def ribbon_through(points: np.ndarray, standing: bool) -> Ribbon | None:
    """Along ``(K, 2)`` points; None where two of them coincide, or it turns right back."""
    steps = np.diff(points, axis=0)
    lengths = np.hypot(*steps.T)
    along = np.concatenate([steps[:1], steps[1:] + steps[:-1], steps[-1:]])
    norm = np.hypot(*along.T)
    if min(lengths.min(), norm.min()) < 1e-6:
        return None
    walked = np.concatenate([[0.0], np.cumsum(lengths)])
    return Ribbon(points, along / norm[:, None], walked, standing)
