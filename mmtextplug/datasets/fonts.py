"""Fonts and glyphs: which font files can write a word, and the ink of one character.

Fonts come from matplotlib, which ships DejaVu, STIX and Computer Modern, and from any folder.
Opened fonts and drawn glyphs are cached per process, outside any object, so that whoever uses them
pickles cheaply.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from PIL import Image, ImageDraw, ImageFont

FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
# matplotlib's other files hold symbols, or letters at the wrong code points.
_BUNDLED = ("DejaVu", "STIXGeneral", "cmr10", "cmss10", "cmtt10", "cmb10")
_LETTERS = frozenset(map(ord, string.ascii_letters + string.digits))
# Computer Modern keeps TeX's encoding: beyond these, code points show something else.
_TEX_CHARS = _LETTERS | frozenset(map(ord, ".,:;!?-()/"))


@dataclass(frozen=True, eq=False)
class Glyph:
    """The ink of one character.

    Attributes:
        ink: ``(h, w)`` uint8 coverage, cropped to the ink; read-only, it is shared.
        left: column of ``ink[:, 0]`` relative to the pen, in pixels.
        top: row of ``ink[0]`` relative to the baseline, in pixels, negative above it.
        advance: how far the pen moves on, in pixels.
    """

    ink: np.ndarray
    left: int
    top: int
    advance: float


@lru_cache(maxsize=1024)
def font_charset(path: str) -> frozenset[int]:
    """Code points that a font file has a glyph for; empty when it is not a readable font."""
    try:
        with TTFont(path, fontNumber=0, lazy=True) as font:
            charset = frozenset(font.getBestCmap() or ())
        ImageFont.truetype(path, 16)
    except (OSError, TTLibError, KeyError, ValueError, AssertionError):
        return frozenset()
    return charset & _TEX_CHARS if Path(path).name.startswith("cm") else charset


def bundled_fonts() -> tuple[str, ...]:
    """The text fonts that matplotlib ships, as sorted paths."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = (p for p in sorted(folder.glob("*.ttf")) if p.name.startswith(_BUNDLED))
    return tuple(str(p) for p in paths if font_charset(str(p)) >= _LETTERS)


def _is_text_font(path: str) -> bool:
    """Whether a font can write: ten letters or digits at least, and ink to see."""
    # Unicode's Last Resort font has a sign for every character and shows none of them.
    if Path(path).name.startswith("LastResort"):
        return False
    return sum(chr(c).isalnum() for c in font_charset(path)) >= 10 and cap_height(path, 64) > 8


def folder_fonts(folder: str | Path) -> tuple[str, ...]:
    """The fonts of a folder and its subfolders that have at least ten letters or digits.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no usable font.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"font_dirs: {folder} is not a folder")
    paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in FONT_SUFFIXES]
    usable = [str(p) for p in paths if _is_text_font(str(p))]
    if not usable:
        raise ValueError(
            f"font_dirs: no usable font in {folder} ({len(paths)} files end in "
            f"{'/'.join(FONT_SUFFIXES)}); give a folder of TrueType or OpenType text fonts"
        )
    return tuple(usable)


@lru_cache(maxsize=512)
def open_font(path: str, px: int) -> ImageFont.FreeTypeFont:
    """A font at an em size of ``px`` pixels, cached."""
    return ImageFont.truetype(path, px, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=16384)
def glyph(path: str, px: int, char: str) -> Glyph:
    """Draw one character at an em size of ``px`` pixels, cached.

    A character without ink (a space) has an empty ``ink`` of shape ``(0, 0)``.
    """
    font = open_font(path, px)
    x0, y0, x1, y1 = font.getbbox(char, anchor="ls")
    canvas = Image.new("L", (max(int(x1 - x0), 0) + 4, max(int(y1 - y0), 0) + 4))
    pen = (2 - int(x0), 2 - int(y0))
    ImageDraw.Draw(canvas).text(pen, char, fill=255, font=font, anchor="ls")
    pixels = np.asarray(canvas)
    rows, cols = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not len(rows):
        return Glyph(np.zeros((0, 0), np.uint8), 0, 0, float(font.getlength(char)))
    ink = pixels[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].copy()
    ink.setflags(write=False)
    left, top = int(cols[0]) - pen[0], int(rows[0]) - pen[1]
    return Glyph(ink, left, top, float(font.getlength(char)))


@lru_cache(maxsize=1024)
def cap_height(path: str, px: int) -> int:
    """Height of the ink of a capital (or of the tallest of a few characters), in pixels."""
    charset = font_charset(path)
    chars = [c for c in "HEX058" if ord(c) in charset][:1]
    chars = chars or [chr(c) for c in sorted(charset) if chr(c).isalnum()][:40:4]
    return max(max(len(glyph(path, px, c).ink) for c in chars), 1)


def can_write(path: str, text: str) -> bool:
    """Whether the font has a glyph with ink for each character of ``text``."""
    charset = font_charset(path)
    return all(ord(c) in charset and glyph(path, 16, c).ink.size for c in text)
