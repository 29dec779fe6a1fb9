"""What the converters of annotations share: arguments, lists of files, reports."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from mmtextplug.datasets.icdar import Pairs, file_number
from mmtextplug.datasets.instances import Remark
from mmtextplug.datasets.preparers.frame import count_words
from mmtextplug.files import write_atomically


def make_parser(description: str, annotations: str) -> argparse.ArgumentParser:
    """A parser of what every converter is told.

    Args:
        description (str): Of the tool.
        annotations (str): What the names of annotation files are like.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="the photos")
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="DIR", help=f"{annotations} or the like"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON to write")
    parser.add_argument(
        "--numbers",
        type=parse_numbers,
        metavar="1-900,950",
        help="only files with these numbers, the last in their names",
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="paths are relative to it (default: --images)"
    )
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="lines to name of each kind of fault"
    )
    return parser


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Arguments of `make_parser`, those that no type can check checked."""
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


def check_folders(args: argparse.Namespace) -> Path:
    """The folder that paths are relative to.

    Raises:
        ValueError: If the photos do not lie in it, or there is a folder in the place of the JSON.
    """
    root = args.root or args.images
    if Path(os.path.abspath(root)) not in [
        folder := Path(os.path.abspath(args.images)),
        *folder.parents,
    ]:
        raise ValueError(f"--root {root}: --images {args.images} does not lie in it")
    if args.out.is_dir():
        raise ValueError(f"--out {args.out}: is a folder; name a file")
    return root


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
    selected = [path for path in found if any(file_number(path) in part for part in numbers)]
    if not selected:
        raise ValueError(f"{folder}: no file has a number that --numbers selects")
    return selected


def write_json(path: Path, content: dict) -> None:
    """Write a JSON whole or not at all, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, ensure_ascii=False).encode())


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


def summarize_words(entries: Iterable[dict]) -> None:
    """Print the rows that begin the table of a run over words."""
    for title, count in count_words(entries).items():
        if count or "characters" not in title:
            row(title, count)


def summarize_faults(remarks: Iterable[Remark], pairs: Pairs, numbers: list[range] | None) -> None:
    """Print the rows that end the table of a run: what is left out, odd or missing."""
    remarks = list(remarks)
    for title, kept in (("left out", False), ("kept, but to be looked at", True)):
        kinds = Counter(remark.what for remark in remarks if remark.kept == kept)
        row(title, kinds.total())
        for what, count in kinds.most_common():
            row(f"  {what}", count)
    row("photos without annotation", len(pairs.lonely_images), some(pairs.lonely_images))
    row("annotations without photo", len(pairs.lonely_annotations), some(pairs.lonely_annotations))
    if numbers is not None:
        there = {file_number(image) for image, _ in pairs.both}
        absent = (number for part in numbers for number in part if number not in there)
        count = sum(map(len, numbers)) - sum(n in part for part in numbers for n in there)
        row("numbers without photo and annotation", count, some(list(islice(absent, 4))))


def row(title: str, count: int, names: str = "") -> None:
    print(f"  {title:<60}{count:>9,}  {names}".rstrip())


def some(items: Sequence[object]) -> str:
    """The first few of them."""
    names = [str(getattr(item, "name", item)) for item in items[:3]]
    return ", ".join(names) + (", ..." if len(items) > 3 else "")
