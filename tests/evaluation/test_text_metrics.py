"""The registered metrics: as evaluators build and call them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS
from mmengine.structures import InstanceData

from mmtextplug.evaluation import text_metrics
from mmtextplug.evaluation.text_metrics import HmeanMetric, sample_words

# isort: split
from mmocr.structures import TextDetDataSample


def box(x0, y0, x1, y1):
    return np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=np.float32)


def sample(truths, ignored, predictions, scores, texts=None):
    """As a text detector hands it to the evaluator."""
    result = TextDetDataSample(metainfo=dict(img_path="a.jpg"))
    result.gt_instances = InstanceData(polygons=truths, ignored=torch.tensor(ignored, dtype=bool))
    if texts:
        result.gt_instances.texts = texts
    result.pred_instances = InstanceData(
        polygons=predictions, scores=torch.tensor(scores, dtype=torch.float32)
    )
    return result


SAMPLES = [
    # Two words of three found, one of them with a low score; a prediction in an ignored word.
    sample(
        [box(0, 0, 40, 10), box(0, 20, 40, 30), box(0, 40, 40, 70), box(50, 0, 90, 10)],
        [False, False, False, True],
        [box(0, 0, 40, 9), box(0, 20, 40, 30), box(52, 1, 80, 9), box(200, 0, 240, 10)],
        [0.9, 0.4, 0.9, 0.55],
        ["ab", "cdef", "g", "###"],
    ),
    sample([], [], [], []),
    sample([box(0, 0, 9, 9)], [False], [], []),
]


def evaluate(config, samples=SAMPLES):
    evaluator = Evaluator(config)
    for one in samples:
        evaluator.process(data_samples=[one])
    return evaluator.evaluate(len(samples))


def test_stated_and_swept_side_by_side():
    metrics = evaluate(dict(type="HmeanMetric"))
    # All predictions: 2 hits, 4 words, 3 predictions. The best of the thresholds is 0.3 or 0.4.
    assert metrics == pytest.approx(
        {
            "icdar/precision": 2 / 3,
            "icdar/recall": 0.5,
            "icdar/hmean": 4 / 7,
            "icdar/swept_precision": 2 / 3,
            "icdar/swept_recall": 0.5,
            "icdar/swept_hmean": 4 / 7,
            "icdar/swept_score_thr": 0.3,
        }
    )
    stated = evaluate(dict(type="HmeanMetric", score_thr=0.5, prefix="words"))
    assert stated["words/hmean"] == pytest.approx(2 / (4 + 2))
    assert stated["words/swept_hmean"] == pytest.approx(4 / 7)
    one = evaluate(dict(type="HmeanMetric", pred_score_thrs=dict(start=0.6, stop=0.65, step=0.1)))
    assert one["icdar/swept_precision"] == 1
    assert one["icdar/swept_score_thr"] == 0.6


def test_swept_equals_mmocr():
    ours = evaluate(dict(type="HmeanMetric"))
    theirs = evaluate(dict(type="mmocr.HmeanIOUMetric"))
    for key in ("precision", "recall", "hmean"):
        assert ours[f"icdar/swept_{key}"] == theirs[f"icdar/{key}"]


def test_iou_and_ignoring_are_settings():
    strict = evaluate(dict(type="HmeanMetric", match_iou_thr=0.95))
    assert strict["icdar/precision"] == pytest.approx(1 / 3)
    # The prediction in the ignored word counts if more than all of it would have to lie there.
    all_count = evaluate(dict(type="HmeanMetric", ignore_precision_thr=1))
    assert all_count["icdar/precision"] == pytest.approx(2 / 4)


def test_breakdown_is_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(text_metrics, "print_log", lambda text, **_: lines.append(text))
    metrics = evaluate(dict(type="HmeanMetric", breakdown=True))
    assert metrics["icdar/hmean"] == pytest.approx(4 / 7)
    (table,) = [text for text in lines if text.startswith("by kinds")]
    # Of the words of 10 pixels both are found, one of the predictions is wrong.
    assert (
        "height      8-12 px                      3         3   0.6667    0.6667   0.6667" in table
    )
    assert (
        "            30-60 px                     1         -   0.0000         -        -" in table
    )
    assert "2-3 chars                    1         -   1.0000" in table
    (sweep,) = [text for text in lines if text.startswith("hmean-iou")]
    assert "at score threshold 0.00, as stated" in sweep
    assert "at score threshold 0.30, the best" in sweep
    assert "at score threshold 0.50   " in sweep
    assert "(1 of 4 words, 2 predictions)" in sweep


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (dict(match_iou_thr=1.0), "iou_thr is 1.0"),
        (dict(ignore_precision_thr=-1), "ignore_thr is -1"),
        (dict(score_thr=2), "HmeanMetric: score_thr is 2"),
        (dict(strategy="x"), "strategy is 'x'"),
        (dict(pred_score_thrs=dict(start=0.9, stop=0.3, step=0.1)), "is an empty range"),
        (dict(pred_score_thrs=dict(begin=0.3)), "pred_score_thrs"),
        (dict(pred_score_thrs=dict(start=0.3, stop=0.9, step=0)), "pred_score_thrs"),
    ],
)
def test_bad_settings(settings, fault):
    with pytest.raises(ValueError, match=fault):
        METRICS.build(dict(type="HmeanMetric", **settings))


def test_samples_as_they_come():
    # From MMOCR's pipeline without texts, with lists and tensors, without scores.
    truth, found = sample_words(
        dict(
            gt_instances=dict(polygons=[torch.tensor(box(0, 0, 9, 9)).tolist()]),
            pred_instances=dict(polygons=[torch.tensor(box(0, 0, 9, 9))]),
        ),
        "x",
    )
    assert truth.outlines[0].shape == found.outlines[0].shape == (4, 2)
    assert truth.ignored.tolist() == [False]
    assert truth.texts == [None]
    assert found.scores.tolist() == [1]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (dict(img_path="a.jpg"), "HmeanMetric: a.jpg has no annotated polygons"),
        (
            dict(gt_instances=dict(bboxes=[]), pred_instances=dict(polygons=[])),
            "sample has no annotated polygons",
        ),
        (dict(gt_instances=dict(polygons=[])), "no predicted polygons"),
        (
            dict(
                gt_instances=dict(polygons=[]),
                pred_instances=dict(polygons=[box(0, 0, 1, 1)], scores=[1, 1]),
            ),
            "1 polygons, 2 scores",
        ),
    ],
)
def test_samples_without_words(content, fault):
    with pytest.raises(ValueError, match=fault):
        HmeanMetric().process(None, [content])


def test_broken_predictions_are_counted_as_wrong_and_reported(monkeypatch):
    lines = []
    monkeypatch.setattr(text_metrics, "print_log", lambda text, **_: lines.append(text))
    bad = box(0, 0, 9, 9)
    bad[3] = np.nan
    metrics = evaluate(
        dict(type="HmeanMetric"), [sample([box(0, 0, 9, 9)], [False], [bad, bad[:4]], [0.9, 0.9])]
    )
    assert metrics["icdar/precision"] == metrics["icdar/recall"] == 0
    assert "a.jpg: 2 predicted polygons have fewer than 3 points" in lines[0]
