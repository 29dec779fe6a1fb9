"""Batch normalisation folded into convolutions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Of the largest score: what folding may change, with the TF32 of GPUs in mind.
_ROUNDING = 0.02


def fold_batch_norms(model: nn.Module, run: Callable[[Tensor], Tensor]) -> int:
    """Fold batch normalisations into the convolutions right before them, in place.

    The outputs stay the same but for rounding, or nothing is folded: it is tried on noise. The
    model can be used afterwards, but not trained.

    Args:
        model (nn.Module): In evaluation mode. A normalisation belongs to a convolution, transposed
            or not, if it follows it directly among the children of their parent: so it is in
            sequences, and in the residual blocks of MMDetection and torchvision.
        run (Callable): The model as a function of ``(1, 3, H, W)``.

    Returns:
        int: How many were folded.
    """
    pairs = list(_foldable_pairs(model))
    if not pairs:
        return 0
    parameter = next(model.parameters())
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(parameter)
    with torch.inference_mode():
        expected = run(noise)
    for parent, (name, conv), (bn_name, bn) in pairs:
        transposed = isinstance(conv, nn.ConvTranspose2d)
        setattr(parent, name, fuse_conv_bn_eval(conv, bn, transpose=transposed))
        setattr(parent, bn_name, nn.Identity())
    with torch.inference_mode():
        difference = (run(noise) - expected).abs().max()
    if difference <= _ROUNDING * expected.abs().max():
        return len(pairs)
    for parent, *children in pairs:
        for name, child in children:
            setattr(parent, name, child)
    print_log(
        "batch normalisation is not folded into convolutions: this network applies its layers in "
        "another order than it lists them",
        logger="current",
    )
    return 0


def _foldable_pairs(model: nn.Module) -> Iterator[tuple]:
    """Parents, and the names and modules of a convolution and the normalisation behind it."""
    for parent in model.modules():
        # MMCV's ConvModule has them as children in one order, and applies them in any.
        if tuple(getattr(parent, "order", ("conv", "norm")))[:2] != ("conv", "norm"):
            continue
        for conv, bn in itertools.pairwise(parent.named_children()):
            transposed = isinstance(conv[1], nn.ConvTranspose2d) and conv[1].groups == 1
            if (transposed or isinstance(conv[1], nn.Conv2d)) and _foldable(bn[1]):
                yield parent, conv, bn


def _foldable(bn: nn.Module) -> bool:
    return isinstance(bn, _BatchNorm) and not bn.training and bn.running_mean is not None
