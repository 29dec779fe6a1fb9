#!/usr/bin/env python
"""Generate text, train a light CRAFT on it, evaluate it and draw what it sees.

`make demo` runs it inside the environment. Every step that is done is skipped by the next run, and
one that was stopped, by Ctrl-C or killed, goes on from where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from demo_steps import ROOT, DemoError, State, condense, elapsed, only_one, run, set_aside, started

CONFIG = "configs/craft/craft_resnet18_demo.py"


@dataclass(frozen=True)
class Plan:
    """Sizes and folders of a demo, relative to the repository.

    Attributes:
        data, work_dir, out: Where pictures, checkpoints and results go.
        num_train, num_val, size: Of the generated pictures.
        options: Settings that replace those of the config.
    """

    data: Path
    work_dir: Path
    out: Path
    num_train: int
    num_val: int
    size: int
    options: tuple[str, ...] = ()


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
)


def fingerprint(config: Path, plan: Plan) -> str:
    """Hashes what a training depends on: the config with all it inherits, and the data."""
    from mmengine.config import Config

    # Without its imports: a second run is to know in a moment that there is nothing to do.
    text = json.dumps(
        Config.fromfile(config, import_custom_modules=False).to_dict(), sort_keys=True, default=str
    )
    made_from = (text, plan.options, plan.num_train, plan.num_val, plan.size)
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]


class Demo:
    """The steps, each of which finds out whether it is done."""

    def __init__(self, plan: Plan, lock: int) -> None:
        self.plan, self.lock = plan, lock
        self.key = fingerprint(ROOT / CONFIG, plan)
        self.work_dir, self.out = ROOT / plan.work_dir, ROOT / plan.out

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
            raise DemoError(f"the text could not be generated (exit status {status}), see above")
        return ""

    def _annotated(self) -> bool:
        return all(
            (ROOT / self.plan.data / f"{split}.json").is_file() for split in ("train", "val")
        )

    def train(self) -> str:
        """`tools/train.py`, from its last checkpoint if there is one."""
        state = State(self.work_dir / "demo.json")
        found = state.read()
        if found.get("key") != self.key:
            if any(self.work_dir.glob("*.pth")):
                old = set_aside(self.work_dir)
                print(f"  other settings were trained before; moved to {old.relative_to(ROOT)}")
            state.write(key=self.key, finished=False)
        elif found.get("finished") and self._checkpoint(required=False):
            return "done before"
        last = self.work_dir / "last_checkpoint"
        if last.exists():
            print(f"  going on from {Path(last.read_text().strip()).name}")
        log = self.work_dir / "train_output.txt"
        print(f"  starting; its full log: {log.relative_to(ROOT)}", flush=True)
        command = [sys.executable, "tools/train.py", CONFIG, "--work-dir", str(self.plan.work_dir)]
        run([*command, "--resume", *self._options()], log, self.lock, condense)
        state.write(key=self.key, finished=True)
        return ""

    def _options(self, *more: str) -> list[str]:
        options = [*self.plan.options, *more]
        return ["--cfg-options", *options] if options else []

    def _checkpoint(self, required: bool = True) -> Path | None:
        """The last checkpoint: the best on the held-out pictures would flatter the result."""
        last = self.work_dir / "last_checkpoint"
        path = Path(last.read_text().strip()) if last.exists() else None
        if path and path.exists():
            return path
        if required:
            raise DemoError(f"no checkpoint in {self.work_dir}: delete the folder and run again")
        return None

    def evaluate(self) -> str:
        """`tools/test.py` on the held-out pictures; its metrics go to `result.json`."""
        checkpoint = self._checkpoint()
        state = State(self.out / "result.json")
        if state.read().get("made_from") == self._made_from(checkpoint):
            return "done before"
        folder = self.plan.work_dir / "test"
        command = [sys.executable, "tools/test.py", CONFIG, str(checkpoint)]
        command += ["--work-dir", str(folder), *self._options()]
        started = time.time()
        run(command, ROOT / folder / "test_output.txt", self.lock, condense)
        metrics = [p for p in (ROOT / folder).glob("*/*.json") if p.stat().st_mtime >= started - 2]
        if not metrics:
            raise DemoError(f"tools/test.py left no metrics in {folder}: run this again")
        content = json.loads(max(metrics, key=lambda path: path.stat().st_mtime).read_text())
        scores = {name: content[f"icdar/{name}"] for name in ("hmean", "precision", "recall")}
        state.write(made_from=self._made_from(checkpoint), **scores)
        return ""

    def _made_from(self, checkpoint: Path) -> list:
        return [self.key, checkpoint.name, int(checkpoint.stat().st_mtime)]

    def draw(self) -> str:
        """Pictures of what the network finds on held-out pictures."""
        checkpoint = self._checkpoint()
        state = State(self.out / "pictures.json")
        made_from = self._made_from(checkpoint)
        if state.read().get("made_from") == made_from and all(p.is_file() for p in self.pictures()):
            return "done before"
        command = [sys.executable, "tools/demo_pictures.py", CONFIG, str(checkpoint)]
        command += ["--out", str(self.plan.out), *self._options()]
        run(command, self.work_dir / "draw_output.txt", self.lock, lambda line: None)
        state.write(made_from=made_from)
        return ""

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
            f"checkpoint:  {self._checkpoint().relative_to(ROOT)}"
        )


def demonstrate(plan: Plan) -> None:
    """Performs all steps.

    Raises:
        DemoError: If one fails.
    """
    os.chdir(ROOT)
    with only_one(ROOT / plan.out / ".lock") as lock:
        demo = Demo(plan, lock)
        steps = (
            ("generating text with character boxes", demo.generate),
            ("training a light CRAFT", demo.train),
            ("evaluating it on held-out pictures", demo.evaluate),
            ("drawing what it sees", demo.draw),
        )
        for number, (title, step) in enumerate(steps, 1):
            print(f"[{number}/{len(steps)}] {title}", flush=True)
            start = time.monotonic()
            print(f"  {step() or 'done in ' + elapsed(time.monotonic() - start)}", flush=True)
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
    # Ended by a signal, it is to end what it started.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        demonstrate(FAST if args.fast else FULL)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; run it again to go on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
