"""StratifiedOHEMSampler in RoI heads of MMDetection, against S-OHEM in plain Python."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from literal_mining import mine, mine_strata, scopes, thresholds
from roi_heads import CLASSES, MASKS, box_head, build, features, samples
from roi_runs import indices, joined, literal_batch, record, sample, selected, total

from mmtextplug.mining.s_ohem import Weights
from mmtextplug.mining.s_ohem_sampler import HISTORY, StratifiedOHEMSampler

OURS = dict(type="StratifiedOHEMSampler", num=16)
MOMENTS = [
    Weights(), Weights(1.0, 0.5, 0.0, 0.25), Weights(0.75, 1.0, 0.0, 0.5),
    Weights(0.5, 1.9, 0.0, 1.0),
]  # fmt: skip


def at(weights: Weights, kind: str = "StandardRoIHead", **options):
    head = build(kind, {**OURS, **options})
    head.bbox_sampler.weights = weights
    head.bbox_sampler.is_scheduled = True
    return head


@pytest.mark.parametrize("weights", MOMENTS, ids=lambda w: str(w.progress))
@pytest.mark.parametrize("seed", range(2))
def test_weighted_as_the_literal_procedure(weights, seed):
    head = at(weights)
    feats, data = features(seed=seed), samples(ignored=3, seed=seed)
    batch = literal_batch(head, feats, *data)
    members, _ = mine(batch, 16, alpha=weights.alpha, beta=weights.beta)
    assert selected(sample(head, *data, feats)) == indices(batch, members)


@pytest.mark.parametrize("weights", MOMENTS, ids=lambda w: str(w.progress))
@pytest.mark.parametrize("late", ["s13", "s23"])
@pytest.mark.parametrize("pool", ["image", "batch"])
def test_stratified_as_the_literal_procedure(weights, late, pool):
    options = dict(late=late, pool=pool, late_share=0.75)
    head = at(weights, "MiningStandardRoIHead", mode="stratified", **options)
    feats, data = features(), samples(ignored=3)
    batch = literal_batch(head, feats, *data)
    members, kept, number = mine_strata(
        batch, 16, weights.progress, alpha=weights.alpha, beta=weights.beta, **options
    )
    mined = record(head.bbox_sampler)
    head.loss(feats, *data)
    assert mined == [indices(batch, members)]
    counts = head.bbox_sampler.take_counts()
    for stratum in (1, 2, 3, 4):
        own = {m for m in kept if number[m] == stratum}
        assert counts[f"population_s{stratum}"] == len(own)
        assert counts[f"selected_s{stratum}"] == len(own & members)
    # Of each image, or of the batch; what is counted is the mean of the images.
    limits = [
        thresholds(batch, {m for m in kept if m[0] in images})
        for images, _ in scopes(batch, pool, 16)
    ]
    for key, values in zip(("cls_threshold", "loc_threshold"), zip(*limits)):
        assert counts[key] == pytest.approx(sum(values) / len(values), 1e-4)


def test_at_first_both_modes_select_by_classification_alone():
    feats, data = features(), samples()
    batch = literal_batch(at(Weights()), feats, *data)
    expected = indices(batch, mine(batch, 16, beta=0.0)[0])
    assert expected != indices(batch, mine(batch, 16)[0])
    for options in (dict(mode="weighted"), dict(mode="stratified"),
                    dict(mode="stratified", late="s23", quantile=0.5)):  # fmt: skip
        assert selected(sample(at(Weights(), **options), *data, feats)) == expected


def test_weights_of_one_and_one_are_ohem():
    feats, data = features(), samples()
    plain = build("StandardRoIHead", dict(type="RoIOHEMSampler", num=16))
    head = at(Weights(beta=1.0))
    assert selected(sample(head, *data, feats)) == selected(sample(plain, *data, feats))


def test_every_category_may_have_its_own_weight():
    beta = [0.0, 0.5, 8.0]
    head = at(Weights(beta=beta), per_class=True)
    feats, data = features(), samples(truths=5)
    batch = literal_batch(head, feats, *data)
    assert {roi["label"] for image in batch for roi in image} == {0, 1, 2, CLASSES}
    expected = indices(batch, mine(batch, 16, beta=beta)[0])
    assert selected(sample(head, *data, feats)) == expected
    assert all(expected != indices(batch, mine(batch, 16, beta=b)[0]) for b in beta)


def test_the_trained_loss_stays_what_it_is():
    # Where everyone is selected, it does not matter by what.
    everyone = dict(num=1000, iou_thr=1.0)
    losses = [
        head.loss(features(), *samples())
        for head in (
            at(Weights(0.1, 7.0, 0.0, 1.0), mode="stratified", **everyone),
            build("StandardRoIHead", dict(type="RoIOHEMSampler", **everyone)),
        )
    ]
    assert float(total(losses[0])) > 0
    assert all(torch.equal(losses[0][key], losses[1][key]) for key in losses[1])


@pytest.mark.parametrize("mode", ["weighted", "stratified"])
def test_the_history_adds_up_what_survives_and_what_is_selected(mode):
    weights = MOMENTS[2]
    per_class = mode == "weighted"
    head = at(weights, mode=mode, per_class=per_class)
    sampler = head.bbox_sampler
    length = len(HISTORY) + per_class * 2 * CLASSES
    assert sampler.take_history().tolist() == [0.0] * length
    expected = torch.zeros(length, dtype=torch.float64)
    for seed in (0, 1):
        feats, data = features(seed=seed), samples(images=1, seed=seed)
        feats = tuple(f[:1] for f in feats)
        batch = literal_batch(head, feats, *data)
        options = dict(alpha=weights.alpha, beta=weights.beta)
        if mode == "weighted":
            members, kept = mine(batch, 16, **options)
        else:
            members, kept, _ = mine_strata(batch, 16, weights.progress, **options)
        assert selected(sample(head, *data, feats)) == indices(batch, members)
        rois, chosen = ([batch[n][i] for n, i in part] for part in (kept, members))
        sums = [
            sum(r["cls"] for r in rois), len(rois), sum(r["loc"] for r in rois),
            sum(r["fg"] for r in rois), sum(r["cls"] for r in chosen),
            sum(r["loc"] for r in chosen), 0.0,
        ]  # fmt: skip
        for key in ("cls", "loc") if per_class else ():
            sums += [sum(r[key] for r in chosen if r["label"] == label) for label in range(CLASSES)]
        expected += torch.tensor(sums, dtype=torch.float64)
    history = sampler.take_history()
    assert history.dtype == torch.float64
    assert history.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert sampler.take_history().abs().sum() == 0  # it began anew


def test_the_mask_loss_joins_as_the_schedule_has_it():
    feats, data = features(), samples()
    chosen = {}
    for gamma in (0.0, 1.0):
        sampler = {**OURS, "num": 4, "mask_weight": 100.0}
        head = build("StandardRoIHead", sampler, **MASKS)
        head.bbox_sampler.weights = Weights(gamma=gamma)
        chosen[gamma] = selected(sample(head, *data, feats))
        assert head.bbox_sampler.take_history()[HISTORY.index("mask_selected")] > 0
    without = build("StandardRoIHead", {**OURS, "num": 4}, **MASKS)
    assert chosen[0.0] == selected(sample(without, *data, feats))
    assert chosen[1.0] != chosen[0.0]
    assert without.bbox_sampler.take_history()[HISTORY.index("mask_selected")] == 0


@pytest.mark.parametrize("kind", ["StandardRoIHead", "MiningStandardRoIHead"])
@pytest.mark.parametrize("weights", [*MOMENTS, Weights(0.0, 3.0), Weights(1.0, 0.0, 1.0)], ids=str)
def test_the_masks_of_all_that_are_selected_were_measured(kind, weights):
    # Whatever the weights: who goes through the mask head ranks by them already.
    sampler = {**OURS, "num": 6, "mask_weight": 2.0}
    head = build(kind, sampler, **MASKS)
    head.bbox_sampler.weights, head.bbox_sampler.is_scheduled = weights, True
    measured, select = [], head.bbox_sampler.select

    def note(rois, losses, score, survivor):
        chosen = select(rois, losses, score, survivor)
        measured.append((losses.mask[chosen & rois.foreground] > 0, losses.mask > 0))
        return chosen

    head.bbox_sampler.select = note
    head.loss(features(), *samples())
    of_selected, of_all = (torch.cat(part) for part in zip(*measured))
    assert len(of_selected) > 3
    assert of_selected.all()
    assert of_all.sum() <= 2 * 2 * 6  # and of few others


@pytest.mark.parametrize("kind", ["StandardRoIHead", "MiningStandardRoIHead"])
@pytest.mark.parametrize("mode", ["weighted", "stratified"])
def test_another_image_does_not_change_what_is_selected_of_these(kind, mode):
    feats, data = features(), samples(ignored=2)
    more, others = features(1, seed=5), samples(images=1, truths=5, seed=5)
    for weights in MOMENTS[1:]:
        chosen = []
        for own, images in ((feats, data), (joined(feats, more), joined(data, others))):
            head = at(weights, kind, mode=mode)
            mined = record(head.bbox_sampler)
            head.loss(own, *copy.deepcopy(images))
            chosen.append([rows for call in mined for rows in call])
        assert len(chosen[1]) == 3
        assert chosen[1][:2] == chosen[0]


@pytest.mark.parametrize("kind", ["StandardRoIHead", "MiningStandardRoIHead"])
@pytest.mark.parametrize("mode", ["weighted", "stratified"])
def test_only_training_enters_the_history(kind, mode):
    head = at(MOMENTS[1], kind, mode=mode).eval()
    head.loss(features(), *samples())
    assert head.bbox_sampler.history is None
    assert head.bbox_sampler.take_counts() == {}
    head.train().loss(features(), *samples())
    assert head.bbox_sampler.history[HISTORY.index("survivors")] > 32


@pytest.mark.parametrize("mode", ["weighted", "stratified"])
@pytest.mark.parametrize("given", [dict(proposals=0, truths=0), dict(truths=0), dict(proposals=0)])
def test_few_and_none(given, mode):
    head = at(Weights(beta=1.0, progress=0.5), mode=mode, per_class=mode == "weighted")
    results = sample(head, *samples(**given), features())
    count = {(0, 0): 0, (60, 0): 16, (0, 3): 3}[
        given.get("proposals", 60), given.get("truths", 3)
    ]  # fmt: skip
    assert [len(r.priors) for r in results] == [count, count]
    assert torch.isfinite(head.bbox_sampler.take_history()).all()
    assert all(value == value for value in head.bbox_sampler.take_counts().values())
    assert torch.isfinite(total(head.loss(features(), *samples(**given))))


@pytest.mark.parametrize("mode", ["weighted", "stratified"])
def test_what_is_not_finite_is_counted_and_enters_nothing(mode):
    feats, data = features(), samples()
    feats[0][0, :, 10, 10] = float("nan")
    head = at(Weights(beta=1.0, progress=0.5), mode=mode)
    results = sample(head, *data, feats)
    assert [len(r.priors) for r in results] == [16, 16]
    counts = head.bbox_sampler.take_counts()
    assert 0 < counts["non_finite"] < 126
    assert torch.isfinite(head.bbox_sampler.take_history()).all()
    assert all(torch.isfinite(torch.tensor(list(counts.values()))))
    assert torch.isfinite(total(head.loss(feats, *samples())))
    head.bbox_head.fc_cls.weight.data.fill_(float("nan"))
    head.bbox_sampler.take_history()
    assert [len(r.priors) for r in sample(head, *data, feats)] == [0, 0]
    assert head.bbox_sampler.take_history().tolist() == [0.0] * len(HISTORY)


def test_a_head_without_regression_has_no_late_strata():
    for mode in ("weighted", "stratified"):
        head = build("StandardRoIHead", {**OURS, "mode": mode}, box_head(with_reg=False))
        head.bbox_sampler.weights = Weights(beta=2.0, progress=1.0)
        plain = build("StandardRoIHead", OURS, box_head(with_reg=False))
        feats, data = features(), samples()
        if mode == "weighted":
            assert selected(sample(head, *data, feats)) == selected(sample(plain, *data, feats))
        assert [len(r.priors) for r in sample(head, *data, feats)] == [16, 16]


def test_without_its_hook_it_says_so_once(monkeypatch):
    told = []
    monkeypatch.setattr(
        "mmtextplug.mining.s_ohem_sampler.print_log",
        lambda message, logger, level: told.append((message, level)),
    )
    head = build("StandardRoIHead", OURS)
    for _ in range(3):
        sample(head, *samples(), features())
    assert len(told) == 1
    assert "no StratifiedOHEMHook in custom_hooks" in told[0][0]
    assert told[0][1] == logging.WARNING
    sample(at(Weights()), *samples(), features())  # with the hook: nothing
    assert len(told) == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "both"}, "mode='both' must be one of weighted, stratified"),
        ({"late": "s12"}, "late='s12' one of s13, s23"),
        ({"late_share": 1.5}, "late_share=1.5"), ({"late_share": -0.1}, "late_share=-0.1"),
        ({"quantile": 2}, "quantile=2"), ({"max_pos_fraction": 0.25}, "max_pos_fraction"),
        ({"num": -1}, "StratifiedOHEMSampler: need a whole num=-1"),
        ({"mode": "stratified", "per_class": True}, "leave out per_class and mask_weight"),
        ({"mode": "stratified", "mask_weight": 1.0}, "or take mode='weighted'"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        build("StandardRoIHead", {**OURS, **options})


def test_it_inherits_what_random_samplers_leave_in_configs():
    sampler = {**OURS, "pos_fraction": 0.25, "neg_pos_ub": -1, "add_gt_as_proposals": True}
    head = build("StandardRoIHead", sampler)
    assert isinstance(head.bbox_sampler, StratifiedOHEMSampler)
    feats, data = features(), samples()
    assert selected(sample(head, *data, feats)) == selected(sample(at(Weights()), *data, feats))
