#!/usr/bin/env python
"""Find every problem that training would meet in annotation files and their images.

Takes MMOCR's JSON, COCO's JSON, an index of SynthText, or a config, of which it takes the datasets
of the train, val and test dataloaders. The exit status is 1 if there are errors: what training
leaves out, or what would make it go wrong. Notes are worth a look.

Examples:
    python tools/datasets/validate.py icdar2015/train.json --images icdar2015/train_images
    python tools/datasets/validate.py configs/craft/craft_vgg16bn_icdar2015.py --draw faults
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import cv2
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.annotation_files import Skipped, Source, config_sources, named_source
from mmtextplug.datasets.findings import COUNTS, MEASURES, NOTES, Finding
from mmtextplug.datasets.validation import Summary, Validation
from mmtextplug.files import replacing
from mmtextplug.visualization.faults import draw_finding

QUANTILES = (0, 0.05, 0.5, 0.95, 1)
NAMES = ("smallest", "5 %", "median", "95 %", "largest")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE_OR_CONFIG")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="what paths in files start from (default: the folder of the file)",
    )
    parser.add_argument("--decode", action="store_true", help="decode every image, too")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="draw examples of each kind")
    parser.add_argument(
        "--number", type=int, default=3, metavar="N", help="examples of each kind to draw"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes")
    parser.add_argument(
        "--show", type=int, default=3, metavar="N", help="examples of each kind to name"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="JSON to write everything to")
    launch.add_config_options(parser)
    args = parser.parse_args(argv)
    if args.show < 0 or args.number < 1 or args.workers < 1:
        parser.error("--show must be 0 or more, --number and --workers 1 or more")
    configs = [path.suffix == ".py" for path in args.inputs]
    if args.images is not None and all(configs):
        parser.error("--images is for files; configs say where their images are")
    if args.cfg_options and not any(configs):
        parser.error("--cfg-options is for configs")
    for name in ("report", "draw"):
        path = getattr(args, name)
        if path is not None and path.exists() and path.is_dir() != (name == "draw"):
            parser.error(f"--{name} {path}: is a {'folder' if path.is_dir() else 'file'}")
    return args


def find_sources(args: argparse.Namespace) -> list[tuple[Path, list[Source], list[Skipped]]]:
    """The datasets of each input, all before the first is validated."""
    found = []
    for path in args.inputs:
        if path.suffix == ".py":
            cfg = launch.load_config(str(path), args.cfg_options)
            found.append((path, *config_sources(cfg)))
        else:
            found.append((path, [named_source(path, args.images)], []))
    return found


def validate(args: argparse.Namespace) -> list[Summary]:
    """Validate, print, draw and report.

    Raises:
        ValueError: If an input is no such file, or a config names no dataset.
        OSError: If something cannot be read or written.
    """
    inputs = find_sources(args)
    summaries: list[Summary] = []
    with _report(args.report) as log:
        for path, sources, skipped in inputs:
            for where, reason in skipped:
                print(f"{path}: {where}: skipped, {reason}")
            validation = Validation(
                decode=args.decode,
                workers=args.workers,
                examples=args.show,
                drawings=args.number if args.draw else 0,
                log=None if log is None else lambda source, finding: _log(log, source, finding),
            )
            for source in sources:
                with tqdm(desc=source.path.name, unit=" images", disable=None) as bar:

                    def progress(count: int, total: float, bar: tqdm = bar) -> None:
                        bar.total = round(total)
                        bar.update(count)

                    summary = validation.run(source, progress)
                summaries.append(summary)
                summarize(summary, args.show)
        if log is not None:
            _finish_report(args.report, log, summaries)
    if args.draw is not None:
        draw(args.draw, args.number, summaries)
    return summaries


def summarize(summary: Summary, show: int) -> None:
    """Print the table of a dataset."""
    source = summary.source
    named = f" ({', '.join(source.where)})" if source.where else ""
    print(f"{source.path}{named}")
    share = summary.counts["ignored"] / max(summary.counts["words"], 1)
    counts = [f"{summary.counts[name]:,} {name}" for name in COUNTS]
    counts[2] += f" ({share:.0%})"
    print("  " + ", ".join(counts))
    if summary.counts["words"]:
        print(f"  {'':<24}" + "".join(f"{name:>10}" for name in NAMES))
    for measure in MEASURES:
        values = summary.quantiles(measure, QUANTILES)
        if values is not None and summary.counts["words"]:
            print(f"  {measure:<24}" + "".join(f"{value:>10.3g}" for value in values))
    for title, errors in (("errors", True), ("notes", False)):
        kinds = [(k, n) for k, n in summary.kinds.most_common() if (k not in NOTES) == errors]
        print(f"  {title:<70}{sum(count for _, count in kinds):>10,}")
        for kind, count in kinds:
            print(f"    {kind:<68}{count:>10,}")
            for finding in summary.examples[kind][:show]:
                print(f"      {finding}")


def draw(folder: Path, number: int, summaries: list[Summary]) -> None:
    """Draw the first findings of each kind that can be drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for place, summary in enumerate(summaries):
        for kind, findings in summary.examples.items():
            name = re.sub(r"[^a-z0-9]+", "_", kind.lower()).strip("_")[:60]
            for index, finding in enumerate(findings[:number]):
                picture = draw_finding(finding)
                if picture is None:
                    continue
                stem = f"{place}_{name}_{index}" if len(summaries) > 1 else f"{name}_{index}"
                target = folder / f"{stem}.png"
                if not cv2.imwrite(str(target), picture):
                    raise OSError(f"{target}: cannot be written; check --draw and the space left")
                drawn += 1
    print(f"{folder}: {drawn} drawn")


@contextmanager
def _report(path: Path | None) -> Iterator[TextIO | None]:
    """A file for findings, one a line, that there may be millions of."""
    if path is None:
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as log:
        yield log


def _log(log: TextIO, source: Source, finding: Finding) -> None:
    row = {
        "severity": "error" if finding.is_error else "note",
        "kind": finding.kind,
        "file": os.fspath(source.path),
        "where": finding.where,
        "image": finding.image,
        "detail": finding.detail,
    }
    log.write(json.dumps(row) + "\n")


def _finish_report(path: Path, log: TextIO, summaries: list[Summary]) -> None:
    """Write the report, which is then there whole or not at all."""
    datasets = [
        {
            "file": os.fspath(summary.source.path),
            "images_folder": summary.source.images,
            "where": list(summary.source.where),
            "counts": {name: summary.counts[name] for name in COUNTS},
            "errors": summary.errors,
            "kinds": dict(summary.kinds),
            "quantiles": {m: summary.quantiles(m, QUANTILES) for m in MEASURES},
        }
        for summary in summaries
    ]
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
        head = {"quantiles": QUANTILES, "datasets": datasets}
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "findings": [')
        log.seek(0)
        for number, line in enumerate(log):
            file.write((",\n  " if number else "\n  ") + line.rstrip("\n"))
        file.write("\n ]\n}\n")
    print(f"{path}: written")


def main(argv: list[str] | None = None) -> int:
    summaries = validate(parse_args(argv))
    errors = sum(summary.errors for summary in summaries)
    return 1 if errors else 0


if __name__ == "__main__":
    launch.run(main)
