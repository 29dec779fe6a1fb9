#!/usr/bin/env python
"""Evaluate a checkpoint of a config; the official CRAFT weights are one, too."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import Config

from mmtextplug import launch
from mmtextplug.inference.network import PRECISIONS
from mmtextplug.safe_runner import SafeRunner


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="folder for logs and metrics")
    parser.add_argument("--save-preds", action="store_true", help="dump predictions as pickle")
    parser.add_argument("--show", action="store_true", help="show predictions")
    parser.add_argument("--show-dir", help="folder for pictures of the predictions")
    parser.add_argument("--wait-time", type=float, default=2, help="seconds between pictures")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="what the network computes in; auto: the fastest here, by measurement",
    )
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile: half a minute or more to begin with"
    )
    launch.add_runner_arguments(parser)
    return parser.parse_args()


def draw(cfg: Config, show: bool, folder: str | None, wait_time: float) -> None:
    """Have predictions drawn, of CRAFT also the score maps."""
    launch.demand(cfg, "default_hooks.visualization", "visualizer", use="drawing predictions")
    cfg.default_hooks.visualization.update(
        enable=True, draw_gt=True, draw_pred=True, show=show, wait_time=wait_time
    )
    if folder:
        cfg.visualizer.save_dir = folder
        cfg.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    postprocessor = cfg.model.get("det_head", {}).get("postprocessor") or {}
    if str(postprocessor.get("type")).endswith("CRAFTPostprocessor"):
        postprocessor.keep_score_maps = True


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.cfg_options, args.work_dir)
    fields = ("model", "test_dataloader", "test_evaluator", "test_cfg")
    launch.demand(cfg, *fields, use="a test")
    cfg.launcher = args.launcher
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f"{args.checkpoint}: no such checkpoint file")
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show or args.show_dir:
        draw(cfg, args.show, args.show_dir, args.wait_time)
    if args.save_preds:
        evaluators = cfg.test_evaluator
        evaluators = [evaluators] if isinstance(evaluators, dict) else list(evaluators)
        out = Path(cfg.work_dir) / f"{Path(args.checkpoint).stem}_predictions.pkl"
        cfg.test_evaluator = [*evaluators, dict(type="DumpResults", out_file_path=str(out))]
    launch.adapt_to_cpu(cfg)
    runner = SafeRunner.from_cfg(cfg)
    runner.strict_load = True
    runner.fast_test = dict(precision=args.precision, compile=args.compile)
    runner.test()


if __name__ == "__main__":
    launch.run(main)
