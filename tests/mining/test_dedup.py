"""without_duplicates against textbook non-maximum suppression, and by hand; both of its ways."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from literal_mining import greedy, iou
from shapely import affinity
from shapely.geometry import box

from mmtextplug.mining.dedup import _by_matrix, without_duplicates

NAN, INF = float("nan"), float("inf")
# Exact in binary, and whole coordinates: no overlap is on the wrong side by a rounding.
THRESHOLDS = (0.25, 0.5, 0.625, 0.75, 1.0)


@st.composite
def problems(draw: st.DrawFn, scores=None) -> dict:
    count = draw(st.integers(0, 14))
    corner, size = st.integers(0, 4), st.integers(0, 8)

    def upright():
        x, y = draw(corner), draw(corner)
        return [float(x), float(y), float(x + draw(size)), float(y + draw(size))]

    scores = scores or st.sampled_from([0.0, 1.0, 1.0, 2.0, 0.5, -1.0, 3.0, NAN, INF, -INF])
    return {
        "boxes": [upright() for _ in range(count)],
        "scores": draw(st.lists(scores, min_size=count, max_size=count)),
        "groups": draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)),
        "iou_thr": draw(st.sampled_from(THRESHOLDS)),
    }


def tensors(problem) -> tuple[torch.Tensor, torch.Tensor, float, torch.Tensor]:
    width = len(problem["boxes"][0]) if problem["boxes"] else 4
    return (
        torch.tensor(problem["boxes"]).view(-1, width), torch.tensor(problem["scores"]),
        problem["iou_thr"], torch.tensor(problem["groups"], dtype=torch.long),
    )  # fmt: skip


def survivors(problem, order=None) -> list[bool]:
    boxes, score, iou_thr, group = tensors(problem)
    order = torch.arange(len(boxes)) if order is None else order
    kept = without_duplicates(boxes[order], score[order], iou_thr=iou_thr, group=group[order])
    assert kept.dtype == torch.bool
    return kept.tolist()


def as_on_a_gpu(boxes, score, iou_thr=0.7, group=None) -> torch.Tensor:
    """By the matrix of overlaps, whatever the device."""
    valid = torch.isfinite(score)
    order = score.float().masked_fill(~valid, -INF).sort(descending=True, stable=True)[1]
    before = [part.clone() for part in (boxes, score)]
    kept = _by_matrix(boxes, order, valid, iou_thr, group)
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(before, (boxes, score)))
    return kept


@settings(max_examples=300, deadline=None)
@given(problems())
def test_equals_the_textbook(problem):
    expected = greedy(**problem)
    assert survivors(problem) == [i in expected for i in range(len(problem["boxes"]))]
    if len(problem["boxes"]) and problem["iou_thr"] < 1:
        assert as_on_a_gpu(*tensors(problem)).tolist() == survivors(problem)


@st.composite
def turned_problems(draw: st.DrawFn) -> dict:
    """Long and short rotated boxes, near each other."""
    number = st.integers
    problem = draw(problems())
    problem["boxes"] = [
        [draw(number(0, 6)) * 1.0, draw(number(0, 6)) * 1.0, draw(number(2, 24)) * 1.0,
         draw(number(2, 9)) * 1.0, draw(number(-6, 6)) / 4]
        for _ in problem["boxes"]
    ]  # fmt: skip
    problem["iou_thr"] = draw(st.sampled_from([0.3, 0.5, 0.7]))
    return problem


def turned_iou(a: list[float], b: list[float]) -> float:
    first, second = (
        affinity.rotate(
            box(x - w / 2, y - h / 2, x + w / 2, y + h / 2), angle, origin=(x, y), use_radians=True
        )
        for x, y, w, h, angle in (a, b)
    )
    shared = first.intersection(second).area
    return shared / (first.area + second.area - shared)


@settings(max_examples=80, deadline=None)
@given(turned_problems())
def test_rotated_boxes_equal_the_textbook(problem):
    boxes, threshold = problem["boxes"], problem["iou_thr"]
    pairs = itertools.combinations(boxes, 2)
    assume(all(abs(turned_iou(a, b) - threshold) > 1e-3 for a, b in pairs))
    expected = greedy(**problem, overlap=turned_iou)
    assert survivors(problem) == [i in expected for i in range(len(boxes))]
    if boxes:
        assert as_on_a_gpu(*tensors(problem)).tolist() == survivors(problem)


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
        if kept[i]:
            assert math.isfinite(scores[i])
            assert duplicates == []
        elif math.isfinite(scores[i]):
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
    some = torch.tensor([0.9, NAN, 0.7, NAN, -INF, INF])
    assert without_duplicates(boxes, some, iou_thr=0.8).nonzero()[:, 0].tolist() == [0, 2]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
def test_both_ways_are_one_on_many_boxes(groups, turned):
    generator = torch.Generator().manual_seed(groups)
    corner = torch.rand(600, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 20 + torch.rand(600, 2, generator=generator) * 20], 1)
    if turned:
        size = boxes[:, 2:] - boxes[:, :2]
        angle = torch.rand(600, 1, generator=generator) * 0.5
        boxes = torch.cat([corner + size / 2, size, angle], 1)
    # Ties, and scores that are no number.
    score = torch.randint(0, 200, (600,), generator=generator) / 8
    score[::50], score[1::50] = NAN, INF
    group = torch.randint(groups, (600,), generator=generator)
    for threshold in (0.5, 0.7):
        kept = without_duplicates(boxes, score, iou_thr=threshold, group=group)
        assert torch.equal(as_on_a_gpu(boxes, score, threshold, group), kept)
        assert 20 < kept.sum() < 560
        assert not kept[::50].any()
        assert not kept[1::50].any()


def chain(links: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every box overlaps the next by 8/12, the one after it by 6/14, and is harder than both."""
    left = torch.arange(float(links)) * 2
    boxes = torch.stack([left, torch.zeros(links), left + 10, torch.ones(links)], 1)
    return boxes, torch.arange(float(links), 0, -1)


@pytest.mark.parametrize("links", [2, 31, 32, 33, 34, 80, 81])
def test_a_long_chain_in_which_every_box_overlaps_the_next(links):
    boxes, score = chain(links)
    # Every second one survives, decided only by the one before.
    every_second = torch.arange(links) % 2 == 0
    assert torch.equal(without_duplicates(boxes, score, iou_thr=0.6), every_second)
    on_gpu = as_on_a_gpu(boxes, score, 0.6)
    # There as well up to its 32 links; of what is further no two duplicates stay.
    assert torch.equal(on_gpu[:33], every_second[:33])
    assert not (on_gpu[1:] & on_gpu[:-1]).any()
    assert not (on_gpu & ~every_second).any()
    if links <= 33:
        assert torch.equal(on_gpu, every_second)


def test_a_chain_beside_others_cuts_no_other_short():
    boxes, score = chain(100)
    lone = torch.tensor([[500.0, 0, 510, 10], [500, 0, 510, 9], [600, 0, 610, 10]])
    kept = as_on_a_gpu(torch.cat([boxes, lone]), torch.cat([score, torch.tensor([1.0, 2, 3])]), 0.6)
    assert kept[100:].tolist() == [False, True, True]


def test_boxes_without_area_or_numbers_are_no_duplicates():
    boxes = torch.tensor(
        [[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 0], [0, 0, 10, 0], [9, 9, 3, 3], [9, 9, 3, 3],
         [NAN, 0, 1, 1], [NAN, 0, 1, 1]]
    )  # fmt: skip
    assert without_duplicates(boxes, torch.ones(8), iou_thr=0.1).all()
    assert as_on_a_gpu(boxes, torch.ones(8), 0.1).all()


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
    group = torch.zeros(3, dtype=torch.long)
    given_before = [t.clone() for t in (boxes, score, group)]
    without_duplicates(boxes, score, group=group)
    for before, after in zip(given_before, (boxes, score, group)):
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
