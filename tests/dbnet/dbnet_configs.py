"""The configs of DBNet, their models and what these are fed, for the tests beside this file."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

from mmtextplug import launch

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "dbnet"
NETWORKS = ["resnet18", "resnet18-dcnv2", "resnet50", "resnet50-dcnv2"]
ROOTS = {
    "icdar2015": "data/icdar2015",
    "totaltext": "data/totaltext",
    "ctw1500": "data/ctw1500",
    "msra-td500": "data/msra_td500",
}
PUBLISHED = {
    f"{method}_{network}_fpnc_1200e_{data}": (method, network, data)
    for method, network, data in product(["dbnet", "dbnetpp"], NETWORKS, ROOTS)
}
DECODER = "dbnet_vgg16bn_craft-decoder_1200e_icdar2015"
LIGHT = "dbnet_resnet18_generated-text"
LITE = "dbnet_efficientnet-lite0_icdar2015"
MMOCRS = {
    "dbnet_resnet18_fpnc_1200e_icdar2015": "dbnet/dbnet_resnet18_fpnc_1200e_icdar2015",
    "dbnet_resnet18_fpnc_1200e_totaltext": "dbnet/dbnet_resnet18_fpnc_1200e_totaltext",
    "dbnet_resnet50_fpnc_1200e_icdar2015": "dbnet/dbnet_resnet50_1200e_icdar2015",
    "dbnet_resnet50-dcnv2_fpnc_1200e_icdar2015": "dbnet/dbnet_resnet50-dcnv2_fpnc_1200e_icdar2015",
    "dbnetpp_resnet50_fpnc_1200e_icdar2015": "dbnetpp/dbnetpp_resnet50_fpnc_1200e_icdar2015",
    "dbnetpp_resnet50-dcnv2_fpnc_1200e_icdar2015": (
        "dbnetpp/dbnetpp_resnet50-dcnv2_fpnc_1200e_icdar2015"
    ),
}


@cache
def load(name: str) -> Config:
    """A config, not to be changed."""
    return launch.load_config(str(CONFIGS / f"{name}.py"))


def mmocrs(name: str) -> Config:
    """A config of MMOCR."""
    return Config.fromstring(f'_base_ = "mmocr::textdet/{name}.py"', ".py")


def plain(value):
    """A part of a config as a dict, without the scope that inheritance writes into it."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "_scope_"}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def build(name: str) -> torch.nn.Module:
    """The model of a config with fresh weights; nothing is downloaded."""
    torch.manual_seed(0)
    settings = Config(load(name).model.to_dict())
    settings.backbone.init_cfg = None
    return MODELS.build(settings)


def samples(count: int, side: int) -> list[TextDetDataSample]:
    """Images with one word each, in the middle."""
    near, far = side // 4, 3 * side // 4
    meta = {
        "img_shape": (side, side),
        "ori_shape": (side, side),
        "scale_factor": (1.0, 1.0),
        "img_path": "a.png",
    }
    made = []
    for _ in range(count):
        word = np.array([near, near, far, near, far, far, near, far], np.float32)
        sample = TextDetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            polygons=[word], ignored=torch.zeros(1, dtype=torch.bool)
        )
        made.append(sample)
    return made


def batch(model: torch.nn.Module, side: int) -> dict:
    """Two images through the preprocessor: a light word on a dark ground."""
    picture = torch.full((3, side, side), 30, dtype=torch.uint8)
    picture[:, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 220
    data = {"inputs": [picture, picture.clone()], "data_samples": samples(2, side)}
    return model.data_preprocessor(data, training=True)
