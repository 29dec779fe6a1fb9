"""The link refiner's loss: squared error of its score against centre lines."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from mmocr.models.textdet.module_losses.base import BaseTextDetModuleLoss
from mmocr.structures import TextDetDataSample
from torch import Tensor

from mmtextplug.craft.link_targets import LinkMaps, draw_link_maps
from mmtextplug.craft.loss import score_map_loss
from mmtextplug.craft.targets import WordLabels
from mmtextplug.frames import on_map


@MODELS.register_module()
class LinkRefinerModuleLoss(BaseTextDetModuleLoss):
    """Draws the centre lines of a batch and compares the refined link score with them.

    The instances of the data are lines of text: ``gt_instances.polygons``, of four points or more,
    as CTW1500 and MSRA-TD500 have them, packed by ``PackCharInputs``. Characters are not needed.
    Ignored lines, and lines whose points cannot be paired across the text, are masked; the latter
    are counted.

    Args:
        craft_loss (dict, optional): Such as ``dict(type='CRAFTModuleLoss')``, to train CRAFT with
            its refiner; words without characters then need a ``PseudoCharLabelHook``. Default:
            the link refiner alone learns, and ``CRAFT`` should be ``frozen``.
        negative_ratio, min_negatives (float, int): See `mmtextplug.craft.loss.score_map_loss`.
    """

    def __init__(
        self,
        craft_loss: dict | None = None,
        negative_ratio: float = 3.0,
        min_negatives: int = 1000,
    ) -> None:
        super().__init__()
        self.craft_loss = None if craft_loss is None else MODELS.build(craft_loss)
        self.mining = dict(negative_ratio=negative_ratio, min_negatives=min_negatives)
        self._warned = False

    def forward(
        self, prediction: Tensor, data_samples: Sequence[TextDetDataSample]
    ) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            prediction (Tensor): ``(B, 3, H, W)``: region, affinity and refined link scores.
            data_samples (Sequence[TextDetDataSample]): Unchanged afterwards.

        Returns:
            dict[str, Tensor]: ``loss_link``, and what ``craft_loss`` returns, to be summed;
            ``unpaired_lines`` of this batch, to be logged.

        Raises:
            ValueError: If there is no refined link score.
        """
        if prediction.shape[1] != 3:
            raise ValueError(
                "LinkRefinerModuleLoss: the head gives no refined link score: set "
                "det_head.link_refiner=dict(type='LinkRefiner')"
            )
        losses = {} if self.craft_loss is None else self.craft_loss(prediction[:, :2], data_samples)
        with torch.autocast(device_type=prediction.device.type, enabled=False):
            link = prediction[:, 2].float()
            maps = self.get_targets(data_samples, link.shape[1:], link.device)
            mined = score_map_loss(link, maps.link, maps.confidence, **self.mining)
        if maps.unpaired and not self._warned:
            self._warned = True
            image, line = maps.unpaired[0]
            print_log(
                f"{data_samples[image].get('img_path', 'a sample')}: the points of line {line} "
                "cannot be paired across the text: masked, as all such lines will be; the log "
                "counts them as unpaired_lines. Outlines run along the top and back below.",
                logger="current",
                level=logging.WARNING,
            )
        losses["loss_link"] = mined.loss
        losses["unpaired_lines"] = link.new_tensor(float(len(maps.unpaired)))
        return losses

    def get_targets(
        self,
        data_samples: Sequence[TextDetDataSample],
        size: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> LinkMaps:
        """Link and confidence maps ``(B, H, W)`` of a batch, at the size given."""
        lines = [line_labels(sample, size) for sample in data_samples]
        return draw_link_maps(lines, size, device=device)


def line_labels(sample: TextDetDataSample, size: tuple[int, int]) -> WordLabels:
    """What `draw_link_maps` needs of a sample, in pixels of a map of the size given."""
    _, polygons, valid = on_map(sample, size)
    ignored = sample.gt_instances.get("host_ignored")
    if ignored is None:  # packed by another transform: a GPU is waited for
        ignored = torch.as_tensor(sample.gt_instances.get("ignored", [False] * len(polygons)))
        ignored = ignored.bool().cpu().numpy()
    return WordLabels(polygons, [None] * len(polygons), (~ignored).astype(np.float32), valid)
