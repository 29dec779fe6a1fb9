#!/usr/bin/env python
"""Time hmean at IoU 0.5 against MMOCR's ``HmeanIOUMetric``, on one thread, with equal results.

    python tools/analysis/benchmark_hmean.py
    python tools/analysis/benchmark_hmean.py --points 14 --images 100

Draws pages of annotated words, some of them ignored, and predictions that are displaced, missing,
doubled or too many. Both metrics judge the same samples, each in a process of its own: printed are
the processor time, the memory it took beyond the samples, and the ratio. MMOCR's takes minutes.
Exits with status 1 when the two do not report the same precision, recall and hmean.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence

import numpy as np
from mmengine.registry import METRICS, DefaultScope
from rich.console import Console
from rich.table import Table

import mmtextplug  # noqa: F401  (lets MMOCR import)

METRIC_TYPES = {"MMOCR": "HmeanIOUMetric", "ours": "HmeanMetric"}
PAGE = (736, 1280)


def draw_words(count: int, points: int, rng: np.random.Generator) -> np.ndarray:
    """``(count, points, 2)`` outlines of tilted words, bent if they have more than four points."""
    centre = rng.uniform((0, 0), PAGE[::-1], (count, 1, 2))
    length = rng.uniform(20, 140, (count, 1))
    height = rng.uniform(10, 36, (count, 1))
    along = np.linspace(-0.5, 0.5, points // 2)
    bend = rng.uniform(-0.3, 0.3, (count, 1)) * (points > 4)
    x = length * along
    y = bend * length * (1 - 4 * along**2)
    outline = np.concatenate(
        [np.stack([x, y - height / 2], 2), np.stack([x, y + height / 2], 2)[:, ::-1]], axis=1
    )
    angle = rng.normal(0, 0.2, count)
    turn = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], 1)
    return outline @ turn.reshape(-1, 2, 2) + centre


def draw_sample(count: int, points: int, rng: np.random.Generator) -> dict:
    """Annotated and predicted words of a page, as evaluators hand them over."""
    truths = draw_words(count, points, rng)
    found = truths[rng.random(count) < 0.85]
    found = found + rng.normal(0, 3, (len(found), 1, 2)) + rng.normal(0, 1, found.shape)
    wrong = draw_words(count - len(found), points, rng)
    predicted = np.concatenate([found, wrong]).astype(np.float32)
    return dict(
        gt_instances=dict(
            polygons=[words.reshape(-1) for words in truths.astype(np.float32)],
            ignored=rng.random(count) < 0.1,
        ),
        pred_instances=dict(
            polygons=[words.reshape(-1) for words in predicted],
            scores=rng.uniform(0.3, 1, len(predicted)).astype(np.float32),
        ),
    )


def measure(name: str, samples: list[dict], answers: multiprocessing.Queue) -> None:
    """Judge all samples; answer (seconds, MiB, metrics)."""
    logging.disable(logging.INFO)
    with DefaultScope.overwrite_default_scope("mmocr"):
        metric = METRICS.build(dict(type=METRIC_TYPES[name]))
    metric.process(None, [draw_sample(2, 4, np.random.default_rng(0))])  # imports, warm caches
    metric.results.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    for sample in samples:
        metric.process(None, [sample])
    results = metric.compute_metrics(metric.results)
    seconds = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    answers.put((seconds, memory, results))


def run(name: str, samples: list[dict]) -> tuple[float, float, dict]:
    """`measure` in a process of its own, so that memory is its own, too."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=measure, args=(name, samples, answers))
    process.start()
    while process.is_alive() and answers.empty():
        process.join(0.2)
    if answers.empty():
        raise RuntimeError(f"{name}: the process ended with {process.exitcode}")
    answer = answers.get()
    process.join()
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--words", type=int, default=100, help="annotated ones of an image")
    parser.add_argument("--points", type=int, default=4, help="of an outline, even")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.points < 4 or args.points % 2:
        parser.error("--points must be even, 4 or more")
    rng = np.random.default_rng(args.seed)
    samples = [draw_sample(args.words, args.points, rng) for _ in range(args.images)]
    ours = run("ours", samples)
    print(f"ours: {ours[0]:.2f} s; now MMOCR's ...", file=sys.stderr)
    theirs = run("MMOCR", samples)
    table = Table(
        title=f"{args.images} images, {args.words} words each, {args.points} points, one thread"
    )
    for column in ("metric", "CPU s", "MiB", "precision", "recall", "hmean"):
        table.add_column(column, justify="right" if column != "metric" else "left")
    # What MMOCR's reports is the best of its thresholds.
    swept = {key: ours[2][f"swept_{key}"] for key in ("precision", "recall", "hmean")}
    for name, (seconds, memory, _), rates in (
        ("MMOCR", theirs, theirs[2]),
        ("ours", ours, swept),
    ):
        table.add_row(
            name, f"{seconds:.2f}", f"{memory:.1f}", *(f"{rates[key]:.16f}" for key in swept)
        )
    Console(width=120).print(table)
    print(f"ratio {theirs[0] / ours[0]:.1f}x")
    same = all(swept[key] == theirs[2][key] for key in swept)
    print("equal results" if same else "DIFFERENT results")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
