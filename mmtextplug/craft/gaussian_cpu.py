"""The Gaussians' inner loop for the CPU, compiled by Numba.

On one core a loop that visits each pixel once beats tensor operations, whose intermediate results
leave the cache, by about five times. The GPU has its vectorised form in `gaussian.py`; tests hold
both equal.
"""

from __future__ import annotations

import numpy as np

from mmtextplug.compiled import compiled
from mmtextplug.geometry import Windows

# Squared distance of the cut. A little more than 1: boxes on whole pixels put pixels right on the
# ellipse, and these must be drawn alike in float32 and float64, on every device.
CUT = 1.00001


# Entries of the table of exponentials for each unit of the exponent: interpolated between, it errs
# by 1.2e-7, as float32 does, and is faster than exp.
_PER_UNIT = 1024


def _loop(maps, matrix, centre, plane, slope, table, left, top, width, height):  # pragma: no cover
    for n in range(matrix.shape[0]):
        a, b, c, d, e, f, g, h, i = matrix[n]
        target = maps[plane[n]]
        for row in range(top[n], top[n] + height[n]):
            y = row - centre[n, 1]
            # Everything that a row shares is computed once.
            u0, v0, w0 = b * y + c, e * y + f, h * y + i
            for column in range(left[n], left[n] + width[n]):
                x = column - centre[n, 0]
                w = g * x + w0
                if w <= 0.0:
                    continue
                u, v = a * x + u0, d * x + v0
                squared = (u * u + v * v) / (w * w)
                if squared <= CUT:
                    place = slope * squared
                    entry = int(place)
                    score = table[entry] + (place - entry) * (table[entry + 1] - table[entry])
                    if score > target[row, column]:
                        target[row, column] = score


def draw(
    maps: np.ndarray,
    matrix: np.ndarray,
    centre: np.ndarray,
    plane: np.ndarray,
    factor: float,
    windows: Windows,
) -> None:
    """Merge Gaussians into ``maps`` (B, H, W) by maximum, in place.

    Args:
        maps (np.ndarray): float32.
        matrix (np.ndarray): ``(N, 9)`` float64, pixels about the centre -> square.
        centre (np.ndarray): ``(N, 2)`` float64.
        plane (np.ndarray): ``(N,)`` int64, the map of each quad.
        factor (float): Exponent per squared distance in the square.
        windows (Windows): The pixels to visit.
    """
    slope = -factor * _PER_UNIT
    table = np.exp(-np.arange(int(slope * CUT) + 2) / _PER_UNIT)
    compiled(_loop)(
        maps,
        np.ascontiguousarray(matrix),
        np.ascontiguousarray(centre),
        np.ascontiguousarray(plane),
        slope,
        table,
        windows.left.numpy(),
        windows.top.numpy(),
        windows.width.numpy(),
        windows.height.numpy(),
    )
