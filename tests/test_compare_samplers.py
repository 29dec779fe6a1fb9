"""The comparison of samplers: its pictures, what it measures, what it trains again, what it says.

Overlaps of boxes with whole corners are exact in fractions, by which slow versions judge.
"""

from __future__ import annotations

import ast
import json
import math
import multiprocessing
import os
import runpy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import InstanceData

from mmtextplug.datasets.generated_text import GeneratedTextDataset
from mmtextplug.launch import unknown_types

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "analysis"))

import compare_samplers as tool
import hard_text
import sampler_plots
import sampler_probe
import sampler_training
from hard_text import FixedProposals, HardNegatives
from sampler_probe import KINDS, SamplerProbe, false_positives, hits, pool_losses, precision

ROOT = Path(tool.__file__).parents[2]
ANYTHING = settings(max_examples=80, deadline=None)


# --- what is measured: hits, precision, false positives ------------------------------------------


def picture(found=(), words=(), mirrored=(), symbols=()) -> dict:
    """``found``: pairs of a score and a box."""
    return dict(
        scores=np.array([score for score, _ in found], np.float32),
        boxes=boxes_of([box for _, box in found]),
        words=boxes_of(words),
        mirrored=boxes_of(mirrored),
        symbols=boxes_of(symbols),
    )


def boxes_of(rows) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def slow_iou(a, b) -> Fraction:
    a, b = ([Fraction(float(value)) for value in box] for box in (a, b))
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(tall, 0)
    total = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)) - shared
    return shared / total if total else Fraction(0)


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
                    ("mirrored", one["mirrored"]),
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
    assert precision([picture([(0.1, WORDS[0])], WORDS[:1])], 0.5) == 1


def test_false_positives_by_hand():
    others = dict(mirrored=[(50, 0, 60, 10)], symbols=[(50, 20, 60, 30)])
    found = [
        (0.99, (50, 0, 60, 9)),
        (0.98, (50, 0, 60, 5)),
        (0.97, (50, 20, 60, 21)),  # just a tenth of the symbol
        (0.96, (50, 20, 60, 20.9)),
        (0.955, (50, 8, 60, 23)),  # 2/23 of the mirrored one, 3/22 of the symbol
        (0.1, (50, 0, 60, 10)),  # after all words were found
        *FOUND,
    ]
    expected = dict(mirrored=2.0, symbols=2.0, misplaced=1.0, background=2.0)
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
        (picture(FOUND, mirrored=WORDS), math.nan),
        (picture(words=WORDS), 0.0),
        (picture([(0.5, (40, 0, 50, 10))], WORDS), 0.0),
    ],
)
def test_nothing_to_find_and_nothing_found(one, average):
    np.testing.assert_equal(precision([one, one], 0.5), average)
    np.testing.assert_equal(false_positives([one]), dict.fromkeys(KINDS, math.nan))
    assert not hits([one], 0.5)[1].any()


def corners(least: int) -> st.SearchStrategy:
    place, side = st.integers(0, 7), st.integers(least, 6)
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
    for one in (picture(FOUND, WORDS, mirrored=[(50, 50, 60, 60)]), picture([], [])):
        instances = dict(bboxes=torch.from_numpy(one["boxes"]))
        instances["scores"] = torch.from_numpy(one["scores"])
        truths = dict(bboxes=torch.from_numpy(one["words"]))
        sample = dict(pred_instances=instances, gt_instances=truths)
        metric.process({}, [sample | dict(mirrored=one["mirrored"], symbols=one["symbols"])])
    values = metric.evaluate(size=2)
    counts = dict(mirrored=50.0, symbols=0.0, misplaced=50.0, background=0.0)
    expected = {"words/AP50": 0.5, "words/AP75": 0.45}
    expected |= {f"words/false_{kind}": count for kind, count in counts.items()}
    assert values == pytest.approx(expected)


# --- pictures ------------------------------------------------------------------------------------


def noise(height: int = 120, width: int = 200, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def inside(box: np.ndarray, wider: int = 0) -> tuple[slice, slice]:
    x0, y0 = np.floor(box[:2]).astype(int) - wider
    x1, y1 = np.ceil(box[2:]).astype(int) + wider
    return slice(y0, y1), slice(x0, x1)


@pytest.mark.parametrize("upside_down", [False, True])
def test_mirrored_inside_faded_around_unchanged_outside(upside_down):
    before, after = noise(), noise()
    box = np.array([20.5, 30.5, 60.25, 50.75], np.float32)
    assert hard_text.mirror(after, box, upside_down)
    axis = 0 if upside_down else 1
    np.testing.assert_array_equal(after[30:51, 20:61], np.flip(before[30:51, 20:61], axis))
    outside = np.ones(before.shape[:2], bool)
    outside[inside(box, 3)] = False
    np.testing.assert_array_equal(after[outside], before[outside])
    # Left of the box, far from its corners: a third less of the mirrored picture at every pixel.
    wide = before[inside(box, 3)].astype(float)
    share = np.array([0, 1 / 3, 2 / 3, 1])[:, None]
    faded = (share * np.flip(wide, axis)[3:-3, :4] + (1 - share) * wide[3:-3, :4])[1:-1]
    np.testing.assert_allclose(after[31:50, 17:21], faded, atol=0.51)


@pytest.mark.parametrize(
    ("box", "done"),
    [
        ((3, 3, 40, 30), True),
        ((2.9, 3, 40, 30), False),
        ((3, 2.9, 40, 30), False),
        ((150, 90, 197, 117), True),
        ((150, 90, 197.1, 117), False),
        ((150, 90, 197, 117.1), False),
        ((-5, 20, 30, 40), False),
    ],
)
def test_not_too_close_to_the_border(box, done):
    image = noise()
    assert hard_text.mirror(image, np.array(box, np.float32), False) == done
    assert (image != noise()).any() == done


def drawn(words: list, idx: int = 0, seed: int = 1, **kwargs) -> dict:
    results = dict(img=noise(), sample_idx=idx, instances=[dict(bbox=word) for word in words])
    return HardNegatives(seed, **kwargs)(results)


def test_words_close_to_others_or_to_the_border_stay():
    alone, apart = [[20, 20, 60, 40]], [[100, 60, 130, 80], [134, 60, 160, 80]]
    close, border = [[100, 20, 130, 40], [132, 20, 160, 40]], [[0, 80, 30, 100]]
    results = drawn(alone + close + border + apart, share=1.0, symbols=(0, 0))
    # Corners of the annotations are centres of pixels, those of the detector their borders.
    np.testing.assert_array_equal(results["mirrored"], np.array(alone + apart) + 0.5)
    np.testing.assert_array_equal(results["gt_bboxes"], np.array(close + border) + 0.5)
    assert results["mirrored"].dtype == results["gt_bboxes"].dtype == np.float32
    np.testing.assert_array_equal(results["gt_bboxes_labels"], [0, 0, 0])
    np.testing.assert_array_equal(results["gt_ignore_flags"], [False] * 3)
    assert results["symbols"].shape == (0, 4)
    assert results["scale_factor"] == (1.0, 1.0)
    same = np.ones(noise().shape[:2], bool)
    for box in results["mirrored"]:
        part, own = results["img"][inside(box)], noise()[inside(box)]
        assert any(np.array_equal(part, np.flip(own, axis)) for axis in (0, 1))
        same[inside(box, 3)] = False
    np.testing.assert_array_equal(results["img"][same], noise()[same])


def test_without_words_and_without_mirrored_ones():
    empty = drawn([], symbols=(2, 2))
    assert empty["gt_bboxes"].shape == empty["mirrored"].shape == (0, 4)
    assert len(empty["symbols"]) == 2
    plain = drawn([[20, 20, 60, 40]], share=0.0, symbols=(0, 0))
    np.testing.assert_array_equal(plain["img"], noise())
    assert len(plain["gt_bboxes"]) == 1
    assert len(plain["mirrored"]) == 0


SEED, COUNT = 7, 16


@pytest.fixture(scope="module")
def scenes() -> list[tuple[dict, dict]]:
    """Pictures of the trainings before and after `HardNegatives`."""
    cfg = sampler_training.pictures(SEED, COUNT)
    del cfg["type"], cfg["pipeline"]
    pictures = list(GeneratedTextDataset(**cfg, pipeline=[]))
    return [(one, HardNegatives(SEED)(dict(one))) for one in pictures]


def test_pictures_change_where_boxes_say_so(scenes):
    shares, symbols = [], []
    for before, after in scenes:
        words = np.array([word["bbox"] for word in before["instances"]], np.float32) + 0.5
        split = np.concatenate([after["gt_bboxes"], after["mirrored"]])
        np.testing.assert_array_equal(sorted(split.tolist()), sorted(words.tolist()))
        changed = (before["img"] != after["img"]).any(2)
        for box in after["symbols"]:
            x0, y0, x1, y1 = box.astype(int)
            assert 0 <= x0 < x1 <= 256
            assert 0 <= y0 < y1 <= 256
            assert changed[y0:y1, x0:x1].sum() > 15
            assert max(slow_iou(box, word) for word in words) == 0
            changed[y0:y1, x0:x1] = False
        for box in after["mirrored"]:
            assert changed[inside(box)].mean() > 0.1
            changed[inside(box, 3)] = False
        assert not changed.any()
        shares.append(len(after["mirrored"]) / len(words))
        symbols.append(len(after["symbols"]))
    assert 0.2 < np.mean(shares) < 0.6  # 0.45 of those that stand alone
    assert 8 >= max(symbols) > 3


def same(first: dict, second: dict, keys: tuple[str, ...]) -> bool:
    return all(np.array_equal(first[key], second[key]) for key in keys)


def test_pictures_depend_on_seed_and_number_alone(scenes):
    keys = ("img", "gt_bboxes", "mirrored", "symbols", "proposals")
    init_default_scope("mmdet")
    dataset = DATASETS.build(sampler_training.pictures(SEED, COUNT))
    dataset.pipeline.transforms.pop()  # which packs
    again = {number: dataset[number] for number in (3, 1)}
    assert all(same(again[n], FixedProposals(SEED)(dict(scenes[n][1])), keys) for n in again)
    before = scenes[0][0]
    mine = FixedProposals(SEED)(HardNegatives(SEED)(dict(before)))
    for seed, idx in ((SEED + 1, 0), (SEED, 1)):
        other = FixedProposals(seed)(HardNegatives(seed)({**before, "sample_idx": idx}))
        assert not any(same(mine, other, (key,)) for key in ("img", "proposals"))


# --- proposals -----------------------------------------------------------------------------------


def overlaps_with(boxes: np.ndarray, things: np.ndarray) -> np.ndarray:
    return np.array([max([slow_iou(b, t) for t in things], default=Fraction(0)) for b in boxes])


def test_proposals_around_all_kinds_alike(scenes):
    around = (60, 60, 40)
    spreads = {"gt_bboxes": [], "mirrored": [], "symbols": []}
    complete = [scene for _, scene in scenes if all(len(scene[key]) for key in spreads)]
    assert len(complete) > 3
    for scene in complete:
        results = FixedProposals(SEED, sum(around), around)(dict(scene))
        assert results["proposals"].shape == (160, 4)
        assert results["proposals"].dtype == np.float32
        np.testing.assert_array_equal(results["proposals_scores"], np.ones(160, np.float32))
        best = np.stack([overlaps_with(results["proposals"], scene[key]) for key in spreads])
        owner = best.argmax(0)
        counts = np.bincount(owner, minlength=3)
        np.testing.assert_allclose(counts, around, atol=6)  # things that lie close share some
        for number, values in enumerate(spreads.values()):
            values += [float(value) for value in best.max(0)[owner == number]]
    for values in spreads.values():
        values = np.array(values)
        assert ((values > 0.27) & (values < 0.97)).mean() > 0.97
        # Evenly spread: a fifth of them in each fifth of the range.
        shares = np.histogram(values, np.linspace(0.3, 0.95, 6))[0] / len(values)
        np.testing.assert_allclose(shares, 0.2, atol=0.07)


def test_the_other_proposals_lie_anywhere(scenes):
    scene = next(one for _, one in scenes if len(one["gt_bboxes"]))
    nothing = np.zeros((0, 4), np.float32)
    alone = {**scene, "mirrored": nothing, "symbols": nothing}
    results = FixedProposals(SEED, 100, (20, 30, 10))(dict(alone))
    assert results["proposals"].shape == (100, 4)
    assert 20 <= (overlaps_with(results["proposals"], scene["gt_bboxes"]) > 0.27).sum() < 45
    none = FixedProposals(SEED)({**alone, "gt_bboxes": nothing})["proposals"]
    assert none.shape == (400, 4)
    centres = (none[:, :2] + none[:, 2:]) / 2 // 128
    quarters = np.unique(centres, axis=0, return_counts=True)[1]
    np.testing.assert_allclose(quarters, [100] * 4, atol=40)
    for total in (60, 61, 62):  # none, one and two anywhere
        proposals = FixedProposals(SEED, total, (20, 30, 10))(dict(scene))["proposals"]
        assert proposals.shape == (total, 4)


def test_fewer_proposals_than_their_shares():
    with pytest.raises(ValueError, match=r"total=100 is less than around=\(60, 60, 40\)"):
        FixedProposals(0, total=100)


def within(boxes: np.ndarray, height: int, width: int) -> bool:
    sides = boxes[:, 2:] - boxes[:, :2]
    limits = boxes.min(initial=0) >= 0, (boxes[:, 2:] <= [width, height]).all()
    return all(limits) and sides.min(initial=4) >= 4 - 1e-4


@ANYTHING
@given(st.data(), st.integers(0, 99), st.integers(0, 30), st.integers(8, 300), st.integers(8, 300))
def test_proposals_stay_in_the_picture(data, seed, count, height, width):
    size, rng = (height, width), np.random.default_rng(seed)
    loose = hard_text.anywhere(count, size, rng)
    assert loose.shape == (count, 4)
    assert within(loose, height, width)
    starts = data.draw(st.lists(st.tuples(*[st.floats(0, 0.9)] * 4), min_size=1, max_size=4))
    rows = [(x, y, x + w * (1 - x), y + h * (1 - y)) for x, y, w, h in starts]
    boxes = np.array(rows, np.float32) * np.array([width, height] * 2, np.float32)
    near = hard_text.jittered(boxes, count, size, rng)
    assert near.shape == (count, 4)
    assert near.dtype == np.float32
    assert within(near, height, width)


@pytest.mark.parametrize("limits", [(0.3, 0.95), (0.6, 0.8)])
def test_overlaps_are_spread_evenly(limits):
    """And every box gets as many."""
    boxes = boxes_of([(40, 50, 140, 80), (150, 150, 180, 200), (60, 180, 130, 192)])
    rng = np.random.default_rng(3)
    near = hard_text.jittered(boxes, 600, (256, 256), rng, *limits)
    overlaps = np.array([float(slow_iou(box, boxes[i % 3])) for i, box in enumerate(near)])
    for own in (overlaps[0::3], overlaps[1::3], overlaps[2::3]):
        expected = np.quantile(np.linspace(*limits, 1000), np.linspace(0, 1, len(own)))
        assert np.abs(np.sort(own) - expected).max() < 0.1
        assert own.min() == pytest.approx(limits[0], abs=0.07)
        assert own.max() == pytest.approx(limits[1], abs=0.07)
    again = hard_text.jittered(boxes, 600, (256, 256), np.random.default_rng(3), *limits)
    np.testing.assert_array_equal(near, again)


# --- losses of the pool, time, memory ------------------------------------------------------------


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
    # Steps of 100, ..., 500 ms warm up; then 10, 30, 20.
    steps = [0.1, 0.2, 0.3, 0.4, 0.5, 0.01, 0.03, 0.02]
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


# --- trainings -----------------------------------------------------------------------------------


def test_trainings_of_a_seed_differ_in_the_sampler_alone():
    def common(arm: str, seed: int) -> dict:
        cfg = sampler_training.training(arm, seed, 60)
        assert unknown_types(cfg) == []
        assert cfg.custom_hooks[-1] == dict(type="SamplerProbe")
        assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (60, 10)
        assert cfg.train_dataloader.dataset.num_samples == 120
        plain = cfg.to_dict()
        del plain["custom_hooks"], plain["model"]["train_cfg"]["rcnn"]["sampler"]
        del plain["model"]["roi_head"]["type"]
        return plain

    first, *others = [common(arm, 3) for arm in sampler_training.ARMS]
    assert all(other == first for other in others)
    second = common("random", 4)
    # The pictures that judge are the same for all seeds, and nobody's to train on.
    assert first["val_dataloader"] == second["val_dataloader"]
    seeds = [cfg["train_dataloader"]["dataset"]["seed"] for cfg in (first, second)]
    assert seeds == [3, 4]
    judges = first["val_dataloader"]["dataset"]
    assert judges["seed"] > 10**6
    assert judges["num_samples"] == 100
    for arm, (sampler, _) in sampler_training.ARMS.items():
        assert sampler["num"] == 32, arm


@pytest.fixture
def trainings(monkeypatch) -> list[dict]:
    """What would have been run; instead there is a checkpoint at once, unless told to fail."""
    calls = []

    def config(*arguments: object) -> SimpleNamespace:
        return SimpleNamespace(pretty_text=repr((arguments, sampler_training._PICTURES)))

    def run(command, **kwargs) -> SimpleNamespace:
        (_, _, iters), _ = ast.literal_eval(Path(command[2]).read_text())
        checkpoint = Path(command[-1], f"iter_{iters}.pth")
        calls.append(dict(command=command, before=checkpoint.exists(), **kwargs))
        failed = Path(command[-1], "fail").exists()
        if not failed:
            checkpoint.touch()
        return SimpleNamespace(returncode=int(failed))

    monkeypatch.setattr(tool, "training", config)
    monkeypatch.setattr(tool, "subprocess", SimpleNamespace(run=run, STDOUT=None))
    return calls


def test_trained_again_only_if_the_config_is_another(tmp_path, monkeypatch, trainings):
    def train(iters: int = 6, seed: int = 0, arm: str = "ohem") -> bool:
        args = tool.parse_args(["--out", str(tmp_path), "--iters", str(iters), "--threads", "3"])
        return tool.Training(args, arm, seed).run()

    assert train()
    assert not train()
    assert len(trainings) == 1
    (call,) = trainings
    folder = tmp_path / "ohem/seed0"
    assert call["command"] == [
        sys.executable, "tools/train.py", str(folder / "config.py"), "--work-dir", str(folder),
    ]  # fmt: skip
    assert call["cwd"] == ROOT
    assert call["env"]["OMP_NUM_THREADS"] == "3"
    assert call["env"]["PYTHONPATH"].split(os.pathsep)[:2] == [
        str(ROOT / "tools/analysis"),
        str(ROOT),
    ]
    assert train(seed=1)
    assert train(arm="random")
    assert not train()
    assert train(iters=12)
    assert train()  # the config there is that of 12 steps by now
    monkeypatch.setattr(sampler_training, "_PICTURES", 4)
    assert train()
    assert not train()
    (folder / "iter_6.pth").unlink()
    assert train()
    # An old checkpoint never passes for the new one.
    assert not any(call["before"] for call in trainings)
    assert len(trainings) == 7


def test_what_failed_is_named_and_trained_again(tmp_path, trainings):
    args = tool.parse_args(["--out", str(tmp_path), "--iters", "6"])
    one = tool.Training(args, "ohem", 0)
    one.folder.mkdir(parents=True)
    (one.folder / "fail").touch()
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"tools/train\.py failed: see .*ohem/seed0/log\.txt"):
            one.run()
    (one.folder / "fail").unlink()
    assert one.run()
    assert not one.run()
    assert len(trainings) == 3


def log(folder: Path, name: str, rows: list[dict]) -> None:
    file = folder / name / "vis_data/scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_results_are_those_of_the_last_log(tmp_path):
    args = tool.parse_args(["--out", str(tmp_path), "--iters", "12"])
    one = tool.Training(args, "ohem", 5)
    with pytest.raises(SystemExit, match=r"seed5: no validation at step 12 .*remove the folder"):
        one.result()
    first = {"words/AP50": 0.25, "pool_cls": 0.5, "pool_loc": 2.0, "step": 6}
    last = {"words/AP50": 0.75, "pool_cls": 0.25, "words/false_symbols": math.nan, "step": 12}
    log(one.folder, "20260101_120000", [first, dict(last, pool_cls=9.0)])
    log(
        one.folder, "20260101_130000", [dict(loss=1.0, step=1), first, dict(loss=1.0, step=7), last]
    )
    result = one.result()
    assert (result["arm"], result["seed"], result["steps"]) == ("ohem", 5, [6, 12])
    np.testing.assert_equal(result["words/AP50"], [0.25, 0.75])
    np.testing.assert_equal(result["pool_cls"], [0.5, 0.25])
    np.testing.assert_equal(result["pool_loc"], [2.0, math.nan])
    np.testing.assert_equal(result["words/false_symbols"], [math.nan] * 2)
    assert set(result) == {"arm", "seed", "steps", *tool.MEASURES}
    log(one.folder, "20260101_140000", [first])  # was stopped
    with pytest.raises(SystemExit, match="no validation at step 12"):
        one.result()


@pytest.mark.parametrize("iters", ["0", "5", "13"])
def test_iterations_that_validations_do_not_divide(iters, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(["--out", "x", "--iters", iters])
    assert f"--iters {iters}: needs to be a multiple of 6" in capsys.readouterr().err


# --- what is said of them ------------------------------------------------------------------------


def result(arm: str, seed: int, **last: float) -> dict:
    """Other values, at the first of two validations, are those that must not count."""
    values = {key: [99.0, last.get(key.rpartition("/")[2], 0.0)] for key in tool.MEASURES}
    return dict(arm=arm, seed=seed, steps=[10, 20], **values)


NAN = math.nan
RESULTS = [
    result("ohem", 0, AP50=0.5, pool_cls=0.02, false_symbols=10, peak_mb=600.4),
    result("s-ohem", 0, AP50=0.6, pool_cls=0.01, false_symbols=NAN, peak_mb=601),
    result("ohem", 1, AP50=0.6, pool_cls=0.04, false_symbols=30, peak_mb=600.4),
    result("s-ohem", 1, AP50=0.9, pool_cls=NAN, false_symbols=NAN, peak_mb=601),
    result("ohem", 2, AP50=0.7, pool_cls=0.06, false_symbols=NAN, peak_mb=600.4),
    result("s-ohem", 2, AP50=0.6, pool_cls=0.02, false_symbols=NAN, peak_mb=601),
]


def cells(markdown: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines()]
    assert set("".join(rows.pop(1))) == {"-"}
    assert len({len(line) for line in markdown.splitlines()}) == 1
    return {row[0]: row[1:] for row in rows}


def test_means_and_deviations_by_hand():
    rows = cells(tool.table(RESULTS))
    assert rows[""] == ["ohem", "s-ohem"]
    # Squares of -0.1, 0.2, -0.1 are 0.06; halved and rooted.
    assert rows["AP50"] == ["0.600 ± 0.100", "0.700 ± 0.173"]
    assert rows["pool L_cls, all proposals"] == [
        "0.0400 ± 0.0200",
        "0.0150 ± 0.0071 (2 of 3 seeds)",
    ]
    assert rows["... symbols"] == ["20.0 ± 14.1 (2 of 3 seeds)", "not reached"]
    assert rows["peak memory, MiB"] == ["600 ± 0", "601 ± 0"]
    assert len(rows) == 1 + len(tool.MEASURES)
    assert cells(tool.table(RESULTS[:1]))["AP50"] == ["0.500"]


def test_differences_at_the_same_seed_by_hand():
    # A seed without the sampler to compare with does not count.
    rows = cells(tool.differences([*RESULTS, result("s-ohem", 3, AP50=9.0)]))
    assert rows["less ohem"] == ["s-ohem"]
    # 0.1, 0.3, -0.1; -0.01, nothing, -0.04.
    assert rows["AP50"] == ["+0.100 ± 0.200"]
    assert rows["pool L_cls, all proposals"] == ["-0.0250 ± 0.0212 (2 of 3 seeds)"]
    assert rows["... symbols"] == ["not reached"]
    assert cells(tool.differences(RESULTS[:2], "s-ohem"))["AP50"] == ["-0.100"]


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Those that were saved, which they are not."""
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: kept.append(self))
    return kept


def test_pictures_show_the_numbers_of_the_table(figures, tmp_path):
    sampler_plots.draw_ends(RESULTS, tool.MEASURES, tmp_path / "ends.png")
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes[:2]] == ["AP50", "AP75"]
    drawn = [list(line.get_ydata()) for line in axes[0].get_lines()]
    assert drawn[0] == [0.5, 0.6, 0.7]
    assert drawn[1] == pytest.approx([0.6, 0.6])
    assert drawn[3] == pytest.approx([0.7, 0.7])
    # Bars are means of the seeds that reached the recall; none is not the same as no false ones.
    heights = [bar.get_height() for bar in axes[-1].patches]
    assert heights == pytest.approx([0, 0, 20, 0, 0, 0, 0, 0])
    texts = [(text.get_position(), text.get_text()) for text in axes[-1].texts]
    assert texts == []
    kinds = {f"false_{kind}": NAN for kind in KINDS}
    unreached = [result("ohem", 0, false_symbols=4), result("s-ohem", 0, **kinds)]
    sampler_plots.draw_ends(unreached, tool.MEASURES, tmp_path / "ends.png")
    texts = [(text.get_position(), text.get_text()) for text in figures[1].axes[-1].texts]
    assert texts == [((1, 0), "not reached")]


def test_curves_are_means_in_a_band(figures, tmp_path):
    sampler_plots.draw_curves(RESULTS, tool.MEASURES, tmp_path / "curves.png")
    axes = figures[0].axes
    assert [axis.get_yscale() for axis in axes] == ["linear", "linear", "log", "log"]
    lines = {line.get_label(): line.get_xydata() for line in axes[0].get_lines()}
    np.testing.assert_allclose(lines["ohem"], [[10, 99], [20, 0.6]])
    np.testing.assert_allclose(lines["s-ohem"], [[10, 99], [20, 0.7]])
    corners = axes[0].collections[1].get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 20][:, 1]
    assert (at_end.min(), at_end.max()) == pytest.approx((0.6, 0.9))


def test_strata_are_those_of_the_last_training(figures, tmp_path):
    """Not of one before it, with other settings, in the same folder."""
    mined = dict(alpha=1.0, beta=0.0, gamma=0.0, progress=0.0, ramp=0.0)
    mined |= dict(cls_threshold=1.0, loc_threshold=1.0)
    rows = [
        {"loss": 1.0, "step": step, **{f"mining/{key}": v for key, v in mined.items()}}
        for step in (1, 2, 3, 4)
    ]
    folder = tmp_path / "s-ohem/seed0"
    log(folder, "20260101_130000", rows[:2])
    log(folder, "20260101_120000", rows)
    written = sampler_plots.draw_all(RESULTS, tool.MEASURES, tmp_path)
    assert [path.name for path in written] == ["ends.png", "curves.png", "strata_s-ohem.png"]
    alpha = figures[2].axes[0].get_lines()[0]
    np.testing.assert_array_equal(alpha.get_xydata(), [[1, 1], [2, 1]])


# --- all of it -----------------------------------------------------------------------------------


def train_in_a_fork(command, stdout, env, cwd, **kwargs) -> SimpleNamespace:
    """What the command does, without its imports, which take longer than the training."""

    def child() -> None:
        sys.stdout = sys.stderr = stdout
        os.chdir(cwd)
        sys.argv = command[1:]
        runpy.run_path(command[1], run_name="__main__")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return SimpleNamespace(returncode=process.exitcode)


def test_the_whole_comparison(tmp_path, monkeypatch, capsys):
    """Six steps and two pictures to judge by; one of two trainings as a process of its own."""

    def run(command, **kwargs):
        own = "s-ohem-weighted" in command[-1]
        return (subprocess.run if own else train_in_a_fork)(command, **kwargs)

    monkeypatch.setattr(sampler_training, "_PICTURES", 2)
    monkeypatch.setattr(tool, "subprocess", SimpleNamespace(run=run, STDOUT=subprocess.STDOUT))
    arms = ["ohem", "s-ohem-weighted"]
    argv = ["--out", str(tmp_path), "--iters", "6", "--seeds", "3", "--samplers", *arms]
    tool.main(argv)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(one["arm"], one["seed"]) for one in results] == [(arm, 3) for arm in arms]
    for one in results:
        values = {key: np.array(one[key]) for key in tool.MEASURES}
        assert one["steps"] == [1, 2, 3, 4, 5, 6]
        assert ((values["words/AP50"] >= values["words/AP75"]) & (values["words/AP75"] >= 0)).all()
        assert (values["words/AP50"] < 0.9).all()
        # Two classes, hardly trained: about ln 2. Foreground losses of all words: some tenths.
        np.testing.assert_allclose(values["pool_cls"], math.log(2), atol=0.15)
        assert ((values["pool_loc"] > 0.2) & (values["pool_loc"] < 5)).all()
        assert ((values["step_ms"] > 1) & (values["step_ms"] < 60_000)).all()
        assert ((values["peak_mb"] > 50) & (np.diff(values["peak_mb"], prepend=0) >= 0)).all()
        false = np.array([one[f"words/false_{kind}"] for kind in KINDS])
        assert np.isnan(false).all(0).tolist() == np.isnan(false).any(0).tolist()
        assert not (false % 50)[np.isfinite(false)].any()  # whole ones of two pictures
    # From the same weights on the same pictures: one step apart they are nearly the same still.
    first = [one["pool_loc"][0] for one in results]
    assert first[0] == pytest.approx(first[1], rel=0.02)
    rows = [
        json.loads(line)
        for line in next(tmp_path.glob("s-ohem-weighted/*/*/*/scalars.json")).open()
    ]
    selected = [row["mining/selected"] for row in rows if "loss" in row]
    assert selected == [64.0] * 6  # 32 of each of two pictures
    text = (tmp_path / "table.md").read_text()
    table, differences = text.strip().split("\n\n")
    for column, one in enumerate(results):
        assert cells(table)["AP50"][column] == f"{one['words/AP50'][-1]:.3f}"
    gap = results[1]["pool_cls"][-1] - results[0]["pool_cls"][-1]
    assert cells(differences)["pool L_cls, all proposals"] == [f"{gap:+.4f}"]
    for name, size in (
        ("ends", (750, 1500)), ("curves", (400, 1600)), ("strata_s-ohem-weighted", (374, 1848)),
    ):  # fmt: skip
        drawn = cv2.imread(str(tmp_path / f"{name}.png"))
        assert drawn.shape[:2] == size
        assert 0.01 < (drawn < 250).any(2).mean() < 0.7
    said = capsys.readouterr().out
    assert text in said
    # Once more: all is there already.
    monkeypatch.delattr(tool, "subprocess")
    tool.main(argv)
    assert capsys.readouterr().out.count("(trained before)") == 2
    assert (tmp_path / "table.md").read_text() == text
