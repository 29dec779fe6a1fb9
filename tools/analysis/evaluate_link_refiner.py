#!/usr/bin/env python
"""What a link refiner is worth: lines of text found by its links, and by CRAFT's affinity alone.

Both from the same network on a config's validation pictures, whose annotation is lines.

Example:
    python tools/analysis/evaluate_link_refiner.py --out outputs/link_refiner \\
        configs/craft/craft_resnet18_refiner_generated-lines.py \\
        work_dirs/craft_resnet18_refiner_generated-lines/iter_400.pth
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import shapely
import torch
from mmengine.registry import DATASETS, METRICS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import nn
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.checkpoint import load_weights
from mmtextplug.visualization.draw import draw_words, overlay_score, side_by_side
from mmtextplug.visualization.score_maps import ANNOTATED_COLOUR, FOUND_COLOUR, fit, stack_rows

METHODS = ("affinity", "refined link")
FATES = ("whole", "broken", "merged", "missed")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config file of a CRAFT with link refiner")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to draw pictures")
    parser.add_argument("--pictures", type=int, default=8, metavar="N", help="how many to draw")
    parser.add_argument("--number", type=int, metavar="N", help="only the first N samples")
    launch.add_config_options(parser)
    return parser.parse_args(argv)


def fates(lines: list[np.ndarray], found: list[np.ndarray]) -> Counter[str]:
    """What became of each annotated line: found whole, in pieces, with others, or not at all.

    Args:
        lines, found: Outlines ``(k, 2)``.

    Returns:
        Counts of `FATES`. A line is whole where something found has an IoU of 0.5 with it; merged,
        where something covers more than half of it and of another line; broken, where something
        lies in it by more than half of itself.
    """
    if not lines:
        return Counter()
    if not found:
        return Counter(missed=len(lines))
    truth = np.array([shapely.Polygon(p).buffer(0) for p in lines])
    guess = np.array([shapely.Polygon(p).buffer(0) for p in found])
    shared = shapely.area(shapely.intersection(truth[:, None], guess[None]))
    area, size = shapely.area(truth)[:, None], np.maximum(shapely.area(guess), 1e-9)
    iou = shared / (area + size - shared)
    covers = shared > 0.5 * area
    merged = (covers & (covers.sum(0) > 1)).any(1)
    kind = np.select(
        [(iou >= 0.5).any(1), merged, (shared > 0.5 * size).any(1)],
        ["whole", "merged", "broken"],
        "missed",
    )
    return Counter(kind.tolist())


def points(polygons: list) -> list[np.ndarray]:
    return [np.asarray(p, np.float32).reshape(-1, 2) for p in polygons]


def predict(model: nn.Module, packed: dict, refiner: nn.Module | None) -> BaseDataElement:
    """Lines of one sample with, or without, the refiner."""
    model.det_head.link_refiner = refiner
    batch = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"].clone()]}
    with torch.inference_mode():
        return model.test_step(batch)[0]


def draw(image: np.ndarray, samples: list[BaseDataElement]) -> np.ndarray:
    """Lines by both methods beside the scores that they come from."""
    shown = fit(image, 2, 2, 1400)
    factor = shown.shape[1] / image.shape[1]
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    rows = []
    for name, sample in zip(METHODS, samples, strict=True):
        truth = [p * factor for p in points(sample.gt_instances.polygons)]
        lines = [p * factor for p in points(sample.pred_instances.polygons)]
        words = draw_words(draw_words(shown, truth, ANNOTATED_COLOUR), lines, FOUND_COLOUR)
        score = overlay_score(grey, sample.pred_score_maps.data[-1].cpu().numpy())
        rows.append(side_by_side([words, score], [f"lines by {name} (red)", name]))
    return stack_rows(rows)


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options)
    launch.demand(cfg, "model.det_head.link_refiner", "val_dataloader.dataset", use="this tool")
    init_default_scope(cfg.get("default_scope", "mmocr"))
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    cfg.model.det_head.postprocessor.keep_score_maps = True
    model = MODELS.build(cfg.model)
    load_weights(model, args.checkpoint)
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    refiner = model.det_head.link_refiner
    metrics = [METRICS.build(cfg.val_evaluator) for _ in METHODS]
    counts = [Counter() for _ in METHODS]
    total = min(args.number or len(dataset), len(dataset))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
    for index in tqdm(range(total), desc="samples"):
        packed = dataset[index]
        samples = [predict(model, packed, refining) for refining in (None, refiner)]
        for sample, metric, count in zip(samples, metrics, counts, strict=True):
            lines = points(sample.gt_instances.polygons)
            usable = ~sample.gt_instances.ignored.cpu().numpy()
            metric.process([], [sample.to_dict()])
            count.update(
                fates(
                    [p for p, use in zip(lines, usable, strict=True) if use],
                    points(sample.pred_instances.polygons),
                )
            )
        if args.out is not None and index < args.pictures:
            image = np.ascontiguousarray(packed["inputs"].permute(1, 2, 0).numpy())
            picture = draw(image, samples)
            if not cv2.imwrite(str(args.out / f"{index:04d}.png"), picture):
                raise OSError(f"{args.out}: cannot be written; check --out and the space left")
    print("| links | precision | recall | hmean | " + " | ".join(FATES) + " |")
    print("|---" * (4 + len(FATES)) + "|")
    for name, metric, count in zip(METHODS, metrics, counts, strict=True):
        found = metric.evaluate(total)
        numbers = [f"{found[f'icdar/{key}']:.3f}" for key in ("precision", "recall", "hmean")]
        shares = [str(count[fate]) for fate in FATES]
        print("| " + " | ".join([name, *numbers, *shares]) + " |")


if __name__ == "__main__":
    launch.run(main)
