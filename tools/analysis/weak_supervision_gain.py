#!/usr/bin/env python
"""What word boxes alone are worth: hmean on one kind of text before and after the weak stage.

For each seed a light CRAFT is trained on numbers with character boxes, straight on plain
backgrounds; measured on words of an alphabet it has never seen (Cyrillic, whose letters are wider
and come in more parts than figures), rotated and curved, on textures; trained further with the
boxes of such words, two pictures of numbers in each batch; and measured again. Draws how the
confidence of the pseudo labels develops. What has been trained already is not trained again.

Example:
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

DIGITS = "0123456789"
CYRILLIC = "".join(map(chr, range(0x410, 0x450)))
STRONG = """
_base_ = ['{root}/configs/craft/craft_resnet18_demo.py']
look = dict(
    words_per_image=(1, 6), char_height=(18, 44), line_prob=0.0, distractors=False, effects=False,
)
numbers = dict(
    type='GeneratedTextDataset', num_samples=3000, seed={seed}, size=192,
    renderer=dict(
        word_list='{folder}/numbers.txt', styles=dict(straight=1),
        backgrounds=dict(plain=1, gradient=1), **look,
    ),
    pipeline=[
        dict(type='LoadCharAnnotations'),
        dict(type='RandomTextWarp', size=160, scale=(0.9, 1.2), rotation=5, perspective=0.02),
        dict(type='PackCharInputs'),
    ],
)
train_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, **numbers)))
other_kind = dict(
    word_list='{folder}/words.txt', max_rotation=60,
    styles=dict(rotated=2, curved=1, perspective=1), backgrounds=dict(texture=1), **look,
)
held_out = dict(
    _delete_=True, type='GeneratedTextDataset', num_samples=150, seed=1_000_007, size=192,
    renderer=other_kind, test_mode=True,
    pipeline=[
        dict(type='ResizeLongSide', long_side=1280, magnification=1.0),
        dict(type='LoadCharAnnotations'),
        dict(type='PackCharInputs'),
    ],
)
val_dataloader = dict(dataset=held_out)
test_dataloader = val_dataloader
randomness = dict(seed={seed})
train_cfg = dict(max_iters={iters}, val_interval={iters})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end={iters}, eta_min=1e-5),
]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
"""
WEAK = """
_base_ = ['strong.py']
words_only = dict(
    type='GeneratedTextDataset', num_samples=3000, seed={seed} + 77, size=192,
    renderer={{{{_base_.other_kind}}}},
    pipeline=[
        dict(type='LoadCharAnnotations', with_chars=False),
        dict(type='RandomTextWarp', size=160, scale=(0.9, 1.2), rotation=5, perspective=0.02),
        dict(type='PackCharInputs'),
    ],
)
train_dataloader = dict(
    sampler=dict(ratio=(1, 3)),
    dataset=dict(dataset=dict(
        _delete_=True, type='ConcatDataset', datasets=[{{{{_base_.numbers}}}}, words_only],
    )),
)
custom_hooks = [
    dict(type='PseudoCharLabelHook', momentum=0.01, foreground=0.6),
]
load_from = '{checkpoint}'
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_iters={iters}, val_interval={iters})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=20, end={iters}, eta_min=1e-5),
]
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strong-iters", type=int, default=500)
    parser.add_argument("--weak-iters", type=int, default=400)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args(argv)


class Experiment:
    """One seed."""

    def __init__(self, args: argparse.Namespace, seed: int) -> None:
        self.args, self.seed = args, seed
        self.folder = (args.out / f"seed{seed}").resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        for name, letters in (("numbers", DIGITS), ("words", CYRILLIC)):
            words = ["".join(rng.choice(list(letters), rng.integers(2, 9))) for _ in range(2000)]
            (self.folder / f"{name}.txt").write_text("\n".join(words), encoding="utf-8")

    def write_config(self, name: str, text: str, iters: int, checkpoint: str = "") -> Path:
        path = self.folder / f"{name}.py"
        path.write_text(
            text.format(
                root=ROOT, folder=self.folder, seed=self.seed, iters=iters, checkpoint=checkpoint
            )
        )
        return path

    def run(self, name: str, tool: str, *arguments: str | Path) -> Path:
        """A tool of this project with its output in a file; returns its work folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        command = [sys.executable, f"tools/{tool}.py", *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.args.threads)}
        with (folder / f"{tool}.txt").open("w") as log:
            streams = dict(stdout=log, stderr=subprocess.STDOUT)
            done = subprocess.run(
                [*command, "--work-dir", str(folder)], cwd=ROOT, env=environment, check=False,
                **streams,
            )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"tools/{tool}.py failed: see {log.name}")
        return folder

    def hmean(self, config: Path, checkpoint: Path, name: str) -> float:
        """On the held-out pictures of the second kind."""
        folder = self.run(name, "test", config, checkpoint)
        metrics = max(folder.glob("*/*.json"), key=lambda path: path.stat().st_mtime)
        return json.loads(metrics.read_text())["icdar/hmean"]

    def result(self) -> dict:
        """Both stages and what they gave."""
        args, start = self.args, time.monotonic()
        config = self.write_config("strong", STRONG, args.strong_iters)
        strong = self.folder / "strong" / f"iter_{args.strong_iters}.pth"
        if not strong.is_file():
            self.run("strong", "train", config)
        before, middle = self.hmean(config, strong, "before"), time.monotonic()
        config = self.write_config("weak", WEAK, args.weak_iters, str(strong))
        folder = self.folder / "weak"
        weak = folder / f"iter_{args.weak_iters}.pth"
        if not weak.is_file():
            self.run("weak", "train", config)
        after = self.hmean(config, weak, "after")
        logs = sorted(folder.glob("*/vis_data/scalars.json"), key=lambda path: path.stat().st_mtime)
        steps = [json.loads(line) for line in logs[-1].read_text().splitlines()]
        return dict(
            seed=self.seed,
            before=before,
            after=after,
            confidence=[s["pseudo_confidence"] for s in steps if "pseudo_confidence" in s],
            equal=[s["pseudo_equal_split"] for s in steps if "pseudo_equal_split" in s],
            minutes=[(middle - start) / 60, (time.monotonic() - middle) / 60],
        )


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
