"""Small detectors of every kind that can be exported, with random weights and statistics."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from mmtextplug.inference import OFFICIAL

NEWEST_OPSET = 18 if hasattr(torch, "compile") else 17  # PyTorch 1 knows no later one
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "dbnet"
RESNET = dict(
    type="mmdet.ResNet", depth=18, base_channels=4, num_stages=2, strides=(1, 2), dilations=(1, 1),
    out_indices=(0, 1),
)  # fmt: skip
PIPELINE = [
    dict(type="ResizeLongSide", long_side=96, magnification=1.0),
    # MMCV tells a tuple from a list.
    dict(type="mmdet.Resize", scale=(96, 64), keep_ratio=True),
    dict(type="PackCharInputs"),
]


def craft(refiner: bool = False) -> Config:
    """A CRAFT of a light backbone, with or without link refiner."""
    head = dict(
        type="CRAFTHead",
        in_channels=8,
        module_loss=dict(type="CRAFTModuleLoss"),
        postprocessor=dict(type="CRAFTPostprocessor", text_threshold=0.6),
    )
    if refiner:
        head["link_refiner"] = dict(type="LinkRefiner", in_channels=8)
    model = dict(
        type="CRAFT",
        data_preprocessor=OFFICIAL["model"]["data_preprocessor"],
        backbone=RESNET,
        neck=dict(type="CRAFTDecoder", in_channels=[4, 8], out_channels=[8, 8]),
        det_head=head,
    )
    return _config(model)


def craft_vgg() -> Config:
    """The official architecture."""
    return _config(OFFICIAL["model"])


def dbnet(method: str = "dbnet", **postprocessor: object) -> Config:
    """A narrow DBNet or DBNet++ of this package."""
    model = Config.fromfile(str(CONFIGS / "_base_" / f"{method}_resnet18_fpnc.py")).model
    model.backbone.update(base_channels=4, init_cfg=None)
    model.neck.update(in_channels=[4, 8, 16, 32], lateral_channels=16, out_channels=4)
    model.det_head.in_channels = 16
    model.det_head.postprocessor.update(postprocessor)
    return _config(model.to_dict())


def mmocr_dbnet() -> Config:
    """The same with the head and the post-processor of MMOCR."""
    config = dbnet()
    config.model.det_head = dict(
        type="DBHead",
        in_channels=16,
        module_loss=dict(type="DBModuleLoss"),
        postprocessor=dict(type="DBPostprocessor", text_repr_type="quad"),
    )
    return config


def deformable() -> Config:
    """A DBNet with deformable convolutions."""
    config = dbnet("dbnet")
    config.model.backbone.update(
        type="DeformableResNet",
        dcn=dict(type="DCNv2", deform_groups=1),
        stage_with_dcn=(False, False, True, True),
    )
    return config


def _config(model: dict) -> Config:
    return Config(
        dict(default_scope="mmocr", model=copy.deepcopy(model), test_pipeline=list(PIPELINE))
    )


def build(config: Config, seed: int = 0) -> nn.Module:
    """A model in evaluation mode; the statistics of its batch normalisations are no identity."""
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(config.model).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.5)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.5)
    return model


def maps(model: nn.Module, inputs: Tensor) -> Tensor:
    """What the network gives to its post-processor."""
    with torch.no_grad():
        return model.det_head(model.extract_feat(inputs), None)
