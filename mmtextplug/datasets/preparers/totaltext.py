"""Total-Text's ground truth: the owners' text files and MATLAB files, and plain polygons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io

from mmtextplug.datasets.icdar import not_utf8, parse_lines, read_lines
from mmtextplug.datasets.instances import RawWord, Remark
from mmtextplug.datasets.word_lines import is_number, parse_polygon

_RECORD = re.compile(
    r"x:\s*\[\[(.*?)\]\]\s*,\s*y:\s*\[\[(.*?)\]\]\s*,\s*ornt:\s*\[(.*?)\]\s*,"
    r"\s*transcriptions:\s*(\[.*\])\s*"
)
_FORM = "x: [[x1 ... xn]], y: [[y1 ... yn]], ornt: [u'c'], transcriptions: [u'text']"
# Orientation or text of words that nobody can read.
_ILLEGIBLE = "#"


def read_totaltext(path: Path) -> Iterator[RawWord | Remark]:
    """The words of a file of one photo, in whichever of the three forms it is written.

    Raises:
        OSError: If the file cannot be read.
    """
    if path.suffix.lower() == ".mat":
        yield from _read_mat(path)
        return
    try:
        lines = read_lines(path)
    except UnicodeDecodeError as error:
        yield not_utf8(path, error)
        return
    if any(line.startswith("x:") for _, line in lines):
        yield from _read_records(path, lines)
        return
    for word in parse_lines(path, parse_polygon):
        if isinstance(word, RawWord) and word.text == _ILLEGIBLE:
            word.ignored = True
        yield word


def _read_records(path: Path, lines: list[tuple[int, str]]) -> Iterator[RawWord | Remark]:
    """A record is a line, or several: NumPy broke long rows of numbers."""
    records: list[tuple[int, str]] = []
    for number, line in lines:
        if line.startswith("x:") or not records:
            records.append((number, line))
        else:
            records[-1] = (records[-1][0], f"{records[-1][1]} {line}")
    for number, record in records:
        where = f"{path}:{number}"
        match = _RECORD.fullmatch(record)
        if match is None:
            yield Remark(where, f"does not fit {_FORM}", "correct the record")
            continue
        x, y = (re.split(r"[\s,]+", match[i].strip(" ,")) for i in (1, 2))
        if len(x) != len(y) or not all(map(is_number, x + y)):
            yield Remark(where, "x and y are not as many numbers", "correct the record")
            continue
        try:
            texts = ast.literal_eval(match[4])
        except (ValueError, SyntaxError):
            yield Remark(where, "transcription is no list of strings", "correct the record")
            continue
        orientation = re.sub(r"^u?(['\"])(.*)\1$", r"\2", match[3].strip())
        yield _word(where, x, y, ",".join(map(str, texts)), orientation)


def _read_mat(path: Path) -> Iterator[RawWord | Remark]:
    """``polygt`` (N, 6): 'x:', x (1, n), 'y:', y (1, n), text, orientation."""
    remedy = "download it again"
    try:
        content = scipy.io.loadmat(path)
    except OSError:
        raise
    except Exception as error:  # SciPy raises whatever it likes on damaged files
        yield Remark(str(path), "is no MATLAB file", f"{remedy} ({type(error).__name__})")
        return
    rows = next((content[name] for name in ("polygt", "gt") if name in content), None)
    if rows is None or (rows.size and (rows.ndim != 2 or rows.shape[1] != 6)):
        yield Remark(str(path), "has no polygt of 6 columns", remedy)
        return
    for number, row in enumerate(rows if rows.size else (), 1):
        where = f"{path}, polygt[{number}]"
        x, y = (np.ravel(row[i]) for i in (1, 3))
        if len(x) != len(y) or not all(part.dtype.kind in "iuf" for part in (x, y)):
            yield Remark(where, "x and y are not as many numbers", remedy)
            continue
        text, orientation = ("".join(map(str, np.ravel(row[i]))) for i in (4, 5))
        yield _word(where, x, y, text, orientation)


def _word(where: str, x, y, text: str, orientation: str) -> RawWord:
    outline = [float(value) for point in zip(x, y) for value in point]
    ignored = _ILLEGIBLE in (text.strip(), orientation.strip())
    return RawWord(where, outline, text.strip(), ignored)
