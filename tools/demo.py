#!/usr/bin/env python
"""Generate text, train a light CRAFT on it, evaluate it, draw what it sees, and teach it another
kind of text of which it is given word boxes only.

`make demo` runs it inside the environment. Every step that is done is skipped by the next run, and
one that was stopped, by Ctrl-C or killed, goes on from where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from steps import ROOT, State, StepError, only_one, perform, started, status_of
from training_stage import Stage, fingerprint

CONFIG = "configs/craft/craft_resnet18_demo.py"
WEAK_CONFIG = "configs/craft/craft_resnet18_demo_weak.py"


@dataclass(frozen=True)
class Plan:
    """Sizes and folders of a demo, relative to the repository.

    Attributes:
        data, work_dir, out: Where pictures, checkpoints and results go.
        num_train, num_val, size: Of the generated pictures.
        options, weak_options: Settings that replace those of the configs.
    """

    data: Path
    work_dir: Path
    out: Path
    num_train: int
    num_val: int
    size: int
    options: tuple[str, ...] = ()
    weak_options: tuple[str, ...] = ()


FULL = Plan(
    data=Path("data/generated_text"),
    work_dir=Path("work_dirs/craft_resnet18_demo"),
    out=Path("outputs/demo"),
    num_train=3000,
    num_val=200,
    size=256,
)
# As many steps as the full one, in a minute: shows that everything works, not what it can do.
FAST = Plan(
    data=Path("data/generated_text_fast"),
    work_dir=Path("work_dirs/craft_resnet18_demo_fast"),
    out=Path("outputs/demo_fast"),
    num_train=24,
    num_val=12,
    size=128,
    options=(
        "train_cfg.max_iters=8",
        "train_cfg.val_interval=4",
        "default_hooks.checkpoint.interval=4",
        "default_hooks.logger.interval=2",
        "train_dataloader.batch_size=2",
        "train_dataloader.dataset.dataset.data_root=data/generated_text_fast",
        "val_dataloader.batch_size=4",
        "val_dataloader.dataset.data_root=data/generated_text_fast",
        "test_dataloader.dataset.data_root=data/generated_text_fast",
    ),
    weak_options=(
        "train_cfg.max_iters=4",
        "train_cfg.val_interval=4",
        "default_hooks.checkpoint.interval=4",
        "default_hooks.logger.interval=2",
        "train_dataloader.batch_size=4",
        "train_dataloader.dataset.dataset.datasets.0.data_root=data/generated_text_fast",
        "val_dataloader.dataset.num_samples=4",
        "test_dataloader.dataset.num_samples=4",
    ),
)


class Demo:
    """The steps, each of which finds out whether it is done."""

    def __init__(self, plan: Plan, lock: int) -> None:
        self.plan, self.lock, self.out = plan, lock, ROOT / plan.out
        made_from = (plan.options, plan.weak_options, plan.num_train, plan.num_val, plan.size)
        key = fingerprint(ROOT / CONFIG, *made_from)
        self.strong = Stage(CONFIG, plan.work_dir, key, lock, plan.options)
        self.weak_key = f"{key}-{fingerprint(ROOT / WEAK_CONFIG, *made_from)}"

    def generate(self) -> str:
        """Pictures of words; the generator itself knows what is there."""
        plan = self.plan
        command = [sys.executable, "tools/datasets/generate_text.py", "--out", str(plan.data)]
        command += ["--num-train", str(plan.num_train), "--num-val", str(plan.num_val)]
        command += ["--size", str(plan.size)]
        manifest = ROOT / plan.data / "generated.json"
        wanted = {"train": plan.num_train, "val": plan.num_val}
        state = State(manifest).read()
        complete = sorted(state.get("done", [])) == sorted(wanted)
        same = state.get("arguments", {}).get("counts") == wanted
        size = state.get("arguments", {}).get("size")
        if complete and same and size == plan.size and self._annotated():
            return "done before"
        if manifest.exists():
            # The generator wrote this folder, and can write it again.
            command.append("--overwrite")
        # Its progress bar needs the terminal, so nothing is read along.
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
        with started(command, self.lock, env=quiet) as process:
            status = process.wait()
        if status:
            raise StepError(f"the text could not be generated (exit status {status}), see above")
        return ""

    def _annotated(self) -> bool:
        return all(
            (ROOT / self.plan.data / f"{split}.json").is_file() for split in ("train", "val")
        )

    def evaluate(self) -> str:
        """The network on held-out pictures of the text that it was trained on."""
        return self.strong.evaluate(self.strong.checkpoint(), self.out / "result.json")

    def draw(self) -> str:
        """Pictures of what it finds on them."""
        return self.strong.draw(self.plan.out, self.pictures())

    @property
    def weak(self) -> Stage:
        """The second stage, which starts from where the first one ended."""
        folder = self.plan.work_dir.with_name(f"{self.plan.work_dir.name}_weak")
        start = self.strong.checkpoint()
        options = (*self.plan.weak_options, f"load_from={start}")
        return Stage(WEAK_CONFIG, folder, self.weak_key, self.lock, options)

    def train_weakly(self) -> str:
        """Small text with word boxes only: measured before and after."""
        weak = self.weak
        done = [weak.evaluate(self.strong.checkpoint(), self.out / "weak_before.json")]
        done.append(weak.train())
        done.append(weak.evaluate(weak.checkpoint(), self.out / "weak_after.json"))
        return "done before" if all(done) else ""

    def pictures(self) -> tuple[Path, Path]:
        return self.out / "words.png", self.out / "score_maps.png"

    def report(self) -> None:
        """What the reader came for."""
        result = State(self.out / "result.json").read()
        words, maps = (path.relative_to(ROOT) for path in self.pictures())
        print(
            f"\nhmean {result['hmean']:.3f} (precision {result['precision']:.3f}, recall "
            f"{result['recall']:.3f}) at IoU 0.5 on {self.plan.num_val} held-out pictures\n"
            f"words found:  {words} (one by one, with score maps: {self.plan.out / 'held_out'})\n"
            f"score maps, predicted beside generated:  {maps}\n"
            f"checkpoint:  {self.strong.checkpoint().relative_to(ROOT)}"
        )
        before, after = (
            State(self.out / f"weak_{when}.json").read()["hmean"] for when in ("before", "after")
        )
        print(
            f"hmean on small text {before:.3f}, and {after:.3f} after learning from its words\n"
            f"checkpoint:  {self.weak.checkpoint().relative_to(ROOT)}"
        )


def demonstrate(plan: Plan) -> None:
    """Performs all steps.

    Raises:
        StepError: If one fails.
    """
    os.chdir(ROOT)
    with only_one(ROOT / plan.out / ".lock") as lock:
        demo = Demo(plan, lock)
        steps = (
            ("generating text with character boxes", demo.generate),
            ("training a light CRAFT", demo.strong.train),
            ("evaluating it on held-out pictures", demo.evaluate),
            ("drawing what it sees", demo.draw),
            ("training it further on small text with word boxes only", demo.train_weakly),
        )
        perform(steps)
        demo.report()


def main() -> int:
    """Reads the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--fast",
        action="store_true",
        help="all steps with little data and few iterations, in folders of their own",
    )
    args = parser.parse_args()
    return status_of("demo", lambda: demonstrate(FAST if args.fast else FULL))


if __name__ == "__main__":
    sys.exit(main())
