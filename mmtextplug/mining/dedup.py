"""Duplicates among boxes: of boxes that overlap, only the hardest stays (non-maximum suppression).

As a mask of fixed length rather than a list of survivors, so that nothing waits for the device.
Plain torch; overlaps of rotated boxes come from mmcv's operator.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Passes on a device that must not be waited for. Each settles one more link of a chain of boxes
# in which every one is suppressed by its predecessor.
_PASSES = 32


def without_duplicates(
    boxes: Tensor,
    score: Tensor,
    *,
    iou_thr: float = 0.7,
    group: Tensor | None = None,
    candidate: Tensor | None = None,
) -> Tensor:
    """Which boxes survive greedy non-maximum suppression.

    In the order of their scores, ties by index, each box removes the later ones of its group that
    overlap it by more than ``iou_thr``. Boxes without area overlap nothing.

    Args:
        boxes (Tensor): ``(R, 4)`` (x1, y1, x2, y2), or ``(R, 5)`` (cx, cy, w, h, angle in radian).
        score (Tensor): ``(R,)``; the higher, the harder.
        iou_thr (float): 1 or more keeps all.
        group (Tensor, optional): ``(R,)`` integers: only boxes of one group are duplicates.
        candidate (Tensor, optional): ``(R,)`` bool. Others, and boxes whose score is NaN or
            infinite, neither survive nor remove any.

    Returns:
        Tensor: ``(R,)`` bool.

    Raises:
        ValueError: If a box has neither four nor five numbers.

    Source: Shrivastava et al., Training Region-based Object Detectors with Online Hard Example
        Mining, CVPR 2016, section 4.2; in parallel as in Zheng et al., Cluster-NMS, 2020.
    """
    if boxes.dim() != 2 or boxes.shape[1] not in (4, 5):
        raise ValueError(f"boxes of four or five numbers are expected, got {tuple(boxes.shape)}")
    valid = torch.isfinite(score)
    if candidate is not None:
        valid = valid & candidate
    if iou_thr >= 1 or len(boxes) < 2:
        return valid
    order = score.float().masked_fill(~valid, float("-inf")).sort(descending=True, stable=True)[1]
    # Who removes whom: pairs of valid boxes of one group, the first before the second.
    removes = _overlap(boxes[order].float(), iou_thr).triu_(1)
    if group is not None:
        removes &= group[order, None] == group[order]
    alive = valid[order]
    removes &= alive[:, None]
    keep = alive
    passes = len(boxes) if boxes.device.type == "cpu" else _PASSES
    removes = removes.float()
    for _ in range(passes):
        before, keep = keep, alive & (keep.float() @ removes == 0)
        if boxes.device.type == "cpu" and torch.equal(before, keep):
            break
    return torch.zeros_like(valid).scatter_(0, order, keep)


def _overlap(boxes: Tensor, iou_thr: float) -> Tensor:
    """``(R, R)`` bool: whether two boxes' intersection over union is above the threshold."""
    if boxes.shape[1] == 5:
        from mmcv.ops import box_iou_rotated

        return box_iou_rotated(boxes, boxes) > iou_thr
    left, top, right, bottom = boxes.unbind(1)
    width = torch.min(right[:, None], right) - torch.max(left[:, None], left)
    height = torch.min(bottom[:, None], bottom) - torch.max(top[:, None], top)
    shared = width.clamp_(min=0).mul_(height.clamp_(min=0))
    area = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    union = (area[:, None] + area).sub_(shared)
    # Not divided: without area 0 > 0 is False.
    return shared > union.mul_(iou_thr)
