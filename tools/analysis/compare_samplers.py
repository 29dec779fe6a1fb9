#!/usr/bin/env python
"""Compare RoI samplers: the same small detector, trained on text with hard negatives.

A Fast R-CNN with fixed proposals learns to tell generated words from scrambled ones. Proposals of
scrambled ones are few, 12 of 400 of a picture, and so are the RoIs that may be trained on, 32.
Samplers choose them; all else, pictures, proposals, losses, is the same for a seed, and so is the
network that they begin with, which has seen random RoIs of other pictures. Printed are means and
standard deviations over the seeds, on pictures that nobody trains on: average precision, losses of
the pool of all proposals, false positives where 90 % of the words are found, and the cost; then
differences to OHEM of the same seed. Written besides: results.json, table.md and pictures.

Each training is a process of its own (tools/train.py) with its config and log in its folder.
What has been trained already is not trained again.

Example:
    python tools/analysis/compare_samplers.py --out outputs/samplers --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sampler_plots import draw_all
from sampler_training import ARMS, CHECKS, DEFAULT_ARMS, START, training

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

# What is shown, how, and in which digits. Keys are those of the validations.
MEASURES = {
    "words/AP50": ("AP50", 3),
    "words/AP75": ("AP75", 3),
    "pool_cls": ("pool L_cls, all proposals", 4),
    "pool_loc": ("pool L_loc, foreground", 4),
    "words/false_scrambled": ("false positives in 100 pictures: scrambled words", 1),
    "words/false_symbols": ("... symbols", 1),
    "words/false_misplaced": ("... misplaced or second on a word", 1),
    "words/false_background": ("... background", 1),
    "step_ms": ("a step, ms", 1),
    "peak_mb": ("peak memory, MiB", 0),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--samplers",
        nargs="+",
        default=list(DEFAULT_ARMS),
        choices=list(ARMS),
        metavar="NAME",
        help=f"of {', '.join(ARMS)} (default: the first {len(DEFAULT_ARMS)})",
    )
    parser.add_argument("--iters", type=int, default=800, help=f"a multiple of {CHECKS}")
    parser.add_argument("--start-iters", type=int, default=800, help="steps before, the same way")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    args = parser.parse_args(argv)
    for name in ("iters", "start_iters"):
        if (value := getattr(args, name)) < CHECKS or value % CHECKS:
            option = name.replace("_", "-")
            parser.error(f"--{option} {value}: needs to be a multiple of {CHECKS}")
    return args


class Training:
    """One sampler and seed."""

    def __init__(
        self, args: argparse.Namespace, arm: str, seed: int, start: Training | None = None
    ) -> None:
        self.args, self.arm, self.seed, self.start = args, arm, seed, start
        self.iters = args.iters if start else args.start_iters
        self.folder = (args.out / arm / f"seed{seed}").resolve()
        self.config = self.folder / "config.py"
        self.checkpoint = self.folder / f"iter_{self.iters}.pth"

    def run(self) -> bool:
        """Train, unless that was done with the same config and start; whether it was necessary."""
        begin = str(self.start.checkpoint) if self.start else None
        text = training(self.arm, self.seed, self.iters, begin).pretty_text
        known = self.config.is_file() and self.config.read_text() == text
        if known and self._after_start():
            return False
        self.checkpoint.unlink(missing_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(text)
        threads = str(self.args.threads)
        paths = [str(HERE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join(paths),
        }
        command = [sys.executable, "tools/train.py", self.config, "--work-dir", self.folder]
        with (self.folder / "log.txt").open("w") as log:
            done = subprocess.run(
                list(map(str, command)), cwd=ROOT, env=environment, check=False,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"tools/train.py failed: see {log.name}")
        # The Runner has left its own version there, with the work folder in it.
        self.config.write_text(text)
        return True

    def _after_start(self) -> bool:
        """Whether there is a checkpoint, and no newer one of the start."""
        if not self.checkpoint.is_file():
            return False
        if self.start is None:
            return True
        return self.checkpoint.stat().st_mtime_ns >= self.start.checkpoint.stat().st_mtime_ns

    def result(self) -> dict:
        """``arm``, ``seed``, ``steps`` of the validations and what each gave, `MEASURES`."""
        logs = sorted(self.folder.glob("*/vis_data/scalars.json"))
        rows = [json.loads(line) for line in logs[-1].read_text().splitlines()] if logs else []
        rows = [row for row in rows if "pool_cls" in row]
        if not rows or rows[-1]["step"] != self.iters:
            raise SystemExit(
                f"{self.folder}: no validation at step {self.iters} in the log of the last "
                "training; remove the folder to train again"
            )
        curves = {key: [row.get(key, float("nan")) for row in rows] for key in MEASURES}
        steps = [row["step"] for row in rows]
        return dict(arm=self.arm, seed=self.seed, steps=steps, **curves)


def table(results: Sequence[dict]) -> str:
    """Means and standard deviations over the seeds, in Markdown."""
    arms = list(dict.fromkeys(result["arm"] for result in results))
    head = ["", *arms]
    rows = [
        [
            name,
            *(_mean([r[key][-1] for r in results if r["arm"] == arm], digits) for arm in arms),
        ]
        for key, (name, digits) in MEASURES.items()
    ]
    return _markdown([head, *rows])


def differences(results: Sequence[dict], base: str = "ohem") -> str:
    """Means and standard deviations of the differences to one sampler at the same seed."""
    last = {(r["arm"], r["seed"]): r for r in results}
    arms = [a for a in dict.fromkeys(r["arm"] for r in results) if a != base]
    rows = []
    for key, (name, digits) in MEASURES.items():
        row = [name]
        for arm in arms:
            pairs = [
                (result[key][-1], last[base, seed][key][-1])
                for (own, seed), result in last.items()
                if own == arm and (base, seed) in last
            ]
            row.append(_mean([mine - theirs for mine, theirs in pairs], digits, "+"))
        rows.append(row)
    return _markdown([[f"less {base}", *arms], *rows])


def _mean(values: Sequence[float], digits: int, sign: str = "") -> str:
    """``mean ± deviation``; without the values that are missing, whose number it then says."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return "not reached"
    text = f"{np.mean(known):{sign}.{digits}f}"
    if len(known) > 1:
        text += f" ± {np.std(known, ddof=1):.{digits}f}"
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)} seeds)"


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    results = []
    # Seed after seed, so that what is there early compares all samplers.
    for seed in args.seeds:
        start = Training(args, START, seed)
        start.run()
        for arm in args.samplers:
            begin, one = time.monotonic(), Training(args, arm, seed, start)
            trained = one.run()
            results.append(one.result())
            took = f"{(time.monotonic() - begin) / 60:.1f} min" if trained else "trained before"
            print(
                f"seed {seed}, {arm}: AP50 {results[-1]['words/AP50'][-1]:.3f}, AP75 "
                f"{results[-1]['words/AP75'][-1]:.3f} ({took})",
                flush=True,
            )
            (args.out / "results.json").write_text(json.dumps(results))
    parts = [table(results)]
    if "ohem" in args.samplers and len(args.samplers) > 1:
        parts.append(differences(results))
    text = "\n\n".join(parts)
    (args.out / "table.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n")
    for path in draw_all(results, MEASURES, args.out):
        print(path)


if __name__ == "__main__":
    main()
