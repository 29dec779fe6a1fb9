"""Kinds of words: measured on shapes whose size, direction and bend are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.evaluation.breakdown import (
    ASPECTS,
    count_kinds,
    format_kinds,
    measure_words,
    summarize_kinds,
)

HEIGHT, DIRECTION, LENGTH, CURVATURE, CHARACTERS = range(5)


def arc(length, height, degrees, points=40):
    """A word bent to an arc; straight for 0 degrees."""
    along = np.linspace(-0.5, 0.5, points)
    if degrees:
        angle, radius = along * np.radians(degrees), length / np.radians(degrees)
        ring = np.stack([np.sin(angle), -np.cos(angle)], 1)
        upper, lower = (radius + height / 2) * ring, (radius - height / 2) * ring
    else:
        upper = np.stack([along * length, np.full(points, -height / 2)], 1)
        lower = upper + np.array([0, height])
    return np.concatenate([upper, lower[::-1]])


def turned(outline, degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return outline @ np.array([[cos, sin], [-sin, cos]]) + [300, 200]


@settings(deadline=None)
@given(
    st.floats(3, 100), st.floats(1.5, 12), st.floats(-180, 180), st.integers(0, 40), st.booleans()
)
def test_straight_words_whatever_their_first_point(height, ratio, degrees, first, backwards):
    outline = np.roll(turned(arc(height * ratio, height, 0, 20), degrees), first, axis=0)
    (values,) = measure_words([outline[::-1] if backwards else outline])
    assert values[HEIGHT] == pytest.approx(height, rel=1e-5)
    assert values[LENGTH] == pytest.approx(ratio, rel=1e-4)
    folded = abs(degrees) % 180
    assert values[DIRECTION] == pytest.approx(min(folded, 180 - folded), abs=0.01)
    assert values[CURVATURE] == pytest.approx(0, abs=1e-3)
    assert np.isnan(values[CHARACTERS])


@pytest.mark.parametrize(
    ("degrees", "curvature"),
    # (R + h/2) - (R - h/2) cos(a/2) - h over h with R = 5 h / a, a in radians.
    [(20, 0.2100), (60, 0.5727), (90, 0.7859), (180, 1.0915)],
)
def test_bent_words(degrees, curvature):
    radius = 5 / np.radians(degrees)
    by_hand = radius + 0.5 - (radius - 0.5) * np.cos(np.radians(degrees) / 2) - 1
    assert by_hand == pytest.approx(curvature, abs=1e-4)
    (values,) = measure_words([turned(arc(100, 20, degrees), 33)])
    assert values[HEIGHT] == pytest.approx(20, rel=0.01)
    assert values[LENGTH] == pytest.approx(5, rel=0.01)
    assert values[DIRECTION] == pytest.approx(33, abs=0.5)
    assert values[CURVATURE] == pytest.approx(curvature, abs=0.01)


def test_four_points_are_straight_and_squares_have_no_direction():
    trapezoid = np.array([[0, 0], [100, 10], [100, 40], [0, 30]], dtype=float)
    square = turned(arc(20, 20, 0), 45)
    values = measure_words([trapezoid, square], ["ab\u0301c", ""])
    assert values[0, CURVATURE] == 0
    assert values[1, DIRECTION] == 0
    assert values[1, LENGTH] == pytest.approx(1, abs=0.01)
    # A letter and its accent are one character; an empty text is none that is known.
    assert values[0, CHARACTERS] == 3
    assert np.isnan(values[1, CHARACTERS])


def test_rounder_than_a_square():
    ring = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    (values,) = measure_words([10 * np.stack([np.cos(ring), np.sin(ring)], 1)])
    assert values[HEIGHT] == pytest.approx(2 * np.pi * 10 / 4, rel=0.01)
    assert values[LENGTH] == 1
    assert values[DIRECTION] == 0


def test_what_is_no_outline_has_no_measures():
    good = arc(50, 10, 0)
    bad = good.copy()
    bad[3, 0] = np.nan
    values = measure_words([bad, good[:2], np.zeros((0, 2)), np.array([[0, 0], [5, 5], [9, 9]])])
    assert np.isnan(values[:3]).all()
    assert values[3, HEIGHT] == 0
    assert np.isnan(values[3, 1:]).all()
    assert measure_words([]).shape == (0, 5)


def test_counts_and_rates():
    # Heights 7 and 8 px are two kinds, 8 being the least of the second.
    truths = np.array([[7, 0, 2, 0, 1], [8, 85, 4, 0.5, np.nan], [8, 5, 4, 2, 20]])
    predictions = np.array([[7, 0, 2, 0, np.nan], [70, 40, 4, 0, np.nan]])
    counts = count_kinds(
        truths, predictions, np.array([True, False, True]), np.array([True, False])
    )
    assert counts.shape == (sum(len(aspect.labels) for aspect in ASPECTS), 4)
    rows = {(row.aspect, row.kind): row for row in summarize_kinds(counts + counts)}
    small = rows["height", "< 8 px"]
    assert (small.truths, small.predictions) == (2, 2)
    assert (small.recall, small.precision, small.hmean) == (1, 1, 1)
    second = rows["height", "8-12 px"]
    assert (second.truths, second.predictions, second.recall) == (4, 0, 0.5)
    assert second.precision is None
    assert second.hmean is None
    large = rows["height", ">= 60 px"]
    assert (large.truths, large.recall, large.precision) == (0, None, 0)
    assert rows["direction", "upright (>= 80 deg)"].recall == 0
    assert rows["curvature", "strongly bent (>= 1)"].recall == 1
    # Two of three texts are known, and no prediction's.
    texts = [row for (aspect, _), row in rows.items() if aspect == "characters"]
    assert [(row.kind, row.truths, row.predictions) for row in texts] == [
        ("1 char", 2, 0),
        (">= 12", 2, 0),
    ]
    assert ("length", ">= 12 heights") not in rows
    table = format_kinds(list(rows.values()))
    assert (
        "height      < 8 px                       2         2   1.0000    1.0000   1.0000" in table
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.integers(0, 20))
def test_every_known_word_is_of_one_kind(seed, truths, predictions):
    rng = np.random.default_rng(seed)
    a, b = (rng.uniform(0, 100, (n, 5)) for n in (truths, predictions))
    a[rng.random(a.shape) < 0.2] = np.nan
    hit_a, hit_b = rng.random(truths) < 0.5, rng.random(predictions) < 0.5
    counts = count_kinds(a, b, hit_a, hit_b)
    start = 0
    for column, aspect in enumerate(ASPECTS):
        part = counts[start : start + len(aspect.labels)].sum(0)
        start += len(aspect.labels)
        known = ~np.isnan(a[:, column])
        assert part.tolist() == [known.sum(), (known & hit_a).sum(), predictions, hit_b.sum()]
