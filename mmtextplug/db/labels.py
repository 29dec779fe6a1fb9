"""DB's targets drawn in the data workers, for those who want to see them or to spare the device."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from mmtextplug.db.shapes import checked_settings
from mmtextplug.db.targets import db_targets
from mmtextplug.frames import outside_frames


@TRANSFORMS.register_module()
class DifferentiableBinarizationLabels(BaseTransform):
    """Draws a sample's targets by the same function as `DifferentiableBinarizationLoss`.

    Put it before ``PackCharInputs``, which packs what it draws as ``gt_db_targets``; the loss then
    uses these maps as they are. The loss counts what it cannot train on; here nothing is counted.

    Required keys: ``img``, ``gt_polygons``, ``gt_ignored``; used if present: ``valid_polygon``.
    Added key: ``gt_db_targets``, a dict of arrays ``(1, H, W)``: ``kernel`` and ``threshold``
    float32, ``mask`` and ``threshold_mask`` bool; and of the ``settings`` that made them, which
    the loss compares with its own.

    Args:
        stride (int): Input pixels for each pixel of the network's maps.
        shrink_ratio, thr_min, thr_max (float): See `mmtextplug.db.targets.db_targets`.
        min_side (float): As in `DifferentiableBinarizationLoss`, in input pixels.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        stride: int = 1,
        shrink_ratio: float = 0.4,
        thr_min: float = 0.3,
        thr_max: float = 0.7,
        min_side: float = 8.0,
    ) -> None:
        if not stride >= 1:
            raise ValueError(f"DifferentiableBinarizationLabels: stride={stride} must be 1 or more")
        self.stride = stride
        self.settings = checked_settings(shrink_ratio, thr_min, thr_max, min_side)

    def transform(self, results: dict) -> dict:
        size = tuple(-(-side // self.stride) for side in results["img"].shape[:2])
        polygons = [np.asarray(p, np.float64) / self.stride for p in results["gt_polygons"]]
        settings = {**self.settings, "min_side": self.settings["min_side"] / self.stride}
        targets = db_targets(polygons, results["gt_ignored"], size, **settings)
        frame = results.get("valid_polygon")
        frame = None if frame is None else np.asarray(frame) / self.stride
        within = ~outside_frames([frame], size)
        for mask in (targets.mask, targets.threshold_mask):
            mask &= within
        maps = {name: plane.numpy() for name, plane in targets._asdict().items()}
        results["gt_db_targets"] = {**maps, "settings": self.settings}
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(stride={self.stride}, {self.settings})"
