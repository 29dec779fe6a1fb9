#!/usr/bin/env python
"""Compare pseudo character boxes with annotated ones, for our splitter and for public ones.

    python tools/analysis/evaluate_char_split.py words.json --images photos --crop-height 64 128

The annotation is MMOCR's JSON with ``chars`` in each instance. Every word with known characters is
rectified and its region score predicted as weak supervision does it, then each method splits it.
Printed are the share of annotated characters that a found one overlaps with an IoU of at least 0.5,
in pixels of the photo; the share of words with the right number of characters; the share of words
cut into equal parts; and the time of splitting. Every method sees every height; EasyOCR's trainer
itself uses 128, backtime92's 64.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import shapely
import torch
from mmengine.config import Config
from public_splitters import (
    Boxes,
    WordView,
    author_thresholds,
    backtime_trainer,
    easyocr_trainer,
    equal_parts,
)
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.craft.band import Band
from mmtextplug.craft.char_split import split_word
from mmtextplug.craft.rectify import word_band
from mmtextplug.craft.teacher import Teacher
from mmtextplug.craft.word_crops import WordCrop, buckets, cut_out
from mmtextplug.datasets.annotations import read_word
from mmtextplug.datasets.char_text import CharTextDataset
from mmtextplug.datasets.graphemes import slots
from mmtextplug.files import write_atomically
from mmtextplug.inference import OFFICIAL, TextDetector

LEAST_IOU = 0.5
MAX_CROP_WIDTH = 1024
CROP_PIXELS = 2_000_000


@dataclass(frozen=True)
class AnnotatedWord:
    """A word whose characters are known, in pixels of its photo; ``chars`` is ``(n, 4, 2)``."""

    band: Band
    places: list[bool]
    chars: np.ndarray


@dataclass(frozen=True)
class Result:
    """What a method reached; shares are in [0, 1]."""

    method: str
    crop_height: int
    words: int
    chars: int
    chars_found: float
    counts_right: float
    equal_parts: float
    ms_per_word: float


def ours(view: WordView, known: bool) -> Boxes:
    split = split_word(view.region, view.places if known else None)
    return Boxes(split.quads, view.region.shape[::-1], split.equal)


METHODS: dict[str, Callable[[WordView], Boxes]] = {
    "equal parts (brooklyn1900's)": equal_parts,
    "EasyOCR trainer": easyocr_trainer,
    "EasyOCR trainer, stretched": partial(easyocr_trainer, stretch=True),
    "backtime92": backtime_trainer,
    "backtime92, stretched": partial(backtime_trainer, stretch=True),
    "author 0.6/0.2, stretched": author_thresholds,
    "ours, length unknown": partial(ours, known=False),
    "ours": partial(ours, known=True),
}


def best_overlaps(annotated: np.ndarray, found: np.ndarray) -> np.ndarray:
    """For each annotated character ``(n, 4, 2)`` its greatest IoU with a found one ``(m, 4, 2)``.

    Returns:
        np.ndarray: ``(n,)``, 0 where nothing was found.
    """
    if not len(annotated) or not len(found):
        return np.zeros(len(annotated))
    return overlaps(annotated, found).max(1)


def overlaps(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """The IoU of each of n outlines ``(k, 2)`` with each of m others, ``(n, m)``."""
    common = np.zeros((len(first), len(second)))
    first, second = (
        shapely.make_valid([shapely.Polygon(np.asarray(p, np.float64)) for p in outlines])
        for outlines in (first, second)
    )
    near = np.array(shapely.STRtree(second).query(first)).reshape(2, -1)
    common[tuple(near)] = shapely.area(shapely.intersection(first[near[0]], second[near[1]]))
    either = shapely.area(first)[:, None] + shapely.area(second)[None] - common
    return np.divide(common, either, out=np.zeros_like(common), where=either > 0)


def measure(
    name: str, height: int, words: Sequence[AnnotatedWord], views: Sequence[WordView]
) -> Result:
    """Split all words with a method of `METHODS`.

    Raises:
        ValueError: If there are no words.
    """
    if not words:
        raise ValueError("no word to measure")
    method = METHODS[name]
    method(views[0])  # the first call may compile
    hits = chars = right = equal = 0
    seconds = 0.0
    for word, view in zip(words, views, strict=True):
        # Processor time: unlike the clock it tells the same on a busy machine.
        start = time.process_time()
        boxes = method(view)
        seconds += time.process_time() - start
        best = best_overlaps(word.chars, word.band.to_image(boxes.quads, boxes.size))
        hits += int((best >= LEAST_IOU).sum())
        chars += len(word.chars)
        right += len(boxes.quads) == len(word.chars)
        equal += boxes.equal
    count = len(words)
    shares = (hits / chars, right / count, equal / count)
    return Result(name, height, count, chars, *shares, 1e3 * seconds / count)


def read_words(
    annotation: Path, images: Path, photos: str
) -> Iterator[tuple[Path, list[AnnotatedWord]]]:
    """Photos and those of their words whose characters are known.

    Args:
        annotation (Path): MMOCR's JSON with ``chars``.
        images (Path): What its ``img_path`` is relative to.
        photos (str): ``'even'`` and ``'odd'`` are halves, by place in the file; ``'all'``.
    """
    dataset = CharTextDataset(
        ann_file=str(annotation.resolve()), data_prefix=dict(img_path=str(images)), test_mode=True
    )
    numbers = range(len(dataset))[
        {"all": slice(None), "even": slice(0, None, 2)}.get(photos, slice(1, None, 2))
    ]
    for number in numbers:
        data = dataset.get_data_info(number)
        words = []
        for instance in data["instances"]:
            word, _ = read_word(instance)
            if word is None or word.ignored or not word.text:
                continue
            if word.chars is None or not len(word.chars):
                continue
            band = word_band(word.polygon, length=len(word.chars))
            if band is not None:
                words.append(AnnotatedWord(band, slots(word.text), word.chars))
        if words:
            yield Path(data["img_path"]), words


def look(
    detector: TextDetector,
    teacher: Teacher,
    photo: np.ndarray,
    words: Sequence[AnnotatedWord],
    height: int,
) -> list[WordView]:
    """Rectify the words of a photo ``(H, W, 3)`` BGR and predict their region scores."""
    tensor = torch.from_numpy(np.ascontiguousarray(photo.transpose(2, 0, 1)))
    preprocessor = detector.model.data_preprocessor
    images = preprocessor({"inputs": [tensor], "data_samples": []}, training=False)["inputs"]
    crops = [WordCrop(0, i, word.band, word.places) for i, word in enumerate(words)]
    sizes = [word.band.size(height, MAX_CROP_WIDTH) for word in words]
    views: dict[int, WordView] = {}
    with torch.inference_mode():
        for bucket in buckets(sizes, CROP_PIXELS):
            chosen = [crops[i] for i in bucket], [sizes[i] for i in bucket]
            batch = cut_out(images, *chosen)
            colours = cut_out(tensor[None].float(), *chosen).round().byte()
            scores = teacher.region(batch).cpu().numpy()
            strides = [side / cells for side, cells in zip(batch.shape[2:], scores.shape[1:])]
            for index, score, pixels in zip(bucket, scores, colours):
                width = sizes[index][0]
                rows, columns = (
                    max(round(side / stride), 1) for side, stride in zip((height, width), strides)
                )
                views[index] = WordView(
                    np.ascontiguousarray(score[:rows, :columns]),
                    pixels[:, :height, :width].permute(1, 2, 0).contiguous().numpy(),
                    words[index].places,
                )
    return [views[index] for index in range(len(words))]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("annotation", type=Path, metavar="ANN_JSON", help="MMOCR's, with chars")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--config", help="config file; default: the official CRAFT")
    parser.add_argument("--checkpoint", help="checkpoint file; default: the official weights")
    parser.add_argument(
        "--crop-height", type=int, nargs="+", default=[64], metavar="PX", help="default: 64"
    )
    parser.add_argument(
        "--photos", choices=["all", "even", "odd"], default="all", help="halves, by place in file"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the network")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results as JSON")
    args = parser.parse_args(argv)
    if min(args.crop_height) < 1 or args.threads < 1:
        parser.error("--crop-height and --threads must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    photos = list(read_words(args.annotation, args.images, args.photos))
    words = [word for _, own in photos for word in own]
    if not words:
        raise ValueError(
            f"{args.annotation}: no word with 'chars' and a text among its {args.photos} photos"
        )
    detector = TextDetector.from_config(
        args.config or Config(OFFICIAL), args.checkpoint, device=args.device
    )
    teacher = Teacher(detector.model, "frozen")
    results = []
    total = len(args.crop_height) * len(words)
    with tqdm(total=total, unit="word", desc="predicting", file=sys.stderr) as bar:
        for height in args.crop_height:
            views = []
            for path, own in photos:
                photo = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
                if photo is None:
                    raise ValueError(f"{path}: image file cannot be read")
                views += look(detector, teacher, photo, own, height)
                bar.update(len(own))
            results += [measure(name, height, words, views) for name in METHODS]
    report(results)
    if args.out:
        settings = {key: str(value) for key, value in vars(args).items() if key != "out"}
        content = {"settings": settings, "results": [asdict(result) for result in results]}
        write_atomically(args.out, json.dumps(content, indent=1).encode())


def report(results: Sequence[Result]) -> None:
    """Print one table."""
    title = f"{results[0].chars:,} annotated characters in {results[0].words:,} words"
    table = Table(title=title)
    table.add_column("method")
    columns = ["crop\nheight", "chars\nfound", "counts\nright", "equal\nparts", "ms a\nword"]
    for column in columns:
        table.add_column(column, justify="right")
    for result in results:
        table.add_row(
            result.method,
            str(result.crop_height),
            f"{result.chars_found:.4f}",
            f"{result.counts_right:.4f}",
            f"{result.equal_parts:.4f}",
            f"{result.ms_per_word:.2f}",
            end_section=result.method == list(METHODS)[-1],
        )
    Console().print(table)


if __name__ == "__main__":
    launch.run(main)
