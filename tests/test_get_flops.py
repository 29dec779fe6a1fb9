"""Multiply-adds: by hand for small networks, and by hooks, which know nothing of tracing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

import mmtextplug  # noqa: F401

# isort: split
from mmengine.registry import MODELS, init_default_scope

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tool():
    folder = str(ROOT / "tools/analysis")
    sys.path.insert(0, folder)
    try:
        import get_flops
    finally:
        sys.path.remove(folder)
    return get_flops


def build(config: str, **options) -> nn.Module:
    cfg = Config.fromfile(ROOT / "configs" / config)
    cfg.merge_from_dict(options)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    return MODELS.build(cfg.model).eval()


def by_hooks(model: nn.Module, size: tuple[int, int], device: str = "meta") -> dict[str, int]:
    """Multiply-adds of each part, from the shapes that its convolutions see."""
    model = model.to(device)
    macs: dict[str, int] = {}

    def hook(name):
        def add(module, inputs, output):
            kernel = module.weight[0, 0].numel()
            # An output sums over a window of the input; transposed, an input spreads into one.
            transposed = isinstance(module, nn.ConvTranspose2d)
            pixels = inputs[0] if transposed else output
            pairs = module.in_channels * module.out_channels // module.groups
            count = len(pixels) * pixels.shape[2] * pixels.shape[3] * pairs * kernel
            macs[name] = macs.get(name, 0) + count

        return add

    handles = [
        module.register_forward_hook(hook(name.split(".")[0]))
        for name, module in model.named_modules()
        if hasattr(module, "kernel_size") and hasattr(module, "weight")
    ]
    with torch.no_grad():
        model(torch.empty(1, 3, *size, device=device), mode="tensor")
    for handle in handles:
        handle.remove()
    return macs


def macs_of(parts) -> dict[str, int]:
    return {part.name: part.macs for part in parts if part.macs}


class Small(BaseModel):
    """Of every kind that counts, and of some that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 16x24: 384 * 8 * 3 * 9
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),  # 384 * 8 * 2 * 9
            nn.MaxPool2d(2),
        )
        self.neck = nn.ConvTranspose2d(8, 4, 2, stride=2)  # from 8x12: 96 * 8 * 4 * 4
        self.det_head = nn.Linear(4, 5)  # at 16x24: 384 * 4 * 5
        self.training_only = nn.Conv2d(4, 4, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        features = self.neck(self.backbone(inputs))
        features = nn.functional.interpolate(features, scale_factor=1.0)
        return self.det_head(features.permute(0, 2, 3, 1))


def test_a_small_network_by_hand(tool):
    parts, rois = tool.count(Small(), (32, 48))
    assert rois == 0
    assert parts == [
        tool.Part("backbone", 8 * 3 * 9 + 8 + 2 * 8 + 8 * 2 * 9, 384 * 8 * (3 + 2) * 9),
        tool.Part("neck", 8 * 4 * 4 + 4, 96 * 8 * 4 * 4),
        tool.Part("det_head", 4 * 5 + 5, 384 * 4 * 5),
        tool.Part("training_only", 4 * 4 + 4, 0),
    ]


def test_craft_as_published_at_1280(tool):
    model = build("craft/craft_vgg16bn_general.py")
    # Convolutions alone: a quarter of the pixels is a quarter of the work, for the test too.
    parts, _ = tool.count(model, (368, 640))
    # The published file has 20,780,790 numbers, statistics and counters of BatchNorm among them.
    buffers = sum(buffer.numel() for name, buffer in model.det_head.named_buffers())
    buffers += sum(b.numel() for part in (model.backbone, model.neck) for b in part.buffers())
    assert sum(part.params for part in parts) + buffers == 20_780_790
    quarter = macs_of(parts)
    assert {name: 4 * macs for name, macs in quarter.items()} == by_hooks(model, (736, 1280))


def test_the_refiner_is_a_part_of_its_own(tool):
    options = {"model.backbone.base_channels": 8, "model.neck.in_channels": [8, 16, 32]}
    config = "craft/craft_resnet18_refiner_generated-lines.py"
    model = build(config, **options)
    parts, _ = tool.count(model, (64, 96))
    found = macs_of(parts)
    refiner = found.pop("det_head.link_refiner")
    assert refiner > 0
    found["det_head"] += refiner
    assert found == by_hooks(model, (64, 96))
    own = {part.name: part.params for part in parts}
    link = model.det_head.link_refiner
    assert own["det_head.link_refiner"] == sum(p.numel() for p in link.parameters())
    assert sum(own.values()) == sum(p.numel() for p in model.parameters())


def test_deformable_convolutions_count_as_convolutions_of_their_size(tool):
    pytest.importorskip("mmcv.ops")
    model = build("dbnet/dbnet_resnet18-dcnv2_fpnc_1200e_icdar2015.py")
    parts, _ = tool.count(model, (64, 96))
    assert any("ModulatedDeformConv2d" in type(module).__name__ for module in model.modules())
    assert macs_of(parts) == by_hooks(model, (64, 96), "cpu")


def test_two_stages_take_the_proposals_of_the_config(tool):
    config = "faster_rcnn/faster-rcnn_r18_fpn_s-ohem_generated-text.py"
    few, many = (
        tool.count(build(config, **{"model.test_cfg.rpn.max_per_img": number}), (64, 64))
        for number in (10, 30)
    )
    assert (few[1], many[1]) == (10, 30)
    few, many = macs_of(few[0]), macs_of(many[0])
    assert many.pop("roi_head.bbox_head") == 3 * few.pop("roi_head.bbox_head") > 0
    assert few == many
    assert set(few) == {"backbone", "neck", "rpn_head"}


def test_what_cannot_be_traced_is_said(tool):
    class Broken(BaseModel):
        def forward(self, inputs, data_samples=None, mode="tensor"):
            raise RuntimeError("no such mode\nand more")

    with pytest.raises(ValueError, match=r"^Broken cannot be traced: no such mode$"):
        tool.count(Broken(), (32, 32))


def run(tool, monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["get_flops.py", *arguments])
    tool.main()


def test_the_tool_pads_and_prints(tool, monkeypatch, capsys):
    config = str(ROOT / "configs/craft/craft_resnet18_demo.py")
    run(tool, monkeypatch, config, "--shape", "60", "33")
    printed = capsys.readouterr().out
    assert "60 x 33 (height x width), padded to 64 x 64" in printed
    assert "100.0 %" in printed
    run(tool, monkeypatch, config, "--shape", "64")
    assert "64 x 64 (height x width)\n" in capsys.readouterr().out


@pytest.mark.parametrize("shape", [["0"], ["1", "2", "3"], ["-5", "5"]])
def test_sizes_that_are_none(tool, monkeypatch, shape):
    config = str(ROOT / "configs/craft/craft_resnet18_demo.py")
    with pytest.raises(ValueError, match="--shape takes height and width"):
        run(tool, monkeypatch, config, "--shape", *shape)


def test_shares_add_up(tool):
    lines = tool.table([tool.Part("a", 1000, 1), tool.Part("b", 0, 3)])
    assert lines[1].split() == ["a", "1,000", "0.000", "G", "25.0", "%"]
    assert lines[-1].split() == ["all", "1,000", "0.000", "G", "100.0", "%"]
    assert tool.table([])[-1].split() == ["all", "0", "0.000", "G", "0.0", "%"]
