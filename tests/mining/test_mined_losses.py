"""The losses that RoIs are mined by: of every kind of box head, of masks, of rotated boxes."""

from __future__ import annotations

import pytest
import torch
from literal_mining import iou, mine
from mmcv.ops import box_iou_rotated
from mmdet.registry import TASK_UTILS
from roi_heads import (
    CLASSES,
    EXTRACTOR,
    MASK_EXTRACTOR,
    MASK_HEAD,
    box_head,
    build,
    features,
    samples,
    train_cfg,
)
from roi_runs import (
    each_image,
    literal_batch,
    pools_of,
    sample,
    selected,
    total,
)
from torch import nn

OURS = dict(type="RoIOHEMSampler", num=16)


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


@pytest.mark.parametrize("loss_cls", [{}, dict(class_weight=[3.0, 0.5, 2.0, 0.25])], ids=str)
@pytest.mark.parametrize("pos_weight", [-1, 10])
def test_they_are_the_losses_that_each_roi_is_trained_on(pos_weight, loss_cls):
    own = box_head(loss_cls=dict(type="CrossEntropyLoss", **loss_cls))
    head = build("StandardRoIHead", OURS, own, train_cfg=train_cfg(OURS, pos_weight=pos_weight))
    feats, data = features(1), samples(images=1, proposals=20)
    (pool,) = pools_of(head, *data)
    losses, outputs = head.bbox_sampler.stage.losses(feats, [pool])
    for row in range(len(pool)):
        # Trained alone, it is divided by one.
        alone = pool.select(torch.arange(len(pool)) == row)
        trained = head.bbox_loss(feats, [alone])["loss_bbox"]
        assert float(losses.cls[row]) == pytest.approx(float(trained["loss_cls"]), rel=1e-4)
        assert float(losses.loc[row]) == pytest.approx(float(trained["loss_bbox"]), rel=1e-4)
    # Ten times as much, for foreground only.
    plain = build("StandardRoIHead", OURS, own).bbox_sampler.stage.losses(feats, [pool])[0].cls
    times = torch.where(outputs["labels"] < CLASSES, float(abs(pos_weight)), 1.0)
    assert torch.allclose(losses.cls, plain * times, rtol=1e-5)
    assert 0 < (times > 1).sum() < len(pool) or pos_weight < 0


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


@pytest.mark.parametrize(
    "cfg",
    [
        dict(type="SeesawLoss", num_classes=CLASSES, return_dict=False),
        dict(type="QualityFocalLoss"),
    ],
    ids=lambda cfg: cfg["type"],
)
def test_a_loss_that_fails_is_named(cfg):
    extra = NORMED if cfg["type"] == "SeesawLoss" else {}
    head = build("StandardRoIHead", OURS, box_head(loss_cls=cfg, **extra))
    with pytest.raises(ValueError, match=f"loss_cls={cfg['type']} gives no loss for each RoI"):
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
