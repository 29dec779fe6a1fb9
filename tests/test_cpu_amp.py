"""Training in bfloat16 on CPUs: where it is possible, and that it is what the optimizer gets."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from torch import nn

import mmtextplug  # noqa: F401
from mmtextplug import cpu_amp
from mmtextplug.craft.pseudo_labels import _amp_type

X86 = "processor : 0\nmodel name : some bf16 thing\nflags : fpu sse avx512f {}\nbugs : bf16\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (X86.format("avx512_bf16_not"), False),
        (X86.format(""), False),
        ("processor : 0\nFeatures : fp asimd bf16\n", True),
        ("", False),
        (None, False),
    ],
)
def test_what_the_description_of_a_cpu_says(tmp_path, text, expected):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert cpu_amp.cpu_has_bfloat16(path) is expected


def test_forward_passes_in_bfloat16_and_updates_in_float32():
    torch.manual_seed(0)
    net = nn.Linear(4, 4)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type="CPUAmpOptimWrapper",
            optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
            accumulative_counts=2,
        )
    )
    before = net.weight.detach().clone()
    seen = []
    for _ in range(2):
        with wrapper.optim_context(net):
            out = net(torch.ones(1, 4))
        seen.append(out.dtype)
        wrapper.update_params(out.float().sum())
    assert seen == [torch.bfloat16] * 2
    assert net.weight.dtype == torch.float32
    # Two halves of the gradient, which is 1 everywhere.
    torch.testing.assert_close(net.weight, before - 1)
    assert net(torch.ones(1, 4)).dtype == torch.float32


def test_a_teacher_labels_in_what_the_network_trains_in():
    class WithWrapper:
        optim_wrapper = OPTIM_WRAPPERS.build(
            dict(
                type="CPUAmpOptimWrapper",
                optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0),
            )
        )

    assert _amp_type(WithWrapper) is torch.bfloat16


def test_channels_last_before_training_and_no_difference_in_what_is_saved():
    class WithModel:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))

    net = WithModel.model
    before = {name: value.clone() for name, value in net.state_dict().items()}
    hook = HOOKS.build(dict(type="ChannelsLastHook"))
    hook.before_run(WithModel)
    assert net[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert net(torch.randn(1, 3, 8, 8)).is_contiguous(memory_format=torch.channels_last)
    net.load_state_dict(before)
    assert net[2].weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
