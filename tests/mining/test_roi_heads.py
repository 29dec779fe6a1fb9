"""RoI heads that mine once for all images, beside the heads of MMDetection that they are."""

from __future__ import annotations

import copy

import pytest
import torch
from literal_mining import mine
from mmdet.models.task_modules.samplers import SamplingResult
from roi_heads import build, features, kinds, samples
from roi_runs import (
    indices,
    literal_batch,
    record,
    sample,
    samplers,
    selected,
    total,
)

from mmtextplug.mining.roi_pool import RoIPool

OURS = dict(type="RoIOHEMSampler", num=16)
KINDS = list(kinds(OURS))
CASCADES = ["CascadeRoIHead", "HybridTaskCascadeRoIHead", "SCNetRoIHead"]
WITH_MASKS = ["StandardRoIHead", "PointRendRoIHead", *CASCADES]


def make(kind: str, sampler: dict = OURS, **changes):
    name = kind.removeprefix("Mining")
    return build(kind, sampler, **{**kinds(sampler)[name], **changes})


@pytest.mark.parametrize("mining", ["", "Mining"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_head_trains_a_step(kind, mining):
    head = make(mining + kind)
    feats = tuple(f.requires_grad_() for f in features())
    losses = head.loss(feats, *samples(ignored=2))
    loss = total(losses)
    assert torch.isfinite(loss)
    loss.backward()
    assert all(torch.isfinite(f.grad).all() and f.grad.abs().sum() > 0 for f in feats)
    for sampler in samplers(head):
        counts = sampler.take_counts()
        # An interleaved cascade samples again for the masks; who mines once does not count it.
        images = 2 * (2 if kind.startswith("Hybrid") and not mining else 1)
        assert counts["calls"] == (1 if mining else images)
        # Of boxes that were refined many are duplicates.
        least = 12 if kind in CASCADES else 16
        assert least * images <= counts["selected"] <= 16 * images
        assert counts["non_finite"] == 0
    # What is told and what is trained are the head's own.
    plain = make(kind, dict(type="RandomSampler", num=16, pos_fraction=0.25))
    expected = plain.loss(features(), *samples(ignored=2))
    total(expected).backward()
    assert losses.keys() == expected.keys()
    trained, as_ever = (
        {name for name, p in model.named_parameters() if p.grad is not None}
        for model in (head, plain)
    )
    assert trained == as_ever


@pytest.mark.parametrize("mask_weight", [0.0, 50.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_stage_selects_what_the_plain_head_selects_image_by_image(kind, mask_weight):
    if mask_weight and kind not in WITH_MASKS:
        pytest.skip("has no masks")
    sampler = {**OURS, "mask_weight": mask_weight, "num": 8}
    head, plain = make("Mining" + kind, sampler), make(kind, sampler)
    first, second = record(samplers(head)[0]), record(samplers(plain)[0])
    head.loss(features(), *samples(ignored=2))
    plain.loss(features(), *samples(ignored=2))
    assert len(first[0]) == 2
    assert first[0] == second[0] + second[1]
    assert [len(rows) for rows in first[0]] == [8, 8]


@pytest.mark.parametrize("kind", ["StandardRoIHead", "DoubleHeadRoIHead"])
def test_a_plain_head_and_one_that_mines_once_have_the_same_loss(kind):
    losses = [
        make(mining + kind).loss(features(), *samples(ignored=2)) for mining in ("", "Mining")
    ]
    assert losses[0].keys() == losses[1].keys()
    for key, value in losses[0].items():
        assert torch.allclose(value, losses[1][key], rtol=1e-5)


def test_selection_by_the_literal_procedure():
    for pool in ("image", "batch"):
        head = make("MiningStandardRoIHead", {**OURS, "pool": pool})
        mined = record(head.bbox_sampler)
        feats, data = features(), samples(ignored=3)
        batch = literal_batch(head, feats, *data)
        members, _ = mine(batch, 16, pool=pool)
        head.loss(feats, *data)
        assert mined == [indices(batch, members)]
        if pool == "batch":
            assert [len(rows) for rows in mined[0]] != [16, 16]


def test_the_batch_has_one_quota_also_where_an_image_has_little():
    head = make("MiningStandardRoIHead", {**OURS, "pool": "batch", "iou_thr": 1.0})
    (few, *_), (sparse, *_) = samples(images=1, proposals=4, truths=1)
    (many, *_), (rich, *_) = samples(images=1, seed=1)
    mined = record(head.bbox_sampler)
    head.loss(features(), [few, many], [sparse, rich])
    assert sum(len(rows) for rows in mined[0]) == 32
    assert len(mined[0][0]) <= 5
    head.bbox_sampler.pool = "image"
    (few, *_), (sparse, *_) = samples(images=1, proposals=4, truths=1)
    (many, *_), (rich, *_) = samples(images=1, seed=1)
    head.loss(features(), [few, many], [sparse, rich])
    assert [len(rows) for rows in mined[1]] == [5, 16]


# --- cascades ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mining", ["", "Mining"])
@pytest.mark.parametrize("kind", CASCADES)
def test_every_stage_mines_with_its_own_head(kind, mining):
    head = make(mining + kind)
    used = []
    for stage, box_head in enumerate(head.bbox_head):
        box_head.register_forward_hook(
            lambda *_, stage=stage: None if torch.is_grad_enabled() else used.append(stage)
        )
    head.loss(features(), *samples())
    times = 1 if mining else 2
    again = 2 if kind.startswith("Hybrid") else 1
    assert used == [stage for stage in (0, 1) for _ in range(times * again)]


@pytest.mark.parametrize("mining", ["", "Mining"])
def test_the_scores_of_a_later_stage_are_those_of_its_head(mining):
    head = make(mining + "CascadeRoIHead")
    feats, data = features(), samples()
    batch = literal_batch(head, feats, *data, stage=1)
    other = literal_batch(head, feats, *data, stage=0)
    expected = indices(batch, mine(batch, 16)[0])
    assert indices(other, mine(other, 16)[0]) != expected
    for sampler in samplers(head):
        sampler.mines_at_once = False
    assert selected(sample(head, *data, feats, stage=1)) == expected


@pytest.mark.parametrize("kind", CASCADES)
def test_all_rois_are_refined_not_only_the_hard_ones(kind):
    data = samples(ignored=2)
    candidates = {}
    for mining in ("", "Mining"):
        head = make(mining + kind)
        head.loss(features(), *copy.deepcopy(data))
        candidates[mining] = [s.take_counts()["candidates"] for s in samplers(head)]
    # 126 less those ignored; later ones have all of them, ground truths twice left out and in.
    first = candidates["Mining"][0]
    assert 100 < first <= 126
    assert first - 10 <= candidates["Mining"][1] <= 126
    if kind.startswith("Hybrid"):  # the plain one counts what it samples again for the masks
        assert candidates["Mining"][1] > candidates[""][1] / 2 > 0
    else:
        assert candidates["Mining"][0] == candidates[""][0] == first
        # The plain head has 16 of each image and three ground truths.
        assert candidates[""][1] <= 2 * (16 + 3)
        assert first - 10 <= candidates["Mining"][1] <= 126


def test_the_refined_boxes_by_hand():
    head = make("MiningCascadeRoIHead")
    feats, data = features(), samples()
    priors = []
    sampler = head.bbox_sampler[1]
    keep = sampler.sample

    def note(assigned, proposals, *args, **kwargs):
        priors.append(proposals.priors.clone())
        return keep(assigned, proposals, *args, **kwargs)

    sampler.sample = note
    mined = record(head.bbox_sampler[0])
    head.loss(feats, *copy.deepcopy(data))
    batch = literal_batch(head, feats, *data, stage=0)
    first = head.bbox_head[0]
    for n, (image, own) in enumerate(zip(batch, priors)):
        expected = []
        for roi in image:
            if roi["index"] < 3:
                continue  # ground truths come anew in every stage
            rois = torch.tensor([[float(n), *roi["box"]]])
            with torch.no_grad():
                out = head._bbox_forward(0, feats, rois)
            # Foreground by its label, background by the class it looks most like.
            label = roi["label"] if roi["fg"] else int(out["cls_score"][0, :-1].argmax())
            deltas = out["bbox_pred"][:, 4 * label : 4 * label + 4]
            box = first.bbox_coder.decode(rois[:, 1:], deltas, max_shape=(96, 96))
            expected.append((roi["index"], box[0]))
        hard = [i for i in mined[0][n] if i >= 3]
        assert len(own) == len(expected) == 60
        values = torch.stack([box for _, box in expected])
        # Each of them once, whatever the order; the hard ones first.
        distance = (own[:, None] - values).abs().amax(2)
        assert distance.min(1)[0].max() < 1e-3
        assert distance.min(0)[0].max() < 1e-3
        nearest = [expected[i][0] for i in distance.argmin(1).tolist()]
        assert sorted(nearest[: len(hard)]) == hard


def test_results_of_the_last_stage_are_ordinary():
    head = make("MiningCascadeRoIHead")
    seen = []
    mask_loss = head.mask_loss

    def note(*args, **kwargs):
        outcome = mask_loss(*args, **kwargs)
        seen.extend(args[2] if len(args) > 2 else kwargs["sampling_results"])
        return outcome

    head.mask_loss = note
    head.loss(features(), *samples())
    assert len(seen) == 4
    assert all(type(result) is SamplingResult for result in seen)
    assert not any(isinstance(result, RoIPool) for result in seen)
