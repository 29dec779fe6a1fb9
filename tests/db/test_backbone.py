"""ResNet-18 with deformable convolutions against the one without."""

from __future__ import annotations

import pytest
import torch
from mmdet.models.backbones.resnet import ResNet
from mmengine.registry import MODELS, DefaultScope

from mmtextplug.db.backbone import DeformableResNet

DCN = {"dcn": {"type": "DCNv2", "deform_groups": 1}, "stage_with_dcn": (False, True, True, True)}


def make(kind=DeformableResNet, depth: int = 18, **kwargs) -> ResNet:
    torch.manual_seed(0)
    net = kind(depth, base_channels=8, norm_eval=False, **kwargs)
    net.eval()
    return net


def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("depth", "blocks"), [(18, [0, 2, 2, 2]), (34, [0, 4, 6, 3])])
def test_second_convolutions_of_the_named_stages_are_deformable(depth, blocks):
    net = make(depth=depth, **DCN)
    found = [0, 0, 0, 0]
    for name, _ in net.named_modules():
        if name.endswith("conv2.conv_offset"):
            found[int(name[5]) - 1] += 1
    assert found == blocks


def test_without_dcn_it_is_mmdetections():
    ours, theirs = make(), make(ResNet)
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        for mine, expected in zip(ours(image()), theirs(image()), strict=True):
            assert torch.equal(mine, expected)


def test_untrained_offsets_sample_where_a_plain_convolution_does():
    """DCNv2 begins with offsets 0 and a modulation of 1/2, so that weights twice as large make it
    the plain convolution."""
    net, plain = make(**DCN), make(ResNet)
    plain.load_state_dict(net.state_dict(), strict=False)
    with torch.no_grad():
        for name, module in net.named_modules():
            if name.endswith("conv2") and hasattr(module, "conv_offset"):
                module.weight.mul_(2)
        for mine, expected in zip(net(image()), plain(image()), strict=True):
            torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def test_offsets_learn():
    net = make(**DCN)
    net.train()
    torch.nn.init.normal_(net.layer2[0].conv2.conv_offset.weight, std=0.1)
    sum(level.square().mean() for level in net(image())).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert net.layer2[0].conv2.conv_offset.weight.grad.abs().max() > 0


def test_deeper_ones_are_mmdetections_own():
    with DefaultScope.overwrite_default_scope("mmocr"):
        net = MODELS.build({"type": "DeformableResNet", "depth": 50, "base_channels": 8, **DCN})
    assert sum(name.endswith("conv2.conv_offset") for name, _ in net.named_modules()) == 13
