"""SynthText's ``gt.mat``, read into flat arrays as it stands."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class GroundTruth:
    """What ``gt.mat`` says, as it says it.

    Attributes:
        names (list[str]): N image files; '' where there is none.
        texts (list[str]): N, all lines of text of an image.
        words (np.ndarray): ``(W, 4, 2)`` float32, the word boxes of all images.
        word_counts (np.ndarray): ``(N,)`` int64; -1 for boxes of an image that are no boxes.
        chars (np.ndarray): ``(C, 4, 2)`` float32, the character boxes of all images.
        char_counts (np.ndarray): ``(N,)`` int64, as ``word_counts``.
    """

    names: list[str]
    texts: list[str]
    words: np.ndarray
    word_counts: np.ndarray
    chars: np.ndarray
    char_counts: np.ndarray


def read_gt_mat(path: Path, progress: Callable[[str], None] = lambda what: None) -> GroundTruth:
    """Read SynthText's ground truth; its 858,750 images take minutes and some gigabytes.

    Args:
        path (Path): MATLAB file up to version 7 with the cell arrays ``imnames``, ``txt``,
            ``wordBB`` (2x4xN, or 2x4 for one word) and ``charBB``.
        progress (Callable): Called with the name of each variable before it is read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, or cut off.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it belongs to the download of SynthText")
    columns = {}
    # One by one, and shrunk at once: all of them as SciPy gives them would not fit many machines.
    for name, convert in (
        ("imnames", lambda cells: [next(iter(_strings(cell)), "").strip() for cell in cells]),
        ("txt", lambda cells: ["\n".join(_strings(cell)) for cell in cells]),
        ("wordBB", _boxes),
        ("charBB", _boxes),
    ):
        progress(name)
        columns[name] = convert(_read_cells(path, name))
    words, word_counts = columns["wordBB"]
    chars, char_counts = columns["charBB"]
    lengths = {
        "imnames": len(columns["imnames"]),
        "txt": len(columns["txt"]),
        "wordBB": len(word_counts),
        "charBB": len(char_counts),
    }
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: variables of different lengths: {lengths}; download it again")
    return GroundTruth(columns["imnames"], columns["txt"], words, word_counts, chars, char_counts)


def _read_cells(path: Path, name: str) -> np.ndarray:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=[name], appendmat=False)
    except NotImplementedError:
        raise ValueError(
            f"{path}: MATLAB 7.3 files are not supported; save it in MATLAB with '-v7'"
        ) from None
    except (
        *(MatReadError, ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(OSError, EOFError, MemoryError, zlib.error, struct.error),
    ) as error:
        raise ValueError(
            f"{path}: {name} cannot be read ({type(error).__name__}: {error}); the file is cut off,"
            " damaged or no MATLAB file, or memory is short: download it again"
        ) from error
    cells = content.get(name)
    if cells is None or cells.dtype != object:
        raise ValueError(f"{path}: no cell array {name!r} in it; this is not SynthText's gt.mat")
    return cells.ravel()


def _strings(cell: np.ndarray) -> list[str]:
    cell = np.asarray(cell)
    if cell.dtype == object:
        return [text for inner in cell.ravel() for text in _strings(inner)]
    return cell.ravel().tolist() if cell.dtype.kind == "U" else []


def _boxes(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Empties the cells: both forms of all boxes would need twice the memory."""
    counts = np.full(len(cells), -1, np.int64)
    for i, cell in enumerate(cells):
        cell = np.asarray(cell)
        if cell.size == 0:
            counts[i] = 0
        elif cell.shape[:2] == (2, 4) and cell.ndim in (2, 3) and cell.dtype.kind in "iuf":
            counts[i] = cell.size // 8
    ends = np.cumsum(np.maximum(counts, 0))
    quads = np.empty((int(ends[-1]) if len(ends) else 0, 4, 2), np.float32)
    with np.errstate(over="ignore"):
        for i in np.flatnonzero(counts > 0):
            quads[ends[i] - counts[i] : ends[i]] = cells[i].reshape(2, 4, -1).transpose(2, 1, 0)
            cells[i] = None
    return quads, counts
