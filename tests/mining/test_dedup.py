"""without_duplicates against textbook non-maximum suppression, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_mining import greedy, iou

from mmtextplug.mining.dedup import without_duplicates

NAN, INF = float("nan"), float("inf")
# Exact in binary, and whole coordinates: no overlap is on the wrong side by a rounding.
THRESHOLDS = (0.25, 0.5, 0.625, 0.75, 1.0)


@st.composite
def problems(draw: st.DrawFn, scores=None) -> dict:
    count = draw(st.integers(0, 14))
    corner, size = st.integers(0, 4), st.integers(0, 8)

    def box():
        x, y = draw(corner), draw(corner)
        return [float(x), float(y), float(x + draw(size)), float(y + draw(size))]

    scores = scores or st.sampled_from([0.0, 1.0, 1.0, 2.0, 0.5, -1.0, 3.0, NAN, INF, -INF])
    return {
        "boxes": [box() for _ in range(count)],
        "scores": draw(st.lists(scores, min_size=count, max_size=count)),
        "groups": draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)),
        "candidates": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
        "iou_thr": draw(st.sampled_from(THRESHOLDS)),
    }


def survivors(problem, order=None) -> list[bool]:
    order = torch.arange(len(problem["boxes"])) if order is None else order
    kept = without_duplicates(
        torch.tensor(problem["boxes"]).view(-1, 4)[order],
        torch.tensor(problem["scores"])[order],
        iou_thr=problem["iou_thr"],
        group=torch.tensor(problem["groups"], dtype=torch.long)[order],
        candidate=torch.tensor(problem["candidates"], dtype=torch.bool)[order],
    )
    assert kept.dtype == torch.bool
    return kept.tolist()


@settings(max_examples=300, deadline=None)
@given(problems())
def test_equals_the_textbook(problem):
    expected = greedy(**problem)
    assert survivors(problem) == [i in expected for i in range(len(problem["boxes"]))]


@settings(max_examples=200, deadline=None)
@given(problems())
def test_no_two_survivors_are_duplicates_and_all_others_are(problem):
    kept = survivors(problem)
    boxes, scores, groups = problem["boxes"], problem["scores"], problem["groups"]
    for i in range(len(kept)):
        duplicates = [
            j for j in range(len(kept)) if j != i and kept[j] and groups[i] == groups[j]
            and iou(boxes[i], boxes[j]) > problem["iou_thr"]
        ]  # fmt: skip
        valid = problem["candidates"][i] and math.isfinite(scores[i])
        if kept[i]:
            assert valid
            assert duplicates == []
        elif valid:
            assert any((scores[j], -j) > (scores[i], -i) for j in duplicates)


@settings(max_examples=100, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter(problem, random):
    count = len(problem["boxes"])
    problem["scores"] = random.sample([i / 8 for i in range(40)], count)
    order = list(range(count))
    random.shuffle(order)
    kept = survivors(problem)
    assert survivors(problem, torch.tensor(order, dtype=torch.long)) == [kept[i] for i in order]


def test_by_hand():
    boxes = torch.tensor(
        [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [0, 0, 10, 6], [20, 0, 30, 10],
         [20, 0, 30, 9]]
    ).float()  # fmt: skip
    score = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.3, 0.5])
    label = torch.tensor([1, 1, 0, 1, 0, 0])
    # Overlaps with box 0: .9, .8, .6; of 2 and 3 .75; of 4 and 5 .9.
    assert without_duplicates(boxes, score).nonzero()[:, 0].tolist() == [0, 3, 5]
    assert without_duplicates(boxes, score, group=label).nonzero()[:, 0].tolist() == [0, 2, 3, 5]
    # Overlap of 0 and 2 is 0.8 exactly: not more than 0.8.
    some = torch.tensor([True, False, True, False, False, False])
    kept = without_duplicates(boxes, score, iou_thr=0.8, candidate=some)
    assert kept.nonzero()[:, 0].tolist() == [0, 2]


def test_equals_the_operator_of_mmcv_on_many_boxes():
    from mmcv.ops import nms

    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(600, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 20 + torch.rand(600, 2, generator=generator) * 20], 1)
    score = torch.rand(600, generator=generator)
    for threshold in (0.5, 0.7):
        expected = nms(boxes, score, threshold)[1].sort()[0]
        kept = without_duplicates(boxes, score, iou_thr=threshold).nonzero()[:, 0]
        assert 20 < len(kept) < 590
        assert torch.equal(kept, expected)


def test_a_long_chain_in_which_every_box_overlaps_the_next():
    # Every second one survives, decided only by the one before.
    left = torch.arange(80.0) * 2
    boxes = torch.stack([left, torch.zeros(80), left + 10, torch.ones(80)], 1)
    score = torch.arange(80.0, 0, -1)
    kept = without_duplicates(boxes, score, iou_thr=0.6)  # 8/12 and, two further, 6/14
    assert torch.equal(kept, torch.arange(80) % 2 == 0)


def test_boxes_without_area_or_numbers_are_no_duplicates():
    boxes = torch.tensor(
        [[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 0], [0, 0, 10, 0], [9, 9, 3, 3], [9, 9, 3, 3],
         [NAN, 0, 1, 1], [NAN, 0, 1, 1]]
    )  # fmt: skip
    assert without_duplicates(boxes, torch.ones(8), iou_thr=0.1).all()


def test_a_threshold_of_one_keeps_equal_boxes_but_nothing_invalid():
    boxes = torch.tensor([[0.0, 0, 4, 4]]).repeat(4, 1)
    score = torch.tensor([1.0, NAN, 2.0, INF])
    assert without_duplicates(boxes, score, iou_thr=1.0).tolist() == [True, False, True, False]
    assert without_duplicates(boxes, score).tolist() == [False, False, True, False]


@pytest.mark.parametrize("width", [4, 5])
def test_no_box_and_one_box(width):
    assert without_duplicates(torch.zeros(0, width), torch.zeros(0)).shape == (0,)
    assert without_duplicates(torch.ones(1, width), torch.tensor([0.0])).tolist() == [True]
    assert without_duplicates(torch.ones(1, width), torch.tensor([NAN])).tolist() == [False]


@pytest.mark.parametrize("shape", [(3, 6), (3, 8), (12,), (0,)])
def test_other_boxes_are_told(shape):
    with pytest.raises(ValueError, match="four or five numbers"):
        without_duplicates(torch.zeros(shape), torch.zeros(3))


def test_rotated_boxes():
    def kept(*boxes, threshold=0.7):
        degrees = torch.tensor(boxes).float()
        degrees[:, 4] = degrees[:, 4].deg2rad()
        score = torch.arange(len(boxes), 0, -1.0)
        return without_duplicates(degrees, score, iou_thr=threshold).tolist()

    # Long text lines: IoU 0.643 at 5 degrees, 0.768 at 3, 0.667 if two pixels apart.
    assert kept((50, 50, 100, 10, 0), (50, 50, 100, 10, 5)) == [True, True]
    assert kept((50, 50, 100, 10, 0), (50, 50, 100, 10, 3)) == [True, False]
    assert kept((50, 50, 100, 10, 0), (50, 52, 100, 10, 0)) == [True, True]
    assert kept((50, 50, 100, 10, 0), (50, 52, 100, 10, 0), threshold=0.6) == [True, False]
    # A quarter turn of the exchanged sides is the same box.
    assert kept((50, 50, 100, 10, 0), (50, 50, 10, 100, 90)) == [True, False]


@settings(max_examples=50, deadline=None)
@given(problems())
def test_boxes_that_are_not_turned_as_upright_ones(problem):
    boxes = torch.tensor(problem["boxes"]).view(-1, 4)
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    turned = torch.cat([centres, sizes, torch.zeros(len(boxes), 1)], 1)
    score = torch.tensor(problem["scores"])
    # No overlap of these boxes is within a rounding of the threshold.
    upright = without_duplicates(boxes, score, iou_thr=0.7001)
    assert torch.equal(without_duplicates(turned, score, iou_thr=0.7001), upright)


def test_precision_of_the_score_and_autocast_change_nothing():
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(300, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 10], 1)
    score = torch.randint(0, 60, (300,), generator=generator).float()
    group = torch.arange(300) % 2
    kept = without_duplicates(boxes, score, group=group, iou_thr=0.5)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        again = without_duplicates(boxes, score.to(dtype), group=group, iou_thr=0.5)
        assert torch.equal(again, kept)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(without_duplicates(boxes, score, group=group, iou_thr=0.5), kept)


def test_what_is_given_stays():
    boxes, score = torch.tensor([[0.0, 0, 4, 4]]).repeat(3, 1), torch.tensor([1.0, NAN, 2.0])
    group, candidate = torch.zeros(3, dtype=torch.long), torch.tensor([True, True, False])
    given_before = [t.clone() for t in (boxes, score, group, candidate)]
    without_duplicates(boxes, score, group=group, candidate=candidate)
    for before, after in zip(given_before, (boxes, score, group, candidate)):
        assert torch.equal(before.nan_to_num(), after.nan_to_num())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_same_without_waiting():
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(1000, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 20 + torch.rand(1000, 2, generator=generator) * 20], 1)
    score, group = torch.rand(1000, generator=generator), torch.arange(1000) % 3
    expected = without_duplicates(boxes, score, group=group)
    on_device = [t.cuda() for t in (boxes, score, group)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        kept = without_duplicates(on_device[0], on_device[1], group=on_device[2])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(kept.cpu(), expected)
