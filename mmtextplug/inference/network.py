"""A detector's network made ready to be used: folded, channels last, in the fastest precision."""

from __future__ import annotations

import copy
import functools
import logging
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank, get_world_size
from mmengine.logging import print_log
from torch import Tensor, nn

from mmtextplug.inference import memory, tiles
from mmtextplug.inference.folding import fold_batch_norms

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""What a network can compute in; 'auto' measures which of them is the fastest on the device."""

_EXACT = "float32"
_TURNS = 3
_WORTH = 1.25  # so much faster must a lower precision be to be taken
_CLOSE = 0.15  # and so close to float32 at most, as a share of the scores' own range
_PROBE = {"cpu": (256, 256), "cuda": (736, 1280)}


class TorchNetwork:
    """The score maps of an MMOCR segmentation detector, as a function of a batch of images.

    Batch normalisation is folded into convolutions and memory is laid out channels last, both in
    the model itself; lower precision is left to autocast, so that parameters stay as they are.

    Args:
        model (nn.Module): With ``extract_feat`` and a ``det_head`` that gives maps.
        precision (str): One of `PRECISIONS`.
        compile (bool): Whether to compile the network by ``torch.compile``: half a minute
            or more at the first image, for any sizes after that.

    Attributes:
        precision (str): What it computes in.
        bytes_per_pixel (float): See `memory.bytes_per_pixel`.

    Raises:
        ValueError: If the precision is unknown, or this PyTorch or device cannot do it.
    """

    def __init__(self, model: nn.Module, precision: str = "auto", compile: bool = False) -> None:
        _check_precision(precision)
        self.model = model.eval()
        self.device = next((p.device for p in model.parameters()), torch.device("cpu"))
        fold_batch_norms(model, self._forward)
        model.to(memory_format=torch.channels_last)
        self._maps: Callable[[Tensor], Tensor] = self._forward
        self.precision = precision
        if precision == "auto":
            self.precision = fastest_precision(self._in, self.device)
        elif not _computes_in(precision, self.device):
            raise ValueError(
                f"precision {precision}: this PyTorch does not compute in it on "
                f"{self.device.type}; leave it out"
            )
        # Before compiling, which what follows tensors would end for good.
        self.bytes_per_pixel = memory.bytes_per_pixel(self, self.device)
        if compile:
            if not hasattr(torch, "compile"):
                raise ValueError("compile: needs PyTorch 2; leave it out")
            self._maps = torch.compile(self._forward, dynamic=True)

    @functools.cached_property
    def reach(self) -> int | None:
        """See `tiles.reach`."""
        return tiles.reach(self._forward, self.device)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Score maps of a batch.

        Args:
            inputs (Tensor): ``(N, 3, H, W)`` float32, normalised.

        Returns:
            Tensor: ``(N, C, h, w)`` or ``(N, h, w)`` float32, on the device.
        """
        return self._in(self.precision, inputs)

    def _in(self, precision: str, inputs: Tensor) -> Tensor:
        with torch.inference_mode(), autocast(self.device, precision):
            return self._maps(inputs.contiguous(memory_format=torch.channels_last)).float()

    def _forward(self, inputs: Tensor) -> Tensor:
        return self.model.det_head(self.model.extract_feat(inputs), None)


def check_finite(maps: Tensor) -> None:
    """Raise a ValueError for scores that are no numbers, of which there would be no words."""
    if not torch.isfinite(maps).all():
        raise ValueError(
            "score maps are not finite: the checkpoint is broken, or the precision too low for it; "
            "try --precision float32 (precision)"
        )


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network computes in this precision on a device."""
    enabled = precision != "float32"
    # PyTorch wants a type that the device's autocast knows even where it is off.
    dtype = getattr(torch, precision) if enabled else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")


def _computes_in(precision: str, device: torch.device) -> bool:
    """Whether autocast does; what it does not know it warns of, and leaves as it is."""
    if precision == _EXACT:
        return True
    one = torch.ones(1, 1, device=device)
    try:
        with autocast(device, precision):
            return (one @ one).dtype == getattr(torch, precision)
    except (RuntimeError, TypeError):
        return False


def fastest_precision(maps: Callable[[str, Tensor], Tensor], device: torch.device) -> str:
    """Measure in which precision a network is the fastest on a device, at scores that agree.

    Args:
        maps (Callable): From a precision and an input ``(1, 3, H, W)`` to score maps.
        device (torch.device): Where it runs.

    Returns:
        str: A lower precision only if it is at least 1.25 times as fast as float32, and none of its
        scores is farther from float32's than 15 % of the range of those.
    """
    shape = _PROBE.get(device.type, _PROBE["cpu"])
    inputs = _lettering(*shape).to(device)
    exact = maps(_EXACT, inputs)
    rivals = [name for name in ("bfloat16", "float16") if _agrees(maps, name, inputs, exact)]
    seconds: dict[str, list[float]] = {name: [] for name in (_EXACT, *rivals)}
    # In turns, so that what else the machine does meets all of them alike.
    for _ in range(_TURNS):
        for name in (_EXACT, *rivals):
            start = time.perf_counter()
            maps(name, inputs)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name].append(time.perf_counter() - start)
        # What is emulated takes long.
        rivals = [name for name in rivals if min(seconds[name]) < min(seconds[_EXACT])]
    fastest = min(rivals, key=lambda name: min(seconds[name]), default=_EXACT)
    worth = min(seconds[fastest]) * _WORTH < min(seconds[_EXACT])
    return fastest if worth else _EXACT


def _lettering(height: int, width: int) -> Tensor:
    """A page, ``(1, 3, height, width)``, of bright words on a dark ground, in normalised colours:
    on what shows no text most scores are nought in any precision."""
    page = np.zeros((height, width), np.uint8)
    for top in range(40, height, 48):
        cv2.putText(page, "Text of 24 letters" * 4, (8, top), cv2.FONT_HERSHEY_SIMPLEX, 1, 255, 2)
    return torch.from_numpy(page / 64 - 2).float().expand(1, 3, -1, -1).contiguous()


def _agrees(
    maps: Callable[[str, Tensor], Tensor], precision: str, inputs: Tensor, exact: Tensor
) -> bool:
    """Whether a precision works, with scores near the exact ones; a NaN is near to nothing."""
    try:
        return bool(
            (maps(precision, inputs) - exact).abs().max() < _CLOSE * (exact.max() - exact.min())
        )
    except (RuntimeError, TypeError):  # a device or an operator that does not know it
        return False


def gives_maps(model: nn.Module) -> bool:
    """Whether a detector's head gives maps as one tensor, and its post-processor takes them.

    True of CRAFT, DBNet, PSENet, PANet; false of what regresses boxes or contours, and of
    MMDetection's models in MMOCR.
    """
    head = getattr(model, "det_head", None)
    if not hasattr(model, "extract_feat") or not callable(getattr(head, "postprocessor", None)):
        return False
    parameter = next(model.parameters(), torch.zeros(()))
    try:
        with torch.inference_mode():
            found = head(model.extract_feat(torch.zeros(1, 3, 64, 64).to(parameter)), None)
    except (RuntimeError, TypeError, AttributeError, ValueError, IndexError) as error:
        # Heads that look for boxes want more than an image; or something is broken.
        print_log(f"no score maps: {type(error).__name__}: {error}", "current", logging.DEBUG)
        return False
    return isinstance(found, Tensor) and found.ndim in (3, 4)


def accelerate(model: nn.Module, precision: str = "auto", compile: bool = False) -> nn.Module:
    """Have an MMOCR detector predict through a fast copy of its network.

    What `TextDetector` does, for a model that somebody else runs: ``Runner.test``, or MMOCR's
    inferencers. The copy is made at the first prediction, from the weights of then (a hook may put
    averaged ones in place), and goes when the model is put into training mode; the model's own
    parameters stay as they are.

    Args:
        model (nn.Module): Put into evaluation mode. One without score maps is left as it is.
        precision (str), compile (bool): See `TorchNetwork`.

    Returns:
        nn.Module: The same model.

    Raises:
        ValueError: If there is no such precision, or a model without score maps is to be compiled
            or to run in a lower one.
    """
    _check_precision(precision)
    model.eval()
    if not gives_maps(model):
        refuse_settings_of_maps(precision, compile)
        return model
    networks: list[TorchNetwork] = []
    slow_predict, slow_train = model.predict, model.train

    def predict(inputs: Tensor, data_samples: list) -> list:
        if not networks:
            twin = copy.deepcopy(model)
            del twin.predict, twin.train
            # Maps are found by the one and read by the other: they agree on how many there are.
            twin.det_head.postprocessor = model.det_head.postprocessor
            chosen = _agreed_precision(twin, precision)
            networks.append(TorchNetwork(twin, chosen, compile))
            print_log(f"the network computes in {networks[0].precision}", logger="current")
        maps = networks[0](inputs)
        check_finite(maps)
        return model.det_head.postprocessor(maps, data_samples)

    def train(mode: bool = True) -> nn.Module:
        if mode:
            networks.clear()
            model.predict, model.train = slow_predict, slow_train
        return slow_train(mode)

    model.predict, model.train = predict, train
    return model


def _agreed_precision(model: nn.Module, precision: str) -> str:
    """One precision for all processes of a test: what 'auto' comes to in the first of them."""
    if precision != "auto" or get_world_size() == 1:
        return precision
    # The others wait: measured side by side, processes slow each other down.
    chosen = [TorchNetwork(copy.deepcopy(model)).precision if get_rank() == 0 else precision]
    broadcast_object_list(chosen)
    return chosen[0]


def refuse_settings_of_maps(precision: str, compile: bool, max_memory: int | None = None) -> None:
    """Raise a ValueError for what only detectors with score maps can do."""
    if compile or precision not in ("auto", "float32") or max_memory is not None:
        name = "compile" if compile else f"precision {precision}"
        name = name if max_memory is None else f"max_memory {max_memory}"
        raise ValueError(f"{name}: this detector has no score maps to compute so; leave it out")
