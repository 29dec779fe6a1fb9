"""The recipes on EfficientNet-Lite0 that are no CRAFT: a step and a photo, from files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

pytest.importorskip("mmocr")

from mmtextplug import launch
from mmtextplug.datasets.fonts import bundled_fonts

DBNET = "configs/dbnet/dbnet_efficientnet-lite0_icdar2015.py"
MASK_RCNN = "configs/mask_rcnn/mask-rcnn_efficientnet-lite0_fpn_{}_icdar2015.py"
RCNN_LOSSES = {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"}
RECIPES = {
    DBNET: {"loss_prob", "loss_thr", "loss_db"},
    MASK_RCNN.format("ohem"): RCNN_LOSSES,
    MASK_RCNN.format("s-ohem"): RCNN_LOSSES,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with data/icdar2015 of two photos and data/light_text, as the recipes look for."""
    folder = tmp_path_factory.mktemp("recipes")
    photos = folder / "data" / "icdar2015"
    (photos / "train_images").mkdir(parents=True)
    entries = []
    for number in (1, 2):
        image = np.random.default_rng(number).integers(0, 255, (360, 640, 3), dtype=np.uint8)
        instances = []
        for left in (60, 240, 420):
            corners = [left, 140, left + 120, 140, left + 120, 190, left, 190]
            cv2.putText(image, "WORD", (left, 185), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (0, 0, 0), 4)
            box = [left, 140, left + 120, 190]
            words = dict(polygon=corners, bbox=box, bbox_label=0, ignore=False, text="WORD")
            instances.append(words)
        name = f"train_images/img_{number}.jpg"
        cv2.imwrite(str(photos / name), image)
        entries.append(dict(img_path=name, height=360, width=640, instances=instances))
    about = dict(dataset_type="TextDetDataset", task_name="textdet", category=[{"id": 0}])
    for name in ("train900", "val"):
        content = json.dumps(dict(metainfo=about, data_list=entries))
        (photos / f"textdet_{name}.json").write_text(content)
    material = folder / "data" / "light_text"
    (material / "backgrounds").mkdir(parents=True)
    (material / "fonts").mkdir()
    cv2.imwrite(str(material / "backgrounds" / "1.jpg"), np.full((300, 300, 3), 90, np.uint8))
    (material / "fonts" / "one.ttf").write_bytes(Path(bundled_fonts()[0]).read_bytes())
    return folder


@pytest.mark.parametrize("config", RECIPES)
def test_a_step_and_a_photo(config, data, repository, monkeypatch):
    cfg = launch.load_config(str(repository / config))
    monkeypatch.chdir(data)
    init_default_scope(cfg.get("default_scope", "mmocr"))
    torch.manual_seed(0)
    model = cfg.model
    (model.cfg if "cfg" in model else model).backbone.pretrained = False
    model = MODELS.build(model)
    model.init_weights()
    alone = dict(num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(dict(cfg.train_dataloader, batch_size=2, **alone), seed=0)
    losses = model.train()(
        **model.data_preprocessor(next(iter(loader)), training=True), mode="loss"
    )
    assert set(losses) >= RECIPES[config]
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert idle == []
    assert all(p.grad.isfinite().all() for p in model.parameters())

    loader = Runner.build_dataloader(dict(cfg.val_dataloader, **alone))
    with torch.no_grad():
        (found,) = model.eval().val_step(next(iter(loader)))
    assert found.ori_shape == (360, 640)
    assert len(found.gt_instances) == 3
    assert len(found.pred_instances.polygons) == len(found.pred_instances.scores)
