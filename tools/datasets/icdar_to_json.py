#!/usr/bin/env python
"""Convert word annotations in text files, one a photo, to MMOCR's JSON.

Example, the split of the training set of ICDAR 2015 by number:
    python tools/datasets/icdar_to_json.py --images icdar2015/train_images \\
        --annotations icdar2015/train_gts --numbers 1-900 --out icdar2015/train.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from converting import (
    check_folders,
    list_files,
    make_parser,
    parse,
    parse_numbers,
    report,
    some,
    summarize_faults,
    summarize_words,
    write_json,
)
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets import icdar, word_lines
from mmtextplug.datasets.icdar import Pairs
from mmtextplug.datasets.instances import Remark
from mmtextplug.datasets.preparers.frame import METAINFO, photo_entry
from mmtextplug.photos import SUFFIXES

__all__ = ["convert", "main", "parse_numbers"]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    formats = "; ".join(f"{name}: {form}" for name, (_, form) in word_lines.FORMATS.items())
    parser = make_parser(__doc__, "gt_img_1.txt")
    parser.add_argument(
        "--format", choices=["auto", *word_lines.FORMATS], default="auto", help=formats
    )
    return parse(parser, argv)


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
    return photo_entry(
        image,
        root,
        str(annotation),
        lambda size: icdar.read_annotation(annotation, format_name, size, unique=True),
    )


def convert(args: argparse.Namespace) -> None:
    """Read everything, write the JSON, print what was found.

    Raises:
        ValueError: If there is nothing to write, or the format cannot be recognised.
        OSError: If a folder or file cannot be read or written.
    """
    root = check_folders(args)
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
    write_json(args.out, {"metainfo": METAINFO, "data_list": entries})
    how = "recognised" if args.format == "auto" else "as told"
    print(f"{args.out}: format {format_name} ({word_lines.FORMATS[format_name][1]}), {how}")
    summarize(entries, remarks, pairs, args.numbers)


def summarize(
    entries: list[dict], remarks: list[Remark], pairs: Pairs, numbers: list[range] | None
) -> None:
    """Print the table that ends a run."""
    summarize_words(entries)
    summarize_faults(remarks, pairs, numbers)


def main(argv: list[str] | None = None) -> None:
    convert(parse_args(argv))


if __name__ == "__main__":
    launch.run(main)
