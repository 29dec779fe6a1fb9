"""From one rectified word's region score to its characters: the watershed of the CRAFT paper.

Pure NumPy and OpenCV, on the CPU; reading runs from left to right. `mmtextplug.craft.page_chars`
finds the characters of the words of a page with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mmtextplug.compiled import compiled
from mmtextplug.craft.flood import flood
from mmtextplug.craft.gaussian import SIGMA
from mmtextplug.craft.grouping import as_score_map

FOREGROUND, BACKGROUND = 0.75, 0.05
"""Scores above the first are the heart of a character, scores not above the second belong to none.
Chosen with the official weights on real character boxes (half of the photos of ICDAR 2003)."""

_STEP = 0.01
_EDGE = math.exp(-0.5 / SIGMA**2)
# The first and last characters reach to the word's ends if these are within half their widths.
_END_REACH = 0.5
# Basins lean over each other; boxes that would share more of the narrower one meet in the middle.
_SHARED = 0.25


@dataclass(frozen=True)
class Split:
    """The characters of a rectified word.

    Attributes:
        quads (np.ndarray): ``(n, 4, 2)`` float32, see `split_characters`.
        confidence (float): `word_confidence` of what was found before the length was used; 0.5
            where the word was cut into equal parts instead; 1 if the length is unknown.
        found (int): Number of characters seen with the thresholds given, without the length.
        equal (bool): Whether the word was cut into equal parts.
        threshold (float): Above which the hearts of the characters were seen, in the end.
    """

    quads: np.ndarray
    confidence: float
    found: int
    equal: bool
    threshold: float


def split_characters(
    region: np.ndarray,
    *,
    length: int | None = None,
    foreground: float = FOREGROUND,
    background: float = BACKGROUND,
) -> np.ndarray:
    """The quads of `split_word`: ``(n, 4, 2)`` float32 (x, y), clockwise from top left, in order.

    The crop reaches from -0.5 to ``w - 0.5`` and ``h - 0.5``: centres of pixels have whole numbers.
    """
    places = None if length is None else [True] * _checked(length)
    return split_word(region, places, foreground=foreground, background=background).quads


def split_word(
    region: np.ndarray,
    places: Sequence[bool] | None = None,
    *,
    foreground: float = FOREGROUND,
    background: float = BACKGROUND,
) -> Split:
    """Split a rectified word into characters by a watershed on its region score.

    Each 8-connected area above ``foreground`` is the seed of a character, which grows downhill
    until it meets another or the score falls to ``background``. Where the length is known and
    another number of seeds is found, the threshold of the seeds moves up or down, as little as it
    must, to where their number is right; if it is so nowhere, what was found stays.

    The box of a character ends where its score has fallen to the share of its peak at which a
    Gaussian of the label transform has its box, or where it meets its neighbour before. Up and down
    it spans the whole crop, as in an equal split, because the height of a word is known better from
    its box than from the blurred score of each character.

    Args:
        region (np.ndarray): ``(h, w)`` region score, the word read from left to right. NaN and
            infinities count as 0.
        places (Sequence[bool], optional): The places of the word's text, False for a space (see
            `mmtextplug.datasets.graphemes.slots`). If the number of characters found agrees so
            badly with it that `word_confidence` is below 0.5, the crop is cut into as many equal
            places instead. None: unknown, what is found counts.
        foreground (float): Scores above it are the heart of a character.
        background (float): Scores not above it belong to no character. Boxes end earlier, where
            the Gaussian's do, at a quarter of the peak; a background above that cuts them short.

    Raises:
        ValueError: The map is not two-dimensional, or not ``0 <= background <= foreground < 1``.

    Source: Baek et al., Character Region Awareness for Text Detection, CVPR 2019, section 3.2.2.
    """
    region = as_score_map(region, "region")
    if not 0 <= background <= foreground < 1:
        raise ValueError(f"need 0 <= background={background} <= foreground={foreground} < 1")
    height, width = region.shape
    length = None if places is None else sum(places)
    count, seeds = hearts(region, foreground)
    confidence = 1.0 if length is None else word_confidence(length, count)
    equal = confidence < 0.5
    if equal:
        spans = _equal_spans(width, places)
        confidence = 0.5 if length else 0.0
    else:
        if length is not None and count != length:
            foreground = _fitting_threshold(region, length, foreground, background)
            _, seeds = hearts(region, foreground)
        spans = seed_spans(region, seeds, background, int(seeds.max(initial=0)))
    if not region.size:
        spans = np.zeros((0, 2))
    return Split(span_quads(spans, height), confidence, count, equal, float(foreground))


def word_confidence(length: int, found: int) -> float:
    """How far the number of characters found can be trusted, in [0, 1].

    ``(l - min(l, |l - found|)) / l`` (CRAFT paper, section 3.2.2, equation 1); 0 for ``l = 0``.

    Args:
        length: Number of visible characters of the word.
        found: Number of characters that were found.
    """
    return (length - min(length, abs(length - found))) / length if length > 0 else 0.0


def _checked(length: int) -> int:
    if length < 0:
        raise ValueError(f"length must not be negative, got {length}")
    return length


def hearts(region: np.ndarray, threshold: float) -> tuple[int, np.ndarray]:
    """Number of 8-connected areas above a threshold, and their labels ``(h, w)`` int32."""
    if not region.size:
        return 0, np.zeros(region.shape, np.int32)
    count, seeds = cv2.connectedComponents((region > threshold).view(np.uint8), connectivity=8)
    return count - 1, seeds


def _fitting_threshold(
    region: np.ndarray, length: int, foreground: float, background: float
) -> float:
    """The threshold nearest to the given one that gives ``length`` hearts; else the given one."""
    steps = np.arange(1, 1 + round(1 / _STEP)) * _STEP
    ladder = np.stack([foreground + steps, foreground - steps], axis=1).ravel()
    for threshold in ladder[(ladder > background) & (ladder < 1)]:
        if hearts(region, threshold)[0] == length:
            return float(threshold)
    return foreground


def _equal_spans(width: int, places: Sequence[bool]) -> np.ndarray:
    cuts = np.linspace(0, width, len(places) + 1)
    return np.stack([cuts[:-1], cuts[1:]], axis=1)[np.array(places, bool)]


def span_quads(spans: np.ndarray, height: int) -> np.ndarray:
    """Quads ``(n, 4, 2)`` float32 as high as the crop from the spans ``(n, 2)`` of `seed_spans`."""
    quads = np.empty((len(spans), 4, 2), np.float32)
    quads[:, [0, 3], 0], quads[:, [1, 2], 0] = spans[:, :1] - 0.5, spans[:, 1:] - 0.5
    quads[:, :2, 1], quads[:, 2:, 1] = -0.5, height - 0.5
    return quads


def seed_spans(region: np.ndarray, seeds: np.ndarray, background: float, count: int) -> np.ndarray:
    """First column and the one after the last of each character, ``(n, 2)``, left to right.

    Args:
        region: ``(h, w)`` float32, finite.
        seeds: ``(h, w)`` int32, labels from 1. Those above ``count`` are no characters of the word;
            they keep the others out of their basins.
        background, count: See `split_word`; number of characters.
    """
    width = region.shape[1]
    if not count:
        return np.zeros((0, 2))
    labels = flood(region, seeds, background)
    labels[labels > count] = 0
    profiles = np.zeros((count, width), np.float32)
    compiled(_profiles)(labels, region, profiles)
    # A Gaussian of the label transform falls to `_EDGE` of its peak at the edge of its box.
    covered = profiles >= _EDGE * profiles.max(axis=1, keepdims=True)
    start, stop = covered.argmax(1).astype(float), width - covered[:, ::-1].argmax(1).astype(float)
    order = np.argsort(start + stop, kind="stable")
    start, stop, centre = start[order], stop[order], profiles.argmax(1)[order] + 0.5
    middle, shared = (stop[:-1] + start[1:]) / 2, stop[:-1] - start[1:]
    narrower = np.minimum(stop[:-1] - start[:-1], stop[1:] - start[1:])
    cut = (shared > _SHARED * narrower) & (centre[:-1] < middle) & (middle < centre[1:])
    stop[:-1][cut] = start[1:][cut] = middle[cut]
    if start[0] <= _END_REACH * (stop[0] - start[0]):
        start[0] = 0
    if width - stop[-1] <= _END_REACH * (stop[-1] - start[-1]):
        stop[-1] = width
    spans = np.stack([start, stop], axis=1)
    return spans[np.argsort(spans.sum(axis=1), kind="stable")]


def _profiles(labels, region, profiles):  # pragma: no cover
    """The highest score of each label in each column, ``(n, w)``."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            char = labels[y, x] - 1
            if char >= 0 and region[y, x] > profiles[char, x]:
                profiles[char, x] = region[y, x]
