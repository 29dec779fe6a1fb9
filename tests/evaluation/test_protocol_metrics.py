"""DetEval, CLEval and TIoU as evaluators build and call them."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS


def box(x0, y0, x1, y1):
    return np.array([x0, y0, x1, y0, x1, y1, x0, y1], dtype=np.float32)


def sample(predictions, scores, **more):
    """A word of four characters, one of two and an ignored one, with these predictions."""
    truth = dict(
        polygons=[box(0, 0, 39, 9), box(0, 20, 19, 29), box(0, 40, 39, 49)],
        ignored=np.array([False, False, True]),
        texts=["abcd", "ef", "###"],
        **more,
    )
    return dict(gt_instances=truth, pred_instances=dict(polygons=predictions, scores=scores))


def evaluate(name, samples, **settings):
    metric = METRICS.build(dict(type=name, **settings))
    metric.process(None, samples)
    return metric.evaluate(len(samples))


# The first word in two halves, the second whole, one in the ignored word, one of a low score.
HALVES = sample(
    [
        box(0, 0, 19, 9),
        box(20, 0, 39, 9),
        box(0, 20, 19, 29),
        box(5, 41, 20, 48),
        box(90, 0, 99, 9),
    ],
    [0.9, 0.9, 0.8, 0.9, 0.1],
)


def test_deteval():
    metrics = evaluate("DetEvalMetric", [HALVES])
    # A whole word and one split in two, at 0.8; three of four predictions.
    assert metrics == pytest.approx(
        {
            "deteval/precision": (1 + 2 * 0.8) / 4,
            "deteval/recall": 1.8 / 2,
            "deteval/hmean": 2 * 0.65 * 0.9 / 1.55,
            "deteval/one_to_one": 1,
            "deteval/split": 1,
            "deteval/merged": 0,
        }
    )
    assert evaluate("DetEvalMetric", [HALVES], score_thr=0.5)["deteval/precision"] == 2.6 / 3
    strict = evaluate("DetEvalMetric", [HALVES], score_thr=0.85)
    assert strict["deteval/recall"] == pytest.approx(0.4)
    # As polygons each half covers 19 of 39 columns: together less than 0.98.
    assert evaluate("DetEvalMetric", [HALVES], boxes=False, area_recall=0.98)["deteval/split"] == 0
    assert evaluate("DetEvalMetric", [HALVES], area_recall=0.98)["deteval/split"] == 1


def test_cleval():
    metrics = evaluate("CLEvalMetric", [HALVES], score_thr=0.5)
    # All six characters, one lost to the split: 5/6 recall, 6/6 precision.
    assert metrics["cleval/recall"] == pytest.approx(5 / 6)
    assert metrics["cleval/precision"] == 1
    assert metrics["cleval/splits"] == 1
    assert metrics["cleval/merges"] == metrics["cleval/false_chars"] == 0
    assert evaluate("CLEvalMetric", [HALVES])["cleval/precision"] < 1
    assert evaluate("CLEvalMetric", [HALVES], polygons=True, score_thr=0.5)["cleval/splits"] == 1


def test_cleval_with_characters_where_they_are():
    chars = [
        # All four in the left half of the word.
        np.stack([box(5 * i, 0, 5 * i + 4, 9).reshape(4, 2) for i in range(4)]),
        None,
        None,
    ]
    left = sample([box(0, 0, 19, 9)], [1.0], chars=chars)
    assert evaluate("CLEvalMetric", [left])["cleval/recall"] == pytest.approx(2 / 6)
    assert evaluate("CLEvalMetric", [left], real_chars=True)["cleval/recall"] == pytest.approx(
        4 / 6
    )
    without = sample([box(0, 0, 19, 9)], [1.0])
    spread = evaluate("CLEvalMetric", [without], real_chars=True)
    assert spread["cleval/recall"] == pytest.approx(2 / 6)


def test_cleval_names_the_image_with_an_outline_of_more_points():
    bent = np.concatenate([box(0, 0, 39, 9), [20, 30]]).astype(np.float32)
    sample_with_one = dict(sample([bent], [1.0]), img_path="photos/a.jpg")
    with pytest.raises(ValueError, match=r"CLEvalMetric: photos/a\.jpg: .* takes polygons=True"):
        evaluate("CLEvalMetric", [sample_with_one])


def test_tiou():
    # IoU 0.75 with the first word, of which a quarter is cut off; nothing foreign is held.
    cut = sample([box(0, 0, 29.25, 9)], [1.0])
    metrics = evaluate("TIoUMetric", [cut])
    assert metrics["tiou/recall"] == pytest.approx(0.75 * 0.75 / 2)
    assert metrics["tiou/precision"] == pytest.approx(0.75)
    assert evaluate("TIoUMetric", [cut], match_iou_thr=0.8)["tiou/hmean"] == 0
    assert evaluate("TIoUMetric", [HALVES], ignore_precision_thr=1)["tiou/precision"] == 1 / 5
    assert evaluate("TIoUMetric", [HALVES], score_thr=0.85)["tiou/recall"] == 0


def test_side_by_side_in_one_evaluator():
    evaluator = Evaluator([dict(type=n) for n in ("HmeanMetric", "DetEvalMetric", "TIoUMetric")])
    evaluator.process(data_samples=[HALVES])
    metrics = evaluator.evaluate(1)
    assert metrics["icdar/recall"] == 0.5
    assert metrics["deteval/recall"] == 0.9
    assert metrics["tiou/recall"] == 0.5


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("DetEvalMetric", dict(area_recall=0)),
        ("DetEvalMetric", dict(area_precision=2)),
        ("DetEvalMetric", dict(score_thr=-1)),
        ("CLEvalMetric", dict(area_precision=0)),
        ("TIoUMetric", dict(match_iou_thr=1)),
        ("TIoUMetric", dict(ignore_precision_thr=2)),
    ],
)
def test_bad_settings(name, setting):
    ((key, value),) = setting.items()
    wanted = {"match_iou_thr": "iou_thr", "ignore_precision_thr": "ignore_thr"}.get(key, key)
    with pytest.raises(ValueError, match=f"{wanted} is {value}"):
        METRICS.build(dict(type=name, **setting))
