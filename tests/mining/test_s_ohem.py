"""Strata, their shares, the schedule and the stability detector: by hand and in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from literal_mining import mine, mine_strata
from random_rois import batches, pairs, tensors

from mmtextplug.mining.roi_losses import RoILosses
from mmtextplug.mining.roi_select import Candidates, hardest, survivors
from mmtextplug.mining.s_ohem import (
    Ratios,
    Schedule,
    Stability,
    Weights,
    ratio,
    strata,
    stratified,
)

NAN, INF = float("nan"), float("inf")
PROGRESS = st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0])
POOL = st.sampled_from(["image", "batch"])
# Sums of these are exact in single precision and in any order, and so are means of a power of two
# of them; other means are of ten values that a rounding does not reach.
EXACT = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.5])

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
           per_label=True, **options):  # fmt: skip
    """As the sampler does it."""
    score = losses.score(alpha, beta).masked_fill(~losses.finite(), NAN)
    kept = survivors(rois, score, iou_thr=iou_thr, per_label=per_label)
    groups = strata(losses, rois.foreground, kept, quantile)
    return stratified(rois, losses, score, kept, groups, num, progress, **options), kept, groups


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
    groups = strata(losses, rois.foreground, torch.ones(10).bool())
    assert groups.number.tolist() == [1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert float(groups.cls_threshold) == pytest.approx(0.697)
    assert float(groups.loc_threshold) == pytest.approx(2.95 / 6)
    # Without the first: means of nine and of five; the fourth is now above.
    groups = strata(losses, rois.foreground, torch.arange(10) > 0)
    assert float(groups.cls_threshold) == pytest.approx(4.97 / 9)
    assert float(groups.loc_threshold) == pytest.approx(2.05 / 5)
    assert groups.number.tolist() == [0, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_strata_by_quantiles():
    rois, losses = toy()
    everyone = torch.ones(10).bool()
    # The value at place round(9 * 0.8) = 7 of ten and round(5 * 0.8) = 4 of six.
    groups = strata(losses, rois.foreground, everyone, 0.8)
    assert float(groups.cls_threshold) == pytest.approx(1.2)
    assert float(groups.loc_threshold) == pytest.approx(0.8)
    assert groups.number.tolist() == [1, 2, 2, 4, 3, 4, 4, 4, 4, 4]
    assert strata(losses, rois.foreground, everyone, 0.0).number.tolist() == [
        1, 2, 1, 2, 1, 1, 1, 1, 2, 2
    ]  # fmt: skip
    assert strata(losses, rois.foreground, everyone, 1.0).number.tolist() == [1] + [4] * 9


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


def no_threshold_near(batch, kept) -> bool:
    """Whether means in single and in double precision part the RoIs alike."""
    for key, members in (("cls", kept), ("loc", [m for m in kept if batch[m[0]][m[1]]["fg"]])):
        values = [batch[n][i][key] for n, i in members]
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
    if no_threshold_near(batch, survived):
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
        groups = strata(RoILosses(cls, loc), rois.foreground, kept, quantile)
        assert torch.isfinite(groups.cls_threshold)
        assert torch.isfinite(groups.loc_threshold)
        assert groups.number[[0, 5]].tolist() == [0, 0]
    assert float(strata(RoILosses(cls, loc), rois.foreground, kept).loc_threshold) == (
        pytest.approx((0.1 + 0.8 + 0.5 + 0.05) / 4)
    )


# --- when losses are stable --------------------------------------------------------------------


def first_stable(series, **options) -> int | None:
    detector = Stability(**options)
    return next((i for i, pair in enumerate(series, 1) if detector.add(*pair)), None)


def test_constant_losses_are_stable_after_the_first_full_history_and_patience():
    assert first_stable([(0.4, 0.2)] * 40) == 10 + 3 - 1
    assert first_stable([(0.4, 0.2)] * 40, windows=4, patience=5) == 4 + 5 - 1
    assert first_stable([(0.0, 0.0)] * 40, windows=2, patience=1) == 2


def test_losses_that_fall_by_five_percent_a_window_are_never_stable():
    assert first_stable([(0.95**i, 0.95**i) for i in range(300)]) is None
    # And not if only one of them falls.
    assert first_stable([(1.0, 0.95**i) for i in range(100)]) is None
    assert first_stable([(0.95**i, 1.0) for i in range(100)]) is None


def test_the_change_between_the_two_halves_by_hand():
    # Means 1.0 and 0.99: a change of 1 %.
    series = [(1.0, 1.0)] * 2 + [(0.99, 0.99)] * 2
    assert first_stable(series, windows=4, patience=1, tolerance=0.0101) == 4
    assert first_stable(series, windows=4, patience=1, tolerance=0.0099) is None
    # Losses that rise are no more stable than those that fall.
    assert first_stable(series[::-1], windows=4, patience=1, tolerance=0.0100) is None
    # Of five, the one in the middle belongs to no half.
    series = [(1.0, 1.0)] * 2 + [(50.0, 50.0)] + [(1.0, 1.0)] * 2
    assert first_stable(series, windows=5, patience=1) == 5


def test_patience_begins_anew_after_a_step_and_after_a_reset():
    detector = Stability(windows=2, patience=3)
    told = [detector.add(value, 1.0) for value in (1, 1, 1, 2, 2, 2, 2, 2)]
    assert told == [False] * 6 + [True] * 2
    detector.reset()
    assert [detector.add(2.0, 1.0) for _ in range(4)] == [False, False, False, True]


def test_means_that_are_not_finite_are_left_out():
    detector = Stability(windows=2, patience=1)
    assert [detector.add(*p) for p in [(1, 1), (NAN, 1), (1, INF), (1, 1)]] == [False] * 3 + [True]
    assert list(detector.history) == [(1, 1), (1, 1)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(EXACT, EXACT), max_size=30), st.integers(2, 6), st.integers(1, 3),
    st.sampled_from([0.05, 0.3, 1.5]),
)  # fmt: skip
def test_stability_equals_its_definition(series, windows, patience, tolerance):
    detector = Stability(windows=windows, patience=patience, tolerance=tolerance)
    calm = []
    for count, pair in enumerate(series, 1):
        told = detector.add(*pair)
        last, half = series[max(count - windows, 0) : count], windows // 2
        change = [
            abs(math.fsum(new) - math.fsum(old)) / half / max(math.fsum(old) / half, 1e-8)
            for old, new in zip(zip(*last[:half]), zip(*last[-half:]))
        ]
        near = any(abs(value - tolerance) < 1e-9 for value in change)
        assume(not near)  # rounding would decide
        calm.append(len(last) == windows and max(change) < tolerance)
        assert told == (len(calm) >= patience and all(calm[-patience:]))


@pytest.mark.parametrize(
    ("options", "match"),
    [({"windows": 1}, "windows=1"), ({"tolerance": 0.0}, "tolerance=0.0"),
     ({"patience": 0}, "patience=0")],
)  # fmt: skip
def test_a_detector_that_could_tell_nothing(options, match):
    with pytest.raises(ValueError, match=match):
        Stability(**options)


# --- how the weights move ----------------------------------------------------------------------


def test_beta_rises_in_a_straight_line():
    schedule = Schedule(beta_end=1.9, ramp_iters=100)
    betas = [schedule.weights(t, 100, 10_000, Ratios()).beta for t in (100, 150, 200, 999)]
    assert betas == pytest.approx([0, 0.95, 1.9, 1.9])
    assert schedule.weights(150, -1, 10_000, Ratios()) == Weights(1.0, 0.0, 0.0, 0.0)
    assert schedule.weights(50, 100, 10_000, Ratios()).beta == 0


def test_along_a_cosine():
    schedule = Schedule(alpha_end=0.5, beta_end=2.0, ramp_iters=100, shape="cosine")
    for step, share in ((0, 0), (100 / 3, 0.25), (50, 0.5), (200 / 3, 0.75), (100, 1)):
        weights = schedule.weights(step, 0, 10, Ratios())
        assert weights.progress == pytest.approx(share)
        assert weights.alpha == pytest.approx(1 - 0.5 * share)
        assert weights.beta == pytest.approx(2 * share)


def test_up_to_the_end_of_training_and_to_the_measured_ratios():
    ratios = Ratios(loc=2.1, mask=0.8)
    weights = Schedule().weights(75, 50, 100, ratios)
    assert weights == Weights(alpha=1.0, beta=1.05, gamma=0.4, progress=0.5)
    # Forced to begin at the last step.
    assert Schedule().weights(100, 100, 100, ratios).progress == 0
    assert Schedule(gamma_end=3.0).weights(100, 50, 100, ratios).gamma == 3.0
    per_class = Ratios(loc=2.0, per_class=[1.0, 4.0])
    assert Schedule().weights(75, 50, 100, per_class).beta == [0.5, 2.0]
    assert Schedule(beta_end=1.0).weights(75, 50, 100, per_class).beta == 0.5


def test_ratios_stay_believable():
    assert ratio(3.0, 1.5) == 2.0
    assert ratio(1.0, 100.0) == 0.5
    assert ratio(100.0, 1.0) == 10.0
    assert [ratio(1.0, 0.0), ratio(NAN, 1.0), ratio(1.0, INF)] == [1.0] * 3
    assert ratio(1.0, 0.0, default=1.7) == 1.7


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"alpha_end": -1.0}, "alpha_end=-1.0"), ({"beta_end": NAN}, "beta_end=nan"),
        ({"gamma_end": INF}, "gamma_end=inf"), ({"ramp_iters": 0}, "ramp_iters=0"),
        ({"ramp_iters": -5}, "ramp_iters=-5"), ({"shape": "step"}, "shape='step'"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be(options, match):
    with pytest.raises(ValueError, match=match):
        Schedule(**options)


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
