"""Time ``group_words`` against the published grouping, side by side on one thread.

    python tools/analysis/benchmark_grouping.py

Draws pages of words (a dense one of about 1,590 words on a 640x432 map, and sparser ones), groups
each with the literal procedure (``literal_craft.py``) and with ours, alternating, and prints the
best times, their ratio and the largest distance between corners. With EasyOCR installed (the
``benchmark`` extra) its copy of the published code is timed too. Exits with status 1 when the
boxes differ by more than 0.5 px.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from literal_craft import literal_boxes
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmtextplug.craft.grouping import group_words

THRESHOLDS = {"text_threshold": 0.7, "link_threshold": 0.4, "low_text": 0.4}
PAGES = {  # name: (height, width, character height in map pixels)
    "dense page": (640, 432, 5.55),
    "ordinary page": (640, 432, 10.0),
    "sparse page": (640, 432, 24.0),
    "photo, 1280 canvas": (640, 640, 32.0),
}
TOLERANCE = 0.5


def stamp(canvas: np.ndarray, x: float, y: float, sx: float, sy: float) -> None:
    """Merge a Gaussian of the given centre and deviations into a map by maximum, in place."""
    x0, x1 = max(int(x - 3 * sx), 0), min(int(x + 3 * sx) + 2, canvas.shape[1])
    y0, y1 = max(int(y - 3 * sy), 0), min(int(y + 3 * sy) + 2, canvas.shape[0])
    across = np.exp(-0.5 * ((np.arange(x0, x1) - x) / sx) ** 2)
    down = np.exp(-0.5 * ((np.arange(y0, y1) - y) / sy) ** 2)
    window = canvas[y0:y1, x0:x1]
    np.maximum(window, np.outer(down, across), out=window)


def draw_page(height: int, width: int, char: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Region and affinity maps of a page of slightly slanted lines of words, with faint noise."""
    rng = np.random.default_rng(seed)
    region, affinity = rng.uniform(0, 0.1, (2, height, width)).astype(np.float32)
    slant = np.tan(np.radians(rng.uniform(-2, 2)))
    step, deviation = 0.7 * char, (0.27 * char, 0.33 * char)
    for baseline in np.arange(char, height - char, 1.6 * char):
        x = char
        while x < width - 3 * char:
            letters = int(rng.integers(2, 6))
            for i in range(letters):
                if x > width - char:
                    break
                y = baseline + slant * (x - width / 2)
                stamp(region, x, y, *deviation)
                if i < letters - 1:
                    stamp(affinity, x + step / 2, y, *deviation)
                x += step
            x += 0.9 * char
    return region, affinity


def alternate(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Best time of each function in milliseconds, the functions taking turns."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[i] = min(best[i], 1e3 * (time.perf_counter() - start))
    return best


def largest_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance between corresponding corners; infinite for different numbers of boxes."""
    if len(first) != len(second):
        return float("inf")
    return float(np.linalg.norm(first - second, axis=-1).max(initial=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each, the best counts")
    parser.add_argument("--seed", type=int, default=0, help="of the pages")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)

    easyocr = None
    if importlib.util.find_spec("easyocr"):
        from easyocr.craft_utils import getDetBoxes as easyocr

    table = Table(title="grouping, boxes only, one thread, milliseconds")
    columns = ["map", "words", "literal", "ours", "ratio", "difference, px", "ours + polygons"]
    for column in [*columns, "EasyOCR", "EasyOCR difference, px"][: 9 if easyocr else 7]:
        table.add_column(column, justify="right")
    worst = 0.0
    console, log = Console(), Console(stderr=True)
    for name, (height, width, char) in track(PAGES.items(), "grouping", console=log):
        region, affinity = draw_page(height, width, char, args.seed)
        maps = region, affinity
        functions = [
            lambda maps=maps: literal_boxes(*maps, *THRESHOLDS.values()),
            lambda maps=maps: group_words(*maps, **THRESHOLDS).boxes,
            lambda maps=maps: group_words(*maps, **THRESHOLDS, polygons=True),
        ]
        if easyocr:
            functions.append(lambda maps=maps: easyocr(*maps, *THRESHOLDS.values())[0])
        literal, ours = functions[0](), functions[1]()
        differences = [largest_distance(literal, ours)]
        if easyocr:
            differences.append(largest_distance(np.array(functions[3]()), ours))
        times = alternate(functions, args.repeats)
        worst = max(worst, *differences)
        row = [f"{name} {height}x{width}", f"{len(ours):,}", f"{times[0]:,.1f}", f"{times[1]:.1f}"]
        row += [f"{times[0] / times[1]:.0f}x", f"{differences[0]:.4f}", f"{times[2]:.1f}"]
        if easyocr:
            row += [f"{times[3]:,.1f}", f"{differences[1]:.4f}"]
        table.add_row(*row)
    console.print(table)
    if not easyocr:
        console.print("EasyOCR is not installed: compared with the literal procedure only.")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
