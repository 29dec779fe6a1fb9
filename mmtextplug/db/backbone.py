"""ResNet-18 and -34 with deformable convolutions, which MMDetection's basic block refuses."""

from __future__ import annotations

from mmcv.cnn import build_conv_layer
from mmdet.models.backbones.resnet import BasicBlock, ResNet
from mmengine.registry import MODELS


class DeformableBasicBlock(BasicBlock):
    """A basic block; where ``dcn`` is given, its second convolution is deformable.

    The second, because the first may have a stride (the authors' released ``deformable_resnet18``).

    Args:
        *args, **kwargs: See ``mmdet.models.backbones.resnet.BasicBlock``.
        dcn (dict, optional): The convolution, such as ``dict(type='DCNv2', deform_groups=1)``.
    """

    def __init__(self, *args, dcn: dict | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if dcn is not None:
            planes = self.conv2.out_channels
            self.conv2 = build_conv_layer(dcn, planes, planes, 3, padding=1, bias=False)


@MODELS.register_module()
class DeformableResNet(ResNet):
    """MMDetection's ``ResNet`` whose ``dcn`` and ``stage_with_dcn`` work at depth 18 and 34 too.

    Parameters have the names of ``ResNet``, so that torchvision's weights load; offsets begin at
    zero. The arguments are those of ``mmdet.ResNet``.
    """

    arch_settings = {  # noqa: RUF012 - ResNet's own idiom
        **ResNet.arch_settings,
        18: (DeformableBasicBlock, (2, 2, 2, 2)),
        34: (DeformableBasicBlock, (3, 4, 6, 3)),
    }
