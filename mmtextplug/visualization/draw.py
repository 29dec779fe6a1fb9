"""Drawing: score maps as colours, words and characters as outlines, pictures side by side.

Pure functions on arrays: images are ``(H, W, 3)`` uint8 in BGR (or ``(H, W)`` grey), coordinates
are (x, y) in pixels of the image, and what is drawn on is always a copy.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

WORD_COLOUR = (80, 255, 0)
CHAR_COLOUR = (255, 160, 0)
"""Colours (BGR) that stand out from photos and from each other."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
# OpenCV draws with fixed-point coordinates of so many fractional bits, in 32 bits altogether.
_SHIFT = 4
_FAR = 2**20


def heat_map(score: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Paint a score map in the colours of the CRAFT paper: blue is 0, red is 1.

    Args:
        score: ``(h, w)`` scores; clipped to [0, 1], NaN counts as 0.
        size: (width, height) to enlarge the scores to; default: their own.

    Returns:
        ``(H, W, 3)`` uint8, BGR.
    """
    score = np.nan_to_num(np.asarray(score, np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    if size is not None and size != score.shape[::-1]:
        score = cv2.resize(score, size, interpolation=cv2.INTER_LINEAR)
    grey = np.rint(np.clip(score, 0, 1) * 255).astype(np.uint8)
    return cv2.applyColorMap(grey, cv2.COLORMAP_JET)


def overlay_score(image: np.ndarray, score: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Lay a score map over the image that it belongs to.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, or grey.
        score: ``(h, w)`` scores of the whole image, at any resolution.
        alpha: Weight of the colours, 0 to 1.

    Returns:
        ``(H, W, 3)`` uint8, BGR.
    """
    image = _as_bgr(image)
    colours = heat_map(score, image.shape[1::-1])
    return cv2.addWeighted(colours, alpha, image, 1 - alpha, 0)


def draw_words(
    image: np.ndarray,
    polygons: Sequence[np.ndarray],
    colour: tuple[int, int, int] = WORD_COLOUR,
    scores: Sequence[float] | None = None,
    thickness: int | None = None,
) -> np.ndarray:
    """Outline words, with their scores if given.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, or grey.
        polygons: ``N`` arrays ``(k, 2)`` or flat ``(2k,)``. Those with a coordinate that is not
            finite are left out.
        colour: BGR.
        scores: ``(N,)``, written at each word's first corner.
        thickness: Of the lines, in pixels; default: by the size of the image, but never so much
            that most words would be hidden under them.

    Returns:
        The picture, ``(H, W, 3)`` uint8, BGR.
    """
    picture = _as_bgr(image).copy()
    outlines = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    thickness = thickness or _thickness(image, outlines)
    _outline(picture, outlines, colour, thickness)
    if scores is not None:
        size = _text_scale(image) * 0.6
        for outline, score in zip(outlines, scores, strict=True):
            if len(outline) and np.isfinite(outline).all():
                x, y = np.clip(outline[0], -_FAR, _FAR).astype(int)
                _write(
                    picture, f"{float(score):.2f}", (x, max(y - 2, int(22 * size))), size, colour
                )
    return picture


def draw_chars(
    image: np.ndarray,
    chars: Sequence[np.ndarray | None],
    colour: tuple[int, int, int] = CHAR_COLOUR,
    thickness: int | None = None,
) -> np.ndarray:
    """Outline characters.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, or grey.
        chars: For each word its characters ``(n, 4, 2)``, or None where they are not known; one
            such array is taken as one word.
        colour: BGR.
        thickness: Of the lines, in pixels; default: half of what words of their size have.

    Returns:
        The picture, ``(H, W, 3)`` uint8, BGR.
    """
    picture = _as_bgr(image).copy()
    if isinstance(chars, np.ndarray) and chars.ndim == 3:
        chars = [chars]
    quads = [
        quad
        for word in chars
        if word is not None
        for quad in np.asarray(word, np.float64).reshape(-1, 4, 2)
    ]
    _outline(picture, quads, colour, thickness or max(1, _thickness(image, quads) // 2))
    return picture


def side_by_side(
    images: Sequence[np.ndarray], titles: Sequence[str] | None = None, gap: int = 4
) -> np.ndarray:
    """Put pictures in a row on white, each brought to the height of the first.

    Args:
        images: ``(H, W, 3)`` uint8 BGR, or grey; at least one.
        titles: One for each, ASCII, written above it.
        gap: White between two pictures, in pixels.

    Returns:
        ``(H', W', 3)`` uint8, BGR.

    Raises:
        ValueError: If there is no image, or another number of titles.
    """
    if not len(images) or (titles is not None and len(titles) != len(images)):
        raise ValueError(
            f"side_by_side: got {len(images)} images and "
            f"{'no' if titles is None else len(titles)} titles: at least one image is needed, and "
            "a title for each or none at all"
        )
    height = images[0].shape[0]
    columns = []
    for index, image in enumerate(images):
        image = _as_bgr(image)
        if image.shape[0] != height:
            width = max(1, round(image.shape[1] * height / image.shape[0]))
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if titles is not None:
            size = _text_scale(images[0])
            strip = np.full((int(34 * size) + 6, image.shape[1], 3), 255, np.uint8)
            text_width = cv2.getTextSize(titles[index], _FONT, size, 1)[0][0]
            size *= min(1.0, 0.96 * image.shape[1] / max(text_width, 1))
            baseline = (int(0.02 * image.shape[1]), int(0.72 * strip.shape[0]))
            cv2.putText(strip, titles[index], baseline, _FONT, size, (0, 0, 0), 1, cv2.LINE_AA)
            image = np.concatenate([strip, image])
        if index:
            columns.append(np.full((image.shape[0], gap, 3), 255, np.uint8))
        columns.append(image)
    return np.concatenate(columns, axis=1)


def line_thickness(image: np.ndarray) -> int:
    """Pixels that a line should have to be seen when the image is fitted to a screen."""
    return max(1, round(max(image.shape[:2]) / 900))


def _thickness(image: np.ndarray, outlines: Sequence[np.ndarray]) -> int:
    """As `line_thickness`, but at most an eighth of the median height of what is outlined."""
    heights = [
        min(cv2.minAreaRect(outline.astype(np.float32))[1])
        for outline in outlines
        if len(outline) > 2 and np.isfinite(outline).all() and np.abs(outline).max() < _FAR
    ]
    most = int(np.median(heights) / 8) if heights else _FAR
    return max(1, min(line_thickness(image), most))


def _text_scale(image: np.ndarray) -> float:
    return float(np.clip(max(image.shape[:2]) / 1600, 0.4, 8.0))


def _as_bgr(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    return image


def _outline(
    picture: np.ndarray, outlines: Sequence[np.ndarray], colour: tuple[int, ...], thickness: int
) -> None:
    points = [
        np.rint(np.clip(outline, -_FAR, _FAR) * (1 << _SHIFT)).astype(np.int32)
        for outline in outlines
        if len(outline) and np.isfinite(outline).all()
    ]
    cv2.polylines(picture, points, True, colour, thickness, cv2.LINE_AA, _SHIFT)


def _write(
    picture: np.ndarray, text: str, where: tuple[int, int], size: float, colour: tuple[int, ...]
) -> None:
    # A dark rim keeps the digits legible on any ground.
    thin = max(1, round(size))
    cv2.putText(picture, text, where, _FONT, size, (0, 0, 0), 3 * thin, cv2.LINE_AA)
    cv2.putText(picture, text, where, _FONT, size, colour, thin, cv2.LINE_AA)
