"""Generated words whose bend and orientation are chosen, with exact outlines, for comparisons.

Lines and columns of stacked characters along arcs, and lines along waves; as the score maps of a
perfect network, or as pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from mmtextplug.craft.targets import WordLabels, draw_score_maps
from mmtextplug.datasets.backgrounds import BACKGROUNDS
from mmtextplug.datasets.fonts import can_write, cap_height
from mmtextplug.datasets.paint import paint_line, photograph
from mmtextplug.datasets.typesetting import (
    SetGlyph,
    SetWord,
    line_extent,
    set_column,
    set_line,
)
from mmtextplug.datasets.vocabulary import random_word
from mmtextplug.datasets.word_shapes import (
    LineShape,
    bent_shape,
    flat_shape,
    rotation,
    scaling,
    translation,
)
from mmtextplug.visualization.draw import heat_map

KINDS = ("line", "column", "wave")
STRIDE = 2
LEAST_RADIUS = 2.0
"""Of a bent word's middle line, in heights of the word."""

LEAST_WAVE_RADIUS = 1.5
"""Likewise of a wave, where its middle line bends most."""

PERIODS = (0.8, 1.3)
"""How many periods of a sine a wavy word has, from any phase on."""

_ROOM = 24

Maps = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """What is chosen about a word: angles in degrees, the height of a capital in pixels.

    A positive bend arches (seen with the word upright), a negative one sags. Of a wave it is the
    amplitude in heights of the word.
    """

    kind: str
    bend: float
    orientation: float
    height: float

    @property
    def cell(self) -> tuple[str, float, float]:
        return self.kind, abs(self.bend), self.orientation


def cases(
    kinds: Sequence[str],
    bends: Sequence[float],
    orientations: Sequence[float],
    heights: Sequence[float],
    words: int,
) -> Iterator[Case]:
    """``words`` cases a cell: bent one way and the other in turn, then the next height."""
    for kind, bend, orientation in product(kinds, bends, orientations):
        for i in range(words):
            sign = -1 if i % 2 else 1
            yield Case(kind, sign * bend, orientation, heights[i // 2 % len(heights)])


def lying(line: list[SetWord]) -> list[SetWord]:
    """A column of type turned anticlockwise by a quarter, so that it can be bent as a line is."""
    turned = []
    for word in line:
        glyphs = tuple(
            SetGlyph(np.rot90(g.ink), g.y, 1 - g.x - g.ink.shape[1]) for g in word.glyphs
        )
        x0, y0, x1, y1 = word.boxes.T
        turned.append(SetWord(word.text, glyphs, np.stack([y0, -x1, y1, -x0], axis=1)))
    return turned


def make_word(case: Case, rng: np.random.Generator, fonts: Sequence[str]) -> LineShape:
    """A random word as the case says, as long as its bend needs it, at `_ROOM` from the origin."""
    font = fonts[int(rng.integers(len(fonts)))]
    px, wave = 16, case.kind == "wave"
    while cap_height(font, px) < case.height:
        px = int(px * 1.5)
    scale = case.height / cap_height(font, px)
    bend, text = case.bend if wave else math.radians(case.bend), ""
    periods, phase = (rng.uniform(*PERIODS), rng.uniform(0, 2 * math.pi)) if wave else (0, 0)
    least = LEAST_RADIUS * abs(bend)
    if wave:  # a sine bends by its amplitude times the square of its frequency
        least = 2 * math.pi * periods * math.sqrt(LEAST_WAVE_RADIUS * abs(bend))
    while True:
        part = random_word(rng)
        text += part if can_write(font, part) else ""
        if len(text) < 4:
            continue
        if case.kind == "column":
            line = lying(set_column([text], font, px))
        else:
            line = set_line([text], font, px)
        x0, y0, x1, y1 = line_extent(line)
        if x1 - x0 >= least * (y1 - y0):
            break
    if wave and bend:
        shape = wavy_shape(line[0], scale, bend * (y1 - y0) * scale, periods, phase)
    elif bend:
        pivot = y1 - 0.3 * (y1 - y0) if bend > 0 else y0 + 0.3 * (y1 - y0)
        shape = bent_shape(line, (scale, scale), bend / ((x1 - x0) * scale), pivot)
    else:
        shape = flat_shape(line, scaling(scale, scale))
    turn = math.radians(case.orientation + (90 if case.kind == "column" else 0))
    shape = shape.mapped(rotation(turn))
    low = shape.bounds()[:2]
    return shape.mapped(translation(*(_ROOM - low + rng.uniform(0, STRIDE, 2))))


def wavy_shape(
    word: SetWord, scale: float, amplitude: float, periods: float, phase: float
) -> LineShape:
    """Stand the glyphs of a word, each unbent, along a sine.

    Args:
        word: set on a line.
        scale: pixels of the image per pixel of the line.
        amplitude: of the sine, in pixels of the image.
        periods: of the sine in the length of the word.
        phase: of the sine where the word begins, in radians.

    Returns:
        The shape; its polygon has ``n + 1`` points along the top, then ``n + 1`` back along the
        bottom, on lines across the sine between each two neighbours and along the outer sides of
        the first and last one, as far out as the sides of the boxes beside them.
    """
    x0, y0, x1, y1 = word.boxes.T * scale
    length, middle = x1.max() - x0.min(), (y0.min() + y1.max()) / 2
    x = np.linspace(0, length, 4000)
    y = amplitude * np.sin(2 * math.pi * periods * x / length + phase)
    walked = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    slope = np.arctan(np.gradient(y, x))

    def stand(along: np.ndarray) -> np.ndarray:
        """``(n, 3, 3)``: from the line, as it lies in the image, to places along the sine."""
        foot = np.stack([np.interp(along, walked, x), np.interp(along, walked, y)], axis=1)
        angles = np.interp(along, walked, slope)
        moves = [translation(0, -middle) @ translation(-at, 0) for at in along + x0.min()]
        turns = [translation(*f) @ rotation(a) for f, a in zip(foot, angles)]
        return np.stack([turn @ move for turn, move in zip(turns, moves)])

    matrices = stand((x0 + x1) / 2 - x0.min())
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
    chars = np.stack([apply_homography(m, c) for m, c in zip(matrices, corners)])
    between = stand((x1[:-1] + x0[1:]) / 2 - x0.min())
    across = np.concatenate([matrices[:1], between, matrices[-1:]])[:, :2, 1]
    points = apply_homography(between, np.column_stack(
        [(x1[:-1] + x0[1:]) / 2, np.full(len(between), middle)])) if len(between) else None


def upright_chars(case: Case, shape: LineShape) -> np.ndarray:
    """``(n, 4, 2)`` quads from each character's own top left."""
    chars = shape.words[0].chars
    return np.roll(chars, 1, axis=1) if case.kind == "column" else chars


def picture_size(shape: LineShape) -> tuple[int, int]:
    """``(height, width)`` with room on all sides, divisible by the stride."""
    far = np.ceil((shape.bounds()[2:] + _ROOM) / STRIDE).astype(int) * STRIDE
    return int(far[1]), int(far[0])


def perfect_maps(case: Case, shape: LineShape) -> tuple[Maps, np.ndarray]:
    """Region and affinity scores of the exact characters, and a picture of the former."""
    height, width = picture_size(shape)
    word = WordLabels(
        [shape.words[0].polygon / STRIDE], [upright_chars(case, shape) / STRIDE], np.ones(1)
    )
    maps = draw_score_maps([word], (height // STRIDE, width // STRIDE))
    region, affinity = maps.region[0].numpy(), maps.affinity[0].numpy()
    return (region, affinity), heat_map(np.maximum(region, 0.6 * affinity), (width, height))


def paint(shape: LineShape, rng: np.random.Generator) -> np.ndarray:
    """A photograph-like picture of the word, ``(H, W, 3)`` uint8 BGR."""
    size = picture_size(shape)
    image = BACKGROUNDS["gradient"](rng, size)
    paint_line(image, shape, (np.full(size, 255, np.uint8), (0, 0)), rng, effects=False)
    return photograph(image, rng)
