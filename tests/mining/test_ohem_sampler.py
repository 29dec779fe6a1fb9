"""RoIOHEMSampler in RoI heads of MMDetection, against the paper's procedure in plain Python."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from literal_mining import iou, mine
from mmcv.ops import box_iou_rotated
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from roi_heads import (
    CLASSES,
    EXTRACTOR,
    MASK_EXTRACTOR,
    MASK_HEAD,
    SIDE,
    STRIDES,
    box_head,
    build,
    each_image,
    features,
    indices,
    literal_batch,
    sample,
    samples,
    selected,
    total,
    train_cfg,
)
from torch import nn

from mmtextplug.mining.roi_pool import RoIPool

OURS = dict(type="RoIOHEMSampler", num=16)
THEIRS = dict(type="OHEMSampler", num=16, pos_fraction=0.25)


def grads(head, feats) -> list[torch.Tensor]:
    named = [p for p in head.parameters() if p.grad is not None]
    return [p.grad.clone() for p in named] + [f.grad.clone() for f in feats if f.grad is not None]


def differentiable(feats):
    return tuple(f.clone().requires_grad_() for f in feats)


# --- the procedure -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options", [{}, {"iou_thr": 0.4, "per_label": False}, {"iou_thr": 1.0, "num": 5}]
)
def test_selects_what_the_procedure_selects(seed, options):
    head = build("StandardRoIHead", {**OURS, **options})
    feats = features(seed=seed)
    data = samples(proposals=30, ignored=4, seed=seed)
    batch = literal_batch(head, feats, *data)
    members, kept = mine(batch, **{"num": 16, **options})
    assert selected(sample(head, *data, feats)) == indices(batch, members)
    if not options:
        assert len(kept) < sum(map(len, batch))  # there were duplicates
    counts = head.bbox_sampler.take_counts()
    truths = [batch[n][i]["index"] < 3 for n, i in members]
    assert counts == dict(
        calls=2,
        candidates=sum(map(len, batch)),
        duplicates=sum(map(len, batch)) - len(kept),
        non_finite=0,
        selected=len(members),
        foreground=sum(batch[n][i]["fg"] for n, i in members),
        ground_truths=sum(truths),
    )
    assert head.bbox_sampler.take_counts() == {}


def test_there_is_no_quota_of_foreground_unless_it_is_asked_for():
    feats, data = features(), samples()
    free = sample(build("StandardRoIHead", OURS), *data, feats)
    assert [len(r.pos_inds) > 8 for r in free] == [True, True]
    head = build("StandardRoIHead", {**OURS, "max_pos_fraction": 0.5})
    batch = literal_batch(head, feats, *data)
    for result, image in zip(sample(head, *data, feats), batch):
        assert (len(result.pos_inds), len(result.neg_inds)) == (8, 8)
        # Of the foreground the eight highest.
        members, _ = mine([image], 8)
        assert set(result.pos_inds.tolist()) == {image[i]["index"] for _, i in members}
    # A share that is not reached forces nothing: easy foreground stays out.
    for fraction in (1.0, 0.99):
        head = build("StandardRoIHead", {**OURS, "max_pos_fraction": fraction, "num": 20})
        unlimited = build("StandardRoIHead", {**OURS, "num": 20})
        assert selected(sample(head, *data, feats)) == selected(sample(unlimited, *data, feats))
    none = sample(build("StandardRoIHead", {**OURS, "max_pos_fraction": 0.0}), *data, feats)
    assert [(len(r.pos_inds), len(r.neg_inds)) for r in none] == [(0, 16), (0, 16)]


def test_ground_truths_are_candidates_unless_they_are_not():
    feats, data = features(), samples()
    everyone = {**OURS, "num": 100, "iou_thr": 1.0}
    assert selected(sample(build("StandardRoIHead", everyone), *data, feats)) == [
        list(range(63)), list(range(63))
    ]  # fmt: skip
    without = build("StandardRoIHead", {**everyone, "add_gt_as_proposals": False})
    results = sample(without, *data, feats)
    assert selected(results) == [list(range(60)), list(range(60))]
    assert not any(r.pos_is_gt.any() for r in results)
    assert without.bbox_sampler.take_counts()["ground_truths"] == 0


def test_the_result_is_one_of_mmdetection():
    feats, data = features(), samples()
    for result, item in zip(sample(build("StandardRoIHead", OURS), *data, feats), data[1]):
        truths = item.gt_instances
        assert type(result) is SamplingResult
        assert result.num_gts == 3
        owners = result.pos_assigned_gt_inds
        assert torch.equal(result.pos_gt_bboxes, truths.bboxes[owners])
        assert torch.equal(result.pos_gt_labels, truths.labels[owners])
        for box, owner in zip(result.pos_priors.tolist(), owners.tolist()):
            assert iou(box, truths.bboxes[owner].tolist()) >= 0.5
        for box in result.neg_priors.tolist():
            assert all(iou(box, truth) < 0.5 for truth in truths.bboxes.tolist())
        assert result.priors.shape == (16, 4)


def test_the_same_twice_and_chunked():
    feats, data = features(), samples()
    whole = build("StandardRoIHead", OURS)
    expected = selected(sample(whole, *data, feats))
    assert selected(sample(whole, *data, feats)) == expected
    for chunk in (1, 7, 63, 1000):
        head = build("StandardRoIHead", {**OURS, "chunk": chunk})
        assert selected(sample(head, *data, feats)) == expected
        pools = pools_of(head, *data)
        ours, theirs = (h.bbox_sampler.stage.losses(feats, pools)[0] for h in (head, whole))
        assert torch.allclose(ours.cls, theirs.cls, rtol=1e-5)
        assert torch.allclose(ours.loc, theirs.loc, rtol=1e-4, atol=1e-5)


def pools_of(head, results, data) -> list[RoIPool]:
    pools = []
    for result, item in zip(results, data):
        proposals = InstanceData(priors=result.bboxes)
        assigned = head.bbox_assigner.assign(proposals, item.gt_instances, item.ignored_instances)
        pools.append(RoIPool(assigned, proposals, item.gt_instances))
    return pools


# --- the gradient ------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("loss_bbox", ["SmoothL1Loss", "GIoULoss"])
def test_the_gradient_is_that_of_a_plain_head_on_the_selected_rois(autocast, loss_bbox):
    own = box_head(loss_bbox=dict(type=loss_bbox), reg_decoded_bbox="IoU" in loss_bbox)
    head = build("StandardRoIHead", OURS, own)
    plain = build("StandardRoIHead", dict(type="PseudoSampler"), own)
    feats, data = features(), samples(ignored=2)
    mined, unmined = differentiable(feats), differentiable(feats)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        chosen = sample(head, *data, feats)
        losses = head.loss(mined, *copy.deepcopy(data))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = plain.bbox_loss(unmined, chosen)["loss_bbox"]
    assert torch.equal(total(losses), total(expected))
    total(losses).backward()
    total(expected).backward()
    ours, theirs = grads(head, mined), grads(plain, unmined)
    assert len(ours) == len(theirs) == len(list(head.parameters())) + len(STRIDES)
    for a, b in zip(ours, theirs):
        assert torch.equal(a, b)
    # Mixed precision: the weights have a gradient although they were used without one before.
    assert all(p.grad.abs().sum() > 0 for p in head.bbox_head.parameters() if p.dim() > 1)


def test_nothing_outside_the_selected_rois_gets_a_gradient():
    head = build("StandardRoIHead", {**OURS, "num": 3})
    feats, data = differentiable(features()), samples(proposals=20)
    with torch.no_grad():
        chosen = sample(head, *data, feats)
    total(head.loss(feats, *data)).backward()
    levels = head.bbox_roi_extractor
    for number, (level, stride) in enumerate(zip(feats, STRIDES)):
        for n, result in enumerate(chosen):
            reached = torch.zeros(level.shape[2:], dtype=torch.bool)
            rois = torch.cat([torch.zeros(len(result.priors), 1), result.priors], 1)
            own = result.priors[levels.map_roi_levels(rois, len(STRIDES)) == number]
            for x1, y1, x2, y2 in (own / stride).tolist():
                rows = slice(max(math.floor(y1) - 1, 0), math.ceil(y2) + 2)
                reached[rows, max(math.floor(x1) - 1, 0) : math.ceil(x2) + 2] = True
            touched = level.grad[n].abs().sum(0) > 0
            assert touched.any() == (len(own) > 0)
            assert not (touched & ~reached).any()


def test_mining_adds_nothing_to_the_loss_of_the_selected():
    head = build("StandardRoIHead", OURS)
    losses = head.loss(features(), *samples())
    assert set(losses) == {"loss_cls", "loss_bbox", "acc"}


# --- without a trace ---------------------------------------------------------------------------


def head_with_everything_that_could_change(sampler: dict):
    """Batch statistics, a loss that counts, and dropout."""
    own = box_head(
        type="Shared4Conv1FCBBoxHead", conv_out_channels=8, norm_cfg=dict(type="BN"),
        loss_cls=dict(type="SeesawLoss", num_classes=CLASSES),
    )  # fmt: skip
    head = build("StandardRoIHead", sampler, own)
    head.bbox_head.shared_fcs[0] = nn.Sequential(head.bbox_head.shared_fcs[0], nn.Dropout(0.5))
    return head


def state(head) -> dict[str, torch.Tensor]:
    # cum_samples of the Seesaw loss and the means of the batch norm are among them.
    values = {**dict(head.named_parameters()), **dict(head.named_buffers())}
    assert any("cum_samples" in name for name in values)
    assert any("running_mean" in name for name in values)
    return {name: value.detach().clone() for name, value in values.items()}


@pytest.mark.parametrize("dropout", [False, True])
def test_buffers_weights_modes_and_random_numbers_stay(dropout):
    head = head_with_everything_that_could_change({**OURS, "dropout": dropout})
    feats, data = features(), samples()
    before, random = state(head), torch.get_rng_state()
    modes = [part.training for part in head.modules()]
    sample(head, *data, feats)
    after = state(head)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in head.modules()] == modes
    assert all(modes)


def test_the_sampler_of_mmdetection_leaves_traces():
    head = head_with_everything_that_could_change(
        {**THEIRS, "num": 8, "loss_key": "loss_cls_objectness"}
    )
    before = state(head)
    sample(head, *samples(), features())
    changed = {name.split(".")[-1] for name, value in state(head).items()
               if not torch.equal(value, before[name])}  # fmt: skip
    assert {"cum_samples", "running_mean", "running_var"} <= changed


def test_dropout_makes_the_losses_noisy_only_if_it_is_asked_for():
    feats, data = features(), samples()
    for dropout in (False, True):
        head = head_with_everything_that_could_change({**OURS, "dropout": dropout})
        pools = pools_of(head, *data)
        torch.manual_seed(0)
        first = head.bbox_sampler.stage.losses(feats, pools)[0].cls
        torch.rand(3)
        second = head.bbox_sampler.stage.losses(feats, pools)[0].cls
        assert torch.equal(first, second) != dropout


def test_statistics_of_the_batch_do_not_reach_the_scores():
    head = head_with_everything_that_could_change(OURS)
    feats, data = features(), samples()
    together = head.bbox_sampler.stage.losses(feats, pools_of(head, *data))[0]
    head.eval()
    alone = [
        head.bbox_sampler.stage.losses(own, pools_of(head, data[0][n : n + 1], data[1][n : n + 1]))
        for n, own in enumerate(each_image(feats))
    ]
    # Seesaw weighs by what it counted, the rest is of every RoI alone.
    assert torch.allclose(torch.cat([part[0].loc for part in alone]), together.loc, rtol=1e-4)


# --- every kind of head ------------------------------------------------------------------------

NORMED = dict(cls_predictor_cfg=dict(type="NormedLinear"))


@pytest.mark.parametrize("loss_bbox", ["SmoothL1Loss", "L1Loss", "IoULoss", "GIoULoss"])
@pytest.mark.parametrize(
    "loss_cls",
    [
        dict(type="CrossEntropyLoss"),
        dict(type="CrossEntropyLoss", use_sigmoid=True),
        dict(type="FocalLoss", use_sigmoid=True),
        dict(type="SeesawLoss", num_classes=CLASSES),
    ],
    ids=lambda cfg: cfg["type"] + str(cfg.get("use_sigmoid", "")),
)
def test_losses_of_all_kinds_are_one_finite_number_for_each_roi(loss_cls, loss_bbox):
    own = box_head(
        loss_cls=loss_cls, loss_bbox=dict(type=loss_bbox), reg_decoded_bbox="IoU" in loss_bbox,
        **(NORMED if loss_cls["type"] == "SeesawLoss" else {}),
    )  # fmt: skip
    head = build("StandardRoIHead", OURS, own)
    feats, data = features(), samples()
    losses, outputs = head.bbox_sampler.stage.losses(feats, pools_of(head, *data))
    foreground = outputs["labels"] < CLASSES
    assert losses.cls.shape == losses.loc.shape == (126,)
    assert losses.finite().all()
    assert (losses.cls > 0).all()
    assert (losses.loc > 0).tolist() == foreground.tolist()
    results = sample(head, *data, feats)
    assert [len(r.priors) for r in results] == [16, 16]
    assert torch.isfinite(total(head.loss(feats, *data)))


class SumLoss(nn.Module):
    """One value, however it is asked."""

    def forward(self, pred, target, weight=None, **kwargs):
        return pred.sum()


def test_a_loss_of_one_value_is_named():
    for part in ("loss_cls", "loss_bbox"):
        head = build("StandardRoIHead", OURS)
        setattr(head.bbox_head, part, SumLoss())
        with pytest.raises(ValueError, match=rf"{part}=SumLoss returns \(\) for \d+ RoIs"):
            sample(head, *samples(), features())


def test_a_head_without_regression():
    head = build("StandardRoIHead", OURS, box_head(with_reg=False))
    losses, _ = head.bbox_sampler.stage.losses(features(), pools_of(head, *samples()))
    assert losses.loc.tolist() == [0] * 126
    chosen = sample(head, *samples(), features())
    order = losses.cls.split([63, 63])
    assert [len(r.priors) for r in chosen] == [16, 16]
    pools = pools_of(head, *samples())
    for pool, result, cls in zip(pools, chosen, order):
        rows = torch.cat([pool.pos_inds, pool.neg_inds]).tolist()
        hardest = rows[int(cls.argmax())]
        assert hardest in selected([result])[0]
    assert torch.isfinite(total(head.loss(features(), *samples())))


# --- masks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share_extractor", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
def test_the_mask_loss_of_the_hardest_by_hand(agnostic, share_extractor):
    weight, num = 300.0, 4
    mask_head = dict(MASK_HEAD, class_agnostic=agnostic)
    parts = dict(mask_head=mask_head, mask_roi_extractor=MASK_EXTRACTOR)
    if share_extractor:
        parts = dict(mask_head=mask_head, mask_roi_extractor=None)
    size = 6 if share_extractor else 12
    sampler = {**OURS, "num": num, "mask_weight": weight}
    cfg = train_cfg(sampler, mask_size=size)
    head = build("StandardRoIHead", sampler, train_cfg=cfg, **parts)
    feats, data = features(), samples(proposals=30)
    batch = literal_batch(head, feats, *data)
    # First level: 2 x num by classification and localisation.
    first, kept = mine(batch, 2 * num)
    score = {(n, i): batch[n][i]["cls"] + batch[n][i]["loc"] for n, i in kept}
    changed = 0
    for n, i in first:
        roi, item = batch[n][i], data[1][n].gt_instances
        if not roi["fg"]:
            continue
        overlaps = [iou(roi["box"], truth) for truth in item.bboxes.tolist()]
        owner = overlaps.index(max(overlaps)) if roi["index"] >= 3 else roi["index"]
        boxes = torch.tensor([[0.0, *roi["box"]]])
        own = each_image(feats)[n]
        extractor = head.bbox_roi_extractor if share_extractor else head.mask_roi_extractor
        with torch.no_grad():
            logits = head.mask_head(extractor(own, boxes))[0, 0 if agnostic else roi["label"]]
        target = item.masks.crop_and_resize(
            boxes[:, 1:].numpy(), (size, size), torch.tensor([owner]).numpy(), device="cpu"
        ).masks[0]
        probability = logits.double().sigmoid()
        target = torch.from_numpy(target).double()
        entropy = -(target * probability.log() + (1 - target) * (1 - probability).log())
        score[n, i] += weight * float(entropy.mean())
        changed += 1
    assert changed > num
    # Second level: duplicates and the hardest by all three.
    expected = []
    for n, image in enumerate(batch):
        scored = [
            {**roi, "cls": score.get((n, i), roi["cls"] + roi["loc"]), "loc": 0.0}
            for i, roi in enumerate(image)
        ]
        members, _ = mine([scored], num)
        expected.append(sorted(scored[i]["index"] for _, i in members))
    assert selected(sample(head, *data, feats)) == expected
    without = build("StandardRoIHead", {**sampler, "mask_weight": 0.0}, **parts)
    assert selected(sample(without, *data, feats)) != expected


def test_a_mask_weight_without_masks_is_told():
    head = build("StandardRoIHead", {**OURS, "mask_weight": 1.0})
    with pytest.raises(ValueError, match="StandardRoIHead has no mask head: leave mask_weight"):
        sample(head, *samples(), features())


def test_masks_without_any_foreground():
    parts = dict(mask_head=MASK_HEAD, mask_roi_extractor=MASK_EXTRACTOR)
    head = build("StandardRoIHead", {**OURS, "mask_weight": 1.0}, **parts)
    results = sample(head, *samples(truths=0), features())
    assert [(len(r.pos_inds), len(r.neg_inds)) for r in results] == [(0, 16), (0, 16)]


# --- bad input ---------------------------------------------------------------------------------


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


def test_boxes_without_area_are_never_taken_as_foreground():
    head = build("StandardRoIHead", {**OURS, "num": 1000})
    results, data = samples(images=1)
    truths = data[0].gt_instances
    truths.bboxes[1, 2:] = truths.bboxes[1, :2]
    results[0].bboxes[40, 2] = results[0].bboxes[40, 0]  # a background one: it has no coordinates
    chosen = sample(head, results, data, features(1))
    assert 1 not in selected(chosen)[0]
    assert head.bbox_sampler.take_counts()["non_finite"] == 1
    assert torch.isfinite(total(head.loss(features(1), results, data)))


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
        ({"num": -1}, "num=-1"), ({"iou_thr": 0}, "iou_thr=0"), ({"iou_thr": 1.1}, "iou_thr=1.1"),
        ({"chunk": 0}, "chunk=0"), ({"pool": "all"}, "pool='all' must be one of image, batch"),
        ({"mask_weight": -1.0}, "mask_weight=-1.0"),
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


# --- side by side with MMDetection's -----------------------------------------------------------


def test_what_mmdetection_does_otherwise():
    feats, data = features(), samples()
    ours = build("StandardRoIHead", OURS)
    theirs = build("StandardRoIHead", THEIRS)
    batch = literal_batch(ours, feats, *data)
    for result, image in zip(sample(theirs, *data, feats), batch):
        # A quarter is foreground, both by classification alone, duplicates in.
        own = {roi["index"]: roi for roi in image}
        for inds, fg, count in ((result.pos_inds, True, 4), (result.neg_inds, False, 12)):
            order = sorted((r for r in image if r["fg"] == fg), key=lambda r: -r["cls"])
            assert set(inds.tolist()) == {roi["index"] for roi in order[:count]}
        boxes = [own[i]["box"] for i in selected([result])[0]]
        assert any(iou(a, b) > 0.7 for a in boxes for b in boxes if a is not b)
    for result, image in zip(sample(ours, *data, feats), batch):
        own = {roi["index"]: roi for roi in image}
        chosen = [own[i] for i in selected([result])[0]]
        assert not any(
            a is not b and a["label"] == b["label"] and iou(a["box"], b["box"]) > 0.7
            for a in chosen for b in chosen
        )  # fmt: skip


def test_with_classification_alone_a_single_class_and_duplicates_it_is_mmdetections():
    # The same RoIs if everything that differs is taken away: no foreground, so one ranking.
    feats, data = features(), samples(truths=0)
    ours = build("StandardRoIHead", {**OURS, "iou_thr": 1.0})
    theirs = build("StandardRoIHead", THEIRS)
    assert selected(sample(ours, *data, feats)) == selected(sample(theirs, *data, feats))


# --- boxes of five numbers ---------------------------------------------------------------------


@TASK_UTILS.register_module(force=True)
class FiveNumberCoder:
    """(dx, dy, dw, dh, da) of rotated boxes, a stand-in for that of MMRotate."""

    encode_size = 5
    use_box_type = False

    def encode(self, boxes, truths):
        return torch.cat(
            [(truths[:, :2] - boxes[:, :2]) / boxes[:, 2:4],
             (truths[:, 2:4] / boxes[:, 2:4]).log(), truths[:, 4:] - boxes[:, 4:]], 1,
        )  # fmt: skip


@TASK_UTILS.register_module(force=True)
class RotatedOverlaps:
    def __call__(self, a, b, mode="iou", is_aligned=False):
        return box_iou_rotated(a, b)


def test_rotated_boxes():
    own = box_head(bbox_coder=dict(type="FiveNumberCoder"), reg_class_agnostic=True)
    cfg = train_cfg(OURS)
    cfg["assigner"] = dict(cfg["assigner"], iou_calculator=dict(type="RotatedOverlaps"))
    layer = dict(type="RoIAlignRotated", output_size=3, sampling_ratio=2)
    extractor = dict(EXTRACTOR, roi_layer=layer, featmap_strides=[4])
    head = build("StandardRoIHead", OURS, own, train_cfg=cfg, bbox_roi_extractor=extractor)
    generator = torch.Generator().manual_seed(0)
    results, data = samples()
    for result, item in zip(results, data):
        for part in (result, item.gt_instances, item.ignored_instances):
            b = part.bboxes
            angle = torch.rand(len(b), 1, generator=generator) - 0.5
            part.bboxes = torch.cat([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2], angle], 1)
        # Some as turned as their ground truth, so that there are duplicates.
        truths = item.gt_instances.bboxes
        result.bboxes[:9] = truths.repeat(3, 1)
        result.bboxes[:9, :2] += torch.arange(9)[:, None] * 0.25
    feats = features()[:1]
    pools = pools_of(head, results, data)
    losses, outputs = head.bbox_sampler.stage.losses(feats, pools)
    assert outputs["rois"].shape == (126, 6)
    # The first ground truth: its targets are 0, its loss is that of the deltas themselves.
    deltas = outputs["bbox_pred"][0].tolist()
    error = sum(0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in deltas)
    assert len(deltas) == 5
    assert float(losses.loc[0]) == pytest.approx(error, rel=1e-5)
    chosen = sample(head, results, data, feats)
    score = losses.score()
    for pool, result, own in zip(pools, chosen, score.split([63, 63])):
        boxes, labels = (
            pool.boxes(),
            torch.cat([pool.pos_gt_labels, torch.full((len(pool.neg_inds),), CLASSES)]),
        )
        overlaps = box_iou_rotated(boxes, boxes)
        kept = []
        for i in own.argsort(descending=True).tolist():
            if all(labels[i] != labels[j] or overlaps[i, j] <= 0.7 for j in kept):
                kept.append(i)
        assert len(kept) < 63
        rows = torch.cat([pool.pos_inds, pool.neg_inds])
        assert selected([result])[0] == sorted(rows[kept[:16]].tolist())
        assert result.priors.shape == (16, 5)
    loss = total(head.loss(feats, results, data))
    assert torch.isfinite(loss)
