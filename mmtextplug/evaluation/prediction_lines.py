"""Predicted words in text files, one a line, as benchmarks take them: in which layout, and where.

Layouts are recognised from all lines together, because one line may be read in several ways: the
ninth number of a quad may be a score or a transcription.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, pi

import numpy as np

from mmtextplug.datasets.word_lines import rotated_box

LAYOUTS = {
    "box": "x0,y0,x1,y1",
    "rotated": "x0,y0,x1,y1,angle in radians about the centre",
    "quad": "x1,y1,x2,y2,x3,y3,x4,y4",
    "polygon": "x1,y1,...,xn,yn",
}
"""Names of layouts; a score and a transcription may follow the coordinates."""

_COORDINATES = {"box": 4, "rotated": 5, "quad": 8}
_FIELD = re.compile(r"\s*,\s*|\s+")
# Shares of lines: from the first on longer outlines among quads are no faults, from the second on
# lines without a score are.
_MIXED, _SURE = 0.05, 0.95


@dataclass(frozen=True)
class Layout:
    """How lines are read.

    Attributes:
        name (str): One of `LAYOUTS`.
        scored (bool): Whether a score follows the coordinates.
    """

    name: str
    scored: bool

    def __str__(self) -> str:
        return LAYOUTS[self.name] + (",score" if self.scored else "")


def leading_numbers(line: str) -> list[float]:
    """The numbers that a line begins with, separated by commas or blanks."""
    numbers = []
    for part in _FIELD.split(line.strip()):
        try:
            # float() knows more than benchmarks do: 1_000.
            numbers.append(float(part) if "_" not in part else float("x"))
        except ValueError:
            break
    return numbers


def recognise_layout(
    lines: Iterable[Sequence[float]], name: str | None = None, scored: bool | None = None
) -> Layout:
    """The layout in which most lines are written.

    Scores are taken to be there if nearly all lines have one number more, in [0, 1]; where lines of
    five numbers have others there, but nearly all are angles, they are rotated boxes.

    Args:
        lines (Iterable[Sequence[float]]): `leading_numbers` of all lines.
        name (str, optional): The layout, if it is known.
        scored (bool, optional): Whether there are scores, if it is known.

    Raises:
        ValueError: If there are lines, but none fits a layout.
    """
    lines = list(lines)
    counts = Counter(map(len, lines))
    if name is None:
        votes = {"box": counts[4] + counts[5], "quad": counts[8] + counts[9]}
        longer = sum(n for size, n in counts.items() if size in (6, 7) or size > 9)
        if longer > _MIXED * (longer + votes["quad"]):
            votes["polygon"] = longer + votes.pop("quad")
        name, most = max(votes.items(), key=lambda item: item[1])
        if lines and not most:
            known = "; ".join(f"{key}: {form}" for key, form in LAYOUTS.items())
            raise ValueError(f"no line fits one of the known layouts ({known}); choose the layout")
        fifth = [numbers[4] for numbers in lines if len(numbers) == 5]
        if name == "box" and len(fifth) > counts[4] and not _mostly(fifth, 0, 1):
            name = "rotated" if _mostly(fifth, -pi, pi) else name
    if scored is None and name == "polygon":
        odd = [numbers[-1] for numbers in lines if len(numbers) % 2]
        scored = len(odd) >= _SURE * len(lines) and _mostly(odd, 0, 1)
    elif scored is None:
        size = _COORDINATES[name]
        # NaN is no score.
        rest = [(*numbers[size:], np.nan)[0] for numbers in lines if len(numbers) >= size]
        scored = _mostly(rest, 0, 1)
    return Layout(name, scored)


def _mostly(values: Sequence[float], low: float, high: float) -> bool:
    inside = sum(low <= value <= high for value in values)
    return bool(values) and inside >= _SURE * len(values)


def read_prediction(numbers: Sequence[float], layout: Layout) -> tuple[np.ndarray, float]:
    """The outline and the score of a predicted word.

    Args:
        numbers (Sequence[float]): `leading_numbers` of its line.
        layout (Layout): How to read them.

    Returns:
        tuple[np.ndarray, float]: ``(K, 2)`` float64, (x, y) in pixels; the score, 1 without one.

    Raises:
        ValueError: If the line does not fit: says what kind of fault it is.
    """
    if layout.name == "polygon":
        size = len(numbers) - layout.scored
        if size < 6:
            raise ValueError("too few numbers")
        if size % 2:
            raise ValueError("odd number of coordinates")
    else:
        size = _COORDINATES[layout.name]
        if len(numbers) < size + layout.scored:
            raise ValueError("too few numbers")
    values = numbers[:size]
    if not all(map(isfinite, values)):
        raise ValueError("NaN or infinite coordinate")
    score = 1.0
    if layout.scored:
        score = numbers[size]
        if not 0 <= score <= 1:
            raise ValueError("score is not in [0, 1]")
    if layout.name in ("box", "rotated"):
        return rotated_box(*values), score
    return np.array(values, dtype=np.float64).reshape(-1, 2), score
