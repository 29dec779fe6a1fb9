"""Configs of detectors that mine hard examples: they load, build, and say what is built."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.registry import HOOKS, MODELS, DefaultScope, init_default_scope

pytest.importorskip("mmocr")

from mmtextplug import launch
from mmtextplug.datasets.kitti import CATEGORIES
from mmtextplug.evaluation.grouped_voc import GroupedVOCMetric
from mmtextplug.mining.ohem_sampler import RoIOHEMSampler
from mmtextplug.mining.s_ohem_hook import StratifiedOHEMHook, find_samplers
from mmtextplug.mining.s_ohem_sampler import StratifiedOHEMSampler

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
PATHS = sorted(
    path
    for folder in ("faster_rcnn", "cascade_rcnn", "mask_rcnn")
    for path in (CONFIGS / folder).glob("*.py")
)
VOC = "fast-rcnn_r50_fpn_s-ohem_80k_voc07"
KITTI = "faster-rcnn_r50_fpn_s-ohem_80k_kitti12"


class Built(NamedTuple):
    """What a config must come to."""

    sampler: str
    num: int = 64
    categories: int = 80
    head: str = "Standard"
    stages: int = 1
    proposals: int | None = 2000  # an image in training; None: no RPN
    iou_thr: float = 0.7
    mask_weight: float = 0
    rpn_ignores: float | None = -1  # the assigner's ignore_iof_thr
    rois_ignore: float = -1
    low_quality: bool = False  # the RoI assigner's matches


TEXT = Built("ohem", 128, 1, proposals=1000, iou_thr=0.5, mask_weight=1)
TEXT = TEXT._replace(rpn_ignores=0.5, rois_ignore=0.5)
LIGHT_TEXT = TEXT._replace(num=32)
CASCADE = Built("ohem", head="Cascade", stages=3)
BUILT = {
    "faster-rcnn_r50_fpn_ohem_1x_coco": Built("ohem"),
    "faster-rcnn_r50_fpn_s-ohem_1x_coco": Built("s-ohem"),
    "faster-rcnn_r18_fpn_s-ohem_generated-text": Built("s-ohem", 32, 1, proposals=300),
    VOC: Built("s-ohem", categories=20, proposals=None, rpn_ignores=None),
    KITTI: Built("s-ohem", categories=7, rpn_ignores=0.5, rois_ignore=0.5),
    "cascade-rcnn_r50_fpn_ohem_1x_coco": CASCADE,
    "cascade-rcnn_r50_fpn_s-ohem_1x_coco": CASCADE._replace(sampler="s-ohem"),
    "mask-rcnn_resnet50_fpn_ohem_160e_icdar2015": TEXT,
    "mask-rcnn_resnet50_fpn_s-ohem_160e_icdar2015": TEXT._replace(sampler="s-ohem"),
    "mask-rcnn_efficientnet-lite0_fpn_ohem_icdar2015": LIGHT_TEXT,
    "mask-rcnn_efficientnet-lite0_fpn_s-ohem_icdar2015": LIGHT_TEXT._replace(sampler="s-ohem"),
}


def path_of(name):
    (path,) = [path for path in PATHS if path.stem == name]
    return str(path)


def build(cfg):
    """The detector of a config, without the wrapper that MMOCR puts around it."""
    with DefaultScope.overwrite_default_scope(None):
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
    return getattr(model, "wrapped_model", model)


def hooks_of(cfg):
    return [HOOKS.build(hook) for hook in cfg.get("custom_hooks", [])]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_config_loads_builds_and_mines_in_every_stage(path):
    cfg = launch.load_config(str(path))
    assert launch.unknown_types(cfg) == []
    detector = build(cfg)
    head = detector.roi_head
    samplers = head.bbox_sampler if isinstance(head.bbox_sampler, list) else [head.bbox_sampler]
    assert [sampler for _, sampler in find_samplers(detector)] == samplers
    # Of OHEM it logs the counts; without it S-OHEM would not move to localisation.
    assert [type(hook) for hook in hooks_of(cfg)].count(StratifiedOHEMHook) == 1

    expected = BUILT[path.stem]
    assert type(head).__name__ == f"Mining{expected.head}RoIHead"
    assert len(samplers) == expected.stages
    kind = {"ohem": RoIOHEMSampler, "s-ohem": StratifiedOHEMSampler}[expected.sampler]
    assert {type(sampler) for sampler in samplers} == {kind}
    assert {(s.num, s.iou_thr, s.mask_weight) for s in samplers} == {
        (expected.num, expected.iou_thr, expected.mask_weight)
    }
    assert {(s.pool, s.per_label, s.max_pos_fraction) for s in samplers} == {("image", True, None)}
    staged = expected.stages > 1
    assert [s.stage.stage for s in samplers] == ([0, 1, 2] if staged else [None])
    if kind is StratifiedOHEMSampler:
        assert {sampler.mode for sampler in samplers} == {"weighted"}
    assigners = head.bbox_assigner if staged else [head.bbox_assigner]
    assert {(a.ignore_iof_thr, a.match_low_quality) for a in assigners} == {
        (expected.rois_ignore, expected.low_quality)
    }
    assert (head.bbox_head[0] if staged else head.bbox_head).num_classes == expected.categories
    rpn = getattr(detector, "rpn_head", None)
    assert (rpn and rpn.assigner.ignore_iof_thr) == expected.rpn_ignores
    assert (rpn and detector.train_cfg.rpn_proposal.max_per_img) == expected.proposals


@pytest.mark.parametrize(("name", "ratio"), [(VOC, 1.9), (KITTI, 2.3)])
def test_the_papers_numbers(name, ratio):
    """Table 1 and section 4.1: 128 RoIs of 2 images, 80,000 steps, the rate divided at 30,000."""
    cfg = launch.load_config(path_of(name))
    assert cfg.train_dataloader.batch_size * cfg.model.train_cfg.rcnn.sampler.num == 128
    assert cfg.optim_wrapper.optimizer == dict(
        type="SGD", lr=0.001, momentum=0.9, weight_decay=0.0005
    )
    (scheduler,) = cfg.param_scheduler
    assert (scheduler.milestones, scheduler.gamma, scheduler.by_epoch) == ([30_000], 0.1, False)
    assert cfg.train_cfg.max_iters == 80_000
    assert cfg.val_evaluator.iou_thrs == [0.5, 0.6, 0.7]
    assert cfg.test_evaluator == cfg.val_evaluator
    (hook,) = hooks_of(cfg)
    assert (hook.schedule.beta_end, hook.schedule.alpha_end) == (ratio, 1.0)
    loss = cfg.model.roi_head.bbox_head.loss_bbox
    assert (loss.type, loss.beta) == ("SmoothL1Loss", 1.0)


def averages(groups, of_category):
    return [round(sum(map(of_category.get, names)) / len(names), 2) for names in groups.values()]


def test_groups_of_voc_are_those_of_the_paper():
    """OHEM's AP at an IoU of 0.5 (Table 2) gives the averages of Table 4a, 70.2 and 72.2."""
    from mmdet.datasets import VOCDataset

    classes = VOCDataset.METAINFO["classes"]
    groups = launch.load_config(path_of(VOC)).val_evaluator.groups
    assert sorted(chain(*groups.values())) == sorted(classes)
    published = [72.1, 80.4, 68.9, 60.5, 47.1, 81.5, 79.6, 82.8, 54.1, 77.3]
    published += [70.7, 81.7, 81.4, 76.7, 74.4, 41.6, 70.0, 69.6, 76.5, 73.6]
    assert averages(groups, dict(zip(classes, published))) == [70.2, 72.26]


def test_groups_of_kitti_are_those_of_the_paper():
    """OHEM's AP at an IoU of 0.6 (Table 3) gives the averages of Table 4b, 68.4 and 52.6."""
    groups = launch.load_config(path_of(KITTI)).val_evaluator.groups
    assert sorted(chain(*groups.values())) == sorted(CATEGORIES["paper"])
    published = [68.7, 47.4, 57.7, 73.8, 79.0, 70.8, 49.6]
    assert averages(groups, dict(zip(CATEGORIES["paper"], published))) == [68.38, 52.55]


def test_kitti_is_read_as_the_converter_writes_it():
    cfg = launch.load_config(path_of(KITTI))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.metainfo.classes == CATEGORIES["paper"]
        assert loader.dataset.type == "CocoDataset"
        assert dict(type="Resize", scale_factor=1.0, keep_ratio=True) in loader.dataset.pipeline
    assert cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt is False
    assert cfg.train_dataloader.dataset.ann_file == "train.json"
    assert cfg.val_dataloader.dataset.ann_file == "val.json"
    settings = {k: v for k, v in cfg.val_evaluator.items() if k != "type"}
    metric = GroupedVOCMetric(**settings)
    metric.dataset_meta = dict(classes=CATEGORIES["paper"])
    assert metric.groups["nonrigid"] == ["Pedestrian", "Cyclist"]
    assert metric.ignore_iof_thr == 0.5
