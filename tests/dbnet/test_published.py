"""Configs of DBNet are what their names say, and MMOCR's where it has the same."""

from __future__ import annotations

import pytest
from dbnet_configs import (
    CONFIGS,
    DECODER,
    LIGHT,
    LITE,
    MMOCRS,
    PUBLISHED,
    ROOTS,
    load,
    mmocrs,
    plain,
)


def test_every_file_is_tested_here():
    assert {path.stem for path in CONFIGS.glob("*.py")} == {*PUBLISHED, DECODER, LIGHT, LITE}


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
        "margin": 0.5,
        **outline,
    }
    # One stated threshold: that of the post-processor.
    assert cfg.val_evaluator == cfg.test_evaluator == {"type": "HmeanMetric"}
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
