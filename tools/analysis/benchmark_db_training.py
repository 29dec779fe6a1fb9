"""Training steps of DBNet with MMOCR's loss and with ours: images a second, share of the targets.

    python tools/analysis/benchmark_db_training.py --size 640 --batch 16

MMOCR's DBNet with ResNet-18, random weights, pages of turned words: forward, loss, backward and
optimizer, the losses taking turns. On a GPU, if there is one: times are then those of the device,
and a step of ours is also run with PyTorch's warning of synchronisations made an error.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from db_pages import build, quads, sample
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

LOSSES = {
    "MMOCR's": dict(type="DBModuleLoss"),
    "ours": dict(type="DifferentiableBinarizationLoss"),
}


class Training:
    """A network with one of the losses, its optimizer, and the time that its targets take."""

    def __init__(self, loss: dict, args: argparse.Namespace) -> None:
        config = Config.fromstring(
            '_base_ = "mmocr::textdet/dbnet/_base_dbnet_resnet18_fpnc.py"', ".py"
        )
        config.model.backbone.init_cfg = None
        config.model.det_head.module_loss = loss
        self.args = args
        self.model = build(config.model).to(args.device).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.targets: list[float] = []
        module = self.model.det_head.module_loss
        module.get_targets = self._timed(module.get_targets)
        self.timing = True
        generator = torch.Generator().manual_seed(0)
        self.images = [
            torch.randint(256, (3, args.size, args.size), generator=generator, dtype=torch.uint8)
            for _ in range(args.batch)
        ]
        self.words = [quads(args.words, args.size, seed) for seed in range(args.batch)]

    def _timed(self, function: Callable) -> Callable:
        def timed(*args: object, **kwargs: object) -> object:
            if not self.timing:
                return function(*args, **kwargs)
            self._wait()
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self._wait()
            self.targets.append(time.perf_counter() - start)
            return result

        return timed

    def _wait(self) -> None:
        if self.args.device == "cuda":
            torch.cuda.synchronize()

    def batch(self) -> dict:
        size = (self.args.size, self.args.size)
        data = {"inputs": self.images, "data_samples": [sample(w, size) for w in self.words]}
        return self.model.data_preprocessor(data, training=True)

    def step(self, data: dict) -> None:
        losses = self.model(**data, mode="loss")
        total = sum(value for name, value in losses.items() if name.startswith("loss"))
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()

    def timed_step(self) -> float:
        data = self.batch()
        self._wait()
        start = time.perf_counter()
        self.step(data)
        self._wait()
        return time.perf_counter() - start

    def step_without_waiting(self) -> None:
        """Raises RuntimeError where the host would wait for the GPU within forward and loss."""
        data = self.batch()
        self.timing = False
        self._wait()
        torch.cuda.set_sync_debug_mode("error")
        try:
            self.step(data)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            self.timing = True


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--words", type=int, default=20, help="in each image")
    parser.add_argument("--repeats", type=int, default=10, help="turns of each, the median counts")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    trainings = {name: Training(loss, args) for name, loss in LOSSES.items()}
    times: dict[str, list[float]] = {name: [] for name in trainings}
    for turn in range(args.repeats + 2):
        for name, training in trainings.items():
            seconds = training.timed_step()
            if turn > 1:  # the first compile and tune
                times[name].append(seconds)
    title = f"DBNet-R18, {args.batch} images of {args.size} px, {args.words} words, {args.device}"
    table = Table(title=title)
    for column in ("loss", "step, ms", "images a second", "targets, ms", "share of the step"):
        table.add_column(column, justify="right")
    for name, training in trainings.items():
        step = statistics.median(times[name])
        targets = statistics.median(training.targets[2:])
        table.add_row(
            name,
            f"{1e3 * step:.1f}",
            f"{args.batch / step:.1f}",
            f"{1e3 * targets:.1f}",
            f"{targets / step:.1%}",
        )
    console = Console()
    console.print(table)
    if args.device == "cuda":
        trainings["ours"].step_without_waiting()
        console.print("ours: a step without synchronisation of host and device")


if __name__ == "__main__":
    main()
