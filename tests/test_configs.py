"""Shipped configs, with data of the tests in the place of their own."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATA_SAMPLERS, DATASETS, DefaultScope

MIXED = ["craft_vgg16bn_25k_icdar2015", "craft_vgg16bn_25k_totaltext", "craft_resnet18_demo_weak"]


def annotated(folder: Path, name: str, grey: int, **metainfo) -> dict:
    """Config of a dataset of one image of a grey value, 30 pixels wide, with one word."""
    assert cv2.imwrite(str(folder / f"{name}.png"), np.full((20, 30, 3), grey, np.uint8))
    word = {"polygon": [2, 3, 12, 3, 12, 9, 2, 9], "text": "ab", "ignore": False}
    entry = {"img_path": f"{name}.png", "height": 20, "width": 30, "instances": [word]}
    content = {"metainfo": metainfo, "data_list": [entry]}
    (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return {
        "type": "CharTextDataset",
        "data_root": str(folder),
        "ann_file": f"{name}.json",
        "data_prefix": {"img_path": ""},
        "pipeline": [{"type": "LoadImageFromFile"}],
    }


@pytest.mark.parametrize("name", MIXED)
def test_mixed_annotation_files_may_differ_in_what_they_say_of_themselves(
    repository, tmp_path, name
):
    loader = Config.fromfile(repository / "configs" / "craft" / f"{name}.py").train_dataloader
    assert len(loader.dataset.dataset.datasets) == 2
    loader.dataset.dataset.datasets = [
        annotated(tmp_path, "first", 10),
        annotated(tmp_path, "second", 20, source="x"),
    ]
    with DefaultScope.overwrite_default_scope("mmocr"):
        dataset = DATASETS.build(loader.dataset)
        sampler = DATA_SAMPLERS.build(loader.sampler, default_args={"dataset": dataset, "seed": 0})
    greys = [int(dataset[key]["img"].max()) for key, _ in zip(sampler, range(12))]
    ratio = loader.sampler.ratio
    assert greys.count(10) == 12 * ratio[0] / sum(ratio)
    assert greys.count(20) == 12 * ratio[1] / sum(ratio)
