"""The tool that draws a dataset: what it counts, what it writes, which datasets it takes."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import mmtextplug  # noqa: F401 - before MMOCR, whose version ceilings it lifts

# isort: split
import torch
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

HEAD = """
default_scope = 'mmocr'
custom_imports = dict(imports=['mmtextplug'])
"""
CHARS = """
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadCharAnnotations'),
    {more}
    dict(type='PackCharInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeLongSide', long_side=128, magnification=2.0),
    dict(type='LoadCharAnnotations'),
    dict(type='PackCharInputs'),
]
data = dict(type='CharTextDataset', data_root='{root}', ann_file='train.json',
            data_prefix=dict(img_path=''))
train_dataloader = dict(
    dataset=dict(type='SeededDataset', dataset=dict(pipeline=pipeline, **data)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, test_mode=True, **data))
"""
WORDS_ONLY = """
train_dataloader = dict(dataset=dict(
    type='OCRDataset', data_root='{root}', ann_file='train.json', data_prefix=dict(img_path=''),
    pipeline=[
        dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),
        dict(type='LoadOCRAnnotations', with_polygon=True, with_bbox=True, with_label=True),
        dict(type='PackTextDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape')),
    ]))
"""
GENERATED = """
train_dataloader = dict(dataset=dict(
    type='GeneratedTextDataset', num_samples=5, size=64,
    pipeline=[dict(type='LoadCharAnnotations'), dict(type='PackCharInputs')]))
"""


def word(left: float, top: float, count: int = 0, **fields: object) -> dict:
    """A word 20 pixels wide for each of its characters; without characters 20 wide."""
    right, bottom = left + 20 * max(count, 1), top + 20
    chars = [
        [x, top, x + 20, top, x + 20, bottom, x, bottom]
        for x in (left + 20 * i for i in range(count))
    ]
    instance = {
        "polygon": [left, top, right, top, right, bottom, left, bottom],
        "bbox": [left, top, right, bottom],
        "bbox_label": 0,
        "ignore": False,
        "text": "x" * max(count, 1),
    }
    return instance | ({"chars": chars} if count else {}) | fields


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three images of 100x64 with 3 + 2 characters, an ignored and a word-level word."""
    lists = [
        [word(5, 5, 3), word(5, 35, ignore=True)],
        [word(10, 10, 2), word(60, 40)],
        [],
    ]
    entries = []
    for index, instances in enumerate(lists):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((64, 100, 3), 40 * index, np.uint8))
        entries.append(
            {"img_path": f"{index}.png", "height": 64, "width": 100, "instances": instances}
        )
    metainfo = {
        "dataset_type": "TextDetDataset",
        "task_name": "textdet",
        "category": [{"id": 0, "name": "text"}],
    }
    content = {"metainfo": metainfo, "data_list": entries}
    (tmp_path / "train.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    return importlib.import_module("browse_dataset")


@pytest.fixture
def browse(tool, root, monkeypatch, capsys):
    """Runs the tool on a config; returns its pictures by name, and its table."""

    def run(config: str, *flags: str) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        path = root / "config.py"
        path.write_text(HEAD + config)
        out = root / "out"
        monkeypatch.setattr(sys, "argv", ["browse", str(path), "--out", str(out), *flags])
        tool.main()
        table = re.findall(r"^  ([a-z ]+?) +([\d,]+)$", capsys.readouterr().out, re.MULTILINE)
        pictures = {p.name: cv2.imread(str(p)) for p in out.iterdir()}
        return pictures, {name: int(value.replace(",", "")) for name, value in table}

    return run


def test_characters(browse, root):
    pictures, table = browse(CHARS.format(root=root, more=""))
    assert table == {
        "words": 4,
        "ignored words": 1,
        "words without characters": 1,
        "characters": 5,
        "characters not drawable": 0,
    }
    assert sorted(pictures) == [f"train_00000{i}_{i}.png" for i in range(3)]
    # Enlarged to 420 pixels, three columns, two rows with titles.
    assert all(p.shape[1] == 3 * 420 + 8 for p in pictures.values())
    assert all(2 * 268 < p.shape[0] < 2 * 268 + 100 for p in pictures.values())


def test_where_things_are_drawn(browse, root):
    pictures, _ = browse(CHARS.format(root=root, more=""))
    picture = pictures["train_000000_0.png"]
    strip = (picture.shape[0] - 4) // 2 - 268
    row = picture[2 * strip + 268 + 4 :]

    def at(column: int, x: float, y: float) -> list[int]:
        return row[round(y * 4.2), 424 * column + round(x * 4.2)].tolist()

    # The image is black: half the colour of the score. Dark red (a score above 0.9) at a
    # character's centre, dark blue far from any; links between characters; no confidence in the
    # ignored word.
    np.testing.assert_allclose(at(0, 15, 15), [0, 0, 64], atol=28)
    np.testing.assert_allclose(at(0, 80, 50), [64, 0, 0], atol=2)
    np.testing.assert_allclose(at(1, 25, 15), [0, 0, 64], atol=28)
    np.testing.assert_allclose(at(1, 15, 45), [64, 0, 0], atol=2)
    np.testing.assert_allclose(at(2, 15, 45), [64, 0, 0], atol=2)
    np.testing.assert_allclose(at(2, 15, 15), [0, 0, 64], atol=2)


def test_maps_drawn_by_the_pipeline_are_taken(browse, root):
    more = "dict(type='GaussianCharLabels', stride=4),"
    pictures, table = browse(CHARS.format(root=root, more=more))
    assert table["characters"] == 5
    assert pictures["train_000001_1.png"].shape[1] == 3 * 420 + 8


def test_number_spreads_over_the_dataset(browse, root):
    pictures, table = browse(CHARS.format(root=root, more=""), "--number", "2")
    assert sorted(pictures) == ["train_000000_0.png", "train_000002_2.png"]
    assert table["words"] == 2


def test_words_of_a_test_pipeline_are_brought_to_its_input(browse, root):
    # 100x64 becomes 128x81, padded to 128x96.
    pictures, table = browse(CHARS.format(root=root, more=""), "--split", "val")
    assert table["characters"] == 5
    picture = pictures["val_000000_0.png"]
    factor = 420 / 128
    strip = (picture.shape[0] - 4) // 2 - int(96 * factor)
    region = picture[2 * strip + int(96 * factor) + 4 :, :420]
    x, y = 15 * 1.28 * factor, 15 * 81 / 64 * factor
    np.testing.assert_allclose(region[round(y), round(x)], [0, 0, 64], atol=28)


def test_to_input_pixels_leaves_its_argument_alone(tool):
    sample = TextDetDataSample(metainfo={"scale_factor": (2.0, 3.0)})
    instances = InstanceData()
    instances.polygons = [np.array([1, 1, 2, 1, 2, 2], np.float32), np.zeros(8, np.float32)]
    instances.chars = [np.ones((1, 4, 2), np.float32), None]
    sample.gt_instances = instances
    scaled = tool.to_input_pixels(sample).gt_instances
    np.testing.assert_array_equal(scaled.polygons[0], [[2, 3], [4, 3], [4, 6]])
    np.testing.assert_array_equal(scaled.chars[0][0, 0], [2, 3])
    assert scaled.chars[1] is None
    np.testing.assert_array_equal(sample.gt_instances.polygons[0], [1, 1, 2, 1, 2, 2])
    np.testing.assert_array_equal(sample.gt_instances.chars[0], np.ones((1, 4, 2)))


def test_mmocr_dataset_without_characters(browse, root):
    pictures, table = browse(WORDS_ONLY.format(root=root))
    assert sorted(pictures) == [f"train_00000{i}_{i}.png" for i in range(3)]
    assert table["words"] == 4
    assert table["ignored words"] == 1
    assert table["words without characters"] == 3
    assert table["characters"] == 0
    assert {p.shape[1] for p in pictures.values()} == {420}


DB_LOSS = "model = dict(det_head=dict(module_loss=dict(type='DifferentiableBinarizationLoss')))"


@pytest.mark.parametrize("more", ["", "dict(type='DifferentiableBinarizationLabels'),"])
def test_maps_of_differentiable_binarization(browse, root, more):
    pictures, table = browse(CHARS.format(root=root, more=more) + "\n" + DB_LOSS + "\n")
    assert set(table) == {"words", "ignored words", "small words", "unusable words"}
    assert table["words"] == 4
    picture = pictures["train_000000_0.png"]
    assert picture.shape[1] == 3 * 420 + 8
    strip = (picture.shape[0] - 4) // 2 - 268

    def at(row: int, column: int, x: float, y: float) -> np.ndarray:
        top = strip + row * (268 + 4 + strip)
        return picture[top + round(y * 4.2), 424 * column + round(x * 4.2)]

    # The image is black: half the colour of the score.
    word, ignored, nowhere = (35, 15), (15, 45), (90, 55)
    np.testing.assert_allclose(at(0, 1, *word), [0, 0, 64], atol=2)
    np.testing.assert_allclose(at(0, 1, *nowhere), [64, 0, 0], atol=2)
    np.testing.assert_allclose(at(1, 1, *nowhere), [0, 0, 64], atol=2)
    np.testing.assert_allclose(at(1, 1, *ignored), [64, 0, 0], atol=2)
    np.testing.assert_allclose(at(1, 2, *word), [0, 0, 64], atol=2)
    np.testing.assert_allclose(at(1, 2, *ignored), [64, 0, 0], atol=2)


def test_centre_lines_of_lines(browse, root):
    loss = "model = dict(det_head=dict(module_loss=dict(type='LinkRefinerModuleLoss')))\n"
    entries = json.loads((root / "train.json").read_text())
    crossed = [60, 40, 92, 40, 70, 56, 84, 56]
    entries["data_list"][0]["instances"].append({"polygon": crossed, "ignore": False})
    (root / "train.json").write_text(json.dumps(entries))
    pictures, table = browse(loss + CHARS.format(root=root, more=""))
    assert table == {"lines": 5, "ignored lines": 1, "unpaired lines": 1}
    picture = pictures["train_000000_0.png"]
    assert picture.shape[1] == 2 * 420 + 4
    row = picture[-268:]

    def at(column: int, x: float, y: float) -> list[int]:
        return row[round(y * 4.2), 424 * column + round(x * 4.2)].tolist()

    # Dark red on the line and where something is trained; dark blue elsewhere.
    red, blue = [0, 0, 64], [64, 0, 0]
    np.testing.assert_allclose(at(0, 35, 15), red, atol=28)
    np.testing.assert_allclose(at(0, 35, 8), blue, atol=2)
    np.testing.assert_allclose(at(0, 64, 44), blue, atol=2)
    np.testing.assert_allclose(at(1, 35, 8), red, atol=28)
    np.testing.assert_allclose(at(1, 15, 45), blue, atol=2)  # ignored
    np.testing.assert_allclose(at(1, 76, 44), blue, atol=2)  # unpaired


def test_generated_text(browse):
    pictures, table = browse(GENERATED, "--number", "3")
    assert sorted(pictures) == [f"train_00000{i}_{i}.png" for i in (0, 2, 4)]
    assert table["characters"] >= table["words"] > 0


def test_degenerate_characters_are_counted(tool):
    sample = TextDetDataSample(metainfo={"img_shape": (32, 32), "img_path": "x.png"})
    square = np.array([[4, 4], [20, 4], [20, 20], [4, 20]], np.float32)
    instances = InstanceData()
    instances.polygons = [square.reshape(-1)]
    instances.ignored = torch.tensor([False])
    instances.chars = [np.stack([square, square[::-1], np.full((4, 2), np.nan, np.float32)])]
    instances.char_confidence = np.ones(1, np.float32)
    sample.gt_instances = instances
    inputs = torch.zeros(3, 32, 32, dtype=torch.uint8)
    maps = tool.generate_maps(tool.CRAFTModuleLoss(), inputs, sample, 2)
    counts = tool.count_words(sample, maps)
    assert counts["characters"] == 3
    assert counts["characters not drawable"] == 2
    assert tool.draw_sample(inputs, sample, maps).shape[1] == 3 * 420 + 8


@pytest.mark.parametrize(
    ("config", "flags", "message"),
    [
        (GENERATED, ["--split", "val"], "no val_dataloader.dataset; choose another --split"),
        (
            WORDS_ONLY.replace("OCRDataset", "NoSuchDataset"),
            [],
            "'NoSuchDataset' is not registered",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(browse, root, config, flags, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        browse(config.replace("{root}", str(root)), *flags)
