#!/usr/bin/env python
"""Cut rectangles without text out of annotated photos: backgrounds for generated text.

    python tools/datasets/crop_backgrounds.py data/icdar2015/textdet_train900.json \\
        --out data/backgrounds

All words that are annotated are kept out, those to be ignored too; so the annotation has to be
complete, as that of ICDAR 2015 is. `generate_text.py --backgrounds` and `GeneratedTextDataset`
take the folder.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
from tqdm import tqdm

import mmtextplug  # noqa: F401  lets MMOCR import
from mmtextplug import launch
from mmtextplug.datasets.annotations import read_word
from mmtextplug.datasets.char_text import CharTextDataset
from mmtextplug.datasets.free_ground import free_rectangles
from mmtextplug.files import write_atomically


def crop(entry: dict, name: Path, min_side: int, most: int) -> int:
    """Write the largest rectangles of a photo as `name_0.jpg` and so on; how many there were.

    Raises:
        ValueError: If the photo cannot be read, is of another size than its annotation says, or
            has words of which nobody knows where they are.
    """
    path = Path(entry["img_path"])
    if entry["left_out"]:
        raise ValueError(
            f"{path}: {entry['left_out']} words have no usable outline: mend them, or remove the "
            "photo"
        )
    # As benchmarks have them: words were annotated in the photo as it is stored.
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError(f"{path}: not a readable image")
    annotated = entry.get("width"), entry.get("height")
    found = image.shape[1], image.shape[0]
    if None not in annotated and annotated != found:
        raise ValueError(f"{path}: {found} pixels, annotated as {annotated}")
    polygons = [read_word(word)[0].polygon for word in entry["instances"]]
    boxes = free_rectangles(image.shape[:2], polygons, min_side)[:most]
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        jpeg = cv2.imencode(".jpg", image[y0:y1, x0:x1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        write_atomically(name.with_name(f"{name.name}_{number}.jpg"), jpeg.tobytes())
    return len(boxes)


def distinct(paths: Iterable[str]) -> Iterator[str]:
    """The names of files, without folders and endings; those that were there before, numbered."""
    taken: set[str] = set()
    for stem in (Path(path).stem for path in paths):
        names = (f"{stem}-{number}" if number > 1 else stem for number in itertools.count(1))
        taken.add(name := next(name for name in names if name not in taken))
        yield name


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotation", type=Path, help="MMOCR's JSON")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="the photos (default: beside the annotation)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--min-side", type=int, default=256, metavar="PX")
    parser.add_argument("--most", type=int, default=3, metavar="N", help="of one photo")
    args = parser.parse_args(argv)
    if args.min_side < 1 or args.most < 1:
        parser.error("--min-side and --most must be 1 or more")
    return args


def main() -> int:
    args = parse_args()
    if args.out.is_dir() and any(args.out.iterdir()):
        raise ValueError(f"--out {args.out}: not empty; name a new folder")
    images = args.images or args.annotation.parent
    dataset = CharTextDataset(ann_file=str(args.annotation), data_prefix=dict(img_path=str(images)))
    args.out.mkdir(parents=True, exist_ok=True)
    entries = [dataset.get_data_info(index) for index in range(len(dataset))]
    names = list(distinct(entry["img_path"] for entry in entries))
    total, faults = 0, []
    for entry, name in zip(tqdm(entries, unit="photo"), names):
        try:
            total += crop(entry, args.out / name, args.min_side, args.most)
        except ValueError as error:
            faults.append(str(error))
    for fault in faults:
        print(f"skipped: {fault}")
    print(f"{total} rectangles of {len(dataset) - len(faults)} photos -> {args.out}")
    return 0 if total and not faults else 1


if __name__ == "__main__":
    launch.run(main)
