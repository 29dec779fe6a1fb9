"""Lines of text: which words, in which font, of what height, and how they lie in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .backgrounds import pick
from .fonts import can_write, cap_height
from .typesetting import SetWord, joined, line_extent, moved, set_column, set_line
from .vocabulary import random_word
from .word_shapes import (
    LineShape,
    bent_shape,
    flat_shape,
    foreshortening,
    rotation,
    scaling,
    translation,
)

STYLES = {
    "straight": 0.3,
    "rotated": 0.22,
    "perspective": 0.22,
    "curved": 0.2,
    "vertical": 0.06,
    "columns": 0.0,
}
UNITS = ("word", "line")
_LONGEST = 0.9  # of the picture's side, for the length of a line
_GAP = {"word": 0.1, "line": 0.75}  # around what is annotated, of its height; lines keep apart
_COLUMN = 7  # characters of a column and its gutter, at least
_SPARE = 4  # pixels more than the gap that a line leaves to the border, room to place it in


@dataclass(frozen=True)
class LineMaker:
    """Proposes lines of words for pictures of one size.

    Attributes:
        size: ``(height, width)`` of the pictures in pixels.
        shortest: smallest height of a capital in pixels.
        styles: weights, as in :data:`STYLES`.
        max_rotation: of rotated words, in radians.
        line_prob: chance that several words share a line.
        words_per_line: fewest and most of these.
        unit: what is annotated, of :data:`UNITS`.
        fonts: paths of font files.
        vocabulary: words to draw from; ``None`` makes them up.
    """

    size: tuple[int, int]
    shortest: float
    styles: dict[str, float]
    max_rotation: float
    line_prob: float
    words_per_line: tuple[int, int]
    unit: str
    fonts: tuple[str, ...]
    vocabulary: tuple[str, ...] | None

    def _text(self, rng: np.random.Generator, longest: int) -> str:
        if self.vocabulary is None:
            return random_word(rng, longest)
        for _ in range(8):
            word = self.vocabulary[int(rng.integers(len(self.vocabulary)))]
            if len(word) <= longest:
                break
        return word

    def _font(self, rng: np.random.Generator, text: str) -> str | None:
        for _ in range(8):
            path = self.fonts[int(rng.integers(len(self.fonts)))]
            if can_write(path, text):
                return path
        able = [path for path in self.fonts if can_write(path, text)]
        return able[int(rng.integers(len(able)))] if able else None

    def propose(self, rng: np.random.Generator, room: int, tallest: float) -> LineShape | None:
        """Propose a line of up to ``room`` words about the origin, or ``None``."""
        style = pick(rng, self.styles)
        low, high = self.shortest, min(tallest, min(self.size) / 3)
        height = math.exp(rng.uniform(math.log(low), math.log(high)))
        side = _LONGEST * self.size[0 if style == "vertical" else 1]
        longest = max(1, int(side / height / (1.35 if style == "vertical" else 0.95)))
        if style == "columns":
            columns = self._columns(rng, room, longest)
        elif self.unit == "line":
            columns = [[self._line(rng, longest)]]
        else:
            columns = [[self._words(rng, room, longest, more=style != "vertical")]]
        if style == "vertical":
            columns = [[[t.strip(".,:;!?-'").upper() or t for t in columns[0][0]]]]
        font = self._font(rng, "".join(text for c in columns for line in c for text in line))
        if font is None:
            return None
        # Glyphs are drawn at one of a few sizes, so that their cache serves, and shrunk up to 1.5x.
        px = 16
        while cap_height(font, px) < height:
            px = int(px * 1.5)
        scale = height / cap_height(font, px)
        line = self._shape(rng, style, columns, font, px, scale)
        bounds = line.bounds()
        room_left = np.array(self.size[::-1]) - 2 * (self.gap(line) + _SPARE)
        fit = (room_left / (bounds[2:] - bounds[:2])).min()
        if fit < 1:
            if height * fit < 0.999 * low:
                return None
            line = line.mapped(scaling(fit, fit))
        return line

    def gap(self, line: LineShape) -> int:
        """Pixels to keep free around a line: a share of its first character's height, and two."""
        first = line.words[0].chars[0]
        return 2 + int(_GAP[self.unit] * math.dist(first[0], first[3]))

    def _words(self, rng: np.random.Generator, room: int, longest: int, *, more: bool) -> list[str]:
        """One word; or several, if ``more`` are allowed and chance will have it."""
        texts = [self._text(rng, longest)]
        low, high = self.words_per_line
        count = int(rng.integers(low, high + 1)) if more and rng.random() < self.line_prob else 1
        for _ in range(min(count, room) - 1):
            left = longest - sum(len(t) + 1 for t in texts)
            if left > 1:
                texts.append(self._text(rng, left))
        return texts

    def _line(self, rng: np.random.Generator, longest: int) -> list[str]:
        """Words of like lengths that fill a line of so many characters at most."""
        low, high = self.words_per_line
        count = int(rng.integers(low, high + 1)) if rng.random() < self.line_prob else 1
        count = max(1, min(count, longest // 3))
        return [self._text(rng, max(1, longest // count - 1)) for _ in range(count)]

    def _columns(self, rng: np.random.Generator, room: int, longest: int) -> list[list[list[str]]]:
        """Two or three columns of lines, as far as there is room for more words, or lines."""
        count, rows = int(rng.integers(2, 4)), int(rng.integers(1, 5))
        count = max(1, min(count, longest // _COLUMN))
        width = max(1, longest // count - 3)
        columns: list[list[list[str]]] = [[] for _ in range(count)]
        for index in range(count * rows):
            if room < 1:
                break
            line = self._line(rng, width)
            line = line if self.unit == "line" else line[:room]
            room -= 1 if self.unit == "line" else len(line)
            columns[index % count].append(line)
        return [column for column in columns if column]

    def _shape(
        self,
        rng: np.random.Generator,
        style: str,
        columns: list[list[list[str]]],
        font: str,
        px: int,
        scale: float,
    ) -> LineShape:
        """Set the words and map them to image pixels about the origin."""
        stretch = scale * rng.uniform(0.85, 1.2)
        line = self._set(rng, style, columns, font, px)
        x0, y0, x1, y1 = line_extent(line)
        centre = translation(-(x0 + x1) / 2, -(y0 + y1) / 2)
        width, height = (x1 - x0) * stretch, (y1 - y0) * scale
        flat = scaling(stretch, scale) @ centre
        if style == "curved":
            # At most 160 degrees, on a radius of at least twice the height.
            bend = min(rng.uniform(0.7, 2.8), width / (2 * height))
            bend = bend if rng.random() < 0.5 else -bend
            # The arc keeps the length of a line near its inner side, so that glyphs stay apart.
            pivot = y1 - 0.3 * (y1 - y0) if bend > 0 else y0 + 0.3 * (y1 - y0)
            shape = bent_shape(line, (stretch, scale), bend / width, pivot)
            return shape.mapped(rotation(rng.uniform(-0.5, 0.5) * self.max_rotation))
        if style == "perspective":
            yaw, pitch = rng.uniform(-0.75, 0.75), rng.uniform(-0.6, 0.6)
            distance = rng.uniform(1.3, 3.0) * math.hypot(width, height)
            tilt = foreshortening(yaw, pitch, distance)
            roll = rotation(rng.uniform(-0.5, 0.5) * self.max_rotation)
            return flat_shape(line, roll @ scaling(1.0, 1 / math.cos(pitch)) @ tilt @ flat)
        angle = 0.0
        if style == "rotated":
            angle = rng.uniform(-1, 1) * self.max_rotation
        elif style in ("vertical", "columns"):
            angle = rng.uniform(-0.2, 0.2) if rng.random() < 0.5 else 0.0
        return flat_shape(line, rotation(angle) @ flat)

    def _set(
        self,
        rng: np.random.Generator,
        style: str,
        columns: list[list[list[str]]],
        font: str,
        px: int,
    ) -> list[SetWord]:
        """Set type: what is annotated, word by word or line by line."""
        if style == "vertical":
            lines = [set_column(columns[0][0], font, px, gap=rng.uniform(0.1, 0.25))]
        else:
            tracking = max(0.0, rng.normal(0.01, 0.05))
            space = rng.uniform(0.4, 0.8)
            # Between columns there is more than between words, and between lines room for accents.
            gutter, pitch = 0, 0
            if style == "columns":
                gutter, pitch = int(rng.uniform(1.5, 3) * px), int(rng.uniform(1.3, 1.8) * px)
            lines, x = [], 0
            for column in columns:
                rows = [
                    set_line(texts, font, px, tracking=tracking, space=space) for texts in column
                ]
                lines += [moved(row, x, index * pitch) for index, row in enumerate(rows)]
                x += int(max(line_extent(row)[2] for row in rows)) + gutter
        if self.unit == "line":
            return [joined(line, column=style == "vertical") for line in lines]
        return [word for line in lines for word in line]
