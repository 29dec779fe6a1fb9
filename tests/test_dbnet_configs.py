"""Configs of DBNet: they are what their names say, build, train a step and predict; their pipelines
run on data of the tests."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner.checkpoint import load_state_dict
from mmengine.structures import InstanceData

pytest.importorskip("mmocr")

from mmocr.structures import TextDetDataSample

from mmtextplug import launch

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "dbnet"
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


@pytest.fixture(scope="module", autouse=True)
def mmocr_scope():
    """The scope that the configs run in."""
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


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


def test_every_file_is_tested_here():
    assert {path.stem for path in CONFIGS.glob("*.py")} == {*PUBLISHED, DECODER, LIGHT}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_are_what_the_names_say(name):
    method, network, data = PUBLISHED[name]
    deep, deformable = "50" in network, "dcnv2" in network
    cfg = load(name)

    backbone = cfg.model.backbone
    assert backbone.depth == (50 if deep else 18)
    assert bool(backbone.get("dcn")) == deformable
    if deformable:
        assert backbone.dcn.type == "DCNv2"
        assert tuple(backbone.stage_with_dcn) == (False, True, True, True)
    fusion = {"attention_type": "ScaleChannelSpatial"} if method == "dbnetpp" else None
    assert cfg.model.neck.get("asf_cfg") == fusion
    assert cfg.model.det_head.module_loss == {"type": "DifferentiableBinarizationLoss"}

    rate = {"dbnet": 0.002, "dbnetpp": 0.003}[method] if network == "resnet50" else 0.007
    optimizer = {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": 0.0001}
    assert plain(cfg.optim_wrapper.optimizer) == optimizer
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 1200
    assert (cfg.param_scheduler[-1].type, cfg.param_scheduler[-1].power) == ("PolyLR", 0.9)
    assert len(cfg.param_scheduler) == (2 if network == "resnet50" else 1)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
    pretrained = {"dbnet": "dbnet_r50dcnv2", "dbnetpp": "dbnetpp_r50dcnv2"}[method]
    assert (f"/{pretrained}" in (cfg.load_from or "")) == (network == "resnet50-dcnv2")
    assert bool(cfg.load_from) == (network == "resnet50-dcnv2")

    training = cfg.train_dataloader.dataset
    sets = training.datasets if data == "msra-td500" else [training]
    assert [s.data_root for s in sets] == (
        [ROOTS[data], "data/hust_tr400"] if data == "msra-td500" else [ROOTS[data]]
    )
    assert {s.ann_file for s in sets} == {"textdet_train.json"}
    assert cfg.val_dataloader.dataset.data_root == ROOTS[data]
    assert cfg.val_dataloader.dataset.ann_file == "textdet_test.json"
    assert cfg.test_dataloader == cfg.val_dataloader

    threshold = {
        "icdar2015": (0.55, 0.6),
        "totaltext": (0.7, 0.6),
        "ctw1500": (0.7, 0.6),
        "msra-td500": (0.5, 0.5),
    }[data][deep]
    curved = data in ("totaltext", "ctw1500")
    outline = {"text_repr_type": "quad", "unclip_ratio": 1.5}
    if curved:
        outline = {"text_repr_type": "poly", "unclip_ratio": 2.0, "epsilon_ratio": 0.002}
    assert cfg.model.det_head.postprocessor == {
        "type": "DifferentiableBinarizationPostprocessor",
        "min_text_score": threshold,
        **outline,
    }
    scores = np.arange(**cfg.val_evaluator.pred_score_thrs)
    assert len(scores) == 1  # one stated threshold: that of the post-processor
    assert scores[0] <= threshold
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.visualizer.type == "ScoreMapVisualizer"


@pytest.mark.parametrize("name", MMOCRS)
def test_where_mmocr_has_a_config_ours_changes_the_head_and_what_is_said_of_it(name):
    ours = load(name)
    theirs = mmocrs(MMOCRS[name])
    for part in ("backbone", "neck", "data_preprocessor"):
        mine, published = (plain(cfg.model[part]) for cfg in (ours, theirs))
        if mine.get("dcn", 0) is None:
            del mine["dcn"], mine["stage_with_dcn"]  # of no effect without dcn
        assert mine == published
    head = {"in_channels": ours.model.det_head.in_channels}
    assert head == {"in_channels": theirs.model.det_head.in_channels}
    for part in ("optim_wrapper", "param_scheduler", "train_cfg", "auto_scale_lr", "load_from"):
        assert plain(ours[part]) == plain(theirs[part])
    assert plain(ours.train_dataloader.dataset.pipeline) == plain(
        theirs.train_dataloader.dataset.pipeline
    )
    if "icdar2015" in name:  # Total-Text's test images have the published size here
        mine, published = (
            (loader.dataset.get("datasets") or [loader.dataset])[0]
            for loader in (ours.val_dataloader, theirs.val_dataloader)
        )
        assert (mine.data_root, mine.ann_file) == (published.data_root, published.ann_file)
        assert plain(ours.val_dataloader.dataset.pipeline) == plain(
            theirs.val_dataloader.dataset.pipeline
        )


# --- models ------------------------------------------------------------------------------------


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


MODELS_BUILT = [f"{m}_{n}_fpnc_1200e_totaltext" for m in ("dbnet", "dbnetpp") for n in NETWORKS]


@pytest.mark.parametrize("name", [*MODELS_BUILT, DECODER, LIGHT])
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
    for _ in range(30):
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
    assert np.abs(corners.min(0) - 16).max() < 6
    assert np.abs(corners.max(0) - 48).max() < 6


def test_the_light_one_needs_no_data_and_holds_its_test_pictures_out():
    cfg = load(LIGHT)
    train, val = cfg.train_dataloader, cfg.val_dataloader
    assert train.dataset.type == val.dataset.type == "GeneratedTextDataset"
    assert train.dataset.seed != val.dataset.seed
    assert train.dataset.num_samples == train.batch_size * cfg.train_cfg.max_iters
    assert list(np.arange(**cfg.val_evaluator.pred_score_thrs)) == [
        cfg.model.det_head.postprocessor.min_text_score
    ]
    settings = train.dataset.copy()
    settings.num_samples = 3
    dataset = DATASETS.build(settings)
    item = dataset[2]
    sample = item["data_samples"]
    assert tuple(item["inputs"].shape) == (3, cfg.size, cfg.size)
    assert 2 <= len(sample.gt_instances.polygons) <= 6
    assert sample.scale_factor == (1.0, 1.0)


# --- pipelines ---------------------------------------------------------------------------------


def write(folder: Path, names: list[str]) -> None:
    """One picture, 300 wide and 200 high, with a straight, a curved, an ignored and a crossed word,
    and annotation files of it that say different things of themselves."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    assert cv2.imwrite(str(folder / "a.png"), rng.integers(0, 255, (200, 300, 3), np.uint8))
    words = [
        ([40, 40, 140, 40, 140, 70, 40, 70], False),
        ([160, 60, 200, 40, 240, 60, 240, 90, 200, 70, 160, 90], False),
        ([40, 110, 140, 110, 140, 140, 40, 140], True),
        ([180, 120, 260, 150, 260, 120, 180, 150], False),
    ]
    instances = [
        {
            "polygon": polygon,
            "bbox": [
                min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])
            ],
            "bbox_label": 0,
            "ignore": ignored,
        }
        for polygon, ignored in words
    ]  # fmt: skip
    entry = {"img_path": "a.png", "height": 200, "width": 300, "instances": instances}
    for name in names:
        content = {
            "metainfo": {"dataset_type": "TextDetDataset", "task_name": "textdet", "note": name},
            "data_list": [entry],
        }
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def built(settings, folder: Path):
    """A dataset of a config with a folder in the place of each of its own."""
    settings = Config(settings.to_dict())
    for part in settings.get("datasets") or [settings]:
        part.data_root = str(folder)
    return DATASETS.build(settings)


TEST_SIZES = {  # of a picture 300 wide and 200 high
    "dbnet_resnet18_fpnc_1200e_icdar2015": (736, 1104),
    "dbnet_resnet50_fpnc_1200e_icdar2015": (1024, 1536),
    "dbnetpp_resnet50-dcnv2_fpnc_1200e_icdar2015": (1024, 1536),
    "dbnet_resnet18_fpnc_1200e_totaltext": (800, 1216),  # 1200 in whole 32 pixels
    "dbnet_resnet50_fpnc_1200e_ctw1500": (1024, 1536),
    "dbnetpp_resnet18-dcnv2_fpnc_1200e_msra-td500": (736, 1088),  # 1104: a half goes to the even
    DECODER: (736, 1104),
}


@pytest.mark.parametrize("name", TEST_SIZES)
def test_pipelines_run_on_annotated_pictures(tmp_path, name):
    cfg = load(name)
    write(tmp_path / "data", ["textdet_train.json", "textdet_test.json"])
    training = built(cfg.train_dataloader.dataset, tmp_path / "data")
    assert len(training) == (2 if "td500" in name else 1)
    np.random.seed(0)
    for _ in range(3):
        item = training[len(training) - 1]
        assert tuple(item["inputs"].shape) == (3, 640, 640)
        assert item["data_samples"].gt_instances.polygons

    testing = built(cfg.val_dataloader.dataset, tmp_path / "data")
    item = testing[0]
    sample = item["data_samples"]
    height, width = TEST_SIZES[name]
    assert tuple(item["inputs"].shape) == (3, height, width)
    assert sample.img_shape == (height, width)
    # What is found goes back to the picture, where the annotation has stayed.
    assert sample.scale_factor == pytest.approx((width / 300, height / 200))
    polygons = sample.gt_instances.polygons
    assert len(polygons) == 4
    assert polygons[1].tolist() == [160, 60, 200, 40, 240, 60, 240, 90, 200, 70, 160, 90]
    assert sample.gt_instances.ignored.tolist() == [False, False, True, False]
    assert cfg.test_dataloader.dataset.test_mode
