"""RoIOHEMSampler in RoI heads of MMDetection, against the paper's procedure in plain Python."""

from __future__ import annotations

import copy

import pytest
import torch
from literal_mining import iou, mine
from mmdet.models.task_modules.samplers import SamplingResult
from roi_heads import (
    build,
    features,
    samples,
)
from roi_runs import (
    indices,
    joined,
    literal_batch,
    pools_of,
    record,
    sample,
    selected,
)

OURS = dict(type="RoIOHEMSampler", num=16)
THEIRS = dict(type="OHEMSampler", num=16, pos_fraction=0.25)


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
        without_area=0,
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


# --- what is counted, and of whom ---------------------------------------------------------------


def test_another_image_does_not_change_what_is_selected_of_these():
    feats, data = features(), samples(ignored=2)
    more, others = features(1, seed=5), samples(images=1, truths=5, seed=5)
    for kind in ("StandardRoIHead", "MiningStandardRoIHead"):
        chosen = []
        for own, images in ((feats, data), (joined(feats, more), joined(data, others))):
            head = build(kind, OURS)
            mined = record(head.bbox_sampler)
            head.loss(own, *copy.deepcopy(images))
            chosen.append([rows for call in mined for rows in call])
        assert len(chosen[1]) == 3
        assert chosen[1][:2] == chosen[0]


@pytest.mark.parametrize("kind", ["StandardRoIHead", "MiningStandardRoIHead"])
def test_only_training_is_counted(kind):
    head = build(kind, OURS).eval()
    head.loss(features(), *samples())
    assert head.bbox_sampler.take_counts() == {}
    head.train().loss(features(), *samples())
    assert head.bbox_sampler.take_counts()["selected"] == 32
