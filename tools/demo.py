#!/usr/bin/env python
"""Generate text, train a light CRAFT on it, evaluate it and draw what it sees.

`make demo` runs it inside the environment. Every step that is done is skipped by the next run, and
one that was stopped, by Ctrl-C or killed, goes on from where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/craft/craft_resnet18_demo.py"
HELD_OUT_SHOWN = 12
MAPS_SHOWN = 4


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


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


def elapsed(seconds: float) -> str:
    """Writes a duration as `4.2s` or `3m10s`."""
    return f"{seconds:.1f}s" if seconds < 60 else f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


def condense(line: str) -> str | None:
    """What a line of MMEngine's log says about progress, in short; None if nothing."""
    match = re.search(r"Iter\((train|val|test)\)\s*\[\s*(\d+)/(\d+)\s*\](.*)", line)
    if not match:
        return None
    kind, number, total, rest = match.groups()
    if kind == "train":
        eta = re.search(r"eta:\s*((?:\d+ days?, )?[\d:]+)", rest)
        loss = re.search(r"\bloss:\s*(\S+)", rest)
        fields = (f"  loss {loss[1]}" if loss else "", f"  {eta[1]} left" if eta else "")
        return f"iteration {number:>{len(total)}}/{total}{fields[0]}{fields[1]}"
    found = {
        name: re.search(rf"{name}:\s*([\d.]+)", rest) for name in ("precision", "recall", "hmean")
    }
    if all(found.values()):
        scores = ", ".join(f"{name} {float(value[1]):.3f}" for name, value in found.items())
        return f"on held-out pictures: {scores}"
    return f"evaluating {number}/{total}"


def run(command: list[str], log: Path, lock: int, show: Callable[[str], str | None]) -> None:
    """Runs a command, shows what `show` makes of its lines and keeps all of them in `log`.

    The command inherits the lock, so that nobody starts a second demo beside a command that
    outlived this process.

    Raises:
        DemoError: If it fails; with the last lines of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=15)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=(lock,),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        with log.open("w", encoding="utf-8") as file:
            for line in process.stdout:
                file.write(line)
                file.flush()
                tail.append(line.rstrip())
                text = show(line)
                if text:
                    print(f"  {text}", flush=True)
        status = process.wait()
    except BaseException:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        raise
    if status:
        shown = "\n".join(f"    {line}" for line in tail if line)
        raise DemoError(f"{command[1]} failed (exit status {status}); all of it: {log}\n{shown}")


class State:
    """What was done with which settings: a small JSON file in the folder it speaks of."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, **content: object) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(content, indent=2), encoding="utf-8")
        os.replace(partial, self.path)


def fingerprint(config: Path, plan: Plan) -> str:
    """Hashes what a training depends on: the config with all it inherits, and the data."""
    from mmengine.config import Config

    # Without its imports: a second run is to know in a moment that there is nothing to do.
    text = json.dumps(
        Config.fromfile(config, import_custom_modules=False).to_dict(), sort_keys=True, default=str
    )
    made_from = (text, plan.options, plan.num_train, plan.num_val, plan.size)
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]


def set_aside(folder: Path) -> Path:
    """Renames a folder to the first free name `folder.1`, `folder.2`, ..."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return folder.rename(target)


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
        status = subprocess.run(command, cwd=ROOT, env=quiet, pass_fds=(self.lock,)).returncode
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
        """The best checkpoint; the last one if none was evaluated."""
        best = sorted(self.work_dir.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
        if best:
            return best[-1]
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
        command = [sys.executable, "tools/demo.py", "--draw", str(checkpoint)]
        command += ["--fast"] if self.plan is FAST else []
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


def draw_pictures(plan: Plan, checkpoint: str) -> None:
    """Finds words on some held-out pictures and draws them."""
    from mmengine.config import Config, DictAction
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DATASETS, MODELS, init_default_scope
    from mmengine.runner import load_checkpoint

    from mmtextplug import launch

    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="*", action=DictAction)
    options = parser.parse_args(["--options", *plan.options]).options
    cfg: Config = launch.load_config(CONFIG, options)
    init_default_scope(cfg.default_scope)
    cfg.model.det_head.postprocessor.keep_score_maps = True
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, checkpoint, map_location="cpu")
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    samples = []
    for index in range(min(HELD_OUT_SHOWN, len(dataset))):
        samples += model.test_step(pseudo_collate([dataset[index]]))
    write_pictures(samples, ROOT / plan.out)


def write_pictures(samples: list, out: Path) -> None:
    """Writes `words.png`, `score_maps.png` and a picture of each sample in `held_out/`."""
    import cv2

    from mmtextplug.visualization.draw import draw_words, side_by_side
    from mmtextplug.visualization.score_maps import (
        ANNOTATED_COLOUR,
        FOUND_COLOUR,
        draw_panels,
        draw_scene,
        fit,
        read_scene,
        stack_rows,
    )

    (out / "held_out").mkdir(parents=True, exist_ok=True)
    words, maps = [], []
    for sample in samples:
        photo = cv2.imread(sample.img_path)
        scene = read_scene(sample, photo.shape[:2], score_thr=0.3)
        name = Path(sample.img_path).stem
        write_image(out / "held_out" / f"{name}.png", draw_scene(photo, scene))

        shown = fit(photo, columns=4, rows=4, max_side=1600)
        factor = shown.shape[1] / photo.shape[1]
        picture = draw_words(
            shown, [p * factor for p in scene.annotated], ANNOTATED_COLOUR, None, 3
        )
        words.append(draw_words(picture, [p * factor for p in scene.found], FOUND_COLOUR, None, 1))

        if len(maps) < MAPS_SHOWN:
            shown = fit(photo, columns=5, rows=5, max_side=1700)
            panels = draw_panels(shown, scene, shown.shape[1] / photo.shape[1])
            order = ("words found", "predicted region", "generated region")
            order += ("predicted affinity", "generated affinity")
            row = [panels[title] for title in order]
            maps.append(side_by_side(row, None if maps else order))
    rows = [words[start : start + 4] for start in range(0, len(words), 4)]
    legend = ("green, thick: annotated", "red, thin: found by the network", "", "")
    write_image(
        out / "words.png",
        stack_rows([side_by_side(r, None if i else legend[: len(r)]) for i, r in enumerate(rows)]),
    )
    write_image(out / "score_maps.png", stack_rows(maps))


def write_image(path: Path, image: object) -> None:
    """Writes a PNG so that it is there whole or not at all."""
    import cv2

    partial = path.with_suffix(".part")
    partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    os.replace(partial, path)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[int]:
    """Holds a lock that this process and all that it starts share; yields its file descriptor.

    Raises:
        DemoError: If another demo, or what a killed one left running, holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"another demo is at work in {path.parent}, or what it started is still running: "
                "wait for it, or end it"
            ) from None
        yield file.fileno()


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
    # The drawing runs as a process of its own, so that this one stays free of PyTorch.
    parser.add_argument("--draw", metavar="CHECKPOINT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    plan = FAST if args.fast else FULL
    # Ended by a signal, it is to end what it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if args.draw:
            draw_pictures(plan, args.draw)
        else:
            demonstrate(plan)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; run it again to go on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
