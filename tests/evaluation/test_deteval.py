"""DetEval: hand-computed pages, and a literal implementation of the official rules."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.evaluation.deteval import DetEvalCounts, judge_deteval, summarize_deteval
from mmtextplug.evaluation.overlaps import Predictions, Truth


def outline(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def page(words: list, predicted: list, ignored: tuple = ()) -> tuple[Truth, Predictions]:
    words, predicted = (
        [outline(*one) if len(one) == 4 and np.ndim(one) == 1 else np.array(one) for one in boxes]
        for boxes in (words, predicted)
    )
    truth = Truth(words, np.isin(np.arange(len(words)), ignored), [None] * len(words))
    return truth, Predictions(predicted, np.ones(len(predicted)))


def test_boxes_hold_their_last_pixels():
    # 10 x 10 pixels, of which 10 x 8 are found: just enough. As polygons 9 x 9 and 9 x 7: 0.78.
    drawn = page([(0, 0, 9, 9)], [(0, 0, 9, 7)])
    assert judge_deteval(*drawn) == DetEvalCounts(1, 1, one_to_one=1)
    assert judge_deteval(*drawn, boxes=False) == DetEvalCounts(1, 1)
    assert judge_deteval(*drawn, boxes=False, area_recall=0.77).one_to_one == 1
    # 1 of 2 rows of pixels; as polygons the one overlaps nothing.
    assert judge_deteval(*page([(0, 0, 9, 0)], [(0, 0, 9, 1)])).one_to_one == 1


def test_polygons_are_not_their_boxes():
    # A triangle is half its box.
    triangle = [(0, 0), (20, 0), (0, 20)]
    drawn = page([triangle], [(0, 0, 20, 20)])
    assert judge_deteval(*drawn).one_to_one == 1
    assert judge_deteval(*drawn, boxes=False).one_to_one == 1
    assert judge_deteval(*drawn, boxes=False, area_precision=0.6).one_to_one == 0
    assert judge_deteval(*drawn, area_precision=0.6).one_to_one == 1


def test_a_split_word():
    # 100 pixels in pieces of 30, 30 and 30: 0.9 of the word.
    pieces = [(0, 0, 2, 9), (3, 0, 5, 9), (6, 0, 8, 9)]
    counts = judge_deteval(*page([(0, 0, 9, 9)], pieces))
    assert counts == DetEvalCounts(1, 3, 0, split_truths=1, split_predictions=3)
    assert summarize_deteval([counts]) == pytest.approx(
        dict(precision=0.8, recall=0.8, hmean=0.8, one_to_one=0, split=1, merged=0)
    )
    # Two pieces find 0.6 of it.
    assert judge_deteval(*page([(0, 0, 9, 9)], pieces[:2])) == DetEvalCounts(1, 2)


def test_merged_words():
    words = [(0, 0, 9, 9), (10, 0, 19, 9), (20, 0, 29, 9)]
    counts = judge_deteval(*page(words, [(0, 0, 29, 9)]))
    assert counts == DetEvalCounts(3, 1, 0, merged_truths=3, merged_predictions=1)
    summary = summarize_deteval([counts])
    assert (summary["precision"], summary["recall"], summary["merged"]) == (1, 1, 3)
    summary = summarize_deteval([counts], merge_credit=0.8)
    assert summary["precision"] == pytest.approx(0.8)
    assert summary["recall"] == pytest.approx(0.8)


def test_a_second_prediction_on_a_word_leaves_the_first_whole():
    # The small one meets the word, too: not one to one at once, but one to one of one to many.
    words, predicted = [(0, 0, 99, 9)], [(0, 0, 99, 9), (98, 0, 107, 9)]
    assert judge_deteval(*page(words, predicted)) == DetEvalCounts(1, 2, one_to_one=1)


def test_a_duplicate_is_a_piece():
    # Both good, so neither is the only one; then the word is taken as split in two.
    words, predicted = [(0, 0, 9, 9)], [(0, 0, 9, 9)] * 2
    assert judge_deteval(*page(words, predicted)) == DetEvalCounts(1, 2, 0, 1, 2)


def test_first_come_first_served():
    # Both predictions lie in both words alike; the word that stands first takes them.
    words = [(0, 0, 9, 9), (0, 0, 9, 10)]
    predicted = [(0, 0, 9, 4), (0, 5, 9, 9)]
    assert judge_deteval(*page(words, predicted)) == DetEvalCounts(2, 2, 0, 1, 2)
    # The last pixels of the second one stay unfound either way round.
    assert judge_deteval(*page(words[::-1], predicted)) == DetEvalCounts(2, 2, 0, 1, 2)


def test_ignored_words():
    # 40 of 100 pixels in the ignored word are not more than the share; 50 are.
    words, predicted = [(0, 0, 9, 9)], [(6, 0, 15, 9), (5, 0, 14, 9)]
    assert judge_deteval(*page(words, predicted[:1], ignored=(0,))) == DetEvalCounts(0, 1)
    assert judge_deteval(*page(words, predicted[1:], ignored=(0,))) == DetEvalCounts(0, 0)
    # An ignored word is no overlap that would make a pair less than one to one.
    counts = judge_deteval(*page([(0, 0, 9, 9), (9, 0, 20, 9)], [(0, 0, 9, 9)], ignored=(1,)))
    assert counts == DetEvalCounts(1, 1, one_to_one=1)


def test_sums_are_rounded_to_four_digits_as_the_script_does():
    # 0.79996 in two pieces of a word of 100 x 250 pixels.
    words = [(0, 0, 99, 249)]
    predicted = [(0, 0, 99, 198), (0, 199, 98, 199)]
    share = (19900 + 99) / 25000
    assert share == 0.79996
    assert judge_deteval(*page(words, predicted)).split_truths == 1


@pytest.mark.parametrize("setting", ["area_recall", "area_precision"])
@pytest.mark.parametrize("value", [0, 1.01, float("nan")])
def test_settings_out_of_range(setting: str, value: float):
    with pytest.raises(ValueError, match=rf"{setting} is {value}; it must be in \(0, 1\]"):
        judge_deteval(*page([], []), **{setting: value})


@pytest.mark.parametrize("setting", ["split_credit", "merge_credit"])
def test_credits_out_of_range(setting: str):
    with pytest.raises(ValueError, match=rf"{setting} is 1.5; it must be in \[0, 1\]"):
        summarize_deteval([], **{setting: 1.5})


@pytest.mark.parametrize("boxes", [True, False])
def test_empty_and_degenerate(boxes: bool):
    assert judge_deteval(*page([], []), boxes=boxes) == DetEvalCounts()
    assert judge_deteval(*page([(0, 0, 9, 9)], []), boxes=boxes) == DetEvalCounts(1, 0)
    assert judge_deteval(*page([], [(0, 0, 9, 9)]), boxes=boxes) == DetEvalCounts(0, 1)
    broken = [[(0, 0), (np.nan, 0), (5, 5)], [(0, 0), (9, 9)], np.empty((0, 2))]
    assert judge_deteval(*page(broken, broken), boxes=boxes) == DetEvalCounts(3, 3)


def test_summary_adds_up_pages():
    counts = [DetEvalCounts(3, 4, 1, 1, 2, 0, 0), DetEvalCounts(2, 1, 0, 0, 0, 2, 1)]
    precision, recall = (1 + 1.6 + 1) / 5, (1 + 0.8 + 2) / 5
    assert summarize_deteval(counts) == pytest.approx(
        dict(
            precision=precision,
            recall=recall,
            hmean=2 * precision * recall / (precision + recall),
            one_to_one=1,
            split=1,
            merged=2,
        )
    )
    nothing = dict(precision=0, recall=0, hmean=0, one_to_one=0, split=0, merged=0)
    assert summarize_deteval([]) == nothing
    assert pickle.loads(pickle.dumps(counts)) == counts


def literal_boxes(words: list, predicted: list) -> tuple[np.ndarray, np.ndarray]:
    """Shares of words and predictions, by sets of pixels."""

    def pixels(box: tuple) -> set:
        return {(x, y) for x in range(box[0], box[2] + 1) for y in range(box[1], box[3] + 1)}

    found, inside = np.zeros((2, len(words), len(predicted)))
    for i, word in enumerate(words):
        for j, one in enumerate(predicted):
            both = len(pixels(word) & pixels(one))
            found[i, j], inside[i, j] = both / len(pixels(word)), both / len(pixels(one))
    return found, inside


def literal_polygons(words: list, predicted: list) -> tuple[np.ndarray, np.ndarray]:
    """Shares of words and predictions, by areas, pair by pair."""

    def shape(points: list) -> shapely.Polygon:
        polygon = shapely.Polygon(points)
        if not polygon.is_valid:
            polygon = polygon.buffer(0)
            polygon = polygon if polygon.geom_type == "Polygon" else polygon.convex_hull
        return polygon

    found, inside = np.zeros((2, len(words), len(predicted)))
    for i, word in enumerate(words):
        for j, one in enumerate(predicted):
            both = shape(word).intersection(shape(one)).area
            if both > 0:
                found[i, j], inside[i, j] = both / shape(word).area, both / shape(one).area
    return found, inside


def literal(
    found: np.ndarray,
    inside: np.ndarray,
    ignored: tuple,
    recall: float,
    precision: float,
    far: np.ndarray | None = None,
) -> dict[str, float]:
    """The official rules step by step, with credits summed as they are given."""
    words, predictions = range(found.shape[0]), range(found.shape[1])
    forgiven = {j for j in predictions if any(inside[i, j] > precision for i in ignored)}
    good = (found >= recall) & (inside >= precision)
    word_meets = [sum(found[i, j] > 0 for j in predictions if j not in forgiven) for i in words]
    pred_meets = [sum(found[i, j] > 0 for i in words if i not in ignored) for j in predictions]
    word_done, pred_done = set(ignored), set(forgiven)
    credit_recall = credit_precision = 0.0
    ones = split = merged = 0
    for i in words:
        for j in predictions:
            if i in word_done or j in pred_done or not good[i, j]:
                continue
            if sum(good[i]) == sum(good[:, j]) == word_meets[i] == pred_meets[j] == 1:
                if far is not None and far[i, j]:
                    continue
                word_done.add(i)
                pred_done.add(j)
                credit_recall, credit_precision, ones = (
                    credit_recall + 1,
                    credit_precision + 1,
                    ones + 1,
                )
    for i in words:
        parts = [j for j in predictions if j not in pred_done and inside[i, j] >= precision]
        enough = round(sum(float(found[i, j]) for j in parts), 4) >= recall
        if i in word_done or not enough or word_meets[i] < 2:
            continue
        word_done.add(i)
        pred_done.update(parts)
        credit_recall += 1 if len(parts) == 1 else 0.8
        credit_precision += 1 if len(parts) == 1 else 0.8 * len(parts)
        ones, split = ones + (len(parts) == 1), split + (len(parts) > 1)
    for j in predictions:
        parts = [i for i in words if i not in word_done and found[i, j] >= recall]
        enough = round(sum(float(inside[i, j]) for i in parts), 4) >= precision
        if j in pred_done or not enough or pred_meets[j] < 2:
            continue
        pred_done.add(j)
        word_done.update(parts)
        credit_recall += len(parts)
        credit_precision += 1
        ones, merged = ones + (len(parts) == 1), merged + (len(parts) if len(parts) > 1 else 0)
    truths, judged = len(words) - len(ignored), len(predictions) - len(forgiven)
    r = credit_recall / truths if truths else 0
    p = credit_precision / judged if judged else 0
    hmean = 2 * p * r / (p + r) if p + r else 0
    return dict(precision=p, recall=r, hmean=hmean, one_to_one=ones, split=split, merged=merged)


def far_apart(words: list, predicted: list) -> np.ndarray:
    """Pairs of boxes whose centres are at least the mean of their diagonals apart."""
    far = np.zeros((len(words), len(predicted)), bool)
    for i, a in enumerate(words):
        for j, b in enumerate(predicted):
            distance = math.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2
            diagonals = sum(math.hypot(c[2] - c[0] + 1, c[3] - c[1] + 1) for c in (a, b))
            far[i, j] = distance >= diagonals / 2
    return far


SHARES = st.sampled_from([0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
BOX = st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(0, 6)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
POINT = st.tuples(st.integers(0, 8), st.integers(0, 8))


@st.composite
def pages(draw: st.DrawFn, shape: st.SearchStrategy) -> tuple[list, list, tuple]:
    words = draw(st.lists(shape, max_size=6))
    ignored = tuple(i for i in range(len(words)) if draw(st.integers(0, 4)) == 0)
    predicted = st.one_of(st.sampled_from(words), shape) if words else shape
    return words, draw(st.lists(predicted, max_size=6)), ignored


@settings(max_examples=400, deadline=None)
@given(pages(BOX), SHARES, SHARES)
def test_boxes_equal_the_literal_implementation(drawn: tuple, recall: float, precision: float):
    words, predicted, ignored = drawn
    counts = judge_deteval(*page(*drawn), area_recall=recall, area_precision=precision)
    expected = literal(
        *literal_boxes(words, predicted), ignored, recall, precision, far_apart(words, predicted)
    )
    assert summarize_deteval([counts]) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(pages(st.lists(POINT, min_size=3, max_size=6)), SHARES, SHARES)
def test_polygons_equal_the_literal_implementation(drawn: tuple, recall: float, precision: float):
    words, predicted, ignored = drawn
    found, inside = literal_polygons(words, predicted)
    # Shares that are a threshold but for rounding may fall on either side of it.
    for shares in (found, inside):
        near = np.abs(shares[..., None] - [recall, precision]) < 1e-9
        recall, precision = (
            t - 1e-6 if near[..., k].any() else t for k, t in enumerate((recall, precision))
        )
    counts = judge_deteval(*page(*drawn), area_recall=recall, area_precision=precision, boxes=False)
    expected = literal(found, inside, ignored, recall, precision)
    assert summarize_deteval([counts]) == pytest.approx(expected, abs=1e-12)
