"""Pictures of what validation found: the word or the image, its outline, characters, the fault."""

from __future__ import annotations

import cv2
import numpy as np

from mmtextplug.datasets.findings import Finding
from mmtextplug.visualization.draw import CHAR_COLOUR, WORD_COLOUR, draw_chars, draw_words
from mmtextplug.visualization.lettering import write_line
from mmtextplug.visualization.sheet import column, framed

FIRST_COLOUR = (60, 60, 255)
"""Of the first point of an outline (BGR), so that its order can be seen."""

_SIDE = 640  # pixels of the longer side of a picture
_OUTSIDE = (160, 160, 160)  # what lies outside of the image
_TITLE_PX = 14


def draw_finding(finding: Finding) -> np.ndarray | None:
    """A finding as a picture, ``(H, W, 3)`` uint8 BGR; None if the image cannot be read.

    Outlines are green, with a red first point and a red line towards the second; characters are
    blue, with a dot in the first and a line through all; what lies outside of the image is grey.
    """
    drawing = finding.drawing
    if drawing is None:
        return None
    flags = (
        cv2.IMREAD_COLOR if drawing.upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    image = cv2.imread(drawing.path, flags)
    if image is None:
        return None
    outlines = [points for raw in drawing.outlines if (points := _points(raw)) is not None]
    chars = [quads for raw in drawing.chars if (quads := _quads(raw)) is not None]
    low, high = _window(image.shape[:2], outlines if drawing.close else [])
    scale = float(np.clip(_SIDE / (high - low).max(), 1e-3, 8))
    size = np.maximum(np.ceil((high - low) * scale), 1).astype(int)
    # Pixel centres have integer coordinates.
    shift = -(low + 0.5) * scale + 0.5 * scale
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shown = cv2.warpAffine(image, matrix, size.tolist(), flags=flags, borderValue=_OUTSIDE)
    outlines = [outline * scale + shift for outline in outlines]
    shown = draw_chars(shown, [quads * scale + shift for quads in chars], CHAR_COLOUR, 1)
    shown = draw_words(shown, outlines, WORD_COLOUR, thickness=2)
    if drawing.close:
        for outline in outlines:
            _mark_start(shown, outline)
        for quads in chars:
            _mark_order(shown, quads.mean(1) * scale + shift)
    lines = [finding.kind, finding.where, finding.image, finding.detail]
    titles = [write_line(line, _TITLE_PX, max_width=max(size[0], 480)) for line in lines if line]
    return framed(column([*titles, shown], gap=2), 8)


def _points(raw: object) -> np.ndarray | None:
    """What can be drawn of an outline: its finite points."""
    try:
        flat = np.asarray(raw, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        return None
    points = flat[: len(flat) // 2 * 2].reshape(-1, 2)
    points = points[(np.abs(points) < 1e6).all(1)]
    return points if len(points) else None


def _quads(raw: object) -> np.ndarray | None:
    try:
        quads = np.asarray(raw, np.float64).reshape(-1, 4, 2)
    except (TypeError, ValueError, OverflowError):
        return None
    return quads[(np.abs(quads) < 1e6).all((1, 2))]


def _window(size: tuple[int, int], outlines: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What to show: the outlines and something around them; of far ones the image as well."""
    whole = np.array([size[1], size[0]], np.float64)
    if not outlines:
        return np.zeros(2), whole
    points = np.concatenate(outlines)
    low, high = points.min(0), points.max(0)
    margin = max(30.0, 0.5 * (high - low).max())
    low, high = low - margin, high + margin
    if (high <= 0).any() or (low >= whole).any():
        low, high = np.minimum(low, 0), np.maximum(high, whole)
    return np.maximum(low, -2 * whole), np.minimum(high, 3 * whole)


def _mark_start(picture: np.ndarray, outline: np.ndarray) -> None:
    first = np.clip(outline[0], -1e5, 1e5)
    towards = np.clip(outline[min(1, len(outline) - 1)], -1e5, 1e5)
    middle = (first + towards) / 2
    start, stop = (tuple(np.rint(p).astype(int).tolist()) for p in (first, middle))
    cv2.line(picture, start, stop, FIRST_COLOUR, 2, cv2.LINE_AA)
    cv2.circle(picture, start, 5, FIRST_COLOUR, -1, cv2.LINE_AA)


def _mark_order(picture: np.ndarray, centres: np.ndarray) -> None:
    points = np.rint(np.clip(centres, -1e5, 1e5)).astype(np.int32)
    cv2.polylines(picture, [points], False, CHAR_COLOUR, 1, cv2.LINE_AA)
    for point in points[:1]:
        cv2.circle(picture, point.tolist(), 4, CHAR_COLOUR, -1, cv2.LINE_AA)
