"""Text of any script as pixels: by the first bundled font that has it, else as its escape."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

import numpy as np
import regex
from PIL import Image, ImageDraw, ImageFont

from mmtextplug.datasets.fonts import bundled_fonts, can_write


def write_line(
    text: str, px: int, colour: tuple[int, int, int] = (0, 0, 0), max_width: int | None = None
) -> np.ndarray:
    """A line of text on white.

    Characters that no font of matplotlib's can write appear as escapes, such as ``\\u4e2d``.

    Args:
        text: Any text; line breaks and the like are escaped, too.
        px: Em size in pixels; 1 or more.
        colour: BGR.
        max_width: Longer lines are written smaller, in pixels.

    Returns:
        ``(H, W, 3)`` uint8, BGR; as high as lines of this size are, whatever their letters. Lines
        made smaller are padded to it.
    """
    height, baseline = round(1.5 * px), round(1.1 * px)
    pieces = list(_pieces(text))
    width = _width(pieces, px)
    if max_width is not None:
        while width > max_width and px > 1:
            px = max(min(px - 1, int(px * max_width / width)), 1)
            width = _width(pieces, px)
        width = min(width, max_width)
    canvas = Image.new("RGB", (max(width, 1), height), "white")
    draw, pen = ImageDraw.Draw(canvas), 0.0
    for font, piece in pieces:
        opened = _font(font, px)
        draw.text((pen, baseline), piece, fill=colour[::-1], font=opened, anchor="ls")
        pen += opened.getlength(piece)
    return np.ascontiguousarray(np.asarray(canvas)[..., ::-1])


def writable(text: str) -> str:
    """The text as `write_line` shows it, with escapes for what no font can write."""
    return "".join(piece for _, piece in _pieces(text))


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """Parts of a text with the font of each."""
    placed = [_placed(cluster) for cluster in regex.findall(r"\X", text)]
    for font, group in groupby(placed, key=lambda entry: entry[0]):
        yield font, "".join(shown for _, shown in group)


@lru_cache(maxsize=4096)
def _placed(cluster: str) -> tuple[str, str]:
    """The font for a character and what it shows."""
    fonts = _fonts()
    if cluster == " ":
        return fonts[0], cluster
    font = next((font for font in fonts if can_write(font, cluster)), None)
    if font is None:
        return fonts[0], cluster.encode("unicode_escape").decode("ascii")
    return font, cluster


@lru_cache(maxsize=1)
def _fonts() -> tuple[str, ...]:
    """All bundled fonts, the one with the most scripts first."""
    return tuple(sorted(bundled_fonts(), key=lambda path: not path.endswith("DejaVuSans.ttf")))


@lru_cache(maxsize=256)
def _font(path: str, px: int) -> ImageFont.FreeTypeFont:
    # With Pillow's best layout: it joins Arabic letters and writes them from right to left.
    return ImageFont.truetype(path, px)


def _width(pieces: list[tuple[str, str]], px: int) -> int:
    return int(np.ceil(sum(_font(font, px).getlength(piece) for font, piece in pieces)))
