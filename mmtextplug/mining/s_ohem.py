"""Stratified online hard example mining: strata, their shares, and when the shares move.

Pure functions on tensors, and a schedule of plain numbers that knows nothing of runners.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmtextplug.mining.roi_losses import RoILosses
from mmtextplug.mining.roi_select import Candidates, hardest, quota_of

LATE = ("s13", "s23")

# The ratio of the losses may be measured on few RoIs: beyond these it is not believed.
_LEAST_RATIO, _MOST_RATIO = 0.5, 10.0


@dataclass(frozen=True)
class Strata:
    """The strata of R regions of interest.

    Attributes:
        number (Tensor): ``(R,)`` int64: 1 high in both losses, 2 in classification, 3 in
            localisation, 4 in none; 0 for those that take no part.
        cls_threshold, loc_threshold (Tensor): From where on a loss is high, mean of the images.
    """

    number: Tensor
    cls_threshold: Tensor
    loc_threshold: Tensor


def strata(
    rois: Candidates,
    losses: RoILosses,
    survivor: Tensor,
    quantile: float | None = None,
    pool: str = "image",
) -> Strata:
    """Divide RoIs by their losses.

    The thresholds are means over the survivors, of the localisation loss over the foreground among
    them, for background has none; they move with training. The paper leaves them open.

    Args:
        rois (Candidates): R RoIs.
        losses (RoILosses): Of each.
        survivor (Tensor): ``(R,)`` bool.
        quantile (float, optional): Share of the survivors below the thresholds, in place of means.
        pool (str): 'image': each image has thresholds of its own; 'batch': one pair for all.

    Source: Li et al., S-OHEM: Stratified Online Hard Example Mining for Object Detection, 2017,
        section 3.2.
    """
    sizes = rois.sizes if pool == "image" else (len(survivor),)
    parts = zip(
        *(part.split(sizes) for part in (losses.cls, losses.loc, survivor, rois.foreground))
    )
    pairs = [
        (_threshold(cls, own, quantile), _threshold(loc, own & foreground, quantile))
        for cls, loc, own, foreground in parts
    ]
    cls_threshold = torch.stack([pair[0] for pair in pairs])
    loc_threshold = torch.stack([pair[1] for pair in pairs])
    image = rois.image if pool == "image" else torch.zeros_like(rois.labels)
    high_cls = losses.cls >= cls_threshold[image]
    high_loc = rois.foreground & (losses.loc >= loc_threshold[image])
    number = 4 - 2 * high_cls.long() - high_loc.long()  # 1: both, 2: cls, 3: loc, 4: none
    return Strata(number * survivor, cls_threshold.mean(), loc_threshold.mean())


def _threshold(values: Tensor, chosen: Tensor, quantile: float | None) -> Tensor:
    """Mean or quantile of the chosen values, 0 if there are none; nothing waits for the device."""
    count = chosen.sum()
    if quantile is None:
        return values.masked_fill(~chosen, 0).sum() / count.clamp(min=1)
    if not len(values):
        return values.new_zeros(())
    ordered = values.masked_fill(~chosen, float("inf")).sort()[0]
    place = ((count - 1).clamp(min=0) * quantile).round().long()
    # Not ordered[place]: to index by a single number waits for it.
    return torch.where(count > 0, ordered.gather(0, place[None])[0], ordered.new_zeros(()))


def stratified(
    rois: Candidates,
    losses: RoILosses,
    score: Tensor,
    survivor: Tensor,
    groups: Strata,
    num: int,
    progress: float,
    *,
    late: str = "s13",
    late_share: float = 1.0,
    pool: str = "image",
) -> Tensor:
    """Select RoIs stratum by stratum.

    Of each image, or of the batch, ``floor(progress * late_share * num + 1/2)`` come late and the
    others early: early ones are those of strata 1 and 2 with the highest classification loss; late
    ones, among those not taken yet, of strata 1 and 3 with the highest localisation loss.
    What strata cannot fill, the other survivors with the highest score do.

    Args:
        rois (Candidates): R RoIs.
        losses (RoILosses): Of each.
        score (Tensor): ``(R,)``: what fills up ranks by; with the classification loss at a progress
            of 0 the selection is the weighted one.
        survivor (Tensor): ``(R,)`` bool.
        groups (Strata): See `strata`.
        num (int): RoIs of each image.
        progress (float): 0 at first, 1 in the end.
        late (str): 's13': strata with a high localisation loss, which the paper means; 's23': the
            two that it writes, by the sum of losses, without the RoIs that are hard in both.
        late_share (float): Share of the late ones in the end.
        pool (str): 'image' or 'batch', see `hardest`.

    Returns:
        Tensor: ``(R,)`` bool.
    """
    count = num * len(rois.sizes) if pool == "batch" else num
    number = groups.number
    n_late = math.floor(progress * late_share * count + 0.5)
    early = survivor & ((number == 1) | (number == 2))
    taken = hardest(rois, losses.cls, early, count - n_late, pool)
    if late == "s13":
        rank, members = losses.loc, (number == 1) | (number == 3)
    else:
        rank, members = losses.score(gamma=0.0), (number == 2) | (number == 3)
    taken = taken | hardest(rois, rank, survivor & members & ~taken, n_late, pool)
    rest = quota_of(rois, num, pool, taken)
    return taken | hardest(rois, score, survivor & ~taken, rest, pool)


@dataclass
class Stability:
    """Tells when losses have stopped falling, from the means of windows of training steps.

    Stable is what changes by less than ``tolerance`` between the older and the newer half of the
    last ``windows`` means, in both losses, ``patience`` times in a row.
    """

    windows: int = 10
    tolerance: float = 0.02
    patience: int = 3
    history: deque = field(default_factory=deque)
    calm: int = 0

    def __post_init__(self) -> None:
        if self.windows < 2 or not 0 < self.tolerance < math.inf or self.patience < 1:
            raise ValueError(
                f"Stability: need windows={self.windows} of 2 or more, "
                f"tolerance={self.tolerance} above 0 and patience={self.patience} of 1 or more"
            )

    def add(self, cls: float, loc: float) -> bool:
        """Take in the means of a window; whether training is stable now."""
        if not (math.isfinite(cls) and math.isfinite(loc)):
            return False
        self.history.append((cls, loc))
        if len(self.history) > self.windows:
            self.history.popleft()
        if len(self.history) < self.windows:
            return False
        half = self.windows // 2
        rows = list(self.history)
        calm = True
        for older, newer in zip(_means(rows[:half]), _means(rows[-half:])):
            calm &= abs(newer - older) / max(older, 1e-8) < self.tolerance
        self.calm = self.calm + 1 if calm else 0
        return self.calm >= self.patience

    def reset(self) -> None:
        """Forget everything, as when the learning rate drops."""
        self.history.clear()
        self.calm = 0


def _means(rows: list[tuple[float, float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows)]


@dataclass
class Weights:
    """By what S-OHEM selects at one moment of training.

    Attributes:
        alpha, beta, gamma: Weights of classification, localisation and mask loss; beta may be a
            list, one for each category.
        progress: From the early strata (0) to the late ones (1).
    """

    alpha: float = 1.0
    beta: float | list[float] = 0.0
    gamma: float = 0.0
    progress: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """How the weights move from classification to localisation.

    Attributes:
        alpha_end (float): Weight of the classification loss in the end; only ratios matter.
        beta_end, gamma_end (float, optional): Of the localisation and the mask loss; None: the
            ratio of the classification loss to it, as measured on selected RoIs at the beginning
            of the ramp.
        ramp_iters (int, optional): Length of the ramp in steps; None: up to the end of training.
        shape (str): 'linear' or 'cosine'.

    Source: S-OHEM paper, sections 3.3 and 4.1: (1, 0) at first, beta 1.9 (VOC 2007) and 2.3 (KITTI)
        in the end.
    """

    alpha_end: float = 1.0
    beta_end: float | None = None
    gamma_end: float | None = None
    ramp_iters: int | None = None
    shape: str = "linear"

    def __post_init__(self) -> None:
        ends = (self.alpha_end, self.beta_end, self.gamma_end)
        if any(end is not None and not 0 <= end < math.inf for end in ends):
            raise ValueError(
                f"Schedule: need alpha_end={ends[0]}, beta_end={ends[1]} and "
                f"gamma_end={ends[2]} of 0 or more"
            )
        too_short = self.ramp_iters is not None and self.ramp_iters < 1
        if self.shape not in ("linear", "cosine") or too_short:
            raise ValueError(
                f"Schedule: shape={self.shape!r} must be 'linear' or 'cosine', "
                f"ramp_iters={self.ramp_iters} 1 or more"
            )

    def weights(self, step: int, start: int, max_iters: int, ratios: Ratios) -> Weights:
        """The weights at a step, when the ramp began at ``start``; below 0: it has not."""
        if start < 0:
            return Weights()
        length = self.ramp_iters or max(max_iters - start, 1)
        progress = min(max((step - start) / length, 0.0), 1.0)
        share = progress if self.shape == "linear" else (1 - math.cos(math.pi * progress)) / 2
        beta = ratios.loc if self.beta_end is None else self.beta_end
        if self.beta_end is None and ratios.per_class:
            beta = ratios.per_class
        gamma = ratios.mask if self.gamma_end is None else self.gamma_end
        return Weights(
            alpha=1 + (self.alpha_end - 1) * share,
            beta=[share * b for b in beta] if isinstance(beta, list) else share * beta,
            gamma=share * gamma,
            progress=share,
        )


@dataclass
class Ratios:
    """Ratios of the summed classification loss to the others, frozen when the ramp begins.

    Attributes:
        loc, mask: To the localisation and the mask loss.
        per_class: To the localisation loss, of the RoIs of each category; empty: not asked for.
    """

    loc: float = 1.0
    mask: float = 1.0
    per_class: list[float] = field(default_factory=list)


def ratio(cls: float, other: float, default: float = 1.0) -> float:
    """``cls / other`` within [0.5, 10]; the default where there is nothing to divide."""
    if not (math.isfinite(cls) and math.isfinite(other) and other > 0):
        return default
    return min(max(cls / other, _LEAST_RATIO), _MOST_RATIO)
