"""RoI heads of MMDetection that mine once for all images of a batch.

The heads of MMDetection sample image by image, before they have the features of the semantic
branch. These let the sampler return all candidates instead, and select when the box losses are
asked for: one extraction and one forward for the batch, with everything the head's own forward
takes. Losses, masks and targets stay theirs.
"""

from __future__ import annotations

import inspect

import torch
from mmdet.models.roi_heads import (
    CascadeRoIHead,
    DoubleHeadRoIHead,
    DynamicRoIHead,
    HybridTaskCascadeRoIHead,
    PointRendRoIHead,
    SCNetRoIHead,
    StandardRoIHead,
)
from mmengine.registry import MODELS
from torch import Tensor

from mmtextplug.mining.ohem_sampler import RoIOHEMSampler
from mmtextplug.mining.roi_pool import RoIPool

_EXTRA = ("semantic_feat", "glbctx_feat")


class MineAtOnce:
    """Mixed into a RoI head before its class.

    In a cascade all RoIs are refined for the next stage, not only the hard ones, or later stages
    would see little but background and near-duplicates.
    """

    def init_assigner_sampler(self) -> None:
        """Build the samplers.

        Raises:
            ValueError: If one of them is none of this package's.
        """
        super().init_assigner_sampler()
        samplers = self.bbox_sampler or []
        for sampler in samplers if isinstance(samplers, list) else [samplers]:
            if not isinstance(sampler, RoIOHEMSampler):
                raise ValueError(
                    f"{type(self).__name__} needs RoIOHEMSampler or StratifiedOHEMSampler in "
                    f"train_cfg.rcnn.sampler, got {type(sampler).__name__}"
                )
            sampler.mines_at_once = True

    def bbox_loss(self, *args, **kwargs) -> dict:
        """Select among all candidates, in place, then as the head does.

        Where nothing can be selected, because no candidate has a finite loss or there is none, the
        classification loss is 0, not missing: other processes wait for the gradients of all parts.
        """
        given = inspect.signature(super().bbox_loss).bind(*args, **kwargs).arguments
        mined = self._mine(given)
        results = super().bbox_loss(*args, **kwargs)
        losses = results["loss_bbox"]
        if not any("cls" in key for key in losses):
            losses["loss_cls"] = results["cls_score"].sum() * 0
        if mined is not None and "bbox_targets" in results and "rois" in results:
            results.update(_with_the_others(results, *mined))
        return results

    def mask_loss(self, *args, **kwargs) -> dict:
        """Select first, if boxes were assigned anew for the masks, as interleaved cascades do."""
        given = inspect.signature(super().mask_loss).bind(*args, **kwargs).arguments
        self._mine(given, note=False)
        return super().mask_loss(*args, **kwargs)

    def _mine(
        self, given: dict, note: bool = True
    ) -> tuple[list[RoIPool], Tensor, dict[str, Tensor]] | None:
        """Replace the pools among the sampling results by what is selected of them."""
        pools = given["sampling_results"]
        if not pools or not all(isinstance(pool, RoIPool) for pool in pools):
            return None
        extra = {key: given[key] for key in _EXTRA if given.get(key) is not None}
        sampler = self.bbox_sampler
        if isinstance(sampler, list):
            sampler = sampler[given["stage"]]
        pools = list(pools)
        given["sampling_results"][:], selected, outputs = sampler.mine(
            pools, given["x"], extra, note
        )
        return pools, selected, outputs


def _with_the_others(
    results: dict, pools: list[RoIPool], selected: Tensor, outputs: dict[str, Tensor]
) -> dict:
    """What a cascade refines: its results, followed by those of the RoIs not trained on.

    Ground truths are left out, as the refinement leaves out those it knows of. Boxes whose
    prediction is no number stay where they are. If there is none at all, there is one without
    area, which is never selected: refining nothing would end the cascade at this stage.
    """
    others = ~selected & ~torch.cat([pool.is_gt() for pool in pools])
    rows = {
        key: torch.cat([results[key].detach(), outputs[key][others].to(results[key].dtype)])
        for key in ("rois", "cls_score", "bbox_pred")
    }
    labels, *targets = results["bbox_targets"]
    labels = torch.cat([labels, outputs["labels"][others]])
    if not len(labels):
        labels = labels.new_zeros(1)
        rows = {key: value.new_zeros(1, value.shape[1]) for key, value in rows.items()}
    rows["bbox_pred"] = rows["bbox_pred"].nan_to_num(0.0, 0.0, 0.0)
    return {**rows, "bbox_targets": (labels, *targets)}


@MODELS.register_module()
class MiningStandardRoIHead(MineAtOnce, StandardRoIHead):
    """``StandardRoIHead`` (Faster and Mask R-CNN) that mines once for all images."""


@MODELS.register_module()
class MiningDoubleHeadRoIHead(MineAtOnce, DoubleHeadRoIHead):
    """``DoubleHeadRoIHead`` that mines once for all images."""


@MODELS.register_module()
class MiningDynamicRoIHead(MineAtOnce, DynamicRoIHead):
    """``DynamicRoIHead`` that mines once for all images."""


@MODELS.register_module()
class MiningPointRendRoIHead(MineAtOnce, PointRendRoIHead):
    """``PointRendRoIHead`` that mines once for all images."""


@MODELS.register_module()
class MiningCascadeRoIHead(MineAtOnce, CascadeRoIHead):
    """``CascadeRoIHead`` that mines once for all images, and refines all RoIs."""


@MODELS.register_module()
class MiningHybridTaskCascadeRoIHead(MineAtOnce, HybridTaskCascadeRoIHead):
    """``HybridTaskCascadeRoIHead`` that mines once for all images, and refines all RoIs."""


@MODELS.register_module()
class MiningSCNetRoIHead(MineAtOnce, SCNetRoIHead):
    """``SCNetRoIHead`` that mines once for all images, and refines all RoIs."""
