"""A training as a step of a job: run, resumed, evaluated, and known again when it is done."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from steps import ROOT, State, StepError, condense, run, set_aside


def fingerprint(config: Path, *made_from: object) -> str:
    """Hashes what a training depends on: the config with all it inherits, and the rest."""
    from mmengine.config import Config

    # Without its imports: a second run is to know in a moment that there is nothing to do.
    text = json.dumps(
        Config.fromfile(config, import_custom_modules=False).to_dict(), sort_keys=True, default=str
    )
    return hashlib.sha256(repr((text, *made_from)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Stage:
    """One config's training.

    Attributes:
        config: Its file, relative to the repository.
        work_dir: Where checkpoints go, relative to the repository.
        key: Changes with whatever the training depends on.
        lock: File descriptor that what is started inherits.
        options: Settings that replace those of the config.
    """

    config: str
    work_dir: Path
    key: str
    lock: int
    options: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return ROOT / self.work_dir

    def train(self) -> str:
        """`tools/train.py`, from its last checkpoint if there is one."""
        state = State(self.folder / "stage.json")
        found = state.read()
        if found.get("key") != self.key:
            if any(self.folder.glob("*.pth")):
                old = set_aside(self.folder)
                print(f"  other settings were trained before; moved to {old.relative_to(ROOT)}")
            state.write(key=self.key, finished=False)
        elif found.get("finished") and self.checkpoint(required=False):
            return "done before"
        if (self.folder / "last_checkpoint").exists():
            print(f"  going on from {self.checkpoint().name}")
        log = self.folder / "train_output.txt"
        print(f"  starting; its full log: {log.relative_to(ROOT)}", flush=True)
        command = [sys.executable, "tools/train.py", self.config, "--work-dir", str(self.work_dir)]
        run([*command, "--resume", *self._options()], log, self.lock, condense)
        state.write(key=self.key, finished=True)
        return ""

    def checkpoint(self, required: bool = True) -> Path | None:
        """The last checkpoint: the best on the held-out pictures would flatter the result."""
        last = self.folder / "last_checkpoint"
        # By its name: the whole repository may have been moved since it was written.
        path = self.folder / Path(last.read_text().strip()).name if last.exists() else None
        if path and path.is_file():
            return path
        if required:
            what = f"no checkpoint {path.name}" if path else "no checkpoint"
            raise StepError(f"{what} in {self.folder}: delete the folder and run again")
        return None

    def evaluate(self, checkpoint: Path, result: Path) -> str:
        """`tools/test.py` of a checkpoint on this config's held-out pictures.

        Its precision, recall and hmean go to a JSON file.
        """
        state = State(result)
        if state.read().get("made_from") == self.made_from(checkpoint):
            return "done before"
        folder = self.work_dir / result.stem
        command = [sys.executable, "tools/test.py", self.config, str(checkpoint)]
        command += ["--work-dir", str(folder), *self._options()]
        started = time.time()
        run(command, ROOT / folder / "test_output.txt", self.lock, condense)
        metrics = [p for p in (ROOT / folder).glob("*/*.json") if p.stat().st_mtime >= started - 2]
        if not metrics:
            raise StepError(f"tools/test.py left no metrics in {folder}: run this again")
        content = json.loads(max(metrics, key=lambda path: path.stat().st_mtime).read_text())
        scores = {name: content[f"icdar/{name}"] for name in ("hmean", "precision", "recall")}
        state.write(made_from=self.made_from(checkpoint), **scores)
        return ""

    def draw(self, out: Path, pictures: tuple[Path, ...]) -> str:
        """`tools/demo_pictures.py`: what the network finds on held-out pictures."""
        checkpoint = self.checkpoint()
        state = State(ROOT / out / "pictures.json")
        made_from = self.made_from(checkpoint)
        if state.read().get("made_from") == made_from and all(p.is_file() for p in pictures):
            return "done before"
        command = [sys.executable, "tools/demo_pictures.py", self.config, str(checkpoint)]
        command += ["--out", str(out), *self._options()]
        run(command, self.folder / "draw_output.txt", self.lock, lambda line: None)
        state.write(made_from=made_from)
        return ""

    def made_from(self, checkpoint: Path) -> list:
        """What results of a checkpoint depend on."""
        return [self.key, checkpoint.name, int(checkpoint.stat().st_mtime)]

    def _options(self) -> list[str]:
        return ["--cfg-options", *self.options] if self.options else []
