"""RoI heads that mine once for all images: without a trace, and with little to mine."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import InstanceData
from roi_heads import build, features, kinds, samples
from roi_runs import (
    record,
    samplers,
    total,
)

OURS = dict(type="RoIOHEMSampler", num=16)
KINDS = list(kinds(OURS))
CASCADES = ["CascadeRoIHead", "HybridTaskCascadeRoIHead", "SCNetRoIHead"]
# MMDetection's own cannot run for no RoI at all.
NEED_ROIS = ["DoubleHeadRoIHead", "PointRendRoIHead"]
WITH_MASKS = ["StandardRoIHead", "PointRendRoIHead", *CASCADES]


def make(kind: str, sampler: dict = OURS, **changes):
    name = kind.removeprefix("Mining")
    return build(kind, sampler, **{**kinds(sampler)[name], **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_mining_itself_changes_nothing(kind):
    head = make("Mining" + kind, {**OURS, "mask_weight": float(kind in WITH_MASKS)})
    changed = []

    def check(mine):
        def run(*args):
            before = {k: v.detach().clone() for k, v in head.state_dict().items()}
            random, modes = torch.get_rng_state(), [m.training for m in head.modules()]
            outcome = mine(*args)
            changed.extend(k for k, v in head.state_dict().items() if not torch.equal(v, before[k]))
            assert torch.equal(torch.get_rng_state(), random)
            assert [m.training for m in head.modules()] == modes
            changed.append(not outcome[1].requires_grad)
            return outcome

        return run

    for sampler in samplers(head):
        sampler.mine = check(sampler.mine)
    head.loss(features(), *samples())
    assert set(changed) == {True}


@pytest.mark.parametrize("mining", ["", "Mining"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "PointRendRoIHead"])
@pytest.mark.parametrize(
    "given", [dict(truths=0), dict(proposals=2, truths=1), dict(proposals=0, truths=2)], ids=str
)
def test_images_with_little(kind, mining, given):
    if given.get("proposals") == 0 and kind == "DynamicRoIHead":
        given = {**given, "proposals": 1}  # it asks for the highest overlap of the proposals
    head = make(mining + kind)
    feats = tuple(f.requires_grad_() for f in features())
    loss = total(head.loss(feats, *samples(**given)))
    assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_one_image_of_two_has_nothing():
    head = make("MiningCascadeRoIHead")
    (none, *_), (bare, *_) = samples(images=1, proposals=0, truths=0)
    (many, *_), (rich, *_) = samples(images=1, seed=1)
    mined = [record(sampler) for sampler in head.bbox_sampler]
    assert torch.isfinite(total(head.loss(features(), [none, many], [bare, rich])))
    for rows in mined:
        assert [len(part) for part in rows[0]] == [0, 16]


@pytest.mark.parametrize("why", ["nan", "num", "ignored"])
# MMDetection's own Double and PointRend heads cannot run for no RoI at all.
@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k not in ("DoubleHeadRoIHead", "PointRendRoIHead")]
)
def test_where_nothing_can_be_selected_the_losses_are_zero_and_every_part_has_a_gradient(kind, why):
    stages = dict(stages=3) if kind == "CascadeRoIHead" else {}
    head = make("Mining" + kind, {**OURS, "num": 0} if why == "num" else OURS, **stages)
    feats, data = tuple(f.requires_grad_() for f in features()), samples()
    if why == "nan":
        # What comes from below is no number; no gradient goes there.
        feats = tuple(f.masked_fill(torch.ones(()).bool(), float("nan")) for f in feats)
    if why == "ignored":
        for item in data[1]:
            item.ignored_instances = InstanceData(bboxes=torch.tensor([[-99.0, -99, 300, 300]]))
        for sampler in samplers(head):
            sampler.add_gt_as_proposals = False
    mined = [record(sampler) for sampler in samplers(head)]
    losses = head.loss(feats, *data)
    again = 2 if kind.startswith("Hybrid") else 1
    assert [len(calls) for calls in mined] == [again] * len(mined)
    assert all(rows == [[], []] for calls in mined for rows in calls)
    own = {key: value for key, value in losses.items() if "loss_cls" in key or "loss_bbox" in key}
    stages = len(samplers(head))
    assert len([key for key in own if "loss_cls" in key]) == stages
    assert [float(value) for value in own.values()] == [0.0] * 2 * stages
    sum(own.values()).backward()
    gradients = {n: p.grad for n, p in head.named_parameters() if n.startswith("bbox_head")}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert not any(gradient.abs().sum() for gradient in gradients.values())


def test_a_quota_of_none():
    head = make("MiningStandardRoIHead", {**OURS, "num": 0})
    assert float(total(head.loss(features(), *samples()))) == 0


@pytest.mark.parametrize("kind", ["MiningStandardRoIHead", "MiningCascadeRoIHead"])
def test_it_needs_a_sampler_of_this_package(kind):
    with pytest.raises(ValueError, match=f"{kind} needs RoIOHEMSampler or .* got OHEMSampler"):
        make(kind, dict(type="OHEMSampler", num=16, pos_fraction=0.25))


@pytest.mark.parametrize("kind", ["MiningStandardRoIHead", "MiningCascadeRoIHead"])
def test_it_predicts_as_the_plain_head_does(kind):
    predictions = []
    for name in (kind, kind.removeprefix("Mining")):
        head = make(name, test_cfg=dict(
            score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=9,
            mask_thr_binary=0.5,
        )).eval()  # fmt: skip
        results, data = samples()
        for item in data:
            item.set_metainfo(dict(scale_factor=(1.0, 1.0), ori_shape=(96, 96)))
        with torch.no_grad():
            predictions.append(head.predict(features(), results, data))
    for a, b in zip(*predictions):
        assert len(a) == 9
        assert torch.equal(a.bboxes, b.bboxes)
        assert torch.equal(a.scores, b.scores)


def test_with_a_test_only_config_there_is_no_sampler():
    head = build("MiningStandardRoIHead", OURS, train_cfg=None)
    assert head.bbox_sampler is None
