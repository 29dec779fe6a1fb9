#!/usr/bin/env python
"""Draw what a checkpoint sees on the first test pictures of a config: words, and score maps."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement

from mmtextplug import launch
from mmtextplug.checkpoint import load_weights
from mmtextplug.visualization.draw import draw_words, side_by_side
from mmtextplug.visualization.scene import read_scene
from mmtextplug.visualization.score_maps import (
    ANNOTATED_COLOUR,
    FOUND_COLOUR,
    draw_panels,
    draw_scene,
    fit,
    stack_rows,
)

WORDS_SHOWN = 12
MAPS_SHOWN = 4
SCORE_THRESHOLD = 0.3


def find_words(cfg: Config, checkpoint: str) -> list[BaseDataElement]:
    """Run the model of a config over its first test pictures."""
    init_default_scope(cfg.default_scope)
    cfg.model.det_head.postprocessor.keep_score_maps = True
    model = MODELS.build(cfg.model).eval()
    load_weights(model, checkpoint)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    samples = []
    for index in range(min(WORDS_SHOWN, len(dataset))):
        samples += model.test_step(pseudo_collate([dataset[index]]))
    return samples


def write_pictures(samples: list[BaseDataElement], out: Path) -> None:
    """Writes `words.png`, `score_maps.png` and a picture of each sample in `held_out/`."""
    (out / "held_out").mkdir(parents=True, exist_ok=True)
    words, maps = [], []
    for sample in samples:
        photo = cv2.imread(sample.img_path)
        scene = read_scene(sample, photo.shape[:2], score_thr=SCORE_THRESHOLD)
        name = Path(sample.img_path).stem
        write_image(out / "held_out" / f"{name}.png", draw_scene(photo, scene))

        shown = fit(photo, columns=4, rows=4, max_side=1600)
        factor = shown.shape[1] / photo.shape[1]
        picture = draw_words(
            shown, [p * factor for p in scene.annotated], ANNOTATED_COLOUR, None, 2
        )
        words.append(draw_words(picture, [p * factor for p in scene.found], FOUND_COLOUR, None, 1))

        if len(maps) < MAPS_SHOWN:
            shown = fit(photo, columns=5, rows=5, max_side=1700)
            panels = draw_panels(shown, scene, shown.shape[1] / photo.shape[1])
            order = ("words found", "predicted region", "generated region")
            order += ("predicted affinity", "generated affinity")
            row = [panels[title] for title in order]
            maps.append(side_by_side(row, None if maps else order))
    sheet = stack_rows([side_by_side(words[i : i + 4]) for i in range(0, len(words), 4)])
    write_image(
        out / "words.png", side_by_side([sheet], ["green: annotated    red: found by the network"])
    )
    write_image(out / "score_maps.png", stack_rows(maps))


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a PNG so that it is there whole or not at all."""
    partial = path.with_suffix(".part")
    partial.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    launch.add_config_options(parser)
    args = parser.parse_args()
    cfg = launch.load_config(args.config, args.cfg_options)
    write_pictures(find_words(cfg, args.checkpoint), args.out)


if __name__ == "__main__":
    launch.run(main)
