#!/usr/bin/env python
"""Evaluate predicted words in files, of any program, against annotated ones.

    python tools/analysis/evaluate_predictions.py gt.zip submit.zip
    python tools/analysis/evaluate_predictions.py data/icdar2015/textdet_test.json found --breakdown

Annotations are MMOCR's JSON, or a folder or ZIP archive of text files, one an image. Predictions
are a JSON file in the same form, with a score for each instance, a folder or ZIP archive of text
files as benchmarks take them, or the folder that tools/infer.py wrote. Formats are recognised, and
said. Lines that do not fit and predictions for unknown images are named, counted and left out;
--strict refuses them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.instances import Remark
from mmtextplug.datasets.word_lines import FORMATS
from mmtextplug.evaluation.files import (
    FormatError,
    Pages,
    pair_pages,
    read_predictions,
    read_truth,
)
from mmtextplug.evaluation.overlaps import Predictions, Truth
from mmtextplug.evaluation.prediction_lines import LAYOUTS
from mmtextplug.evaluation.protocol_metrics import CLEvalMetric, DetEvalMetric, TIoUMetric
from mmtextplug.evaluation.text_metrics import HmeanMetric, TextDetectionMetric
from mmtextplug.files import write_atomically

METRICS = {
    "hmean": HmeanMetric,
    "deteval": DetEvalMetric,
    "cleval": CLEvalMetric,
    "tiou": TIoUMetric,
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("truth", type=Path, metavar="TRUTH")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS")
    add_reading_options(parser)
    parser.add_argument(
        "--metric", choices=list(METRICS), nargs="+", default=["hmean"], help="default: hmean"
    )
    parser.add_argument(
        "--iou-thr", type=float, default=0.5, metavar="T", help="of hmean and tiou: 0.5"
    )
    parser.add_argument(
        "--score-thr", type=float, default=0.0, metavar="T", help="least score that counts: 0"
    )
    parser.add_argument(
        "--polygons",
        action="store_true",
        help="cleval and deteval: outlines of any number of points",
    )
    parser.add_argument("--breakdown", action="store_true", help="hmean by kinds of words, too")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON to write results to")
    return parser.parse_args(argv)


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add how files of words are read."""
    formats = "; ".join(f"{name}: {form}" for name, (_, form) in FORMATS.items())
    parser.add_argument(
        "--truth-format",
        choices=[*FORMATS, "rotated"],
        help=f"of text files; default: recognised. {formats}; rotated: x0,y0,x1,y1,angle,text",
    )
    layouts = "; ".join(f"{name}: {form}" for name, form in LAYOUTS.items())
    parser.add_argument(
        "--layout", choices=list(LAYOUTS), help=f"of predictions; default: recognised. {layouts}"
    )
    parser.add_argument(
        "--scores",
        action=argparse.BooleanOptionalAction,
        help="whether a score follows the coordinates; default: recognised",
    )
    parser.add_argument("--strict", action="store_true", help="refuse what would be left out")
    parser.add_argument(
        "--show", type=int, default=5, metavar="N", help="lines to name of each kind of fault"
    )


def read_truth_pages(args: argparse.Namespace) -> Pages[Truth]:
    """Annotated words by image; says what was read, and what was not.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read; with ``--strict``, if anything would be left out.
    """
    try:
        truth = read_truth(args.truth, args.truth_format)
    except FormatError as error:
        raise ValueError(f"{error}; --truth-format says which") from None
    tell(args.truth, truth, truth.remarks, args)
    if not any((~page.ignored).any() for page in truth.values()):
        raise ValueError(f"{args.truth}: no annotated word counts: nothing to judge by")
    return truth


def read_pages(
    args: argparse.Namespace, truth: Pages[Truth], path: Path
) -> list[tuple[str, Truth, Predictions]]:
    """Annotated and predicted words by image; says what was read, and what was not.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or none of its images is annotated; with ``--strict``, if
            anything would be left out.
    """
    try:
        found = read_predictions(path, args.layout, args.scores)
    except FormatError as error:
        raise ValueError(f"{error}; --layout and --scores say which") from None
    pairs, remarks = pair_pages(truth, found)
    tell(path, found, [*found.remarks, *remarks], args)
    if pairs and sum(remark.kept for remark in remarks) == len(pairs):  # none is predicted
        raise ValueError(
            f"{path}: no prediction is for an image of {args.truth}: found "
            f"{', '.join(list(found)[:3])}; annotated are {', '.join(list(truth)[:3])}"
        )
    return pairs


def tell(path: Path, pages: Pages, remarks: list[Remark], args: argparse.Namespace) -> None:
    """Print what was read from a file, and name what was left out.

    Raises:
        ValueError: With ``--strict``, if anything was left out.
    """
    words = sum(len(page.outlines) for page in pages.values())
    print(f"{path}: {len(pages):,} images, {words:,} words ({pages.form})")
    seen: Counter[str] = Counter()
    for remark in remarks:
        seen[remark.what] += 1
        if seen[remark.what] <= args.show:
            print(f"  {remark}", file=sys.stderr)
    for what, count in seen.items():
        print(f"  {count:,} x {what}")
    left_out = [remark for remark in remarks if not remark.kept]
    if args.strict and left_out:
        raise ValueError(f"{len(left_out):,} faults, the first: {left_out[0]}")


def evaluate(
    metric: TextDetectionMetric, pairs: list[tuple[str, Truth, Predictions]]
) -> dict[str, float]:
    """What a metric makes of all images."""
    bar = tqdm(pairs, type(metric).__name__, unit="image", disable=None, leave=False)
    return metric.compute_metrics([metric.judge(truth, found) for _, truth, found in bar])


def refuse_polygons(pairs: list[tuple[str, Truth, Predictions]]) -> None:
    """A ValueError that names the first image with an outline of other than 4 points."""
    for key, truth, found in pairs:
        for outline in (*truth.outlines, *found.outlines):
            if len(outline) != 4:
                raise ValueError(
                    f"{key}: an outline has {len(outline)} points: cleval takes others than 4 "
                    "with --polygons"
                )


def build_metric(name: str, args: argparse.Namespace) -> TextDetectionMetric:
    """A metric with the settings of the command line."""
    settings = dict(score_thr=args.score_thr)
    if name in ("hmean", "tiou"):
        settings["match_iou_thr"] = args.iou_thr
    if name == "hmean":
        settings["breakdown"] = args.breakdown
    if name == "cleval":
        settings["polygons"] = args.polygons
    if name == "deteval" and args.polygons:
        settings |= dict(boxes=False, area_recall=0.7, area_precision=0.6)
    return METRICS[name](**settings)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    metrics = {name: build_metric(name, args) for name in args.metric}
    pairs = read_pages(args, read_truth_pages(args), args.predictions)
    if "cleval" in metrics and not args.polygons:
        refuse_polygons(pairs)
    results = {}
    for name, metric in metrics.items():
        results[name] = evaluate(metric, pairs)
        print(f"\n{name}")
        for key, value in results[name].items():
            print(f"  {key:<24}{value}")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out, json.dumps(results, indent=1).encode())


if __name__ == "__main__":
    launch.run(main)
