"""Duplicates and quotas over the images of a batch, against the procedure in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_mining import mine
from random_rois import batches, pairs, tensors

from mmtextplug.mining.roi_losses import RoILosses
from mmtextplug.mining.roi_select import Candidates, hardest, quota_of, survivors

THRESHOLDS = st.sampled_from([0.25, 0.5, 0.75, 1.0])
POOL = st.sampled_from(["image", "batch"])


def select(rois, losses, num, *, alpha=1.0, beta=1.0, iou_thr=0.7, per_label=True, pool="image"):
    """As the samplers do it."""
    valid = losses.finite() & rois.has_area
    score = losses.score(alpha, beta).masked_fill(~valid, float("nan"))
    kept = survivors(rois, score, iou_thr=iou_thr, per_label=per_label)
    return hardest(rois, score, kept, quota_of(rois, num, pool), pool), kept, score


@settings(max_examples=300, deadline=None)
@given(batches(), st.integers(0, 6), THRESHOLDS, st.booleans(), POOL)
def test_equals_the_literal_procedure(batch, num, iou_thr, per_label, pool):
    rois, losses = tensors(batch)
    options = dict(iou_thr=iou_thr, per_label=per_label, pool=pool)
    selected, kept, _ = select(rois, losses, num, **options)
    expected = mine(batch, num, **options)
    assert (pairs(rois, selected), pairs(rois, kept)) == expected


@settings(max_examples=200, deadline=None)
@given(batches(), st.integers(0, 6), THRESHOLDS, st.booleans(), POOL)
def test_what_holds_for_every_selection(batch, num, iou_thr, per_label, pool):
    rois, losses = tensors(batch)
    selected, kept, score = select(
        rois, losses, num, iou_thr=iou_thr, per_label=per_label, pool=pool
    )
    # Only survivors, and of them only what has a finite loss of every kind, and an area.
    assert not (selected & ~kept).any()
    assert not (kept & ~rois.has_area).any()
    assert not (kept & ~(torch.isfinite(losses.cls) & torch.isfinite(losses.loc))).any()
    parts = list(zip(selected.split(rois.sizes), kept.split(rois.sizes), score.split(rois.sizes)))
    if pool == "batch":
        assert selected.sum() == min(num * len(batch), int(kept.sum()))
        parts = [(selected, kept, score)]
    else:
        for own, survived, _ in parts:
            assert own.sum() == min(num, int(survived.sum()))
    for own, survived, values in parts:
        rest = survived & ~own
        if own.any() and rest.any():
            assert values[own].min() >= values[rest].max()


@settings(max_examples=100, deadline=None)
@given(batches(images=(1, 1), most=20), st.integers(0, 12))
def test_without_duplicate_removal_it_is_a_stable_sort(batch, num):
    rois, losses = tensors(batch)
    selected, _, score = select(rois, losses, num, iou_thr=1.0)
    order = [i for i in range(len(batch[0])) if math.isfinite(float(score[i]))]
    order.sort(key=lambda i: -float(score[i]))  # Python's sort is stable
    assert selected.nonzero()[:, 0].tolist() == sorted(order[:num])


@settings(max_examples=100, deadline=None)
@given(batches(images=(1, 1), most=12), st.integers(0, 6), st.randoms(use_true_random=False))
def test_the_order_of_rois_does_not_matter(batch, num, random):
    image = batch[0]
    for roi, value in zip(image, random.sample(range(100), len(image))):
        roi["cls"] = value / 8
        roi["loc"] = 0.0
    order = sorted(range(len(image)), key=lambda _: random.random())
    first = select(*tensors(batch), num)[0]
    second = select(*tensors([[image[i] for i in order]]), num)[0]
    assert second.tolist() == [bool(first[i]) for i in order]


@settings(max_examples=100, deadline=None)
@given(batches(), st.integers(0, 6), st.sampled_from([0.25, 4.0, 1024.0]), POOL)
def test_only_the_ratio_of_the_weights_counts(batch, num, factor, pool):
    rois, losses = tensors(batch)
    first = select(rois, losses, num, alpha=1.0, beta=2.0, pool=pool)[0]
    second = select(rois, losses, num, alpha=factor, beta=2 * factor, pool=pool)[0]
    assert torch.equal(first, second)


@settings(max_examples=100, deadline=None)
@given(batches(), batches(images=(1, 1)), st.integers(0, 6), st.sampled_from([0.0, 1.0, 2.0]))
def test_another_image_does_not_change_what_is_selected_of_these(batch, more, num, beta):
    rois, losses = tensors(batch)
    alone = select(rois, losses, num, beta=beta)[0]
    together = select(*tensors(batch + more), num, beta=beta)[0]
    assert torch.equal(together[: len(alone)], alone)


def candidates(sizes: tuple[int, ...], **changes) -> Candidates:
    count = sum(sizes)
    parts = dict(
        boxes=torch.arange(count * 4.0).view(-1, 4),
        labels=torch.zeros(count, dtype=torch.long),
        foreground=torch.ones(count, dtype=torch.bool),
    )
    return Candidates(**{**parts, **changes}, sizes=sizes)


def test_four_of_two_images_by_hand():
    rois = candidates((4, 4))
    score = torch.tensor([5, 4, 3, 2, 1, 0.9, 0.8, 0.7])
    everyone = torch.ones(8, dtype=torch.bool)
    of_each = hardest(rois, score, everyone, quota_of(rois, 2, "image"))
    assert of_each.nonzero()[:, 0].tolist() == [0, 1, 4, 5]
    of_all = hardest(rois, score, everyone, quota_of(rois, 2, "batch"), "batch")
    assert of_all.nonzero()[:, 0].tolist() == [0, 1, 2, 3]


def test_which_boxes_have_an_area():
    nan = float("nan")
    upright = [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0], [3, 0, 2, 1], [nan, 0, 1, 1]]
    rois = candidates((5,), boxes=torch.tensor(upright))
    assert rois.has_area.tolist() == [True] + [False] * 4
    turned = [[0, 0, 1, 2, 0.5], [0, 0, 0, 2, 0.5], [0, 0, 1, -1, 0], [-5, -5, 1, 1, 0.1]]
    rois = candidates((4,), boxes=torch.tensor(turned))
    assert rois.has_area.tolist() == [True, False, False, True]


def test_boxes_at_one_place_of_two_images_are_no_duplicates():
    box = torch.tensor([[0.0, 0, 10, 10]])
    rois = candidates((2, 2), boxes=box.repeat(4, 1))
    kept = survivors(rois, torch.tensor([1.0, 2.0, 4.0, 3.0]))
    assert kept.tolist() == [False, True, True, False]


def test_duplicates_of_other_labels():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [0, 0, 10, 6],
                          [20, 0, 30, 10], [20, 0, 30, 9]]).float()  # fmt: skip
    rois = candidates((6,), boxes=boxes, labels=torch.tensor([1, 1, 0, 1, 0, 0]))
    score = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.3, 0.5])
    assert survivors(rois, score).nonzero()[:, 0].tolist() == [0, 2, 3, 5]
    assert survivors(rois, score, per_label=False).nonzero()[:, 0].tolist() == [0, 3, 5]


def test_the_image_of_each():
    rois = candidates((2, 0, 3))
    assert rois.image.tolist() == [0, 0, 2, 2, 2]
    assert rois.image.dtype == torch.long
    assert candidates((0, 0)).image.shape == (0,)


def test_what_is_left_of_quotas():
    rois = candidates((2, 0, 3))
    taken = torch.tensor([True, True, False, True, False])
    assert quota_of(rois, 4, "image") == 4
    assert quota_of(rois, 4, "batch") == 12
    assert quota_of(rois, 4, "image", taken).tolist() == [2, 4, 3]
    assert int(quota_of(rois, 4, "batch", taken)) == 9


@pytest.mark.parametrize("pool", ["image", "batch"])
@pytest.mark.parametrize("sizes", [(0,), (0, 0, 0), (3,), (0, 3)])
def test_too_few_and_none(sizes, pool):
    rois = candidates(sizes)
    score = torch.arange(float(sum(sizes)))
    kept = survivors(rois, score, iou_thr=1.0)
    assert kept.all()
    assert hardest(rois, score, kept, quota_of(rois, 8, pool), pool).all()
    assert not hardest(rois, score, kept, quota_of(rois, 0, pool), pool).any()
    # What is left of a quota that somebody overdrew is nothing, not less.
    assert not hardest(rois, score, kept, torch.tensor([-2] * len(sizes)).sum(), "batch").any()


def test_what_is_not_finite_is_never_selected_even_if_nothing_else_is_left():
    rois = candidates((5,))
    cls = torch.tensor([float("nan"), float("inf"), 1.0, -float("inf"), 2.0])
    losses = RoILosses(cls, torch.tensor([0.0, 0.0, float("nan"), 0.0, 0.0]))
    assert losses.finite().tolist() == [False, False, False, False, True]
    selected, _, _ = select(rois, losses, 5)
    assert selected.tolist() == [False, False, False, False, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("pool", ["image", "batch"])
def test_nothing_waits_for_the_gpu(pool):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(900, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 20], 1)
    labels = torch.randint(0, 4, (900,), generator=generator)
    score = torch.rand(900, generator=generator)

    def run(device):
        rois = Candidates(boxes.to(device), labels.to(device), labels.to(device) < 3, (500, 400))
        values = score.to(device)
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        kept = survivors(rois, values)
        first = hardest(rois, values, kept & rois.foreground, quota_of(rois, 20, pool), pool)
        rest = quota_of(rois, 64, pool, first)
        return first | hardest(rois, values, kept & ~first, rest, pool)

    try:
        on_gpu = run("cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(on_gpu.cpu(), run("cpu"))
