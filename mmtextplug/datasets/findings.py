"""What is found in a few images of a dataset: in their entries, their files, their words."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from mmtextplug.datasets.annotation_files import Batch, Source, open_index
from mmtextplug.datasets.char_text import CharTextDataset
from mmtextplug.datasets.coco_words import COCO_NOTES, CocoImage
from mmtextplug.datasets.image_faults import IMAGE_NOTES, check_image
from mmtextplug.datasets.json_stream import Element
from mmtextplug.datasets.word_faults import WORD_NOTES, WordCheck, check_words

FILE_BROKEN = "annotation file cannot be read to its end"
INDEX_BROKEN = "index is damaged here"
BAD_SIZE = "height or width is no positive number"
IMAGE_TWICE = "image is there twice: the words of one entry are background of the other"
SHARED = "image is trained on and validated or tested with"

# The very words of the dataset that leaves such an entry out.
NO_DICT = CharTextDataset._entry_fault({"img_path": "", "instances": [None]})

NO_SIZE = "height or width is not given"
NO_WORDS = "image has no words"
ALL_IGNORED = "all words of the image are ignored"

NOTES = IMAGE_NOTES | WORD_NOTES | COCO_NOTES | {NO_SIZE, NO_WORDS, ALL_IGNORED}
"""Kinds that are worth a look; all others are errors."""

COUNTS = ("images", "words", "ignored", "characters")
MEASURES = ("words an image", "height in pixels", "width / height")
BINS = 1000
"""Of a logarithm, to 1: values, but numbers of words, are counted in bins a thousandth wide."""


class Drawing(NamedTuple):
    """What there is to see of a finding: the image, some outlines and characters, flat or not.

    ``close`` says that it is about the outlines, not about the image."""

    path: str
    upright: bool
    outlines: list
    chars: list
    close: bool


class Finding(NamedTuple):
    """Something that was found.

    Attributes:
        kind (str): The same words for all of a kind.
        where (str): Its place in the annotation file.
        image (str): The image, as the annotation names it.
        detail (str): More about it, or ''.
        drawing (Drawing | None): Of the first few of a kind.
    """

    kind: str
    where: str
    image: str
    detail: str
    drawing: Drawing | None = None

    @property
    def is_error(self) -> bool:
        return self.kind not in NOTES

    def __str__(self) -> str:
        return self.where + "".join(f", {part}" for part in (self.image, self.detail) if part)


@dataclass
class Part:
    """What came out of some images.

    Attributes:
        counts (Counter[str]): Of `COUNTS`.
        bins (dict[str, Counter[int]]): How often values occur, for each of `MEASURES`.
        findings (list[Finding]): In order.
        paths (list[tuple[int, int, str, str]]): For each image: number, hash, where, name.
    """

    counts: Counter[str] = field(default_factory=Counter)
    bins: dict[str, Counter[int]] = field(default_factory=lambda: {m: Counter() for m in MEASURES})
    findings: list[Finding] = field(default_factory=list)
    paths: list[tuple[int, int, str, str]] = field(default_factory=list)


def _bins(values: np.ndarray) -> list[int]:
    return np.rint(np.log(np.clip(values, 1e-6, 1e9)) * BINS).astype(int).tolist()


@dataclass(frozen=True)
class Task:
    """Images to check: ``decode`` them, keep ``drawings`` of so many of each kind."""

    source: Source
    batch: Batch
    decode: bool = False
    drawings: int = 0


def check_batch(task: Task) -> Part:
    """Check some images; runs in any process."""
    part = Part()
    seen: Counter[str] = Counter()
    for where, kind, detail in task.batch.faults:
        part.findings.append(Finding(kind, where, "", printable(detail)))
    for number, payload in task.batch.images:
        for finding, drawing in _check_entry(task, part, number, payload):
            seen[finding.kind] += 1
            if drawing is not None and seen[finding.kind] <= task.drawings:
                finding = finding._replace(drawing=drawing())
            part.findings.append(finding)
    return part


def _check_entry(
    task: Task, part: Part, number: int, payload: Element | CocoImage | None
) -> Iterator[tuple[Finding, Callable[[], Drawing] | None]]:
    """Findings, and what makes their drawings."""
    source, places, needed = task.source, None, task.source.needed
    word_at = "{}.instances[{}]"
    part.counts["images"] += 1
    if payload is None:
        where, word_at = f"image {number}", "{}, word {}"
        try:
            entry = open_index(os.fspath(source.path)).read(number)
        except ValueError as error:
            yield Finding(INDEX_BROKEN, where, "", printable(str(error))), None
            return
    elif isinstance(payload, CocoImage):
        (where, entry, places, faults), needed = payload, ()
        name = printable(str(entry["img_path"]))
        for place, kind, detail in faults:
            yield Finding(kind, place, name, printable(detail)), None
    else:
        where, entry = f"data_list[{number}]", json.loads(payload.text)
    # The very words of the dataset that would read it.
    fault = CharTextDataset._entry_fault(entry)
    if fault and fault != NO_DICT:
        yield Finding(fault, where, "", ""), None
        return
    name, listed = printable(entry["img_path"]), entry["instances"]
    # An empty one keeps the place, and with it the numbers, of each that is none.
    instances = [item if isinstance(item, dict) else {} for item in listed]
    strays = {index for index, item in enumerate(listed) if not isinstance(item, dict)}
    path = os.path.join(source.images, entry["img_path"])
    part.paths.append((number, _path_hash(path), where, name))

    size, fault = _size(entry)
    if fault:
        yield Finding(fault, where, name, ""), None
    image = check_image(path, size, upright=source.upright, decode=task.decode)

    def drawing(indices: Iterable[int], close: bool) -> Drawing:
        chosen = [instances[i] for i in indices]
        chars = [instance.get("chars") for instance in chosen]
        return Drawing(path, source.upright, [_outline(i) for i in chosen], chars, close)

    for kind, detail in image.faults:
        finding = Finding(kind, where, name, printable(detail))
        yield finding, lambda: drawing(range(len(instances)), False)
    check = check_words(instances, size or image.size, ordered=places is None, needed=needed)
    faults = [(index, NO_DICT, repr(listed[index])[:60]) for index in strays]
    faults += [found for found in check.faults if found[0] not in strays]
    for index, kind, detail in sorted(faults, key=lambda found: found[0]):
        place = word_at.format(where, index) if places is None else places[index]
        finding = Finding(kind, place, name, printable(detail))
        yield finding, lambda index=index: drawing([index], True)
    kind = _count(part, check)
    if kind:
        yield Finding(kind, where, name, ""), lambda: drawing(range(len(instances)), False)


def _outline(instance: dict) -> object:
    """As it is in the file, or the corners of its box."""
    if instance.get("polygon") is not None:
        return instance["polygon"]
    box = instance.get("bbox")
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return None
    return [box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]


def _size(entry: dict) -> tuple[tuple[int, int] | None, str]:
    """(height, width), and what is wrong with them."""
    sides = (entry.get("height"), entry.get("width"))
    if None in sides:
        return None, NO_SIZE
    fine = all(
        isinstance(side, (int, float)) and not isinstance(side, bool) and 0 < side < 2**31
        for side in sides
    )
    return (sides, "") if fine else (None, BAD_SIZE)


def _count(part: Part, check: WordCheck) -> str:
    """Adds up the words of an image; what there is to say of all of them."""
    words = [word for word in check.words if word is not None]
    ignored = sum(word.ignored for word in words)
    characters = sum(len(word.chars) for word in words if word.chars is not None)
    part.counts.update(words=len(words), ignored=ignored, characters=characters)
    columns = ([len(words)], _bins(check.heights), _bins(check.aspects))
    for measure, column in zip(MEASURES, columns):
        part.bins[measure].update(column)
    if not check.words:
        return NO_WORDS
    return ALL_IGNORED if words and ignored == len(words) else ""


def printable(text: str) -> str:
    """Text that any terminal takes: JSON may hold lone halves of UTF-16 pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


def _path_hash(path: str) -> int:
    folder, name = os.path.split(path)
    real = os.path.join(_real_folder(folder), name)
    return int.from_bytes(
        blake2b(real.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except ValueError:  # no path at all
        return folder
