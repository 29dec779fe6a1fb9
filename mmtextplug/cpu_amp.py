"""Training in bfloat16 on CPUs that compute in it, and in the layout that convolutions like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from torch import nn

# As Linux names what computes in bfloat16: tiles or vectors of x86, and those of ARM.
_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU computes in bfloat16; without it PyTorch does so many times slower.

    Args:
        cpuinfo (Path): Linux's description of the CPU; elsewhere the answer is no.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = {line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))}
    return any(_FLAGS & set(found.split()) for found in flags)


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Forward passes in bfloat16 on the CPU, which MMEngine's ``AmpOptimWrapper`` refuses.

    `mmtextplug.launch.adapt_to_cpu` puts it in the place of an ``AmpOptimWrapper`` of
    ``dtype='bfloat16'``. Parameters and their updates stay float32; bfloat16 has float32's range,
    so losses are not scaled.

    Args:
        **kwargs: See ``OptimWrapper``.
    """

    cast_dtype = torch.bfloat16

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run under autocast, and without gradient synchronisation where ``OptimWrapper`` does."""
        with super().optim_context(model), torch.autocast("cpu", dtype=self.cast_dtype):
            yield


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays out the network's convolutions channels last: faster on CPUs and in half precision.

    Results are those of the usual layout but for rounding; checkpoints are the same.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        """Before the optimizer has seen a parameter's layout."""
        runner.model.to(memory_format=torch.channels_last)
        print_log("the network is laid out channels last", logger="current")
