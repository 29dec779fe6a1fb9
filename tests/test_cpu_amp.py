"""Training in bfloat16 on CPUs: where it is possible, and that it is what the optimizer gets."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import Runner
from torch import nn

import mmtextplug  # noqa: F401
from mmtextplug import cpu_amp
from mmtextplug.craft.pseudo_labels import _amp_type
from mmtextplug.safe_runner import SafeRunner

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
def test_what_the_description_of_a_cpu_says(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(cpu_amp, "_torch_has_bfloat16", lambda: True)
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    assert cpu_amp.cpu_has_bfloat16(path) is expected


@torch.no_grad()
def test_pytorch_2_has_the_operators(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(X86.format("amx_bf16"))
    assert cpu_amp.cpu_has_bfloat16(path) == (not torch.__version__.startswith("1."))


def test_pytorch_without_operators_trains_in_float32(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    path.write_text(X86.format("amx_bf16"))

    def relu6(inputs):
        raise RuntimeError("\"hardshrink_backward_cpu\" not implemented for 'BFloat16'")

    monkeypatch.setattr(nn.functional, "relu6", relu6)
    assert cpu_amp.cpu_has_bfloat16(path) is False


def test_forward_passes_in_bfloat16_and_updates_in_float32():
    torch.manual_seed(0)
    net = nn.Linear(4, 4)
    wrapper = cpu_amp.CPUAmpOptimWrapper(
        optimizer=torch.optim.SGD(net.parameters(), lr=1.0), accumulative_counts=2
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
        optim_wrapper = cpu_amp.CPUAmpOptimWrapper(
            optimizer=torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
        )

    assert _amp_type(WithWrapper) is torch.bfloat16


AMP = dict(type="AmpOptimWrapper", loss_scale="dynamic", accumulative_counts=2)
SAID = "training in float32: mixed precision needs a GPU"
FASTER = ", or this CPU and --cfg-options optim_wrapper.dtype=bfloat16"


@pytest.mark.parametrize("kind", ["AmpOptimWrapper", "mmengine.AmpOptimWrapper", AmpOptimWrapper])
@pytest.mark.parametrize(
    ("able", "dtype", "becomes", "message"),
    [
        (True, "bfloat16", cpu_amp.CPUAmpOptimWrapper, "training in bfloat16"),
        (True, "float16", "OptimWrapper", SAID + FASTER),
        (True, None, "OptimWrapper", SAID + FASTER),
        (False, "bfloat16", "OptimWrapper", SAID),
        (False, None, "OptimWrapper", SAID),
    ],
)
def test_mixed_precision_on_a_cpu(monkeypatch, kind, able, dtype, becomes, message):
    said = []
    monkeypatch.setattr(cpu_amp, "cpu_has_bfloat16", lambda: able)
    monkeypatch.setattr(cpu_amp, "print_log", lambda text, logger: said.append(text))
    asked = ConfigDict(AMP, type=kind, **(dict(dtype=dtype) if dtype else {}))
    before = asked.to_dict()
    assert cpu_amp.precision_on_cpu(asked) == dict(type=becomes, accumulative_counts=2)
    assert said == [message]
    # The config, which is kept, asks a GPU for the same again.
    assert asked.to_dict() == before


@pytest.mark.parametrize("kind", ["OptimWrapper", "MyAmpOptimWrapper", OptimWrapper, None])
def test_other_wrappers_stay(monkeypatch, kind):
    monkeypatch.setattr(cpu_amp, "cpu_has_bfloat16", lambda: True)
    asked = dict(AMP, type=kind, dtype="bfloat16")
    assert cpu_amp.precision_on_cpu(asked) == asked


@pytest.mark.parametrize("gpu", [True, False])
def test_with_a_gpu_the_runner_leaves_mixed_precision_alone(monkeypatch, gpu):
    built = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(cpu_amp, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(Runner, "build_optim_wrapper", lambda self, asked: built.append(asked))
    SafeRunner.__new__(SafeRunner).build_optim_wrapper(dict(AMP))
    assert built == [AMP if gpu else dict(type="OptimWrapper", accumulative_counts=2)]


class Recorder(BaseModel):
    """A convolution that keeps what it computed in."""

    def __init__(self) -> None:
        super().__init__(init_cfg=dict(type="Normal", layer="Conv2d", std=1.0))
        self.conv = nn.Conv2d(3, 4, 3)
        self.seen = []

    def forward(self, inputs, data_samples=None, mode="tensor"):
        out = self.conv(inputs)
        layout = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        self.seen.append((out.dtype, layout))
        return dict(loss=out.float().square().mean())


class CopyingHook(Hook):
    """Copies the network before training, as a teacher does."""

    def before_train(self, runner):
        self.copy = copy.deepcopy(runner.model.state_dict())


def train(work_dir, name, **changes):
    runner = SafeRunner(
        Recorder(),
        str(work_dir),
        train_dataloader=dict(
            batch_size=2,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=[dict(inputs=torch.full((3, 8, 8), float(index))) for index in range(4)],
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(AMP, optimizer=dict(type="SGD", lr=0.0), **changes),
        custom_hooks=[CopyingHook()],
        randomness=dict(seed=0),
        default_scope="mmengine",
        experiment_name=name,
    )
    runner.train()
    copied = next(hook.copy for hook in runner.hooks if isinstance(hook, CopyingHook))
    return runner, copied


def test_the_runner_trains_in_bfloat16_channels_last_from_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(cpu_amp, "cpu_has_bfloat16", lambda: True)
    plain, first = train(tmp_path, "plain")
    fast, second = train(tmp_path, "fast", dtype="bfloat16")
    assert plain.model.seen == [(torch.float32, False)] * 2
    assert fast.model.seen == [(torch.bfloat16, True)] * 2
    # Drawn in the same order whatever the layout, which hooks that copy the network get, too.
    assert torch.equal(first["conv.weight"], second["conv.weight"])
    assert second["conv.weight"].is_contiguous(memory_format=torch.channels_last)
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    assert torch.equal(saved["state_dict"]["conv.weight"], first["conv.weight"])
