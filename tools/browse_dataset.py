#!/usr/bin/env python
"""Draw a dataset as the network gets it: words or lines, characters, and the maps made of them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.craft.link_loss import LinkRefinerModuleLoss
from mmtextplug.craft.link_targets import LinkMaps
from mmtextplug.craft.loss import CRAFTModuleLoss
from mmtextplug.craft.targets import ScoreMaps
from mmtextplug.db.loss import DifferentiableBinarizationLoss
from mmtextplug.db.targets import DBTargets
from mmtextplug.visualization.draw import draw_chars, draw_words, overlay_score, side_by_side
from mmtextplug.visualization.score_maps import ANNOTATED_COLOUR, IGNORED_COLOUR, fit, stack_rows

MAX_SIDE = 2000
SUMMARY = (
    "words",
    "ignored words",
    "words without characters",
    "characters",
    "characters not drawable",
)
LINE_SUMMARY = ("lines", "ignored lines", "unpaired lines")
DB_SUMMARY = ("words", "ignored words", "small words", "unusable words")


class DBMaps(NamedTuple):
    """DB's targets of one sample, and the words that the loss would leave out."""

    targets: DBTargets
    counts: dict[str, torch.Tensor]


Loss = CRAFTModuleLoss | LinkRefinerModuleLoss | DifferentiableBinarizationLoss
Maps = ScoreMaps | LinkMaps | DBMaps


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--split", choices=["train", "val", "test"], default="train")
    parser.add_argument(
        "--number", type=int, default=20, metavar="N", help="samples, spread over the dataset"
    )
    parser.add_argument(
        "--stride",
        type=int,
        help="input pixels for each pixel of the network's maps (default: 2; 1 for DB)",
    )
    launch.add_config_options(parser)
    args = parser.parse_args(argv)
    if args.number < 1 or (args.stride is not None and args.stride < 1):
        parser.error("--number and --stride must be 1 or more")
    return args


def build_dataset(cfg: Config, split: str) -> object:
    """The dataset of a split, with its pipeline.

    Raises:
        ValueError: If the config has none.
    """
    loader = cfg.get(f"{split}_dataloader")
    if not loader or "dataset" not in loader:
        raise ValueError(f"{cfg.filename}: no {split}_dataloader.dataset; choose another --split")
    return DATASETS.build(loader["dataset"])


def build_loss(cfg: Config) -> Loss:
    """The loss of the config, which draws the maps; CRAFT's default one for other detectors."""
    settings = cfg.get("model", {}).get("det_head", {}).get("module_loss")
    loss = MODELS.build(settings) if settings else None
    return loss if isinstance(loss, Loss) else CRAFTModuleLoss()


def to_input_pixels(sample: BaseDataElement) -> BaseDataElement:
    """A copy of a test pipeline's sample whose words are in pixels of the network's input.

    Test pipelines leave them in pixels of the original image, where metrics compare.
    """
    sample = sample.clone()
    instances = sample.gt_instances.clone()
    sample.gt_instances = instances
    scale = np.asarray(sample.get("scale_factor", (1.0, 1.0)), dtype=np.float32)
    if "polygons" in instances:
        instances.polygons = [
            (np.reshape(polygon, (-1, 2)) * scale).astype(np.float32)
            for polygon in instances.polygons
        ]
    if "chars" in instances:
        instances.chars = [None if c is None else c * scale for c in instances.chars]
    return sample


def count_words(sample: BaseDataElement, maps: Maps | None) -> Counter[str]:
    """What the summary adds up of one sample."""
    instances = sample.gt_instances
    ignored = _ignored(instances)
    if isinstance(maps, DBMaps):
        skipped = {name.replace("_", " "): int(n) for name, n in maps.counts.items()}
        words = {"words": len(ignored), "ignored words": int(ignored.sum())}
        return Counter({"samples": 1, **words, **skipped})
    if isinstance(maps, LinkMaps):
        numbers = (len(ignored), int(ignored.sum()), len(maps.unpaired))
        return Counter({"samples": 1, **dict(zip(LINE_SUMMARY, numbers))})
    chars = instances.get("chars", [None] * len(ignored))
    unknown = [c is None or len(c) == 0 for c in chars]
    return Counter(
        {
            "samples": 1,
            "words": len(ignored),
            "ignored words": int(ignored.sum()),
            "words without characters": sum(
                u and not i for u, i in zip(unknown, ignored, strict=True)
            ),
            "characters": sum(len(c) for c, u in zip(chars, unknown, strict=True) if not u),
            "characters not drawable": maps.skipped if maps else 0,
        }
    )


def draw_sample(
    inputs: torch.Tensor,
    sample: BaseDataElement,
    maps: Maps | None,
) -> np.ndarray:
    """One picture of a sample.

    Args:
        inputs: ``(3, H, W)`` uint8 BGR, the network's input before normalisation.
        sample: Its words and characters, in pixels of ``inputs``.
        maps: Its maps, ``(1, h, w)`` each; None if its characters are not known.

    Returns:
        ``(H', W', 3)`` uint8, BGR.
    """
    image = np.ascontiguousarray(inputs.permute(1, 2, 0).numpy().astype(np.uint8))
    columns, rows = (2, 2) if isinstance(maps, LinkMaps) else (3, 2) if maps else (1, 1)
    shown = fit(image, columns, rows, MAX_SIDE)
    factor = shown.shape[1] / image.shape[1]
    instances = sample.gt_instances
    ignored = _ignored(instances)
    polygons = [np.reshape(p, (-1, 2)) * factor for p in instances.get("polygons", [])]
    words = shown
    for wanted, colour in ((True, IGNORED_COLOUR), (False, ANNOTATED_COLOUR)):
        chosen = [polygons[i] for i in np.flatnonzero(ignored == wanted)]
        words = draw_words(words, chosen, colour)
    if maps is None:
        return side_by_side([words], ["words (ignored: blue)"])
    # On grey, so that colours mean scores and nothing else.
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    if isinstance(maps, DBMaps):
        kernel, mask, threshold, border = (
            overlay_score(grey, plane[0].float().numpy()) for plane in maps.targets
        )
        first = side_by_side(
            [words, kernel, threshold], ["words (ignored: blue)", "kernel", "threshold"]
        )
        second = side_by_side(
            [shown, mask, border], ["input", "kernel trained (red)", "threshold trained (red)"]
        )
        return stack_rows([first, second])
    if isinstance(maps, LinkMaps):
        link, confidence = (overlay_score(grey, m[0].numpy()) for m in (maps.link, maps.confidence))
        first = side_by_side([words, shown], ["lines (ignored: blue)", "input"])
        second = side_by_side([link, confidence], ["centre lines", "trained (red)"])
        return stack_rows([first, second])
    chars = [None if c is None else c * factor for c in instances.get("chars", [])]
    confidence = overlay_score(grey, maps.confidence[0].numpy())
    if "valid_polygon" in sample:
        confidence = draw_words(confidence, [sample.valid_polygon * factor], (255, 255, 255))
    return stack_rows(
        [
            side_by_side(
                [words, draw_chars(shown, chars), shown],
                ["words (ignored: blue)", "characters", "input"],
            ),
            side_by_side(
                [
                    overlay_score(grey, maps.region[0].numpy()),
                    overlay_score(grey, maps.affinity[0].numpy()),
                    confidence,
                ],
                ["region", "affinity", "confidence (red: 1, blue: 0)"],
            ),
        ]
    )


def generate_maps(
    loss: Loss,
    inputs: torch.Tensor,
    sample: BaseDataElement,
    stride: int | None,
) -> Maps | None:
    """The maps that the loss compares with; None if the sample's characters are not known."""
    shape = inputs.shape[1:]
    sample.set_metainfo({"batch_input_shape": tuple(shape)})
    if isinstance(loss, DifferentiableBinarizationLoss):
        size = tuple(-(-side // (stride or 1)) for side in shape)
        if "gt_db_targets" in sample:
            size = tuple(sample.gt_db_targets.kernel.shape[1:])
        return DBMaps(*loss.get_targets([sample], size))
    size = tuple(-(-side // (stride or 2)) for side in shape)
    if isinstance(loss, LinkRefinerModuleLoss):
        return loss.get_targets([sample], size)
    if "chars" not in sample.gt_instances and "gt_score_maps" not in sample:
        return None
    if "gt_score_maps" in sample:
        size = tuple(sample.gt_score_maps.data.shape[1:])
    return loss.get_targets([sample], size)


def _ignored(instances: BaseDataElement) -> np.ndarray:
    count = len(instances.get("polygons", []))
    return np.asarray(instances.get("ignored", np.zeros(count)), dtype=bool)


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options)
    init_default_scope(cfg.get("default_scope", "mmocr"))
    dataset = build_dataset(cfg, args.split)
    loss = build_loss(cfg)
    args.out.mkdir(parents=True, exist_ok=True)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, args.number).round().astype(int))
    total: Counter[str] = Counter()
    for index in tqdm(chosen.tolist(), desc=f"{args.split} samples"):
        packed = dataset[index]
        inputs, sample = packed["inputs"], packed["data_samples"]
        if args.split != "train":
            sample = to_input_pixels(sample)
        maps = generate_maps(loss, inputs, sample, args.stride)
        total += count_words(sample, maps)
        name = Path(sample.get("img_path") or "").stem or "sample"
        target = args.out / f"{args.split}_{index:06d}_{name}.png"
        picture = draw_sample(inputs, sample, maps)
        if not cv2.imwrite(str(target), picture):
            raise OSError(f"{target}: cannot be written; check --out and the space left")
    kinds = ((CRAFTModuleLoss, SUMMARY), (LinkRefinerModuleLoss, LINE_SUMMARY), (Loss, DB_SUMMARY))
    names = next(names for kind, names in kinds if isinstance(loss, kind))
    summarize(total, names, len(dataset), args.out)


def summarize(total: Counter[str], names: Sequence[str], available: int, out: Path) -> None:
    """Print the table that ends a run."""
    print(f"{out}: {total['samples']:,} of {available:,} samples")
    for name in names:
        print(f"  {name:<26}{total[name]:>9,}")


if __name__ == "__main__":
    launch.run(main)
