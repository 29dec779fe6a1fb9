#!/usr/bin/env python
"""Find the words on photos: JSON and pictures, with the official CRAFT or a checkpoint of yours.

With --light, and where the official weights are not installed, it is the light detector of the
package.

Examples:
    python tools/infer.py photo.jpg holiday/ --out found
    python tools/infer.py holiday/ --out found --light
    python tools/infer.py photo.jpg --out found --polygons --chars --score-maps
    python tools/infer.py photo.jpg --out found --refine craft_refiner_CTW1500.pth
    python tools/infer.py data/ --recursive --out found --config CONFIG --checkpoint CHECKPOINT
    python tools/infer.py scans/ --out found --long-side 10000 --max-memory 1000
    python tools/infer.py data/ --out found --onnx craft.onnx

For each photo DIR holds NAME.json, the picture NAME.jpg and, if asked for, NAME_scores.jpg. A photo
that cannot be read is skipped and reported, and the exit status is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from infer_output import Job, finish
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.craft.weights import has_official_weights
from mmtextplug.inference import TextDetector
from mmtextplug.inference.network import PRECISIONS
from mmtextplug.inference.onnx_network import BACKENDS, OnnxError
from mmtextplug.photos import find_photos, read_photo

WINDOW_PIXELS = 50_000_000
"""Photos are decoded, detected and written in groups of about so many pixels: three groups are in
memory at a time."""

NO_MEMORY = (
    *("can't allocate memory", "not enough memory", "out of memory"),
    *("failed to allocate", "bad_alloc", "status_alloc_failed"),
)
"""What PyTorch, its libraries and the backends of ONNX say where memory is short, in lower case."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--recursive", action="store_true", help="look into subfolders, too")
    parser.add_argument(
        "--config", help="config file; default: the one in the checkpoint, or the official CRAFT"
    )
    parser.add_argument(
        "--checkpoint",
        help="checkpoint file; default: the official weights, or --light if they are not installed",
    )
    parser.add_argument(
        "--light",
        action="store_true",
        help="the light detector: two to four times as fast, less exact",
    )
    parser.add_argument(
        "--refine",
        metavar="FILE",
        help="find lines of text by a link refiner, whose weights FILE holds; implies --polygons",
    )
    parser.add_argument(
        "--onnx", metavar="FILE", help="a detector that tools/export_onnx.py wrote, instead"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=BACKENDS[0],
        help="what runs the file of --onnx",
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
        "--long-side",
        type=_count,
        metavar="PX",
        help="limit of the network's input (1280; the light detector: 1600)",
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
    parser.add_argument(
        "--device", help="cpu, cuda, ...; default: a GPU if there is one; with --onnx, cpu"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="what the network computes in; auto: the fastest here, measured at the start",
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile: half a minute or more to begin with"
    )
    parser.add_argument(
        "--max-memory",
        type=_count,
        metavar="MIB",
        help="for the network's images and features (4096); larger images go through in tiles",
    )
    args = parser.parse_args(argv)
    # What is installed to run ONNX files is most often for CPUs.
    fast = torch.cuda.is_available() and not args.onnx
    args.device = args.device or ("cuda" if fast else "cpu")
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
            job.skip(str(error))
        window.append(job)
        if len(window) == size or pixels >= WINDOW_PIXELS:
            yield window
            window, pixels = [], 0
    if window:
        yield window


def lacks_memory(error: Exception) -> bool:
    """Whether an error of a network is about memory."""
    # An OnnxError's own text begins with a path.
    cause = error.__cause__ if isinstance(error, OnnxError) else error
    said = str(cause).lower()
    return isinstance(cause, MemoryError) or any(text in said for text in NO_MEMORY)


def detect(
    detector: TextDetector, window: list[Job], batch_size: int, bar: tqdm
) -> Iterator[tuple[Job, Future]]:
    """Start to find the words on the photos of a window; one by one where that fails."""
    jobs = [job for job in window if not job.fault]

    def show(done: int, tiles: int) -> None:
        bar.set_postfix_str(f"tile {done}/{tiles}" if done < tiles else "")

    started, fault = [], ""
    try:
        started = detector.start([job.image for job in jobs], batch_size=batch_size, progress=show)
    except Exception as error:
        if lacks_memory(error):
            fault = f"{jobs[0].path}: not enough memory for the network: lower --max-memory"
        elif isinstance(error, OnnxError):
            fault = f"{jobs[0].path}: {error}"
        else:
            raise
    yield from zip(jobs, started)
    # Not before here, where the error no longer holds the tensors that did not fit.
    if fault:
        torch.cuda.empty_cache()
        if len(jobs) == 1:
            jobs[0].skip(fault)
        else:
            for job in jobs:
                yield from detect(detector, [job], 1, bar)


def process(
    detector: TextDetector, jobs: list[Job], args: argparse.Namespace
) -> BaseException | None:
    """Take all photos through; decoding, finding of words and writing go on beside the network.

    Returns:
        BaseException | None: What has stopped it, such as Ctrl-C or a full disk. What was found
        until then is written, as far as it can be.
    """
    groups = windows(jobs, args.batch_size * 4 if args.batch_size > 1 else 1, args.max_pixels)

    def write(job: Job, found: Future) -> None:
        finish(job, found, args.out, args.score_maps, detector.precision)

    before: list[Future[None]] = []
    written: list[Future[None]] = []
    stop = None
    with (
        ThreadPoolExecutor(1) as reader,
        ThreadPoolExecutor(4) as writer,
        tqdm(total=len(jobs), unit="photo", file=sys.stderr) as bar,
    ):
        try:
            upcoming = reader.submit(next, groups, None)
            while window := upcoming.result():
                upcoming = reader.submit(next, groups, None)
                before, written = written, []
                for job, found in detect(detector, window, args.batch_size, bar):
                    written.append(writer.submit(write, job, found))
                for future in before:
                    future.result()
                bar.update(len(window))
            for future in written:
                future.result()
        except (KeyboardInterrupt, Exception) as error:
            stop = error
    return next((error for future in before + written if (error := future.exception())), stop)


def load(args: argparse.Namespace) -> TextDetector:
    """The detector that the options describe."""
    names = "text_threshold link_threshold low_text isolated_threshold chars long_side"
    names += " magnification device max_memory"
    settings = {name: getattr(args, name) for name in names.split()}
    settings |= {"polygons": args.polygons or None, "score_maps": args.score_maps}
    own = [name for name in ("config", "checkpoint", "refine") if getattr(args, name)]
    if args.onnx:
        given = own + [name for name in ("compile", "light") if getattr(args, name)]
        if given:
            raise ValueError(f"--{given[0]}: the file of --onnx has its own; leave it out")
        settings |= {"backend": args.backend, "precision": args.precision}
        return TextDetector.from_onnx(args.onnx, **settings)
    settings |= {"precision": args.precision, "compile": args.compile}
    if args.light:
        if own:
            raise ValueError(f"--{own[0]}: --light is a detector of its own; leave one out")
        return TextDetector.light(**settings)
    if not own and not has_official_weights():
        print("the official weights are not installed: the light detector is used", file=sys.stderr)
        return TextDetector.light(**settings)
    settings |= {"checkpoint": args.checkpoint, "refiner": args.refine}
    return TextDetector.from_config(args.config, **settings)


def main() -> int:
    args = parse_args()
    endings = (".jpg", ".png", "_scores.jpg")[: 3 if args.score_maps else 2]
    there = next(path for path in (args.out, *args.out.parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"--out {args.out}: {there} is a file; name a folder")
    found = find_photos(args.photos, args.out, recursive=args.recursive, endings=endings)
    jobs = [Job(path, name) for path, name in found]
    detector = load(args)
    if args.score_maps and not detector.has_score_maps:
        name = args.config or args.onnx or args.checkpoint
        raise ValueError(
            f"{name}: --score-maps needs a post-processor of this package; leave it out"
        )
    if args.max_memory:
        _ = detector.runner.tile  # too low a cap is told before any photo
    args.out.mkdir(parents=True, exist_ok=True)

    start = time.perf_counter()
    stop = process(detector, jobs, args)
    seconds = time.perf_counter() - start
    done, words = sum(job.done for job in jobs), sum(job.words for job in jobs)
    faults = [job for job in jobs if job.fault]
    for job in faults:
        print(f"skipped: {job.fault}", file=sys.stderr)
    print(
        f"{done} photos, {words} words, {seconds:.1f} s ({done / seconds:.2f} photos/s, "
        + f"{detector.precision}) -> {args.out}"
        + (f"; {len(faults)} skipped" if faults else "")
        + (f"; stopped, {len(jobs) - done - len(faults)} not done" if stop else "")
    )
    if isinstance(stop, KeyboardInterrupt):
        return 130
    if stop:
        raise stop
    return 0 if done and not faults else 1


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
