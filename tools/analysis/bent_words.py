"""Generated words whose bend and orientation are chosen, with exact outlines, for comparisons.

Lines and columns of stacked characters; as the score maps of a perfect network, or as pictures.
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

KINDS = ("line", "column")
STRIDE = 2
LEAST_RADIUS = 2.0
"""Of a bent word's middle line, in heights of the word."""

_ROOM = 24

Maps = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """What is chosen about a word: angles in degrees, the height of a capital in pixels.

    A positive bend arches (seen with the word upright), a negative one sags.
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
    px = 16
    while cap_height(font, px) < case.height:
        px = int(px * 1.5)
    scale = case.height / cap_height(font, px)
    bend, text = math.radians(case.bend), ""
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
        if x1 - x0 >= LEAST_RADIUS * abs(bend) * (y1 - y0):
            break
    if bend:
        pivot = y1 - 0.3 * (y1 - y0) if bend > 0 else y0 + 0.3 * (y1 - y0)
        shape = bent_shape(line, (scale, scale), bend / ((x1 - x0) * scale), pivot)
    else:
        shape = flat_shape(line, scaling(scale, scale))
    turn = math.radians(case.orientation + (90 if case.kind == "column" else 0))
    shape = shape.mapped(rotation(turn))
    low = shape.bounds()[:2]
    return shape.mapped(translation(*(_ROOM - low + rng.uniform(0, STRIDE, 2))))


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
