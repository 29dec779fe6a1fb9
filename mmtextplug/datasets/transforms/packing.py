"""The end of a pipeline: MMOCR's data sample, with characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from mmengine.structures import PixelData
from mmocr.datasets.transforms import PackTextDetInputs

from mmtextplug.craft.targets import char_confidence


@TRANSFORMS.register_module()
class PackCharInputs(PackTextDetInputs):
    """Packs what ``PackTextDetInputs`` packs, and the characters.

    ``gt_instances`` gets three fields more: ``chars``, a list of (n, 4, 2) float32 arrays or None;
    ``char_confidence``, (W,) float32, and ``host_ignored``, (W,) bool, arrays that stay on the host
    with the characters: the loss makes the maps of them on the device. Maps that
    ``GaussianCharLabels`` has drawn become ``gt_score_maps`` (``PixelData`` with ``data``
    (3, H, W)); those of ``DifferentiableBinarizationLabels`` become ``gt_db_targets``
    (``PixelData`` with four maps).

    Args:
        meta_keys (Sequence[str]): Meta information to keep. Keys that a sample has not are left
            out; ``valid_polygon`` is kept whenever ``RandomTextWarp`` wrote it.
    """

    def __init__(
        self, meta_keys: Sequence[str] = ("img_path", "ori_shape", "img_shape", "scale_factor")
    ) -> None:
        super().__init__(meta_keys=tuple(meta_keys))

    def transform(self, results: dict) -> dict:
        wanted = (*self.meta_keys, "valid_polygon")
        packer = PackTextDetInputs(meta_keys=[key for key in wanted if key in results])
        packed = packer.transform(results)
        sample = packed["data_samples"]
        if "gt_chars" in results:
            sample.gt_instances.chars = list(results["gt_chars"])
            sample.gt_instances.char_confidence = char_confidence(results)
        if "gt_ignored" in results:
            sample.gt_instances.host_ignored = np.asarray(results["gt_ignored"], dtype=bool)
        if "gt_score_maps" in results:
            sample.gt_score_maps = PixelData(data=torch.from_numpy(results["gt_score_maps"]))
        if "gt_db_targets" in results:
            maps = dict(results["gt_db_targets"])
            settings = dict(settings=maps.pop("settings"))
            maps = {name: torch.from_numpy(plane) for name, plane in maps.items()}
            sample.gt_db_targets = PixelData(metainfo=settings, **maps)
        return packed
