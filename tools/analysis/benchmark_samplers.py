#!/usr/bin/env python
"""Time RoI samplers side by side: random, MMDetection's OHEM, and this package's.

    python tools/analysis/benchmark_samplers.py --proposals 1000 2000 --images 1 4

A Faster R-CNN R-50-FPN (random weights) computes the features of noise once; then the RoI head's
loss with its backward pass runs with each sampler in turn, on the same proposals, a part of them
near the ground truths. S-OHEM is measured in the middle of its ramp, history and counts included.
What a step of training has besides, backbone, neck and RPN with their backward passes, is timed
apart and added. Printed are medians: of sampling (assigning, mining), of the RoI head as a whole,
of a step, and how much longer that is than with random RoIs and with MMDetection's OHEM.

All samplers keep as many RoIs, 512 an image, except those named with 64. Times on a CPU are those
of the processor, which other programs do not lengthen.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import mmtextplug  # noqa: F401 - registers
from mmtextplug.mining.s_ohem import Weights
from mmtextplug.mining.s_ohem_sampler import StratifiedOHEMSampler

OHEM = dict(type="RoIOHEMSampler", iou_thr=0.7)
SAMPLERS = {
    "random 512": dict(type="RandomSampler", num=512, pos_fraction=0.25),
    "MMDetection's OHEM 512": dict(type="OHEMSampler", num=512, pos_fraction=0.25),
    "RoIOHEM 512": dict(OHEM, num=512),
    "RoIOHEM 512, once for all images": dict(OHEM, num=512),
    "S-OHEM weighted 512, once": dict(OHEM, type="StratifiedOHEMSampler", num=512),
    "S-OHEM stratified 512, once": dict(
        OHEM, type="StratifiedOHEMSampler", num=512, mode="stratified"
    ),
    "random 64": dict(type="RandomSampler", num=64, pos_fraction=0.25),
    "RoIOHEM 64, once": dict(OHEM, num=64),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--proposals", type=int, nargs="+", default=[1000, 2000])
    parser.add_argument("--images", type=int, nargs="+", default=[1, 4])
    parser.add_argument(
        "--size", type=int, nargs=2, default=[800, 1344], metavar=("H", "W"), help="of images"
    )
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--depth", type=int, default=50, choices=[18, 50], help="of the ResNet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


def detector(sampler: dict, head: str, depth: int) -> nn.Module:
    """Faster R-CNN as MMDetection's base config has it, without weights from anywhere."""
    base = "mmdet::_base_/models/faster-rcnn_r50_fpn.py"
    model = Config.fromstring(f"_base_ = {base!r}", ".py").model
    model.backbone.init_cfg = None
    if depth == 18:
        model.backbone.depth = 18
        model.neck.in_channels = [64, 128, 256, 512]
    model.roi_head.type = head
    model.train_cfg.rcnn.sampler = sampler
    torch.manual_seed(0)
    return MODELS.build(model).train()


def proposals_and_truths(
    count: int, images: int, size: tuple[int, int], device: str
) -> tuple[list[InstanceData], list[DetDataSample]]:
    """Seven objects an image, a fifth of the proposals near them, the others anywhere."""
    generator = torch.Generator().manual_seed(count)
    extent = torch.tensor([size[1], size[0]], dtype=torch.float32)

    def anywhere(number: int) -> Tensor:
        sides = (0.03 + 0.3 * torch.rand(number, 2, generator=generator)) * extent
        corner = torch.rand(number, 2, generator=generator) * (extent - sides)
        return torch.cat([corner, corner + sides], dim=1)

    results, samples = [], []
    for _ in range(images):
        truths = anywhere(7)
        near = truths[torch.randint(7, (count // 5,), generator=generator)]
        scale = (near[:, 2:] - near[:, :2]).repeat(1, 2)
        near = near + 0.12 * scale * torch.randn(near.shape, generator=generator)
        boxes = torch.cat([near, anywhere(count - len(near))])
        results.append(InstanceData(bboxes=boxes.to(device)))
        sample = DetDataSample(metainfo=dict(img_shape=size))
        labels = torch.randint(80, (7,), generator=generator)
        sample.gt_instances = InstanceData(bboxes=truths.to(device), labels=labels.to(device))
        sample.ignored_instances = InstanceData(bboxes=truths[:0].to(device))
        samples.append(sample)
    return results, samples


def timed(work: Callable[[], object], device: str) -> float:
    """Milliseconds of a call: of the processor, or with a GPU those that pass."""
    if not device.startswith("cuda"):
        start = time.process_time()
        work()
        return 1e3 * (time.process_time() - start)
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start)


class Bench:
    """A RoI head with one sampler, on given features."""

    def __init__(self, sampler: dict, args: argparse.Namespace, at_once: bool) -> None:
        kind = "MiningStandardRoIHead" if at_once else "StandardRoIHead"
        self.head = detector(copy.deepcopy(sampler), kind, args.depth).roi_head.to(args.device)
        self.device = args.device
        self.total: list[float] = []
        miner = self.head.bbox_sampler
        if isinstance(miner, StratifiedOHEMSampler):
            miner.weights, miner.is_scheduled = Weights(1.0, 0.95, 0.0, 0.5), True

    def step(
        self, feats: tuple[Tensor, ...], results: list[InstanceData], samples: list[DetDataSample]
    ) -> None:
        """One loss with its backward pass, timed."""
        feats = tuple(level.detach().requires_grad_() for level in feats)

        def work() -> None:
            losses = self.head.loss(feats, copy.deepcopy(results), samples)
            sum(value for key, value in losses.items() if "loss" in key).backward()

        self.total.append(timed(work, self.device))


def sampling_time(bench: Bench, feats, results, samples) -> float:
    """Milliseconds from the proposals to the RoIs selected: assigning and mining, no gradient."""
    head = bench.head

    def work() -> None:
        chosen = []
        for number, (result, sample) in enumerate(zip(copy.deepcopy(results), samples)):
            result.priors = result.pop("bboxes")
            assigned = head.bbox_assigner.assign(
                result, sample.gt_instances, sample.ignored_instances
            )
            chosen.append(
                head.bbox_sampler.sample(
                    assigned,
                    result,
                    sample.gt_instances,
                    feats=[level[number][None] for level in feats],
                )
            )
        if _at_once(head):
            head.bbox_sampler.mine(chosen, feats)

    return timed(work, bench.device)


def _at_once(head: nn.Module) -> bool:
    return getattr(head.bbox_sampler, "mines_at_once", False)


def rest_of_step(args: argparse.Namespace, samples: list[DetDataSample]) -> float:
    """Milliseconds of backbone, neck and RPN, forward and backward."""
    model = detector(SAMPLERS["random 512"], "StandardRoIHead", args.depth).to(args.device)
    images = torch.rand(len(samples), 3, *args.size, device=args.device)
    rpn_samples = copy.deepcopy(samples)
    for sample in rpn_samples:
        sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
        sample.set_metainfo(dict(pad_shape=tuple(args.size), batch_input_shape=tuple(args.size)))

    def work() -> None:
        feats = model.extract_feat(images)
        losses = model.rpn_head.loss(feats, rpn_samples)
        total = sum(sum(part) for part in losses.values()) + sum(f.mean() for f in feats)
        total.backward()

    work()
    return statistics.median(timed(work, args.device) for _ in range(3))


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    init_default_scope("mmdet")
    console = Console(width=120)
    for images in args.images:
        size = tuple(args.size)
        _, samples = proposals_and_truths(100, images, size, args.device)
        rest = rest_of_step(args, samples)
        feats = tuple(
            torch.randn(images, 256, -(-size[0] // s), -(-size[1] // s), device=args.device)
            for s in (4, 8, 16, 32, 64)
        )
        for count in args.proposals:
            results, samples = proposals_and_truths(count, images, size, args.device)
            benches = {name: Bench(cfg, args, "once" in name) for name, cfg in SAMPLERS.items()}
            sampling = {name: [] for name in benches}
            for turn in track(range(args.repeat + 1), f"{images} images, {count} proposals"):
                for name, bench in benches.items():
                    spent = sampling_time(bench, feats, results, samples)
                    bench.step(feats, results, samples)
                    if turn:  # the first is for warming up
                        sampling[name].append(spent)
                    else:
                        bench.total.clear()
            show(console, images, count, rest, benches, sampling)


def show(
    console: Console,
    images: int,
    count: int,
    rest: float,
    benches: dict[str, Bench],
    sampling: dict[str, list[float]],
) -> None:
    """Print the table of one setting."""
    table = Table(
        title=f"{images} images, {count} proposals an image; the rest of a step {rest:,.0f} ms"
    )
    for column in (
        "sampler", "sampling ms", "RoI head ms", "step ms", "over random", "over MMDet's OHEM",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "sampler" else "right")
    steps = {name: rest + statistics.median(bench.total) for name, bench in benches.items()}
    for name, bench in benches.items():
        base = steps["random 64" if "64" in name else "random 512"]
        other = steps["MMDetection's OHEM 512"]
        table.add_row(
            name,
            f"{statistics.median(sampling[name]):,.1f}",
            f"{statistics.median(bench.total):,.1f}",
            f"{steps[name]:,.1f}",
            f"{100 * (steps[name] / base - 1):+.1f} %",
            "" if "64" in name else f"{100 * (steps[name] / other - 1):+.1f} %",
        )
    console.print(table)


if __name__ == "__main__":
    main()
