#!/usr/bin/env python
"""Turn SynthText's gt.mat into an index that SynthTextDataset opens at once.

Example:
    python tools/datasets/synthtext_index.py data/SynthText/gt.mat data/SynthText \
        --out data/SynthText/index --check-images

Words are matched with their characters; what is wrong with the annotations is repaired where that
is certain, else left out, and counted in the table at the end. Reading the 858,750 images of the
original takes some minutes and about 4 GB of memory; the index has 1.3 GB. It remembers where
IMAGES_FOLDER is, from its own folder: move both together, or run this again. Without --check-images
the sizes of images are unknown, and boxes beyond their right or bottom borders are not found.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.synthtext import SynthTextIndex
from mmtextplug.datasets.synthtext_gt import GroundTruth, read_gt_mat
from mmtextplug.datasets.synthtext_index import (
    MANIFEST,
    Chunk,
    check_target,
    remember_images,
    write_index,
)
from mmtextplug.datasets.synthtext_repair import FAULTS, clean

IMAGES_PER_CHUNK = 4096
MISSING = "image file missing: left out"
UNREADABLE = "image file without a readable header: left out"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gt_mat", type=Path, metavar="GT_MAT", help="the annotations")
    parser.add_argument(
        "images", type=Path, metavar="IMAGES_FOLDER", help="what the names in GT_MAT start from"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument(
        "--check-images",
        action="store_true",
        help="read the size of each image: leaves out what is missing, finds boxes outside",
    )
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="of --check-images")
    parser.add_argument("--overwrite", action="store_true", help="replace an index in DIR")
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error("--workers must be 1 or more")
    return args


def read_size(path: Path) -> tuple[int, int] | str:
    """(height, width) from an image's header, or what is wrong with the file."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        return MISSING
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return UNREADABLE


def check_folder(names: Sequence[str], folder: Path) -> None:
    """Raise a FileNotFoundError if this cannot be the folder of the images."""
    names = [name for name in names if name]
    some = names[:: max(len(names) // 20, 1)]
    if not any((folder / name).is_file() for name in some):
        example = f", such as {some[0]}" if some else ""
        raise FileNotFoundError(
            f"{folder}: none of {len(some)} images of GT_MAT is there{example}; "
            "IMAGES_FOLDER is what their names start from"
        )


def chunks(
    truth: GroundTruth, folder: Path | None, workers: int, faults: Counter[str]
) -> Iterator[Chunk]:
    """The images, cleaned; with a folder their files are looked at."""
    count = len(truth.names)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=count, desc="images") as bar:
        for start in range(0, count, IMAGES_PER_CHUNK):
            images = range(start, min(start + IMAGES_PER_CHUNK, count))
            sizes = np.zeros((len(images), 2), np.int64)
            unusable = {}
            if folder is not None:
                paths = (folder / truth.names[i] for i in images)
                for i, size in zip(images, pool.map(read_size, paths)):
                    if isinstance(size, str):
                        if truth.names[i]:  # others are counted as nameless
                            unusable[i] = size
                    else:
                        sizes[i - start] = size
            yield clean(truth, images, faults, sizes=sizes, unusable=unusable)
            bar.update(len(images))


def convert(args: argparse.Namespace) -> dict:
    """Read, clean and write; the manifest of the new index."""
    with tqdm(total=4, desc="gt.mat") as bar:

        def progress(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        truth = read_gt_mat(args.gt_mat, progress)
    check_folder(truth.names, args.images)
    faults: Counter[str] = Counter()
    return write_index(
        args.out,
        chunks(truth, args.images if args.check_images else None, args.workers, faults),
        source={
            "name": args.gt_mat.name,
            "bytes": args.gt_mat.stat().st_size,
            "images": len(truth.names),
            "words": len(truth.words),
            "characters": len(truth.chars),
            "images_checked": args.check_images,
        },
        faults=faults,
        images=args.images,
    )


def summarize(manifest: dict, out: Path) -> None:
    """Print the table that ends a run."""
    source, counts, faults = manifest["source"], manifest["counts"], manifest["faults"]
    print(f"{out}: written")
    for name in ("images", "words", "characters"):
        print(f"  {counts[name]:>12,}  {name} of {source[name]:,}")
    found = [fault for fault in (MISSING, UNREADABLE, *FAULTS) if faults.get(fault)]
    print("faults:" if found else "no faults")
    for fault in found:
        print(f"  {faults[fault]:>12,}  {fault}")
    if not source["images_checked"]:
        print("right and bottom borders not checked; --check-images does")


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    there = check_target(args.out, args.overwrite)
    if there is None:
        summarize(convert(args), args.out)
        return
    source = {"name": args.gt_mat.name, "images_checked": args.check_images}
    if args.gt_mat.is_file():
        source["bytes"] = args.gt_mat.stat().st_size
    if any(there["source"].get(key) != value for key, value in source.items()):
        raise ValueError(
            f"{args.out / MANIFEST}: the index there is of another file or other options; "
            "replace it with --overwrite, or name another --out"
        )
    index = SynthTextIndex(args.out)
    some = range(0, len(index), max(len(index) // 20, 1))
    check_folder([index.read(image)["img_path"] for image in some], args.images)
    if remember_images(args.out, args.images):
        print(f"{args.out}: its images are in {args.images}, as {MANIFEST} says now")
    print(f"{args.out}: nothing to do, the index of {there['counts']['images']:,} images is there")


if __name__ == "__main__":
    launch.run(main)
