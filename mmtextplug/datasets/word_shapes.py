"""Words as shapes: set lines of glyphs tilted, foreshortened or bent into the picture.

A shape carries, for each glyph, its ink and the homography that takes the pixels of that ink to the
image; character quads are the glyph boxes under the very same homography, so they are exact. Pixel
centres have integer coordinates, as in OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .typesetting import SetWord, line_extent


@dataclass(frozen=True, eq=False)
class WordShape:
    """A word in the image: ``polygon (k, 2)`` and ``chars (n, 4, 2)``, float64, in pixels."""

    text: str
    polygon: np.ndarray
    chars: np.ndarray


@dataclass(frozen=True, eq=False)
class LineShape:
    """A line (or column) of words in the image.

    Attributes:
        words: polygons and character quads.
        inks: a ``(h, w)`` uint8 bitmap per glyph.
        matrices: ``(n, 3, 3)``; each takes ``(x, y, 1)`` of an ink to the image.
        hull: whether the convex hull of the words is a fair outline (not for a bent line).
    """

    words: tuple[WordShape, ...]
    inks: tuple[np.ndarray, ...]
    matrices: np.ndarray
    hull: bool

    def bounds(self) -> np.ndarray:
        """``x0, y0, x1, y1`` of all polygons."""
        points = np.concatenate([word.polygon for word in self.words])
        return np.concatenate([points.min(0), points.max(0)])

    def mapped(self, matrix: np.ndarray) -> LineShape:
        """The shape under one more ``(3, 3)`` homography."""
        parts = [part for w in self.words for part in (w.polygon, w.chars.reshape(-1, 2))]
        points = apply_homography(matrix, np.concatenate(parts))
        words, start = [], 0
        for word in self.words:
            middle = start + len(word.polygon)
            stop = middle + 4 * len(word.chars)
            chars = points[middle:stop].reshape(-1, 4, 2)
            words.append(WordShape(word.text, points[start:middle], chars))
            start = stop
        return LineShape(tuple(words), self.inks, matrix @ self.matrices, self.hull)


def apply_homography(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map ``(..., 2)`` points by a ``(3, 3)`` homography."""
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return homogeneous[..., :2] / homogeneous[..., 2:]


def translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1.0, y], [0, 0, 1.0]])


def scaling(x: float, y: float) -> np.ndarray:
    return np.diag([x, y, 1.0])


def rotation(angle: float) -> np.ndarray:
    """Rotate by ``angle`` radians, clockwise on the screen (y points down)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def foreshortening(yaw: float, pitch: float, distance: float) -> np.ndarray:
    """A plane turned about its vertical and horizontal axes, seen from ``distance`` pixels.

    Args:
        yaw, pitch: angles in radians, within +-pi/2.
        distance: of the pinhole from the plane's origin; more than the plane's half extent.
    """
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[cy, 0, 0], [sy * sp, cp, 0], [-sy * cp / distance, sp / distance, 1.0]])


def _corners(boxes: np.ndarray) -> np.ndarray:
    """``(n, 4)`` boxes to ``(n, 4, 2)`` corners, clockwise from top-left."""
    return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)


def _identities(count: int) -> np.ndarray:
    matrices = np.zeros((count, 3, 3))
    matrices[:, [0, 1, 2], [0, 1, 2]] = 1
    return matrices


def _to_line(line: list[SetWord]) -> np.ndarray:
    """``(n, 3, 3)`` translations from each glyph's ink to the line."""
    matrices = _identities(sum(len(word.glyphs) for word in line))
    matrices[:, :2, 2] = [(g.x, g.y) for word in line for g in word.glyphs]
    return matrices


def flat_shape(line: list[SetWord], matrix: np.ndarray) -> LineShape:
    """Lay a line on a plane: every glyph under one homography, polygons of four points."""
    words = []
    for word in line:
        outline = np.concatenate([word.boxes[:, :2].min(0), word.boxes[:, 2:].max(0)])
        words.append(WordShape(word.text, _corners(outline[None])[0], _corners(word.boxes)))
    inks = tuple(g.ink for word in line for g in word.glyphs)
    return LineShape(tuple(words), inks, _to_line(line), hull=True).mapped(matrix)


def bent_shape(
    line: list[SetWord], scale: tuple[float, float], curvature: float, pivot: float
) -> LineShape:
    """Stand the glyphs of a line, each unbent, along an arc.

    Args:
        line: words set on one baseline.
        scale: pixels of the image per pixel of the line, in x and y.
        curvature: 1 / radius in image pixels; positive arches (centre below), negative sags.
        pivot: the height of the line, in line coordinates, whose length the arc keeps.

    Returns:
        The shape about the origin; polygons have ``n + 1`` points along the top, then ``n + 1``
        back along the bottom.
    """
    extent = line_extent(line)
    middle = (extent[0] + extent[2]) / 2
    flatten = scaling(*scale) @ translation(-middle, -pivot)
    words, stands = [], []
    for word in line:
        boxes = (word.boxes - [middle, pivot, middle, pivot]) * (*scale, *scale)
        centres = (boxes[:, 0] + boxes[:, 2]) / 2
        # Each box turns about the foot of its centre line, which moves onto the arc.
        stand = _identities(len(boxes))
        c, s = np.cos(curvature * centres), np.sin(curvature * centres)
        stand[:, 0, 0], stand[:, 0, 1], stand[:, 1, 0], stand[:, 1, 1] = c, -s, s, c
        foot = np.stack(_arc(curvature, centres, 0.0), 1)
        stand[:, :2, 2] = foot - np.stack([c, s], 1) * centres[:, None]
        chars = np.einsum("nij,nkj->nki", stand[:, :2, :2], _corners(boxes)) + stand[:, None, :2, 2]
        polygon = chars[0] if len(chars) == 1 else _bent_polygon(boxes, centres, curvature)
        words.append(WordShape(word.text, polygon, chars))
        stands.append(stand)
    inks = tuple(g.ink for word in line for g in word.glyphs)
    matrices = np.concatenate(stands) @ flatten @ _to_line(line)
    return LineShape(tuple(words), inks, matrices, hull=False)


def _arc(
    curvature: float, s: np.ndarray, depth: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """The points ``s`` pixels along the arc, ``depth`` pixels below it, as ``x`` and ``y``."""
    sine, cosine = np.sin(curvature * s), np.cos(curvature * s)
    return (1 / curvature - depth) * sine, 1 / curvature + (depth - 1 / curvature) * cosine


def _bent_polygon(boxes: np.ndarray, centres: np.ndarray, curvature: float) -> np.ndarray:
    """A tight outline of glyph boxes that stand on an arc.

    Its corners lie on rays from the arc's centre: one half-way between each two neighbours and one
    at either end. In polar coordinates a straight line is ``1 / r = A cos(angle) + B sin(angle)``,
    so that all there is to compare are values of ``1 / r``, signed as the curvature is: the outline
    takes the smallest along the top and the largest along the bottom.

    Args:
        boxes: ``(n, 4)`` character boxes about the pivot, in image pixels.
        centres: ``(n,)`` their centres along the arc.
        curvature: see :func:`bent_shape`.

    Returns:
        ``(2n + 2, 2)``.
    """
    radius = 1 / curvature
    edges = radius - boxes[0, [1, 3]][:, None]  # top and bottom, signed distance from the centre
    half = (boxes[:, 2] - boxes[:, 0]) / 2
    reach = np.arctan(half / edges) * radius  # of box corners to either side of the box's centre
    low, high = centres - reach, centres + reach
    rays = np.concatenate([[low.min()], (boxes[:-1, 2] + boxes[1:, 0]) / 2, [high.max()]])

    # Where box edges, or for neighbours their prolongations, meet the rays.
    index = np.arange(len(boxes))[:, None]
    beside = (np.arange(len(rays)) - index >= 0) & (np.arange(len(rays)) - index <= 1)
    crossed = (low[..., None] <= rays) & (rays <= high[..., None]) | beside
    inverse = np.cos(curvature * (rays - centres[:, None])) / edges[..., None]
    outer = np.stack(
        [
            np.where(crossed[0], inverse[0], np.inf).min(0),
            np.where(crossed[1], inverse[1], -np.inf).max(0),
        ]
    )
    # Box corners that stand out beyond the straight side of a neighbour push it outwards.
    for side, sign in ((0, 1), (1, -1)):
        at = np.concatenate([low[side], high[side]])
        corner = np.cos(curvature * np.concatenate([reach[side], reach[side]])) / edges[side, 0]
        k = np.clip(np.searchsorted(rays, at, side="right") - 1, 0, len(boxes) - 1)
        span = np.sin(curvature * (rays[k + 1] - rays[k]))
        first = np.sin(curvature * (rays[k + 1] - at)) / span
        last = np.sin(curvature * (at - rays[k])) / span
        excess = sign * (first * outer[side, k] + last * outer[side, k + 1] - corner)
        push = np.zeros(len(rays))
        np.maximum.at(push, k, excess / (first + last))
        np.maximum.at(push, k + 1, excess / (first + last))
        outer[side] -= sign * push
    upper = np.stack(_arc(curvature, rays, radius - 1 / outer[0]), 1)
    lower = np.stack(_arc(curvature, rays, radius - 1 / outer[1]), 1)
    return np.concatenate([upper, lower[::-1]])


def draw_glyphs(
    inks: tuple[np.ndarray, ...],
    matrices: np.ndarray,
    origin: tuple[int, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Draw glyphs as a coverage map.

    Args:
        inks: bitmaps, as in :class:`LineShape`.
        matrices: ``(n, 3, 3)``, as in :class:`LineShape`.
        origin: image coordinates ``(x, y)`` of the map's first pixel.
        size: ``(h, w)`` of the map.

    Returns:
        ``(h, w)`` uint8; where glyphs meet, the larger coverage.
    """
    coverage = np.zeros(size, np.uint8)
    if not inks:
        return coverage
    reach = np.array([(-1, -1, w, h) for h, w in (ink.shape for ink in inks)], float)
    points = np.concatenate([_corners(reach), np.ones((len(inks), 4, 1))], 2)
    points = points @ matrices.transpose(0, 2, 1)
    points = points[..., :2] / points[..., 2:] - origin
    low = np.maximum(np.floor(points.min(1)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(1)).astype(int) + 1, size[::-1])
    shift = _identities(len(inks))
    shift[:, :2, 2] = -low - np.asarray(origin)
    local = shift @ matrices
    for ink, matrix, (x0, y0), (x1, y1) in zip(
        inks, local, low.tolist(), high.tolist(), strict=True
    ):
        if x0 < x1 and y0 < y1:
            drawn = cv2.warpPerspective(ink, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
            part = coverage[y0:y1, x0:x1]
            np.maximum(part, drawn, out=part)
    return coverage
