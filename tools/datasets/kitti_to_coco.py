#!/usr/bin/env python
"""Convert KITTI's object labels, one file an image, to COCO's JSON.

--categories says which types become categories. What is to be ignored is written with iscrowd 1,
which MMDetection takes for "ignore"; a type that is neither is left out, and so is background:
    paper (default)  Car, Pedestrian, Cyclist, Truck, Van, Tram, Misc, as in S-OHEM's paper. Ignored
                     are Person_sitting for Pedestrian, DontCare for each category.
    benchmark        Car, Pedestrian, Cyclist, as KITTI's benchmark ranks them. Ignored is Van for
                     Car, too. Truck, Tram and Misc are left out.

Example, the split of S-OHEM's paper (the first 5,000 of the 7,481 images with labels, the others):
    python tools/datasets/kitti_to_coco.py --images kitti/training/image_2 \\
        --annotations kitti/training/label_2 --numbers 0-4999 --out kitti/train.json
    python tools/datasets/kitti_to_coco.py --images kitti/training/image_2 \\
        --annotations kitti/training/label_2 --numbers 5000-7480 --out kitti/val.json
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from converting import (
    check_folders,
    list_files,
    make_parser,
    parse,
    report,
    row,
    summarize_faults,
    write_json,
)
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.icdar import image_size, pair_files
from mmtextplug.datasets.instances import Remark
from mmtextplug.datasets.kitti import CATEGORIES, coco_annotations, read_labels
from mmtextplug.datasets.preparers.frame import relative_name
from mmtextplug.photos import SUFFIXES


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__, "000123.txt")
    parser.add_argument(
        "--categories",
        choices=tuple(CATEGORIES),
        default="paper",
        help="which types are categories, see above (default: paper)",
    )
    return parse(parser, argv)


def read_pair(
    image: Path, labels: Path, root: Path, categories: Sequence[str]
) -> tuple[dict | None, list, Counter, list]:
    """The entry of ``images`` of an image, None if it is of no use; its annotations; how many
    objects of other types there are; and what was found."""
    try:
        height, width = image_size(image)
    except ValueError as error:
        return None, [], Counter(), [Remark(str(image), f"photo {error}", "replace or remove it")]
    content = read_labels(labels, (height, width))
    if not content.usable:
        # Its objects would pass for background.
        remark = Remark(
            str(labels), "photo left out, no object of it can be read", "correct its lines"
        )
        return None, [], Counter(), [*content.remarks, remark]
    entry = {"file_name": relative_name(image, root), "height": height, "width": width}
    return entry, *coco_annotations(content.objects, categories), content.remarks


def convert(args: argparse.Namespace) -> None:
    """Read everything, write the JSON, print what was found.

    Raises:
        ValueError: If there is nothing to write.
        OSError: If a folder or file cannot be read or written.
    """
    root = check_folders(args)
    names = CATEGORIES[args.categories]
    pairs = pair_files(
        list_files(args.images, SUFFIXES, args.numbers),
        list_files(args.annotations, {".txt"}, args.numbers),
    )
    if not pairs.both:
        raise ValueError(
            f"no image in {args.images} has its labels in {args.annotations}: 000123.png needs "
            "000123.txt"
        )
    images, annotations, remarks, others = [], [], list(pairs.remarks), Counter()
    for image, labels in tqdm(pairs.both, "objects", unit="file", disable=None, leave=False):
        entry, found, left_out, said = read_pair(image, labels, root, names)
        remarks += said
        others += left_out
        if entry is None:
            continue
        images.append({"id": len(images) + 1, **entry})
        for annotation in found:
            numbers = {"id": len(annotations) + 1, "image_id": len(images)}
            annotations.append(numbers | annotation)
    report(remarks, args.show)
    if all(annotation["iscrowd"] for annotation in annotations):
        raise ValueError(
            f"{args.annotations}: no {', '.join(names)} could be read; {args.out} is not written"
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    write_json(args.out, {"images": images, "annotations": annotations, "categories": categories})
    print(f"{args.out}:")
    row("photos", len(images))
    objects = [item for item in annotations if not item["iscrowd"]]
    row("  without objects", len(images) - len({item["image_id"] for item in objects}))
    for category in categories:
        mine = [item for item in annotations if item["category_id"] == category["id"]]
        row(category["name"], sum(not item["iscrowd"] for item in mine))
        row("  regions to ignore", sum(item["iscrowd"] for item in mine))
    row("objects of other types, left out", others.total())
    for name, count in others.most_common():
        row(f"  {name}", count)
    summarize_faults(remarks, pairs, args.numbers)


def main(argv: list[str] | None = None) -> None:
    convert(parse_args(argv))


if __name__ == "__main__":
    launch.run(main)
