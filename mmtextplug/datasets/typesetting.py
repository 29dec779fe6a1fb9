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
        text: its characters; with spaces, if it is a whole line.
        glyphs: one per visible character.
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


def set_column(
    words: list[str], font: str, px: int, *, gap: float = 0.15, space: float = 0.5
) -> list[SetWord]:
    """Stack the upright characters of words, centred.

    Args:
        words, font, px: as in :func:`set_line`.
        gap: between the inks of neighbours, in em.
        space: more than that between words, in em.
    """
    pen, result = 0.0, []
    for text in words:
        glyphs = []
        for char in text:
            ink = glyph(font, px, char).ink
            glyphs.append(SetGlyph(ink, -(ink.shape[1] // 2), round(pen)))
            pen += len(ink) + gap * px
        result.append(_set_word(text, glyphs, column=True))
        pen += space * px
    return result


def joined(words: list[SetWord], *, column: bool = False) -> SetWord:
    """The words of one line (or column) as one, whose text has a space between each two.

    Its boxes share the extent of the whole line across the reading direction.
    """
    boxes = np.concatenate([word.boxes for word in words])
    low, high = (0, 2) if column else (1, 3)
    boxes[:, low], boxes[:, high] = boxes[:, low].min(), boxes[:, high].max()
    glyphs = tuple(glyph for word in words for glyph in word.glyphs)
    return SetWord(" ".join(word.text for word in words), glyphs, boxes)


def moved(words: list[SetWord], x: int, y: int) -> list[SetWord]:
    """The same words elsewhere."""
    return [
        SetWord(
            word.text,
            tuple(SetGlyph(g.ink, g.x + x, g.y + y) for g in word.glyphs),
            word.boxes + np.array([x, y, x, y]),
        )
        for word in words
    ]


def line_extent(line: list[SetWord]) -> np.ndarray:
    """``x0, y0, x1, y1`` of a set line."""
    boxes = np.concatenate([word.boxes for word in line])
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
