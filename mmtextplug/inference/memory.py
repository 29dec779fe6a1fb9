"""How much memory a network needs for an image, and what fits under a cap."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

MIB = 1 << 20
SCRATCH = 1.25
"""Convolutions work in memory of their own, which no tensor shows: so much more is reckoned."""

_PROBE_SIDE = 256


class _LiveBytes(TorchDispatchMode):
    """Follows how many bytes the tensors take that operators make, from operator to operator."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.course: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor):
                # PyTorch 1 has storages with types only.
                storage = getattr(tensor, "untyped_storage", tensor.storage)()
                # A view's storage is that of what it was taken from: it counts once.
                self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.alive = {key: item for key, item in self.alive.items() if not item[0].expired()}
        self.course.append(sum(size for _, size in self.alive.values()))
        return made


def bytes_per_pixel(network: Callable[[Tensor], Tensor], device: torch.device) -> float:
    """Memory that a network takes for a pixel of its input: of inputs and features, not parameters.

    Args:
        network (Callable): From ``(1, 3, H, W)`` to anything.
        device (torch.device): Where it runs.

    Returns:
        float: The most bytes that are alive at a time, by the number of pixels.
    """
    courses = []
    for rows in (_PROBE_SIDE // 2, _PROBE_SIDE):
        inputs = torch.zeros(1, 3, rows, _PROBE_SIDE, device=device)
        with _LiveBytes() as live:
            network(inputs)
        courses.append(live.course)
    # The same operators, each at two sizes: what does not grow with the image, such as parameters
    # that autocast converts, goes out with the difference.
    grown = max(large - small for small, large in zip(*courses))
    own = inputs.element_size() * inputs.shape[1]
    return SCRATCH * (own + grown / (_PROBE_SIDE * _PROBE_SIDE / 2))


def pixels_within(max_memory: int, per_pixel: float) -> int:
    """How many pixels a network may get at once under a cap of ``max_memory`` MiB."""
    return int(max_memory * MIB / per_pixel)


def tile_within(max_memory: int, per_pixel: float, halo: int, step: int) -> int:
    """The side of the largest square tile under a cap.

    Args:
        max_memory (int): In MiB.
        per_pixel (float): From `bytes_per_pixel`.
        halo (int), step (int): See `tiles.spans`.

    Returns:
        int: In pixels, a multiple of ``step``.

    Raises:
        ValueError: If less than a third of the side of such a tile would be more than overlap.
    """
    side = int(pixels_within(max_memory, per_pixel) ** 0.5) // step * step
    least = 2 * halo + max(halo, step)
    if side < least:
        needed = -(-least * least * per_pixel // MIB)
        raise ValueError(
            f"max_memory {max_memory} MiB: this network needs at least {needed:.0f} MiB for tiles "
            f"that overlap by {halo} px on each side; raise it"
        )
    return side
