"""Strata and their shares, by hand and in plain Python."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_mining import mine, mine_strata, scopes
from random_rois import batches, pairs, tensors

from mmtextplug.mining.roi_losses import RoILosses
from mmtextplug.mining.roi_select import Candidates, hardest, survivors
from mmtextplug.mining.s_ohem import strata, stratified

NAN, INF = float("nan"), float("inf")
PROGRESS = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
POOL = st.sampled_from(["image", "batch"])

# Ten RoIs that come one after the other in the classification loss.
CLS = [2.0, 1.6, 1.2, 0.9, 0.5, 0.4, 0.2, 0.1, 0.05, 0.02]
LOC = [0.9, 0, 0.1, 0, 0.8, 0.6, 0.5, 0.05, 0, 0]
FOREGROUND = [1, 0, 1, 0, 1, 1, 1, 1, 0, 0]


def toy() -> tuple[Candidates, RoILosses]:
    foreground = torch.tensor(FOREGROUND).bool()
    rois = Candidates(
        boxes=torch.arange(40.0).view(10, 4) * 10,
        labels=(~foreground).long(),
        foreground=foreground,
        sizes=(10,),
    )
    return rois, RoILosses(torch.tensor(CLS), torch.tensor(LOC))


def select(rois, losses, num, progress, *, alpha=1.0, beta=0.0, iou_thr=1.0, quantile=None,
           per_label=True, pool="image", **options):  # fmt: skip
    """As the sampler does it."""
    score = losses.score(alpha, beta).masked_fill(~(losses.finite() & rois.has_area), NAN)
    kept = survivors(rois, score, iou_thr=iou_thr, per_label=per_label)
    groups = strata(rois, losses, kept, quantile, pool)
    selected = stratified(rois, losses, score, kept, groups, num, progress, pool=pool, **options)
    return selected, kept, groups


def indices(mask: torch.Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


# --- by hand -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "beta", "scores", "picked"),
    [
        (1.0, 0.0, (0.21, 0.19), 0),
        (1.0, 1.0, (0.32, 0.31), 0),
        (1.0, 1.9, (0.419, 0.418), 0),  # the paper's last weights on VOC: still the first
        (1.0, 2.3, (0.463, 0.466), 1),  # and on KITTI
    ],
)
def test_the_two_rois_of_the_paper(alpha, beta, scores, picked):
    losses = RoILosses(torch.tensor([0.21, 0.19]), torch.tensor([0.11, 0.12]))
    score = losses.score(alpha, beta)
    assert score.tolist() == pytest.approx(scores, abs=1e-6)
    rois = Candidates(torch.zeros(2, 4), torch.zeros(2).long(), torch.ones(2).bool(), (2,))
    assert indices(hardest(rois, score, torch.ones(2).bool(), 1)) == [picked]


def test_at_a_ratio_of_two_they_tie_and_the_first_is_picked():
    # In hundredths, which are exact.
    score = RoILosses(torch.tensor([21.0, 19.0]), torch.tensor([11.0, 12.0])).score(1.0, 2.0)
    assert score.tolist() == [43.0, 43.0]
    rois = Candidates(torch.zeros(2, 4), torch.zeros(2).long(), torch.ones(2).bool(), (2,))
    assert indices(hardest(rois, score, torch.ones(2).bool(), 1)) == [0]


def test_strata_by_hand():
    rois, losses = toy()
    groups = strata(rois, losses, torch.ones(10).bool())
    assert groups.number.tolist() == [1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert float(groups.cls_threshold) == pytest.approx(0.697)
    assert float(groups.loc_threshold) == pytest.approx(2.95 / 6)
    # Without the first: means of nine and of five; the fourth is now above.
    groups = strata(rois, losses, torch.arange(10) > 0)
    assert float(groups.cls_threshold) == pytest.approx(4.97 / 9)
    assert float(groups.loc_threshold) == pytest.approx(2.05 / 5)
    assert groups.number.tolist() == [0, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_each_image_has_its_own_thresholds_unless_the_batch_has_one():
    # The second image as the first with a hundredth of its losses, and a third without any RoI.
    rois, losses = toy()
    both = Candidates(
        rois.boxes.repeat(2, 1), rois.labels.repeat(2), rois.foreground.repeat(2), (10, 10, 0)
    )
    twice = RoILosses(*(torch.cat([part, part / 100]) for part in (losses.cls, losses.loc)))
    everyone = torch.ones(20).bool()
    own = strata(both, twice, everyone)
    assert own.number.tolist() == [1, 2, 2, 2, 3, 3, 3, 4, 4, 4] * 2
    # The mean of the images, of which one has nothing: 0.
    assert float(own.cls_threshold) == pytest.approx((0.697 + 0.00697) / 3)
    assert float(own.loc_threshold) == pytest.approx(2.95 / 6 * 1.01 / 3)
    # One mean over all: 0.352 and 0.248, of which the second image has nothing.
    shared = strata(both, twice, everyone, pool="batch")
    assert shared.number.tolist() == [1, 2, 2, 2, 1, 1, 3, 4, 4, 4] + [4] * 10
    assert float(shared.cls_threshold) == pytest.approx(6.97 * 1.01 / 20)
    assert float(shared.loc_threshold) == pytest.approx(2.95 * 1.01 / 12)
    # Of each image the values at place round(9 / 2) = 4 of ten and round(5 / 2) = 2 of six.
    halves = strata(both, twice, everyone, 0.5)
    assert float(halves.loc_threshold) == pytest.approx(0.5 * 1.01 / 3)
    assert float(halves.cls_threshold) == pytest.approx(0.4 * 1.01 / 3)
    assert halves.number.tolist() == [1, 2, 2, 2, 1, 1, 3, 4, 4, 4] * 2


def test_the_written_strata_rank_by_classification_and_localisation_alone():
    rois, losses = toy()
    masked = RoILosses(losses.cls, losses.loc, torch.arange(10.0))
    everyone = torch.ones(10).bool()
    groups = strata(rois, losses, everyone)
    for progress in (0.5, 1.0):
        expected, selected = (
            stratified(rois, part, losses.score(), everyone, groups, 4, progress, late="s23")
            for part in (losses, masked)
        )
        assert torch.equal(selected, expected)


def test_strata_by_quantiles():
    rois, losses = toy()
    everyone = torch.ones(10).bool()
    # The value at place round(9 * 0.8) = 7 of ten and round(5 * 0.8) = 4 of six.
    groups = strata(rois, losses, everyone, 0.8)
    assert float(groups.cls_threshold) == pytest.approx(1.2)
    assert float(groups.loc_threshold) == pytest.approx(0.8)
    assert groups.number.tolist() == [1, 2, 2, 4, 3, 4, 4, 4, 4, 4]
    assert strata(rois, losses, everyone, 0.0).number.tolist() == [
        1, 2, 1, 2, 1, 1, 1, 1, 2, 2
    ]  # fmt: skip
    assert strata(rois, losses, everyone, 1.0).number.tolist() == [1] + [4] * 9


@pytest.mark.parametrize(
    ("alpha", "beta", "expected"),
    [
        (1, 1, [0, 1, 2, 4]), (1, 0, [0, 1, 2, 3]), (1, 1.9, [0, 1, 4, 5]),
        (1, 2.3, [0, 1, 4, 5]), (0.5, 1.9, [0, 4, 5, 6]), (0, 1, [0, 4, 5, 6]),
    ],
)  # fmt: skip
def test_the_toy_weighted(alpha, beta, expected):
    rois, losses = toy()
    score = losses.score(float(alpha), float(beta))
    assert indices(hardest(rois, score, torch.ones(10).bool(), 4)) == expected


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        ("s13", ["0123", "0124", "0145", "0456", "0456"]),
        # As the paper writes it: in the end the hardest of all is gone.
        ("s23", ["0123", "0124", "0124", "0124", "1245"]),
    ],
)
def test_the_toy_stratified(late, expected):
    rois, losses = toy()
    for progress, wanted in zip((0, 0.25, 0.5, 0.75, 1), expected):
        selected = select(rois, losses, 4, progress, late=late)[0]
        assert "".join(map(str, indices(selected))) == wanted


def test_the_share_of_the_late_strata():
    rois, losses = toy()
    # Half of four in the end, whatever the strata would have.
    half = [indices(select(rois, losses, 4, p, late_share=0.5)[0]) for p in (0, 0.5, 1)]
    assert half == [[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 4, 5]]
    assert indices(select(rois, losses, 4, 1.0, late_share=0.0)[0]) == [0, 1, 2, 3]
    # 0.375 * 4 = 1.5 is rounded up to 2.
    assert indices(select(rois, losses, 4, 0.375)[0]) == [0, 1, 4, 5]
    # All ten: strata 1 and 3 have but four, the others fill up.
    assert select(rois, losses, 10, 1.0)[0].all()
    assert select(rois, losses, 11, 0.5)[0].all()


# --- against plain Python ----------------------------------------------------------------------


def no_threshold_near(batch, kept, pool) -> bool:
    """Whether means in single and in double precision part the RoIs alike."""
    parts = [
        [batch[n][i][key] for n, i in kept if n in images and (key == "cls" or batch[n][i]["fg"])]
        for images, _ in scopes(batch, pool, 0) for key in ("cls", "loc")
    ]  # fmt: skip
    for values in parts:
        mean = sum(values) / max(len(values), 1)
        if any(value != mean and abs(value - mean) < 1e-5 for value in values):
            return False
        # A mean that is one of the values but no binary fraction may round to either side.
        if any(value == mean for value in values) and mean * 64 % 1:
            return False
    return True


@settings(max_examples=300, deadline=None)
@given(
    batches(), st.integers(0, 7), PROGRESS, POOL, st.sampled_from(["s13", "s23"]),
    st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.5, 1.0]), st.booleans(),
)  # fmt: skip
def test_equals_the_literal_procedure(
    batch, num, progress, pool, late, late_share, beta, iou_thr, per_label
):
    rois, losses = tensors(batch)
    options = dict(pool=pool, late=late, late_share=late_share)
    same = dict(beta=beta, iou_thr=iou_thr, per_label=per_label)
    selected, kept, groups = select(rois, losses, num, progress, **same, **options)
    expected, survived, number = mine_strata(batch, num, progress, **same, **options)
    assert pairs(rois, kept) == survived
    if no_threshold_near(batch, survived, pool):
        for n, part in enumerate(groups.number.split(rois.sizes)):
            assert part.tolist() == [number.get((n, i), 0) for i in range(len(part))]
        assert pairs(rois, selected) == expected


@settings(max_examples=200, deadline=None)
@given(batches(), st.integers(0, 7), PROGRESS, POOL, st.sampled_from(["s13", "s23"]))
def test_strata_that_are_short_are_filled_up_at_any_time(batch, num, progress, pool, late):
    rois, losses = tensors(batch)
    selected, kept, groups = select(
        rois, losses, num, progress, iou_thr=0.5, pool=pool, late=late, beta=progress
    )
    assert not (selected & ~kept).any()
    assert torch.equal(groups.number > 0, kept)
    if pool == "batch":
        assert selected.sum() == min(num * len(batch), int(kept.sum()))
    else:
        for own, survived in zip(selected.split(rois.sizes), kept.split(rois.sizes)):
            assert own.sum() == min(num, int(survived.sum()))


@settings(max_examples=100, deadline=None)
@given(
    batches(), batches(images=(1, 1)), st.integers(0, 7), PROGRESS,
    st.sampled_from(["s13", "s23"]), st.sampled_from([None, 0.25, 0.75]),
)  # fmt: skip
def test_another_image_does_not_change_what_is_selected_of_these(
    batch, more, num, progress, late, quantile
):
    options = dict(late=late, quantile=quantile, iou_thr=0.5, beta=progress)
    alone, _, groups = select(*tensors(batch), num, progress, **options)
    together, _, joint = select(*tensors(batch + more), num, progress, **options)
    assert torch.equal(together[: len(alone)], alone)
    assert torch.equal(joint.number[: len(alone)], groups.number)


@settings(max_examples=200, deadline=None)
@given(batches(), st.integers(0, 7), POOL, st.sampled_from(["s13", "s23"]))
def test_at_first_both_modes_are_the_highest_classification_losses(batch, num, pool, late):
    rois, losses = tensors(batch)
    selected, kept, _ = select(rois, losses, num, 0.0, pool=pool, late=late, iou_thr=0.5)
    weighted, survived = mine(batch, num, beta=0.0, pool=pool, iou_thr=0.5)
    assert pairs(rois, kept) == survived
    assert pairs(rois, selected) == weighted


@settings(max_examples=100, deadline=None)
@given(batches(), st.integers(0, 7), PROGRESS, st.sampled_from([0.25, 2.0, 64.0]))
def test_the_scale_of_the_weights_does_not_count(batch, num, progress, factor):
    rois, losses = tensors(batch)
    first = select(rois, losses, num, progress, alpha=1.0, beta=0.5)[0]
    second = select(rois, losses, num, progress, alpha=factor, beta=0.5 * factor)[0]
    assert torch.equal(first, second)


@pytest.mark.parametrize("late", ["s13", "s23"])
def test_none_and_background_only(late):
    nobody = Candidates(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).bool(), (0, 0))
    nothing = RoILosses(torch.zeros(0), torch.zeros(0))
    for quantile in (None, 0.5):
        selected, _, groups = select(nobody, nothing, 4, 0.5, late=late, quantile=quantile)
        assert selected.shape == groups.number.shape == (0,)
        assert float(groups.cls_threshold) == float(groups.loc_threshold) == 0
    rois, losses = toy()
    background = Candidates(rois.boxes, rois.labels, torch.zeros(10).bool(), (10,))
    losses = RoILosses(losses.cls, torch.zeros(10))
    selected, _, groups = select(background, losses, 4, 1.0, late=late)
    assert groups.number.tolist() == [2] * 4 + [4] * 6
    assert float(groups.loc_threshold) == 0
    assert indices(selected) == [0, 1, 2, 3]


def test_what_is_not_finite_moves_no_threshold():
    rois, losses = toy()
    cls, loc = losses.cls.clone(), losses.loc.clone()
    cls[0], loc[5] = NAN, INF
    score = RoILosses(cls, loc).score(1.0, 0.0)
    kept = torch.isfinite(score) & torch.isfinite(loc)
    for quantile in (None, 0.5):
        groups = strata(rois, RoILosses(cls, loc), kept, quantile)
        assert torch.isfinite(groups.cls_threshold)
        assert torch.isfinite(groups.loc_threshold)
        assert groups.number[[0, 5]].tolist() == [0, 0]
    assert float(strata(rois, RoILosses(cls, loc), kept).loc_threshold) == (
        pytest.approx((0.1 + 0.8 + 0.5 + 0.05) / 4)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("quantile", [None, 0.5])
@pytest.mark.parametrize("pool", ["image", "batch"])
def test_nothing_waits_for_the_gpu(quantile, pool):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 800, generator=generator)
    foreground = torch.rand(800, generator=generator) < 0.3
    boxes = torch.rand(800, 4, generator=generator).cumsum(1) * 100

    def run(device):
        rois = Candidates(
            boxes.to(device), (~foreground).long().to(device), foreground.to(device), (500, 300)
        )
        losses = RoILosses(values[0].to(device), (values[1] * foreground).to(device))
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        return select(rois, losses, 64, 0.4, beta=0.5, iou_thr=0.5, quantile=quantile, pool=pool)[0]

    try:
        on_gpu = run("cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(on_gpu.cpu(), run("cpu"))
