"""Configs of datasets: each opens what the preparers write, for both kinds of recipes."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

PARTS = {
    "icdar2003": ["train", "test"],
    "icdar2013": ["train", "test"],
    "icdar2015": ["train", "test", "train900", "val"],
    "mlt2017": ["train", "val"],
    "art": ["train"],
    "totaltext": ["train", "test"],
    "ctw1500": ["train", "test"],
    "msra_td500": ["train", "test"],
    "hust_tr400": ["train"],
    "cocotext": ["train", "val"],
    "svt": ["train", "test"],
}
CHARS = [[2, 3, 7, 3, 7, 9, 2, 9], [7, 3, 12, 3, 12, 9, 7, 9]]


def load(repository, name):
    file = "msra_td500" if name == "hust_tr400" else name
    return Config.fromfile(repository / "configs" / "_base_" / "datasets" / f"{file}.py")


@pytest.mark.parametrize("name", PARTS)
def test_every_part_opens_in_both_kinds_of_pipelines(repository, tmp_path, name):
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30, 3), 9, np.uint8))
    word = {
        "polygon": [2, 3, 12, 3, 12, 9, 2, 9],
        "bbox": [2, 3, 12, 9],
        "bbox_label": 0,
        "ignore": False,
        "text": "ab",
        "chars": CHARS,
    }
    entry = {"img_path": "a.png", "height": 20, "width": 30, "instances": [word]}
    content = {"metainfo": {"task_name": "textdet"}, "data_list": [entry]}
    config = load(repository, name)
    found = [key for key in config if key.startswith(f"{name}_textdet_") and "root" not in key]
    assert found == [f"{name}_textdet_{part}" for part in PARTS[name]]
    for part in PARTS[name]:
        (tmp_path / f"textdet_{part}.json").write_text(json.dumps(content))
        settings = config[f"{name}_textdet_{part}"]
        assert settings.data_root == f"data/{name}"
        assert settings.get("test_mode", False) == (not part.startswith("train"))
        for loading in (
            dict(type="LoadCharAnnotations"),
            dict(type="LoadOCRAnnotations", with_polygon=True, with_bbox=True, with_label=True),
        ):
            pipeline = [dict(type="LoadImageFromFile"), loading]
            with DefaultScope.overwrite_default_scope("mmocr"):
                dataset = DATASETS.build(
                    settings.to_dict()
                    | dict(data_root=str(tmp_path), pipeline=pipeline, serialize_data=False)
                )
                sample = dataset[0]
            assert sample["img"].shape == (20, 30, 3)
            np.testing.assert_array_equal(np.ravel(sample["gt_polygons"][0]), word["polygon"])
            assert list(sample["gt_ignored"]) == [False]
            if "gt_chars" in sample:
                np.testing.assert_array_equal(sample["gt_chars"][0].reshape(2, 8), CHARS)


def test_synthtext_opens_its_index(repository):
    settings = load(repository, "synthtext").synthtext_textdet_train
    assert settings.to_dict() == {
        "type": "SynthTextDataset",
        "data_root": "data/synthtext",
        "index": "index",
        "pipeline": None,
    }
    assert DATASETS.get(settings.type) is not None


def test_every_config_says_how_its_data_are_made(repository):
    folder = repository / "configs" / "_base_" / "datasets"
    for name in (*PARTS, "synthtext"):
        file = "msra_td500" if name == "hust_tr400" else name
        lines = (folder / f"{file}.py").read_text(encoding="utf-8").splitlines()
        command = f"#   python tools/datasets/prepare.py {name} data/{name}"
        assert command in lines
