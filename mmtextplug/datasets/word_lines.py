"""Lines of annotation files, one a word: what each known format looks like, and which one it is.

A line gives a word's outline and, last, its transcription. What does not fit is a `LineError` that
says what is wrong and what to do about it; nothing is guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from math import cos, sin

import numpy as np

SCRIPTS = {
    *("Arabic", "Bangla", "Chinese", "Hindi", "Japanese", "Korean", "Latin"),
    *("Mixed", "None", "Symbols"),
}
"""What stands between coordinates and transcription in ICDAR 2017 and 2019 MLT."""

# NaN and infinity are coordinates too: bad ones, which have to be named.
_NUMBER = r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|nan|inf)"
_IS_NUMBER = re.compile(rf"\s*{_NUMBER}\s*", re.IGNORECASE | re.ASCII)
_BOX = re.compile(
    rf"\s*({_NUMBER})" + rf"(?:\s*,\s*|\s+)({_NUMBER})" * 3 + r"(?:\s*,\s*|\s+|$)(.*)",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_BEGINS_WITH_NUMBER = re.compile(rf"{_NUMBER}(?:[,\s]|$)", re.IGNORECASE | re.ASCII)
_MORE_NUMBERS = re.compile(rf"{_NUMBER}\s*(?:,|\s)", re.IGNORECASE | re.ASCII)
_MORE_AFTER_COMMAS = re.compile(rf"{_NUMBER}\s*,", re.IGNORECASE | re.ASCII)
# Shares of lines: from the first on the rest are faults, from the second on polygons are no faults.
_SURE, _MIXED = 0.95, 0.05


class LineError(ValueError):
    """A line that does not fit: what is wrong, and the remedy."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(f"{fault}; {remedy}")
        self.fault, self.remedy = fault, remedy


def is_number(field: str) -> bool:
    """Whether a field is a coordinate, if only a bad one."""
    return _IS_NUMBER.fullmatch(field) is not None


def parse_box(line: str) -> tuple[list[float], str]:
    """ICDAR 2013: left, top, right, bottom, then the transcription in quotes or without.

    Numbers are separated by spaces (training set), or by commas (test set). In quotes, a quote or
    backslash of the transcription itself follows a backslash.

    Returns:
        tuple[list[float], str]: The corners, clockwise from the top left, and the transcription.

    Raises:
        LineError: If the line is none of this kind.
    """
    match = _BOX.fullmatch(line)
    text = match[5].strip() if match else ""
    if match is None or (not text and not line.rstrip().endswith(",")):
        raise _misfit("icdar2013")
    if text.startswith('"'):
        if len(text) < 2 or not text.endswith('"') or re.search(r'(?<!\\)(\\\\)*\\"$', text):
            raise LineError("quote is not closed", "end the transcription with a quote")
        text = re.sub(r'\\(["\\])', r"\1", text[1:-1])
    elif (_MORE_AFTER_COMMAS if "," in line[: match.start(5)] else _MORE_NUMBERS).match(text):
        raise LineError(
            "more than 4 numbers at the start",
            "remove some, or put a transcription that begins with a number in quotes",
        )
    x0, y0, x1, y1 = (float(match[i]) for i in range(1, 5))
    (x0, x1), (y0, y1) = sorted((x0, x1)), sorted((y0, y1))
    return [x0, y0, x1, y0, x1, y1, x0, y1], text.strip()


def parse_quad(line: str) -> tuple[list[float], str]:
    """ICDAR 2015: ``x1,y1,...,x4,y4,transcription``; quotes and commas belong to the latter.

    Raises:
        LineError: If the line is none of this kind.
    """
    fields = line.split(",")
    if len(fields) < 9 or not all(map(is_number, fields[:8])):
        raise _misfit("icdar2015")
    return [float(value) for value in fields[:8]], ",".join(fields[8:]).strip()


def parse_script_quad(line: str) -> tuple[list[float], str]:
    """ICDAR 2017 and 2019 MLT: ``x1,y1,...,x4,y4,script,transcription``.

    Raises:
        LineError: If the line is none of this kind.
    """
    fields = line.split(",")
    if len(fields) < 10 or not all(map(is_number, fields[:8])):
        raise _misfit("icdar2017")
    if fields[8].strip() not in SCRIPTS:
        known = ", ".join(sorted(SCRIPTS))
        raise LineError("no script before the transcription", f"name it: one of {known}")
    return [float(value) for value in fields[:8]], ",".join(fields[9:]).strip()


def parse_polygon(line: str) -> tuple[list[float], str]:
    """Outlines of any number of points: ``x1,y1,...,xn,yn,transcription``.

    All numbers before the first other field, or before the last field, are coordinates.

    Raises:
        LineError: If the line is none of this kind.
    """
    fields = line.split(",")
    count = _leading_numbers(fields)
    if count < 2:
        raise _misfit("polygon")
    if count % 2:
        raise LineError(
            "odd number of coordinates",
            "correct it; no transcription of this format can begin with a number and a comma",
        )
    return [float(value) for value in fields[:count]], ",".join(fields[count:]).strip()


FORMATS: dict[str, tuple[Callable[[str], tuple[list[float], str]], str]] = {
    "icdar2013": (parse_box, 'x1 y1 x2 y2 "text" or x1, y1, x2, y2, "text"'),
    "icdar2015": (parse_quad, "x1,y1,x2,y2,x3,y3,x4,y4,text"),
    "icdar2017": (parse_script_quad, "x1,y1,x2,y2,x3,y3,x4,y4,script,text"),
    "polygon": (parse_polygon, "x1,y1,...,xn,yn,text"),
}
"""Names of formats: how a line is read, and what it looks like."""


def _misfit(name: str) -> LineError:
    return LineError(
        f"does not fit {name} ({FORMATS[name][1]})", "correct it, or choose another format"
    )


def _leading_numbers(fields: list[str]) -> int:
    """How many fields before the last are numbers, up to the first that is none."""
    return next(
        (i for i, value in enumerate(fields[:-1]) if not is_number(value)),
        len(fields) - 1,
    )


def line_format(line: str) -> str | None:
    """The only format that a line speaks for, or None where it could be several or none.

    A line of 8 numbers speaks for ``icdar2015``, though ``polygon`` reads it alike. Where the
    transcription may be a number with commas, as in ``...,36,000``, it speaks for none.
    """
    match = _BOX.fullmatch(line)
    text = match[5].strip() if match else ""
    if text.startswith('"') or (text and not _BEGINS_WITH_NUMBER.match(text)):
        return "icdar2013"
    fields = line.split(",")
    count = _leading_numbers(fields)
    if count == 8 and len(fields) > 9 and fields[8].strip() in SCRIPTS:
        return "icdar2017"
    if count == 8:
        return "icdar2015"
    if count >= 6 and count % 2 == 0 and not is_number(fields[-1]):
        return "polygon"
    return None


def recognise_format(lines: Iterable[tuple[str, str]]) -> str:
    """The format of the lines of all files together.

    Args:
        lines (Iterable[tuple[str, str]]): Where each line stands, and the line.

    Raises:
        ValueError: If no line tells, or lines tell different things and the format of most of them
            would read the others wrongly without complaint. Names an example of each.
    """
    votes: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for where, line in lines:
        name = line_format(line)
        if name is not None:
            votes[name] += 1
            examples.setdefault(name, where)
    # Polygons have four points now and then.
    if votes["polygon"] > _MIXED * (votes["polygon"] + votes["icdar2015"]):
        votes["polygon"] += votes.pop("icdar2015", 0)
    if not votes:
        known = "; ".join(f"{name}: {form}" for name, (_, form) in FORMATS.items())
        raise ValueError(f"no line fits one of the known formats ({known}); choose the format")
    (best, count), *others = votes.most_common()
    # Lines of some formats would pass for words of another one, with numbers in their texts.
    alike = {"icdar2015": {"icdar2017", "polygon"}, "polygon": {"icdar2017"}}.get(best, set())
    if count < _SURE * votes.total() or alike & set(votes):
        found = ", ".join(
            f"{number:,} of {name} (first in {examples[name]})"
            for name, number in [(best, count), *others]
        )
        raise ValueError(f"lines of several formats: {found}; choose the format")
    return best


def rotated_box(x0: float, y0: float, x1: float, y1: float, angle: float = 0.0) -> np.ndarray:
    """Corners of a box turned about its centre, clockwise on the screen for positive angles.

    Args:
        x0, y0, x1, y1 (float): The box before it is turned, in pixels.
        angle (float): In radians.

    Returns:
        np.ndarray: ``(4, 2)`` float64, from the top left corner clockwise.
    """
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64)
    centre = np.array([x0 + x1, y0 + y1]) / 2
    turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    return (corners - centre) @ turn + centre if angle else corners
