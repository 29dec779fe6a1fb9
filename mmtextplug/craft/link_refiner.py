"""The link refiner: from CRAFT's scores and features to links along whole lines of text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


def _branch(in_channels: int, channels: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, 1, 1),
    )


@MODELS.register_module()
class LinkRefiner(BaseModule):
    """Joins what belongs to one line of text, however far its words are apart.

    Three 3x3 convolutions on scores and features, then the sum of parallel branches of dilated
    convolutions (atrous spatial pyramid pooling), without activation at the end. Its score takes
    the place of the affinity score when characters are grouped. ``CRAFTHead`` has it as
    ``link_refiner``; with the default arguments it is the published one, of 457,924 parameters.

    Args:
        in_channels (int): Channels of the decoder's map.
        channels (int): Channels of the first three convolutions; the branches have twice as many.
        dilations (Sequence[int]): Of the branches. On maps of stride 2 the widest of the default
            ones reaches 48 pixels of the image to either side.
        init_cfg (dict | list[dict], optional): Default: Xavier-uniform convolutions.

    Raises:
        ValueError: If there is no branch.

    Source: Baek et al., Character Region Awareness for Text Detection, CVPR 2019, section 4.3
    (CTW-1500), and the authors' published network.
    """

    def __init__(
        self,
        in_channels: int = 32,
        channels: int = 64,
        dilations: Sequence[int] = (6, 12, 18, 24),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type="Xavier", layer="Conv2d", distribution="uniform"))
        if not dilations:
            raise ValueError("LinkRefiner: dilations must name one branch at least")
        layers: list[nn.Module] = []
        for width in (in_channels + 2, channels, channels):
            layers += [
                nn.Conv2d(width, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        self.last_conv = nn.Sequential(*layers)
        self.aspp = nn.ModuleList(_branch(channels, 2 * channels, d) for d in dilations)

    def forward(self, scores: Tensor, features: Tensor) -> Tensor:
        """Refined link scores.

        Args:
            scores (Tensor): ``(N, 2, H, W)``, region and affinity.
            features (Tensor): ``(N, in_channels, H, W)``, the decoder's map, which the scores were
                made from.

        Returns:
            Tensor: ``(N, 1, H, W)``, meant to lie in [0, 1] but not forced to.
        """
        x = self.last_conv(torch.cat([scores, features], dim=1))
        return sum(branch(x) for branch in self.aspp)
