"""Time words from DBNet's score maps against MMOCR's ``DBPostprocessor``, on one thread.

    python tools/analysis/benchmark_db_boxes.py

Draws score maps with few, many and very many words, slightly tilted and bent, and a map of noise
alone. MMOCR's post-processor and ours take turns on each, for boxes and for polygons, and the best
times of the processor are printed with their ratio. Of MMOCR's words it is told how many are among
ours with an IoU of at least 0.95, the mean IoU, and the largest difference between scores. Words
are the more alike the larger they are: MMOCR's corners are rounded to whole pixels on the way. On
noise the two differ by design: MMOCR takes the candidates at one end of the map, ours the best.
Exits with status 1 when the words of a drawn map differ in number, or by more than 1e-6 in score.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import shapely
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from rich.console import Console
from rich.progress import track
from rich.table import Table

import mmtextplug  # noqa: F401  (lets MMOCR import)

COLUMNS = [
    "map",
    "kind",
    "MMOCR's words",
    "ours",
    "MMOCR ms",
    "ours ms",
    "ratio",
    "IoU >= 0.95",
    "mean IoU",
    "score difference",
]
TOLERANCE = 1e-6


def draw_words(count: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """``size`` float32 probabilities with so many shrunken words, in rows, with faint noise."""
    rng = np.random.default_rng(seed)
    height, width = size
    columns = max(round(math.sqrt(count * width / (3.2 * height))), 1)
    cell_width, cell_height = width / columns, height / math.ceil(count / columns)
    prob = np.zeros(size, np.float32)
    for i in range(count):
        row, column = divmod(i, columns)
        half = cell_width * rng.uniform(0.22, 0.4)
        thick = cell_height * rng.uniform(0.14, 0.2)
        along = np.linspace(-1, 1, 7)
        middle = cell_height * rng.uniform(-0.12, 0.12) * (1 - along**2)
        middle += np.tan(np.radians(rng.normal(0, 3))) * half * along
        x = (column + 0.5) * cell_width + half * np.append(along, along[::-1])
        y = (row + 0.5) * cell_height + np.append(middle - thick, middle[::-1] + thick)
        ring = np.stack([x, y], 1).round().astype(np.int32)
        cv2.fillPoly(prob, [ring], float(rng.uniform(0.5, 0.98)))
    prob = cv2.GaussianBlur(prob, (0, 0), 1)
    return np.clip(prob + rng.normal(0, 0.02, size), 0, 1).astype(np.float32)


def draw_noise(size: tuple[int, int], seed: int) -> np.ndarray:
    """``size`` float32 probabilities, 0 but for 3 of 10 pixels: tens of thousands of specks."""
    prob = np.random.default_rng(seed).random(size).astype(np.float32)
    return np.where(prob > 0.7, prob, np.float32(0))


def alternate(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Best processor time of each function in milliseconds, the functions taking turns."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.process_time()
            function()
            best[i] = min(best[i], 1e3 * (time.process_time() - start))
    return best


def agreement(theirs: InstanceData, ours: InstanceData) -> tuple[float, float, float]:
    """How much of MMOCR's words is among ours.

    Returns:
        tuple: The share that has an IoU of at least 0.95 with one of ours, the mean of the best
        IoU, and the largest difference between the scores of words that are the same (IoU of at
        least 0.5). NaN where there is nothing to compare.
    """
    first, second = (
        shapely.make_valid([shapely.Polygon(p.reshape(-1, 2)) for p in words.polygons])
        for words in (theirs, ours)
    )
    if not len(first) or not len(second):
        return (math.nan if not len(first) else 0.0,) * 2 + (math.nan,)
    i, j = shapely.STRtree(second).query(first)
    common = shapely.area(shapely.intersection(first[i], second[j]))
    overlap = common / (shapely.area(first)[i] + shapely.area(second)[j] - common)
    best = np.zeros(len(first))
    np.maximum.at(best, i, overlap)
    same = (overlap == best[i]) & (overlap >= 0.5)
    gap = np.abs(theirs.scores.numpy()[i] - ours.scores.numpy()[j])[same]
    return float((best >= 0.95).mean()), float(best.mean()), float(gap.max(initial=-np.inf))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, nargs="*", default=[20, 200, 1500], help="a map each")
    parser.add_argument("--size", type=int, nargs=2, default=[736, 1280], help="height and width")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, the best counts")
    parser.add_argument("--seed", type=int, default=0, help="of the maps")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    from mmocr.structures import TextDetDataSample

    size = tuple(args.size)
    maps = {f"{n:,} words": draw_words(n, size, args.seed) for n in args.words}
    maps["noise"] = draw_noise(size, args.seed)
    table = Table(title=f"words of {size[0]}x{size[1]} maps, one thread, processor time")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    console, log = Console(width=150), Console(stderr=True)
    status = 0
    for name, prob in track(maps.items(), "post-processing", console=log):
        batch = torch.from_numpy(prob)[None]
        for kind in ("quad", "poly"):
            functions = []
            for scope in ("mmocr.DBPostprocessor", "DifferentiableBinarizationPostprocessor"):
                post = MODELS.build(dict(type=scope, text_repr_type=kind))

                def words(post=post, batch=batch) -> InstanceData:
                    shapes = dict(img_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
                    sample = TextDetDataSample(metainfo=shapes)
                    return post(batch, [sample])[0].pred_instances

                functions.append(words)
            theirs, ours = (function() for function in functions)
            share, mean, gap = agreement(theirs, ours)
            times = alternate(functions, args.repeats)
            if name != "noise" and (len(theirs) != len(ours) or not gap <= TOLERANCE):
                status = 1
            table.add_row(
                name,
                kind,
                f"{len(theirs):,}",
                f"{len(ours):,}",
                f"{times[0]:,.1f}",
                f"{times[1]:,.1f}",
                f"{times[0] / times[1]:.1f}x",
                f"{share:.1%}",
                f"{mean:.3f}",
                f"{gap:.1e}",
            )
    console.print(table)
    return status


if __name__ == "__main__":
    sys.exit(main())
