#!/usr/bin/env python
"""Train a model from a config."""

from __future__ import annotations

import argparse

from mmtextplug import launch
from mmtextplug.safe_runner import SafeRunner


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="folder for logs and checkpoints")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint of the work folder; start if there is none",
    )
    parser.add_argument("--amp", action="store_true", help="automatic mixed precision")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by the total batch size (auto_scale_lr in the config)",
    )
    launch.add_runner_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options, args.work_dir)
    fields = ("model", "train_dataloader", "train_cfg", "optim_wrapper")
    launch.demand(cfg, *fields, use="a training")
    cfg.launcher = args.launcher
    if args.resume:
        launch.go_on(cfg)
    if args.amp:
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.auto_scale_lr:
        if "base_batch_size" not in (cfg.get("auto_scale_lr") or {}):
            raise ValueError(f"{args.config}: --auto-scale-lr needs auto_scale_lr.base_batch_size")
        cfg.auto_scale_lr.enable = True
    launch.adapt_to_cpu(cfg)
    SafeRunner.from_cfg(cfg).train()


if __name__ == "__main__":
    launch.run(main)
