"""Setting type: the glyphs of words in a line or a column, and a box for each character.

The box of a character follows its own ink along the reading direction and the ink of its whole word
across it, so that neighbours are of one height (one width in a column), which is what CRAFT's
affinity boxes want. Boxes exceed the ink by one pixel of the glyph bitmap, the reach of bilinear
interpolation: not one pixel that a glyph touches has its centre outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fonts import glyph


@dataclass(frozen=True, eq=False)
class SetGlyph:
    """A glyph in its line: ``ink`` with the line coordinates of its first pixel."""

    ink: np.ndarray
    x: int
    y: int


@dataclass(frozen=True, eq=False)
class SetWord:
    """A word in its line.

    Attributes:
        text: its characters.
        glyphs: one per character.
        boxes: ``(n, 4)`` character boxes ``x0, y0, x1, y1`` in line coordinates.
    """

    text: str
    glyphs: tuple[SetGlyph, ...]
    boxes: np.ndarray


def _set_word(text: str, glyphs: list[SetGlyph], column: bool) -> SetWord:
    boxes = np.array(
        [(g.x - 1, g.y - 1, g.x + g.ink.shape[1], g.y + g.ink.shape[0]) for g in glyphs], float
    )
    low, high = (0, 2) if column else (1, 3)
    boxes[:, low], boxes[:, high] = boxes[:, low].min(), boxes[:, high].max()
    return SetWord(text, tuple(glyphs), boxes)


def set_line(
    words: list[str], font: str, px: int, *, tracking: float = 0.0, space: float = 0.5
) -> list[SetWord]:
    """Set words side by side on one baseline.

    Args:
        words: non-empty words that ``font`` can write.
        font: path of the font file.
        px: em size in pixels.
        tracking: added after each character, in em.
        space: between words, in em.
    """
    pen, result = 0.0, []
    for text in words:
        glyphs = []
        for char in text:
            g = glyph(font, px, char)
            glyphs.append(SetGlyph(g.ink, round(pen) + g.left, g.top))
            pen += g.advance + tracking * px
        result.append(_set_word(text, glyphs, column=False))
        pen += space * px
    return result


def set_column(text: str, font: str, px: int, *, gap: float = 0.15) -> list[SetWord]:
    """Stack the upright characters of one word, centred, ``gap`` em between their inks."""
    pen, glyphs = 0.0, []
    for char in text:
        ink = glyph(font, px, char).ink
        glyphs.append(SetGlyph(ink, -(ink.shape[1] // 2), round(pen)))
        pen += len(ink) + gap * px
    return [_set_word(text, glyphs, column=True)]


def line_extent(line: list[SetWord]) -> np.ndarray:
    """``x0, y0, x1, y1`` of a set line."""
    boxes = np.concatenate([word.boxes for word in line])
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
