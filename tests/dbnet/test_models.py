"""Every model of DBNet's configs builds, trains a step and predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dbnet_configs import (
    DECODER,
    LIGHT,
    LITE,
    NETWORKS,
    batch,
    build,
    load,
    mmocrs,
)
from mmengine.registry import DATASETS, MODELS
from mmengine.runner.checkpoint import load_state_dict

MODELS_BUILT = [f"{m}_{n}_fpnc_1200e_totaltext" for m in ("dbnet", "dbnetpp") for n in NETWORKS]


@pytest.mark.parametrize("name", [*MODELS_BUILT, DECODER, LIGHT, LITE])
def test_every_model_trains_a_step_and_predicts(name):
    model = build(name)
    data = batch(model, 64)
    losses = model(**data, mode="loss")
    assert {"loss_prob", "loss_thr", "loss_db"} <= set(losses)
    loss, _ = model.parse_losses(losses)
    assert 0 < loss.item() < 30
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert idle == []
    deformable = {n.rpartition("conv2")[0] for n, _ in model.named_parameters() if "offset" in n}
    blocks = {"resnet18-dcnv2": 6, "resnet50-dcnv2": 13}.get(name.split("_")[1], 0)
    assert len(deformable) == blocks  # stages 2 to 4 have 2 + 2 + 2 or 4 + 6 + 3 blocks

    model.eval()
    model.det_head.postprocessor.keep_score_maps = True
    with torch.no_grad():
        assert model(data["inputs"], mode="tensor").shape == (2, 2, 64, 64)
        found = model(data["inputs"], data["data_samples"], mode="predict")
    for sample in found:
        assert sample.pred_score_maps.data.shape == (3, 64, 64)
        assert len(sample.pred_instances.polygons) == len(sample.pred_instances.scores)


def test_weights_of_torchvision_and_of_mmocr_fit():
    """Names and shapes: MMOCR's DBNet is ours; a deformable ResNet-18 adds its offsets alone."""

    def shapes(model):
        return {name: tuple(value.shape) for name, value in model.state_dict().items()}

    theirs = mmocrs("dbnet/_base_dbnet_resnet18_fpnc").model
    theirs.backbone.init_cfg = None
    ours = shapes(build("dbnet_resnet18_fpnc_1200e_icdar2015"))
    assert ours == shapes(MODELS.build(theirs))
    deformable = shapes(build("dbnet_resnet18-dcnv2_fpnc_1200e_icdar2015"))
    assert set(ours) < set(deformable)
    assert {name for name in set(deformable) - set(ours) if "conv_offset" not in name} == set()
    assert {name: deformable[name] for name in ours} == ours


def test_the_head_on_crafts_decoder_takes_over_crafts_official_weights():
    model = build(DECODER)
    backbone, neck = model.state_dict(), model.neck.blocks[3][3].weight
    official = {
        "module.basenet.slice1.0.weight": torch.ones(backbone["backbone.features.0.weight"].shape),
        "module.upconv4.conv.3.weight": torch.full(neck.shape, 2.0),
        "module.conv_cls.8.weight": torch.ones(2, 16, 1, 1),
    }
    wrapper = torch.nn.ModuleDict({"module": model})
    load_state_dict(wrapper, official, strict=False, logger="silent")
    assert (model.backbone.features[0].weight == 1).all()
    assert (neck == 2).all()


def test_the_light_one_learns_one_picture():
    model = build(LIGHT)
    data = batch(model, 64)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for _ in range(50):
        loss, _ = model.parse_losses(model(**data, mode="loss"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    model.eval()
    with torch.no_grad():
        found = model(**data, mode="predict")
    (polygon,) = found[0].pred_instances.polygons
    corners = polygon.reshape(4, 2)
    assert np.abs(corners.min(0) - 16).max() < 4
    assert np.abs(corners.max(0) - 48).max() < 4


def test_the_light_one_needs_no_data_and_holds_its_test_pictures_out():
    cfg = load(LIGHT)
    train, val = cfg.train_dataloader, cfg.val_dataloader
    assert train.dataset.type == val.dataset.type == "GeneratedTextDataset"
    assert train.dataset.seed != val.dataset.seed
    assert train.dataset.num_samples == train.batch_size * cfg.train_cfg.max_iters
    assert cfg.val_evaluator == {"type": "HmeanMetric"}
    settings = train.dataset.copy()
    settings.num_samples = 3
    dataset = DATASETS.build(settings)
    item = dataset[2]
    sample = item["data_samples"]
    assert tuple(item["inputs"].shape) == (3, cfg.size, cfg.size)
    assert 2 <= len(sample.gt_instances.polygons) <= 6
    assert sample.scale_factor == (1.0, 1.0)


# --- pipelines ---------------------------------------------------------------------------------
