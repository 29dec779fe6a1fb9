"""A detector in an ONNX file finds the words that its model finds in PyTorch."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmtextplug.inference import TextDetector
from mmtextplug.inference.runner import Limits

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from mmtextplug.inference.onnx_export import export_onnx

CONFIG = dict(
    default_scope="mmocr",
    model=dict(
        type="CRAFT",
        data_preprocessor=dict(
            type="TextDetDataPreprocessor", mean=[0, 0, 0], std=[255, 255, 255],
            bgr_to_rgb=False, pad_size_divisor=32,
        ),
        backbone=dict(type="ColourBackbone"),
        det_head=dict(
            type="CRAFTHead", in_channels=4, module_loss=dict(type="CRAFTModuleLoss"),
            postprocessor=dict(type="CRAFTPostprocessor"),
        ),
    ),
    test_pipeline=[
        dict(type="ResizeLongSide", long_side=2000, magnification=1.0),
        dict(type="PackCharInputs"),
    ],
)  # fmt: skip


@MODELS.register_module(force=True)
class ColourBackbone(nn.Module):
    """Blue and green at half the size, and nothing twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 2, 2, bias=False)
        self.norm = nn.BatchNorm2d(4, eps=0)
        self.conv.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])[
            ..., None, None
        ].repeat(1, 1, 2, 2)
        self.conv.weight.data /= 4

    def forward(self, x):
        return self.norm(self.conv(x))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """Its head passes blue and green on, to the last bit."""
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(Config(copy.deepcopy(CONFIG)).model).eval()
    for layer in model.det_head.conv_cls:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
            middle = layer.kernel_size[0] // 2
            for channel in range(2):
                layer.weight.data[channel, channel, middle, middle] = 1
    return model


@pytest.fixture(scope="module")
def file(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "painted.onnx"
    export_onnx(model, path, Config(copy.deepcopy(CONFIG)))
    return path


def page(height: int, width: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for top in range(20, height - 30, 60):
        for left in range(20, width - 150, 170):
            cv2.rectangle(image, (left, top), (left + 96, top + 16), (0, 255, 0), -1)
            for x in range(left, left + 97, 24):
                cv2.circle(image, (x, top + 8), 10, (255, 0, 0), -1)
    return image


def found(detector: TextDetector, images: list[np.ndarray], **kwargs) -> list:
    return [
        sorted(np.round(polygon, 3).tolist() for polygon in detection.polygons)
        for detection in detector.detect(images, **kwargs)
    ]


def torch_detector(model: nn.Module) -> TextDetector:
    pipeline = Config(copy.deepcopy(CONFIG)).test_pipeline
    return TextDetector(copy.deepcopy(model), pipeline, limits=Limits("float32"))


def test_words_of_both_are_equal_alone_in_batches_and_in_tiles(model, file):
    images = [page(300, 500), page(300, 490), page(1100, 1200)]
    expected = found(torch_detector(model), images)
    assert [len(words) for words in expected] == [10, 10, 126]
    assert found(TextDetector.from_onnx(file), images) == expected
    assert found(TextDetector.from_onnx(file), images, batch_size=2) == expected
    tiled = TextDetector.from_onnx(file, max_memory=30)
    assert tiled.runner.max_pixels < 1100 * 1200
    assert found(tiled, images) == expected


def test_settings_of_the_search_for_words_are_free(file):
    detector = TextDetector.from_onnx(file, chars=True, text_threshold=0.6, long_side=250)
    (detection,) = detector.detect([page(300, 500)])
    assert detector.precision == "float32"
    assert detection.score_maps["region"].shape == (75, 125)
    assert len(detection.polygons) == len(detection.chars) == 10


def infer_tool(monkeypatch):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.syspath_prepend(str(root / "tools"))
    spec = importlib.util.spec_from_file_location("infer_onnx_tool", root / "tools" / "infer.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_tool_takes_the_file(file, tmp_path, monkeypatch, capsys):
    tool = infer_tool(monkeypatch)
    cv2.imwrite(str(tmp_path / "page.png"), page(300, 500))
    command = ["infer.py", str(tmp_path / "page.png"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", [*command, "--onnx", str(file), "--device", "cpu"])
    assert tool.main() == 0
    assert "1 photos, 10 words" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out" / "page.json").read_text())["words"]) == 10
    monkeypatch.setattr("sys.argv", [*command, "--onnx", str(file), "--config", "x.py"])
    with pytest.raises(ValueError, match=r"--config: the file of --onnx has its own"):
        tool.main()


@pytest.mark.parametrize(
    ("options", "device"),
    [([], "cuda"), (["--onnx", "x"], "cpu"), (["--device", "cuda:1"], "cuda:1")],
)
def test_a_file_runs_on_the_cpu_unless_told(options, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert infer_tool(monkeypatch).parse_args(["x.jpg", "--out", "o", *options]).device == device
