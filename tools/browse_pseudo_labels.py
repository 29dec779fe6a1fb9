#!/usr/bin/env python
"""Draw the characters that weak supervision finds in words: a page a word, an overview an image.

Examples:
    python tools/browse_pseudo_labels.py CONFIG --out pages
    python tools/browse_pseudo_labels.py CONFIG work_dirs/NAME/iter_1000.pth --out pages

The samples are augmented and labelled as in training, with the settings of the config's
PseudoCharLabelHook. DIR/words holds a page for each word; the least believed come first by name.
DIR/images holds an overview of each sample. Samples without a word to label are passed over, until
the whole dataset has been looked at. Exit status 1 if there is no word to label in it.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from browse_dataset import build_dataset, build_loss, generate_maps, to_input_pixels
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import nn
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.checkpoint import fill, load_weights
from mmtextplug.craft.loss import CRAFTModuleLoss
from mmtextplug.craft.pseudo_labels import SAVED_AS, PseudoCharLabelHook, write_label
from mmtextplug.craft.teacher import Teacher
from mmtextplug.craft.weights import load_craft_weights, official_weights
from mmtextplug.craft.word_crops import words_without_characters
from mmtextplug.craft.word_labeller import WordLabel, WordLabeller
from mmtextplug.safe_load import safe_load
from mmtextplug.visualization.pseudo_labels import draw_overview, draw_page
from mmtextplug.visualization.word_page import read_page

HOOK = "PseudoCharLabelHook"


@dataclass
class Totals:
    """What the summary adds up."""

    looked_at: int = 0
    samples: int = 0
    hopeless: int = 0
    confidences: list[float] = field(default_factory=list)
    equal: list[bool] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)

    def add(self, label: WordLabel, confidence: float) -> None:
        self.confidences.append(confidence)
        if label.crop.places is not None:
            length = sum(label.crop.places)
            self.equal.append(label.split.equal)
            self.errors.append(abs(label.split.found - length) / length)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "checkpoint",
        nargs="?",
        help="weights; of a weak training, its teacher's. Default: what the config's hook names, "
        "its load_from, or the official weights",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--split", choices=["train", "val", "test"], default="train")
    parser.add_argument(
        "--number", type=int, default=20, metavar="N", help="samples with words to label"
    )
    launch.add_config_options(parser)
    args = parser.parse_args(argv)
    if args.number < 1:
        parser.error("--number must be 1 or more")
    return args


def build_hook(cfg: Config) -> PseudoCharLabelHook:
    """The hook of the config; a default one if it has none."""
    hooks = [h for h in cfg.get("custom_hooks") or [] if str(h.get("type")).endswith(HOOK)]
    return HOOKS.build(hooks[0] if hooks else dict(type=HOOK))


def checkpoint_of(cfg: Config, hook: PseudoCharLabelHook) -> str | None:
    """What a training with this config has for its first teacher; None if the config names none.

    Raises:
        FileNotFoundError: If it names a file that is not there.
    """
    path = hook.checkpoint or cfg.get("load_from")
    if path is not None and not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such checkpoint, which {cfg.filename} starts from; name another one after "
            "the config"
        )
    return path


def build_model(cfg: Config, checkpoint: str | None) -> nn.Module:
    """The detector of the config with its weights, in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it does not fit, or the model has no region score.
    """
    launch.demand(cfg, "model.det_head", use="labelling words")
    model = MODELS.build(cfg.model)
    if checkpoint is None:
        try:
            load_craft_weights(model, official_weights())
        except ValueError as error:
            raise ValueError(
                f"{error} No checkpoint was named: these are the official weights."
            ) from error
        return model.eval()
    content = safe_load(checkpoint)
    if isinstance(content, dict) and SAVED_AS in content:
        fill(model, content[SAVED_AS], checkpoint)
    else:
        load_weights(model, checkpoint)
    return model.eval()


def seeded(cfg: Config, split: str) -> Config:
    """The config with a split whose samples are the same each time."""
    loader = cfg.get(f"{split}_dataloader")
    if loader and loader.get("dataset") and loader.dataset.get("type") != "SeededDataset":
        loader.dataset = dict(type="SeededDataset", dataset=loader.dataset)
    return cfg


def spread_over(dataset: object, number: int) -> Iterator[int]:
    """All indices of a dataset, each once: ``number`` spread over it, then ever more between them.

    Of concatenated datasets ``number`` of each, in turn.
    """
    inner = getattr(dataset, "dataset", dataset)
    ends = list(getattr(inner, "cumulative_sizes", [])) or [len(dataset)]
    ranges = [(start, end) for start, end in zip([0, *ends[:-1]], ends) if end > start]
    longest = max((end - start for start, end in ranges), default=0)
    seen: set[int] = set()
    while len(seen) < sum(end - start for start, end in ranges):
        parts = [
            np.linspace(start, end - 1, min(number, end - start)).round().astype(int).tolist()
            for start, end in ranges
        ]
        for index in itertools.chain.from_iterable(itertools.zip_longest(*parts)):
            if index is not None and index not in seen:
                seen.add(index)
                yield index
        number = min(2 * number, longest)


def write_sample(
    name: str,
    inputs: torch.Tensor,
    sample: BaseDataElement,
    labels: list[WordLabel],
    labeller: WordLabeller,
    loss: CRAFTModuleLoss,
    out: Path,
) -> None:
    """Write the overview of a sample that was labelled, and the pages of its words."""
    words = sample.gt_instances
    confidences = [labeller.confidence(label) for label in labels]
    for label, confidence in zip(labels, confidences):
        write_label(words, label, confidence)
    image = np.ascontiguousarray(inputs.permute(1, 2, 0).numpy().astype(np.uint8))
    maps = generate_maps(loss, inputs, sample, 1)
    write(out / "images" / f"{name}.png", draw_overview(image, words, labels, confidences, maps))
    for label, confidence in zip(labels, confidences):
        page = read_page(
            image,
            words,
            maps,
            label,
            confidence,
            size=labeller.size(label.crop),
            background=labeller.thresholds["background"],
        )
        file = f"{confidence:.2f}_{name}_word{label.crop.word:02d}.png"
        write(out / "words" / file, draw_page(page))


def write(path: Path, picture: np.ndarray) -> None:
    """Write a picture, or say that it cannot be."""
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path}: cannot be written; check --out and the space left")


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get("default_scope", "mmocr"))
    dataset = build_dataset(seeded(cfg, args.split), args.split)
    hook, loss = build_hook(cfg), build_loss(cfg)
    labeller = hook.labeller
    model = build_model(cfg, args.checkpoint or checkpoint_of(cfg, hook))
    model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    teacher = Teacher(model, "frozen")
    for folder in ("images", "words"):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    totals = Totals()
    # miniters: also shown anew while nothing is found.
    with tqdm(total=args.number, desc=f"{args.split} samples", miniters=0) as progress:
        for index in spread_over(dataset, args.number):
            totals.looked_at += 1
            progress.set_postfix(looked_at=totals.looked_at, refresh=False)
            packed = dataset[index]
            inputs, sample = packed["inputs"], packed["data_samples"]
            if args.split != "train":
                sample = to_input_pixels(sample)
            crops, hopeless = words_without_characters([sample], vertical=labeller.vertical)
            totals.hopeless += hopeless
            if not crops:
                progress.update(0)
                continue
            with torch.no_grad():
                batch = {"inputs": [inputs], "data_samples": []}
                prepared = model.data_preprocessor(batch, training=False)["inputs"]
            labels = labeller.label(teacher, prepared, crops)
            stem = Path(sample.get("img_path") or "").stem or "sample"
            name = f"{args.split}_{index:06d}_{stem}"
            write_sample(name, inputs, sample, labels, labeller, loss, args.out)
            for label in labels:
                totals.add(label, labeller.confidence(label))
            totals.samples += 1
            progress.update()
            if totals.samples == args.number:
                break
    if not totals.samples:
        raise ValueError(
            f"{args.config}: no word without characters to label in the {totals.looked_at:,} "
            f"samples of {args.split}_dataloader. Words need an outline, a text and no characters, "
            "and the pipeline LoadCharAnnotations and PackCharInputs"
        )
    summarize(totals, args.out)
    if totals.samples < args.number:
        print(
            f"only {totals.samples:,} of the {args.number:,} samples asked for: no more of the "
            f"{totals.looked_at:,} of {args.split}_dataloader hold a word to label"
        )


def summarize(totals: Totals, out: Path) -> None:
    """Print the table that ends a run."""
    print(f"{out / 'words'}: a page a word; {out / 'images'}: an overview a sample")
    rows = [
        ("samples", f"{totals.samples:,}"),
        ("words", f"{len(totals.confidences):,}"),
        ("words that cannot be labelled", f"{totals.hopeless:,}"),
        ("mean confidence", f"{np.mean(totals.confidences):.3f}"),
    ]
    if totals.equal:
        rows += [
            ("share of equal splits", f"{np.mean(totals.equal):.3f}"),
            ("mean length error", f"{np.mean(totals.errors):.3f}"),
        ]
    for name, value in rows:
        print(f"  {name:<30}{value:>9}")


if __name__ == "__main__":
    launch.run(main)
