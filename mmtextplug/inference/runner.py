"""Batches of prepared images through a network, and their score maps to words beside it."""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmtextplug.inference import memory, tiles
from mmtextplug.inference.batches import plan_batches
from mmtextplug.inference.network import (
    TorchNetwork,
    check_finite,
    gives_maps,
    refuse_settings_of_maps,
)

MAX_MEMORY = 4096
"""MiB for a network's images and features on a CPU, if not told."""

STEP = 32
"""Tiles are cut at multiples of this: the strides of all backbones divide it."""

MAX_WASTE = {"cuda": 0.1}
"""Which share of a batch may be padding, by device: batches make a GPU faster, a CPU not, where
images that are padded as they are alone share batches and no others."""


@dataclass(frozen=True)
class Limits:
    """What a network may compute in, and how much memory it may take.

    Attributes:
        precision, compile: See `TorchNetwork`.
        max_memory: In MiB, for images and features; None: `MAX_MEMORY`, or on a GPU half of what
            is free there.
    """

    precision: str = "auto"
    compile: bool = False
    max_memory: int | None = None


class BatchRunner:
    """A detector's way from prepared images to data samples with words.

    Networks that give score maps run in batches and tiles, while threads find the words of the
    batch before; other detectors run as MMOCR runs them.

    Args:
        model (nn.Module): An MMOCR text detector; changed in place at the first image.
        limits (Limits): Its limits.
        network (Callable, optional): Instead of the model's own network, from normalised images to
            score maps, with ``bytes_per_pixel`` and ``reach`` as `TorchNetwork` has them. The model
            then only prepares images and finds words.
    """

    def __init__(
        self,
        model: nn.Module,
        limits: Limits,
        network: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model = model
        self.limits = limits
        self._given = network
        self._pool: ThreadPoolExecutor | None = None

    @functools.cached_property
    def network(self) -> Callable[[Tensor], Tensor] | None:
        """From ``(N, 3, H, W)`` to score maps; None for a detector that has none."""
        if self._given is not None:
            return self._given
        limits = self.limits
        if gives_maps(self.model):
            return TorchNetwork(self.model, limits.precision, limits.compile)
        refuse_settings_of_maps(limits.precision, limits.compile, limits.max_memory)
        return None

    @functools.cached_property
    def device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    @functools.cached_property
    def max_memory(self) -> int:
        """MiB that the network may take for images and features."""
        if self.limits.max_memory is not None:
            return self.limits.max_memory
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0] // 2 // memory.MIB
        return MAX_MEMORY

    @functools.cached_property
    def divisor(self) -> int:
        """Images are padded to multiples of it."""
        return getattr(self.model.data_preprocessor, "pad_size_divisor", 1)

    @functools.cached_property
    def step(self) -> int:
        """Tiles begin and end at multiples of it."""
        return math.lcm(STEP, self.divisor)

    @functools.cached_property
    def halo(self) -> int:
        """How far tiles overlap, in whole steps: as far as a score depends on what is around it."""
        if any("DeformConv" in type(module).__name__ for module in self.model.modules()):
            self._warn("has deformable convolutions, which look as far as they learnt to")
            reach = None
        elif (reach := self.network.reach) is None:
            self._warn("averages over the whole image (as DBNet++ does)")
        return -(-(tiles.HALO if reach is None else reach) // self.step) * self.step

    @functools.cached_property
    def tile(self) -> int:
        """Side of the tiles of images that are too large for the memory.

        Raises:
            ValueError: If no tile fits into it.
        """
        return memory.tile_within(
            self.max_memory, self.network.bytes_per_pixel, self.halo, self.step
        )

    @functools.cached_property
    def max_pixels(self) -> int:
        """How many pixels the network may get at once."""
        return memory.pixels_within(self.max_memory, self.network.bytes_per_pixel)

    def start(
        self,
        packed: Sequence[dict],
        batch_size: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Future[BaseDataElement]]:
        """Run the network on images; words are still being found when it returns.

        Args:
            packed (Sequence[dict]): What a test pipeline packed: ``inputs``, ``(3, H, W)`` uint8,
                and ``data_samples``.
            batch_size (int): How many go through the network at once, at most.
            progress (Callable, optional): See `tiles.tiled_maps`.

        Returns:
            list[Future[BaseDataElement]]: The data samples with ``pred_instances``, in order.
        """
        if not packed:
            return []
        sizes = [tuple(item["inputs"].shape[1:]) for item in packed]
        if self.network is None:
            return self._start_whole(packed, sizes, batch_size)
        batches = plan_batches(
            sizes,
            batch_size,
            step=self.divisor,
            max_waste=MAX_WASTE.get(self.device.type, 0.0),
            max_pixels=self.max_pixels,
        )
        found: dict[int, Future] = {}
        for indices in batches:
            batch = [packed[index] for index in indices]
            if len(batch) == 1 and sizes[indices[0]][0] * sizes[indices[0]][1] > self.max_pixels:
                maps, samples = self._tiled(batch[0], progress)
            else:
                inputs, samples = self._prepare(batch)
                maps = self.network(inputs)
            for row, index in enumerate(indices):
                found[index] = self._submit(maps[row : row + 1], samples[row])
        return [found[index] for index in range(len(packed))]

    def _prepare(self, batch: Sequence[dict]) -> tuple[Tensor, list]:
        data = {key: [item[key] for item in batch] for key in ("inputs", "data_samples")}
        with torch.inference_mode():
            prepared = self.model.data_preprocessor(data, False)
        return prepared["inputs"], prepared["data_samples"]

    def _tiled(
        self, item: dict, progress: Callable[[int, int], None] | None
    ) -> tuple[Tensor, list[BaseDataElement]]:
        sample, image = item["data_samples"], item["inputs"]

        def prepare(part: Tensor) -> Tensor:
            inputs, _ = self._prepare([dict(inputs=part, data_samples=sample.clone())])
            rows, columns = (-side % self.step for side in inputs.shape[2:])
            # As the preprocessor pads: with zeros, after normalising.
            return nn.functional.pad(inputs, (0, columns, 0, rows))

        maps = tiles.tiled_maps(
            self.network,
            prepare,
            image,
            tile=self.tile,
            halo=self.halo,
            step=self.step,
            progress=progress,
        )
        padded = tuple(-(-side // self.step) * self.step for side in image.shape[1:])
        sample.set_metainfo(dict(batch_input_shape=padded, pad_shape=padded))
        return maps, [sample]

    def _warn(self, does: str) -> None:
        print_log(
            f"this network {does}: in tiles its scores may differ a little; raise --max-memory "
            "(max_memory) for those of the whole image",
            logger="current",
            level=logging.WARNING,
        )

    def _submit(self, maps: Tensor, sample: BaseDataElement) -> Future[BaseDataElement]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
        return self._pool.submit(self._find_words, maps, sample)

    def _find_words(self, maps: Tensor, sample: BaseDataElement) -> BaseDataElement:
        check_finite(maps)
        with torch.inference_mode():
            return self.model.det_head.postprocessor(maps, [sample])[0]

    def _start_whole(
        self, packed: Sequence[dict], sizes: list[tuple[int, int]], batch_size: int
    ) -> list[Future[BaseDataElement]]:
        """As MMOCR runs a detector; images of one size share batches."""
        found: dict[int, Future] = {}
        for indices in plan_batches(sizes, batch_size, step=1):
            batch = {key: [packed[i][key] for i in indices] for key in ("inputs", "data_samples")}
            with torch.inference_mode():
                samples = self.model.test_step(batch)
            for index, sample in zip(indices, samples, strict=True):
                found[index] = Future()
                found[index].set_result(sample)
        return [found[index] for index in range(len(packed))]
