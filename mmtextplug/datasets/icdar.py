"""Word annotations in text files, one a photo: the ICDAR challenges' and curved outlines.

Files are read as their owners wrote them, with byte order marks and any line ends, and paired with
their photos. What does not fit is never repaired in silence: it becomes a `Remark` with the line,
what is wrong, and what to do about it.
"""

# MMOCR's preparers are no help here: their parsers stop at the first bad line without naming it,
# take quotes and commas out of ICDAR 2013's transcriptions, and their packer drops all
# transcriptions and measures photos after turning them by their EXIF orientation.

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmtextplug.datasets.instances import Annotation, RawWord, Remark, check_words
from mmtextplug.datasets.word_lines import FORMATS, LineError
from mmtextplug.photos import SUFFIXES, read_header

ANNOTATION_SUFFIXES = {".txt", ".xml", ".gt", ".mat"}
"""What files of single photos' annotations end in."""


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
    path: Path, format_name: str, size: tuple[int, int] | None = None, unique: bool = False
) -> Annotation:
    """Read one annotation file; lines that are of no use are left out and reported.

    Words are judged by `check_words`. An empty file is a photo without words.

    Args:
        path (Path): The file.
        format_name (str): One of `FORMATS`.
        size (tuple[int, int], optional): (height, width) of the photo.
        unique (bool): Whether words with outline and text of an earlier one are left out.

    Raises:
        OSError: If the file cannot be read.
    """
    return check_words(parse_lines(path, FORMATS[format_name][0]), size, unique)


def parse_lines(path: Path, parse: Callable[[str], tuple]) -> Iterator[RawWord | Remark]:
    """The words of a file, and in between what is wrong with lines that hold none.

    Args:
        path (Path): The file.
        parse (callable): Makes outline, text and, if need be, whether it is ignored of a line; or
            raises a `LineError`.

    Raises:
        OSError: If the file cannot be read.
    """
    try:
        lines = read_lines(path)
    except UnicodeDecodeError as error:
        yield not_utf8(path, error)
        return
    for number, line in lines:
        where = f"{path}:{number}"
        try:
            yield RawWord(where, *parse(line))
        except LineError as error:
            yield Remark(where, error.fault, error.remedy)


def not_utf8(path: Path, error: UnicodeDecodeError) -> Remark:
    """What to say about a file in another encoding."""
    if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        remedy = "convert the file, such as by `iconv -f UTF-16 -t UTF-8`"
        return Remark(f"{path}:1", "file is UTF-16, not UTF-8", remedy)
    line = error.object.count(b"\n", 0, error.start) + 1
    remedy = "convert the file, such as by `iconv -f ISO-8859-1 -t UTF-8`"
    return Remark(f"{path}:{line}", "file is not UTF-8", remedy)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of a photo, not turned by its EXIF orientation.

    Benchmarks drew their truth on photos as they are stored.

    Raises:
        ValueError: If it has no header that Pillow can read.
    """
    return read_header(path)[:2]


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


def pair_files(
    images: Iterable[Path],
    annotations: Iterable[Path],
    key: Callable[[Path], str] | None = None,
) -> Pairs:
    """Find the photo of each annotation: ``gt_img_3.txt`` is that of ``img_3.jpg``.

    Names agree where their ``key``, by default `file_key`, is the same.
    """
    key = key or file_key
    by_key: dict[str, tuple[list[Path], list[Path]]] = {}
    for side, paths in enumerate((images, annotations)):
        for path in paths:
            by_key.setdefault(key(path), ([], []))[side].append(path)
    pairs = Pairs([], [], [], [])
    for name in sorted(by_key, key=natural):
        found, texts = by_key[name]
        if len(found) > 1 or len(texts) > 1:
            names = ", ".join(sorted(map(str, found + texts)))
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
    """What the names of a photo and its annotation have in common.

    That is the name without upper and lower case, an annotation's prefix ``gt_`` or ``poly_gt_``,
    and the suffixes; an annotation may be called after the whole photo (``img3.jpg.txt``).
    """
    name = path.name.casefold()
    stem, dot, suffix = name.rpartition(".")
    if dot and f".{suffix}" in ANNOTATION_SUFFIXES:
        name = stem.removeprefix("poly_").removeprefix("gt_")
        stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix}" in SUFFIXES else name


def file_number(path: Path) -> int | None:
    """The last number in a file's name, without its suffixes: 12 for ``gt_img_12.txt``."""
    numbers = re.findall(r"[0-9]+", file_key(path))
    return int(numbers[-1]) if numbers else None


def natural(key: str) -> list[tuple[int, str]]:
    """Sorts img_2 before img_10."""
    parts = re.split(r"([0-9]+)", key)
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in parts]
