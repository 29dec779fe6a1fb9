"""What the comparison of samplers measures, against slow versions.

Overlaps of boxes with whole corners are exact in fractions, by which slow versions judge.
"""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import hard_text
import numpy as np
import pytest
import sampler_probe
import sampler_training
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from sampler_probe import KINDS, SamplerProbe, false_positives, hits, pool_losses, precision
from slow_boxes import boxes_of, noise, slow_iou

ANYTHING = settings(max_examples=80, deadline=None)


def picture(found=(), words=(), scrambled=(), symbols=()) -> dict:
    """``found``: pairs of a score and a box."""
    return dict(
        scores=np.array([score for score, _ in found], np.float32),
        boxes=boxes_of([box for _, box in found]),
        words=boxes_of(words),
        scrambled=boxes_of(scrambled),
        symbols=boxes_of(symbols),
    )


def slow_detections(pictures: list[dict], iou_thr: float) -> list[tuple[float, bool, str]]:
    """Score, whether it is a hit and its kind otherwise, of all detections; the best come first."""
    rows = []
    for one in pictures:
        hit_words, own = set(), []
        order = sorted(range(len(one["scores"])), key=lambda row: (-one["scores"][row], row))
        for row in order:
            box = one["boxes"][row]
            best = {
                kind: max([slow_iou(box, thing) for thing in things], default=Fraction(0))
                for kind, things in (
                    ("scrambled", one["scrambled"]),
                    ("symbols", one["symbols"]),
                    ("misplaced", one["words"]),
                )
            }
            kind = max(best, key=best.get)  # the first of equal ones
            if best[kind] < Fraction(1, 10):
                kind = "background"
            overlaps = [slow_iou(box, word) for word in one["words"]]
            word = overlaps.index(max(overlaps)) if overlaps else None
            hit = word is not None and overlaps[word] >= iou_thr and word not in hit_words
            if hit:
                hit_words.add(word)
            own.append((row, (float(one["scores"][row]), hit, kind)))
        rows += [outcome for _, outcome in sorted(own)]
    return [rows[i] for i in sorted(range(len(rows)), key=lambda i: (-rows[i][0], i))]


def slow_precision(pictures: list[dict], iou_thr: float) -> float:
    words = sum(len(one["words"]) for one in pictures)
    found, reached = 0, []
    for rank, (_, hit, _) in enumerate(slow_detections(pictures, iou_thr), start=1):
        found += hit
        reached.append((found, Fraction(found, rank)))
    levels = [max([p for n, p in reached if n >= k], default=0) for k in range(1, words + 1)]
    return float(sum(levels, Fraction(0)) / words) if words else math.nan


def slow_false(pictures: list[dict], recall: Fraction, iou_thr: float) -> dict[str, float]:
    words = sum(len(one["words"]) for one in pictures)
    counts, found = dict.fromkeys(KINDS, 0.0), 0
    for _, hit, kind in slow_detections(pictures, iou_thr):
        found += hit
        counts[kind] += not hit
        if words and found >= recall * words:
            return counts
    return dict.fromkeys(KINDS, math.nan)


WORDS = [(0, 0, 10, 10), (20, 0, 30, 10)]
FOUND = [
    (0.9, (0, 0, 10, 10)),
    (0.8, (0, 0, 10, 9)),  # second on its word
    (0.7, (20, 0, 30, 6)),  # overlap 0.6
    (0.6, (20, 0, 30, 9)),  # overlap 0.9, but comes too late where 0.6 is enough
    (0.95, (50, 50, 60, 60)),
]


def test_hits_and_precision_by_hand():
    one = picture(FOUND, WORDS)
    scores, hit = hits([one, picture(), one], 0.5)
    np.testing.assert_allclose(scores, [0.9, 0.8, 0.7, 0.6, 0.95] * 2)
    np.testing.assert_array_equal(hit, [True, False, True, False, False] * 2)
    np.testing.assert_array_equal(hits([one], 0.75)[1], [True, False, False, True, False])
    # Ranks: wrong, right, wrong, right, wrong; wrong, right, wrong, wrong, right.
    assert precision([one], 0.5) == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 4)
    assert precision([one], 0.75) == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 5)
    assert precision([picture([(0.1, WORDS[0])], WORDS)], 0.5) == pytest.approx(0.5)
    half = (0, 0, 10, 5)
    assert precision([picture([(0.1, half)], WORDS[:1])], 0.5) == 1  # just enough
    # The better one takes the word, wherever it stands.
    np.testing.assert_array_equal(
        hits([picture([(0.1, WORDS[0]), (0.2, half)], WORDS)], 0.5)[1], [False, True]
    )


def test_false_positives_by_hand():
    others = dict(scrambled=[(50, 0, 60, 10)], symbols=[(50, 20, 60, 30)])
    found = [
        (0.99, (50, 0, 60, 9)),
        (0.98, (50, 0, 60, 5)),
        (0.97, (50, 20, 60, 21)),  # just a tenth of the symbol
        (0.96, (50, 20, 60, 20.9)),
        (0.955, (50, 8, 60, 23)),  # 2/23 of the scrambled one, 3/22 of the symbol
        (0.1, (50, 0, 60, 10)),  # after all words were found
        *FOUND,
    ]
    expected = dict(scrambled=2.0, symbols=2.0, misplaced=1.0, background=2.0)
    assert false_positives([picture(found, WORDS, **others)]) == expected
    # Half of the words: the second one on the first word is not reached yet.
    expected["misplaced"] = 0.0
    assert false_positives([picture(found, WORDS, **others)], recall=0.5) == expected


@pytest.mark.parametrize(("words", "found", "reached"), [(10, 9, True), (20, 17, False)])
def test_recall_of_nine_tenths(words, found, reached):
    wrong = (0.05, (50, 50, 60, 60))
    scores = np.linspace(0.9, 0.1, found)
    pictures = [picture([(score, WORDS[0]), wrong], WORDS[:1]) for score in scores]
    pictures += [picture([wrong], WORDS[:1])] * (words - found)
    false = false_positives(pictures)
    # All that is wrong has a lower score than the last hit.
    expected = dict.fromkeys(KINDS, 0.0 if reached else math.nan)
    np.testing.assert_equal(false, expected)


@pytest.mark.parametrize(
    ("one", "average"),
    [
        (picture(), math.nan),
        (picture(FOUND), math.nan),
        (picture(FOUND, scrambled=WORDS), math.nan),
        (picture(words=WORDS), 0.0),
        (picture([(0.5, (40, 0, 50, 10))], WORDS), 0.0),
    ],
)
def test_nothing_to_find_and_nothing_found(one, average):
    np.testing.assert_equal(precision([one, one], 0.5), average)
    np.testing.assert_equal(false_positives([one]), dict.fromkeys(KINDS, math.nan))
    assert not hits([one], 0.5)[1].any()


def corners(least: int) -> st.SearchStrategy:
    place, side = st.integers(0, 2), st.integers(least, 4)
    return st.tuples(place, place, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


PICTURES = st.lists(
    st.builds(
        picture,
        st.lists(st.tuples(st.sampled_from([0.1, 0.5, 0.5, 0.9]), corners(0)), max_size=7),
        *(st.lists(corners(1), max_size=count) for count in (3, 2, 2)),
    ),
    min_size=1,
    max_size=3,
)


@ANYTHING
@given(PICTURES, st.sampled_from(["1/5", "1/2", "9/10", "1"]), st.sampled_from([0.25, 0.5, 0.75]))
def test_as_slow_versions_have_it(pictures, recall, iou_thr):
    scores, hit = hits(pictures, iou_thr)
    order = np.argsort(-scores, kind="stable")
    slow = slow_detections(pictures, iou_thr)
    assert [(float(scores[i]), bool(hit[i])) for i in order] == [row[:2] for row in slow]
    np.testing.assert_allclose(
        precision(pictures, iou_thr), slow_precision(pictures, iou_thr), rtol=1e-5
    )
    false = false_positives(pictures, float(Fraction(recall)), iou_thr)
    np.testing.assert_equal(false, slow_false(pictures, Fraction(recall), iou_thr))


def test_the_metric_counts_false_positives_in_100_pictures():
    metric = sampler_probe.HardTextMetric()
    metric.dataset_meta = {}
    for one in (picture(FOUND, WORDS, scrambled=[(50, 50, 60, 60)]), picture([], [])):
        instances = dict(bboxes=torch.from_numpy(one["boxes"]))
        instances["scores"] = torch.from_numpy(one["scores"])
        truths = dict(bboxes=torch.from_numpy(one["words"]))
        sample = dict(pred_instances=instances, gt_instances=truths)
        metric.process({}, [sample | dict(scrambled=one["scrambled"], symbols=one["symbols"])])
    values = metric.evaluate(size=2)
    counts = dict(scrambled=50.0, symbols=0.0, misplaced=50.0, background=0.0)
    expected = {"words/AP50": 0.5, "words/AP75": 0.45}
    expected |= {f"words/false_{kind}": count for kind, count in counts.items()}
    assert values == pytest.approx(expected)


def small(arm: str) -> torch.nn.Module:
    torch.manual_seed(0)
    init_default_scope("mmdet")
    model = MODELS.build(ConfigDict(sampler_training.detector(sampler_training.ARMS[arm][0])))
    model.init_weights()
    for layer in (model.roi_head.bbox_head.fc_cls, model.roi_head.bbox_head.fc_reg):
        torch.nn.init.normal_(layer.weight, std=0.3)  # or all RoIs would be alike
    return model.eval()


def batch() -> dict:
    """Two pictures of two sizes with 24 and 10 proposals; the second without words."""
    words = [torch.tensor([[10.0, 12, 50, 30], [40, 50, 90, 80]]), torch.zeros(0, 4)]
    inputs, samples = [], []
    for number, (truths, count) in enumerate(zip(words, (24, 10))):
        rng = np.random.default_rng(number)
        size = (96, 96 - 20 * number)
        boxes = hard_text.anywhere(10, size, rng)
        if len(truths):
            near = hard_text.jittered(truths.numpy(), 14, size, rng)
            boxes = rng.permutation(np.concatenate([near, boxes]))
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size))
        labels = torch.zeros(len(truths), dtype=torch.long)
        sample.gt_instances = InstanceData(bboxes=truths, labels=labels)
        sample.proposals = InstanceData(bboxes=torch.from_numpy(boxes), scores=torch.ones(count))
        inputs.append(torch.from_numpy(noise(*size, seed=number)).permute(2, 0, 1))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def literal_losses(model: torch.nn.Module, data: dict) -> list[tuple[float, float | None]]:
    """Classification and, of foreground, localisation loss: one RoI at a time, in plain Python."""
    losses = []
    for image, sample in zip(data["inputs"], data["data_samples"]):
        padded = torch.zeros(1, 3, 96, 96)
        padded[0, :, : image.shape[1], : image.shape[2]] = (image.float() - 127.5) / 64
        feats = model.backbone(padded)
        truths = sample.gt_instances.bboxes.tolist()
        for box in sample.proposals.bboxes.tolist():
            with torch.no_grad():
                out = model.roi_head._bbox_forward(feats, torch.tensor([[0.0, *box]]))
            logits, deltas = out["cls_score"][0].tolist(), out["bbox_pred"][0].tolist()
            overlaps = [slow_iou(box, truth) for truth in truths]
            foreground = max(overlaps, default=0) >= 0.5
            cls = math.log(sum(map(math.exp, logits))) - logits[0 if foreground else 1]
            loc = None
            if foreground:
                x0, y0, x1, y1 = truths[overlaps.index(max(overlaps))]
                w, h = box[2] - box[0], box[3] - box[1]
                aims = (
                    (x0 + x1 - box[0] - box[2]) / 2 / w / 0.1,
                    (y0 + y1 - box[1] - box[3]) / 2 / h / 0.1,
                    math.log((x1 - x0) / w) / 0.2,
                    math.log((y1 - y0) / h) / 0.2,
                )
                errors = [abs(delta - aim) for delta, aim in zip(deltas, aims)]
                loc = sum(0.5 * e**2 if e < 1 else e - 0.5 for e in errors)
            losses.append((cls, loc))
    return losses


def test_losses_of_the_pool():
    """All proposals, no ground truths, whatever the training samples; and nothing changes."""
    model = small("s-ohem-stratified")
    state = {key: value.clone() for key, value in model.state_dict().items()}
    sums = pool_losses(model, batch())
    literal = literal_losses(model, batch())
    locs = [loc for _, loc in literal if loc is not None]
    assert 3 < len(locs) < 14
    assert np.ptp([cls for cls, _ in literal]) > 0.1
    expected = [sum(cls for cls, _ in literal), 34, sum(locs), len(locs)]
    np.testing.assert_allclose(sums, expected, rtol=1e-4)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    other = small("random")
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(pool_losses(other, batch()), sums)
    without = batch()
    without["inputs"], without["data_samples"] = without["inputs"][1:], without["data_samples"][1:]
    cls, count, loc, foreground = pool_losses(model, without)
    assert (count, loc, foreground) == (10, 0, 0)
    assert cls == pytest.approx(sum(cls for cls, _ in literal[24:]), rel=1e-4)


def test_the_probe(monkeypatch):
    hub = MessageHub.get_instance("test_the_probe")
    runner = SimpleNamespace(model=None, message_hub=hub)
    # Steps of 100, ..., 500 ms warm up; then 10, 60, 20.
    steps = [0.1, 0.2, 0.3, 0.4, 0.5, 0.01, 0.06, 0.02]
    clock = iter([moment for start, took in enumerate(steps) for moment in (start, start + took)])
    memory = iter([2.0**21, 3 * 2.0**20] + [2.0**20] * 6)
    sums = iter([[6, 4, 3, 2], [2, 4, 0, 0], [5, 10, 0, 0], [1, 4, 8, 4]])
    monkeypatch.setattr(sampler_probe, "_clock", lambda: next(clock))
    monkeypatch.setattr(sampler_probe, "_memory", lambda: next(memory))
    monkeypatch.setattr(sampler_probe, "pool_losses", lambda *_: np.array(next(sums), float))
    probe = SamplerProbe()

    def train(count: int) -> None:
        for number in range(count):
            probe.before_train_iter(runner, number)
            probe.after_train_iter(runner, number)

    def validate(batches: int) -> dict[str, float]:
        probe.before_val_epoch(runner)
        for number in range(batches):
            probe.after_val_iter(runner, number, {})
        probe.after_val_epoch(runner)
        scalars = {key: buffer.current() for key, buffer in hub.log_scalars.items()}
        return {key.removeprefix("val/"): value for key, value in scalars.items()}

    assert validate(2) == pytest.approx(dict(pool_cls=1.0, pool_loc=1.5))
    train(3)
    expected = dict(pool_cls=0.5, pool_loc=0.0, step_ms=200.0, peak_mb=3.0)
    assert validate(1) == pytest.approx(expected)
    train(5)
    expected = dict(pool_cls=0.25, pool_loc=2.0, step_ms=20.0, peak_mb=3.0)
    assert validate(1) == pytest.approx(expected)
