"""The read-only pass: the loss of every RoI by kind, without a trace in the network.

`read_only` makes a forward pass harmless, the other functions turn its outputs into one number a
RoI and kind, in single precision. They take MMDetection's box heads and losses as they are built,
but import nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

_DROPOUT = ("DropPath", "DropBlock", "StochasticDepth")


@dataclass(frozen=True)
class RoILosses:
    """Losses of R regions of interest, float32 without gradient.

    Attributes:
        cls (Tensor): ``(R,)`` classification.
        loc (Tensor): ``(R,)`` localisation, summed over the coordinates; 0 for background.
        mask (Tensor, optional): ``(R,)`` mean over the mask's pixels; 0 for background and where
            it was not asked for.
    """

    cls: Tensor
    loc: Tensor
    mask: Tensor | None = None

    def score(self, alpha: float | Tensor = 1.0, beta: float | Tensor = 1.0, gamma=1.0) -> Tensor:
        """``alpha * cls + beta * loc + gamma * mask``, ``(R,)``.

        A kind whose weight is 0 does not count at all, not even where it is NaN.
        """
        total = torch.zeros_like(self.cls)
        for weight, part in ((alpha, self.cls), (beta, self.loc), (gamma, self.mask)):
            if part is not None and (isinstance(weight, Tensor) or weight != 0):
                total = total + weight * part
        return total

    def finite(self) -> Tensor:
        """``(R,)`` bool: where all kinds are."""
        good = torch.isfinite(self.cls) & torch.isfinite(self.loc)
        return good if self.mask is None else good & torch.isfinite(self.mask)


@contextmanager
def read_only(modules: Iterable[nn.Module], dropout: bool = False) -> Iterator[None]:
    """No gradient, no change: what runs inside leaves weights, statistics and random numbers alone.

    BatchNorm and SyncBN behave as in evaluation, so that their statistics stay and no process
    waits for another. Autocast stays as it is, but without its cache: weights cast here carry no
    gradient, and a pass that finds them in the cache afterwards would train nothing.

    Args:
        modules (Iterable[nn.Module]): What is going to run.
        dropout (bool): Whether dropout stays active, as in the original OHEM.
    """
    switched, modules = [], list(modules)
    for module in modules:
        for part in module.modules():
            if part.training and not (dropout and _is_dropout(part)):
                part.training = False
                switched.append(part)
    with ExitStack() as stack:
        stack.callback(_switch_on, switched)
        stack.enter_context(torch.no_grad())
        stack.callback(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled())
        torch.set_autocast_cache_enabled(False)
        if dropout:
            stack.enter_context(torch.random.fork_rng(devices=_devices(modules)))
        yield


def _is_dropout(module: nn.Module) -> bool:
    return isinstance(module, _DropoutNd) or type(module).__name__ in _DROPOUT


def _switch_on(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        module.training = True


def _devices(modules: Iterable[nn.Module]) -> list[torch.device]:
    """The GPUs whose random numbers a forward may draw, not those of the whole machine."""
    parameters = (parameter for module in modules for parameter in module.parameters())
    return list({parameter.device for parameter in parameters if parameter.is_cuda})


def classification_losses(
    loss: nn.Module, cls_score: Tensor, labels: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The classification loss of each RoI.

    Args:
        loss (nn.Module): ``loss_cls`` of a box head: cross entropy, sigmoid, focal, Seesaw, or any
            that honours ``reduction_override='none'``; a copy of it runs, so that a loss that
            counts what it sees does not count this.
        cls_score (Tensor): ``(R, C)`` of any precision.
        labels (Tensor): ``(R,)`` int64; the background has the last label.
        weights (Tensor, optional): ``(R,)``: of each RoI, such as ``pos_weight`` gives.

    Returns:
        Tensor: ``(R,)`` float32, summed over what the loss returns for a RoI.

    Raises:
        ValueError: If the loss fails, or returns one value for all RoIs; it is named.
    """
    if not len(labels):
        return cls_score.new_zeros(0, dtype=torch.float32)
    name = f"loss_cls={type(loss).__name__}"
    if weights is None:
        weights = torch.ones_like(labels, dtype=torch.float32)
    value = _call(loss, name, cls_score.float(), labels, weights)
    parts = value if isinstance(value, dict) else {"loss": value}
    total = torch.zeros(len(labels), device=cls_score.device)
    for key, part in parts.items():
        if "loss" not in key:
            continue
        if len(parts) > 1 and part.shape[:1] != labels.shape:
            # Seesaw has a part for the foreground alone: one for each, or a single zero.
            foreground = (labels < cls_score.shape[1] - 2).nonzero()[:, 0]
            if len(foreground):
                total[foreground] += _one_each(part, len(foreground), name)
        else:
            total += _one_each(part, len(labels), name)
    return total


def localisation_losses(
    head: nn.Module, bbox_pred: Tensor | None, rois: Tensor, labels: Tensor, targets: Tensor
) -> Tensor:
    """The localisation loss of each RoI; 0 for background, and for a head without regression.

    Args:
        head (nn.Module): A box head of MMDetection: its ``loss_bbox`` and its settings count.
        bbox_pred (Tensor, optional): ``(R, 4)``, or ``(R, 4 * classes)``; 5 if boxes are rotated.
        rois (Tensor): ``(R, 5)``, or ``(R, 6)``.
        labels (Tensor): ``(R,)`` int64, below ``head.num_classes`` for foreground.
        targets (Tensor): ``(R, 4)`` as the head's ``get_targets`` makes them.

    Raises:
        ValueError: If the loss returns one value for all RoIs, or the head predicts boxes in a
            form of its own.
    """
    losses = torch.zeros(len(labels), device=labels.device)
    if bbox_pred is None:
        return losses
    if not isinstance(bbox_pred, Tensor):
        raise ValueError(
            f"{type(head).__name__} predicts boxes as {type(bbox_pred).__name__}; RoIs can be "
            "mined for box heads that predict a tensor of deltas"
        )
    foreground = ((labels >= 0) & (labels < head.num_classes)).nonzero()[:, 0]
    if not len(foreground):
        return losses
    with _in_full_precision(bbox_pred):
        chosen = bbox_pred[foreground].float()
        if head.reg_decoded_bbox:
            chosen = head.bbox_coder.decode(rois[foreground, 1:].float(), chosen)
            chosen = getattr(chosen, "tensor", chosen)
        chosen = chosen.reshape(len(foreground), -1)
        if not head.reg_class_agnostic:
            own = chosen.view(len(foreground), head.num_classes, -1)
            chosen = own[torch.arange(len(foreground), device=own.device), labels[foreground]]
        aims = targets[foreground].float()
    name = f"loss_bbox={type(head.loss_bbox).__name__}"
    value = _call(head.loss_bbox, name, chosen, aims, torch.ones_like(aims))
    losses[foreground] = _one_each(value, len(foreground), name)
    return losses


def mask_losses(logits: Tensor, targets: Tensor, labels: Tensor | None) -> Tensor:
    """Binary cross entropy of each RoI's mask at its class, the mean over the pixels.

    Args:
        logits (Tensor): ``(P, classes, h, w)``.
        targets (Tensor): ``(P, h, w)`` in [0, 1].
        labels (Tensor, optional): ``(P,)``; None for masks of no class.

    Source: He et al., Mask R-CNN, ICCV 2017, section 3.
    """
    rows = torch.arange(len(logits), device=logits.device)
    own = logits[rows, torch.zeros_like(rows) if labels is None else labels].float()
    with _in_full_precision(own):
        return nn.functional.binary_cross_entropy_with_logits(
            own, targets.float(), reduction="none"
        ).mean((1, 2))


def _call(loss: nn.Module, name: str, *args: Tensor) -> object:
    """What a copy of a loss gives for each RoI; a failure names the loss."""
    try:
        with _in_full_precision(args[0]):
            return deepcopy(loss)(*args, reduction_override="none")
    except torch.cuda.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} gives no loss for each RoI, which hard examples need: with "
            f"reduction_override='none' it ends in {type(error).__name__}: {error}"
        ) from error


def _in_full_precision(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


def _one_each(value: Tensor, count: int, name: str) -> Tensor:
    """``(count,)``: what a loss gave for each of so many RoIs, summed over all but them."""
    if value.dim() == 0 or len(value) != count:
        raise ValueError(
            f"{name} returns {tuple(value.shape)} for {count} RoIs with "
            "reduction_override='none': hard examples need a value for each RoI"
        )
    return value.float().flatten(1).sum(1) if value.dim() > 1 else value.float()
