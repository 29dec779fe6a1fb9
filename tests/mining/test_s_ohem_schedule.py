"""When losses are stable, and how the weights move from then on: by hand and by definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmtextplug.mining.s_ohem import Ratios, Schedule, Stability, Weights, ratio

NAN, INF = float("nan"), float("inf")
# Sums of these are exact in any order.
EXACT = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 3.5])

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
