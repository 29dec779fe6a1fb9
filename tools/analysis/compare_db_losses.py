"""Train DBNet with MMOCR's loss and with ours: the same pictures, weights to begin with and steps.

    python tools/analysis/compare_db_losses.py --images data/icdar2015/train_images \
        --train data/icdar2015/train.json --val data/icdar2015/val.json --out outputs/db_losses

MMOCR's DBNet with ResNet-18 is trained from random weights on crops of photos (annotations in
MMOCR's JSON, see ``tools/datasets/icdar_to_json.py``), once for every loss and seed; words on the
held-out photos are found by MMOCR's own post-processor. It prints the losses over the last tenth of
the steps and the hmean of each, and draws the curves. Trainings that are done are not repeated, so
that several processes can share the work, each with a seed.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

import mmtextplug  # noqa: F401

LOSSES = {
    "mmocr": dict(type="DBModuleLoss"),
    "released": dict(type="DifferentiableBinarizationLoss"),
    "paper": dict(type="DifferentiableBinarizationLoss", preset="paper"),
}
PARTS = ("loss_prob", "loss_db", "loss_thr")
# One stated score threshold; by default MMOCR's metric reports the best of seven.
_SCORE = 0.5


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of all photos")
    parser.add_argument("--train", type=Path, required=True, help="MMOCR's JSON")
    parser.add_argument("--val", type=Path, required=True, help="MMOCR's JSON of held-out photos")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=["mmocr", "released"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--size", type=int, default=256, help="of the crops, in pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--short-side", type=int, default=736, help="of the held-out photos")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args(argv)


def training(args: argparse.Namespace, loss: str, seed: int) -> Config:
    """The config of one training."""

    def words(annotations: Path, *transforms: dict, **kwargs: object) -> dict:
        return dict(
            type="CharTextDataset",
            data_root=str(args.images),
            ann_file=str(annotations.resolve()),
            data_prefix=dict(img_path=""),
            pipeline=[
                dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
                *transforms,
                dict(type="PackCharInputs"),
            ],
            **kwargs,
        )

    crops = words(
        args.train,
        dict(type="LoadCharAnnotations"),
        dict(type="RandomTextWarp", size=args.size, scale=(1.8, 4.5), rotation=10, text_ratio=0.9),
    )
    photos = words(
        args.val,
        dict(type="Resize", scale=(4 * args.short_side, args.short_side), keep_ratio=True),
        dict(type="LoadCharAnnotations"),
        test_mode=True,
    )
    warm_up = max(args.steps // 16, 1)
    config = Config.fromstring(
        '_base_ = "mmocr::textdet/dbnet/_base_dbnet_resnet18_fpnc.py"', ".py"
    )
    for key in ("train_pipeline", "test_pipeline"):
        config.pop(key)
    config.model.backbone.init_cfg = None
    config.model.det_head.module_loss = LOSSES[loss]
    config.merge_from_dict(
        dict(
            default_scope="mmocr",
            randomness=dict(seed=seed),
            train_dataloader=dict(
                batch_size=args.batch,
                num_workers=0,
                sampler=dict(type="SeededInfiniteSampler", shuffle=True, seed=seed),
                dataset=dict(type="SeededDataset", dataset=crops),
            ),
            val_dataloader=dict(
                batch_size=1,
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=photos,
            ),
            val_evaluator=dict(type="HmeanMetric", score_thr=_SCORE),
            optim_wrapper=dict(
                type="OptimWrapper",
                optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4),
                clip_grad=dict(max_norm=5.0, error_if_nonfinite=True),
            ),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=warm_up),
                dict(type="PolyLR", power=0.9, by_epoch=False, begin=warm_up, end=args.steps),
            ],
            train_cfg=dict(
                type="IterBasedTrainLoop", max_iters=args.steps, val_interval=args.steps
            ),
            val_cfg=dict(type="ValLoop"),
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=1, log_metric_by_epoch=False),
                checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=args.steps),
            ),
            log_processor=dict(type="LogProcessor", window_size=1, by_epoch=False),
            log_level="WARNING",
            work_dir=str(args.out / f"{loss}-seed{seed}"),
        )
    )
    return config


def result(args: argparse.Namespace, loss: str, seed: int) -> dict:
    """Losses by step and the hmean of one training, which is run if it has not been."""
    folder = args.out / f"{loss}-seed{seed}"
    path = folder / "result.json"
    if not path.is_file():
        runner = Runner.from_cfg(training(args, loss, seed))
        runner.train()
        log = next((folder / runner.timestamp / "vis_data").glob("scalars.json"))
        steps = [json.loads(line) for line in log.read_text().splitlines()]
        found = dict(
            hmean=next(s["icdar/hmean"] for s in reversed(steps) if "icdar/hmean" in s),
            **{part: [s[part] for s in steps if part in s] for part in PARTS},
            time=[s["time"] for s in steps if "loss_prob" in s],
        )
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def smoothed(values: list[float], width: int) -> np.ndarray:
    return np.convolve(values, np.ones(width) / width, mode="valid")


def draw(results: dict[tuple[str, int], dict], path: Path) -> None:
    """The parts of the loss by step, a colour a loss, a line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PARTS), figsize=(13, 4), sharex=True)
    colours = {loss: f"C{number}" for number, loss in enumerate(LOSSES)}
    for axis, part in zip(axes, PARTS):
        for (loss, seed), found in results.items():
            width = max(len(found[part]) // 20, 1)
            curve = smoothed(found[part], width)
            axis.plot(
                np.arange(len(curve)) + width / 2,
                curve,
                color=colours[loss],
                linestyle=["-", "--", ":", "-."][seed % 4],
                label=f"{loss}, seed {seed}",
            )
        axis.set(title=part, xlabel=f"step (mean of {width})")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    results, console = {}, Console()
    for seed in args.seeds:
        for loss in args.losses:
            console.print(f"{loss}, seed {seed}: {args.steps} steps")
            results[loss, seed] = result(args, loss, seed)
    table = Table(title=f"last tenth of {args.steps} steps, and held-out photos")
    for column in ("loss", "seed", *PARTS, f"hmean at {_SCORE}", "seconds a step"):
        table.add_column(column, justify="right")
    for (loss, seed), found in results.items():
        tail = max(len(found["loss_prob"]) // 10, 1)
        table.add_row(
            loss,
            str(seed),
            *(f"{np.mean(found[part][-tail:]):.4f}" for part in PARTS),
            f"{found['hmean']:.4f}",
            f"{np.median(found['time']):.2f}",
        )
    console.print(table)
    draw(results, args.out / "losses.png")
    console.print(f"curves: {args.out / 'losses.png'}")


if __name__ == "__main__":
    main()
