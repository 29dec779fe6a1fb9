"""Time CRAFT's region and affinity labels against two template-warping loops, on one thread.

    python tools/analysis/benchmark_labels.py

For pages of 108 and of 821 characters it draws both maps at 384x384 (an image of 768x768) with
``draw_score_maps`` and, alternating,

- by a loop that warps a 200x200 template into the window of each character, at map resolution:
  the best that warping can do;
- in the style of the EasyOCR trainer: integer corners clipped to the image, templates warped into
  maps of the image's size, the maps shrunk with bicubic interpolation at the end.

It prints the medians, the ratios, and how far our maps are from the first loop's. Exits with
status 1 when they differ by more than 0.02 where either is above the Gaussian's cut.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable

import cv2
import numba
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmtextplug.craft.targets import WordLabels, draw_score_maps

IMAGE, MAP = 768, 384
PAGES = {108: 46.0, 821: 27.0}  # characters: their height in pixels of the image
TOLERANCE = 0.02
CUT = 0.06  # below it the template's edge, half in and half out of a pixel, decides
TEMPLATE_SIDE, SIGMA, ENLARGE = 200, 40.0, 1.5


def make_words(count: int, height: float, seed: int) -> list[np.ndarray]:
    """Words of 2 to 9 characters in lines, slightly turned and tapered, ``(n, 4, 2)`` float32."""
    rng = np.random.default_rng(seed)
    words, left, top = [], height, 0.6 * height
    while count:
        length = min(int(rng.integers(2, 10)), count)
        widths = height * rng.uniform(0.4, 0.8, length)
        if left + widths.sum() > IMAGE - 0.5 * height:
            left, top = 0.5 * height, top + 1.15 * height
            if top + height > IMAGE:
                raise ValueError(
                    f"{count} characters of {height} pixels do not fit: make them lower"
                )
            continue
        edges = left + np.concatenate([[0.0], np.cumsum(widths)])
        taper = rng.uniform(-0.08, 0.08, 2) * height
        line = np.linspace(0, 1, length + 1)
        upper = np.stack([edges, top + taper[0] * line], 1)
        lower = np.stack([edges, top + height + taper[1] * line], 1)
        chars = np.stack([upper[:-1], upper[1:], lower[1:], lower[:-1]], 1)
        angle = np.radians(rng.uniform(-4, 4))
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        middle = chars.mean((0, 1))
        words.append(((chars - middle) @ turn + middle).astype(np.float32))
        left, count = edges[-1] + 0.5 * height, count - length
    return words


def make_template() -> np.ndarray:
    """A Gaussian with its maximum of 1 at (100, 100), cut off on the inscribed circle; float32."""
    y, x = np.mgrid[:TEMPLATE_SIDE, :TEMPLATE_SIDE] - TEMPLATE_SIDE / 2
    squared = x**2 + y**2
    inside = squared <= (TEMPLATE_SIDE / 2) ** 2
    return (np.exp(-squared / (2 * SIGMA**2)) * inside).astype(np.float32)


TEMPLATE = make_template()
CORNERS = TEMPLATE_SIDE * np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)


def link(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Affinity box of two neighbours, from the centroids of their upper and lower triangles."""
    points = []
    for char in (first, second):
        centre = char.mean(0)
        points.append(((char[0] + char[1] + centre) / 3, (char[2] + char[3] + centre) / 3))
    (upper_a, lower_a), (upper_b, lower_b) = points
    return np.array([upper_a, upper_b, lower_b, lower_a], np.float32)


def links(words: list[np.ndarray]) -> list[np.ndarray]:
    return [link(a, b) for word in words for a, b in itertools.pairwise(word)]


def meeting_point(quad: np.ndarray) -> np.ndarray:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad.tolist()
    ax, ay, bx, by = x2 - x0, y2 - y0, x3 - x1, y3 - y1
    along = ((x1 - x0) * by - (y1 - y0) * bx) / (ax * by - ay * bx)
    return np.array([x0 + along * ax, y0 + along * ay], np.float32)


def stamp(canvas: np.ndarray, quad: np.ndarray) -> None:
    """Warp the template onto a quad, within the quad's own window, and merge it by maximum."""
    low, high = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int) + 1
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, canvas.shape[::-1])
    if x1 <= x0 or y1 <= y0:
        return
    matrix = cv2.getPerspectiveTransform(CORNERS, (quad - [x0, y0]).astype(np.float32))
    warped = cv2.warpPerspective(TEMPLATE, matrix, (int(x1 - x0), int(y1 - y0)))
    window = canvas[y0:y1, x0:x1]
    np.maximum(window, warped, out=window)


def warp_in_windows(words: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Region and affinity maps by one warp a quad, at map resolution."""
    words = [word * (MAP / IMAGE) for word in words]
    maps = []
    for quads in ([char for word in words for char in word], links(words)):
        canvas = np.zeros((MAP, MAP), np.float32)
        for quad in quads:
            centre = meeting_point(quad)
            stamp(canvas, centre + ENLARGE * (quad - centre))
        maps.append(canvas)
    return maps[0], maps[1]


def warp_at_full_size(words: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """As the EasyOCR trainer does: image-sized maps, integer corners, shrunk afterwards."""
    outward = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    maps = []
    for quads in ([char for word in words for char in word], links(words)):
        canvas = np.zeros((IMAGE, IMAGE), np.float32)
        for quad in quads:
            quad = np.roll(quad, -int(quad.sum(1).argmin()), axis=0)
            reach = np.abs(quad - meeting_point(quad))
            grown = quad + outward * (ENLARGE - 1) * reach
            stamp(canvas, np.clip(grown, 0, IMAGE).astype(np.int32).astype(np.float32))
        maps.append(cv2.resize(canvas, (MAP, MAP), interpolation=cv2.INTER_CUBIC))
    return maps[0], maps[1]


def ours(words: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    labels = WordLabels(
        polygons=[word.reshape(-1, 2) * (MAP / IMAGE) for word in words],
        chars=[word * (MAP / IMAGE) for word in words],
        confidence=np.ones(len(words), np.float32),
    )
    maps = draw_score_maps([labels], (MAP, MAP))
    return maps.region[0].numpy(), maps.affinity[0].numpy()


def alternate(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median time of each function in milliseconds, the functions taking turns.

    Processor time, all threads: unlike the clock it tells the same on a busy machine.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, own in zip(functions, times, strict=False):
            start = time.process_time()
            function()
            own.append(1e3 * (time.process_time() - start))
    return [statistics.median(own) for own in times]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="runs of each, the median counts")
    parser.add_argument("--seed", type=int, default=0, help="of the pages")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    numba.set_num_threads(1)
    torch.set_num_threads(1)

    table = Table(title=f"region and affinity labels, {MAP}x{MAP}, one thread, milliseconds")
    columns = ["characters", "links", "ours", "warped in windows", "ratio"]
    columns += ["in the trainer's style", "ratio", "largest difference", "above the cut"]
    for column in columns:
        table.add_column(column, justify="right")
    worst = 0.0
    for count, height in track(PAGES.items(), "labels", console=Console(stderr=True)):
        words = make_words(count, height, args.seed)
        mine, windows = ours(words), warp_in_windows(words)  # the first call compiles
        difference = np.abs(np.stack(mine) - np.stack(windows))
        clear = np.maximum(np.stack(mine), np.stack(windows)) > CUT
        worst = max(worst, float(difference[clear].max()))
        functions = [lambda f=f, w=words: f(w) for f in (ours, warp_in_windows, warp_at_full_size)]
        times = alternate(functions, args.repeats)
        table.add_row(
            f"{sum(map(len, words)):,}",
            f"{sum(len(word) - 1 for word in words):,}",
            f"{times[0]:.1f}",
            *(text for t in times[1:] for text in (f"{t:.1f}", f"{t / times[0]:.1f}x")),
            f"{difference.max():.4f}",
            f"{difference[clear].max():.4f}",
        )
    Console().print(table)
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
