"""Things in a generated picture that are not text: large shapes behind it, symbols beside it."""

from __future__ import annotations

import cv2
import numpy as np

from .backgrounds import random_colour

_SHIFT = 4  # OpenCV draws at 1/16 px


def _colour(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(random_colour(rng).tolist())


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points, float) * (1 << _SHIFT)).astype(np.int32)


def _fill(image: np.ndarray, points: np.ndarray, colour: tuple[float, ...]) -> None:
    cv2.fillPoly(image, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)


def _stroke(
    image: np.ndarray, points: np.ndarray, colour: tuple[float, ...], width: int, closed: bool
) -> None:
    cv2.polylines(image, [_fixed(points)], closed, colour, width, cv2.LINE_AA, _SHIFT)


def draw_shapes(image: np.ndarray, rng: np.random.Generator, count: int) -> None:
    """Draw ``count`` large shapes in place: panels, discs, polygons and long lines."""
    h, w = image.shape[:2]
    span = np.array([w, h], float)
    for _ in range(count):
        centre, kind, colour = rng.random(2) * span, rng.integers(5), _colour(rng)
        radius = rng.uniform(0.1, 0.4) * span.min()
        if kind <= 1:
            half = radius * rng.uniform(0.4, 1.6, 2)
            angle = rng.choice([0.0, rng.uniform(-0.8, 0.8)])
            c, s = np.cos(angle), np.sin(angle)
            corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
            _panel(image, rng, centre + corners @ np.array([(c, s), (-s, c)]), colour)
        elif kind == 2:
            angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            axes = radius * rng.uniform(0.5, 1.2, 2)
            _panel(
                image, rng, centre + np.stack([np.cos(angles), np.sin(angles)], 1) * axes, colour
            )
        elif kind == 3:
            angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            _panel(
                image, rng, centre + radius * np.stack([np.cos(angles), np.sin(angles)], 1), colour
            )
        else:
            ends = rng.uniform(-0.2, 1.2, (int(rng.integers(2, 4)), 2)) * span
            _stroke(image, ends, colour, int(rng.integers(1, 6)), False)


def _panel(
    image: np.ndarray, rng: np.random.Generator, points: np.ndarray, colour: tuple[float, ...]
) -> None:
    if rng.random() < 0.7:
        _fill(image, points, colour)
    if rng.random() < 0.5:
        _stroke(image, points, _colour(rng), int(rng.integers(1, 5)), True)


def _bars(image, rng, box, colour):
    """A barcode: upright or lying bars of several widths."""
    x0, y0, x1, y1 = box
    upright = rng.random() < 0.6
    at, end = (x0, x1) if upright else (y0, y1)
    while at < end:
        width = rng.uniform(1, 5)
        stop = min(at + width, end)
        span = (at, y0, stop, y1) if upright else (x0, at, x1, stop)
        _fill(image, np.array(span)[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2), colour)
        at += width + rng.uniform(1.5, 6)


def _grid(image, rng, box, colour):
    """Window panes: lines across and down."""
    x0, y0, x1, y1 = box
    width = int(rng.integers(1, 3))
    for x in np.linspace(x0, x1, int(rng.integers(3, 7))):
        _stroke(image, np.array([(x, y0), (x, y1)]), colour, width, False)
    for y in np.linspace(y0, y1, int(rng.integers(3, 7))):
        _stroke(image, np.array([(x0, y), (x1, y)]), colour, width, False)


def _tiles(image, rng, box, colour):
    """A patch of a chessboard."""
    x0, y0, x1, y1 = box
    n, m = (int(v) for v in rng.integers(3, 7, 2))
    xs, ys = np.linspace(x0, x1, n + 1), np.linspace(y0, y1, m + 1)
    for i in range(n):
        for j in range(i % 2, m, 2):
            a, b, c, d = xs[i], ys[j], xs[i + 1], ys[j + 1]
            _fill(image, np.array([(a, b), (c, b), (c, d), (a, d)]), colour)


def _star(image, rng, box, colour):
    """A star or a flower of 5 to 12 points."""
    n = 2 * int(rng.integers(5, 13))
    angles = np.arange(n) * 2 * np.pi / n + rng.uniform(0, 1)
    radii = np.where(np.arange(n) % 2, rng.uniform(0.3, 0.7), 1.0)
    _fill(
        image, _in_box(box, np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]), colour
    )


def _arrow(image, rng, box, colour):
    """A block arrow in one of eight directions."""
    t, head = rng.uniform(0.15, 0.35), rng.uniform(-0.1, 0.5)
    points = np.array([(-1, -t), (head, -t), (head, -0.8), (1, 0), (head, 0.8), (head, t), (-1, t)])
    angle = int(rng.integers(8)) * np.pi / 4
    c, s = np.cos(angle), np.sin(angle)
    _fill(image, _in_box(box, points @ np.array([(c, s), (-s, c)]) * 0.8), colour)


def _dashes(image, rng, box, colour):
    """A dashed or dotted straight line."""
    x0, y0, x1, y1 = box
    start, end = np.array([x0, rng.uniform(y0, y1)]), np.array([x1, rng.uniform(y0, y1)])
    n, width = int(rng.integers(4, 10)), int(rng.integers(1, 5))
    for i in range(n):
        a, b = start + (end - start) * i / n, start + (end - start) * (i + 0.55) / n
        _stroke(image, np.stack([a, b]), colour, width, False)


def _scribble(image, rng, box, colour):
    """A zigzag or a chart's curve."""
    x = np.linspace(-1, 1, int(rng.integers(5, 12)))
    points = np.stack([x, rng.uniform(-1, 1, len(x))], 1)
    _stroke(image, _in_box(box, points), colour, int(rng.integers(1, 4)), False)


def _blobs(image, rng, box, colour):
    """Pebbles: a heap of filled ellipses."""
    x0, y0, x1, y1 = box
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1)
    radius = max(min(x1 - x0, y1 - y0) / 6, 1.5)
    for _ in range(int(rng.integers(3, 12))):
        axes = radius * rng.uniform(0.4, 1.0, 2)
        low, high = np.array([x0, y0]) + axes, np.array([x1, y1]) - axes
        _fill(image, rng.uniform(low, np.maximum(high, low)) + ring * axes, colour)


def _in_box(box, points: np.ndarray) -> np.ndarray:
    """Stretch points of [-1, 1]^2 over a box."""
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2]) + points * [(x1 - x0) / 2, (y1 - y0) / 2]


_SYMBOLS = (_bars, _grid, _tiles, _star, _arrow, _dashes, _scribble, _blobs)


def draw_symbols(
    image: np.ndarray, taken: np.ndarray, cell: int, rng: np.random.Generator, count: int
) -> None:
    """Draw up to ``count`` symbols in place where ``taken`` is zero.

    They are of the size of words and characters and none of them is a letter: bars, grids, tiles,
    stars, arrows, dashes, zigzags, pebbles.

    Args:
        image: ``(H, W, 3)`` BGR uint8.
        taken: ``(H // cell, W // cell)`` uint8, non-zero where a cell of ``cell`` pixels a side is
            in use; grows by what is drawn.
        cell: see ``taken``.
        rng: source of chance.
        count: symbols to try.
    """
    h, w = image.shape[:2]
    for _ in range(count):
        wide, tall = rng.uniform(0.06, 0.25, 2) * min(h, w)
        wide *= rng.choice([1.0, 2.0])
        wide, tall = min(max(wide, 8.0), w - 8.0), min(max(tall, 8.0), h - 8.0)
        symbol = _SYMBOLS[int(rng.integers(len(_SYMBOLS)))]
        colour = _colour(rng)
        for _ in range(4):
            x0, y0 = rng.uniform(4, w - 4 - wide + 1e-3), rng.uniform(4, h - 4 - tall + 1e-3)
            rows = slice(int(y0 - 3) // cell, int(y0 + tall + 3) // cell + 1)
            columns = slice(int(x0 - 3) // cell, int(x0 + wide + 3) // cell + 1)
            if not taken[rows, columns].any():
                symbol(image, rng, (x0, y0, x0 + wide, y0 + tall), colour)
                taken[rows, columns] = 1
                break
