#!/usr/bin/env python
"""Training steps of CRAFT on a CPU: float32, bfloat16, and what makes bfloat16 fast.

    python tools/analysis/benchmark_cpu_training.py --threads 2

The official network and the light one, random weights, generated text: forward, loss, backward and
optimizer, the ways taking turns. A CPU that does not compute in bfloat16 imitates it;
trainings there stay with float32.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from torch import nn

import mmtextplug  # noqa: F401 - before MMOCR, whose version ceilings it lifts

# isort: split
from mmocr.registry import DATASETS, MODELS

from mmtextplug.cpu_amp import cpu_has_bfloat16
from mmtextplug.craft import efficientnet_lite

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    "official": "configs/craft/_base_craft_vgg16bn.py",
    "light": "configs/craft/craft_efficientnet-lite0_generated-text.py",
}
WAYS = {
    "float32": dict(bfloat16=False, channels_last=False),
    "bfloat16": dict(bfloat16=True, channels_last=False),
    "bfloat16, channels last": dict(bfloat16=True, channels_last=True),
}
PLAIN_DEPTHWISE = "the same, all depthwise gradients in bfloat16"


@contextlib.contextmanager
def plain_depthwise() -> Iterator[None]:
    """Depthwise convolutions as PyTorch has them."""
    ours = efficientnet_lite._DepthwiseConv2d.forward
    efficientnet_lite._DepthwiseConv2d.forward = nn.Conv2d.forward
    try:
        yield
    finally:
        efficientnet_lite._DepthwiseConv2d.forward = ours


def pictures(batch: int, size: int) -> dict:
    """Generated text, as the data loader of a training gives it."""
    dataset = DATASETS.build(
        dict(
            type="GeneratedTextDataset",
            num_samples=batch,
            size=size,
            seed=0,
            pipeline=[dict(type="LoadCharAnnotations"), dict(type="PackCharInputs")],
        )
    )
    return pseudo_collate([dataset[index] for index in range(batch)])


def network(name: str) -> nn.Module:
    """A network of `CONFIGS` with random weights."""
    model = Config.fromfile(ROOT / CONFIGS[name], import_custom_modules=False).model
    if name == "light":
        model.backbone.pretrained = False
    torch.manual_seed(0)
    return MODELS.build(model).train()


class Training:
    """One network, laid out and computing in one way."""

    def __init__(self, model: nn.Module, bfloat16: bool, channels_last: bool) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = copy.deepcopy(model).to(memory_format=layout)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.bfloat16 = bfloat16

    def step(self, data: dict) -> float:
        """Seconds that a step takes."""
        data = self.model.data_preprocessor(copy.deepcopy(data), training=True)
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            losses = self.model(**data, mode="loss")
        self.optimizer.zero_grad()
        self.model.parse_losses(losses)[0].backward()
        self.optimizer.step()
        return time.perf_counter() - start


def measure(name: str, data: dict, repeats: int) -> dict[str, float]:
    """Seconds a step of each way, the median of some, after one that is not counted."""
    model = network(name)
    trainings = {way: Training(model, **settings) for way, settings in WAYS.items()}
    if name == "light":
        trainings[PLAIN_DEPTHWISE] = Training(model, bfloat16=True, channels_last=True)
    times: dict[str, list[float]] = {way: [] for way in trainings}
    for turn in range(repeats + 1):
        for way, training in trainings.items():
            with plain_depthwise() if way == PLAIN_DEPTHWISE else contextlib.nullcontext():
                seconds = training.step(data)
            if turn:
                times[way].append(seconds)
    return {way: statistics.median(found) for way, found in times.items()}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each, the median counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    init_default_scope("mmocr")
    data = pictures(args.batch, args.size)
    console = Console()
    if not cpu_has_bfloat16():
        console.print("this CPU, or this PyTorch, has no bfloat16: it is imitated, or fails")
    table = Table(title=f"{args.batch} images of {args.size} px, {args.threads} threads")
    for column in ("network", "way", "step, s", "against float32"):
        table.add_column(column, justify="left" if column in ("network", "way") else "right")
    for name in args.models:
        found = measure(name, data, args.repeats)
        for way, seconds in found.items():
            table.add_row(name, way, f"{seconds:.2f}", f"{found['float32'] / seconds:.2f}x")
    console.print(table)


if __name__ == "__main__":
    main()
