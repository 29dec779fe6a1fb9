#!/usr/bin/env python
"""Write a detector's network as an ONNX file, which tools/infer.py --onnx and other programs run.

Examples:
    python tools/export_onnx.py --out craft.onnx
    python tools/export_onnx.py --light --out light.onnx
    python tools/export_onnx.py --refine craft_refiner_CTW1500.pth --out craft_lines.onnx
    python tools/export_onnx.py CONFIG CHECKPOINT --out detector.onnx

The network goes from images, normalised as the config says, to score maps; batch, height and width
are free. The file is written only if ONNX Runtime gives the scores that PyTorch gives.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from mmengine.config import Config

from mmtextplug import launch
from mmtextplug.inference import TextDetector
from mmtextplug.inference.onnx_export import export_onnx, require
from mmtextplug.inference.saved_config import config_of
from mmtextplug.inference.settings import configure
from mmtextplug.light import light_weights


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", help="config file; default: the official CRAFT")
    parser.add_argument(
        "checkpoint", nargs="?", help="checkpoint file; default: the official weights"
    )
    parser.add_argument(
        "--light", action="store_true", help="the light detector that comes with the package"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write")
    parser.add_argument(
        "--refine",
        metavar="FILE",
        help="add a link refiner, whose weights FILE holds: lines of text instead of words",
    )
    parser.add_argument(
        "--opset", type=int, default=17, metavar="N", help="version of ONNX's operators (17)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    for name in ("onnx", "onnxruntime"):  # before the weights are read
        require(name)
    if args.out.is_dir() or not args.out.parent.is_dir():
        raise ValueError(f"{args.out}: name a file in a folder that is there")
    if args.light:
        if args.config or args.refine:
            raise ValueError("--light is a detector of its own; name no other")
        args.checkpoint = light_weights()
    config = launch.load_config(args.config) if args.config else config_of(args.checkpoint)
    detector = TextDetector.from_config(config, args.checkpoint, refiner=args.refine)
    model, pipeline = configure(config, refine=args.refine is not None)
    settled = Config(
        dict(default_scope=config.get("default_scope"), model=model, test_pipeline=pipeline)
    )
    try:
        done = export_onnx(detector.model, args.out, settled, opset=args.opset)
    except ValueError as error:
        raise ValueError(
            f"{args.config or args.checkpoint or 'the official CRAFT'}: {error}"
        ) from error
    data = args.out.read_bytes()
    sizes = " and ".join("x".join(str(side) for side in shape) for shape in done.shapes)
    print(
        f"{args.out}: {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}\n"
        f"input (N, 3, H, W), H and W multiples of {done.divisor}; opset {done.opset}, "
        f"{done.nodes} operators, all of standard ONNX\n"
        f"ONNX Runtime and PyTorch differ by {done.difference:.1e} at most, at {sizes}"
    )


if __name__ == "__main__":
    launch.run(main)
