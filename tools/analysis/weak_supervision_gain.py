#!/usr/bin/env python
"""What word boxes alone are worth: hmean on one kind of text before and after the weak stage.

For each seed a light CRAFT is trained on generated text with character boxes, measured on another
kind of text, trained further with word boxes of that kind (a share of the first kind stays in each
batch), and measured again. Draws how the confidence of the pseudo labels develops.

Example:
    python tools/datasets/generate_text.py --out data/generated_text --num-train 3000 --num-val 200
    python tools/analysis/weak_supervision_gain.py --out outputs/weak_supervision --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STRONG, WEAK = (f"configs/craft/craft_resnet18_{name}.py" for name in ("demo", "demo_weak"))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--data", default="data/generated_text", help="what generate_text.py wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strong-iters", type=int, default=780)
    parser.add_argument("--weak-iters", type=int, default=300)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--options", nargs="*", default=[], metavar="KEY=VALUE", help="for both configs"
    )
    return parser.parse_args(argv)


class Experiment:
    """One seed."""

    def __init__(self, args: argparse.Namespace, seed: int) -> None:
        self.args, self.seed = args, seed
        self.folder = (args.out / f"seed{seed}").resolve()
        self.data = Path(args.data).resolve()

    def run(self, tool: str, config: str, work_dir: str, *more: str) -> Path:
        """A tool of this project, its output in a file of its folder, which is returned."""
        folder = self.folder / work_dir
        folder.mkdir(parents=True, exist_ok=True)
        source = "train_dataloader.dataset.dataset"
        source += ".datasets.0" if config == WEAK else ""
        options = [f"randomness.seed={self.seed}", f"{source}.data_root={self.data}"]
        if config == STRONG:
            options += [
                f"{loader}_dataloader.dataset.data_root={self.data}" for loader in ("val", "test")
            ]
        command = [sys.executable, f"tools/{tool}.py", config, *more[: 1 if tool == "test" else 0]]
        command += ["--work-dir", str(folder), "--cfg-options", *options, *self.args.options]
        command += more[1 if tool == "test" else 0 :]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.args.threads)}
        with (folder / f"{tool}.txt").open("w") as log:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise SystemExit(f"{command[1]} failed: see {log.name}")
        return folder

    def hmean(self, checkpoint: Path, name: str) -> float:
        """On the held-out pictures of the second kind."""
        folder = self.run("test", WEAK, name, str(checkpoint))
        metrics = max(folder.glob("*/*.json"), key=lambda path: path.stat().st_mtime)
        return json.loads(metrics.read_text())["icdar/hmean"]

    def result(self) -> dict:
        """Both stages and what they gave."""
        args, start = self.args, time.monotonic()
        length = args.strong_iters
        strong = self.run(
            "train", STRONG, "strong", f"train_cfg.max_iters={length}",
            f"train_cfg.val_interval={length}", f"param_scheduler.1.end={length}",
        )  # fmt: skip
        checkpoint = strong / f"iter_{length}.pth"
        before, middle = self.hmean(checkpoint, "before"), time.monotonic()
        length = args.weak_iters
        weak = self.run(
            "train", WEAK, "weak", f"load_from={checkpoint}", f"train_cfg.max_iters={length}",
            f"train_cfg.val_interval={length}", f"param_scheduler.1.end={length}",
            "default_hooks.logger.interval=1",
        )  # fmt: skip
        after = self.hmean(weak / f"iter_{length}.pth", "after")
        logs = sorted(weak.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime)
        steps = [json.loads(line) for line in logs[-1].read_text().splitlines()]
        return dict(
            seed=self.seed, before=before, after=after,
            confidence=[s["pseudo_confidence"] for s in steps if "pseudo_confidence" in s],
            equal=[s["pseudo_equal_split"] for s in steps if "pseudo_equal_split" in s],
            minutes=[(middle - start) / 60, (time.monotonic() - middle) / 60],
        )  # fmt: skip


def smoothed(values: list[float], width: int = 20) -> np.ndarray:
    """Means of ``width`` neighbours, or of all if there are fewer."""
    width = min(width, len(values))
    return np.convolve(values, np.ones(width) / width, mode="valid")


def draw(results: list[dict], path: Path) -> None:
    """Confidence and share of equal splits by step, a line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharex=True)
    for axis, key, title in zip(
        axes,
        ("confidence", "equal"),
        ("mean confidence of pseudo labels", "share of words cut into equal parts"),
    ):
        for result in results:
            axis.plot(smoothed(result[key]), label=f"seed {result['seed']}")
        axis.set(title=title, xlabel="step of the weak stage (mean of 20)")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    results = []
    for seed in args.seeds:
        results.append(Experiment(args, seed).result())
        r = results[-1]
        first, last = (
            float(np.mean(part)) for part in (r["confidence"][:20], r["confidence"][-20:])
        )
        print(
            f"seed {seed}: hmean {r['before']:.3f} -> {r['after']:.3f}, confidence {first:.3f} -> "
            f"{last:.3f} ({r['minutes'][0]:.1f} + {r['minutes'][1]:.1f} min)",
            flush=True,
        )
        (args.out / "results.json").write_text(json.dumps(results))
    gains = [r["after"] - r["before"] for r in results]
    print(f"mean gain {np.mean(gains):+.3f} (least {min(gains):+.3f})")
    draw(results, args.out / "confidence.png")
    print(f"curves: {args.out / 'confidence.png'}")


if __name__ == "__main__":
    main()
