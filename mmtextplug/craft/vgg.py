"""The backbone of the official CRAFT: VGG16 with batch normalisation, and two convolutions."""

from __future__ import annotations

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

# Output channels of VGG16's convolutions up to conv5_2; 'M' is a 2x2 max-pooling.
_LAYERS = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512)
# What each level ends on, as an index into torchvision's `vgg16_bn.features`: the ReLU after
# conv2_2, conv3_2 and conv4_2, but the batch normalisation after conv5_2. The official code names
# the batch normalisations throughout, and the in-place ReLU that opens the next slice overwrites
# the first three of them; only the last one is followed by a pooling and stays as it is.
_LEVEL_ENDS = (12, 19, 29, 38)


@MODELS.register_module()
class CRAFTVGG16BN(BaseModule):
    """VGG16-BN up to conv5_2, then a 3x3 convolution dilated by 6 and a 1x1 convolution.

    Layers keep their torchvision indices (``features.N``), so that ImageNet weights of
    ``vgg16_bn`` load as they are: ``init_cfg=dict(type='Pretrained', checkpoint=...)``.

    CRAFT paper, section 3.1; the layers as in the published weights.

    Args:
        init_cfg (dict | list[dict], optional): Default: Xavier-uniform convolutions.
    """

    out_channels = (128, 256, 512, 512, 1024)

    def __init__(self, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg or dict(type="Xavier", layer="Conv2d", distribution="uniform"))
        layers: list[nn.Module] = []
        channels = 3
        for width in _LAYERS:
            if width == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
        self.features = nn.Sequential(*layers[: _LEVEL_ENDS[-1] + 1])
        self.slice5 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
            nn.Conv2d(1024, 1024, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Pyramid of an image batch.

        Args:
            x (Tensor): ``(N, 3, H, W)``, normalised RGB.

        Returns:
            tuple[Tensor, ...]: Five levels with 128, 256, 512, 512, 1024 channels at strides 2, 4,
            8, 16, 16.
        """
        levels = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _LEVEL_ENDS:
                levels.append(x)
        return (*levels, self.slice5(x))
