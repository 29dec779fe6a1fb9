"""The index of SynthText: flat arrays written to a folder.

The folder holds a manifest, ``index.json``, and one ``.npy`` file for each entry of `ARRAYS`, to
be mapped into memory by `mmtextplug.datasets.synthtext`. What is wrong with the annotations is
the matter of `mmtextplug.datasets.synthtext_repair`.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmtextplug.files import write_atomically

FORMAT = "mmtextplug SynthText index"
VERSION = 1
MANIFEST = "index.json"

ARRAYS = {
    "names": ("|u1", ()),
    "texts": ("|u1", ()),
    "starts": ("<i8", (4,)),
    "sizes": ("<i4", (2,)),
    "lengths": ("<i4", (2,)),
    "words": ("<f4", (4, 2)),
    "chars": ("<f4", (4, 2)),
}
"""Type and shape of a row of each array.

``names`` and ``texts`` are UTF-8. ``starts`` has a row for each image and one more: where its name,
its words, their texts and their characters begin. ``sizes`` is (height, width) of each image, zero
if not known. ``lengths`` has a row for each word: bytes of its text, number of its characters (0 if
they are unknown). ``words`` and ``chars`` are quads in pixels, clockwise from the top left.
"""

_HEADER = 128  # bytes before the data of an .npy file
# Lone halves of UTF-16 pairs may come out of MATLAB's strings.
ENCODING = ("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Chunk:
    """Some images of an index: n images, W words, C characters.

    Attributes:
        names (list[str]): n.
        sizes (np.ndarray): ``(n, 2)`` height and width; 0 if not known.
        word_counts (np.ndarray): ``(n,)``.
        texts (list[str]): W.
        words (np.ndarray): ``(W, 4, 2)``.
        char_counts (np.ndarray): ``(W,)``; 0 where the characters are unknown.
        chars (np.ndarray): ``(C, 4, 2)``.
    """

    names: list[str]
    sizes: np.ndarray
    word_counts: np.ndarray
    texts: list[str]
    words: np.ndarray
    char_counts: np.ndarray
    chars: np.ndarray


def check_target(out: Path, overwrite: bool = False) -> dict | None:
    """Whether an index may be written to a folder.

    Args:
        out (Path): The folder.
        overwrite (bool): Whether an index that is there may be replaced.

    Returns:
        dict | None: The manifest of the index that is there and stays; None to write.

    Raises:
        ValueError: If something else is there, or an index that cannot be read; if an index is to
            be replaced that has something else in its folder.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise ValueError(f"{out}: is there, and is no index of this tool; name another --out")
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        ours = isinstance(content, dict) and content.get("format") == FORMAT
        version = content.get("version") if ours else None
        fault = "" if version == VERSION else f"version {version}, not {VERSION}"
    except ValueError as error:
        ours, fault = True, str(error)  # one of this tool that is damaged, as far as it shows
    if ours and not fault and not overwrite:
        return content
    foreign = _foreign_entry(out) if ours else MANIFEST
    if foreign:
        raise ValueError(
            f"{out}: is not replaced, since {foreign} in it is no part of an index; name another "
            "--out, or move that elsewhere"
        )
    if not overwrite:
        raise ValueError(f"{manifest}: cannot be used ({fault}); replace with --overwrite")
    return None


def _foreign_entry(folder: Path) -> str:
    """The first entry that no index has; '' if there is none."""
    parts = {MANIFEST, *(f"{name}.npy" for name in ARRAYS)}
    entries = sorted(folder.iterdir())
    return next((e.name for e in entries if e.name not in parts or not e.is_file()), "")


def write_index(
    out: Path,
    chunks: Iterable[Chunk],
    *,
    source: Mapping[str, object] | None = None,
    faults: Mapping[str, int] | None = None,
    images: Path | None = None,
) -> dict:
    """Write an index; the folder is there when all of it is, and stays as it was if that fails.

    A process that is killed while the new folder takes the place of the old one leaves the latter
    beside it, as ``.<name>.*.old``.

    Args:
        out (Path): The folder; an index in it is replaced.
        chunks (Iterable[Chunk]): The images, in order.
        source (Mapping, optional): What the manifest is to say about the origin.
        faults (Mapping, optional): Likewise, about faults; read after the last chunk.
        images (Path, optional): What the names of the images start from, to be remembered.

    Returns:
        dict: The manifest: ``format``, ``version``, ``source``, ``counts``, ``faults``, ``arrays``,
        the number of rows of each, and ``images`` if that is given, as `images_entry` has it.

    Raises:
        OSError: If there is no space, or no permission.
        ValueError: If there is no image, or something else than an index in the folder.
    """
    out = Path(os.path.abspath(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        rows = _write_arrays(partial, chunks)
        if not rows["sizes"]:
            raise ValueError(f"{out}: not written: no usable image")
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "source": dict(source or {}),
            "counts": {
                "images": rows["sizes"],
                "words": rows["words"],
                "characters": rows["chars"],
            },
            "faults": dict(faults or {}),
            "arrays": rows,
        }
        if images is not None:
            manifest["images"] = images_entry(out, images)
        (partial / MANIFEST).write_bytes(_manifest_bytes(manifest))
        partial.chmod(0o777 & ~_umask())  # a temporary folder is its owner's alone
        check_target(out, overwrite=True)
        _replace(out, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def images_entry(out: Path, images: Path) -> str:
    """A folder of images as the manifest of an index has it: with slashes, from the index's folder,
    so that both can be moved together."""
    out, images = os.path.abspath(out), os.path.abspath(images)
    try:
        return Path(os.path.relpath(images, out)).as_posix()
    except ValueError:  # on another drive
        return Path(images).as_posix()


def remember_images(out: Path, images: Path) -> bool:
    """Write into the manifest of an index which folder its images are in.

    Returns:
        bool: Whether the manifest said something else, or nothing, before.

    Raises:
        OSError: If the manifest cannot be read or written.
    """
    path = out / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    entry = images_entry(out, images)
    if manifest.get("images") == entry:
        return False
    write_atomically(path, _manifest_bytes(manifest | {"images": entry}))
    return True


def _manifest_bytes(manifest: dict) -> bytes:
    return json.dumps(manifest, indent=1, ensure_ascii=False).encode()


def _replace(out: Path, new: Path) -> None:
    old = new.with_suffix(".old")
    try:
        if out.exists():
            out.rename(old)
        new.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_arrays(folder: Path, chunks: Iterable[Chunk]) -> dict[str, int]:
    rows = dict.fromkeys(ARRAYS, 0)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(open(folder / f"{name}.npy", "wb", buffering=1 << 20))
            for name in ARRAYS
        }

        def append(name: str, values: np.ndarray) -> None:
            dtype, row = ARRAYS[name]
            values = np.ascontiguousarray(values, dtype=dtype).reshape(-1, *row)
            files[name].write(values.tobytes())
            rows[name] += len(values)

        for file in files.values():
            file.write(bytes(_HEADER))
        append("starts", np.zeros((1, 4)))
        end = np.zeros((1, 4), np.int64)
        for chunk in chunks:
            starts = end + _ends(chunk, append)
            append("starts", starts)
            end = starts[-1:] if len(starts) else end
        for name, file in files.items():
            file.seek(0)
            file.write(_npy_header(*ARRAYS[name], rows[name]))
    return rows


def _ends(chunk: Chunk, append: Callable[[str, np.ndarray], None]) -> np.ndarray:
    """Append a chunk's rows; return where its images end, ``(n, 4)``, counted from its start."""
    names = [name.encode(*ENCODING) for name in chunk.names]
    texts = [text.encode(*ENCODING) for text in chunk.texts]
    lengths = np.stack([np.array([len(t) for t in texts], np.int64), chunk.char_counts], 1)
    append("names", np.frombuffer(b"".join(names), np.uint8))
    append("texts", np.frombuffer(b"".join(texts), np.uint8))
    append("sizes", chunk.sizes)
    append("lengths", lengths)
    append("words", chunk.words)
    append("chars", chunk.chars)
    last = np.cumsum(chunk.word_counts)
    totals = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(lengths, axis=0)])
    return np.column_stack([np.cumsum([len(n) for n in names]), last, totals[last]])


def _npy_header(dtype: str, row: tuple[int, ...], count: int) -> bytes:
    """Header of version 1.0 of NumPy's format, of a fixed size: it is written last."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": (count, *row)})
    size = _HEADER - 10
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", size) + text.ljust(size - 1).encode() + b"\n"
