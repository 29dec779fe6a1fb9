"""Compare DB's targets with MMOCR's on the words of annotation files, and say where they differ.

    python tools/analysis/compare_db_targets.py data/icdar2015/train_gts data/totaltext/train_gts

Takes folders of text files with a word a line, ``x1,y1,...,xn,yn,text``, as ICDAR 2015 and
Total-Text (in one common form) come, and scales what is annotated of an image to 640 pixels. For
each folder it prints how much kernels and borders overlap and how far thresholds are apart, and
what the difference is made of: against exact distances (Shapely, on a few images), by the distance
rule that public code shares, and by the rounding of offsets and polygons to whole pixels. Then the
words that come back from the kernels of those images, as if a network had predicted them: from
MMOCR's by its rules, from ours with and without the margin that goes with exact kernels.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import cv2
import numpy as np
import shapely
import torch
from db_pages import MIN_SIDE, build, sample
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmtextplug.db.boxes import WordRules, find_words
from mmtextplug.db.shapes import FAULTS, text_polygons
from mmtextplug.db.targets import db_targets

_NUMBERS = re.compile(r"^\ufeff?((?:-?\d+(?:\.\d+)?,){6,})")
# The threshold's least value and its range, the defaults of both.
_THR_MIN, _RANGE = 0.3, 0.4


def read_words(path: Path) -> tuple[list[np.ndarray], list[bool]]:
    """Polygons ``(K, 2)`` of a file, and which of them are not to be read."""
    words, ignored = [], []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        found = _NUMBERS.match(line.strip())
        if found:
            numbers = [float(n) for n in found[1].rstrip(",").split(",")]
            numbers = numbers[: len(numbers) - len(numbers) % 2]
            words.append(np.array(numbers, np.float64).reshape(-1, 2))
            ignored.append(line.strip().endswith(("###", ",#")))
    return words, ignored


def shared_rule(x: np.ndarray, y: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance to a polygon by the rule of public code: to the line where the edge is seen under
    an obtuse angle, to the nearer end elsewhere."""
    nearest = np.full(x.shape, np.inf)
    for start, end in zip(polygon, np.roll(polygon, -1, axis=0)):
        first = (x - start[0]) ** 2 + (y - start[1]) ** 2
        second = (x - end[0]) ** 2 + (y - end[1]) ** 2
        edge = max(((start - end) ** 2).sum(), 1e-12)
        area = (x - start[0]) * (end[1] - start[1]) - (y - start[1]) * (end[0] - start[0])
        obtuse = edge > first + second
        height = np.abs(area) / np.sqrt(edge)
        nearest = np.minimum(nearest, np.where(obtuse, height, np.sqrt(np.minimum(first, second))))
    return nearest


def exact_rule(x: np.ndarray, y: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Distance to a polygon by Shapely."""
    return shapely.distance(shapely.LinearRing(polygon), shapely.points(x, y))


def threshold_by(rule, words: list[np.ndarray], offsets: np.ndarray, size: int) -> np.ndarray:
    """Threshold map by a distance rule, without rounding anything."""
    y, x = np.mgrid[:size, :size].astype(float)
    share = np.zeros((size, size))
    for polygon, offset in zip(words, offsets):
        low = np.clip(np.floor(polygon.min(0) - offset), 0, size).astype(int)
        high = np.clip(np.ceil(polygon.max(0) + offset) + 1, 0, size).astype(int)
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        if share[window].size:
            distance = rule(x[window], y[window], polygon)
            share[window] = np.maximum(share[window], np.clip(1 - distance / offset, 0, 1))
    return _THR_MIN + _RANGE * share


def rounded_kernels(words: list[np.ndarray], size: int) -> np.ndarray:
    """Kernels of polygons and offsets rounded to whole pixels as MMOCR rounds them, but exact."""
    y, x = np.mgrid[:size, :size].astype(float)
    kernels = np.zeros((size, size), bool)
    for word in words:
        shape = shapely.Polygon(word.astype(np.int32))
        offset = int(shape.area * (1 - 0.4**2) / (shape.length + 0.001) + 0.5)
        low, high = word.min(0).astype(int), word.max(0).astype(int) + 1
        window = np.s_[max(low[1], 0) : high[1], max(low[0], 0) : high[0]]
        inside = shapely.contains_xy(shape, x[window], y[window])
        far = exact_rule(x[window], y[window], shape.exterior.coords) >= offset - 1e-6
        kernels[window] |= inside & far
    return kernels


def overlaps(words: list[np.ndarray], kernel: np.ndarray, margin: float) -> list[float]:
    """Greatest IoU of each word with a box that is found on a kernel map."""
    boxes = [
        shapely.Polygon(box) for box in find_words(kernel, rules=WordRules(margin=margin)).boxes
    ]
    best = []
    for word in map(shapely.Polygon, words):
        shared = [(word.intersection(box).area, word.union(box).area) for box in boxes]
        best.append(max((common / union for common, union in shared), default=0.0))
    return best


class Totals:
    """What is added up over the images of a folder."""

    def __init__(self) -> None:
        self.words = self.ignored = 0
        self.faults = np.zeros(len(FAULTS), int)
        self.lost = 0
        self.kernel, self.border, self.rounded = np.zeros((3, 2))
        self.errors: dict[str, list[float]] = {}
        # By the kernels' source, and the words' heights.
        self.found: dict[str, list[float]] = {"MMOCR's": [], "ours": [], "ours, no margin": []}
        self.heights: list[float] = []

    def add_overlap(self, name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        getattr(self, name)[:] += (ours & theirs).sum(), (ours | theirs).sum()

    def add_error(self, name: str, first: np.ndarray, second: np.ndarray, where: np.ndarray):
        if where.any():
            error = np.abs(first - second)[where]
            total, count, most = self.errors.get(name, (0.0, 0, 0.0))
            self.errors[name] = [total + error.sum(), count + error.size, max(most, error.max())]


def compare(paths: list[Path], size: int, exact: int) -> Totals:
    """All images of a folder; the first few against exact distances, too."""
    totals = Totals()
    theirs = build(dict(type="DBModuleLoss"))
    for number, path in enumerate(track(paths, paths[0].parent.name, console=Console(stderr=True))):
        words, ignored = read_words(path)
        if not words:
            continue
        corners = np.concatenate(words)
        low = corners.min(0)
        factor = 0.9 * size / max((corners.max(0) - low).max(), 1.0)
        words = [((word - low) * factor + 0.05 * size).astype(np.float32) for word in words]
        page = sample(words, (size, size), ignored)
        found = [m[0].numpy() for m in theirs.get_targets([page])]
        mine = db_targets(words, ignored, (size, size), min_side=MIN_SIDE)
        mine = [m[0].numpy() for m in mine]
        shapes = text_polygons(words, min_side=MIN_SIDE)
        trained = (shapes.fault == 0) & ~np.array(ignored)
        totals.words += len(words)
        totals.ignored += int(np.sum(ignored))
        totals.faults += np.bincount(shapes.fault[~np.array(ignored)], minlength=len(FAULTS))
        totals.lost += int((page.gt_instances.ignored.numpy() & trained).sum())
        totals.add_overlap("kernel", mine[0] > 0, found[0] > 0)
        totals.add_overlap("border", mine[3], found[3] > 0)
        both = mine[3] & (found[3] > 0)
        totals.add_error("MMOCR's - ours", found[2], mine[2], both)
        if number < exact:
            kept = [np.asarray(w, float) for w, t in zip(words, trained) if t]
            offsets = shapes.distance[trained]
            truth = threshold_by(exact_rule, kept, offsets, size)
            rule = threshold_by(shared_rule, kept, offsets, size)
            totals.add_overlap("rounded", rounded_kernels(kept, size), found[0] > 0)
            totals.add_error("ours - exact", mine[2], truth, mine[3])
            totals.add_error("shared rule - exact", rule, truth, mine[3])
            totals.add_error("MMOCR's - exact", found[2], truth, both)
            quads = [cv2.boxPoints(cv2.minAreaRect(word.astype(np.float32))) for word in kept]
            totals.heights += [min(cv2.minAreaRect(quad)[1]) for quad in quads]
            for name, (kernel, margin) in {
                "MMOCR's": (found[0], 0.0),
                "ours": (mine[0], 0.5),
                "ours, no margin": (mine[0], 0.0),
            }.items():
                totals.found[name] += overlaps(quads, kernel, margin)
    return totals


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of annotation files")
    parser.add_argument("--size", type=int, default=640, help="of the maps")
    parser.add_argument("--number", type=int, help="of images a folder; default: all")
    parser.add_argument("--exact", type=int, default=50, help="images compared with Shapely")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    console = Console()
    for folder in args.folders:
        paths = sorted(folder.glob("*.txt"))[: args.number]
        if not paths:
            parser.error(f"{folder}: no .txt files")
        totals = compare(paths, args.size, args.exact)
        table = Table(
            title=f"{folder.name}: {len(paths):,} images at {args.size} px", show_header=False
        )
        faults = ", ".join(f"{n} {FAULTS[i]}" for i, n in enumerate(totals.faults) if i and n)
        rows = [
            ("words", f"{totals.words:,}, of which {totals.ignored:,} ignored, {faults or '0'}"),
            ("trained by ours, given up by MMOCR's", f"{totals.lost:,}"),
        ]
        for name, (common, union) in (
            ("kernels, ours and MMOCR's", totals.kernel),
            ("kernels, exact but rounded as MMOCR rounds, and MMOCR's", totals.rounded),
            ("borders, ours and MMOCR's", totals.border),
        ):
            rows.append((f"IoU of {name}", f"{common / max(union, 1):.4f}"))
        for name, (total, count, most) in totals.errors.items():
            rows.append((f"threshold, {name}", f"mean {total / count:.5f}, greatest {most:.3f}"))
        heights = np.array(totals.heights)
        for low, high in ((8, 12), (12, 18), (18, 30), (30, 1000)):
            chosen = (heights >= low) & (heights < high)
            if chosen.any():
                means = (f"{n} {np.mean(np.array(f)[chosen]):.3f}" for n, f in totals.found.items())
                name = f"IoU of {chosen.sum()} words {low} to {high} px high, from kernels"
                rows.append((name, ", ".join(means)))
        for row in rows:
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    main()
