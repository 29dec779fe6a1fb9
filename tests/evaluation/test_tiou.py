"""TIoU: hand-computed matches, and a literal implementation on pixels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.evaluation.overlaps import Predictions, Truth
from mmtextplug.evaluation.tiou import TIoUCounts, judge_tiou, summarize_tiou

SIDE = 14


def outline(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)


def page(words: list, predicted: list, ignored: tuple = ()) -> tuple[Truth, Predictions]:
    truth = Truth(
        [outline(*word) for word in words],
        np.isin(np.arange(len(words)), ignored),
        [None] * len(words),
    )
    return truth, Predictions([outline(*one) for one in predicted], np.ones(len(predicted)))


def test_what_is_cut_off_costs_recall_and_only_that():
    # IoU 80 / 100; a fifth of the word is cut off.
    counts = judge_tiou(*page([(0, 0, 10, 10)], [(0, 0, 8, 10)]))
    assert counts == pytest.approx((0.8 * 0.8, 0.8, 1, 1))


def test_what_is_taken_of_another_word_costs_precision_and_only_that():
    # IoU 100 / 140; 20 of the 140 square pixels lie in the other word.
    words, predicted = [(0, 0, 10, 10), (12, 0, 22, 10)], [(0, 0, 14, 10)]
    counts = judge_tiou(*page(words, predicted))
    assert counts == pytest.approx((5 / 7, 5 / 7 * (1 - 1 / 7), 2, 1))
    # So it does if the other word is ignored, as in the authors' script.
    counts = judge_tiou(*page(words, predicted, ignored=(1,)))
    assert counts == pytest.approx((5 / 7, 5 / 7 * (1 - 1 / 7), 1, 1))


def test_what_several_other_words_share_counts_once():
    # The two other words lie one on the other: 20 square pixels of 140, not 40.
    words = [(0, 0, 10, 10), (12, 0, 22, 10), (12, 0, 22, 10)]
    counts = judge_tiou(*page(words, [(0, 0, 14, 10)]))
    assert counts == pytest.approx((5 / 7, 5 / 7 * (1 - 1 / 7), 3, 1))


def test_what_another_word_shares_with_the_own_one_does_not_count():
    # Of the other word's 4 columns in the prediction 2 are the own word's, too.
    counts = judge_tiou(*page([(0, 0, 10, 10), (8, 0, 20, 10)], [(0, 0, 12, 10)]))
    assert counts == pytest.approx((5 / 6, 5 / 6 * (1 - 20 / 120), 2, 1))


def test_a_hundredth_is_forgiven():
    counts = judge_tiou(*page([(0, 0, 100, 10)], [(0, 0, 99, 10)]))
    assert counts == pytest.approx((0.99, 0.99, 1, 1))
    counts = judge_tiou(*page([(0, 0, 100, 10)], [(0, 0, 98, 10)]))
    assert counts == pytest.approx((0.98 * 0.98, 0.98, 1, 1))


def test_thresholds():
    half = page([(0, 0, 10, 10)], [(0, 0, 5, 10)])
    assert judge_tiou(*half) == (0, 0, 1, 1)
    assert judge_tiou(*half, iou_thr=0.49) == pytest.approx((0.25, 0.5, 1, 1))
    forgiven = page([(0, 0, 10, 10)], [(0, 0, 20, 10)], ignored=(0,))
    assert judge_tiou(*forgiven) == (0, 0, 0, 1)
    assert judge_tiou(*forgiven, ignore_thr=0.4) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("setting", "value"), [("iou_thr", 1), ("iou_thr", -0.1), ("ignore_thr", 1.1)]
)
def test_settings_out_of_range(setting: str, value: float):
    with pytest.raises(ValueError, match=f"{setting} is {value}; it must be in"):
        judge_tiou(*page([], []), **{setting: value})


def test_empty_and_degenerate():
    assert judge_tiou(*page([], [])) == (0, 0, 0, 0)
    assert judge_tiou(*page([(0, 0, 9, 9)], [])) == (0, 0, 1, 0)
    assert judge_tiou(*page([], [(0, 0, 9, 9)])) == (0, 0, 0, 1)
    flat, infinite = outline(0, 0, 9, 0), outline(0, 0, np.inf, 9)
    truth = Truth([flat, infinite, flat[:1]], np.zeros(3, bool), [None] * 3)
    assert judge_tiou(truth, Predictions(truth.outlines, np.ones(3))) == (0, 0, 3, 3)


def test_summary_adds_up_pages():
    counts = [TIoUCounts(1.5, 1.0, 4, 2), TIoUCounts(0.5, 0.5, 0, 1)]
    assert summarize_tiou(counts) == dict(precision=0.5, recall=0.5, hmean=0.5)
    assert summarize_tiou([]) == dict(precision=0, recall=0, hmean=0)
    assert pickle.loads(pickle.dumps(counts)) == counts


BOX = st.tuples(
    st.integers(0, SIDE - 2), st.integers(0, SIDE - 2), st.integers(0, 9), st.integers(0, 9)
).map(lambda b: (b[0], b[1], min(b[0] + b[2], SIDE), min(b[1] + b[3], SIDE)))


@st.composite
def pages(draw: st.DrawFn) -> tuple[list, list, tuple]:
    words = draw(st.lists(BOX, max_size=5))
    ignored = tuple(i for i in range(len(words)) if draw(st.integers(0, 4)) == 0)
    # Predictions near words, now and then the same twice.
    near = st.sampled_from(words) if words else BOX
    shift = st.integers(-1, 1)
    moved = st.tuples(near, shift, shift, shift, shift).map(
        lambda m: tuple(int(np.clip(c + d, 0, SIDE)) for c, d in zip(m[0], m[1:]))
    )
    upright = moved.filter(lambda b: b[0] <= b[2] and b[1] <= b[3])
    return words, draw(st.lists(st.one_of(near, upright, BOX), max_size=6)), ignored


def literal(words: list, predicted: list, ignored: tuple) -> tuple[float, float, int, int]:
    """TIoU, pixel by pixel."""

    def mask(box: tuple) -> np.ndarray:
        pixels = np.zeros((SIDE, SIDE), bool)
        pixels[box[1] : box[3], box[0] : box[2]] = True
        return pixels

    truths, preds = [mask(box) for box in words], [mask(box) for box in predicted]
    judged = [
        not any((pred & truths[i]).sum() > 0.5 * pred.sum() > 0 for i in ignored) for pred in preds
    ]
    recalled = right = 0.0
    used = set()
    for i, truth in enumerate(truths):
        if i in ignored:
            continue
        for j, pred in enumerate(preds):
            both, either = (truth & pred).sum(), (truth | pred).sum()
            if j in used or not judged[j] or not both > 0.5 * either:
                continue
            used.add(j)
            others = np.zeros((SIDE, SIDE), bool)
            for k, other in enumerate(truths):
                if k != i:
                    others |= other
            cut = (truth & ~pred).sum() / truth.sum()
            foreign = (pred & others & ~truth).sum() / pred.sum()
            recalled += both / either * (1 - cut if cut > 0.01 else 1)
            right += both / either * (1 - foreign if foreign > 0.01 else 1)
            break
    return recalled, right, len(words) - len(ignored), sum(judged)


@settings(max_examples=300, deadline=None)
@given(pages())
def test_equals_the_literal_implementation(drawn: tuple):
    assert judge_tiou(*page(*drawn)) == pytest.approx(literal(*drawn))
