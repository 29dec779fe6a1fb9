"""RoIOHEMSampler with little, with bad and with wrong input."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from roi_heads import (
    SIDE,
    build,
    features,
    samples,
    train_cfg,
)
from roi_runs import differentiable, pools_of, record, sample, selected, total

OURS = dict(type="RoIOHEMSampler", num=16)
THEIRS = dict(type="OHEMSampler", num=16, pos_fraction=0.25)


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        (dict(proposals=0, truths=0), (0, 0)),
        (dict(proposals=0), (3, 0)),
        (dict(truths=0), (0, 16)),
        (dict(proposals=5, truths=1), None),
    ],
)
def test_few_and_none(given, sizes):
    head = build("StandardRoIHead", {**OURS, "iou_thr": 1.0 if sizes is None else 0.7})
    feats, data = differentiable(features()), samples(**given)
    results = sample(head, *data, feats)
    if sizes is None:
        assert selected(results) == [list(range(6)), list(range(6))]
    else:
        assert [(len(r.pos_inds), len(r.neg_inds)) for r in results] == [sizes, sizes]
    loss = total(head.loss(feats, *data))
    assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(f.grad).all() for f in feats)


def test_all_are_ignored():
    head = build("StandardRoIHead", OURS)
    head.bbox_sampler.add_gt_as_proposals = False
    results, data = samples(truths=1)
    for item in data:
        item.ignored_instances = InstanceData(bboxes=torch.tensor([[0.0, 0, SIDE, SIDE]]))
    assert selected(sample(head, results, data, features())) == [[], []]
    assert head.bbox_sampler.take_counts()["candidates"] == 0
    assert float(total(head.loss(features(), results, data))) == 0


def test_ignored_ones_are_never_taken_although_they_are_hard():
    head = build("StandardRoIHead", {**OURS, "num": 1000, "iou_thr": 1.0})
    results, data = samples(ignored=5)
    chosen = selected(sample(head, results, data, features()))
    for result, item, own in zip(results, data, chosen):
        boxes = result.bboxes.tolist()
        ignored = {
            3 + i for i, (x1, y1, x2, y2) in enumerate(boxes)
            if any(
                max(min(x2, c) - max(x1, a), 0) * max(min(y2, d) - max(y1, b), 0)
                > 0.5 * (x2 - x1) * (y2 - y1)
                for a, b, c, d in item.ignored_instances.bboxes.tolist()
            )
        }  # fmt: skip
        assert ignored
        assert own == sorted(set(range(63)) - ignored)


def test_a_quota_of_none():
    head = build("StandardRoIHead", {**OURS, "num": 0})
    feats, data = features(), samples()
    assert selected(sample(head, *data, feats)) == [[], []]
    assert float(total(head.loss(feats, *data))) == 0


def test_boxes_without_area_are_never_taken():
    head = build("StandardRoIHead", {**OURS, "num": 1000, "iou_thr": 1.0})
    results, data = samples(images=1)
    truths = data[0].gt_instances
    truths.bboxes[1, 2:] = truths.bboxes[1, :2]
    results[0].bboxes[40, 2] = results[0].bboxes[40, 0]
    results[0].bboxes[41, 3] = results[0].bboxes[41, 1] - 2
    chosen = selected(sample(head, results, data, features(1)))[0]
    # Among them foreground whose localisation loss is no number, and background with a finite loss.
    assert chosen == [i for i in range(63) if i not in (1, 43, 44)]
    counts = head.bbox_sampler.take_counts()
    assert (counts["without_area"], counts["non_finite"], counts["duplicates"]) == (3, 1, 0)
    assert torch.isfinite(total(head.loss(features(1), results, data)))


@pytest.mark.parametrize("kind", ["StandardRoIHead", "MiningStandardRoIHead"])
@pytest.mark.parametrize("sampler", ["RoIOHEMSampler", "StratifiedOHEMSampler"])
def test_a_box_without_area_does_not_fill_the_quota_with_its_copies(kind, sampler):
    # They overlap nothing, not even each other: as candidates all would survive.
    head = build(kind, dict(type=sampler, num=16))
    results, data = samples(images=1)
    line = torch.tensor([[7.0, 9, 7, 30]]).repeat(30, 1)
    results = [InstanceData(bboxes=torch.cat([line, results[0].bboxes]))]
    mined = record(head.bbox_sampler)
    loss = total(head.loss(features(1), results, data))
    assert torch.isfinite(loss)
    ((chosen,),) = mined
    assert len(chosen) == 16
    assert not set(range(3, 33)) & set(chosen)
    counts = head.bbox_sampler.take_counts()
    assert (counts["without_area"], counts["candidates"]) == (30, 93)
    alone = build(kind, dict(type=sampler, num=16))
    mined = record(alone.bbox_sampler)
    alone.loss(features(1), *samples(images=1))
    assert [i - 30 if i >= 33 else i for i in chosen] == mined[0][0]


def test_losses_that_are_not_finite_are_counted_and_never_taken():
    feats, data = features(), samples()
    feats[0][0, :, 10, 10] = float("nan")
    ours = build("StandardRoIHead", OURS)
    pools = pools_of(ours, *data)
    bad = ~ours.bbox_sampler.stage.losses(feats, pools)[0].finite()
    assert 0 < int(bad.sum()) < 40
    rows = [torch.cat([pool.pos_inds, pool.neg_inds]) for pool in pools]
    broken = [set(row[part].tolist()) for row, part in zip(rows, bad.split([63, 63]))]
    assert broken[1] == set()
    results = sample(ours, *data, feats)
    for own, wrong in zip(selected(results), broken):
        assert len(own) == 16
        assert not wrong & set(own)
    assert ours.bbox_sampler.take_counts()["non_finite"] == int(bad.sum())
    # To MMDetection's, NaN is the hardest of all.
    theirs = selected(sample(build("StandardRoIHead", THEIRS), *data, feats))
    assert broken[0] & set(theirs[0])


def test_weights_that_are_nan_select_nobody():
    head = build("StandardRoIHead", OURS)
    head.bbox_head.fc_cls.weight.data[0, 0] = float("nan")
    assert selected(sample(head, *samples(), features())) == [[], []]
    counts = head.bbox_sampler.take_counts()
    assert (counts["non_finite"], counts["candidates"], counts["duplicates"]) == (126, 126, 0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num": -1}, "num=-1"), ({"num": 2.5}, "a whole num=2.5"),
        ({"iou_thr": 0}, "iou_thr=0"), ({"iou_thr": 1.1}, "iou_thr=1.1"),
        ({"chunk": 0}, "chunk=0"), ({"pool": "all"}, "pool='all' must be one of image, batch"),
        ({"mask_weight": -1.0}, "mask_weight=-1.0"), ({"mask_weight": float("nan")}, "weight=nan"),
        ({"max_pos_fraction": 1.5}, "max_pos_fraction=1.5"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        build("StandardRoIHead", {**OURS, **options})


def test_a_misspelt_argument_is_not_swallowed():
    with pytest.raises(TypeError, match="iou_threshold"):
        build("StandardRoIHead", {**OURS, "iou_threshold": 0.7})


def test_among_anchors_there_is_nothing_to_mine():
    init_default_scope("mmdet")
    cfg = dict(
        type="RPNHead", in_channels=8, feat_channels=8,
        anchor_generator=dict(type="AnchorGenerator", scales=[8], ratios=[1.0], strides=[4]),
        train_cfg=train_cfg(OURS),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"RoIOHEMSampler needs a RoI head .* got RPNHead"):
        MODELS.build(ConfigDict(cfg))
    with pytest.raises(ValueError, match="got NoneType"):
        TASK_UTILS.build(OURS)


def test_one_quota_for_all_images_needs_a_head_that_mines_once():
    head = build("StandardRoIHead", {**OURS, "pool": "batch"})
    with pytest.raises(ValueError, match="type='MiningStandardRoIHead'"):
        sample(head, *samples(), features())


def test_a_head_that_hands_over_no_features():
    head = build("StandardRoIHead", OURS)
    results, data = samples(images=1)
    proposals = InstanceData(priors=results[0].bboxes)
    assigned = head.bbox_assigner.assign(proposals, data[0].gt_instances)
    with pytest.raises(ValueError, match="StandardRoIHead hands over no features"):
        head.bbox_sampler.sample(assigned, proposals, data[0].gt_instances)


def test_one_line_over_a_config_with_a_random_sampler(tmp_path):
    sampler = dict(
        type="RandomSampler", num=512, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True
    )
    (tmp_path / "base.py").write_text(f"sampler = {sampler!r}\n")
    (tmp_path / "mine.py").write_text(
        "_base_ = 'base.py'\nsampler = dict(type='RoIOHEMSampler', num=5)\n"
    )
    merged = Config.fromfile(tmp_path / "mine.py").sampler
    assert merged.pos_fraction == 0.25
    head = build("StandardRoIHead", merged)
    plain = build("StandardRoIHead", {**OURS, "num": 5})
    feats, data = features(), samples()
    assert selected(sample(head, *data, feats)) == selected(sample(plain, *data, feats))
