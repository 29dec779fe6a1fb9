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
    WordShape,
    apply_homography,
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
    least = LEAST_RADIUS * abs(bend)
    if wave:
        periods, phase = rng.uniform(*PERIODS), rng.uniform(0, 2 * math.pi)
        # A sine bends by its amplitude times the square of its frequency.
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
    """Stand the glyphs of a word, each unbent, along a sine through the middle of its height.

    Args:
        word: set on a line.
        scale: pixels of the image per pixel of the line.
        amplitude: of the sine, in pixels of the image.
        periods: of the sine in as many pixels as the word is long.
        phase: of the sine where the word begins, in radians.

    Returns:
        The shape; its polygon has ``n + 1`` points along the top, then ``n + 1`` back along the
        bottom, on lines across the sine, half-way between each two neighbours and at both ends,
        where the sides of the boxes next to them, prolonged, come out farthest.
    """
    x0, y0, x1, y1 = word.boxes.T * scale
    middle, length = (y0.min() + y1.max()) / 2, x1.max() - x0.min()
    x = np.linspace(0, length, 2000)
    y = amplitude * np.sin(2 * math.pi * periods * x / length + phase)
    walked = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    slope = np.arctan(np.gradient(y, x))

    def stand(along: np.ndarray) -> np.ndarray:
        """``(k, 3, 3)``: points of the line turned onto the sine, at so many pixels from x0."""
        feet = [np.interp(along, walked, values) for values in (x, y, slope)]
        return np.stack(
            [
                translation(foot, depth) @ rotation(angle) @ translation(-start, -middle)
                for foot, depth, angle, start in zip(*feet, along + x0.min(), strict=True)
            ]
        )

    stands = stand((x0 + x1) / 2 - x0.min())
    rays = (x1[:-1] + x0[1:]) / 2
    on_rays = np.concatenate([stands[:1], stand(rays - x0.min()), stands[-1:]])
    rays = np.concatenate([x0[:1], rays, x1[-1:]])
    feet = np.stack([apply_homography(m, np.array([ray, middle])) for m, ray in zip(on_rays, rays)])
    sides = []
    for edges, choose in ((y0, min), (y1, max)):
        for i, (across, foot) in enumerate(zip(on_rays[:, :2, 1], feet)):
            met = []
            for j in range(max(i - 1, 0), min(i + 1, len(stands))):
                at = apply_homography(stands[j], np.array([x0[j], edges[j]]))
                down = stands[j, :2, 1]
                met.append((at - foot) @ down / (across @ down))
            sides.append(foot + choose(met) * across)
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
    chars = np.stack([apply_homography(m, c) for m, c in zip(stands, corners)])
    polygon = np.stack(sides[: len(rays)] + sides[: len(rays) - 1 : -1])
    shape = WordShape(word.text, polygon, chars)
    to_line = [scaling(scale, scale) @ translation(g.x, g.y) for g in word.glyphs]
    inks = tuple(g.ink for g in word.glyphs)
    return LineShape((shape,), inks, stands @ np.stack(to_line), hull=False)


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
