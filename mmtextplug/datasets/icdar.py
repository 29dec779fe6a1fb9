"""Word annotations in text files, one a photo: the ICDAR challenges' and curved outlines.

Files are read as their owners wrote them, with byte order marks and any line ends, and paired with
their photos. What does not fit is never repaired in silence: it becomes a `Remark` with the line,
what is wrong, and what to do about it.
"""

# MMOCR's preparers are no help here: their parsers stop at the first bad line without naming it,
# take quotes and commas out of ICDAR 2013's transcriptions, and their packer drops all
# transcriptions and measures photos after turning them by their EXIF orientation.

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from PIL import Image, UnidentifiedImageError

from mmtextplug.datasets.annotations import read_word
from mmtextplug.datasets.word_lines import FORMATS, LineError
from mmtextplug.photos import SUFFIXES


@dataclass(frozen=True)
class Remark:
    """Something about a line that its reader should know.

    Attributes:
        where (str): ``file`` or ``file:line``.
        what (str): Its kind, the same words for all of a kind.
        remedy (str): What can be done.
        kept (bool): Whether the word (or file) is used all the same.
    """

    where: str
    what: str
    remedy: str
    kept: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


@dataclass
class Annotation:
    """One file: ``instances`` as MMOCR's JSON has them, and what was found on the way."""

    instances: list[dict] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """False where there are words of which none could be read: no photo without words, that."""
        return bool(self.instances) or all(remark.kept for remark in self.remarks)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Lines of a file that are not blank, with their numbers from 1, without byte order marks.

    Raises:
        UnicodeDecodeError: If it is not UTF-8.
        OSError: If it cannot be read.
    """
    text = path.read_bytes().decode("utf-8")
    # Not str.splitlines: transcriptions may hold what Unicode takes for other line ends.
    lines = enumerate(re.split(r"\r\n|\n|\r", text), 1)
    cleaned = ((number, line.strip().strip("\ufeff").strip()) for number, line in lines)
    return [(number, line) for number, line in cleaned if line]


def read_annotation(
    path: Path, format_name: str, size: tuple[int, int] | None = None
) -> Annotation:
    """Read one annotation file; lines that are of no use are left out and reported.

    Outlines are judged by `mmtextplug.datasets.annotations.read_word`, and turned clockwise by
    `turn_clockwise`. An empty file is a photo without words.

    Args:
        path (Path): The file.
        format_name (str): One of `FORMATS`.
        size (tuple[int, int], optional): (height, width) of the photo.

    Raises:
        OSError: If the file cannot be read.
    """
    result = Annotation()
    try:
        lines = read_lines(path)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        remedy = "convert the file, such as by `iconv -f ISO-8859-1 -t UTF-8`"
        result.remarks.append(Remark(f"{path}:{line}", "file is not UTF-8", remedy))
        return result
    parse = FORMATS[format_name][0]
    for number, line in lines:
        where = f"{path}:{number}"
        try:
            outline, text = parse(line)
        except LineError as error:
            result.remarks.append(Remark(where, error.fault, error.remedy))
            continue
        with np.errstate(over="ignore"):  # what is too large for a float is reported as infinite
            word, fault = read_word({"polygon": outline, "text": text}, size)
        if word is None:
            result.remarks.append(Remark(where, fault, "correct or remove the line"))
            continue
        points, what = turn_clockwise(np.array(outline).reshape(-1, 2))
        if what:
            result.remarks.append(Remark(where, what, "look at its reading direction", kept=True))
        if len(points) % 2:
            what = "odd number of points"
            result.remarks.append(Remark(where, what, "they make no pairs across it", kept=True))
        low, high = points.min(0), points.max(0)
        result.instances.append(
            {
                "polygon": _plain(points),
                "bbox": _plain(np.stack([low, high])),
                "bbox_label": 0,
                "ignore": word.ignored,
                "text": text,
            }
        )
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


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of a photo, not turned by its EXIF orientation.

    Benchmarks drew their truth on photos as they are stored.

    Raises:
        ValueError: If it has no header that Pillow can read.
    """
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":  # the only ones whose size Pillow gives as turned
                return int(image.tag_v2[257]), int(image.tag_v2[256])
            return image.height, image.width
    except UnidentifiedImageError:
        raise ValueError("is no image that Pillow can read") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise ValueError(f"is damaged or cannot be opened ({type(error).__name__})") from None


@dataclass
class Pairs:
    """Photos and their annotation files, in natural order.

    Attributes:
        both (list[tuple[Path, Path]]): Photo and annotation.
        lonely_images, lonely_annotations (list[Path]): Those without the other.
        remarks (list[Remark]): Annotations that could belong to several photos, and the reverse.
    """

    both: list[tuple[Path, Path]]
    lonely_images: list[Path]
    lonely_annotations: list[Path]
    remarks: list[Remark]


def pair_files(images: Iterable[Path], annotations: Iterable[Path]) -> Pairs:
    """Find the photo of each annotation: ``gt_img_3.txt`` is that of ``img_3.jpg``.

    The names agree without upper and lower case, the prefix ``gt_`` or ``poly_gt_`` and the
    suffixes; an annotation may be called after the whole photo (``img3.jpg.txt``).
    """
    by_key: dict[str, tuple[list[Path], list[Path]]] = {}
    for side, paths in enumerate((images, annotations)):
        for path in paths:
            by_key.setdefault(file_key(path), ([], []))[side].append(path)
    pairs = Pairs([], [], [], [])
    for key in sorted(by_key, key=_natural):
        found, texts = by_key[key]
        if len(found) > 1 or len(texts) > 1:
            names = ", ".join(sorted(path.name for path in (found + texts)))
            pairs.remarks.append(
                Remark(names, "share a name", "leave one photo and one annotation")
            )
        elif not texts:
            pairs.lonely_images += found
        elif not found:
            pairs.lonely_annotations += texts
        else:
            pairs.both.append((found[0], texts[0]))
    return pairs


def file_key(path: Path) -> str:
    """What the names of a photo and its annotation have in common."""
    name = path.name.casefold()
    if name.endswith(".txt"):
        name = name.removesuffix(".txt").removeprefix("poly_").removeprefix("gt_")
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix}" in SUFFIXES else name


def file_number(path: Path) -> int | None:
    """The last number in a file's name, without its suffixes: 12 for ``gt_img_12.txt``."""
    numbers = re.findall(r"[0-9]+", file_key(path))
    return int(numbers[-1]) if numbers else None


def _natural(key: str) -> list[tuple[int, str]]:
    """Sorts img_2 before img_10."""
    parts = re.split(r"([0-9]+)", key)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
