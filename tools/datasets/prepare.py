#!/usr/bin/env python
"""Prepare a published set of photos with text: from a downloaded folder to MMOCR's JSON.

Unpack what the set's owners give out below one folder; it is searched for photos and words, by the
names of files and folders as their owners, MMOCR or mirrors have them. The tool writes
FOLDER/textdet_train.json and textdet_test.json (textdet_val.json where a set has that), which
configs/_base_/datasets/ and MMOCR's own configs read with FOLDER as data_root.

Examples:
    python tools/datasets/prepare.py icdar2013 data/icdar2013
    python tools/datasets/prepare.py totaltext data/totaltext --split test --strict
    python tools/datasets/prepare.py icdar2015 data/icdar2015 --split train \\
        --numbers 901-1000 --name val
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import synthtext_index
from converting import (
    parse_numbers,
    report,
    row,
    some,
    summarize_faults,
    summarize_words,
    write_json,
)
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.preparers.folders import Tree
from mmtextplug.datasets.preparers.frame import (
    METAINFO,
    Material,
    MissingFilesError,
    Prepared,
    prepare,
)
from mmtextplug.datasets.preparers.sets import SETS
from mmtextplug.datasets.preparers.synthtext_folder import find_synthtext


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    titles = "; ".join(f"{name}: {found.title}" for name, found in SETS.items())
    parser.add_argument(
        "dataset",
        type=lambda name: name.lower().replace("-", "_"),
        choices=[*SETS, "synthtext"],
        metavar="DATASET",
        help=f"{titles}; synthtext: SynthText, of which an index is made, in the folder index",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what was downloaded")
    parser.add_argument(
        "--split",
        nargs="+",
        metavar="SPLIT",
        help="train, val or test (default: all that are there)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where to write (default: FOLDER); paths of photos start from FOLDER all the same",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="write nothing if a word or photo is left out or missing",
    )
    parser.add_argument(
        "--numbers",
        type=parse_numbers,
        metavar="1-900,950",
        help="only photos with these numbers, the last in their names; needs --split and --name",
    )
    parser.add_argument("--name", metavar="NAME", help="write textdet_NAME.json")
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="places to name of each kind of fault"
    )
    args = parser.parse_args(argv)
    if args.show < 0:
        parser.error("--show must be 0 or more")
    if args.dataset == "synthtext":
        for name in ("split", "strict", "numbers", "name"):
            if getattr(args, name):
                parser.error(f"--{name} is of no use for synthtext, which has one part")
        return args
    splits = SETS[args.dataset].counts
    for split in args.split or ():
        if split not in splits:
            parser.error(f"--split {split}: {args.dataset} has {', '.join(splits)}")
    if (args.numbers or args.name) and len(args.split or splits) != 1:
        parser.error("--numbers and --name are for one part of a set: name it with --split")
    if args.numbers and not args.name:
        parser.error("--numbers needs --name: what it selects is not the whole part of the set")
    if args.name and Path(args.name).name != args.name:
        parser.error(f"--name {args.name}: is no part of a file's name")
    return args


def find(args: argparse.Namespace, tree: Tree) -> dict[str, Material]:
    """The files of each part of the set; parts of which nothing is there are said and left out.

    Raises:
        ValueError: If nothing is there, only half of something, or no name says which part it is.
    """
    known = SETS[args.dataset]
    found: dict[str, Material] = {}
    absent: list[MissingFilesError] = []
    for split in dict.fromkeys(args.split or known.counts):
        try:
            material = known.find(tree, split)
        except ValueError as error:
            if isinstance(error, MissingFilesError) and not (args.split or error.half):
                absent.append(error)
                continue
            raise ValueError(f"{error}{_way_out(args, tree, split)}") from None
        if not material.sure and len(args.split or known.counts) > 1:
            raise ValueError(
                f"{args.folder}: no folder's name says whether this is "
                f"{' or '.join(known.counts)} of {known.title}: say so with --split"
            )
        found[split] = material
    if not found:
        raise ValueError(str(absent[0]))
    for error in absent:
        print(f"left out, {error}")
    return found


def _way_out(args: argparse.Namespace, tree: Tree, split: str) -> str:
    """How to prepare the other parts of a set of which one is broken; '' if that is no way."""
    others = []
    for name in SETS[args.dataset].counts if not args.split else ():
        with contextlib.suppress(ValueError):
            if name != split and SETS[args.dataset].find(tree, name).sure:
                others.append(name)
    return f"; --split {' '.join(others)} leaves it out" if others else ""


def shortage(title: str, split: str, published: int, result: Prepared) -> str:
    """What to say if fewer photos are there than were published, '' if not."""
    count = len(result.pairs.both)
    if count >= published:
        return ""
    return f"{title}, {split}, has been published with {published:,} photos, {count:,} are here"


def refuse_faults(results: dict[str, Prepared], short: Iterable[str], always_words: bool) -> None:
    """Raise a ValueError that counts what was left out or is missing.

    Args:
        results (dict[str, Prepared]): The parts of the set.
        short (Iterable[str]): What is to be said about photos that are missing.
        always_words (bool): Whether every photo of the set has words.
    """
    faults = sum(not remark.kept for result in results.values() for remark in result.remarks)
    images = [image for result in results.values() for image in result.pairs.lonely_images]
    texts = [text for result in results.values() for text in result.pairs.lonely_annotations]
    found = [f"{faults:,} faults left out"] if faults else []
    found += [f"{len(images):,} photos without annotation ({some(images)})"] if images else []
    found += [f"{len(texts):,} annotations without photo ({some(texts)})"] if texts else []
    if always_words:
        entries = [entry for result in results.values() for entry in result.entries]
        bare = [entry["img_path"] for entry in entries if not entry["instances"]]
        what = "photos without words, of which the set has none"
        found += [f"{len(bare):,} {what} ({some(bare)})"] if bare else []
    found += filter(None, short)
    if found:
        raise ValueError(f"--strict: {'; '.join(found)}: nothing is written")


def run(args: argparse.Namespace) -> None:
    """Read everything, write the JSON files, print what was found.

    Raises:
        ValueError: If there is nothing to write, or with ``--strict`` anything is wrong.
        OSError: If a folder or file cannot be read or written.
    """
    title = SETS[args.dataset].title
    tree = Tree(args.folder)
    results: dict[str, Prepared] = {}
    short: dict[str, str] = {}
    for split, material in find(args, tree).items():
        print(f"{title}, {split}:")
        for what, path, count in material.taken:
            print(f"  {what} from {path} ({count:,})")
        for folder in material.passed_over:
            print(f"  passed over {folder.path}: the same names once more")
        if args.numbers:
            material.select(args.numbers)
        progress = partial(tqdm, desc=split, unit="photo", disable=None, leave=False)
        results[split] = prepare(material, args.folder, progress)
        if not args.numbers:
            short[split] = shortage(title, split, SETS[args.dataset].counts[split], results[split])
    for split, result in results.items():
        report(result.remarks, args.show)
        if not any(entry["instances"] for entry in result.entries):
            raise ValueError(
                f"{args.folder}: {split}: no word could be read; nothing is written"
                + _way_out(args, tree, split)
            )
    if args.strict:
        refuse_faults(results, short.values(), SETS[args.dataset].always_words)
    write(args, results, short)


def write(args: argparse.Namespace, results: dict[str, Prepared], short: dict[str, str]) -> None:
    """Write a file for each part of the set, and print its table."""
    for split, result in results.items():
        path = (args.out or args.folder) / f"textdet_{args.name or split}.json"
        write_json(path, {"metainfo": METAINFO, "data_list": result.entries})
        print(f"{path}:")
        summarize_words(result.entries)
        if result.characters:
            row("characters found", result.characters)
        summarize_faults(result.remarks, result.pairs, args.numbers)
        if short.get(split):
            published = SETS[args.dataset].counts[split]
            row(f"of {published:,} published photos missing", published - len(result.pairs.both))


def prepare_synthtext(args: argparse.Namespace) -> None:
    """Make the index of SynthText: its JSON would have gigabytes."""
    truth, images = find_synthtext(Tree(args.folder))
    out = (args.out or args.folder) / "index"
    print(f"SynthText:\n  words and characters from {truth}\n  photos from {images}")
    synthtext_index.main([str(truth), str(images), "--out", str(out), "--check-images"])


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.dataset == "synthtext":
        prepare_synthtext(args)
    else:
        run(args)


if __name__ == "__main__":
    launch.run(main)
