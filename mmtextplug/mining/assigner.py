"""An assigner that honours regions to be ignored in images without ground truth too."""

from __future__ import annotations

from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData


@TASK_UTILS.register_module()
class RegionAwareMaxIoUAssigner(MaxIoUAssigner):
    """MMDetection's ``MaxIoUAssigner`` whose ``ignore_iof_thr`` counts in every image.

    The original forgets regions to be ignored where an image has no ground truth beside them: all
    boxes become background there, those on the regions too. In crops of photos in which most text
    is not annotated that is common, and to hard example mining they are the hardest background.

    Args:
        ignore_iof_thr (float): A box of which a larger share lies in a region is ignored. Set it
            too where only the type of an assigner is changed: configs of MMDetection have -1.
        **kwargs: Of ``MaxIoUAssigner``, by their names.

    Raises:
        ValueError: If ``ignore_iof_thr`` is not in (0, 1), or ``ignore_wrt_candidates`` is False.
    """

    def __init__(self, *, ignore_iof_thr: float = 0.5, **kwargs) -> None:
        super().__init__(ignore_iof_thr=ignore_iof_thr, **kwargs)
        name = type(self).__name__
        if not 0 < ignore_iof_thr < 1:
            raise ValueError(f"{name}: ignore_iof_thr={ignore_iof_thr} must be in (0, 1)")
        if not self.ignore_wrt_candidates:
            raise ValueError(f"{name}: only shares of boxes count: leave out ignore_wrt_candidates")

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs,
    ) -> AssignResult:
        """See ``MaxIoUAssigner``; ``gt_inds`` is -1 for what is ignored."""
        result = super().assign(pred_instances, gt_instances, gt_instances_ignore, **kwargs)
        priors = pred_instances.priors
        if gt_instances_ignore is None or len(gt_instances.bboxes) or not len(priors):
            return result
        regions = gt_instances_ignore.bboxes
        if len(regions):
            share = self.iou_calculator(priors, regions, mode="iof").max(dim=1)[0]
            result.gt_inds[share > self.ignore_iof_thr] = -1
        return result
