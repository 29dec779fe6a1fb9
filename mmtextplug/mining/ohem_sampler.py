"""OHEM as its paper has it, as a sampler for the RoI heads of MMDetection."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmtextplug.mining.roi_forward import RoIStage, candidates
from mmtextplug.mining.roi_losses import RoILosses
from mmtextplug.mining.roi_pool import RoIPool
from mmtextplug.mining.roi_select import POOLS, Candidates, hardest, quota_of, survivors

# The mask loss is measured for so many times the RoIs that are wanted, not for all: its network
# is far heavier than a box head.
_MASK_CANDIDATES = 2


@TASK_UTILS.register_module()
class RoIOHEMSampler:
    """Online hard example mining of regions of interest.

    All proposals and ground truths of an image that are foreground or background pass through the
    RoI network without gradient; of those that overlap by more than ``iou_thr`` only the one with
    the highest loss stays; the ``num`` highest losses are trained on. There is no quota of
    foreground, and ignored boxes are never taken, nor are those without area, and those whose loss
    is NaN or infinite.

    In distributed training use a RoI head of `mmtextplug.mining.roi_heads`: to MMDetection's own a
    process that can select nothing gives no classification loss, for which the others wait.

    MMDetection's ``OHEMSampler`` ranks by classification loss alone, foreground and background
    apart, with a quota of foreground and duplicates left in.

    Args:
        num (int): RoIs of each image (the paper's B / N: 64). 0 selects none.
        iou_thr (float): Two RoIs that overlap by more are duplicates; 1 keeps them all.
        context (nn.Module): The RoI head; it hands itself over.
        per_label (bool): Whether only RoIs of one label are duplicates, as in the released OHEM;
            else all of an image, as the paper has it.
        pool (str): 'image': ``num`` of each image; 'batch': the hardest of all images, ``num``
            times their number. The latter needs a RoI head that mines once for all images (see
            `mmtextplug.mining.roi_heads`).
        mask_weight (float): Weight of the mask loss in the score, for heads with masks; 0 spares
            its forward.
        max_pos_fraction (float, optional): At most this share of ``num`` is foreground. Default: no
            quota.
        add_gt_as_proposals (bool): Whether ground truths are candidates.
        dropout (bool): Whether dropout is active when losses are measured, as in the original.
        chunk (int, optional): RoIs that go through the network at once, to limit memory.
        pos_fraction, neg_pos_ub: Without effect; configs inherit them from ``RandomSampler``.

    Attributes:
        counts (dict[str, Tensor]): Sums since `take_counts`, of training alone: candidates,
            duplicates, without_area, non_finite, selected, foreground, ground_truths, and calls.

    Raises:
        ValueError: If an argument is out of its range, or the context is no RoI head.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example
        Mining, CVPR 2016, sections 4.1 and 4.2.
    """

    def __init__(
        self,
        num: int,
        iou_thr: float = 0.7,
        context: nn.Module | None = None,
        *,
        per_label: bool = True,
        pool: str = "image",
        mask_weight: float = 0.0,
        max_pos_fraction: float | None = None,
        add_gt_as_proposals: bool = True,
        dropout: bool = False,
        chunk: int | None = None,
        pos_fraction: float | None = None,
        neg_pos_ub: int | None = None,
    ) -> None:
        name = type(self).__name__
        if not hasattr(context, "bbox_head") or not hasattr(context, "_bbox_forward"):
            raise ValueError(
                f"{name} needs a RoI head with a box head, got {type(context).__name__}: it mines "
                "among RoIs of two-stage detectors (train_cfg.rcnn.sampler), not among anchors"
            )
        if num < 0 or num != int(num) or not 0 < iou_thr <= 1 or (chunk is not None and chunk < 1):
            raise ValueError(
                f"{name}: need a whole num={num} of 0 or more, iou_thr={iou_thr} in (0, 1] and "
                f"chunk={chunk} of 1 or more"
            )
        if pool not in POOLS:
            raise ValueError(f"{name}: pool={pool!r} must be one of {', '.join(POOLS)}")
        if not 0 <= mask_weight < math.inf or (
            max_pos_fraction is not None and not 0 <= max_pos_fraction <= 1
        ):
            raise ValueError(
                f"{name}: need mask_weight={mask_weight} of 0 or more and "
                f"max_pos_fraction={max_pos_fraction} in [0, 1]"
            )
        self.num, self.iou_thr, self.per_label, self.pool = int(num), iou_thr, per_label, pool
        self.mask_weight, self.max_pos_fraction = mask_weight, max_pos_fraction
        self.add_gt_as_proposals = add_gt_as_proposals
        stage = context.current_stage if hasattr(context, "num_stages") else None
        self.stage = RoIStage(context, stage, dropout, chunk)
        self.mines_at_once = False
        self.counts: dict[str, Tensor] = {}

    def sample(
        self,
        assign_result: AssignResult,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        feats: Sequence[Tensor] | None = None,
        **kwargs,
    ) -> SamplingResult:
        """The hard RoIs of an image.

        Args:
            assign_result (AssignResult): Ground truths are added to it, in place.
            pred_instances (InstanceData): ``priors``.
            gt_instances (InstanceData): ``bboxes``, ``labels``, and ``masks`` with a mask weight.
            feats (Sequence[Tensor]): ``(1, C, H, W)`` each: the features of the image.

        Returns:
            SamplingResult: The RoIs selected; all candidates if the head mines for all images at
            once, afterwards.

        Raises:
            ValueError: If the RoI head hands over no features.
        """
        pool = RoIPool(assign_result, pred_instances, gt_instances, self.add_gt_as_proposals)
        if self.mines_at_once:
            return pool
        name = type(self).__name__
        if self.pool == "batch":
            raise ValueError(
                f"{name}: pool='batch' needs a RoI head that mines once for all images, such as "
                f"type='Mining{type(self.stage.head).__name__}'"
            )
        if feats is None:
            raise ValueError(
                f"{name}: {type(self.stage.head).__name__} hands over no features to mine with"
            )
        return self.mine([pool], feats, self.stage.extra_features(feats))[0][0]

    def mine(
        self,
        pools: Sequence[RoIPool],
        feats: Sequence[Tensor],
        extra: dict | None = None,
        note: bool = True,
    ) -> tuple[list[SamplingResult], Tensor, dict[str, Tensor]]:
        """The hard RoIs of a batch, by one forward.

        Args:
            pools (Sequence[RoIPool]): The candidates of N images.
            feats (Sequence[Tensor]): ``(N, C, H, W)`` each.
            extra (dict, optional): See `RoIStage.extra_features`.
            note (bool): Whether it counts; where boxes are mined a second time it should not.

        Returns:
            tuple: A sampling result for each image; which candidates they hold, ``(R,)`` bool; and
            what the network predicted for all of them, see `RoIStage.losses`.
        """
        with torch.no_grad():
            losses, outputs = self.stage.losses(feats, pools, extra)
            rois = candidates(pools, outputs["labels"])
            losses = self._with_masks(losses, rois, pools, feats, extra)
            valid = losses.finite() & rois.has_area
            score = self.score(losses, rois)
            survivor = self._survivors(rois, score, valid)
            selected = self.select(rois, losses, score, survivor)
            if note and self.stage.head.training:
                self._count(pools, rois, losses, survivor, selected)
                self.note(rois, losses, survivor, selected)
        parts = selected.split(rois.sizes)
        return [pool.select(part) for pool, part in zip(pools, parts)], selected, outputs

    def score(self, losses: RoILosses, rois: Candidates) -> Tensor:
        """By what RoIs are ranked and duplicates removed, ``(R,)``."""
        return losses.score(gamma=self.mask_weight)

    def select(
        self, rois: Candidates, losses: RoILosses, score: Tensor, survivor: Tensor
    ) -> Tensor:
        """Which survivors are trained on, ``(R,)`` bool."""
        quota = quota_of(rois, self.num, self.pool)
        if self.max_pos_fraction is not None:
            most = int(quota * self.max_pos_fraction)
            positive = hardest(rois, score, survivor & rois.foreground, most, self.pool)
            survivor = positive | (survivor & ~rois.foreground)
        return hardest(rois, score, survivor, quota, self.pool)

    def note(self, rois: Candidates, losses: RoILosses, survivor: Tensor, selected: Tensor) -> None:
        """Take in what was mined in training, for those who keep a history."""

    def _survivors(self, rois: Candidates, score: Tensor, valid: Tensor) -> Tensor:
        score = score.masked_fill(~valid, float("nan"))
        return survivors(rois, score, iou_thr=self.iou_thr, per_label=self.per_label)

    def _with_masks(
        self,
        losses: RoILosses,
        rois: Candidates,
        pools: Sequence[RoIPool],
        feats: Sequence[Tensor],
        extra: dict | None,
    ) -> RoILosses:
        """With the mask losses of the RoIs that are hardest without them."""
        if not self.mask_weight:
            return losses
        score = self.score(losses, rois)
        survivor = self._survivors(rois, score, losses.finite() & rois.has_area)
        quota = quota_of(rois, _MASK_CANDIDATES * self.num, self.pool)
        rows = hardest(rois, score, survivor, quota, self.pool)
        truths = [pool.gt_instances for pool in pools]
        mask = self.stage.mask_losses(feats, pools, rows, truths, extra)
        return RoILosses(losses.cls, losses.loc, mask)

    def _count(
        self,
        pools: Sequence[RoIPool],
        rois: Candidates,
        losses: RoILosses,
        survivor: Tensor,
        selected: Tensor,
    ) -> None:
        finite, area = losses.finite(), rois.has_area
        truths = torch.cat([pool.is_gt() for pool in pools])
        self.add_counts(
            calls=torch.ones((), device=selected.device),
            candidates=torch.full((), float(len(selected)), device=selected.device),
            duplicates=(finite & area & ~survivor).sum(),
            without_area=(~area).sum(),
            non_finite=(~finite).sum(),
            selected=selected.sum(),
            foreground=(selected & rois.foreground).sum(),
            ground_truths=(selected & truths).sum(),
        )

    def add_counts(self, **counts: Tensor) -> None:
        """Add to the counts, on the device."""
        for key, value in counts.items():
            self.counts[key] = self.counts.get(key, 0) + value.double()

    def take_counts(self) -> dict[str, float]:
        """The counts so far; they begin anew."""
        counts, self.counts = self.counts, {}
        if not counts:
            return {}
        return dict(zip(counts, torch.stack(list(counts.values())).tolist()))
