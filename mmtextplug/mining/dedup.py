"""Duplicates among boxes: of boxes that overlap, only the hardest stays (non-maximum suppression).

On the CPU by mmcv's operator. Elsewhere as a mask of fixed length in plain torch, so that nothing
waits for the device; overlaps of rotated boxes come from mmcv's operator there too.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Passes on a device that must not be waited for. Each settles one more link of a chain of boxes
# in which every one is suppressed by its predecessor; what is left of a longer chain is suppressed
# whole, so that no two duplicates ever stay.
_PASSES = 32


def without_duplicates(
    boxes: Tensor,
    score: Tensor,
    *,
    iou_thr: float = 0.7,
    group: Tensor | None = None,
) -> Tensor:
    """Which boxes survive greedy non-maximum suppression.

    In the order of their scores, ties by index, each box removes the later ones of its group that
    overlap it by more than ``iou_thr``. Boxes without area overlap nothing. Where so many boxes
    overlap in a row that each is removed by the one before it, more than 32, a GPU removes the
    rest of the row too.

    Args:
        boxes (Tensor): ``(R, 4)`` (x1, y1, x2, y2), or ``(R, 5)`` (cx, cy, w, h, angle in radian).
        score (Tensor): ``(R,)``; the higher, the harder. Boxes whose score is NaN or infinite
            neither survive nor remove any.
        iou_thr (float): 1 or more keeps all.
        group (Tensor, optional): ``(R,)`` integers: only boxes of one group are duplicates.

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
    if iou_thr >= 1 or len(boxes) < 2:
        return valid
    order = score.float().masked_fill(~valid, float("-inf")).sort(descending=True, stable=True)[1]
    if boxes.device.type == "cpu":
        return _by_operator(boxes, order[valid[order]], iou_thr, group)
    return _by_matrix(boxes, order, valid, iou_thr, group)


def _by_operator(boxes: Tensor, order: Tensor, iou_thr: float, group: Tensor | None) -> Tensor:
    """One group after the other: few labels occur in one image."""
    from mmcv.ops import nms, nms_rotated

    suppress = nms if boxes.shape[1] == 4 else nms_rotated
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    names = order.new_zeros(len(order)) if group is None else group[order]
    for name in names.unique():
        members = order[names == name]
        # Ranks instead of scores: ties are in order already, and floats tell them apart.
        ranks = torch.arange(len(members), 0, -1, dtype=torch.float32)
        kept[members[suppress(boxes[members].float(), ranks, iou_thr)[1]]] = True
    return kept


def _by_matrix(
    boxes: Tensor, order: Tensor, valid: Tensor, iou_thr: float, group: Tensor | None
) -> Tensor:
    """All at once, in a number of passes that does not depend on what is found."""
    # Who removes whom: pairs of valid boxes of one group, the first before the second.
    removes = _overlap(boxes[order].float(), iou_thr).triu_(1)
    if group is not None:
        removes &= group[order, None] == group[order]
    alive = valid[order]
    removes = (removes & alive[:, None]).float()
    keep = alive
    for _ in range(_PASSES):
        keep = alive & (keep.float() @ removes == 0)
    keep = keep & (keep.float() @ removes == 0)
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
