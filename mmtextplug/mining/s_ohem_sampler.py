"""Stratified online hard example mining as a sampler for the RoI heads of MMDetection."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log
from mmengine.registry import TASK_UTILS
from torch import Tensor

from mmtextplug.mining.ohem_sampler import RoIOHEMSampler
from mmtextplug.mining.roi_losses import RoILosses
from mmtextplug.mining.roi_select import Candidates, hardest, quota_of
from mmtextplug.mining.s_ohem import LATE, Strata, Weights, strata, stratified

MODES = ("weighted", "stratified")

# What the history of losses adds up, before the two numbers of each category.
HISTORY = ("cls", "survivors", "loc", "foreground", "cls_selected", "loc_selected", "mask_selected")


@TASK_UTILS.register_module()
class StratifiedOHEMSampler(RoIOHEMSampler):
    """S-OHEM: hard examples by classification first, by localisation later.

    Only the selection changes; the loss that is trained stays what it is. ``StratifiedOHEMHook``
    moves the weights; without it they stay what they are at first.

    Args:
        num, **kwargs: See `RoIOHEMSampler`. With a ``mask_weight``, the mask loss joins the score
            as the localisation loss does; its network runs from the first step on, for the ratio
            of the losses has to be known.
        mode (str): 'weighted': the highest ``alpha * L_cls + beta * L_loc``, the paper's
            alternative; 'stratified': shares of strata of high and low losses, for which the
            schedule's progress alone counts (its weights rank what fills up, and duplicates).
            Both begin with the highest classification losses, and differ after that.
        late (str): What the strata move to, see `mmtextplug.mining.s_ohem.stratified`.
        late_share (float): Share of the late strata in the end.
        quantile (float, optional): From which share of the RoIs on a loss is high. Default: from
            the mean on.
        per_class (bool): Whether each category has its own weight of the localisation loss, from
            its own ratio of the losses (proposed by the paper as future work); the hook's
            ``beta_end`` must be left out.

    Attributes:
        weights (Weights): By what RoIs are selected now.
        history (Tensor): Sums of losses since the hook took them last, see `HISTORY`.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Li et al., S-OHEM: Stratified Online Hard Example Mining for Object Detection, 2017,
        section 3.
    """

    def __init__(
        self,
        num: int,
        *args,
        mode: str = "weighted",
        late: str = "s13",
        late_share: float = 1.0,
        quantile: float | None = None,
        per_class: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(num, *args, **kwargs)
        if mode not in MODES or late not in LATE:
            raise ValueError(
                f"StratifiedOHEMSampler: mode={mode!r} must be one of {', '.join(MODES)}, "
                f"late={late!r} one of {', '.join(LATE)}"
            )
        if not 0 <= late_share <= 1 or (quantile is not None and not 0 <= quantile <= 1):
            raise ValueError(
                f"StratifiedOHEMSampler: need late_share={late_share} and quantile={quantile} in "
                "[0, 1]"
            )
        if self.max_pos_fraction is not None:
            raise ValueError(
                "StratifiedOHEMSampler has quotas of strata, none of foreground: leave out "
                "max_pos_fraction"
            )
        if mode == "stratified" and (per_class or self.mask_weight):
            raise ValueError(
                "StratifiedOHEMSampler: strata are of classification and localisation loss alone: "
                "leave out per_class and mask_weight, or take mode='weighted'"
            )
        self.mode, self.late, self.late_share = mode, late, late_share
        self.quantile, self.per_class = quantile, per_class
        self.weights = Weights()
        self.history: Tensor | None = None
        self.is_scheduled = False

    def score(self, losses: RoILosses, rois: Candidates) -> Tensor:
        """``alpha * L_cls + beta * L_loc + gamma * L_mask`` with the weights of the moment."""
        beta = self.weights.beta
        if isinstance(beta, list):
            # The background has no localisation loss.
            beta = torch.tensor([*beta, 0.0]).to(rois.labels.device, non_blocking=True)
            beta = beta[rois.labels.clamp(max=len(beta) - 1)]
        return losses.score(self.weights.alpha, beta, self.mask_weight * self.weights.gamma)

    def select(
        self, rois: Candidates, losses: RoILosses, score: Tensor, survivor: Tensor
    ) -> Tensor:
        """Which survivors are trained on, ``(R,)`` bool."""
        if not self.is_scheduled and self.stage.head.training:
            self.is_scheduled = True
            print_log(
                "StratifiedOHEMSampler: no StratifiedOHEMHook in custom_hooks: RoIs will be "
                "selected by classification loss alone",
                logger="current",
                level=logging.WARNING,
            )
        if self.mode == "weighted":
            return hardest(rois, score, survivor, quota_of(rois, self.num, self.pool), self.pool)
        return stratified(
            rois,
            losses,
            score,
            survivor,
            self._strata(rois, losses, survivor),
            self.num,
            self.weights.progress,
            late=self.late,
            late_share=self.late_share,
            pool=self.pool,
        )

    def _strata(self, rois: Candidates, losses: RoILosses, survivor: Tensor) -> Strata:
        return strata(rois, losses, survivor, self.quantile, self.pool)

    def note(self, rois: Candidates, losses: RoILosses, survivor: Tensor, selected: Tensor) -> None:
        """Count strata and add to the history."""
        groups, counts = self._strata(rois, losses, survivor), {}
        for number in (1, 2, 3, 4):
            members = groups.number == number
            counts[f"population_s{number}"] = members.sum()
            counts[f"selected_s{number}"] = (members & selected).sum()
        self.add_counts(
            cls_threshold=groups.cls_threshold, loc_threshold=groups.loc_threshold, **counts
        )
        sums = self._sums(rois, losses, survivor, selected)
        self.history = sums if self.history is None else self.history + sums

    def _sums(
        self, rois: Candidates, losses: RoILosses, survivor: Tensor, selected: Tensor
    ) -> Tensor:
        foreground = survivor & rois.foreground
        mask = torch.zeros_like(losses.cls) if losses.mask is None else losses.mask
        # Masked rather than multiplied: what is NaN is no survivor.
        sums = [
            losses.cls.masked_fill(~survivor, 0).sum(),
            survivor.sum(),
            losses.loc.masked_fill(~foreground, 0).sum(),
            foreground.sum(),
            losses.cls.masked_fill(~selected, 0).sum(),
            losses.loc.masked_fill(~selected, 0).sum(),
            mask.masked_fill(~selected, 0).sum(),
        ]
        total = torch.stack([part.double() for part in sums])
        if not self.per_class:
            return total
        own = selected & rois.foreground
        classes = self.stage.bbox_head.num_classes
        by_class = total.new_zeros(2, classes + 1)
        for row, part in zip(by_class, (losses.cls, losses.loc)):
            row.scatter_add_(0, rois.labels, part.masked_fill(~own, 0).double())
        return torch.cat([total, by_class[:, :classes].flatten()])

    def take_history(self) -> Tensor:
        """The sums so far, float64; they begin anew."""
        sums, self.history = self.history, None
        if sums is None:
            classes = self.stage.bbox_head.num_classes if self.per_class else 0
            device = next(self.stage.head.parameters()).device
            sums = torch.zeros(len(HISTORY) + 2 * classes, dtype=torch.float64, device=device)
        return sums
