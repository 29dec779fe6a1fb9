#!/usr/bin/env python
"""Find the words on photos: JSON and pictures, with the official CRAFT or a checkpoint of yours.

Examples:
    python tools/infer.py photo.jpg holiday/ --out found
    python tools/infer.py photo.jpg --out found --polygons --chars --score-maps
    python tools/infer.py photo.jpg --out found --refine craft_refiner_CTW1500.pth
    python tools/infer.py data/ --recursive --out found --config CONFIG --checkpoint CHECKPOINT

For each photo DIR holds NAME.json, the picture NAME.jpg and, if asked for, NAME_scores.jpg. A photo
that cannot be read is skipped and reported; the exit status is 1 only if nothing could be done.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.files import write_atomically
from mmtextplug.inference import Detection, TextDetector
from mmtextplug.photos import find_photos, read_photo
from mmtextplug.visualization.draw import draw_chars, draw_words
from mmtextplug.visualization.scene import Scene
from mmtextplug.visualization.score_maps import draw_scene

WINDOW_PIXELS = 50_000_000
"""Photos are decoded, detected and written in groups of about so many pixels: three groups are in
memory at a time."""

MAX_JPEG_SIDE = 65_500


@dataclass
class Job:
    """A photo on its way through."""

    path: Path
    name: str
    image: np.ndarray | None = None
    orientation: int = 1
    detection: Detection | None = None
    fault: str = ""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--recursive", action="store_true", help="look into subfolders, too")
    parser.add_argument("--config", help="config file; default: the official CRAFT")
    parser.add_argument("--checkpoint", help="checkpoint file; default: the official weights")
    parser.add_argument(
        "--refine",
        metavar="FILE",
        help="find lines of text by a link refiner, whose weights FILE holds; implies --polygons",
    )
    parser.add_argument("--polygons", action="store_true", help="outlines that follow curved words")
    parser.add_argument(
        "--chars", action="store_true", help="find the characters of each word, too"
    )
    parser.add_argument("--score-maps", action="store_true", help="draw the score maps, too")
    parser.add_argument("--text-threshold", type=_share, metavar="T", help="least peak of a word")
    parser.add_argument("--link-threshold", type=_share, metavar="T", help="links characters above")
    parser.add_argument("--low-text", type=_share, metavar="T", help="text is above it")
    parser.add_argument(
        "--isolated-threshold",
        type=_share,
        metavar="T",
        help="least peak of a single character that stands alone (default: as of a word)",
    )
    parser.add_argument(
        "--long-side", type=_count, metavar="PX", help="limit of the network's input (1280)"
    )
    parser.add_argument(
        "--magnification", type=_positive, metavar="R", help="how far photos are enlarged (1.5)"
    )
    parser.add_argument(
        "--max-pixels",
        type=_count,
        default=250_000_000,
        metavar="N",
        help="refuse larger photos: a pixel takes 10 bytes",
    )
    parser.add_argument("--batch-size", type=_count, metavar="N", help="1, or 8 on a GPU")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a GPU if there is one")
    args = parser.parse_args(argv)
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    args.batch_size = args.batch_size or (1 if args.device == "cpu" else 8)
    return args


def windows(jobs: list[Job], size: int, max_pixels: int) -> Iterator[list[Job]]:
    """Decode photos, in groups of at most ``size`` and about `WINDOW_PIXELS`."""
    window, pixels = [], 0
    for job in jobs:
        try:
            job.image, job.orientation = read_photo(job.path, max_pixels)
            pixels += job.image.shape[0] * job.image.shape[1]
        except (OSError, ValueError) as error:
            job.fault = str(error)
        window.append(job)
        if len(window) == size or pixels >= WINDOW_PIXELS:
            yield window
            window, pixels = [], 0
    if window:
        yield window


def detect(detector: TextDetector, window: list[Job], args: argparse.Namespace) -> None:
    """Fill in what is found on the photos of a window; one by one where memory is short."""
    jobs = [job for job in window if not job.fault]
    try:
        images = [job.image for job in jobs]
        found = detector.detect(images, batch_size=args.batch_size)
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        if len(jobs) > 1:
            for job in jobs:
                detect(detector, [job], args)
            return
        jobs[0].fault = f"{jobs[0].path}: not enough memory for the network: lower --long-side"
        return
    for job, detection in zip(jobs, found, strict=True):
        job.detection = detection


def write_results(job: Job, args: argparse.Namespace) -> int:
    """Write JSON and pictures of a photo; returns the number of words."""
    image, found = job.image, job.detection
    stem = args.out / job.name
    stem.parent.mkdir(parents=True, exist_ok=True)
    picture = image
    if found.chars is not None:
        picture = draw_chars(picture, found.chars)
    picture = draw_words(picture, found.polygons)
    ending = ".jpg" if max(image.shape) <= MAX_JPEG_SIDE else ".png"
    write_picture(stem.with_name(stem.name + ending), picture)
    if args.score_maps:
        # As ScoreMapVisualizer draws them.
        kinds, maps = zip(*found.score_maps.items())
        scene = Scene(predicted=np.stack(maps), kinds=kinds)
        write_picture(stem.with_name(f"{stem.name}_scores.jpg"), draw_scene(image, scene))
    # Last: where the JSON is, the photo is done.
    text = json.dumps(as_json(job), ensure_ascii=False)
    write_atomically(stem.with_name(f"{stem.name}.json"), text.encode())
    return len(found.polygons)


def as_json(job: Job) -> dict:
    """What is found on a photo, in pixels of the upright photo."""
    found = job.detection
    words = [
        {"polygon": _rounded(polygon), "score": round(float(score), 4)}
        for polygon, score in zip(found.polygons, found.scores, strict=True)
    ]
    if found.chars is not None:
        for word, chars in zip(words, found.chars, strict=True):
            word["chars"], word["char_count"] = _rounded(chars), len(chars)
    return {
        "image": str(job.path),
        "width": job.image.shape[1],
        "height": job.image.shape[0],
        "exif_orientation": job.orientation,
        "coordinates": "pixels (x, y) of the upright photo, its EXIF orientation applied",
        "words": words,
    }


def _rounded(points: np.ndarray) -> list:
    return np.round(points.astype(np.float64), 2).tolist()


def write_picture(path: Path, picture: np.ndarray) -> None:
    done, data = cv2.imencode(path.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise OSError(f"{path}: cannot be encoded")
    write_atomically(path, data.tobytes())


def process(detector: TextDetector, jobs: list[Job], args: argparse.Namespace) -> tuple[int, bool]:
    """Take all photos through; decoding and writing go on beside the network.

    Returns:
        tuple[int, bool]: Words found, and whether the user has stopped it.
    """
    groups = windows(jobs, args.batch_size * 4 if args.batch_size > 1 else 1, args.max_pixels)
    written: list[Future[int]] = []
    words, stopped = 0, False
    with (
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(4) as writer,
        tqdm(total=len(jobs), unit="photo", file=sys.stderr) as bar,
    ):
        try:
            upcoming = reader.submit(next, groups, None)
            while window := upcoming.result():
                upcoming = reader.submit(next, groups, None)
                detect(detector, window, args)
                words += sum(future.result() for future in written)
                written = []
                for job in window:
                    if not job.fault:
                        written.append(writer.submit(_write_and_forget, job, args))
                bar.update(len(window))
        except KeyboardInterrupt:
            stopped = True
        words += sum(future.result() for future in written)
    return words, stopped


def _write_and_forget(job: Job, args: argparse.Namespace) -> int:
    words = write_results(job, args)
    job.image, job.detection = None, Detection([], np.zeros(0, np.float32))
    return words


def main() -> int:
    args = parse_args()
    # --max-pixels takes the place of Pillow's limit: it is looked at before anything is decoded.
    Image.MAX_IMAGE_PIXELS = None
    endings = (".jpg", ".png", "_scores.jpg")[: 3 if args.score_maps else 2]
    found = find_photos(args.photos, args.out, recursive=args.recursive, endings=endings)
    jobs = [Job(path, name) for path, name in found]
    names = "checkpoint device text_threshold link_threshold low_text isolated_threshold"
    names += " chars long_side magnification"
    settings = {name: getattr(args, name) for name in names.split()}
    settings |= {
        "polygons": args.polygons or None,
        "score_maps": args.score_maps,
        "refiner": args.refine,
    }
    if args.config:
        detector = TextDetector.from_config(args.config, **settings)
    else:
        detector = TextDetector.official(**settings)
    if args.score_maps and not detector.has_score_maps:
        raise ValueError(
            f"{args.config}: --score-maps needs a post-processor of this package; leave it out"
        )
    args.out.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    words, stopped = process(detector, jobs, args)
    seconds = time.perf_counter() - start
    done = sum(job.detection is not None for job in jobs)
    faults = [job for job in jobs if job.fault]
    for job in faults:
        print(f"skipped: {job.fault}", file=sys.stderr)
    print(
        f"{done} photos, {words} words, {seconds:.1f} s ({done / seconds:.2f} photos/s)"
        + f" -> {args.out}"
        + (f"; {len(faults)} skipped" if faults else "")
        + (f"; stopped, {len(jobs) - done - len(faults)} not done" if stopped else "")
    )
    if stopped:
        return 130
    return 0 if done else 1


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


if __name__ == "__main__":
    launch.run(main)
