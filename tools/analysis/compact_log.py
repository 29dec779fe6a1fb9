#!/usr/bin/env python
"""Make of the logs of a training a small file to keep beside its results, and draw its curves.

    python tools/analysis/compact_log.py work_dirs/strong work_dirs/weak --out log.jsonl \\
        --plot curves.png

A line of JSON for each of at most --most stretches of iterations of a training, with the means of
the losses, and one for each validation; what a resumed training did again counts once. Before them
a line for each folder: its config, iterations and hours, those of iterations alone.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from mmtextplug import launch
from mmtextplug.files import write_atomically

# What is drawn apart, or says nothing about the training.
_LEFT_OUT = ("step", "data_time", "memory", "skipped_chars")
_VALIDATION_TIMES = ("data_time", "time")


def read_runs(folder: Path) -> list[dict]:
    """The rows that MMEngine logged in the runs of a work folder, in order, without repetitions.

    Raises:
        ValueError: If there are none, or a line is no JSON.
    """
    rows: list[dict] = []
    # Their names are the times at which they began.
    for path in sorted(folder.glob("*/vis_data/scalars.json")):
        run: list[dict] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: no line of a log: {error}") from error
            if "loss" not in row:  # validations have the number of the epoch, if any
                row["step"] = run[-1]["step"] if run else None
            run.append(row)
        started = next((row["step"] for row in run if "loss" in row), None)
        if started is not None:  # it went on from before its first iterations
            rows = [row for row in rows if row["step"] < started]
        # What it validated before any iteration was logged belongs to the last one before.
        before = rows[-1]["step"] if rows else 0
        for row in run:
            row["step"] = before if row["step"] is None else row["step"]
        rows += run
    if not any("loss" in row for row in rows):
        raise ValueError(f"{folder}: no training was logged in it (*/vis_data/scalars.json)")
    return rows


def hours(rows: Sequence[dict]) -> float:
    """How long the iterations of a training took, by their logged times."""
    seconds, before = 0.0, 0
    for row in rows:
        if "loss" in row:
            seconds += (row["step"] - before) * row["time"]
            before = row["step"]
    return seconds / 3600


def condensed(rows: Sequence[dict], most: int) -> list[dict]:
    """Means over stretches of training rows, at most so many, and the validations among them.

    MMEngine's rows are means of the last iterations themselves; values that are not finite are
    null.
    """
    training = [row for row in rows if "loss" in row]
    size = -(-len(training) // most)
    result = []
    for start in range(0, len(training), size):
        part = training[start : start + size]
        found: dict[str, list[float]] = {}
        for row in part:
            for name in row.keys() - {*_LEFT_OUT, "iter", "base_lr"}:
                found.setdefault(name, []).append(row[name])
        means = {name: _short(sum(found[name]) / len(found[name])) for name in sorted(found)}
        result.append({"iter": part[-1]["step"], **means})
    for row in rows:
        if "loss" not in row:
            scores = {n: _short(v) for n, v in row.items() if n not in (*_VALIDATION_TIMES, "step")}
            result.append({"iter": row["step"], **scores})
    return sorted(result, key=lambda row: (row["iter"], "loss" not in row))


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def plot(stages: Sequence[tuple[str, list[dict]]], path: Path) -> None:
    """Draw the losses and the hmean of stages that follow each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, losses = plt.subplots(figsize=(8, 3.5), dpi=110)
    scores = losses.twinx()
    done = 0
    for stage, (title, rows) in enumerate(stages):
        training = [row for row in rows if "loss" in row]
        names = [name for name in training[0] if name.startswith("loss")]
        for number, name in enumerate(sorted(names)):
            label = name if not done else None
            xs = [done + row["iter"] for row in training if name in row]
            values = [row[name] for row in training if name in row]
            losses.plot(xs, values, color=f"C{number}", label=label, linewidth=1)
        found = [row for row in rows if "icdar/hmean" in row]
        xs, values = [done + row["iter"] for row in found], [row["icdar/hmean"] for row in found]
        scores.plot(xs, values, "ko-", markersize=3, label=None if done else "hmean")
        losses.axvline(done, color="0.8", linewidth=1)
        # Below those before, which may be wider than their stages.
        title = "\n" * stage + f" {title}"
        losses.text(done, losses.get_ylim()[1], title, va="top", fontsize=7)
        done += training[-1]["iter"]
    losses.set(xlabel="iteration", ylabel="loss", yscale="log")
    scores.set(ylabel="hmean", ylim=(0, 1))
    losses.legend(loc="upper right", fontsize=7)
    scores.legend(loc="lower right", fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="WORK_DIR", help="in their order")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves, too")
    parser.add_argument("--most", type=int, default=40, metavar="N", help="lines a training (40)")
    args = parser.parse_args()
    if args.most < 1:
        parser.error("--most must be 1 or more")
    lines, stages = [], []
    for folder in args.folders:
        rows = read_runs(folder)
        last = max(row["step"] for row in rows if "loss" in row)
        about = {"config": folder.name, "iterations": last, "hours": round(hours(rows), 2)}
        print(f"{folder.name}: {last} iterations, {about['hours']} hours without validations")
        stages.append((folder.name, condensed(rows, args.most)))
        lines += [about, *stages[-1][1]]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.out, "".join(json.dumps(line) + "\n" for line in lines).encode())
    if args.plot:
        plot(stages, args.plot)


if __name__ == "__main__":
    launch.run(main)
