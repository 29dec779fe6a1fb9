"""JSON files about all photos of a set: ArT, COCO-Text, and ICDAR 2003's characters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mmtextplug.datasets.instances import RawWord, Remark
from mmtextplug.datasets.preparers.characters import Spelled, box_outline
from mmtextplug.datasets.preparers.finding import Listing, Page

_REMEDY = "correct or remove the entry"


def load_json(path: Path) -> dict:
    """An object of a JSON file.

    Raises:
        ValueError: If it holds none.
        OSError: If the file cannot be read.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}; download it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is no JSON object; download it again")
    return content


def read_art(path: Path, split: str) -> Listing:
    """ICDAR 2019 ArT's ``train_labels.json``: photo -> points, transcription, illegibility.

    Raises:
        ValueError: If it is no such list.
    """
    pages = []
    for name, entries in load_json(path).items():
        if not isinstance(entries, list):
            raise ValueError(f"{path}: {name!r} is no list of words; is it another challenge's?")
        page = Page(name, f"{path}, {name}")
        for number, entry in enumerate(entries):
            where = f"{page.where}[{number}]"
            if not isinstance(entry, dict):
                page.words.append(Remark(where, "entry is no object", _REMEDY))
                continue
            page.words.append(
                _word(
                    where,
                    entry.get("points"),
                    entry.get("transcription"),
                    entry.get("illegibility") in (True, "true", "True", 1),
                )
            )
        pages.append(page)
    return Listing(pages)


def read_cocotext(path: Path, split: str) -> Listing:
    """COCO-Text, versions 1 and 2: ``imgs`` with their ``set``, ``anns`` and ``imgToAnns``.

    Words that are marked as illegible are ignored. A part without any annotation, as the test set
    of version 2 is published, counts as not there.

    Raises:
        ValueError: If it is no such list.
    """
    content = load_json(path)
    images, annotations = content.get("imgs"), content.get("anns")
    if not isinstance(images, dict) or not isinstance(annotations, dict):
        raise ValueError(f"{path}: has no imgs and anns as COCO-Text has them")
    listing = Listing([])
    known = {}
    for key, image in images.items():
        if isinstance(image, dict):
            known[str(image.get("id", key))] = image
        else:
            where = f"{path}, imgs {key}"
            listing.remarks.append(Remark(where, "photo's entry is no object", _REMEDY))
    of_image: dict[str, list[tuple[str, dict]]] = {}
    for key, entry in annotations.items():
        image = str(entry.get("image_id")) if isinstance(entry, dict) else ""
        if image in known:
            of_image.setdefault(image, []).append((key, entry))
            continue
        what = "word of a photo that is not in imgs" if image else "word's entry is no object"
        listing.remarks.append(Remark(f"{path}, anns {key}", what, _REMEDY))
    for key, image in known.items():
        name = str(image.get("file_name"))
        if image.get("set") != split:
            listing.others.add(name)
            continue
        page = Page(name, f"{path}, {name}")
        for number, entry in of_image.get(key, ()):
            outline = entry.get("mask") or entry.get("polygon") or _corners(entry.get("bbox"))
            illegible = entry.get("legibility") == "illegible"
            where = f"{page.where}, anns {number}"
            page.words.append(_word(where, outline, entry.get("utf8_string", ""), illegible))
        listing.pages.append(page)
    if not any(page.words for page in listing.pages):
        listing.others |= {page.name for page in listing.pages}
        listing.pages = []
    return listing


def read_characters(path: Path) -> Iterator[tuple[str, list[tuple[RawWord, Spelled]]]]:
    """Photos of ``chars.json``: name, and each word with its characters.

    Raises:
        ValueError: If it is no such list.
    """
    try:
        for image in load_json(path)["images"]:
            words = []
            for number, word in enumerate(image["words"]):
                where = f"{path}, {image['file_name']}, words[{number}]"
                spelled = Spelled(where, "", [])
                for character in word["chars"]:
                    spelled.add(character["c"], *map(float, character["box"]))
                outline = box_outline(*map(float, word["box"]))
                words.append((RawWord(where, outline, word["text"]), spelled))
            yield image["file_name"], words
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: has no images with words (text, box) and chars (c, box): {error!r}"
        ) from None


def _word(where: str, outline: object, text: object, ignored: bool) -> RawWord | Remark:
    try:
        flat = [float(value) for point in outline for value in _numbers(point)]
    except (TypeError, ValueError, OverflowError):
        return Remark(where, "outline is no list of numbers", _REMEDY)
    if len(flat) % 2:
        return Remark(where, "outline has an odd number of coordinates", _REMEDY)
    return RawWord(where, flat, "" if text is None else str(text).strip(), ignored)


def _numbers(point: object) -> list:
    return list(point) if isinstance(point, (list, tuple)) else [point]


def _corners(box: object) -> object:
    """Of x, y, width and height."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError):
        return None
    return box_outline(x, y, x + width, y + height)
