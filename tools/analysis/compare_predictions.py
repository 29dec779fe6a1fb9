#!/usr/bin/env python
"""Compare two detectors on the same images: rates with intervals, and where they differ most.

    python tools/analysis/compare_predictions.py gt.zip a.zip b.zip --images photos --out outputs/ab
    python tools/analysis/compare_predictions.py val.json a.pth b.pth --config CONFIG \\
        --images photos --out outputs/ab

Each side is a file or folder of predictions, as evaluate_predictions.py reads them, or a checkpoint
(.pth) of a config; what a checkpoint predicts is kept in a.json and b.json. Printed are precision,
recall and hmean of both with 95 % intervals, from the bootstrap over images, and of their
difference, for which both are drawn the same images; and the recall of both by kinds of words.
differences.png shows the images on which one makes most errors (missed and wrong words) more than
the other: right words green, wrong ones red, missed ones blue, what does not count grey.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from error_pages import Side, draw_pages
from evaluate_predictions import add_reading_options, read_pages, read_truth_pages
from predicting import predict
from rich.console import Console
from rich.table import Table

from mmtextplug import launch
from mmtextplug.evaluation.bootstrap import interval, rates_of, resample_counts
from mmtextplug.evaluation.breakdown import count_page_kinds, summarize_kinds
from mmtextplug.evaluation.files import Pages
from mmtextplug.evaluation.hmean import count_page, judge_page, match_page
from mmtextplug.evaluation.overlaps import Predictions, Truth
from mmtextplug.files import write_atomically
from mmtextplug.inference import TextDetector
from mmtextplug.photos import SUFFIXES

RATES = ("precision", "recall", "hmean")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="annotated words")
    parser.add_argument("a", type=Path, metavar="A", help="predictions, or a checkpoint (.pth)")
    parser.add_argument("b", type=Path, metavar="B", help="the same")
    add_reading_options(parser)
    parser.add_argument("--config", help="config of the checkpoints; default: the official CRAFT")
    launch.add_config_options(parser)
    parser.add_argument("--config-b", help="config of B, if it is another one")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="the photos, to predict and draw"
    )
    parser.add_argument("--iou-thr", type=float, default=0.5, metavar="T", help="default: 0.5")
    parser.add_argument("--score-thr", type=float, default=0.0, metavar="T", help="default: 0")
    parser.add_argument("--samples", type=int, default=2000, metavar="N", help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--number", type=int, default=6, metavar="N", help="images to draw")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the network")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    if args.samples < 1 or args.number < 0 or args.threads < 1:
        parser.error("--samples and --threads must be 1 or more, --number 0 or more")
    if not 0 <= args.score_thr <= 1 or not 0 <= args.iou_thr < 1:
        parser.error("--score-thr must be in [0, 1], --iou-thr in [0, 1)")
    if args.images is not None and not args.images.is_dir():
        parser.error(f"--images {args.images}: no such folder")
    if (args.config_b or args.cfg_options) and not args.config:
        parser.error("--config-b and --cfg-options go with --config")
    return args


def find_photos(args: argparse.Namespace, names: dict[str, str]) -> dict[str, Path]:
    """The photos of images below ``--images`` by their keys; names as annotations have them."""
    if args.images is None:
        return {}
    found = {}
    by_stem = {
        path.stem.casefold(): path
        for path in sorted(args.images.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    }
    for key, name in names.items():
        direct = args.images / name
        path = direct if direct.is_file() else by_stem.get(key.rpartition("/")[2].casefold())
        if path is not None:
            found[key] = path
    return found


def as_predictions(
    path: Path, config: str | None, truth: Pages[Truth], args: argparse.Namespace, name: str
) -> Path:
    """A file of predictions: the path itself, or what the checkpoint at the path predicts.

    Raises:
        ValueError: If there are no photos for a checkpoint to predict.
    """
    if path.suffix != ".pth":
        return path
    names = {key: truth.files.get(key, key) for key in truth}
    photos = find_photos(args, names)
    if len(photos) < len(names):
        missing = next(names[key] for key in names if key not in photos)
        raise ValueError(
            f"{path}: a checkpoint needs the photos: {missing} is not in --images {args.images}"
        )
    build = TextDetector.official if config is None else TextDetector.from_config
    first = () if config is None else (launch.load_config(config, args.cfg_options),)
    detector = build(*first, checkpoint=path, device=args.device, precision="float32")
    out = args.out / f"{name}.json"
    predict(detector, {names[key]: photo for key, photo in photos.items()}, out)
    return out


def judge(truth: Truth, predictions: Predictions, args: argparse.Namespace) -> Side:
    """Judge a detector's words of an image."""
    confident = predictions.scores >= args.score_thr
    kept = [outline for outline, keep in zip(predictions.outlines, confident) if keep]
    predictions = Predictions(kept, predictions.scores[confident])
    page = judge_page(truth, predictions, iou_thr=args.iou_thr)
    return Side(predictions, page, *match_page(page))


def compare(counts: np.ndarray, args: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Rates of both, and B's minus A's, each with its interval.

    Args:
        counts (np.ndarray): ``(I, 2, 3)`` of I images, of A and B.
        args (argparse.Namespace): ``samples`` and ``seed``.

    Returns:
        dict: ``a``, ``b`` and ``difference``: for each rate its value and the ends of its interval.
    """
    drawn = rates_of(resample_counts(counts, args.samples, args.seed))
    value = rates_of(counts.sum(0))
    ends = interval(drawn)
    result = {
        name: {rate: [value[i, r], *ends[:, i, r]] for r, rate in enumerate(RATES)}
        for i, name in enumerate("ab")
    }
    gap, gap_ends = value[1] - value[0], interval(drawn[:, 1] - drawn[:, 0])
    result["difference"] = {rate: [gap[r], *gap_ends[:, r]] for r, rate in enumerate(RATES)}
    return json.loads(json.dumps(result, default=float))


def report(
    args: argparse.Namespace, result: dict, sides: list[tuple[Side, Side]], kinds: np.ndarray
) -> None:
    """Print both tables."""
    console = Console(width=110)
    table = Table(title=f"{len(sides):,} images, 95 % intervals of {args.samples:,} resamplings")
    for name in ("", *RATES):
        table.add_column(name)
    for name, title in (
        ("a", f"A {args.a.name}"),
        ("b", f"B {args.b.name}"),
        ("difference", "B - A"),
    ):
        sign = "+" if name == "difference" else ""
        cells = (result[name][rate] for rate in RATES)
        table.add_row(
            title, *(f"{v:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]" for v, low, high in cells)
        )
    console.print(table)
    low, high = result["difference"]["hmean"][1:]
    better = "B" if low > 0 else "A" if high < 0 else None
    print(
        f"hmean: {better} is better" if better else "hmean: neither is better",
        f"(the interval of the difference {'does not include' if better else 'includes'} 0)",
    )
    errors = [a.errors - b.errors for a, b in sides]
    print(
        f"fewer errors: A in {sum(e < 0 for e in errors)}, B in {sum(e > 0 for e in errors)}, as "
        f"many in {sum(e == 0 for e in errors)} images"
    )
    table = Table(title="recall by kinds of words")
    for name in ("", "", "words", "A", "B", "B - A"):
        table.add_column(name, justify="right" if name else "left")
    first, second = ({(r.aspect, r.kind): r for r in summarize_kinds(k)} for k in kinds)
    last = None
    for key, one in first.items():
        if one.truths:
            recall = one.recall, second[key].recall
            table.add_row(
                key[0] if key[0] != last else "",
                key[1],
                f"{one.truths:,}",
                *(f"{value:.4f}" for value in recall),
                f"{recall[1] - recall[0]:+.4f}",
            )
            last = key[0]
    console.print(table)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    truth = read_truth_pages(args)
    a = as_predictions(args.a, args.config, truth, args, "a")
    b = as_predictions(args.b, args.config_b or args.config, truth, args, "b")
    of_a, of_b = (read_pages(args, truth, predictions) for predictions in (a, b))
    pages = [(key, words) for key, words, _ in of_a]
    sides = [
        (judge(words, one, args), judge(words, two, args))
        for (_, words, one), (_, _, two) in zip(of_a, of_b)
    ]
    counts = np.array([[count_page(side.page) for side in both] for both in sides])
    kinds = sum(
        np.array([count_page_kinds(words, s.predictions, s.page, 0.0, "vanilla") for s in both])
        for (_, words), both in zip(pages, sides)
    )
    result = compare(counts, args)
    report(args, result, sides, kinds)
    photos = find_photos(args, {key: truth.files.get(key, key) for key, _ in pages})
    gaps = np.array([abs(one.errors - two.errors) for one, two in sides])
    chosen = [i for i in np.argsort(-gaps, kind="stable") if gaps[i] and pages[i][0] in photos]
    chosen = chosen[: args.number]
    if chosen:
        data = draw_pages([(*pages[i], sides[i], photos[pages[i][0]]) for i in chosen])
        write_atomically(args.out / "differences.png", data)
    else:
        missing = "--images has none of the photos" if args.images else "no --images"
        print("no picture:", "no image differs" if photos else missing)
    images = {
        key: {name: list(count_page(side.page)) for name, side in zip("ab", both)}
        for (key, _), both in zip(pages, sides)
    }
    content = {**result, "images": images}
    write_atomically(args.out / "compare.json", json.dumps(content, indent=1).encode())


if __name__ == "__main__":
    launch.run(main)
