"""What is trained after mining: the gradient of the selected RoIs, in mixed precision too."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from roi_heads import STRIDES, box_head, build, features, kinds, samples
from roi_runs import differentiable, grads, sample, samplers, total

OURS = dict(type="RoIOHEMSampler", num=16)


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


# --- mixed precision, every kind of head --------------------------------------------------------

MASKED = ["StandardRoIHead", "CascadeRoIHead", "HybridTaskCascadeRoIHead", "SCNetRoIHead"]


def replay(sampler, outcomes: list | None) -> list:
    """Note what a sampler mines; or, given that, let it hand it out again without any forward."""
    mine, noted, given = sampler.mine, [], iter(outcomes or [])

    def note(*args, **kwargs):
        noted.append(mine(*args, **kwargs))
        return noted[-1]

    sampler.mine = note if outcomes is None else lambda *args, **kwargs: next(given)
    return noted


def in_single_precision(extractor) -> None:
    """RoIAlign has no half precision on the CPU."""
    forward = extractor.forward

    def run(feats, rois, *args, **kwargs):
        with torch.autocast("cpu", enabled=False):
            return forward([level.float() for level in feats], rois.float(), *args, **kwargs)

    extractor.forward = run


@pytest.mark.parametrize("mining", ["", "Mining"])
@pytest.mark.parametrize("kind", MASKED)
def test_in_mixed_precision_mining_takes_no_gradient_away(kind, mining):
    sampler = {**OURS, "num": 12, "mask_weight": 2.0}
    outcomes, results = None, []
    for _ in range(2):
        head = build(mining + kind, sampler, **kinds(sampler)[kind])
        for part in head.modules():
            if isinstance(part, SingleRoIExtractor):
                in_single_precision(part)
        outcomes = [replay(own, outcomes and outcomes[n]) for n, own in enumerate(samplers(head))]
        feats = differentiable(features())
        # Cached casts of weights live as long as this context, mining and training share it.
        with torch.autocast("cpu", torch.bfloat16):
            losses = head.loss(feats, *samples())
        total(losses).float().backward()
        results.append((losses, head, feats))
    (mined, head, feats), (alone, plain, unmined) = results
    assert head.bbox_sampler is not plain.bbox_sampler
    assert torch.equal(total(mined), total(alone))
    ours, theirs = dict(head.named_parameters()), dict(plain.named_parameters())
    trained = [name for name, p in theirs.items() if p.grad is not None]
    assert [name for name, p in ours.items() if p.grad is not None] == trained
    assert all(torch.equal(ours[name].grad, theirs[name].grad) for name in trained)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(feats, unmined))
    # And there is one to take away, in every part that mining runs through.
    for name in ("bbox_head", "mask_head"):
        own = [n for n in trained if name in n and ours[n].dim() > 1]
        assert len(own) == len([n for n, p in ours.items() if name in n and p.dim() > 1])
        assert all(0 < float(ours[n].grad.abs().sum()) < float("inf") for n in own)
