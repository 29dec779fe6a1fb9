"""One number for every RoI and kind of loss, against formulas in NumPy; a pass without trace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from roi_heads import CLASSES, box_head
from torch import nn

from mmtextplug.mining.roi_losses import (
    RoILosses,
    classification_losses,
    localisation_losses,
    mask_losses,
)

NAN, INF = float("nan"), float("inf")
LABELS = torch.tensor([0, 3, 2, 1, 3, 0])  # 3 is background


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmdet")


def logits(channels: int, count: int = 6) -> torch.Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(3)) * 2


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def one_hot(labels: np.ndarray, channels: int) -> np.ndarray:
    return (labels[:, None] == np.arange(channels)).astype(float)


def softmax_formula(x, labels):
    return -np.log(np.exp(x)[np.arange(len(x)), labels] / np.exp(x).sum(1))


def sigmoid_formula(x, labels):
    p, t = sigmoid(x), one_hot(labels, x.shape[1])
    return -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(1)


def focal_formula(x, labels, alpha=0.25, gamma=2.0):
    p, t = sigmoid(x), one_hot(labels, x.shape[1])
    likelihood = np.where(t == 1, p, 1 - p)
    weight = np.where(t == 1, alpha, 1 - alpha) * (1 - likelihood) ** gamma
    return -(weight * np.log(likelihood)).sum(1)


def seesaw_formula(x, labels):
    """With p = q = 0: a class among classes, and whether there is any."""
    is_background = (labels == CLASSES).astype(int)
    total = softmax_formula(x[:, CLASSES:], is_background)
    foreground = labels < CLASSES
    total[foreground] += softmax_formula(x[foreground, :CLASSES], labels[foreground])
    return total


KINDS = {
    "softmax": (dict(type="CrossEntropyLoss"), CLASSES + 1, softmax_formula),
    "sigmoid": (dict(type="CrossEntropyLoss", use_sigmoid=True), CLASSES, sigmoid_formula),
    "focal": (dict(type="FocalLoss", use_sigmoid=True), CLASSES, focal_formula),
    "seesaw": (dict(type="SeesawLoss", num_classes=CLASSES, p=0.0, q=0.0), CLASSES + 2,
               seesaw_formula),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [LABELS, LABELS.clamp(max=2), torch.full((6,), 3)])
def test_classification_of_every_kind(kind, labels):
    cfg, channels, formula = KINDS[kind]
    scores = logits(channels)
    losses = classification_losses(MODELS.build(cfg), scores, labels)
    assert losses.shape == (6,)
    expected = formula(scores.double().numpy(), labels.numpy())
    assert losses.numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_classification_of_half_precision_scores_is_computed_in_single(kind):
    cfg, channels, formula = KINDS[kind]
    scores = logits(channels).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        losses = classification_losses(MODELS.build(cfg), scores, LABELS)
    assert losses.dtype == torch.float32
    expected = formula(scores.double().numpy(), LABELS.numpy())
    assert losses.numpy() == pytest.approx(expected, rel=1e-4)


def test_classification_by_hand():
    scores = torch.tensor([[0.0, math.log(3.0)]])
    loss = MODELS.build(dict(type="CrossEntropyLoss"))
    assert float(classification_losses(loss, scores, torch.tensor([0]))) == pytest.approx(
        1.3863, abs=1e-4
    )
    # The weight of the loss ranks nothing within a kind but counts between kinds.
    loss = MODELS.build(dict(type="CrossEntropyLoss", loss_weight=2.0))
    assert float(classification_losses(loss, scores, torch.tensor([0]))) == pytest.approx(
        2.7726, abs=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_no_roi_has_no_classification_loss(kind):
    cfg, channels, _ = KINDS[kind]
    none = torch.zeros(0, dtype=torch.long)
    assert classification_losses(MODELS.build(cfg), torch.zeros(0, channels), none).shape == (0,)


@pytest.mark.parametrize(
    ("cfg", "channels"),
    [(dict(type="SeesawLoss", num_classes=CLASSES), CLASSES + 2),
     (dict(type="GHMC", bins=4, momentum=0.5), CLASSES)],
)  # fmt: skip
def test_losses_that_count_what_they_see_do_not_count_this(cfg, channels):
    loss = MODELS.build(cfg)
    for buffer in loss.buffers():
        buffer += 0.125
    before = {name: buffer.clone() for name, buffer in loss.named_buffers()}
    losses = classification_losses(loss, logits(channels), LABELS)
    assert losses.shape == (6,)
    assert torch.isfinite(losses).all()
    assert before.keys() == dict(loss.named_buffers()).keys() != set()
    assert all(torch.equal(buffer, before[name]) for name, buffer in loss.named_buffers())


class MeanLoss(nn.Module):
    """Ignores how it is to be reduced."""

    def forward(self, pred, target, weight=None, **kwargs):
        return pred.float().mean()


class PairLoss(nn.Module):
    def forward(self, pred, target, weight=None, **kwargs):
        return dict(loss_a=pred.mean(1), loss_b=pred.new_zeros(2), accuracy=pred.mean())


def test_losses_of_one_value_for_all_rois_are_named():
    with pytest.raises(ValueError, match=r"loss_cls=MeanLoss returns \(\) for 6 RoIs"):
        classification_losses(MeanLoss(), logits(4), LABELS)
    with pytest.raises(ValueError, match=r"loss_cls=PairLoss returns \(2,\) for 4 RoIs"):
        classification_losses(PairLoss(), logits(5), LABELS)
    head = MODELS.build(box_head())
    head.loss_bbox = MeanLoss()
    with pytest.raises(ValueError, match=r"loss_bbox=MeanLoss returns \(\) for 4 RoIs"):
        localisation_losses(head, torch.zeros(6, 12), ROIS, LABELS, torch.zeros(6, 4))


@pytest.mark.parametrize(
    "cfg",
    [
        # One number for each RoI and one for each of the foreground, added up.
        dict(type="SeesawLoss", num_classes=CLASSES, return_dict=False),
        # It wants labels and overlaps.
        dict(type="QualityFocalLoss"),
    ],
    ids=lambda cfg: cfg["type"],
)
def test_losses_that_fail_are_named(cfg):
    named = rf"loss_cls={cfg['type']} gives no loss .* ends in (RuntimeError|AssertionError)"
    with pytest.raises(ValueError, match=named) as told:
        classification_losses(MODELS.build(cfg), logits(CLASSES + 2), LABELS)
    assert str(told.value).endswith(str(told.value.__cause__))


class NoReduction(nn.Module):
    def forward(self, pred, target, weight=None, avg_factor=None):
        return (pred - target).abs()


def test_a_localisation_loss_that_fails_is_named():
    head = MODELS.build(box_head(reg_class_agnostic=True))
    head.loss_bbox = NoReduction()
    with pytest.raises(ValueError, match=r"loss_bbox=NoReduction gives no .* TypeError"):
        localisation_losses(head, torch.zeros(6, 4), ROIS, LABELS, torch.zeros(6, 4))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_rois(kind):
    cfg, channels, formula = KINDS[kind]
    weights = torch.tensor([10.0, 1, 10, 0.5, 0, 2])
    scores = logits(channels)
    losses = classification_losses(MODELS.build(cfg), scores, LABELS, weights)
    expected = formula(scores.double().numpy(), LABELS.numpy()) * weights.numpy()
    assert losses.numpy() == pytest.approx(expected, rel=1e-4)


# --- localisation ------------------------------------------------------------------------------

ROIS = torch.tensor(
    [[0, 10, 10, 30, 20], [0, 5, 5, 25, 45], [0, 20, 10, 40, 40], [1, 0, 0, 10, 10],
     [1, 5, 5, 15, 15], [1, 30, 30, 50, 42]]
).float()  # fmt: skip
STDS = np.array([0.1, 0.1, 0.2, 0.2])


def decoded(rois: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Boxes from centre shifts by the size and log factors of it."""
    deltas = deltas * STDS
    size = rois[:, 2:] - rois[:, :2]
    centre = (rois[:, :2] + rois[:, 2:]) / 2 + deltas[:, :2] * size
    size = size * np.exp(deltas[:, 2:])
    return np.concatenate([centre - size / 2, centre + size / 2], 1)


def iou_parts(a: np.ndarray, b: np.ndarray):
    def area(box):
        return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])

    shared = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    shared = shared.prod(1)
    union = area(a) + area(b) - shared
    hull = (np.maximum(a[:, 2:], b[:, 2:]) - np.minimum(a[:, :2], b[:, :2])).prod(1)
    return shared / union, union / hull


def smooth_l1_formula(x, t):
    error = np.abs(x - t)
    return np.where(error < 1, 0.5 * error**2, error - 0.5).sum(1)


def giou_formula(x, t):
    overlap, filled = iou_parts(x, t)
    return 1 - (overlap - (1 - filled))


BOX_KINDS = {
    "l1": (dict(type="L1Loss"), False, lambda x, t: np.abs(x - t).sum(1)),
    "smooth_l1": (dict(type="SmoothL1Loss"), False, smooth_l1_formula),
    "iou": (dict(type="IoULoss", mode="linear"), True, lambda x, t: 1 - iou_parts(x, t)[0]),
    "log_iou": (dict(type="IoULoss", mode="log"), True, lambda x, t: -np.log(iou_parts(x, t)[0])),
    "giou": (dict(type="GIoULoss"), True, giou_formula),
    "l1_of_boxes": (dict(type="L1Loss"), True, lambda x, t: np.abs(x - t).sum(1)),
}


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("kind", BOX_KINDS)
def test_localisation_of_every_kind(kind, agnostic):
    cfg, is_decoded, formula = BOX_KINDS[kind]
    head = box_head(loss_bbox=cfg, reg_decoded_bbox=is_decoded, reg_class_agnostic=agnostic)
    head = MODELS.build(head)
    generator = torch.Generator().manual_seed(5)
    deltas = torch.randn(6, 4 * (1 if agnostic else CLASSES), generator=generator)
    aims = torch.randn(6, 4, generator=generator)
    if is_decoded:
        aims = ROIS[:, 1:] + aims
    losses = localisation_losses(head, deltas, ROIS, LABELS, aims)
    expected = np.zeros(6)
    foreground = LABELS.numpy() < CLASSES
    own = deltas.double().numpy().reshape(6, -1, 4)
    own = own[np.arange(6), np.zeros(6, int) if agnostic else LABELS.numpy() % CLASSES]
    if is_decoded:
        own = decoded(ROIS[:, 1:].double().numpy(), own)
    expected[foreground] = formula(own, aims.double().numpy())[foreground]
    assert losses.dtype == torch.float32
    assert losses.numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert losses[[1, 4]].tolist() == [0, 0]  # background
    with torch.autocast("cpu", torch.bfloat16):
        again = localisation_losses(head, deltas, ROIS, LABELS, aims)
    assert torch.equal(again, losses)


@pytest.mark.parametrize(
    ("cfg", "expected"), [(dict(type="SmoothL1Loss"), 2.125), (dict(type="L1Loss"), 3.5)]
)
def test_localisation_by_hand(cfg, expected):
    head = MODELS.build(box_head(loss_bbox=cfg, reg_class_agnostic=True))
    error = torch.tensor([[0.5, 2, 0, -1]])
    losses = localisation_losses(head, error, ROIS[:1], torch.tensor([1]), torch.zeros(1, 4))
    assert float(losses) == pytest.approx(expected)


def test_localisation_of_background_alone_and_of_nobody():
    head = MODELS.build(box_head())
    background = torch.full((6,), CLASSES)
    nothing = torch.full((6, 12), NAN)
    assert localisation_losses(head, nothing, ROIS, background, nothing[:, :4]).tolist() == [0] * 6
    assert localisation_losses(
        head, torch.zeros(0, 12), ROIS[:0], LABELS[:0], torch.zeros(0, 4)
    ).shape == (0,)


def test_a_head_without_regression():
    head = MODELS.build(box_head(with_reg=False))
    assert localisation_losses(head, None, ROIS, LABELS, torch.zeros(6, 4)).tolist() == [0] * 6


def test_boxes_that_are_no_deltas_are_told():
    head = MODELS.build(box_head())
    with pytest.raises(ValueError, match="Shared2FCBBoxHead predicts boxes as tuple"):
        localisation_losses(head, (ROIS, ROIS), ROIS, LABELS, torch.zeros(6, 4))


def test_degenerate_boxes_have_no_finite_loss_and_harm_no_other():
    head = MODELS.build(box_head(reg_class_agnostic=True))
    rois = ROIS.clone()
    rois[0, 3:] = rois[0, 1:3]  # without area
    truth = rois[:, 1:] + 1
    aims = head.bbox_coder.encode(rois[:, 1:], truth)
    losses = localisation_losses(head, torch.zeros(6, 4), rois, LABELS, aims)
    assert torch.isfinite(losses).tolist() == [False] + [True] * 5


def test_mask_losses_by_hand():
    # Class 1 of the first has probabilities 3/4 and 1/2; class 0 of the second 1/2 twice.
    values = torch.zeros(2, 2, 1, 2)
    values[0, 1] = torch.tensor([[math.log(3.0), 0.0]])
    values[0, 0] = 50.0
    targets = torch.tensor([[[1.0, 0.0]], [[1.0, 0.5]]])
    losses = mask_losses(values, targets, torch.tensor([1, 0]))
    expected = [(math.log(4 / 3) + math.log(2)) / 2, math.log(2)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    own = mask_losses(values[:, 1:].bfloat16(), targets, None)
    assert own.dtype == torch.float32
    assert own.tolist() == pytest.approx(expected, rel=1e-2)


# --- sums of kinds -----------------------------------------------------------------------------


def test_score_by_hand():
    losses = RoILosses(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5]), torch.tensor([4.0, 8.0]))
    assert losses.score().tolist() == [8.0, 10.5]
    assert losses.score(0.5, 2.0, 0.25).tolist() == [7.5, 4.0]
    assert losses.score(beta=torch.tensor([1.0, 4.0]), gamma=0).tolist() == [4.0, 4.0]
    assert RoILosses(losses.cls, losses.loc).score(1.0, 1.0, 5.0).tolist() == [4.0, 2.5]


def test_a_kind_that_does_not_count_may_be_nan_but_is_not_finite():
    losses = RoILosses(torch.tensor([1.0, 2.0]), torch.tensor([NAN, 0.5]), torch.tensor([1.0, INF]))
    assert losses.score(1.0, 0.0, 0.0).tolist() == [1.0, 2.0]
    assert losses.finite().tolist() == [False, False]
    assert RoILosses(losses.cls, losses.loc).finite().tolist() == [False, True]
