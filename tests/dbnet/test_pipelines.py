"""The pipelines of DBNet's configs run on data of the tests."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_configs import (
    DECODER,
    load,
)
from mmengine.config import Config
from mmengine.registry import DATASETS


def write(folder: Path, names: list[str]) -> None:
    """One picture, 300 wide and 200 high, with a straight, a curved, an ignored and a crossed word,
    and annotation files of it that say different things of themselves."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    assert cv2.imwrite(str(folder / "a.png"), rng.integers(0, 255, (200, 300, 3), np.uint8))
    words = [
        ([40, 40, 140, 40, 140, 70, 40, 70], False),
        ([160, 60, 200, 40, 240, 60, 240, 90, 200, 70, 160, 90], False),
        ([40, 110, 140, 110, 140, 140, 40, 140], True),
        ([180, 120, 260, 150, 260, 120, 180, 150], False),
    ]
    instances = [
        {
            "polygon": polygon,
            "bbox": [
                min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])
            ],
            "bbox_label": 0,
            "ignore": ignored,
        }
        for polygon, ignored in words
    ]  # fmt: skip
    entry = {"img_path": "a.png", "height": 200, "width": 300, "instances": instances}
    for name in names:
        content = {
            "metainfo": {"dataset_type": "TextDetDataset", "task_name": "textdet", "note": name},
            "data_list": [entry],
        }
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def built(settings, folder: Path):
    """A dataset of a config with a folder in the place of each of its own."""
    settings = Config(settings.to_dict())
    for part in settings.get("datasets") or [settings]:
        part.data_root = str(folder)
    return DATASETS.build(settings)


TEST_SIZES = {  # of a picture 300 wide and 200 high
    "dbnet_resnet18_fpnc_1200e_icdar2015": (736, 1104),
    "dbnet_resnet50_fpnc_1200e_icdar2015": (1024, 1536),
    "dbnetpp_resnet50-dcnv2_fpnc_1200e_icdar2015": (1024, 1536),
    "dbnet_resnet18_fpnc_1200e_totaltext": (800, 1216),  # 1200 in whole 32 pixels
    "dbnet_resnet50_fpnc_1200e_ctw1500": (1024, 1536),
    "dbnetpp_resnet18-dcnv2_fpnc_1200e_msra-td500": (736, 1088),  # 1104: a half goes to the even
    DECODER: (736, 1104),
}


@pytest.mark.parametrize("name", TEST_SIZES)
def test_pipelines_run_on_annotated_pictures(tmp_path, name):
    cfg = load(name)
    write(tmp_path / "data", ["textdet_train.json", "textdet_test.json"])
    training = built(cfg.train_dataloader.dataset, tmp_path / "data")
    assert len(training) == (2 if "td500" in name else 1)
    np.random.seed(0)
    for _ in range(3):
        item = training[len(training) - 1]
        assert tuple(item["inputs"].shape) == (3, 640, 640)
        assert item["data_samples"].gt_instances.polygons

    testing = built(cfg.val_dataloader.dataset, tmp_path / "data")
    item = testing[0]
    sample = item["data_samples"]
    height, width = TEST_SIZES[name]
    assert tuple(item["inputs"].shape) == (3, height, width)
    assert sample.img_shape == (height, width)
    # What is found goes back to the picture, where the annotation has stayed.
    assert sample.scale_factor == pytest.approx((width / 300, height / 200))
    polygons = sample.gt_instances.polygons
    assert len(polygons) == 4
    assert polygons[1].tolist() == [160, 60, 200, 40, 240, 60, 240, 90, 200, 70, 160, 90]
    assert sample.gt_instances.ignored.tolist() == [False, False, True, False]
    assert cfg.test_dataloader.dataset.test_mode
