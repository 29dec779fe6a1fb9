"""All candidates of an image as a sampling result, from which a miner selects."""

from __future__ import annotations

import torch
from mmdet.models.task_modules.assigners import AssignResult
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.structures.bbox import BaseBoxes, cat_boxes, get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor


class RoIPool(SamplingResult):
    """Every proposal and ground truth of an image that is foreground or background.

    Rows are those of a sampling result: first the foreground, then the background. Ignored boxes
    (``gt_inds == -1``) are in none of them.

    Args:
        assign_result (AssignResult): Who belongs to whom; ground truths are added to it, in place.
        pred_instances (InstanceData): ``priors``, ``(P, 4)`` or rotated.
        gt_instances (InstanceData): ``bboxes`` and ``labels``.
        add_gt (bool): Whether ground truths are candidates.

    Attributes:
        assign_result, all_priors, gt_instances, gt_bboxes, gt_flags: What the sampling result was
            made from.
    """

    def __init__(
        self,
        assign_result: AssignResult,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        add_gt: bool = True,
    ) -> None:
        priors, gts = pred_instances.priors, gt_instances.bboxes
        if priors.dim() < 2:
            priors = priors[None]
        flags = priors.new_zeros(len(priors), dtype=torch.uint8)
        if add_gt and len(gts):
            own = gts
            if isinstance(gts, BaseBoxes) and isinstance(priors, BaseBoxes):
                own = gts.convert_to(type(priors))
            priors = cat_boxes([own, priors])
            assign_result.add_gt_(gt_instances.labels)
            flags = torch.cat([flags.new_ones(len(gts)), flags])
        self.assign_result, self.all_priors = assign_result, priors
        self.gt_instances, self.gt_bboxes, self.gt_flags = gt_instances, gts, flags
        owner = assign_result.gt_inds
        super().__init__(
            (owner > 0).nonzero()[:, 0], (owner == 0).nonzero()[:, 0],
            priors, gts, assign_result, flags,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.pos_inds) + len(self.neg_inds)

    def boxes(self) -> Tensor:
        """``(R, 4)`` or ``(R, 5)`` of the rows."""
        return get_box_tensor(self.priors)

    def is_gt(self) -> Tensor:
        """``(R,)`` bool: the rows that are ground truths."""
        return torch.cat([self.gt_flags[self.pos_inds], self.gt_flags[self.neg_inds]]).bool()

    def select(self, rows: Tensor) -> SamplingResult:
        """The sampling result of the rows of a mask ``(R,)``."""
        foreground = len(self.pos_inds)
        return SamplingResult(
            self.pos_inds[rows[:foreground]],
            self.neg_inds[rows[foreground:]],
            self.all_priors,
            self.gt_bboxes,
            self.assign_result,
            self.gt_flags,
        )
