"""What all sets share: photos and words found below a folder, checked, and made MMOCR's JSON."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmtextplug.datasets.icdar import Pairs, file_number
from mmtextplug.datasets.image_faults import CUT_OFF, check_image
from mmtextplug.datasets.instances import Annotation, RawWord, Remark, check_words
from mmtextplug.datasets.preparers.folders import Folder
from mmtextplug.photos import read_header

METAINFO = {
    "dataset_type": "TextDetDataset",
    "task_name": "textdet",
    "category": [{"id": 0, "name": "text"}],
}
"""What MMOCR's annotation files say of themselves."""

_KINDS = {
    "CMYK": ("photo is CMYK", "loaders convert it to RGB, by rules of their own"),
    "GIF": (
        "photo is a GIF",
        "OpenCV before 4.11 cannot read it: convert it to PNG, or load with imdecode_backend="
        "'pillow'",
    ),
}
_END_MARKED = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"}


class MissingFilesError(ValueError):
    """Photos or annotations of one part of a set that were looked for and not found.

    Attributes:
        half (bool): Whether one of both is there.
    """

    def __init__(self, message: str, half: bool) -> None:
        super().__init__(message)
        self.half = half


@dataclass
class Material:
    """The files of one part of a set.

    Attributes:
        pairs (Pairs): Photos, and what `read` takes: a path, or whatever a list gave.
        read (callable): Words of a photo, and remarks.
        taken (list[tuple[str, Path, int]]): For what, from where, how many files or entries.
        passed_over (list[Folder]): Folders that hold the same once more.
        sure (bool): Whether names say that it is this part of the set.
    """

    pairs: Pairs
    read: Callable[[Any], Iterable[RawWord | Remark]]
    taken: list[tuple[str, Path, int]]
    passed_over: list[Folder] = field(default_factory=list)
    sure: bool = True

    def select(self, numbers: Sequence[range]) -> None:
        """Keep photos whose last number is in one of the ranges."""

        def chosen(path: object) -> bool:
            return any(file_number(Path(str(path))) in part for part in numbers)

        self.pairs = Pairs(
            [pair for pair in self.pairs.both if chosen(pair[0])],
            [*filter(chosen, self.pairs.lonely_images)],
            [*filter(chosen, self.pairs.lonely_annotations)],
            self.pairs.remarks,
        )


@dataclass
class Prepared:
    """What became of one part of a set.

    Attributes:
        entries (list[dict]): Of ``data_list``.
        remarks (list[Remark]): What was found on the way.
        pairs (Pairs): The files.
        characters (int): How many characters were found, whether or not a word has them now.
    """

    entries: list[dict]
    remarks: list[Remark]
    pairs: Pairs
    characters: int = 0


def prepare(
    material: Material, root: Path, progress: Callable[[list], Iterable] = iter
) -> Prepared:
    """Read and check all photos and words.

    Args:
        material (Material): Its files.
        root (Path): ``img_path`` starts from it.
        progress (callable): Goes through a list, and may show how far it is.

    Raises:
        OSError: If an annotation file cannot be read.
    """
    result = Prepared([], list(material.pairs.remarks), material.pairs)
    result.characters = sum(remark.characters for remark in material.pairs.remarks)

    def read(handle: Any, size: tuple[int, int]) -> Annotation:
        words = list(material.read(handle))
        for word in words:
            known = word.characters if isinstance(word, Remark) else len(word.chars or ())
            result.characters += known
        return check_words(words, size, unique=True)

    for image, handle in progress(material.pairs.both):
        entry, remarks = photo_entry(
            image,
            root,
            getattr(handle, "where", str(handle)),
            partial(read, handle),
        )
        result.remarks += remarks
        if entry is not None:
            result.entries.append(entry)
    return result


def photo_entry(
    image: Path, root: Path, annotation: str, read: Callable[[tuple[int, int]], Annotation]
) -> tuple[dict | None, list[Remark]]:
    """The entry of ``data_list`` of a photo, None if it is of no use; and what was found.

    Args:
        image (Path): The photo.
        root (Path): ``img_path`` starts from it.
        annotation (str): What names the annotation in messages.
        read (callable): Reads it, given (height, width) of the photo.
    """
    try:
        *size, kind = read_header(image)
    except ValueError as error:
        return None, [Remark(str(image), f"photo {error}", "replace or remove it")]
    # Headers of photos that were downloaded in part are whole. Of formats whose ends are not known
    # by a marker there are few.
    decode = image.suffix.lower() not in _END_MARKED
    faults = dict(check_image(str(image), decode=decode).faults)
    if CUT_OFF in faults:
        remedy = f"download it again ({faults[CUT_OFF]})"
        return None, [Remark(str(image), "photo is cut off", remedy)]
    content = read(tuple(size))
    if not content.usable:
        # Its words would pass for background.
        what = "photo left out, no word of it can be read"
        return None, [*content.remarks, Remark(annotation, what, "correct its lines")]
    if kind:
        content.remarks.append(Remark(str(image), *_KINDS[kind], kept=True))
    entry = {
        "img_path": relative_name(image, root),
        "height": size[0],
        "width": size[1],
        "instances": content.instances,
    }
    return entry, content.remarks


def relative_name(image: Path, root: Path) -> str:
    """Path of a photo below the root, with slashes."""
    return Path(os.path.abspath(image)).relative_to(os.path.abspath(root)).as_posix()


def count_words(entries: Iterable[dict]) -> dict[str, int]:
    """How many photos, words and characters there are, in the order of a table's rows."""
    counts = dict.fromkeys(
        ("photos", "  without words", "words", "  ignored", "  with characters", "characters"), 0
    )
    for entry in entries:
        words = entry["instances"]
        counts["photos"] += 1
        counts["  without words"] += not words
        counts["words"] += len(words)
        counts["  ignored"] += sum(word["ignore"] for word in words)
        counts["  with characters"] += sum("chars" in word for word in words)
        counts["characters"] += sum(len(word.get("chars", ())) for word in words)
    return counts
