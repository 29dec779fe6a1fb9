"""Object labels of KITTI (``label_2/000123.txt``, one object a line), and what COCO makes of them.

Which of the nine types are categories, one of two sets says; what looks like a category and is none
is to be ignored, and ``DontCare`` marks regions where nobody labelled anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmtextplug.datasets.icdar import read_lines
from mmtextplug.datasets.instances import Remark

CATEGORIES = {
    "paper": ("Car", "Pedestrian", "Cyclist", "Truck", "Van", "Tram", "Misc"),
    "benchmark": ("Car", "Pedestrian", "Cyclist"),
}
"""The categories of each set; COCO ids count from 1, so those of both sets have the same in both.

``paper``: the seven of S-OHEM's Table 3 (Li et al. 2017, section 4.4); its "persn" is Pedestrian.
``benchmark``: those that KITTI's own benchmark of 2D boxes ranks.
"""

IGNORED_AS = {"Van": ("Car",), "Person_sitting": ("Pedestrian",)}
"""Types that, in a set in which they are no category, are neither objects nor background of these.

``DontCare`` is so for all categories. S-OHEM's paper does not say what it does with either; this is
what KITTI's benchmark does.
"""

_FIELDS = "type truncated occluded alpha x1 y1 x2 y2 h w l x y z rotation"
_COUNT = len(_FIELDS.split())


class LabelError(ValueError):
    """A line that is no label: what is wrong, the same words for all of a kind, and the remedy."""

    def __init__(self, fault: str, remedy: str) -> None:
        super().__init__(fault)
        self.fault = fault
        self.remedy = remedy


@dataclass(frozen=True)
class KittiObject:
    """One line: its type, and its box (x1, y1, x2, y2) in pixels, 0-based."""

    type: str
    box: tuple[float, float, float, float]


@dataclass
class Labels:
    """One file: objects of all types in their order, and what was found on the way."""

    objects: list[KittiObject] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """False where there are objects of which none could be read: no empty street, that."""
        return bool(self.objects) or all(remark.kept for remark in self.remarks)


def parse_line(line: str) -> KittiObject:
    """Read one line of a label file.

    Raises:
        LabelError: If it has not 15 fields, numbers that are none, or a box without area.
    """
    kind, *values = line.split()
    if len(values) == _COUNT:
        raise LabelError("16 fields, a detection with its score", "give labels, not results")
    if len(values) != _COUNT - 1:
        raise LabelError(f"not the {_COUNT} fields of a label", f"they are {_FIELDS}")
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        raise LabelError("a field is no number", "correct the line") from None
    if not all(map(math.isfinite, numbers)):
        raise LabelError("a field is not finite", "correct the line")
    x1, y1, x2, y2 = numbers[3:7]
    if x1 >= x2 or y1 >= y2:
        raise LabelError("box without area", "correct or remove the line")
    return KittiObject(kind, (x1, y1, x2, y2))


def read_labels(path: Path, size: tuple[int, int]) -> Labels:
    """Read a label file; lines that are of no use are left out and reported, boxes are clipped.

    Args:
        path (Path): The file. An empty one is an image without objects.
        size (tuple[int, int]): (height, width) of the image.

    Raises:
        OSError: If the file cannot be read.
    """
    result = Labels()
    try:
        lines = read_lines(path)
    except UnicodeDecodeError:
        result.remarks.append(Remark(str(path), "file is not text", "replace or remove it"))
        return result
    for number, line in lines:
        where = f"{path}:{number}"
        try:
            found = parse_line(line)
        except LabelError as error:
            result.remarks.append(Remark(where, error.fault, error.remedy))
            continue
        box = clip(found.box, size)
        if box is None:
            remedy = "look whether the image is that of the labels"
            result.remarks.append(Remark(where, "box outside of its image", remedy))
            continue
        if box != found.box:
            remedy = "look whether the image is that of the labels"
            result.remarks.append(Remark(where, "box clipped to its image", remedy, kept=True))
        result.objects.append(KittiObject(found.type, box))
    return result


def clip(
    box: tuple[float, float, float, float], size: tuple[int, int]
) -> tuple[float, float, float, float] | None:
    """What lies in an image of a box (x1, y1, x2, y2), None if that has no area.

    Args:
        box (tuple): In pixels.
        size (tuple[int, int]): (height, width).
    """
    height, width = size
    x1, x2 = (min(max(value, 0.0), float(width)) for value in box[::2])
    y1, y2 = (min(max(value, 0.0), float(height)) for value in box[1::2])
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def coco_annotations(
    objects: Iterable[KittiObject], categories: Sequence[str]
) -> tuple[list[dict], Counter[str]]:
    """Annotations of one image as COCO has them, without ``id`` and ``image_id``.

    Ignored regions have ``iscrowd`` 1, and are there once for each category that they concern.
    Boxes are (x, y, width, height), with width = x2 - x1.

    Args:
        objects (Iterable[KittiObject]): Of one image, clipped to it.
        categories (Sequence[str]): One of the sets of `CATEGORIES`.

    Returns:
        tuple[list[dict], Counter[str]]: Annotations in the order of the objects, and how many
        objects of each other type were left out.
    """
    annotations, others = [], Counter()
    for item in objects:
        crowd = item.type not in categories
        if not crowd:
            concerned = (item.type,)
        elif item.type == "DontCare":
            concerned = categories
        else:
            concerned = IGNORED_AS.get(item.type, ())
        if not concerned:
            others[item.type] += 1
        x1, y1, x2, y2 = item.box
        # Labels have two decimals; differences of floats have more.
        width, height = round(x2 - x1, 6), round(y2 - y1, 6)
        annotations += [
            {
                "category_id": categories.index(name) + 1,
                "bbox": [x1, y1, width, height],
                "area": round(width * height, 6),
                "iscrowd": int(crowd),
            }
            for name in concerned
        ]
    return annotations, others
