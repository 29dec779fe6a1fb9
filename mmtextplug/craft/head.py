"""CRAFT's head: region and affinity scores from the decoder's map, and refined links."""

from __future__ import annotations

import torch
from mmengine.registry import MODELS
from mmocr.models.textdet.heads.base import BaseTextDetHead
from mmocr.structures import TextDetDataSample
from torch import Tensor, nn


@MODELS.register_module()
class CRAFTHead(BaseTextDetHead):
    """Five convolutions to two score maps, without activation at the end (CRAFT paper, 3.1).

    With a link refiner there is a third map, by which lines of text are found instead of words.

    Args:
        module_loss (dict): The loss, such as ``dict(type='CRAFTModuleLoss')``.
        postprocessor (dict): Such as ``dict(type='CRAFTPostprocessor')``.
        in_channels (int): Channels of the decoder's map.
        link_refiner (dict, optional): Such as ``dict(type='LinkRefiner')``. To train it, take
            ``dict(type='LinkRefinerModuleLoss')`` for the loss.
        init_cfg (dict | list[dict], optional): Default: Xavier-uniform convolutions.
    """

    def __init__(
        self,
        module_loss: dict,
        postprocessor: dict,
        in_channels: int = 32,
        link_refiner: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            module_loss=module_loss,
            postprocessor=postprocessor,
            init_cfg=init_cfg or dict(type="Xavier", layer="Conv2d", distribution="uniform"),
        )
        half = in_channels // 2
        self.conv_cls = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, in_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, half, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, 2, 1),
        )
        self.link_refiner = None if link_refiner is None else MODELS.build(link_refiner)

    def forward(self, x: Tensor, data_samples: list[TextDetDataSample] | None = None) -> Tensor:
        """Score maps.

        Args:
            x (Tensor): ``(N, in_channels, H, W)``.
            data_samples (list[TextDetDataSample], optional): Not used.

        Returns:
            Tensor: ``(N, 2, H, W)``: region and affinity scores, meant to lie in [0, 1] but not
            forced to; ``(N, 3, H, W)`` with a link refiner, whose score is the third.
        """
        scores = self.conv_cls(x)
        if self.link_refiner is None:
            return scores
        return torch.cat([scores, self.link_refiner(scores, x)], dim=1)
