"""The read-only pass of MMDetection's RoI heads: all candidates of a batch in one forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmtextplug.mining.roi_losses import (
    RoILosses,
    classification_losses,
    localisation_losses,
    mask_losses,
    read_only,
)
from mmtextplug.mining.roi_pool import RoIPool
from mmtextplug.mining.roi_select import Candidates


class RoIStage:
    """One stage of a RoI head, the only one of most: its networks and how they are called.

    Args:
        head (nn.Module): A RoI head of MMDetection: Standard, Double, Dynamic, PointRend, Cascade,
            HybridTaskCascade, SCNet or one of theirs.
        stage (int, optional): Of a cascade.
        dropout (bool): Whether dropout is active when losses are measured.
        chunk (int, optional): RoIs that go through the network at once; limits the memory of heads
            with large features. Default: all.
    """

    def __init__(
        self,
        head: nn.Module,
        stage: int | None = None,
        dropout: bool = False,
        chunk: int | None = None,
    ) -> None:
        self._head = (head,)  # a tuple hides the module from a module that holds this stage
        self.stage, self.dropout, self.chunk = stage, dropout, chunk

    @property
    def head(self) -> nn.Module:
        return self._head[0]

    def _own(self, parts: object) -> object:
        return parts if self.stage is None else parts[self.stage]

    @property
    def bbox_head(self) -> nn.Module:
        """The box head of this stage."""
        return self._own(self.head.bbox_head)

    def extra_features(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the stage's forward takes beside the features: semantic and global context.

        Made anew from the features of the backbone; needed only where the RoI head's own are not
        at hand.
        """
        extra = {}
        with read_only([self.head], self.dropout):
            if getattr(self.head, "with_semantic", False):
                extra["semantic_feat"] = self.head.semantic_head(feats)[1]
            if getattr(self.head, "with_glbctx", False):
                extra["glbctx_feat"] = self.head.glbctx_head(feats)[1]
        return extra

    def losses(
        self,
        feats: Sequence[Tensor],
        pools: Sequence[RoIPool],
        extra: dict | None = None,
    ) -> tuple[RoILosses, dict[str, Tensor]]:
        """The losses of all candidates, and what the box head predicted for them.

        Args:
            feats (Sequence[Tensor]): ``(N, C, H, W)`` each.
            pools (Sequence[RoIPool]): One for each of the N images.
            extra (dict, optional): See `extra_features`.

        Returns:
            tuple[RoILosses, dict]: Of the R candidates; and ``rois``, ``labels``, ``cls_score`` and
            ``bbox_pred``, each with R rows, the images one after the other.
        """
        rois = bbox2roi([pool.priors for pool in pools])
        targets = self.bbox_head.get_targets(pools, self._own(self.head.train_cfg), concat=True)
        labels, weights, aims = targets[:3]
        with read_only([self.head], self.dropout):
            parts = [self._forward(feats, part, extra or {}) for part in self._chunks(rois)]
            scores = torch.cat([part["cls_score"] for part in parts])
            deltas = parts[0]["bbox_pred"]
            if isinstance(deltas, Tensor):
                deltas = torch.cat([part["bbox_pred"] for part in parts])
            losses = RoILosses(
                classification_losses(self.bbox_head.loss_cls, scores, labels, weights),
                localisation_losses(self.bbox_head, deltas, rois, labels, aims),
            )
        return losses, dict(rois=rois, labels=labels, cls_score=scores, bbox_pred=deltas)

    def _chunks(self, rois: Tensor) -> Iterator[Tensor]:
        return iter(rois.split(self.chunk or max(len(rois), 1)))

    def _forward(self, feats: Sequence[Tensor], rois: Tensor, extra: dict) -> dict[str, Tensor]:
        stage = () if self.stage is None else (self.stage,)
        return self.head._bbox_forward(*stage, feats, rois, **extra)

    def mask_losses(
        self,
        feats: Sequence[Tensor],
        pools: Sequence[RoIPool],
        rows: Tensor,
        gt_instances: Sequence[InstanceData],
        extra: dict | None = None,
    ) -> Tensor:
        """The mask loss of the foreground among some candidates, 0 for the others, ``(R,)``.

        Args:
            feats, pools, extra: See `losses`.
            rows (Tensor): ``(R,)`` bool: for whom to measure it.
            gt_instances (Sequence[InstanceData]): With ``masks``, of each image.

        Raises:
            ValueError: If the head has no mask head.
        """
        if not getattr(self.head, "with_mask", False):
            raise ValueError(f"{type(self.head).__name__} has no mask head: leave mask_weight at 0")
        losses = torch.zeros(len(rows), device=rows.device)
        chosen = [
            pool.select(part) for pool, part in zip(pools, rows.split([len(p) for p in pools]))
        ]
        places = torch.cat(
            [
                offset + part[: len(pool.pos_inds)].nonzero()[:, 0]
                for pool, part, offset in _with_offsets(pools, rows)
            ]
        )
        if not len(places):
            return losses
        mask_head = self.head.mask_head
        if isinstance(mask_head, nn.ModuleList):
            mask_head = mask_head[self.stage]
        cfg = self._own(self.head.train_cfg)
        labels = torch.cat([result.pos_gt_labels for result in chosen])
        with read_only([self.head], self.dropout):
            rois = bbox2roi([result.pos_priors for result in chosen])
            logits = self._mask_forward(feats, rois, extra or {})
            targets = mask_head.get_targets(chosen, gt_instances, cfg)
            own = None if getattr(mask_head, "class_agnostic", False) else labels
            losses[places] = mask_losses(logits, targets, own)
        return losses

    def _mask_forward(self, feats: Sequence[Tensor], rois: Tensor, extra: dict) -> Tensor:
        head = self.head
        if getattr(head, "share_roi_extractor", False):
            features = self._forward(feats, rois, extra)["bbox_feats"]
            every = torch.ones(len(rois), dtype=torch.uint8, device=rois.device)
            return head._mask_forward(feats, pos_inds=every, bbox_feats=features)["mask_preds"]
        staged = isinstance(head.mask_head, nn.ModuleList)
        stage = (self.stage,) if staged else ()
        return head._mask_forward(*stage, feats, rois, **extra)["mask_preds"]


def _with_offsets(pools: Sequence[RoIPool], rows: Tensor) -> Iterator[tuple[RoIPool, Tensor, int]]:
    offset = 0
    for pool, part in zip(pools, rows.split([len(pool) for pool in pools])):
        yield pool, part, offset
        offset += len(pool)


def candidates(pools: Sequence[RoIPool], labels: Tensor) -> Candidates:
    """The candidates of a batch for `mmtextplug.mining.roi_select`."""
    foreground = [
        torch.arange(len(pool), device=labels.device) < len(pool.pos_inds) for pool in pools
    ]
    return Candidates(
        boxes=torch.cat([pool.boxes() for pool in pools]),
        labels=labels,
        foreground=torch.cat(foreground),
        sizes=tuple(len(pool) for pool in pools),
    )
