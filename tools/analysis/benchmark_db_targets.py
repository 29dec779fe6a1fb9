"""Time DB's targets and its whole loss against the installed MMOCR's, on one thread.

    python tools/analysis/benchmark_db_targets.py

For pages of 5 to 150 turned words and of curved ones (14 points), at 640 and 1024 pixels, it draws
the four maps with ``db_targets`` and with MMOCR's ``DBModuleLoss.get_targets``, alternating; then
the whole of a loss, from P's logits and T to their gradients. It prints medians of processor time
and ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import torch
from db_pages import MIN_SIDE, build, curved, quads, sample
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmtextplug.db.targets import db_targets

PAGES = {
    "5 words": lambda side: quads(5, side),
    "20 words": lambda side: quads(20, side),
    "60 words": lambda side: quads(60, side),
    "150 words": lambda side: quads(150, side),
    "20 curved": lambda side: curved(20, side),
}


def alternate(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median processor time of each function in milliseconds, the functions taking turns."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:  # the first call compiles
        function()
    for _ in range(repeats):
        for function, own in zip(functions, times, strict=True):
            start = time.process_time()
            function()
            own.append(1e3 * (time.process_time() - start))
    return [statistics.median(own) for own in times]


def step(loss: torch.nn.Module, pages: list, side: int) -> Callable[[], object]:
    """From logits and thresholds to their gradients; new samples, as in training."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((len(pages), side, side), generator=generator).requires_grad_()
    threshold = torch.rand((len(pages), side, side), generator=generator).requires_grad_()

    def run() -> None:
        logits.grad = threshold.grad = None
        # As MMOCR's head computes it; ours makes its own.
        binary = torch.reciprocal(1 + torch.exp(-50 * (logits.sigmoid() - threshold)))
        losses = loss((logits, threshold, binary), [sample(p, (side, side)) for p in pages])
        sum(value for name, value in losses.items() if name.startswith("loss")).backward()

    return run


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[640, 1024], help="of the maps")
    parser.add_argument("--batch", type=int, default=2, help="images of a loss step")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each, the median counts")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)

    theirs = build(dict(type="DBModuleLoss"))
    ours = build(dict(type="DifferentiableBinarizationLoss"))
    table = Table(title="DB: targets of an image, and loss with gradients; one thread, ms")
    for column in ("page", "targets: MMOCR", "ours", "ratio"):
        table.add_column(column, justify="right")
    for column in (f"loss step, {args.batch} images: MMOCR", "ours", "ratio"):
        table.add_column(column, justify="right")
    jobs = [(side, name) for side in args.sizes for name in PAGES]
    for side, name in track(jobs, "pages", console=Console(stderr=True)):
        words = PAGES[name](side)
        flags = [False] * len(words)
        targets = alternate(
            [
                lambda w=words, s=side: theirs.get_targets([sample(w, (s, s))]),
                lambda w=words, f=flags, s=side: db_targets(w, f, (s, s), min_side=MIN_SIDE),
            ],
            args.repeats,
        )
        pages = [words] * args.batch
        steps = alternate([step(loss, pages, side) for loss in (theirs, ours)], args.repeats)
        numbers = [
            text for t, o in (targets, steps) for text in (f"{t:.1f}", f"{o:.2f}", f"{t / o:.1f}x")
        ]
        table.add_row(f"{name}, {side} px", *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
