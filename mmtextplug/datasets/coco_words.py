"""COCO's JSON as entries of MMOCR's, and what its readers leave out or stumble over.

MMDetection's ``CocoDataset`` and MMOCR's ``IcdarDataset`` drop annotations without a word; here
each that they drop, or fail on, has a name.
"""

from __future__ import annotations

import math
from typing import NamedTuple

ID_TWICE = "id is there twice"
UNKNOWN_IMAGE = "annotation of an image that is not in the file"
UNKNOWN_CATEGORY = "annotation of a category that is not in the file"
NO_FIELD = "annotation or image lacks a field"
NO_AREA = "annotation has no area, or a box thinner than a pixel"
RUN_LENGTHS = "outline is a mask, which IcdarDataset does not read"

MARKED_IGNORE = "annotation marked ignore: readers leave it out"
SEVERAL_PARTS = "outline in several parts, of which IcdarDataset reads the first"

COCO_NOTES = frozenset({MARKED_IGNORE, SEVERAL_PARTS, RUN_LENGTHS})
"""Kinds that are worth a look; all others are errors."""

Fault = tuple[str, str, str]
"""Where, kind, detail."""


class CocoImage(NamedTuple):
    """An image of the file.

    Attributes:
        where (str): Its place in the file.
        entry (dict): As in ``data_list``.
        places (list[str]): Where each of its instances stands in the file.
        faults (list[Fault]): What is wrong with the annotations that readers leave out.
    """

    where: str
    entry: dict
    places: list[str]
    faults: list[Fault]


def coco_images(content: dict) -> tuple[list[Fault], list[CocoImage]]:
    """What a COCO JSON holds.

    Args:
        content (dict): The file.

    Returns:
        tuple: Faults that belong to no image, and the images.

    Raises:
        ValueError: If a list is missing.
    """
    for name in ("images", "annotations", "categories"):
        rows = content.get(name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"field {name!r} of a COCO file is missing, or no list of objects")
    categories = {_key(row.get("id")) for row in content["categories"]}
    faults: list[Fault] = []
    by_image: dict[object, list[tuple[str, dict]]] = {}
    for number, image in enumerate(content["images"]):
        where = f"images[{number}]"
        if "id" not in image:
            faults.append((where, NO_FIELD, "id"))
        elif _key(image["id"]) in by_image:
            faults.append((where, ID_TWICE, repr(image["id"])))
        else:
            by_image[_key(image["id"])] = []
    ids: set[object] = set()
    for number, annotation in enumerate(content["annotations"]):
        where = f"annotations[{number}]"
        missing = [name for name in ("id", "image_id") if name not in annotation]
        if missing:
            faults.append((where, NO_FIELD, ", ".join(missing)))
        elif _key(annotation["id"]) in ids:
            faults.append((where, ID_TWICE, repr(annotation["id"])))
        elif _key(annotation["image_id"]) not in by_image:
            faults.append((where, UNKNOWN_IMAGE, repr(annotation["image_id"])))
        else:
            by_image[_key(annotation["image_id"])].append((where, annotation))
        ids.add(_key(annotation.get("id")))
    images = []
    for number, image in enumerate(content["images"]):
        # Of two images with one id the annotations are the first's.
        rows = by_image.pop(_key(image["id"]), []) if "id" in image else []
        images.append(_image(f"images[{number}]", image, rows, categories))
    return faults, images


def _key(value: object) -> object:
    """Something that can be looked up; JSON may hold a list where an id should be."""
    return value if isinstance(value, (int, str)) else repr(value)


def _image(
    where: str, image: dict, rows: list[tuple[str, dict]], categories: set[object]
) -> CocoImage:
    faults: list[Fault] = []
    missing = [name for name in ("height", "width") if name not in image]
    if missing:
        faults.append((where, NO_FIELD, ", ".join(missing)))
    instances, places = [], []
    for place, annotation in rows:
        found, instance = _instance(annotation, categories)
        faults += [(place, *fault) for fault in found]
        if instance is not None:
            instances.append(instance)
            places.append(place)
    entry = {"img_path": image.get("file_name"), "instances": instances}
    entry.update((name, image[name]) for name in ("height", "width") if name in image)
    return CocoImage(where, entry, places, faults)


def _instance(
    annotation: dict, categories: set[object]
) -> tuple[list[tuple[str, str]], dict | None]:
    missing = [name for name in ("bbox", "area", "category_id") if name not in annotation]
    if missing:
        return [(NO_FIELD, ", ".join(missing))], None
    if annotation.get("ignore", False):
        return [(MARKED_IGNORE, "")], None
    if _key(annotation["category_id"]) not in categories:
        return [(UNKNOWN_CATEGORY, repr(annotation["category_id"])[:60])], None
    instance = {"ignore": bool(annotation.get("iscrowd", False))}
    faults: list[tuple[str, str]] = []
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
        area = float(annotation["area"])
    except (TypeError, ValueError, OverflowError):
        return [], {**instance, "bbox": annotation["bbox"]}  # `read_word` says what is wrong
    instance["bbox"] = [x, y, x + width, y + height]
    if all(map(math.isfinite, (x, y, width, height))) and (area <= 0 or width < 1 or height < 1):
        return [(NO_AREA, f"bbox {annotation['bbox']}, area {annotation['area']}")], None
    outline = annotation.get("segmentation")
    if isinstance(outline, dict):
        faults.append((RUN_LENGTHS, ""))
    elif outline:
        several = isinstance(outline, list) and len(outline) > 1
        if several and isinstance(outline[0], list):
            faults.append((SEVERAL_PARTS, f"{len(outline)} parts"))
        instance["polygon"] = outline[0] if isinstance(outline, list) else outline
    return faults, instance
