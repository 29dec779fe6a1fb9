"""Words as their files have them: judged, turned clockwise, and made instances of MMOCR's JSON.

What does not fit is never repaired in silence: it becomes a `Remark` that says where, what is
wrong, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import shapely

from mmtextplug.datasets.annotations import read_word


@dataclass(frozen=True)
class Remark:
    """Something about a line that its reader should know.

    Attributes:
        where (str): ``file`` or ``file:line``.
        what (str): Its kind, the same words for all of a kind.
        remedy (str): What can be done.
        kept (bool): Whether the word (or file) is used all the same.
        characters (int): How many characters are left out that no word holds.
    """

    where: str
    what: str
    remedy: str
    kept: bool = False
    characters: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass
class RawWord:
    """A word as its file has it.

    Attributes:
        where (str): ``file:line``, or what else names it.
        outline (list): x1, y1, ..., xn, yn in pixels.
        text (str | None): None where the set has no transcriptions.
        ignored (bool): Whether its owners say so, other than by the transcription.
        chars (list | None): Quads of 8 numbers in reading order.
    """

    where: str
    outline: list[float]
    text: str | None
    ignored: bool = False
    chars: list[list[float]] | None = None


@dataclass
class Annotation:
    """One file: ``instances`` as MMOCR's JSON has them, and what was found on the way."""

    instances: list[dict] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """False where there are words of which none could be read: no photo without words, that."""
        return bool(self.instances) or all(remark.kept for remark in self.remarks)


def check_words(
    words: Iterable[RawWord | Remark], size: tuple[int, int] | None = None, unique: bool = False
) -> Annotation:
    """Judge words by `mmtextplug.datasets.annotations.read_word`, and turn outlines clockwise.

    Args:
        words (Iterable[RawWord | Remark]): Of one photo; remarks are passed on.
        size (tuple[int, int], optional): (height, width) of the photo.
        unique (bool): Whether words with outline and text of an earlier one are left out.
    """
    result, seen = Annotation(), set()
    for word in words:
        if isinstance(word, Remark):
            result.remarks.append(word)
            continue
        instance = {"polygon": word.outline, "text": word.text, "ignore": word.ignored}
        with np.errstate(over="ignore"):  # what is too large for a float is reported as infinite
            checked, fault = read_word(instance | {"chars": word.chars}, size)
        if checked is None:
            result.remarks.append(Remark(word.where, fault, "correct or remove the line"))
            continue
        key = (tuple(word.outline), word.text, word.ignored)
        if unique and key in seen:
            remedy = "remove one of them"
            result.remarks.append(Remark(word.where, "same outline and text as another", remedy))
            continue
        seen.add(key)
        if fault:  # of the characters
            remedy = "its characters are left out"
            result.remarks.append(Remark(word.where, fault, remedy, kept=True))
        points, what = turn_clockwise(np.array(word.outline, dtype=float).reshape(-1, 2))
        if what:
            remedy = "look at its reading direction"
            result.remarks.append(Remark(word.where, what, remedy, kept=True))
        if len(points) % 2:
            what = "odd number of points"
            result.remarks.append(
                Remark(word.where, what, "they make no pairs across it", kept=True)
            )
        result.instances.append(
            {
                "polygon": _plain(points),
                "bbox": _plain(np.stack([points.min(0), points.max(0)])),
                "bbox_label": 0,
                "ignore": checked.ignored,
            }
        )
        if word.text is not None:
            result.instances[-1]["text"] = word.text
        if checked.chars is not None:
            result.instances[-1]["chars"] = [_plain(np.array(c, float)) for c in word.chars]
    return result


def turn_clockwise(points: np.ndarray) -> tuple[np.ndarray, str]:
    """Give a counter-clockwise outline the order in which everything else expects it.

    That is clockwise on the screen, the first side along the tops of the letters in reading
    direction. A quad that, read from its first point, then runs more to the right than up or down
    keeps that point as the first. Otherwise the order is taken that runs most to the right;
    outlines of more points than four keep the pairs of upper and lower points. Clockwise outlines
    are left alone, wherever they begin: text may stand upside down. So are those that cross
    themselves, which have no order.

    Total-Text's test set has been published in both orders: of 2,454 reversed outlines 97 % come
    out exactly as the clockwise ones; the others begin at another point.

    Args:
        points (np.ndarray): ``(K, 2)``, finite, (x, y) in pixels.

    Returns:
        tuple[np.ndarray, str]: ``(K, 2)``, and what was odd, '' if nothing.
    """
    closed = np.concatenate([points, points[:1]])
    if not shapely.is_simple(shapely.linestrings(closed)):
        return points, "outline crosses itself (kept as it is)"
    x, y = (points - points[0]).T
    if np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)) >= 0:
        return points, ""
    count = len(points)
    backwards = points[::-1]
    if count <= 4:
        # From the same first point, and from each of the others.
        orders = [np.roll(backwards, 1 + shift, axis=0) for shift in range(count)]
    else:
        orders = [backwards, np.roll(backwards, count // 2, axis=0)]
    directions = np.array([_reading_direction(order) for order in orders])
    rightward = directions[:, 0] / np.maximum(np.linalg.norm(directions, axis=1), 1e-9)
    certain = count == 4 and directions[0, 0] > abs(directions[0, 1])
    chosen = orders[0 if certain else int(rightward.argmax())]
    kept = "kept" if np.array_equal(chosen[0], points[0]) else "chosen anew"
    return chosen, f"reversed outline, first point {kept}"


def _reading_direction(points: np.ndarray) -> np.ndarray:
    """From the middle of the first pair of upper and lower points to that of the last."""
    half = len(points) // 2
    return (points[half - 1] + points[-half] - points[0] - points[-1]) / 2


def _plain(values: np.ndarray) -> list[float]:
    """A flat list of numbers; whole ones as integers, which takes less space."""
    return [int(value) if value.is_integer() else value for value in values.ravel().tolist()]
