#!/usr/bin/env python
"""Judge the outlines of curved words: boxes, the published polygons and ours, against exact ones.

    python tools/analysis/compare_polygons.py --out sheet.png
    python tools/analysis/compare_polygons.py --official --words 2 --heights 32

Words are generated with exact outlines, bent by chosen angles and turned by others, as lines and as
columns of stacked characters; lines also as waves, of chosen amplitudes in heights of the word.
Their score maps are drawn from the exact characters, as a perfect network would predict them; with
``--official`` or ``--config`` the words are painted as pictures instead and a real network
predicts. Of a word that the maps break the best outline of each method counts; ``--whole`` leaves
such words out. Printed is the mean IoU with the exact outline by bend or amplitude, and by
orientation: box / published procedure (``literal_craft.py``; its box where it has no polygon) /
ours. ``--out`` draws the words where ours loses most and typical ones: exact green, published red,
ours blue.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import shapely
import torch
from bent_words import KINDS, STRIDE, Case, Maps, cases, make_word, paint, perfect_maps
from literal_craft import literal_outlines
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.craft.grouping import group_words
from mmtextplug.datasets.fonts import bundled_fonts
from mmtextplug.datasets.word_shapes import WordShape
from mmtextplug.files import write_atomically
from mmtextplug.inference import TextDetector
from mmtextplug.visualization.draw import draw_words
from mmtextplug.visualization.sheet import column, framed, row, titled

THRESHOLDS = {"text_threshold": 0.7, "link_threshold": 0.4, "low_text": 0.4}
METHODS = ("box", "published", "ours")
COLOURS = {"exact": (60, 170, 0), "published": (30, 30, 230), "ours": (230, 90, 0)}  # BGR
_TILES = 12


@dataclass(frozen=True, eq=False)
class Verdict:
    """A word and its outlines, in pixels of the picture.

    Attributes:
        case: what the word is.
        picture: ``(h, w, 3)`` uint8 BGR, what was judged.
        exact: ``(k, 2)`` outline.
        found: the best outline of each of `METHODS`, None where nothing was found.
        ious: that of each with the exact one.
        seconds: what each took.
        whole: whether one box holds the centres of all characters.
    """

    case: Case
    picture: np.ndarray
    exact: np.ndarray
    found: list[np.ndarray | None]
    ious: np.ndarray
    seconds: np.ndarray
    whole: bool


def predicted_maps(detector: TextDetector, picture: np.ndarray) -> Maps:
    maps = detector.detect([picture])[0].score_maps
    return maps["region"], maps["affinity"]


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Of two polygons ``(k, 2)``; one that crosses itself counts with what it encloses."""
    a, b = (shapely.make_valid(shapely.polygons(p.astype(np.float64))) for p in (first, second))
    union = shapely.area(shapely.union(a, b))
    return float(shapely.area(shapely.intersection(a, b)) / union) if union else 0.0


def judge(case: Case, picture: np.ndarray, word: WordShape, maps: Maps) -> Verdict:
    """Outline the word by all methods and compare with its exact outline."""
    exact = word.polygon
    methods: list[Callable[[], Sequence[np.ndarray]]] = [
        lambda: group_words(*maps, **THRESHOLDS).boxes,
        lambda: literal_outlines(*maps, **THRESHOLDS),
        lambda: group_words(*maps, **THRESHOLDS, polygons=True).polygons,
    ]
    found, ious, seconds = [], np.zeros(len(METHODS)), np.zeros(len(METHODS))
    for i, method in enumerate(methods):
        start = time.perf_counter()
        outlines = method()
        seconds[i] = time.perf_counter() - start
        outlines = [outline * np.float32(STRIDE) for outline in outlines]
        values = [iou(outline, exact) for outline in outlines]
        found.append(outlines[int(np.argmax(values))] if values else None)
        ious[i] = max(values, default=0.0)
    centres = shapely.points(word.chars.mean(axis=1))
    boxes = [] if found[0] is None else group_words(*maps, **THRESHOLDS).boxes * STRIDE
    whole = any(shapely.contains(shapely.polygons(box), centres).all() for box in boxes)
    return Verdict(case, picture, exact, found, ious, seconds, whole)


def run(
    chosen: Sequence[Case], seed: int, detector: TextDetector | None = None, *, quiet: bool = False
) -> list[Verdict]:
    """Generate, group and judge one word for each case."""
    fonts, verdicts = bundled_fonts(), []
    for index, case in enumerate(tqdm(chosen, "words", disable=quiet)):
        rng = np.random.default_rng([seed, index])
        shape = make_word(case, rng, fonts)
        if detector is None:
            maps, picture = perfect_maps(case, shape)
        else:
            picture = paint(shape, rng)
            maps = predicted_maps(detector, picture)
        verdicts.append(judge(case, picture, shape.words[0], maps))
    return verdicts


def mean_ious(verdicts: Sequence[Verdict]) -> dict[tuple[str, float, float], np.ndarray]:
    """Mean IoU of each of `METHODS` by (kind, bend, orientation)."""
    cells: dict[tuple[str, float, float], list[np.ndarray]] = {}
    for verdict in verdicts:
        cells.setdefault(verdict.case.cell, []).append(verdict.ious)
    return {cell: np.mean(ious, axis=0) for cell, ious in cells.items()}


def named_bend(kind: str, bend: float) -> str:
    """As the tables have it: an angle, of a wave the amplitude in heights."""
    return f"{bend:g} h" if kind == "wave" else f"{bend:g}°"


def report(verdicts: Sequence[Verdict]) -> str:
    """Tables in Markdown: a table for each kind of word, and one over all words."""
    cells = mean_ious(verdicts)
    lines = []
    for kind in dict.fromkeys(cell[0] for cell in cells):
        bends = list(dict.fromkeys(cell[1] for cell in cells if cell[0] == kind))
        turns = list(dict.fromkeys(cell[2] for cell in cells if cell[0] == kind))
        lines += [f"Mean IoU, {kind}s: {' / '.join(METHODS)}", ""]
        heads = ["amplitude" if kind == "wave" else "bend"]
        heads += [f"turned {turn:g}°" for turn in turns]
        lines.append("| " + " | ".join(heads) + " |")
        lines.append("|---" * len(heads) + "|")
        for bend in bends:
            values = [cells.get((kind, bend, turn), ()) for turn in turns]
            texts = [" / ".join(f"{value:.3f}" for value in cell) or "-" for cell in values]
            lines.append(f"| {named_bend(kind, bend)} | " + " | ".join(texts) + " |")
        lines.append("")
    lines += [
        f"| {len(verdicts)} words | mean IoU | IoU >= 0.5 | IoU >= 0.7 | polygons | ms a word |"
    ]
    lines.append("|---" * 6 + "|")
    ious = np.array([verdict.ious for verdict in verdicts])
    for i, method in enumerate(METHODS):
        drawn = [v.found[i] is not None and len(v.found[i]) > 4 for v in verdicts]
        shares = [(ious[:, i] >= least).mean() for least in (0.5, 0.7)]
        ms = 1e3 * np.median([verdict.seconds[i] for verdict in verdicts])
        numbers = [f"{ious[:, i].mean():.4f}", *(f"{s:.3f}" for s in [*shares, np.mean(drawn)])]
        lines.append(f"| {method} | " + " | ".join([*numbers, f"{ms:.2f}"]) + " |")
    return "\n".join(lines)


def losses(verdicts: Sequence[Verdict], slack: float = 0.005) -> list[str]:
    """The cells where ours is worse, by more than ``slack``, than the better of the others."""
    return [
        f"{kind}s bent {named_bend(kind, bend)}, turned {turn:g}°: "
        f"{values[2]:.3f} < {values[:2].max():.3f}"
        for (kind, bend, turn), values in mean_ious(verdicts).items()
        if values[2] < values[:2].max() - slack
    ]


def tile(verdict: Verdict) -> np.ndarray:
    """One word with its outlines, about 320 pixels wide."""
    zoom = 320 / verdict.picture.shape[1]
    picture = cv2.resize(verdict.picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    picture = cv2.addWeighted(picture, 0.5, np.full_like(picture, 255), 0.5, 0)
    outlines = {"exact": verdict.exact, "published": verdict.found[1], "ours": verdict.found[2]}
    for name, outline in outlines.items():
        if outline is not None:
            picture = draw_words(picture, [outline * zoom], COLOURS[name], thickness=2)
    case = verdict.case
    title = f"{case.kind} {case.bend:+g} @ {case.orientation:g}: "
    return titled(title + " / ".join(f"{value:.2f}" for value in verdict.ious), picture)


def sheet(verdicts: Sequence[Verdict], per_row: int = 4) -> np.ndarray:
    """Words where ours loses most, then words at even steps through all of them."""
    lead = np.array([v.ious[2] - v.ious[:2].max() for v in verdicts])
    worst = np.argsort(lead, kind="stable")[:_TILES]
    typical = np.linspace(0, len(verdicts) - 1, min(_TILES, len(verdicts))).astype(int)
    blocks = []
    for name, chosen in (("Ours against the better other: worst", worst), ("Typical", typical)):
        tiles = [tile(verdicts[i]) for i in chosen]
        rows = [row(tiles[i : i + per_row]) for i in range(0, len(tiles), per_row)]
        blocks.append(titled(f"{name} (box / published / ours)", column(rows)))
    return framed(column(blocks, gap=28))


def make_detector(args: argparse.Namespace) -> TextDetector | None:
    # Pictures go in as they are: heights are those that the network sees.
    size = {"magnification": 1.0, "long_side": 4096, "precision": "float32"}
    if args.official:
        return TextDetector.official(**size)
    if args.config:
        return TextDetector.from_config(args.config, args.checkpoint, **size)
    if args.checkpoint:
        raise ValueError("--checkpoint: needs the --config it belongs to")
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=int, default=12, help="for each bend and orientation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument(
        "--bends",
        nargs="+",
        type=float,
        default=[0, 30, 60, 90, 120, 160, 200, 260],
        help="degrees, of lines and columns",
    )
    parser.add_argument(
        "--amplitudes",
        nargs="+",
        type=float,
        default=[0.15, 0.3, 0.6, 1, 1.5],
        help="of waves, in heights of the word",
    )
    parser.add_argument(
        "--orientations", nargs="+", type=float, default=[0, 30, 60, 90, 135], help="degrees"
    )
    parser.add_argument(
        "--heights", nargs="+", type=float, default=[12, 20, 40], help="of capitals, in pixels"
    )
    parser.add_argument("--official", action="store_true", help="maps of the official weights")
    parser.add_argument("--config", help="maps of this model")
    parser.add_argument("--checkpoint", help="its weights")
    parser.add_argument("--whole", action="store_true", help="leave out words that the maps break")
    parser.add_argument("--out", help="a PNG of the worst and of typical words")
    args = parser.parse_args(arguments)
    if args.words < 1:
        raise ValueError(f"--words must be at least 1, got {args.words}")
    if not all(0 <= bend < 330 for bend in args.bends):
        raise ValueError(f"--bends must be 0 to 330 degrees, got {args.bends}")
    if not all(0 <= amplitude <= 4 for amplitude in args.amplitudes):
        raise ValueError(f"--amplitudes must be 0 to 4 heights, got {args.amplitudes}")
    if not all(6 <= height <= 200 for height in args.heights):
        raise ValueError(f"--heights must be 6 to 200 pixels, got {args.heights}")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    chosen = []
    for kind in args.kinds:
        bends = args.amplitudes if kind == "wave" else args.bends
        chosen += cases([kind], bends, args.orientations, args.heights, args.words)
    detector = make_detector(args)
    # Loops are compiled when they are first needed.
    run(chosen[:: max(len(chosen) // 8, 1)], args.seed, quiet=True) if detector is None else None
    verdicts = run(chosen, args.seed, detector)
    if args.whole:
        verdicts = [verdict for verdict in verdicts if verdict.whole]
    if not verdicts:
        raise ValueError("--whole: the maps break every word; leave it out")
    print(report(verdicts))
    for line in losses(verdicts):
        print(line)
    if args.out:
        write_atomically(Path(args.out), cv2.imencode(".png", sheet(verdicts))[1].tobytes())


if __name__ == "__main__":
    launch.run(main)
