"""The runner of the command line tools: MMEngine's, with checkpoints that run no code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmtextplug.checkpoint import fill, load_fitting_weights, load_weights, state_dict_of
from mmtextplug.cpu_amp import ChannelsLastHook, CPUAmpOptimWrapper, precision_on_cpu
from mmtextplug.safe_load import safe_load


class SafeRunner(Runner):
    """MMEngine's runner, but no checkpoint runs code, and ``load_from`` never loads nothing.

    Without a GPU mixed precision is bfloat16 or none, as `precision_on_cpu` says.

    Attributes:
        strict_load (bool): Whether ``load_from`` must hold exactly the parameters of the model.
        fast_test (dict, optional): Arguments of `accelerate`, which ``load_from``'s model then
            goes through.
    """

    strict_load = False
    fast_test: dict | None = None

    def build_optim_wrapper(self, optim_wrapper: dict | OptimWrapper) -> OptimWrapper:
        """See ``Runner``."""
        if isinstance(optim_wrapper, dict) and not torch.cuda.is_available():
            optim_wrapper = precision_on_cpu(optim_wrapper)
            if optim_wrapper.get("type") is CPUAmpOptimWrapper:
                self.register_hook(ChannelsLastHook())
        return super().build_optim_wrapper(optim_wrapper)

    def load_or_resume(self) -> None:
        """Load ``load_from`` safely, or resume.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, unsafe, or does not fit the model.
        """
        if self._has_loaded or self._resume or self._load_from is None:
            super().load_or_resume()
            return
        model = self.model.module if is_model_wrapper(self.model) else self.model
        load = load_weights if self.strict_load else load_fitting_weights
        with _local(self._load_from) as path:
            load(model, path)
        print_log(f"loaded {self._load_from}", logger="current")
        # Hooks that keep weights of their own, such as averages, follow.
        self.call_hook("after_load_checkpoint", checkpoint={"state_dict": model.state_dict()})
        self._has_loaded = True
        if self.fast_test is not None:
            from mmtextplug.inference.network import accelerate  # no part of a training

            accelerate(model, **self.fast_test)

    def load_checkpoint(self, filename: str, *args: object, **kwargs: object) -> dict:
        """Read the checkpoint to resume from: all of it, but nothing in it is run.

        Args:
            filename (str): What MMEngine's checkpoint hook saved.
            args, kwargs: Ignored: parameters and optimizer states move to their devices, whichever
                they were saved on, and must fit.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, unsafe, does not fit the model, or is no training's state.
        """
        with _local(filename) as path:
            checkpoint = safe_load(path)
        parts = ("meta", "message_hub", "state_dict")
        if not isinstance(checkpoint, dict) or not all(
            isinstance(checkpoint.get(part), dict) for part in parts
        ):
            raise ValueError(
                f"{filename}: parameters alone, without the state of a training to resume. Set "
                "load_from to start a new training from them."
            )
        # MMEngine would run this text as a config, to compare the number of GPUs of old versions.
        checkpoint["meta"].pop("config", None)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        fill(model, state_dict_of(checkpoint, filename), filename)
        self._has_loaded = True
        return checkpoint


@contextlib.contextmanager
def _local(path: str) -> Iterator[str]:
    if "://" not in str(path):
        yield path
        return
    from mmengine.fileio import get_local_path

    with get_local_path(path) as local:
        yield local
