"""Losses of one map against its target where a mask allows, as functions and as modules.

A module whose name has ``WithLogits`` in it is given logits, any other what the sigmoid makes of
them; MMOCR names its own masked losses by the same rule, and they fit in here, too.
"""

from __future__ import annotations

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, smooth_l1_loss

from mmtextplug.mining.select import hard_select

_POOLS = ("batch", "image")


def mined_bce_with_logits(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    negative_ratio: float = 3.0,
    fallback_negatives: int = 1000,
    pool: str = "batch",
) -> Tensor:
    """Binary cross-entropy over all positives and the hardest negatives (DB paper, section 3.5).

    The mean over the pixels selected. The paper writes a sum, which would weigh a map by its text.

    Args:
        logits (Tensor): ``(B, H, W)``.
        target (Tensor): ``(B, H, W)``, 1 or 0.
        mask (Tensor): ``(B, H, W)`` bool: the pixels that count.
        negative_ratio (float): Negatives for each positive.
        fallback_negatives (int): Negatives of a batch (or image) without positives, which teaches,
            too; 0 for none, as in MhLiao's and MMOCR's code.
        pool (str): 'batch' counts and selects over all images, as MhLiao's and MMOCR's code do;
            'image' in each, and averages their means.

    Returns:
        Tensor: Scalar; 0 if no pixel counts; NaN as soon as a logit is not finite.
    """
    logits = at_least_float(logits)
    target = target.to(logits)
    error = binary_cross_entropy_with_logits(logits, target, reduction="none")
    shape = (1, -1) if pool == "batch" else (len(logits), -1)
    positive = (target > 0.5) & mask
    count = positive.reshape(shape).count_nonzero(1)
    # As many as hard_select's own ratio gives; the tiny term keeps 0.3 * 10 at 3.
    quota = (count.double() * negative_ratio + 1e-6).floor().long()
    selected = hard_select(
        error.reshape(shape),
        candidate=(mask & ~positive).reshape(shape),
        forced=positive.reshape(shape),
        k=torch.where(count > 0, quota, fallback_negatives),
    )
    chosen = torch.where(selected, error.reshape(shape), error.new_zeros(()))
    mean = (chosen.sum(1) / selected.count_nonzero(1).clamp(min=1)).mean()
    # Mining passes over what is not finite: without this the loss would be finite, and its
    # gradient not.
    return mean + 0 * logits.sum()


def focal_with_logits(
    logits: Tensor, target: Tensor, mask: Tensor, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss (Lin et al., 2017, equation 5), the mean over the pixels that count.

    Args:
        logits, target, mask (Tensor): See `mined_bce_with_logits`.
        alpha (float): Weight of the positives; that of the negatives is ``1 - alpha``.
        gamma (float): The higher, the less the easy pixels count.

    Returns:
        Tensor: Scalar.
    """
    logits = at_least_float(logits)
    target = target.to(logits)
    error = binary_cross_entropy_with_logits(logits, target, reduction="none")
    # As a logarithm: a power between 0 and 1 has no gradient at 0.
    missed = logsigmoid(torch.where(target > 0.5, -logits, logits))
    weight = torch.where(target > 0.5, alpha, 1 - alpha)
    return _masked_mean(weight * (gamma * missed).exp() * error, mask)


def dice(prediction: Tensor, target: Tensor, mask: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Dice loss ``1 - 2 |P T| / (|P| + |T|)`` over the whole batch, as in MhLiao's code.

    Args:
        prediction (Tensor): ``(B, H, W)`` in [0, 1].
        target, mask (Tensor): See `mined_bce_with_logits`.
        eps (float): Makes it 0 where there is neither.

    Returns:
        Tensor: Scalar in [0, 1].
    """
    prediction = at_least_float(prediction)
    target = torch.where(mask, target.to(prediction), prediction.new_zeros(()))
    # A product would let what is not finite pass through the mask as NaN in the gradient alone.
    prediction = torch.where(mask, prediction, 0 * prediction)
    common = (prediction * target).sum()
    return 1 - (2 * common + eps) / (prediction.sum() + target.sum() + eps)


def masked_l1(prediction: Tensor, target: Tensor, mask: Tensor, *, beta: float = 0.0) -> Tensor:
    """Mean absolute error over the pixels that count (DB paper, section 3.5), or smooth L1.

    Args:
        prediction, target (Tensor): ``(B, H, W)``.
        mask (Tensor): ``(B, H, W)`` bool.
        beta (float): Errors below are squared (``torch.nn.SmoothL1Loss``); 0 is plain L1.

    Returns:
        Tensor: Scalar.
    """
    prediction = at_least_float(prediction)
    error = smooth_l1_loss(prediction, target.to(prediction), reduction="none", beta=beta)
    return _masked_mean(error, mask)


def at_least_float(tensor: Tensor) -> Tensor:
    """In float32, unless it is finer: sums over a map overflow halves."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, error, 0 * error).sum() / mask.count_nonzero().clamp(min=1)


@MODELS.register_module()
class MinedBCEWithLogitsLoss(nn.Module):
    """`mined_bce_with_logits` as a module.

    Args:
        negative_ratio, fallback_negatives, pool: See there.

    Raises:
        ValueError: If ``pool`` is not 'batch' or 'image', or a number is negative.
    """

    def __init__(
        self, negative_ratio: float = 3.0, fallback_negatives: int = 1000, pool: str = "batch"
    ) -> None:
        super().__init__()
        if pool not in _POOLS:
            raise ValueError(f"MinedBCEWithLogitsLoss: pool must be one of {_POOLS}, got {pool!r}")
        if not (negative_ratio >= 0 and fallback_negatives >= 0):
            raise ValueError(
                f"MinedBCEWithLogitsLoss: negative_ratio={negative_ratio} and fallback_negatives="
                f"{fallback_negatives} must be 0 or more"
            )
        self.options = dict(
            negative_ratio=negative_ratio, fallback_negatives=fallback_negatives, pool=pool
        )

    def forward(self, logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return mined_bce_with_logits(logits, target, mask, **self.options)


@MODELS.register_module()
class MaskedFocalWithLogitsLoss(nn.Module):
    """`focal_with_logits` as a module.

    Args:
        alpha, gamma (float): See there.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        self.options = dict(alpha=alpha, gamma=gamma)

    def forward(self, logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return focal_with_logits(logits, target, mask, **self.options)


@MODELS.register_module()
class BatchDiceLoss(nn.Module):
    """`dice` as a module.

    Args:
        eps (float): See there.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return dice(prediction, target, mask, eps=self.eps)


@MODELS.register_module()
class MaskedL1Loss(nn.Module):
    """`masked_l1` as a module.

    Args:
        beta (float): See there.
    """

    def __init__(self, beta: float = 0.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return masked_l1(prediction, target, mask, beta=self.beta)
