"""The losses of one map against plain NumPy, their gradients, and extreme maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS

from mmtextplug.db.pixel_losses import dice, focal_with_logits, masked_l1, mined_bce_with_logits


def maps(seed: int, shape=(2, 5, 7), text=0.3, valid=0.8, dtype=np.float64):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, shape).astype(dtype)
    target = (rng.random(shape) < text).astype(np.float32)
    return logits, target, rng.random(shape) < valid


def tensors(*arrays):
    return tuple(torch.from_numpy(a) for a in arrays)


def literal_bce(logits, target, mask, ratio, least, pool):
    """By the definition of cross-entropy, with a sort."""
    probability = 1 / (1 + np.exp(-logits))
    error = -np.log(np.where(target > 0.5, probability, 1 - probability))
    means = []
    for e, t, m in [(error, target, mask)] if pool == "batch" else zip(error, target, mask):
        positive = e[(t > 0.5) & m]
        negative = np.sort(e[(t <= 0.5) & m])[::-1]
        hardest = negative[: (math.floor(ratio * len(positive) + 1e-6) if len(positive) else least)]
        count = len(positive) + len(hardest)
        means.append((positive.sum() + hardest.sum()) / max(count, 1))
    return np.mean(means)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    text=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    valid=st.sampled_from([0.0, 0.5, 1.0]),
    ratio=st.sampled_from([0.0, 1.5, 3.0]),
    least=st.sampled_from([0, 2, 1000]),
    pool=st.sampled_from(["batch", "image"]),
)
def test_mined_cross_entropy_equals_its_definition(seed, text, valid, ratio, least, pool):
    logits, target, mask = maps(seed, text=text, valid=valid)
    found = mined_bce_with_logits(
        *tensors(logits, target, mask), negative_ratio=ratio, fallback_negatives=least, pool=pool
    )
    assert found.item() == pytest.approx(
        literal_bce(logits, target, mask, ratio, least, pool), rel=1e-9, abs=1e-12
    )


def test_mined_cross_entropy_by_hand():
    # Two positives, one at 0; of four negatives the ratio 1 takes the two worst, the last is
    # masked.
    logits = torch.tensor([[[0.0, 40.0, 0.0, -40.0, math.log(3), 9.0]]])
    target = torch.tensor([[[1.0, 1, 0, 0, 0, 0]]])
    mask = torch.tensor([[[True] * 5 + [False]]])
    found = mined_bce_with_logits(logits, target, mask, negative_ratio=1)
    assert found.item() == pytest.approx((math.log(2) + 0 + math.log(4) + math.log(2)) / 4)


def test_images_compete_for_the_negatives_of_a_batch_only():
    logits = torch.tensor([[[0.0, -1.0, -1.0]], [[2.0, 2.0, 2.0]]])
    target = torch.tensor([[[1.0, 0, 0]], [[0.0, 0, 0]]])
    mask = torch.ones(2, 1, 3, dtype=torch.bool)
    options = dict(negative_ratio=2, fallback_negatives=0)
    softplus = [math.log1p(math.exp(x)) for x in (-1, 2)]
    batch = mined_bce_with_logits(logits, target, mask, **options)
    assert batch.item() == pytest.approx((math.log(2) + 2 * softplus[1]) / 3)
    image = mined_bce_with_logits(logits, target, mask, pool="image", **options)
    assert image.item() == pytest.approx((math.log(2) + 2 * softplus[0]) / 3 / 2)


def test_dice_by_hand():
    prediction = torch.tensor([[[0.5, 1.0, 0.2, 0.7]]])
    target = torch.tensor([[[1.0, 1.0, 0.0, 1.0]]])
    mask = torch.tensor([[[True, True, True, False]]])
    assert dice(prediction, target, mask).item() == pytest.approx(1 - 2 * 1.5 / (1.7 + 2), abs=1e-6)
    assert dice(target, target, mask).item() == pytest.approx(0, abs=1e-6)


def test_focal_by_hand():
    logits = torch.tensor([[[math.log(3), math.log(3), 5.0]]])  # 0.75
    target = torch.tensor([[[1.0, 0.0, 0.0]]])
    mask = torch.tensor([[[True, True, False]]])
    expected = (0.25 * 0.25**2 * -math.log(0.75) + 0.75 * 0.75**2 * -math.log(0.25)) / 2
    assert focal_with_logits(logits, target, mask).item() == pytest.approx(expected)
    # A fraction for gamma has a gradient even where nothing is missed.
    sure = torch.full((1, 1, 3), 200.0, requires_grad=True)
    focal_with_logits(sure, torch.ones(1, 1, 3), mask, gamma=0.5).backward()
    assert (sure.grad == 0).all()
    # Without focus and weights: half the mean cross-entropy.
    plain = focal_with_logits(logits, target, mask, alpha=0.5, gamma=0)
    assert plain.item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 4)


def test_l1_by_hand():
    prediction, target = torch.tensor([[[0.5, 0.3, 0.9]]]), torch.tensor([[[0.7, 0.35, 0.0]]])
    mask = torch.tensor([[[True, True, False]]])
    assert masked_l1(prediction, target, mask).item() == pytest.approx((0.2 + 0.05) / 2)
    smooth = masked_l1(prediction, target, mask, beta=0.1)
    assert smooth.item() == pytest.approx((0.2 - 0.05 + 0.5 * 0.05**2 / 0.1) / 2)


def squashed(logits: torch.Tensor) -> torch.Tensor:
    """Their sigmoid, in halves too, which older releases of PyTorch refuse on CPUs."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid().to(logits.dtype)


LOSSES = {
    "mined": mined_bce_with_logits,
    "focal": focal_with_logits,
    "dice": lambda p, t, m: dice(squashed(p), t, m),
    "l1": lambda p, t, m: masked_l1(squashed(p), t, m),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_by_finite_differences(name):
    logits, target, mask = tensors(*maps(3, shape=(2, 3, 4)))
    assert torch.autograd.gradcheck(
        lambda x: LOSSES[name](x, target, mask), logits.requires_grad_(), atol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", ["no text", "all text", "all masked", "one pixel", "empty mask"])
def test_extreme_maps_have_a_finite_loss_and_gradient(name, kind):
    shape = (1, 1, 1) if kind == "one pixel" else (2, 4, 4)
    logits = torch.full(shape, 60.0, requires_grad=True)
    target = torch.full(shape, float(kind == "all text"))
    mask = torch.full(shape, kind not in ("all masked", "empty mask"))
    loss = LOSSES[name](logits, target, mask)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(logits.grad).all()
    if "mask" in kind:
        assert loss.item() == pytest.approx(0, abs=1e-6)
        assert (logits.grad == 0).all()


def test_pictures_without_text_teach():
    logits = torch.zeros(1, 50, 60, requires_grad=True)
    nothing, everywhere = torch.zeros(1, 50, 60), torch.ones(1, 50, 60, dtype=torch.bool)
    loss = mined_bce_with_logits(logits, nothing, everywhere)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert (logits.grad > 0).sum() == 1000
    assert (logits.grad >= 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_sums_over_large_half_maps_do_not_overflow(name):
    shape = (2, 300, 400)
    logits = torch.full(shape, -3.0, dtype=torch.float16, requires_grad=True)
    mask = torch.ones(shape, dtype=torch.bool)
    target = torch.zeros(shape)
    target[:, :10] = 1
    loss = LOSSES[name](logits, target, mask)
    exact = LOSSES[name](logits.double(), target, mask)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-3)
    loss.backward()
    assert torch.isfinite(logits.grad).all()


def test_fractions_of_positives_count_as_written():
    # 0.3 of ten are three, whatever binary fractions make of it.
    logits, target = torch.zeros(1, 1, 30), torch.zeros(1, 1, 30)
    target[..., :10] = 1
    logits.requires_grad_()
    mined_bce_with_logits(
        logits, target, torch.ones(1, 1, 30).bool(), negative_ratio=0.3
    ).backward()
    assert (logits.grad > 0).sum() == 3


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_not_hidden(name, bad):
    # Behind the mask, or where mining passes it over: the gradient would not be finite either.
    logits, target, mask = tensors(*maps(1))
    logits[0, 0, 0], mask[0, 0, 0] = bad, False
    loss = LOSSES[name](logits, target, mask)
    if name in ("dice", "l1") and math.isinf(bad):  # a sigmoid makes 0 or 1 of it
        assert math.isfinite(loss.item())
    else:
        assert math.isnan(loss.item())


@pytest.mark.parametrize(
    ("config", "function"),
    [
        (dict(type="MinedBCEWithLogitsLoss", negative_ratio=1.0, fallback_negatives=3,
              pool="image"),
         lambda p, t, m: mined_bce_with_logits(
             p, t, m, negative_ratio=1.0, fallback_negatives=3, pool="image")),
        (dict(type="MaskedFocalWithLogitsLoss", alpha=0.4, gamma=1.5),
         lambda p, t, m: focal_with_logits(p, t, m, alpha=0.4, gamma=1.5)),
        (dict(type="BatchDiceLoss", eps=0.5), lambda p, t, m: dice(p, t, m, eps=0.5)),
        (dict(type="MaskedL1Loss", beta=0.3), lambda p, t, m: masked_l1(p, t, m, beta=0.3)),
    ],
)  # fmt: skip
def test_modules_hand_their_options_on(config, function):
    logits, target, mask = tensors(*maps(2))
    assert MODELS.build(config)(logits, target, mask) == function(logits, target, mask)


@pytest.mark.parametrize("wrong", [dict(negative_ratio=-1), dict(fallback_negatives=-1)])
def test_negative_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="must be 0 or more"):
        MODELS.build(dict(type="MinedBCEWithLogitsLoss", **wrong))


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match=r"pool must be one of .*'batch', 'image'"):
        MODELS.build(dict(type="MinedBCEWithLogitsLoss", pool="images"))
