"""hmean: hand-computed, against MMOCR's metric, and against a literal reading of the rules."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.evaluation.hmean import (
    STRATEGIES,
    Counts,
    add_counts,
    count_page,
    harmonic_mean,
    judge_page,
    match_page,
    rates,
    sweep_page,
)
from mmtextplug.evaluation.overlaps import Predictions, Truth

# isort: split
from mmocr.evaluation.metrics import HmeanIOUMetric


def box(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


def truth_of(outlines, ignored=()):
    flags = np.zeros(len(outlines), dtype=bool)
    flags[list(ignored)] = True
    return Truth(outlines, flags, [None] * len(outlines))


def predictions_of(outlines, scores=None):
    return Predictions(outlines, np.ones(len(outlines)) if scores is None else np.array(scores))


def test_hand_computed():
    truth = truth_of([box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 60, 10)], ignored=[2])
    predictions = predictions_of(
        [
            box(0, 0, 10, 8),  # IoU 0.8 with the first word
            box(25, 0, 35, 10),  # 1/3 with the second
            box(41, 1, 45, 5),  # in the ignored one: does not count
            box(100, 0, 110, 10),  # nothing there
        ],
        [0.9, 0.8, 0.7, 0.2],
    )
    page = judge_page(truth, predictions)
    assert page.truth_judged.tolist() == [True, True, False]
    assert page.pred_judged.tolist() == [True, True, False, True]
    assert count_page(page) == Counts(hits=1, truths=2, predictions=3)
    assert count_page(page, 0.5) == Counts(1, 2, 2)
    assert count_page(page, 0.85) == Counts(1, 2, 1)
    assert count_page(page, 0.95) == Counts(0, 2, 0)
    assert sweep_page(page, [0.5, 0, 0.95, 0.5]).tolist() == [
        [1, 2, 2],
        [1, 2, 3],
        [0, 2, 0],
        [1, 2, 2],
    ]
    assert sweep_page(page, []).shape == (0, 3)
    lower = judge_page(truth, predictions, iou_thr=0.3)
    assert [part.tolist() for part in match_page(lower)] == [[0, 1], [0, 1]]
    assert rates(Counts(1, 2, 3)) == pytest.approx(dict(precision=1 / 3, recall=0.5, hmean=0.4))
    assert rates(Counts(0, 0, 0)) == dict(precision=0, recall=0, hmean=0)
    assert rates(Counts(0, 0, 2)) == dict(precision=0, recall=0, hmean=0)


def test_iou_of_exactly_the_threshold_is_no_match():
    page = judge_page(truth_of([box(0, 0, 10, 10)]), predictions_of([box(0, 0, 10, 5)]))
    assert count_page(page).hits == 0
    page = judge_page(truth_of([box(0, 0, 10, 10)]), predictions_of([box(0, 0, 10, 5.001)]))
    assert count_page(page).hits == 1


def test_a_word_is_matched_once_in_the_order_of_the_files():
    # The first prediction could serve both words, the second only the first word.
    truth = truth_of([box(0, 0, 10, 10), box(0, 0, 10, 8)])
    predictions = predictions_of([box(0, 0, 10, 9), box(0, 1, 10, 12)])
    page = judge_page(truth, predictions, iou_thr=0.7)
    assert list(zip(page.rows.tolist(), page.cols.tolist())) == [(0, 0), (0, 1), (1, 0)]
    assert [part.tolist() for part in match_page(page)] == [[0], [0]]
    rows, cols = match_page(page, strategy="max_matching")
    assert dict(zip(rows.tolist(), cols.tolist())) == {0: 1, 1: 0}


def test_duplicates_are_wrong():
    page = judge_page(truth_of([box(0, 0, 10, 10)]), predictions_of([box(0, 0, 10, 10)] * 3))
    assert count_page(page) == Counts(1, 1, 3)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_score_reaches_its_own_threshold(kind):
    for score in np.arange(1, 10) / 10:
        page = judge_page(
            truth_of([box(0, 0, 9, 9)]), predictions_of([box(0, 0, 9, 9)], np.array([score], kind))
        )
        assert count_page(page, score) == (1, 1, 1)
        assert count_page(page, score + 0.001) == (0, 1, 0)
        assert sweep_page(page, [score, score + 0.001]).tolist() == [[1, 1, 1], [0, 1, 0]]


def test_predictions_without_a_score_that_is_a_number_do_not_count():
    page = judge_page(truth_of([box(0, 0, 9, 9)]), predictions_of([box(0, 0, 9, 9)], [np.nan]))
    assert count_page(page) == Counts(0, 1, 0)


def test_counts_add_up():
    assert add_counts([Counts(1, 2, 3), Counts(4, 5, 6)]) == Counts(5, 7, 9)
    assert add_counts([]) == Counts(0, 0, 0)
    assert harmonic_mean(0.0, 0.0) == 0
    assert harmonic_mean(1.0, 0.5) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "setting", [dict(iou_thr=1), dict(iou_thr=-0.1), dict(iou_thr=np.nan), dict(ignore_thr=1.1)]
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is .* it must be in"):
        judge_page(truth_of([]), predictions_of([]), **setting)


def test_unknown_strategy():
    page = judge_page(truth_of([]), predictions_of([]))
    with pytest.raises(ValueError, match="strategy is 'best'"):
        match_page(page, strategy="best")


def draw_page(seed, size, displaced=4.0):
    """Words in a small field, so that many overlap; predictions near them and anywhere."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, size + 1))
    low = rng.integers(0, 40, (count, 2))
    truths = [box(*p, *(p + rng.integers(1, 20, 2))) for p in low]
    near = [t + rng.normal(0, displaced, (1, 2)) for t in truths if rng.random() < 0.8]
    near += [t + rng.normal(0, 1, t.shape) for t in truths if rng.random() < 0.3]
    other = [box(*p, *(p + rng.integers(1, 20, 2))) for p in rng.integers(0, 40, (size // 2, 2))]
    predictions = [p for _, p in sorted(enumerate(near + other), key=lambda _: rng.random())]
    ignored = rng.random(count) < 0.3
    # Of single precision, as networks give them.
    scores = rng.uniform(0, 1, len(predictions)).astype(np.float32)
    return Truth(truths, ignored, [None] * count), Predictions(predictions, scores)


def literal_counts(truth, predictions, score_thr, iou_thr=0.5, ignore_thr=0.5):
    """The rules of the official evaluation, word by word."""
    kept = [p for p, s in zip(predictions.outlines, predictions.scores) if s >= score_thr]
    polygon = shapely.Polygon
    judged = []
    for outline in kept:
        area = polygon(outline).buffer(0).area
        inside = any(
            area and polygon(t).intersection(polygon(outline).buffer(0)).area / area > ignore_thr
            for t, ignored in zip(truth.outlines, truth.ignored)
            if ignored
        )
        judged.append(not inside)
    used, hits = set(), 0
    for t, ignored in zip(truth.outlines, truth.ignored):
        if ignored:
            continue
        for j, outline in enumerate(kept):
            a, b = polygon(t), polygon(outline).buffer(0)
            union = a.union(b).area
            if judged[j] and j not in used and union and a.intersection(b).area / union > iou_thr:
                used.add(j)
                hits += 1
                break
    return hits, int((~truth.ignored).sum()), sum(judged)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 10),
    st.sampled_from([(0.5, 0.5), (0.1, 0.8), (0.6, 0.2)]),
)
def test_equal_to_a_literal_reading(seed, size, shares):
    truth, predictions = draw_page(seed, size)
    page = judge_page(truth, predictions, iou_thr=shares[0], ignore_thr=shares[1])
    thresholds = [0.0, 0.25, 0.5, 0.75]
    swept = sweep_page(page, thresholds)
    for row, score_thr in zip(swept.tolist(), thresholds):
        assert tuple(row) == literal_counts(truth, predictions, score_thr, *shares)
        assert count_page(page, score_thr) == tuple(row)


def most_pairs(rows, cols):
    """Size of the largest matching, by trying everything."""
    if not rows:
        return 0
    rest = list(zip(rows[1:], cols[1:]))
    without = most_pairs(rows[1:], cols[1:])
    free = [(r, c) for r, c in rest if r != rows[0] and c != cols[0]]
    return max(without, 1 + most_pairs([r for r, _ in free], [c for _, c in free]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_matchings_are_one_to_one_and_the_greatest(seed):
    truth, predictions = draw_page(seed, 7)
    page = judge_page(truth, predictions, iou_thr=0.2)
    able = set(zip(page.rows.tolist(), page.cols.tolist()))
    for strategy in STRATEGIES:
        rows, cols = match_page(page, 0.3, strategy)
        assert set(zip(rows.tolist(), cols.tolist())) <= able
        assert len(set(rows.tolist())) == len(set(cols.tolist())) == len(rows)
        assert (page.scores[cols] >= 0.3).all()
    chosen = page.scores[page.cols] >= 0.3
    assert len(rows) == most_pairs(page.rows[chosen].tolist(), page.cols[chosen].tolist())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_to_mmocr_over_many_pages(strategy):
    logging.disable(logging.INFO)
    theirs = HmeanIOUMetric(strategy=strategy)
    thresholds = theirs.pred_score_thrs
    totals = np.zeros((len(thresholds), 3), dtype=np.int64)
    for seed in range(150):
        truth, predictions = draw_page(seed, 12)
        # Of outlines that cross themselves MMOCR's metric takes the areas before it mends them.
        valid = shapely.is_valid([shapely.Polygon(points) for points in predictions.outlines])
        predictions = Predictions(
            [p for p, good in zip(predictions.outlines, valid) if good], predictions.scores[valid]
        )
        theirs.process(
            None,
            [
                dict(
                    gt_instances=dict(
                        polygons=[t.reshape(-1) for t in truth.outlines], ignored=truth.ignored
                    ),
                    pred_instances=dict(
                        polygons=[p.reshape(-1) for p in predictions.outlines],
                        scores=predictions.scores,
                    ),
                )
            ],
        )
        totals += sweep_page(judge_page(truth, predictions), thresholds, strategy)
    best = max((rates(Counts(*row)) for row in totals.tolist()), key=lambda one: one["hmean"])
    assert totals[0, 0] > 150
    assert best == theirs.compute_metrics(theirs.results)
    logging.disable(logging.NOTSET)
