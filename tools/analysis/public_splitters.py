"""How public CRAFT trainers split a word into characters: what `evaluate_char_split.py` compares.

Each function restates, from a description and not from code, the steps of one program with its own
constants, faults included. All take what a rectified word looks like and return its characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from skimage.segmentation import watershed

from mmtextplug.craft.char_split import word_confidence


@dataclass(frozen=True)
class WordView:
    """A rectified word.

    Attributes:
        region (np.ndarray): ``(h, w)`` float32 region score.
        colours (np.ndarray): ``(H, W, 3)`` uint8, the word's pixels, twice as many as of the score.
        places (list[bool]): Of its text, False for a space.
    """

    region: np.ndarray
    colours: np.ndarray
    places: list[bool]


@dataclass(frozen=True)
class Boxes:
    """Characters of a word in reading order.

    Attributes:
        quads (np.ndarray): ``(n, 4, 2)`` (x, y) in pixels of a crop, whose centres have whole
            numbers.
        size (tuple[int, int]): (width, height) of that crop.
        equal (bool): Whether the word was cut into equal parts.
    """

    quads: np.ndarray
    size: tuple[int, int]
    equal: bool = False


def equal_parts(view: WordView) -> Boxes:
    """As many parts as the text has places, of the crop's height, none for spaces.

    The trainer ``brooklyn1900/CRAFT_pytorch`` runs a watershed too, but labels with these.
    """
    height, width = view.region.shape
    edges = np.linspace(-0.5, width - 0.5, len(view.places) + 1)
    spans = np.stack([edges[:-1], edges[1:]], 1)[np.array(view.places, bool)]
    return Boxes(_full_height(spans, height), (width, height), equal=True)


def easyocr_trainer(view: WordView, stretch: bool = False) -> Boxes:
    """The trainer in EasyOCR: watershed of the score from fixed thresholds, without a mask.

    Args:
        view (WordView): A word; the trainer rectifies to a height of 128 pixels.
        stretch (bool): Boxes get the height of the word instead of their basin's.
    """
    score = _bytes(view.region) / np.float32(255)
    heart, nothing = score > 0.75, score < 0.05
    _, markers = cv2.connectedComponents(heart.view(np.uint8), connectivity=8)
    markers += 1
    markers[~heart & ~nothing] = 0
    labels = watershed(-score, markers)
    spans = [_extent(labels == label) for label in range(2, labels.max(initial=1) + 1)]
    return _checked(view, [_box(*low, *high) for low, high in spans], view.region.shape, stretch)


def backtime_trainer(view: WordView, stretch: bool = False) -> Boxes:
    """``backtime92/CRAFT-Reimplementation``: OpenCV's watershed on the photo, not on the score.

    Args:
        view (WordView): A word; the trainer rectifies to a height of 64 pixels.
        stretch (bool): Boxes get the height of the word instead of their own.
    """
    height, width = view.colours.shape[:2]
    score = cv2.resize(_bytes(view.region), (width, height))
    peak = int(score.max())
    heart = (score > 0.6 * peak).astype(np.uint8)
    text = (score > 0.2 * peak).astype(np.uint8)
    text = cv2.morphologyEx(text, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8), iterations=2)
    _, markers = cv2.connectedComponents(heart, connectivity=4)
    markers += 1
    markers[(text == 1) & (heart == 0)] = 0
    labels = cv2.watershed(np.ascontiguousarray(view.colours), markers)
    quads = []
    for label in range(2, labels.max(initial=1) + 1):
        rows, columns = np.nonzero(labels == label)
        if len(rows) < 10:
            continue
        quad = cv2.boxPoints(cv2.minAreaRect(np.stack([columns, rows], 1).astype(np.float32)))
        if quad.mean() > 2:
            quads.append(np.roll(quad, -int(quad.sum(1).argmin()), axis=0))
    return _checked(view, quads, (height, width), stretch)


def author_thresholds(view: WordView) -> Boxes:
    """The thresholds named by the author of CRAFT, on the score, inside a mask, at full height."""
    region = view.region
    _, seeds = cv2.connectedComponents((region > 0.6).view(np.uint8), connectivity=8)
    labels = watershed(-region, seeds, mask=region > 0.2)
    found = labels.max(initial=0)
    if word_confidence(len(view.places), int(found)) < 0.5:
        return equal_parts(view)
    spans = [_extent(labels == label) for label in range(1, found + 1)]
    edges = np.array([(low[0] - 0.5, high[0] + 0.5) for low, high in spans]).reshape(-1, 2)
    height, width = region.shape
    return Boxes(_full_height(edges[np.argsort(edges[:, 0])], height), (width, height))


def _bytes(region: np.ndarray) -> np.ndarray:
    return (np.clip(region, 0, 1) * 255).astype(np.uint8)


def _extent(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest (x, y) of a mask's pixels."""
    points = np.argwhere(mask)[:, ::-1]
    return points.min(0), points.max(0)


def _box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _full_height(spans: np.ndarray, height: int) -> np.ndarray:
    quads = [_box(left, -0.5, right, height - 0.5) for left, right in spans]
    return np.array(quads, np.float64).reshape(-1, 4, 2)


def _checked(
    view: WordView, quads: Sequence[np.ndarray], shape: tuple[int, int], stretch: bool
) -> Boxes:
    """Both trainers' end: equal parts up to a confidence of 0.5, else what was found, in order.

    Their count of characters includes spaces.
    """
    height, width = shape
    if word_confidence(len(view.places), len(quads)) <= 0.5:
        return equal_parts(view)
    ordered = np.array(sorted(quads, key=lambda quad: quad[0, 0]), np.float64).reshape(-1, 4, 2)
    if stretch:
        spans = np.stack([ordered[..., 0].min(1), ordered[..., 0].max(1)], 1)
        ordered = _full_height(spans, height)
    return Boxes(ordered, (width, height))
