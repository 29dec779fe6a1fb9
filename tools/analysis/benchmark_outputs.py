#!/usr/bin/env python
"""What characters, outlines and the link refiner cost beside the network, on your photos.

The official CRAFT, or the one of a config; one thread, processor time. Without a checkpoint of its
own the refiner has random weights: its time is the same.

Example:
    python tools/analysis/benchmark_outputs.py photos/ --number 20
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import MODELS
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmtextplug import launch
from mmtextplug.craft.grouping import group_words
from mmtextplug.craft.page_chars import page_characters
from mmtextplug.inference import TextDetector
from mmtextplug.photos import find_photos, read_photo

STEPS = ("network", "link refiner", "boxes", "outlines instead", "characters")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER")
    parser.add_argument("--number", type=int, default=20, metavar="N", help="the first N photos")
    parser.add_argument("--config", help="config file; default: the official CRAFT")
    parser.add_argument("--checkpoint", help="checkpoint file; default: the official weights")
    return parser.parse_args(argv)


def timed(work: Callable) -> tuple[object, float]:
    """What a function returns, and the processor time of the call in seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


@torch.inference_mode()
def measure(detector: TextDetector, image: np.ndarray) -> tuple[dict[str, float], int]:
    """Seconds of each step on one photo, and the number of words."""
    model, seconds = detector.model, {}
    post = model.det_head.postprocessor
    packed = detector.transforms(dict(img=image, img_path="", ori_shape=image.shape[:2]))
    batch = {key: [value] for key, value in packed.items()}
    inputs = model.data_preprocessor(batch)["inputs"]

    def forward() -> tuple[torch.Tensor, torch.Tensor]:
        features = model.extract_feat(inputs)
        return features, model.det_head.conv_cls(features)

    (features, scores), seconds["network"] = timed(forward)
    refiner = model.det_head.link_refiner
    _, seconds["link refiner"] = timed(lambda: refiner(scores, features))
    region, affinity = scores[0].numpy()
    words, seconds["boxes"] = timed(lambda: group_words(region, affinity, **post.thresholds))
    _, outlined = timed(lambda: group_words(region, affinity, polygons=True, **post.thresholds))
    seconds["outlines instead"] = outlined - seconds["boxes"]
    _, seconds["characters"] = timed(lambda: page_characters(region, words.boxes))
    return seconds, len(words)


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if args.config:
        detector = TextDetector.from_config(args.config, args.checkpoint, precision="float32")
    else:
        detector = TextDetector.official(precision="float32")
    head = detector.model.det_head
    if head.link_refiner is None:
        head.link_refiner = MODELS.build(dict(type="LinkRefiner")).eval()
    paths = [path for path, _ in find_photos(args.photos, Path("unused"))][: args.number]
    measure(detector, read_photo(paths[0])[0])  # compiles what has to be
    totals, words = dict.fromkeys(STEPS, 0.0), 0
    for path in track(paths, description="photos"):
        seconds, found = measure(detector, read_photo(path)[0])
        totals = {step: totals[step] + seconds[step] for step in STEPS}
        words += found
    table = Table("step", "ms a photo", "of the network's time")
    for step in STEPS:
        share = totals[step] / totals["network"]
        table.add_row(step, f"{1000 * totals[step] / len(paths):,.1f}", f"{share:.2%}")
    Console().print(f"{len(paths)} photos, {words / len(paths):.1f} words each")
    Console().print(table)


if __name__ == "__main__":
    launch.run(main)
