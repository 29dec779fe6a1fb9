"""Boxes of single characters, and the words to which they belong.

Character truth comes in files of its own, made apart from that of words: ICDAR 2013's segmentation
task, ICDAR 2003's cuts. A word gets the characters that spell its text and lie where it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmtextplug.datasets.graphemes import visible_length
from mmtextplug.datasets.icdar import not_utf8, read_lines
from mmtextplug.datasets.instances import RawWord, Remark

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_CHARACTER = re.compile(
    rf"(?:{_NUMBER}[\s,]+){{5}}({_NUMBER})[\s,]+({_NUMBER})[\s,]+({_NUMBER})[\s,]+({_NUMBER})"
    r'[\s,]+"(.*)"',
    re.DOTALL,
)
_FORM = 'R G B x y left top right bottom "c"'
# Boxes of a word and of its characters differ by a margin: how much of their union they share at
# least, and how far the centre of a character may lie outside, in heights of the word.
_MIN_OVERLAP = 0.5
_STRAY = 0.25


@dataclass
class Spelled:
    """The characters of one word.

    Attributes:
        where (str): ``file:line``, or what else names them.
        text (str): What they spell, without spaces.
        chars (list[list[float]]): Quads of 8 numbers.
    """

    where: str
    text: str
    chars: list[list[float]]

    def add(self, character: str, left: float, top: float, right: float, bottom: float) -> None:
        """Append a character with its box; what cannot be seen (a space) is none."""
        if visible_length(character):
            self.text += "".join(character.split())
            self.chars.append(box_outline(left, top, right, bottom))


def box_outline(left: float, top: float, right: float, bottom: float) -> list[float]:
    """Corners of a box, clockwise from the top left."""
    return [left, top, right, top, right, bottom, left, bottom]


def read_segmentation(path: Path) -> tuple[list[Spelled], list[Remark]]:
    """ICDAR 2013's truth of the segmentation task (Challenge 2, task 2): a character a line.

    ``R G B x y left top right bottom "c"``: its colour in the mask, its centre, its box and itself.
    Lines that begin with ``#`` are comments, blank lines stand between words.

    Raises:
        OSError: If the file cannot be read.
    """
    try:
        lines = read_lines(path)
    except UnicodeDecodeError as error:
        return [], [not_utf8(path, error)]
    words: list[Spelled] = []
    remarks = []
    last = None
    for number, line in lines:
        if last is None or number > last + 1:
            words.append(Spelled(f"{path}:{number}", "", []))
        last = number
        if line.startswith("#"):
            continue
        match = _CHARACTER.fullmatch(line)
        if match is None:
            remarks.append(Remark(f"{path}:{number}", f"does not fit {_FORM}", "correct the line"))
            continue
        character = re.sub(r'\\(["\\])', r"\1", match[5])
        words[-1].add(character, *(float(match[i]) for i in range(1, 5)))
    return [word for word in words if word.chars], remarks


def attach(
    words: Iterable[RawWord | Remark], spelled: Iterable[Spelled]
) -> Iterator[RawWord | Remark]:
    """Give words of a photo their characters; then say what belongs to nothing.

    Characters belong to the word that they spell, upper and lower case apart, if its box and theirs
    have an intersection of half of their union and no character lies outside; the best pairs first.

    Args:
        words (Iterable[RawWord | Remark]): As they were read.
        spelled (Iterable[Spelled]): Characters of the same photo.
    """
    words, spelled = list(words), [found for found in spelled if found.chars]
    places = [i for i, word in enumerate(words) if isinstance(word, RawWord)]
    pairs = []
    for i in places:
        text = _comparable(words[i].text or "")
        for j, characters in enumerate(spelled):
            if text == _comparable(characters.text):
                overlap = _overlap(words[i].outline, characters.chars)
                if overlap >= _MIN_OVERLAP:
                    pairs.append((overlap, i, j))
    left, found = set(range(len(spelled))), set()
    for _, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if i not in found and j in left:
            words[i].chars = spelled[j].chars
            found.add(i)
            left.discard(j)
    for i, word in enumerate(words):
        yield word
        if i in places and i not in found and not word.ignored and visible_length(word.text or ""):
            remedy = "it is kept without"
            yield Remark(word.where, "word without characters", remedy, kept=True)
    for j in sorted(left):
        what = f"{spelled[j].text!r} and its boxes are left out"
        count = len(spelled[j].chars)
        yield Remark(spelled[j].where, "characters of no word", what, kept=True, characters=count)


def ignore_unread(words: Iterable[RawWord | Remark]) -> Iterator[RawWord | Remark]:
    """ICDAR 2003 has the text "?" where nobody could read a word: such words are ignored."""
    for word in words:
        yield word
        if isinstance(word, RawWord) and word.text is not None and word.text.strip() == "?":
            word.ignored = True
            remedy = "nobody could read the word: it is ignored"
            yield Remark(word.where, "text is '?'", remedy, kept=True)


def _comparable(text: str) -> str:
    return "".join(text.split()).casefold()


def _overlap(outline: list[float], chars: list[list[float]]) -> float:
    """Intersection over union of the boxes around a word and its characters; 0 if one strays."""
    a, quads = np.array(outline, float).reshape(-1, 2), np.array(chars, float).reshape(-1, 4, 2)
    (low, high), b = (a.min(0), a.max(0)), quads.reshape(-1, 2)
    margin = _STRAY * (high - low)[1]
    centres = quads.mean(1)
    if ((centres < low - margin) | (centres > high + margin)).any():
        return 0.0
    common = np.prod((np.minimum(high, b.max(0)) - np.maximum(low, b.min(0))).clip(0))
    total = np.prod(high - low) + np.prod(np.ptp(b, 0)) - common
    return float(common / total) if total > 0 else 0.0
