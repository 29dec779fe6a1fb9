"""Mixed precision on CPUs: bfloat16, where they compute in it, else none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

# As Linux names what computes in bfloat16: tiles or vectors of x86, and those of ARM.
_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}


def _torch_has_bfloat16() -> bool:
    """Whether PyTorch has the operators to train in bfloat16 on CPUs.

    ReLU6's backward pass, which 1.13 lacks, stands for them.
    """
    with torch.inference_mode(False), torch.enable_grad():
        inputs = torch.ones(1, dtype=torch.bfloat16, requires_grad=True)
        try:
            nn.functional.relu6(inputs).backward()
        except RuntimeError:
            return False
    return True


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU computes in bfloat16 and this PyTorch trains in it.

    Other CPUs imitate it, many times slower.

    Args:
        cpuinfo (Path): Linux's description of the CPU; elsewhere the answer is no.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = {line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))}
    return any(_FLAGS & set(found.split()) for found in flags) and _torch_has_bfloat16()


class CPUAmpOptimWrapper(OptimWrapper):
    """Forward passes in bfloat16 on the CPU, which MMEngine's ``AmpOptimWrapper`` refuses.

    Parameters and their updates stay float32; bfloat16 has float32's range, so losses are not
    scaled.

    Args:
        **kwargs: See ``OptimWrapper``.
    """

    cast_dtype = torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run under autocast, and without gradient synchronisation where ``OptimWrapper`` does."""
        with super().optim_context(model), torch.autocast("cpu", dtype=self.cast_dtype):
            yield


class ChannelsLastHook(Hook):
    """Lays out the network's convolutions channels last, where bfloat16 is faster.

    Results are those of the usual layout but for rounding; checkpoints are the same.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        """After weights were drawn, in the order of memory, and before hooks copy the network."""
        runner.model.to(memory_format=torch.channels_last)


def precision_on_cpu(optim_wrapper: dict) -> dict:
    """A config's optimizer wrapper for a training without a GPU; any but AMP's as it is.

    Args:
        optim_wrapper (dict): ``type``, ``optimizer`` and so on; unchanged afterwards, so that
            the config that is kept beside checkpoints asks on a GPU for the same again.

    Returns:
        dict: Of `CPUAmpOptimWrapper` for ``AmpOptimWrapper`` of ``dtype='bfloat16'`` on a CPU that
        computes in it, else of ``OptimWrapper``, in float32.
    """
    kind = optim_wrapper.get("type")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    if name.rpartition(".")[2] != "AmpOptimWrapper":
        return optim_wrapper
    able = cpu_has_bfloat16()
    bfloat16 = able and optim_wrapper.get("dtype") == "bfloat16"
    message = "bfloat16" if bfloat16 else "float32: mixed precision needs a GPU"
    if able and not bfloat16:
        message += ", or this CPU and --cfg-options optim_wrapper.dtype=bfloat16"
    print_log(f"training in {message}", logger="current")
    gpu = ("type", "loss_scale", "dtype", "use_fsdp")
    kept = {key: value for key, value in optim_wrapper.items() if key not in gpu}
    return dict(kept, type=CPUAmpOptimWrapper if bfloat16 else "OptimWrapper")
