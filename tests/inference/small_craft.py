"""A small CRAFT with a refiner, whose normalisations do something."""

from __future__ import annotations

import copy

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

CRAFT = dict(
    type="CRAFT",
    data_preprocessor=dict(
        type="TextDetDataPreprocessor", mean=[0, 0, 0], std=[255, 255, 255], pad_size_divisor=32
    ),
    backbone=dict(
        type="mmdet.ResNet", depth=18, base_channels=4, out_indices=(0, 1, 2, 3), init_cfg=None
    ),
    neck=dict(
        type="CRAFTDecoder", in_channels=[4, 8, 16, 32], out_channels=[16, 8, 8, 4]
    ),
    det_head=dict(
        type="CRAFTHead",
        in_channels=4,
        module_loss=dict(type="CRAFTModuleLoss"),
        postprocessor=dict(type="CRAFTPostprocessor"),
        link_refiner=dict(type="LinkRefiner", in_channels=4),
    ),
)  # fmt: skip


def build(config: dict) -> nn.Module:
    """A model whose normalisations do something, in evaluation mode."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(copy.deepcopy(config))
    return lived_in(model)


def lived_in(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.track_running_stats:
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return model.eval()


def maps(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.det_head(model.extract_feat(inputs), None)
