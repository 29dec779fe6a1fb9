"""Checks of one annotated word: what may be trained on, and what is wrong with the rest."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mmtextplug.datasets.graphemes import visible_length

# Texts by which datasets mark words that nobody can read, whatever their ``ignore`` says.
ILLEGIBLE = ("###", "*", "")


@dataclass(frozen=True)
class Word:
    """One annotated word.

    Attributes:
        polygon (np.ndarray): ``(K, 2)`` float32, pixels.
        text (str | None): None where the dataset has no texts.
        ignored (bool): Not to be trained on or judged by.
        chars (np.ndarray | None): ``(n, 4, 2)`` float32 in reading order, None if unknown.
        confidence (float): In [0, 1]: how far ``chars`` are to be believed.
    """

    polygon: np.ndarray
    text: str | None
    ignored: bool
    chars: np.ndarray | None
    confidence: float = 1.0


def read_word(instance: dict, size: tuple[int, int] | None = None) -> tuple[Word | None, str]:
    """Read and check one entry of ``instances`` of an annotation file.

    Besides words with a true ``ignore``, those whose text is ``'###'``, ``'*'`` or empty are
    ignored even where ``ignore`` is false: datasets mark illegible words so. A word that has no
    text at all (none is known) is not ignored.

    Args:
        instance (dict): ``polygon`` (flat list of 2k numbers) or ``bbox`` (x1, y1, x2, y2);
            optionally ``ignore``, ``text`` and ``chars`` (lists of 8 numbers each).
        size (tuple[int, int], optional): (height, width) of the image.

    Returns:
        tuple: The word, or None if its outline is of no use; and what is wrong, '' if nothing. A
        word whose characters are of no use is returned without them; one whose outline crosses
        itself so that it has no area, as that of a rectangle with two corners exchanged, is
        ignored.
    """
    try:
        polygon = _outline(instance)
    except (TypeError, ValueError, KeyError, OverflowError):
        return None, "polygon and bbox are no lists of numbers"
    if polygon.size % 2:
        return None, "polygon has an odd number of coordinates"
    polygon = polygon.reshape(-1, 2)
    if len(polygon) < 3:
        return None, "polygon has fewer than 3 points"
    if not np.isfinite(polygon).all():
        return None, "polygon has a NaN or infinite coordinate"
    x, y = polygon.astype(np.float64).T
    twice = x[:-1].dot(y[1:]) - y[:-1].dot(x[1:]) + x[-1] * y[0] - y[-1] * x[0]
    no_area = abs(twice) < 2e-3
    if no_area and not _spreads(polygon):
        return None, "polygon has no area"
    if size is not None and (
        x.max() <= 0 or y.max() <= 0 or x.min() >= size[1] or y.min() >= size[0]
    ):
        return None, "polygon is outside of the image"
    if no_area:
        # A quad with two corners exchanged: there is text, and nobody can say where.
        return Word(polygon, None, True, None), "polygon crosses itself and has no area; ignored"
    text = instance.get("text")
    fault = "" if text is None or isinstance(text, str) else "text is no string"
    text = None if fault else text
    if instance.get("ignore", False) or text in ILLEGIBLE:
        return Word(polygon, text, True, None), ""
    chars, char_fault = _characters(instance, text, size)
    return Word(polygon, text, False, chars), fault or char_fault


def _outline(instance: dict) -> np.ndarray:
    if instance.get("polygon") is not None:
        return np.asarray(instance["polygon"], dtype=np.float32).reshape(-1)
    left, top, right, bottom = (float(v) for v in instance["bbox"])
    corners = [left, top, right, top, right, bottom, left, bottom]
    return np.array(corners, dtype=np.float32)


def _spreads(polygon: np.ndarray) -> bool:
    """Whether points do not lie on a line."""
    points = polygon - polygon[0]
    return cv2.contourArea(cv2.convexHull(points)) > 1e-3


def _characters(
    instance: dict, text: str | None, size: tuple[int, int] | None
) -> tuple[np.ndarray | None, str]:
    if instance.get("chars") is None:
        return None, ""
    try:
        chars = np.asarray(instance["chars"], dtype=np.float32).reshape(-1, 4, 2)
    except (TypeError, ValueError, OverflowError):
        return None, "chars is no list of 8-number quads"
    if not np.isfinite(chars).all():
        return None, "chars have a NaN or infinite coordinate"
    if text is not None and len(chars) != visible_length(text):
        return None, "number of chars differs from the visible characters of the text"
    # As `geometry.convex_quads`, in NumPy: this runs for every word of every sample.
    edges = chars[:, [1, 2, 3, 0]] - chars
    turned = edges[:, [1, 2, 3, 0]]
    if (edges[..., 0] * turned[..., 1] - edges[..., 1] * turned[..., 0] <= 0).any():
        return None, "chars have a quad without area or with crossed or reversed corners"
    if size is not None:
        low, high = chars.min(1), chars.max(1)
        if ((high <= 0) | (low >= [size[1], size[0]])).any(1).all() and len(chars):
            return None, "chars are outside of the image"
    return chars, ""
