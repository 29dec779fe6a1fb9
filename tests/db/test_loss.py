"""The loss of differentiable binarization: against its formula, MMOCR's, and every odd batch."""

from __future__ import annotations

import copy
import math

import cv2
import numpy as np
import pytest
import torch
from db_samples import IGNORED, SIZE, WORD, predictions, run, sample, total
from literal_targets import literal_targets
from mmengine.registry import MODELS, DefaultScope
from mmocr.structures import TextDetDataSample

from mmtextplug.db.loss import DifferentiableBinarizationLoss
from mmtextplug.db.pixel_losses import dice, masked_l1, mined_bce_with_logits


@pytest.fixture(autouse=True)
def mmocr_scope():
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_both_presets_are_their_formulas(preset):
    logits, threshold = (p.detach().double() for p in predictions())
    kernel, mask, target, border, _ = literal_targets([WORD, IGNORED], [False, True], SIZE)
    kernel, mask, target, border = (
        torch.from_numpy(m)[None] for m in (kernel, mask, target, border)
    )
    binary = 1 / (1 + torch.exp(-50 * (torch.sigmoid(logits) - threshold)))
    losses = DifferentiableBinarizationLoss(preset)(
        (logits, threshold), [sample(WORD, IGNORED, ignored=[False, True])]
    )
    bce = mined_bce_with_logits(logits, kernel, mask)
    if preset == "released":
        expected = (5 * bce, dice(binary, kernel, mask))
    else:
        expected = (bce, mined_bce_with_logits(50 * (logits.sigmoid() - threshold), kernel, mask))
    for name, value in zip(("loss_prob", "loss_db"), expected):
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-5)
    expected = 10 * masked_l1(threshold, target, border)
    assert losses["loss_thr"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["unusable_words"] == losses["small_words"] == 0


def test_released_agrees_with_mmocr():
    # Its kernels are rounded to whole pixels and its distances are not quite distances: with
    # targets from MMOCR the formula alone is compared, to the last digits.
    theirs = MODELS.build(dict(type="DBModuleLoss"))
    batch = [sample(WORD, IGNORED, ignored=[False, True]), sample(np.add(WORD, 7))]
    kernel, mask, target, border = theirs.get_targets(copy.deepcopy(batch))
    logits, threshold = predictions(2)
    binary = (50 * (logits.sigmoid() - threshold)).sigmoid()
    expected = theirs((logits, threshold, binary), copy.deepcopy(batch))
    assert (kernel == 1).sum() > 100
    ours = {
        "loss_prob": 5 * mined_bce_with_logits(logits, kernel, mask.bool()),
        "loss_db": dice(binary, kernel, mask.bool()),
        "loss_thr": 10 * masked_l1(threshold, target, border.bool()),
    }
    for name, value in ours.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=2e-5)
    # And with targets of our own the whole is near.
    found = DifferentiableBinarizationLoss()((logits, threshold), batch)
    for name in ours:
        assert found[name].item() == pytest.approx(expected[name].item(), rel=0.06)


def test_the_sample_is_the_same_afterwards():
    batch = [sample(WORD, IGNORED, [1, 1, 3, 1, 3, 3, 1, 3], ignored=[False, True, False])]
    before = copy.deepcopy(batch)
    first, *_ = run(DifferentiableBinarizationLoss(), batch)
    second, *_ = run(DifferentiableBinarizationLoss(), batch)
    for old, new in zip(before[0].gt_instances.polygons, batch[0].gt_instances.polygons):
        np.testing.assert_array_equal(old, new)
    assert batch[0].gt_instances.ignored.tolist() == [False, True, False]
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in second.items()}


def test_images_of_different_sizes():
    shapes = [(48, 40), (32, 64)]
    batch = [sample(WORD, shape=s, batch_input_shape=SIZE) for s in shapes]
    targets, _ = DifferentiableBinarizationLoss().get_targets(batch, SIZE)
    for number, (height, width) in enumerate(shapes):
        for mask in (targets.mask, targets.threshold_mask):
            assert not mask[number, height:].any()
            assert not mask[number, :, width:].any()
        assert targets.mask[number, :height, :width].all()
        assert targets.kernel[number].any()
    _, logits_grad, threshold_grad = run(DifferentiableBinarizationLoss(), batch)
    assert (logits_grad[0, :, 40:] == 0).all()
    assert (threshold_grad[1, 32:] == 0).all()
    assert (logits_grad[0, :, :40] != 0).any()


def test_maps_at_another_stride():
    batch = [sample(WORD, IGNORED, ignored=[False, True], batch_input_shape=SIZE)]
    half = np.array(WORD) / 2
    targets, _ = DifferentiableBinarizationLoss().get_targets(batch, (24, 32))
    kernel, mask, threshold, border, sure = literal_targets(
        [half, np.array(IGNORED) / 2], [False, True], (24, 32)
    )
    np.testing.assert_array_equal(targets.kernel[0].numpy()[sure], kernel[sure])
    np.testing.assert_array_equal(targets.mask[0].numpy()[sure], mask[sure])
    np.testing.assert_array_equal(targets.threshold_mask[0].numpy()[sure], border[sure])
    np.testing.assert_allclose(targets.threshold[0].numpy(), threshold, rtol=0, atol=1e-5)
    # Narrower one way than the other.
    squeezed, _ = DifferentiableBinarizationLoss().get_targets(batch, (48, 32))
    flat = np.reshape(WORD, (-1, 2)) * [0.5, 1.0]
    kernel, *_, sure = literal_targets([flat], [False], (48, 32))
    np.testing.assert_array_equal(squeezed.kernel[0].numpy()[sure], kernel[sure])
    # The least side is told in pixels of the input.
    low = sample([4, 4, 40, 4, 40, 13, 4, 13], batch_input_shape=SIZE)
    assert DifferentiableBinarizationLoss().get_targets([low], (24, 32))[0].kernel.any()
    targets, counts = DifferentiableBinarizationLoss(min_side=9.5).get_targets([low], (24, 32))
    assert not targets.kernel.any()
    assert counts["small_words"] == 1


@pytest.mark.parametrize("preset", ["released", "paper"])
@pytest.mark.parametrize("kind", ["no words", "all ignored", "one pixel", "everything", "mixed"])
def test_every_kind_of_batch_has_a_finite_loss_and_gradient(preset, kind):
    batch = {
        "no words": [sample(), sample()],
        "all ignored": [sample([-9, -9, 99, -9, 99, 99, -9, 99], ignored=[True])],
        "one pixel": [sample(WORD, shape=(1, 1))],
        "everything": [sample([-500, -500, 900, -500, 900, 900, -500, 900])],
        "mixed": [sample(WORD), sample(), sample(IGNORED, ignored=[True])],
    }[kind]
    size = (1, 1) if kind == "one pixel" else SIZE
    losses, logits_grad, threshold_grad = run(
        DifferentiableBinarizationLoss(preset), batch, size=size
    )
    assert all(math.isfinite(value.item()) for value in losses.values())
    assert torch.isfinite(logits_grad).all()
    assert torch.isfinite(threshold_grad).all()
    if kind == "no words":  # background alone teaches, too: down with the probability
        assert (logits_grad > 0).sum() >= 1000
        assert (logits_grad >= 0).all()
    if kind == "all ignored":
        assert (logits_grad == 0).all()
        assert (threshold_grad == 0).all()


@pytest.mark.parametrize("preset", ["released", "paper"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision(preset, dtype, autocast):
    # P and T far apart, where a written-out exponential overflows.
    batch = [sample(WORD)]
    logits = torch.full((1, *SIZE), -9.0, dtype=dtype).requires_grad_()
    threshold = torch.full((1, *SIZE), 0.9, dtype=dtype).requires_grad_()
    loss = DifferentiableBinarizationLoss(preset)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        losses = loss((logits, threshold), batch)
    assert losses["loss_prob"].dtype == torch.float32
    total(losses).backward()
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(threshold.grad).all()
    assert (logits.grad < 0).any()
    exact = DifferentiableBinarizationLoss(preset)((logits.double(), threshold.double()), batch)
    for name in ("loss_prob", "loss_db", "loss_thr"):
        assert losses[name].item() == pytest.approx(exact[name].item(), rel=1e-5)


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_gradient_by_finite_differences(preset):
    loss = DifferentiableBinarizationLoss(preset, k=5.0)
    batch = [sample([0, 0, 11, 1, 11, 10, 0, 9], shape=(12, 14))]
    logits, threshold = (p.detach().double() for p in predictions(size=(12, 14)))
    inputs = logits.requires_grad_(), threshold.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, t: total(loss((p, t), batch)), inputs, atol=1e-6)


def test_a_prediction_that_is_not_finite_makes_a_loss_that_is_not():
    for place in ((0, 0, 0), (0, 15, 20)):
        logits, threshold = (p.detach() for p in predictions())
        logits[place] = float("nan")
        losses = DifferentiableBinarizationLoss()((logits, threshold), [sample(WORD)])
        assert math.isnan(total(losses).item())


def test_losses_and_weights_are_replaced_one_by_one():
    loss = DifferentiableBinarizationLoss(
        loss_prob=dict(type="MaskedFocalWithLogitsLoss", alpha=0.5),
        loss_thr=dict(type="MaskedL1Loss", beta=0.1),
        weight_prob=2.0,
        weight_db=0.0,
    )
    assert loss.weights == {"prob": 2.0, "db": 0.0, "thr": 10.0}
    assert type(loss.loss_db).__name__ == "BatchDiceLoss"
    assert loss.loss_thr.beta == 0.1
    losses, *_ = run(loss, [sample(WORD)])
    assert losses["loss_db"].item() == 0
    assert losses["loss_prob"].item() > 0


def test_losses_of_mmocr_fit_in_by_their_names():
    logits, threshold = predictions()
    batch = [sample(WORD, IGNORED, ignored=[False, True])]
    expected = DifferentiableBinarizationLoss()((logits, threshold), batch)
    theirs = DifferentiableBinarizationLoss(
        loss_prob=dict(type="MaskedBalancedBCEWithLogitsLoss"),
        loss_db=dict(type="MaskedDiceLoss"),
        loss_thr=dict(type="MaskedSmoothL1Loss", beta=0),
    )((logits, threshold), batch)
    for name in ("loss_prob", "loss_db", "loss_thr"):
        assert theirs[name].item() == pytest.approx(expected[name].item(), rel=2e-5)


def test_what_is_not_trained_on_is_counted():
    batch = [
        sample(WORD, [1, 1, 5, 1, 5, 5, 1, 5], [0, 0, 20, 20, 20, 0, 0, 20], [1, 2, 3]),
        sample([0, 0, 20, 20, 20, 0, 0, 20], WORD, [np.nan] * 8, ignored=[True, False, False]),
    ]
    losses, *_ = run(DifferentiableBinarizationLoss(), batch)
    assert losses["small_words"].item() == 1
    assert losses["unusable_words"].item() == 3


def test_beyond_what_a_warp_shows_nothing_is_trained():
    frame = np.array([[10, 5], [50, 5], [50, 40], [10, 40]], np.float32)
    _, logits_grad, threshold_grad = run(
        DifferentiableBinarizationLoss(), [sample(WORD, valid_polygon=frame)]
    )
    inside = np.zeros(SIZE, np.uint8)
    cv2.rectangle(inside, (10, 5), (50, 40), 1, -1)
    assert (logits_grad[0].numpy()[inside == 0] == 0).all()
    assert (threshold_grad[0].numpy()[inside == 0] == 0).all()
    assert (logits_grad[0].numpy()[inside == 1] != 0).any()


def test_samples_without_polygons_are_named():
    empty = sample()
    del empty.gt_instances.polygons
    with pytest.raises(KeyError, match=r"photo\.jpg: no polygons.*with_polygon=True"):
        run(DifferentiableBinarizationLoss(), [empty])
    bare = TextDetDataSample(metainfo=dict(img_shape=SIZE, img_path="photo.jpg"))
    with pytest.raises(KeyError, match=r"photo\.jpg: no polygons"):
        run(DifferentiableBinarizationLoss(), [bare])


@pytest.mark.parametrize(
    "wrong", [dict(k=0), dict(k=-1), dict(weight_thr=-1.0), dict(thr_min=0.8), dict(min_side=-1)]
)
def test_numbers_out_of_range_are_refused_when_it_is_built(wrong):
    with pytest.raises(ValueError, match="must be"):
        DifferentiableBinarizationLoss(**wrong)


def test_maps_of_another_shape_are_refused():
    loss, (logits, threshold) = DifferentiableBinarizationLoss(), predictions()
    for maps, batch in (
        ((logits[None], threshold[None]), [sample(WORD)]),
        ((logits, threshold[:, :9]), [sample(WORD)]),
        ((logits, threshold), [sample(WORD)] * 2),
    ):
        with pytest.raises(ValueError, match=r"must be \(B, H, W\) for B samples; got"):
            loss(maps, batch)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="preset must be one of"):
        DifferentiableBinarizationLoss("published")
