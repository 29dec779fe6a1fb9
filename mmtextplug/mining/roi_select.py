"""Which regions of interest are hard: duplicates removed, then the highest scores of each image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmtextplug.mining.dedup import without_duplicates
from mmtextplug.mining.select import hard_select

POOLS = ("image", "batch")


@dataclass(frozen=True)
class Candidates:
    """All RoIs of a batch, the images one after the other.

    Attributes:
        boxes (Tensor): ``(R, 4)``, or ``(R, 5)``.
        labels (Tensor): ``(R,)`` int64.
        foreground (Tensor): ``(R,)`` bool.
        sizes (tuple[int, ...]): RoIs of each image; they add up to R.
    """

    boxes: Tensor
    labels: Tensor
    foreground: Tensor
    sizes: tuple[int, ...]

    @property
    def image(self) -> Tensor:
        """``(R,)`` int64: the image of each."""
        # Filled where it is needed: a tensor made of a list would wait for the device.
        return torch.cat(
            [self.labels.new_full((size,), number) for number, size in enumerate(self.sizes)]
        )

    @property
    def has_area(self) -> Tensor:
        """``(R,)`` bool: which boxes have a width and a height."""
        if self.boxes.shape[1] == 5:
            return (self.boxes[:, 2:4] > 0).all(1)
        return (self.boxes[:, 2:4] > self.boxes[:, :2]).all(1)


def survivors(
    rois: Candidates, score: Tensor, *, iou_thr: float = 0.7, per_label: bool = True
) -> Tensor:
    """Which RoIs are no duplicates of a harder one of their image, ``(R,)`` bool.

    Args:
        rois (Candidates): What there is.
        score (Tensor): ``(R,)``; NaN and infinities never survive.
        iou_thr (float): See `without_duplicates`; 1 keeps all.
        per_label (bool): Whether only RoIs of one label are duplicates, as in the released OHEM;
            else all of an image, as the paper has it.
    """
    parts = zip(
        rois.boxes.split(rois.sizes), score.split(rois.sizes), rois.labels.split(rois.sizes)
    )
    kept = [
        without_duplicates(boxes, scores, iou_thr=iou_thr, group=labels if per_label else None)
        for boxes, scores, labels in parts
    ]
    return torch.cat(kept) if kept else torch.zeros_like(rois.foreground)


def hardest(
    rois: Candidates, score: Tensor, candidate: Tensor, quota: int | Tensor, pool: str = "image"
) -> Tensor:
    """The hardest candidates of each image, or of the batch; ``(R,)`` bool.

    Args:
        rois (Candidates): What there is.
        score (Tensor): ``(R,)``. Equal ones are taken in order of their index.
        candidate (Tensor): ``(R,)`` bool: who may be selected.
        quota (int | Tensor): See `quota_of`: of each image, or of the batch.
        pool (str): 'image': so many of each; 'batch': the hardest of all.
    """
    group = None if pool == "batch" else rois.image
    return hard_select(score, candidate=candidate, group=group, k=quota)


def quota_of(rois: Candidates, num: int, pool: str, taken: Tensor | None = None) -> int | Tensor:
    """How many RoIs may be selected when some are taken already.

    Args:
        rois (Candidates): What there is.
        num (int): RoIs of each image; of the batch, that times the number of images.
        pool (str): 'image' or 'batch'.
        taken (Tensor, optional): ``(R,)`` bool.

    Returns:
        int | Tensor: One number, or one for each image.
    """
    if taken is None:
        return num * len(rois.sizes) if pool == "batch" else num
    if pool == "batch":
        return num * len(rois.sizes) - taken.sum()
    counts = torch.zeros(len(rois.sizes), dtype=torch.long, device=taken.device)
    return num - counts.scatter_add_(0, rois.image, taken.long())
