"""Pictures laid out on white: rows, columns, titles, a margin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .lettering import write_line

TITLE_PX = 15
"""Em size of titles."""

TITLE_COLOUR = (60, 60, 60)


def titled(title: str, picture: np.ndarray, width: int = 0) -> np.ndarray:
    """A picture ``(H, W, 3)`` under its title, padded to a width."""
    width = max(width, picture.shape[1])
    strip = write_line(title, TITLE_PX, TITLE_COLOUR, width)
    return column([strip, padded(picture, picture.shape[0], width)], gap=0)


def row(pictures: Sequence[np.ndarray], gap: int = 14) -> np.ndarray:
    """Pictures ``(H, W, 3)`` of any heights beside each other, their tops in line."""
    height = max(picture.shape[0] for picture in pictures)
    spaced = [padded(p, height, p.shape[1] + gap) for p in pictures[:-1]]
    return np.concatenate([*spaced, padded(pictures[-1], height, 0)], axis=1)


def column(pictures: Sequence[np.ndarray], gap: int = 14) -> np.ndarray:
    """Pictures ``(H, W, 3)`` of any widths below each other, their left sides in line."""
    width = max(picture.shape[1] for picture in pictures)
    spaced = [padded(p, p.shape[0] + gap, width) for p in pictures[:-1]]
    return np.concatenate([*spaced, padded(pictures[-1], 0, width)])


def padded(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture ``(H, W, 3)`` with white below and right of it, up to a height and a width."""
    room = (max(height - picture.shape[0], 0), max(width - picture.shape[1], 0))
    return np.pad(picture, ((0, room[0]), (0, room[1]), (0, 0)), constant_values=255)


def framed(picture: np.ndarray, margin: int = 16) -> np.ndarray:
    """A picture ``(H, W, 3)`` with a white margin."""
    return np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)
