#!/usr/bin/env python
"""Find CRAFT's text, link and low-text thresholds on validation photos, of each one forward pass.

    python tools/analysis/sweep_thresholds.py val.json --images photos --out outputs/sweep
    python tools/analysis/sweep_thresholds.py --config CONFIG --checkpoint FILE --out outputs/sweep

Without an annotation file the photos are those of the config's val_dataloader. The network's score
maps are kept in --cache, compressed, and read from there the next time. A table of the best
settings, a heat map (sweep.png) and all results (sweep.json) show the hmean at IoU 0.5 of every
combination; the best is printed as lines of a config, with the number of settings that are as good
within the bootstrap's 95 % interval. Thresholds must not be chosen on test photos: photos that are
among the config's test set, or in --test-annotation, are warned of.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import MODELS
from rich.console import Console
from rich.table import Table
from score_map_cache import Maps, MapSource, add_network_options, craft_postprocessor
from sweep_photos import open_photos, warn_of_test_photos
from sweep_picture import draw
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.annotations import read_word
from mmtextplug.evaluation.bootstrap import interval, rates_of, resample_counts
from mmtextplug.evaluation.hmean import judge_page, sweep_page
from mmtextplug.evaluation.overlaps import Predictions, Truth
from mmtextplug.files import write_atomically

NAMES = ("low_text", "link_threshold", "text_threshold")
"""The axes of results."""

GRIDS = {
    "low_text": [0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6],
    "link_threshold": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    "text_threshold": [0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9],
}
DEFAULTS = {"low_text": 0.4, "link_threshold": 0.4, "text_threshold": 0.7}
"""Those of `CRAFTPostprocessor`."""

ROWS = 8
"""Settings in the table."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotation", type=Path, nargs="?", metavar="ANN_JSON", help="MMOCR's")
    parser.add_argument("--images", type=Path, metavar="DIR", help="the photos of ANN_JSON")
    add_network_options(parser)
    parser.add_argument("--test-annotation", type=Path, metavar="ANN_JSON", help="to keep apart")
    for name, values in GRIDS.items():
        flag = "--" + name.replace("_", "-")
        default = " ".join(f"{value:g}" for value in values)
        parser.add_argument(
            flag, type=float, nargs="+", default=values, metavar="T", help=f"default: {default}"
        )
    parser.add_argument("--polygons", action="store_true", help="outlines that follow curved words")
    parser.add_argument("--iou-thr", type=float, default=0.5, metavar="T", help="default: 0.5")
    parser.add_argument("--number", type=int, metavar="N", help="the first N photos only")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    for name in NAMES:
        values = sorted(set(getattr(args, name)))
        if not all(0 < value < 1 for value in values):
            parser.error(f"--{name.replace('_', '-')}: thresholds lie between 0 and 1")
        setattr(args, name, values)
    if (args.annotation is None) != (args.images is None):
        parser.error("ANN_JSON and --images go together")
    if args.annotation is None and args.config is None:
        parser.error("give ANN_JSON and --images, or a --config with a val_dataloader")
    if args.threads < 1 or (args.number is not None and args.number < 1):
        parser.error("--threads and --number must be 1 or more")
    return args


class Sweep:
    """Counts of photos at every combination of thresholds."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        settings = craft_postprocessor(args)
        settings |= dict(find_chars=False, keep_score_maps=False, isolated_threshold=None)
        settings["text_repr_type"] = "poly" if args.polygons else "quad"
        # A word's score is its peak, which text_threshold is compared with: one grouping does for
        # all of them.
        settings["text_threshold"] = args.text_threshold[0]
        self.postprocessors = [
            [
                MODELS.build({**settings, "low_text": low, "link_threshold": link})
                for link in args.link_threshold
            ]
            for low in args.low_text
        ]

    def count(self, maps: Maps, truth: Truth) -> np.ndarray:
        """Counts of a photo, ``(low_text, link_threshold, text_threshold, 3)`` int64."""
        scores = torch.from_numpy(maps.scores.astype(np.float32))
        counts = []
        for row in self.postprocessors:
            for post in row:
                found = post(scores[None], [maps.sample()])[0].pred_instances
                outlines = [np.float64(polygon.reshape(-1, 2)) for polygon in found.polygons]
                predictions = Predictions(outlines, found.scores.numpy())
                page = judge_page(truth, predictions, iou_thr=self.args.iou_thr)
                counts.append(sweep_page(page, self.args.text_threshold))
        return np.reshape(counts, (*map(len, (getattr(self.args, n) for n in NAMES)), 3))


def truth_of(instances: list[dict]) -> Truth:
    """Annotated words of a photo."""
    words = [word for word, _ in map(read_word, instances) if word is not None]
    return Truth(
        [word.polygon.astype(np.float64) for word in words],
        np.array([word.ignored for word in words], dtype=bool),
        [word.text for word in words],
    )


def as_good(counts: np.ndarray, best: tuple[int, ...]) -> np.ndarray:
    """Which settings are as good as the best, within the interval of the paired difference.

    Args:
        counts (np.ndarray): ``(I, ..., 3)``, of I photos.
        best (tuple[int, ...]): The best setting.

    Returns:
        np.ndarray: ``(...)`` bool.
    """
    hmeans = rates_of(resample_counts(counts, samples=500))[..., 2]
    differences = hmeans[(slice(None), *best)].reshape(-1, *[1] * len(best)) - hmeans
    return interval(differences)[0] <= 0


def choose(args: argparse.Namespace, hmeans: np.ndarray, own: dict[str, float]) -> tuple[int, ...]:
    """The best setting; of several that are equal the nearest to the config's.

    Args:
        args (argparse.Namespace): The grids.
        hmeans (np.ndarray): ``(low_text, link_threshold, text_threshold)``.
        own (dict[str, float]): Thresholds of the config.
    """
    equal = np.argwhere(hmeans == hmeans.max())
    grids = [np.array(getattr(args, name)) for name in NAMES]
    away = sum(
        np.abs(grid[places] - own[name]) for name, grid, places in zip(NAMES, grids, equal.T)
    )
    return tuple(equal[np.argmin(away)].tolist())


def report(
    args: argparse.Namespace,
    rates: np.ndarray,
    equal: np.ndarray,
    best: tuple[int, ...],
    own: dict[str, float],
) -> dict[str, float]:
    """Print the table and the best setting; return the latter."""
    grids = [getattr(args, name) for name in NAMES]
    hmeans = rates[..., 2]
    order = [np.unravel_index(flat, equal.shape) for flat in np.argsort(-hmeans, None, "stable")]
    order = [best, *(place for place in order if place != best)][:ROWS]
    table = Table(title=f"of {equal.size} settings the best {len(order)}")
    for name in (*NAMES[::-1], "precision", "recall", "hmean"):
        table.add_column(name.replace("_", " "), justify="right")
    mine = None
    if all(own[name] in grid for name, grid in zip(NAMES, grids)):
        mine = tuple(grid.index(own[name]) for name, grid in zip(NAMES, grids))
        order += [] if mine in order else [mine]
    for place in order:
        values = [f"{grid[i]:g}" for i, grid in zip(place, grids)][::-1]
        values[0] += " (the config's)" if place == mine else ""
        table.add_row(*values, *(f"{value:.4f}" for value in rates[place]))
    Console(width=100).print(table)
    found = {name: grid[i] for name, i, grid in zip(NAMES, best, grids)}
    print(f"{int(equal.sum())} of {equal.size} settings are as good within the 95 % interval")
    edges = [
        name
        for name, i, grid in zip(NAMES, best, grids)
        if len(grid) > 1 and i in (0, len(grid) - 1)
    ]
    if edges:
        print(f"NOTE: the best is at the edge of the grid in {', '.join(edges)}: widen it")
    settings = ", ".join(f"{name}={found[name]:g}" for name in NAMES[::-1])
    print(f"model = dict(det_head=dict(postprocessor=dict({settings})))")
    return found


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    dataset, sweep, source = open_photos(args), Sweep(args), MapSource(args)
    entries = [dataset.get_data_info(i) for i in range(len(dataset))][: args.number]
    warning = warn_of_test_photos([Path(entry["img_path"]) for entry in entries], args)
    print(warning, file=sys.stderr, end="\n" if warning else "")
    counts, network, grouping = [], 0.0, 0.0
    for entry in tqdm(entries, "photos", unit="photo", file=sys.stderr):
        path, start = Path(entry["img_path"]), time.perf_counter()
        # Photos of several folders may share a name.
        name = Path(*path.parts[-2:]) if args.images is None else _below(path, args.images)
        maps = source(path, str(name))
        network, start = network + time.perf_counter() - start, time.perf_counter()
        counts.append(sweep.count(maps, truth_of(entry["instances"])))
        grouping += time.perf_counter() - start
    totals = np.sum(counts, axis=0)
    if not totals[..., 1].any():
        raise ValueError(f"{dataset.ann_file}: no word that counts: nothing to choose by")
    rates, own = rates_of(totals), DEFAULTS | craft_postprocessor(args)
    best = choose(args, rates[..., 2], own)
    equal = as_good(np.stack(counts), best)
    setting = report(args, rates, equal, best, own)
    print(f"score maps {network:.1f} s, {equal.size} settings {grouping:.1f} s -> {args.out}")
    args.out.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out / "sweep.png", draw(args, rates[..., 2], best))
    content = dict(
        photos=len(entries),
        warning=warning,
        best=setting,
        **{name: getattr(args, name) for name in NAMES},
        counts=totals.tolist(),
        hmean=rates[..., 2].tolist(),
    )
    write_atomically(args.out / "sweep.json", json.dumps(content).encode())


def _below(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)


if __name__ == "__main__":
    launch.run(main)
