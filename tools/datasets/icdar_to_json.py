#!/usr/bin/env python
"""Convert word annotations in text files, one a photo, to MMOCR's JSON.

Example, the split of the training set of ICDAR 2015 by number:
    python tools/datasets/icdar_to_json.py --images icdar2015/train_images \\
        --annotations icdar2015/train_gts --numbers 1-900 --out icdar2015/train.json
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets import icdar, word_lines
from mmtextplug.datasets.icdar import Pairs, Remark
from mmtextplug.files import write_atomically
from mmtextplug.photos import SUFFIXES

METAINFO = {
    "dataset_type": "TextDetDataset",
    "task_name": "textdet",
    "category": [{"id": 0, "name": "text"}],
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    formats = "; ".join(f"{name}: {form}" for name, (_, form) in word_lines.FORMATS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="the photos")
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="DIR", help="gt_img_1.txt or the like"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to write")
    parser.add_argument(
        "--format", choices=["auto", *word_lines.FORMATS], default="auto", help=formats
    )
    parser.add_argument(
        "--numbers",
        type=parse_numbers,
        metavar="1-900,950",
        help="only files with these numbers, the last in their names",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="img_path is relative to it (default: --images)"
    )
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="lines to name of each kind of fault"
    )
    args = parser.parse_args(argv)
    if args.show < 0:
        parser.error("--show must be 0 or more")
    return args


def parse_numbers(text: str) -> list[range]:
    """Ranges that include their last numbers: ``1-900,950``."""
    ranges = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            numbers = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            numbers = range(0)
        if not numbers:
            raise argparse.ArgumentTypeError(f"{part!r} is no number and no range such as 1-900")
        ranges.append(numbers)
    return ranges


def list_files(folder: Path, suffixes: set[str], numbers: list[range] | None) -> list[Path]:
    """Files of a folder with such suffixes and numbers.

    Raises:
        ValueError: If there is none.
        OSError: If the folder cannot be read.
    """
    found = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]
    if not found:
        kinds = " or ".join(sorted(suffixes)) if len(suffixes) < 4 else "photo"
        raise ValueError(f"{folder}: no {kinds} file in it")
    if numbers is None:
        return found
    selected = [path for path in found if any(icdar.file_number(path) in part for part in numbers)]
    if not selected:
        raise ValueError(f"{folder}: no file has a number that --numbers selects")
    return selected


def find_format(pairs: Sequence[tuple[Path, Path]]) -> str:
    """The format in which all annotations are written; files that are not UTF-8 have no say."""

    def lines():
        for _, annotation in tqdm(pairs, "format", unit="file", disable=None, leave=False):
            try:
                content = icdar.read_lines(annotation)
            except UnicodeDecodeError:
                continue
            for number, line in content:
                yield f"{annotation}:{number}", line

    try:
        return word_lines.recognise_format(lines())
    except ValueError as error:
        raise ValueError(f"{pairs[0][1].parent}: {error} with --format") from None


def read_pair(
    image: Path, annotation: Path, format_name: str, root: Path
) -> tuple[dict | None, list[Remark]]:
    """The entry of ``data_list`` of a photo, None if it is of no use; and what was found."""
    try:
        height, width = icdar.image_size(image)
    except ValueError as error:
        return None, [Remark(str(image), f"photo {error}", "replace or remove it")]
    content = icdar.read_annotation(annotation, format_name, (height, width))
    if not content.usable:
        # Its words would pass for background.
        remark = Remark(
            str(annotation), "photo left out, no word of it can be read", "correct its lines"
        )
        return None, [*content.remarks, remark]
    name = Path(os.path.abspath(image)).relative_to(os.path.abspath(root)).as_posix()
    entry = {"img_path": name, "height": height, "width": width, "instances": content.instances}
    return entry, content.remarks


def convert(args: argparse.Namespace) -> None:
    """Read everything, write the JSON, print what was found.

    Raises:
        ValueError: If there is nothing to write, or the format cannot be recognised.
        OSError: If a folder or file cannot be read or written.
    """
    root = args.root or args.images
    if Path(os.path.abspath(root)) not in [
        folder := Path(os.path.abspath(args.images)),
        *folder.parents,
    ]:
        raise ValueError(f"--root {root}: --images {args.images} does not lie in it")
    if args.out.is_dir():
        raise ValueError(f"--out {args.out}: is a folder; name a file")
    pairs = icdar.pair_files(
        list_files(args.images, SUFFIXES, args.numbers),
        list_files(args.annotations, {".txt"}, args.numbers),
    )
    if not pairs.both:
        raise ValueError(
            f"no photo in {args.images} has its annotation in {args.annotations}: img_1.jpg needs "
            f"gt_img_1.txt, img_1.txt or img_1.jpg.txt (found {some(pairs.lonely_images)}; "
            f"{some(pairs.lonely_annotations)})"
        )
    format_name = find_format(pairs.both) if args.format == "auto" else args.format
    entries, remarks = [], list(pairs.remarks)
    for image, annotation in tqdm(pairs.both, "words", unit="file", disable=None, leave=False):
        entry, found = read_pair(image, annotation, format_name, root)
        remarks += found
        if entry is not None:
            entries.append(entry)
    report(remarks, args.show)
    if not any(entry["instances"] for entry in entries):
        raise ValueError(f"{args.annotations}: no word could be read; {args.out} is not written")
    content = json.dumps({"metainfo": METAINFO, "data_list": entries}, ensure_ascii=False)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, content.encode())
    how = "recognised" if args.format == "auto" else "as told"
    print(f"{args.out}: format {format_name} ({word_lines.FORMATS[format_name][1]}), {how}")
    summarize(entries, remarks, pairs, args.numbers)


def report(remarks: list[Remark], show: int) -> None:
    """Name the first few lines of each kind of fault."""
    seen: Counter[str] = Counter()
    for remark in remarks:
        seen[remark.what] += 1
        if seen[remark.what] <= show:
            print(remark)
    for what, count in seen.items():
        if count > show:
            print(f"... and {count - show:,} more: {what} (--show {count} names all)")


def summarize(
    entries: list[dict], remarks: list[Remark], pairs: Pairs, numbers: list[range] | None
) -> None:
    """Print the table that ends a run."""
    words = [word for entry in entries for word in entry["instances"]]
    row("photos", len(entries))
    row("  without words", sum(not entry["instances"] for entry in entries))
    row("words", len(words))
    row("  ignored", sum(word["ignore"] for word in words))
    for title, kept in (("left out", False), ("kept, but to be looked at", True)):
        kinds = Counter(remark.what for remark in remarks if remark.kept == kept)
        row(title, kinds.total())
        for what, count in kinds.most_common():
            row(f"  {what}", count)
    row("photos without annotation", len(pairs.lonely_images), some(pairs.lonely_images))
    row("annotations without photo", len(pairs.lonely_annotations), some(pairs.lonely_annotations))
    if numbers is not None:
        there = {icdar.file_number(image) for image, _ in pairs.both}
        absent = (number for part in numbers for number in part if number not in there)
        count = sum(map(len, numbers)) - sum(n in part for part in numbers for n in there)
        row("numbers without photo and annotation", count, some(list(islice(absent, 4))))


def row(title: str, count: int, names: str = "") -> None:
    print(f"  {title:<60}{count:>9,}  {names}".rstrip())


def some(items: Sequence[object]) -> str:
    """The first few of them."""
    names = [str(getattr(item, "name", item)) for item in items[:3]]
    return ", ".join(names) + (", ..." if len(items) > 3 else "")


def main(argv: list[str] | None = None) -> None:
    convert(parse_args(argv))


if __name__ == "__main__":
    launch.run(main)
