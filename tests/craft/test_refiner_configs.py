"""The shipped recipes of the link refiner: built, and one step on small data."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

CONFIGS = sorted(
    path.stem
    for path in (Path(__file__).resolve().parents[2] / "configs" / "craft").glob("*refiner*.py")
)


def test_there_are_three():
    assert CONFIGS == [
        "craft_resnet18_refiner_generated-lines",
        "craft_vgg16bn_refiner_10k_ctw1500",
        "craft_vgg16bn_refiner_generated-lines",
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_only_the_refiner_learns_from_lines(repository, name):
    cfg = Config.fromfile(repository / "configs" / "craft" / f"{name}.py")
    lines = Config.fromfile(repository / "configs/_base_/datasets/generated_lines.py")
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(cfg.model)
        if cfg.train_dataloader.dataset.dataset.type != "GeneratedTextDataset":
            # Its own pipeline after the loading of files, on generated pictures.
            steps = cfg.train_dataloader.dataset.dataset.pipeline[1:]
            steps[1].size = 256
            cfg.train_dataloader.dataset.dataset = lines.generated_lines_train
            cfg.train_dataloader.dataset.dataset.pipeline = steps
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    samples = [dataset[0], dataset[1]]
    model.train()
    batch = {key: [sample[key] for sample in samples] for key in ("inputs", "data_samples")}
    data = model.data_preprocessor(batch, True)
    with torch.no_grad():
        losses = model(**data, mode="loss")
    assert losses["loss_link"].isfinite()
    assert losses["loss_link"] > 0
    assert {n.split(".")[1] for n, p in model.named_parameters() if p.requires_grad} == {
        "link_refiner"
    }


def test_ctw1500_is_found_where_the_recipe_looks(repository, tmp_path):
    """Every loader, on a picture and a line in the place of the data set."""
    cfg = Config.fromfile(repository / "configs/craft/craft_vgg16bn_refiner_10k_ctw1500.py")
    polygon = [5, 20, 30, 12, 55, 20, 55, 34, 30, 26, 5, 34]
    line = {"polygon": polygon, "text": "a line", "ignore": False}
    entry = {"img_path": "imgs/a.jpg", "height": 48, "width": 64, "instances": [line]}
    (tmp_path / "imgs").mkdir()
    cv2.imwrite(str(tmp_path / "imgs" / "a.jpg"), np.full((48, 64, 3), 90, np.uint8))
    for name in ("train", "test"):
        content = {"metainfo": {}, "data_list": [entry]}
        (tmp_path / f"textdet_{name}.json").write_text(json.dumps(content))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = loader.dataset
        (dataset.get("dataset") or dataset).data_root = str(tmp_path)
        with DefaultScope.overwrite_default_scope("mmocr"):
            sample = DATASETS.build(dataset)[0]["data_samples"]
        assert len(sample.gt_instances.polygons[0]) == 12
        assert sample.gt_instances.chars == [None]
