"""The tool that writes detectors as ONNX files."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx_models import NEWEST_OPSET

from mmtextplug import launch
from mmtextplug.craft.link_refiner import LinkRefiner
from mmtextplug.inference import TextDetector
from mmtextplug.inference.onnx_network import OnnxNetwork

CONFIG = """
custom_imports = dict(imports=["mmtextplug"])
default_scope = "mmocr"
model = dict(
    type="CRAFT",
    data_preprocessor=dict(
        type="TextDetDataPreprocessor", mean=[110, 115, 120], std=[50, 55, 60], pad_size_divisor=32
    ),
    backbone=dict(
        type="mmdet.ResNet", depth=18, base_channels=4, num_stages=2, strides=(1, 2),
        dilations=(1, 1), out_indices=(0, 1),
    ),
    neck=dict(type="CRAFTDecoder", in_channels=[4, 8], out_channels=[8, 8]),
    det_head=dict(
        type="CRAFTHead",
        in_channels=8,
        module_loss=dict(type="CRAFTModuleLoss"),
        postprocessor=dict(type="CRAFTPostprocessor", text_threshold=0.6),
    ),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeLongSide", long_side=96, magnification=1.0),
    dict(type="PackCharInputs"),
]
"""


@pytest.fixture
def export(repository, monkeypatch):
    """The tool on its command line; returns its exit status."""
    monkeypatch.syspath_prepend(str(repository / "tools"))
    tool = importlib.import_module("export_onnx")

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["export_onnx.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            launch.run(tool.main)
        return ended.value.code

    return run


@pytest.fixture
def craft(tmp_path) -> tuple[Path, Path]:
    """A config and its checkpoint."""
    (tmp_path / "craft.py").write_text(CONFIG)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(Config.fromfile(str(tmp_path / "craft.py")).model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "craft.pth")
    return tmp_path / "craft.py", tmp_path / "craft.pth"


@pytest.fixture
def refiner(tmp_path) -> Path:
    torch.manual_seed(1)
    state = {f"det_head.link_refiner.{k}": v for k, v in LinkRefiner(8).state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "refiner.pth")
    return tmp_path / "refiner.pth"


def maps(config: Path, checkpoint: Path, inputs: torch.Tensor, **kwargs) -> torch.Tensor:
    model = TextDetector.from_config(config, checkpoint, precision="float32", **kwargs).model
    with torch.no_grad():
        return model.det_head(model.extract_feat(inputs))


def test_a_checkpoint_is_written_and_described(tmp_path, export, craft, capsys):
    out = tmp_path / "detector.onnx"
    assert export(*craft, "--out", out) == 0
    shown = capsys.readouterr().out
    assert hashlib.sha256(out.read_bytes()).hexdigest() in shown
    assert f"{out}: {out.stat().st_size / 1e6:.1f} MB" in shown
    assert "multiples of 32; opset 17" in shown
    (difference,) = re.findall(r"differ by (\S+) at most, at \d+x3x\d+x\d+ and", shown)
    assert 0 <= float(difference) < 1e-4
    inputs = torch.randn(1, 3, 64, 160)
    network = OnnxNetwork(out)
    torch.testing.assert_close(network(inputs), maps(*craft, inputs), atol=1e-4, rtol=1e-3)
    assert network.config.model.det_head.postprocessor.text_threshold == 0.6
    assert [step.type for step in network.config.test_pipeline] == [
        "ResizeLongSide", "PackCharInputs",
    ]  # fmt: skip


def test_a_refiner_is_written_with_its_craft(tmp_path, export, craft, refiner):
    out = tmp_path / "lines.onnx"
    assert export(*craft, "--refine", refiner, "--out", out, "--opset", NEWEST_OPSET) == 0
    assert onnx.load(out).opset_import[0].version == NEWEST_OPSET
    network = OnnxNetwork(out)
    inputs = torch.randn(2, 3, 32, 96)
    expected = maps(*craft, inputs, refiner=refiner)
    assert expected.shape == (2, 3, 16, 48)
    torch.testing.assert_close(network(inputs), expected, atol=1e-4, rtol=1e-3)
    # Lines are outlined, as by tools/infer.py --refine.
    assert network.config.model.det_head.postprocessor.text_repr_type == "poly"
    assert network.config.model.det_head.link_refiner.in_channels == 8


def test_the_official_craft_needs_no_names(tmp_path, export, monkeypatch, capsys):
    asked = {}

    def official(config, checkpoint=None, **kwargs):
        asked.update(config=config, checkpoint=checkpoint)
        raise ValueError("enough")

    monkeypatch.setattr(TextDetector, "from_config", official)
    assert export("--out", tmp_path / "craft.onnx") == 1
    assert asked["config"].model.backbone.type == "CRAFTVGG16BN"
    assert asked["checkpoint"] is None
    assert capsys.readouterr().err == "export_onnx.py: error: enough\n"


@pytest.mark.parametrize("where", ["missing/a.onnx", "."])
def test_the_place_is_looked_at_first(tmp_path, export, capsys, where):
    assert export("no.py", "no.pth", "--out", tmp_path / where) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "name a file in a folder that is there" in line


def test_what_cannot_be_exported_leaves_one_line_and_no_file(tmp_path, export, craft, capsys):
    config, checkpoint = craft
    text = CONFIG.replace("base_channels=4,", "base_channels=4, init_cfg=None,")
    config.write_text(
        text.replace('"mmdet.ResNet"', '"DeformableResNet"').replace(
            "out_indices=(0, 1),",
            "out_indices=(0, 1), dcn=dict(type='DCNv2', deform_groups=1), "
            "stage_with_dcn=(False, True),",
        )
    )
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(Config.fromfile(str(config)).model)
    torch.save(model.state_dict(), checkpoint)
    assert export(config, checkpoint, "--out", tmp_path / "a.onnx") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"export_onnx.py: error: {config}: 2 deformable convolutions")
    assert not list(tmp_path.glob("*.onnx*"))


def test_a_checkpoint_with_a_nan_is_not_written(tmp_path, export, craft, capsys):
    config, checkpoint = craft
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["det_head.conv_cls.0.bias"][0] = np.nan
    torch.save(state, checkpoint)
    assert export(config, checkpoint, "--out", tmp_path / "a.onnx") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "differs from PyTorch by nan" in line
    assert not list(tmp_path.glob("*.onnx*"))


def test_what_is_not_installed_is_said_before_anything_is_read(
    tmp_path, export, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export("no.py", "no.pth", "--out", tmp_path / "a.onnx") == 1
    assert "pip install 'mmtextplug[onnx]'" in capsys.readouterr().err
