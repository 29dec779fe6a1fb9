"""Pictures of generated words with exact character quads, from nothing but fonts and chance.

One call of :meth:`TextRenderer.render` chooses a background, places words that do not overlap,
paints them legibly, adds things that are not text and photographs the result. All chance comes from
the generator that is handed in, so equal generators give equal pictures. Needs NumPy, Pillow,
fontTools and OpenCV only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from .backgrounds import BACKGROUNDS, find_photos, photo, pick
from .distractors import draw_shapes, draw_symbols
from .fonts import bundled_fonts, can_write, folder_fonts
from .paint import paint_line, photograph
from .text_lines import STYLES, UNITS, LineMaker
from .vocabulary import read_word_list
from .word_shapes import LineShape, translation

_BACKGROUND_WEIGHTS = {"plain": 0.15, "gradient": 0.25, "texture": 0.6}
_CELL = 4  # pixels a side of the cells in which free ground is booked


@dataclass(frozen=True, eq=False)
class Word:
    """A word of a picture. Pixel centres have integer coordinates.

    Attributes:
        text: its characters; spaces only between the words of a line.
        polygon: ``(k, 2)`` float32, clockwise from top-left in reading order; contains ``chars``.
        chars: ``(n, 4, 2)`` float32, a quad per visible character of ``text``, corners clockwise
            from top-left in reading order.
        ignore: whether a detector should be neither rewarded nor punished for it.
    """

    text: str
    polygon: np.ndarray
    chars: np.ndarray
    ignore: bool = False


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture, ``image (H, W, 3)`` BGR uint8, and its words."""

    image: np.ndarray
    words: list[Word] = field(default_factory=list)

    def instances(self, digits: int | None = None) -> list[dict]:
        """The words as ``instances`` of MMOCR's JSON, with ``chars``, in plain Python types.

        Args:
            digits: decimals to round coordinates to; ``None`` keeps all.
        """

        def numbers(points: np.ndarray) -> list[float]:
            values = points.reshape(-1).tolist()
            return values if digits is None else [round(v, digits) for v in values]

        return [
            {
                "polygon": numbers(w.polygon),
                "bbox": numbers(np.concatenate([w.polygon.min(0), w.polygon.max(0)])),
                "bbox_label": 0,
                "ignore": w.ignore,
                "text": w.text,
                "chars": [numbers(quad) for quad in w.chars],
            }
            for w in self.words
        ]


def sample_rng(seed: int, index: int) -> np.random.Generator:
    """The generator of chance for picture ``index`` of series ``seed``: the same everywhere."""
    return np.random.default_rng([seed, index])


def _weights(
    name: str, given: Mapping[str, float] | None, known: Mapping[str, float]
) -> dict[str, float]:
    """Validated weights of which at least one is positive, without those of zero."""
    given = known if given is None else given
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{name}: unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    values = np.array([float(v) for v in given.values()])
    if not len(values) or not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
        raise ValueError(f"{name}: weights must be >= 0 and not all zero, got {dict(given)}")
    return {key: float(value) for key, value in given.items() if value > 0}


def _pair(name: str, value, low: float) -> tuple:
    """A validated ``(minimum, maximum)``."""
    try:
        first, last = value
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be (minimum, maximum), got {value!r}") from None
    if not (math.isfinite(first) and math.isfinite(last) and low <= first <= last):
        raise ValueError(f"{name} must be {low} <= minimum <= maximum, got {value!r}")
    return first, last


def _writable(word_list: str | Path, fonts: tuple[str, ...]) -> tuple[str, ...]:
    """The words of a list that at least one font can write."""
    words = read_word_list(word_list)
    usable = tuple(w for w in words if any(can_write(f, w) for f in fonts))
    if not usable:
        raise ValueError(
            f"word_list: no font has the characters of {word_list} (first word: {words[0]!r}); "
            "add a folder of fonts for this script to font_dirs"
        )
    return usable


class TextRenderer:
    """Draws pictures of words.

    Args:
        size: ``(height, width)`` of the pictures in pixels, or one number for squares.
        words_per_image: fewest and most words wanted; a full picture takes fewer.
        char_height: smallest and largest height of a capital letter in pixels; small ones are more
            frequent. Foreshortening takes off up to a quarter at a word's far end.
        styles: weights of ``straight``, ``rotated``, ``perspective``, ``curved`` and ``vertical``
            (stacked characters) lines, and of ``columns``, two or three beside each other, of one
            to four lines each; by default there are none of the last kind.
        max_rotation: largest angle of rotated words in degrees; other styles tilt less.
        line_prob: chance that several words share a line.
        words_per_line: fewest and most of these.
        unit: ``word`` or ``line``: what is annotated. Lines keep more distance; their texts have
            spaces, their ``chars`` have none. ``words_per_image`` then counts lines.
        backgrounds: weights of ``plain``, ``gradient`` and ``texture``.
        background_dir: folder of photos without text.
        photo_prob: chance that a picture then shows a crop of one.
        font_dirs: folders of fonts, used beside those that matplotlib ships.
        word_list: UTF-8 file of words; by default words are made up.
        distractors: whether to draw shapes and symbols that are not text.
        effects: whether to draw plates, outlines, shadows, and photograph the picture (uneven
            light, blur, noise, JPEG).

    Raises:
        ValueError: an argument out of range, or a folder or list without anything usable.
        FileNotFoundError: a folder or list that does not exist.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = (256, 256),
        words_per_image: tuple[int, int] = (1, 12),
        char_height: tuple[float, float] = (12, 48),
        styles: Mapping[str, float] | None = None,
        max_rotation: float = 45.0,
        line_prob: float = 0.2,
        words_per_line: tuple[int, int] = (2, 3),
        unit: str = "word",
        backgrounds: Mapping[str, float] | None = None,
        background_dir: str | Path | None = None,
        photo_prob: float = 0.5,
        font_dirs: Sequence[str | Path] = (),
        word_list: str | Path | None = None,
        distractors: bool = True,
        effects: bool = True,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(int(v) for v in size)
        if len(self.size) != 2 or min(self.size) <= 0:
            raise ValueError(f"size must be one or two positive numbers, got {size!r}")
        self.words_per_image = _pair("words_per_image", words_per_image, 0)
        self.char_height = _pair("char_height", char_height, 6)
        if min(self.size) < 3 * self.char_height[0]:
            raise ValueError(
                f"size {self.size} is too small for char_height {self.char_height[0]}: "
                f"need at least {math.ceil(3 * self.char_height[0])} pixels a side"
            )
        if not 0 <= max_rotation <= 180:
            raise ValueError(f"max_rotation must be 0..180 degrees, got {max_rotation}")
        if not 0 <= line_prob <= 1:
            raise ValueError(f"line_prob must be 0..1, got {line_prob}")
        if not 0 <= photo_prob <= 1:
            raise ValueError(f"photo_prob must be 0..1, got {photo_prob}")
        words_per_line = _pair("words_per_line", words_per_line, 1)
        if not all(isinstance(count, int) for count in words_per_line):
            raise ValueError(f"words_per_line must be whole numbers, got {words_per_line}")
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
        self.backgrounds = _weights("backgrounds", backgrounds, _BACKGROUND_WEIGHTS)
        self.photos = () if background_dir is None else find_photos(background_dir)
        if isinstance(font_dirs, (str, Path)):
            font_dirs = (font_dirs,)
        fonts = bundled_fonts() + tuple(f for d in font_dirs for f in folder_fonts(d))
        self.lines = LineMaker(
            self.size,
            self.char_height[0],
            _weights("styles", styles, STYLES),
            math.radians(max_rotation),
            line_prob,
            words_per_line,
            unit,
            fonts,
            None if word_list is None else _writable(word_list, fonts),
        )
        self.photo_prob = photo_prob
        self.distractors = distractors
        self.effects = effects

    def render(self, rng: np.random.Generator) -> Sample:
        """Draw one picture.

        Args:
            rng: all chance comes from here.

        Returns:
            The picture and its words, none of which overlap or leave the picture.
        """
        image = self._background(rng)
        if self.distractors and rng.random() < 0.6:
            draw_shapes(image, rng, int(rng.integers(1, 5)))
        taken = np.zeros([side // _CELL for side in self.size], np.uint8)
        words: list[Word] = []
        low, high = (int(v) for v in self.words_per_image)
        wanted = int(rng.integers(low, high + 1))
        shortest, tallest = self.char_height
        misses = 0
        while len(words) < wanted and misses < 6:
            line = self.lines.propose(rng, wanted - len(words), tallest)
            placed = line and self._place(rng, line, taken)
            if not placed:
                misses += 1
                tallest = max(shortest, 0.7 * tallest)
                continue
            line, ground = placed
            paint_line(image, line, ground, rng, effects=self.effects)
            words += [
                Word(w.text, w.polygon.astype(np.float32), w.chars.astype(np.float32))
                for w in line.words
            ]
        if self.distractors:
            draw_symbols(image, taken, _CELL, rng, int(rng.integers(0, 7)))
        if self.effects:
            image = photograph(image, rng)
        return Sample(image, words)

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        if self.photos and rng.random() < self.photo_prob:
            return photo(rng, self.size, self.photos)
        return BACKGROUNDS[pick(rng, self.backgrounds)](rng, self.size)

    def _place(
        self, rng: np.random.Generator, line: LineShape, taken: np.ndarray
    ) -> tuple[LineShape, tuple[np.ndarray, tuple[int, int]]] | None:
        """Move a line to free ground, if there is some, and book it.

        Returns:
            The moved line and its ground ``(mask, (x, y))``, or ``None``.
        """
        gap = self.lines.gap(line)
        line = line.mapped(translation(*rng.uniform(0, _CELL, 2)))
        bounds = line.bounds()
        corner = np.floor(bounds[:2]).astype(int) - gap
        extent = np.ceil(bounds[2:]).astype(int) + gap + 1 - corner
        cells = -(-extent // _CELL)
        if (cells > taken.shape[::-1]).any():
            return None
        mask = np.zeros(_CELL * cells[::-1], np.uint8)
        polygons = [np.round(word.polygon - corner).astype(np.int32) for word in line.words]
        if line.hull:
            polygons = [cv2.convexHull(np.concatenate(polygons))]
        cv2.fillPoly(mask, polygons, 255)
        cv2.polylines(mask, polygons, True, 255, 2 * gap - 1)

        # One pixel of 16 leaves a mean of 255 / 16: no touched cell rounds to zero.
        booked = (cv2.resize(mask, tuple(cells.tolist()), interpolation=cv2.INTER_AREA) > 0).view(
            np.uint8
        )
        # The largest value under the ground, for each place of its first cell.
        overlap = cv2.dilate(taken, booked, anchor=(0, 0))
        overlap = overlap[: len(taken) - cells[1] + 1, : taken.shape[1] - cells[0] + 1]
        free = np.flatnonzero(overlap == 0)
        if not len(free):
            return None
        y, x = divmod(int(free[rng.integers(len(free))]), overlap.shape[1])
        taken[y : y + cells[1], x : x + cells[0]] |= booked
        x, y = x * _CELL, y * _CELL
        return line.mapped(translation(x - corner[0], y - corner[1])), (mask, (x, y))
