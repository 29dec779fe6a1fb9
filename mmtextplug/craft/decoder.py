"""CRAFT's decoder: a U-net of double convolutions over any pyramid of features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import interpolate


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    middle = 2 * out_channels
    return nn.Sequential(
        nn.Conv2d(in_channels, middle, 1),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, out_channels, 3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


@MODELS.register_module()
class CRAFTDecoder(BaseModule):
    """Merge a pyramid from its deepest level up to one map (CRAFT paper, section 3.1, figure 2).

    Each step brings the map so far to the size of the next finer level, concatenates that level
    and applies a 1x1 and a 3x3 convolution, each with batch normalisation and ReLU.

    Args:
        in_channels (Sequence[int]): Channels of the levels, finest first.
        out_channels (Sequence[int]): Channels after each step, the deepest first. Steps beyond the
            number of levels double the size instead of joining a level: a backbone whose finest
            level has stride 4 gets to the usual stride 2 with one step more.
        init_cfg (dict | list[dict], optional): Default: Xavier-uniform convolutions.

    Raises:
        ValueError: If there are fewer steps than levels to join.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (128, 256, 512, 512, 1024),
        out_channels: Sequence[int] = (256, 128, 64, 32),
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type="Xavier", layer="Conv2d", distribution="uniform"))
        *skips, deepest = in_channels
        if len(out_channels) < len(skips):
            raise ValueError(
                f"CRAFTDecoder: {len(in_channels)} levels need at least {len(skips)} steps, but "
                f"out_channels={tuple(out_channels)} names {len(out_channels)}"
            )
        skips = skips[::-1] + [0] * (len(out_channels) - len(skips))
        inputs = [deepest, *out_channels[:-1]]
        self.blocks = nn.ModuleList(
            _double_conv(below + skip, width)
            for below, skip, width in zip(inputs, skips, out_channels)
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Merge the levels.

        Args:
            levels (Sequence[Tensor]): ``(N, C_i, H_i, W_i)``, finest first.

        Returns:
            Tensor: ``(N, out_channels[-1], H, W)``, at the finest level's size, or twice that for
            each step more.
        """
        *skips, x = levels
        for block in self.blocks:
            if skips:
                skip = skips.pop()
                if x.shape[2:] != skip.shape[2:]:
                    x = interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False)
                x = torch.cat([x, skip], dim=1)
            else:
                x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(x)
        return x
