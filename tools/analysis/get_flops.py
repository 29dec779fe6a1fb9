#!/usr/bin/env python
"""Count the parameters and multiply-adds of a config's network for one image, part by part.

Counted is what an inference multiplies and adds: convolutions, transposed, deformable and ordinary
ones, and products of matrices, with one multiply-add (MAC) where papers count one or two FLOPs.
Not counted are normalisation, activations, resizing, pooling, additions, what samples the features
(of deformable convolutions, of RoIs), box suppression and everything after the network. Branches
that only training needs, such as DBNet's threshold map, have parameters but no multiply-adds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import mmtextplug  # noqa: F401

# isort: split
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmtextplug import launch

# Counted by MMEngine, but no product of weights and features: an inference folds the first into the
# convolution before it, the others only resize.
_LEFT_OUT = (
    *(f"aten::{kind}_norm" for kind in ("batch", "group", "layer", "instance")),
    *(f"aten::{name}" for name in ("upsample_nearest2d", "upsample_bilinear2d", "grid_sampler")),
    "aten::adaptive_avg_pool2d",
)
_DEFORMABLE = ("ModulatedDeformConv2dFunction", "DeformConv2dFunction")
_STRIDE = 32  # what every network here pads images to


@dataclass(frozen=True)
class Part:
    """A part of a network.

    Attributes:
        name (str): Of its module, such as ``backbone``.
        params (int): Its parameters.
        macs (int): Its multiply-adds.
    """

    name: str
    params: int
    macs: int


class TwoStage(nn.Module):
    """What a two-stage detector of MMDetection computes, with a fixed number of proposals.

    As many as the config lets pass, wherever they are: how many the proposal network of untrained
    weights would find says nothing.

    Args:
        detector (nn.Module): A ``TwoStageDetector`` with a RoI head.
        size (tuple[int, int]): Height and width of the image, in pixels.
    """

    def __init__(self, detector: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.detector = detector
        rpn = (detector.test_cfg or {}).get("rpn") or {}
        self.proposals = int(rpn.get("max_per_img", 1000))
        height, width = self.size = size
        self.register_buffer("box", torch.tensor([0.0, 0.0, width / 4, height / 4]))

    def forward(self, image: Tensor) -> object:
        features = self.detector.extract_feat(image)
        outputs = [self.detector.rpn_head(features)] if self.detector.with_rpn else []
        boxes = InstanceData(bboxes=self.box.expand(self.proposals, 4))
        sample = BaseDataElement(metainfo=dict(img_shape=self.size))  # cascades ask for it
        return _tensors([*outputs, self.detector.roi_head.forward(features, [boxes], [sample])])


class Plain(nn.Module):
    """What any other detector computes: ``forward`` in the mode ``tensor``.

    Args:
        detector (nn.Module): A model of MMEngine's kind.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> object:
        return _tensors(self.detector(image, mode="tensor"))


def _tensors(value: object) -> tuple[Tensor, ...]:
    """All tensors in nested containers: tracing takes no others."""
    if isinstance(value, Tensor):
        return (value,)
    items = value.values() if isinstance(value, dict) else value
    if not isinstance(value, (dict, list, tuple)):
        return ()
    return tuple(tensor for item in items for tensor in _tensors(item))


def _deformable_macs(inputs: list, outputs: list) -> int:
    """Multiply-adds of a deformable convolution, as many as of a convolution of its size."""
    output = outputs[0].type().sizes()
    weights = [value.type().sizes() for value in inputs if value.type().kind() == "TensorType"]
    # Image, offsets and masks have the batch first; the weight alone begins with the channels that
    # come out and is square.
    weight = [s for s in weights if s and len(s) == 4 and s[0] == output[1] and s[2] == s[3]][-1]
    return output[0] * prod(weight) * prod(output[2:])


def count(model: nn.Module, size: tuple[int, int]) -> tuple[list[Part], int]:
    """Count a network's parameters and multiply-adds for one image.

    Args:
        model (nn.Module): A text detector, or a detector of MMDetection; evaluated, on the CPU.
        size (tuple[int, int]): Height and width of the image after padding, in pixels.

    Returns:
        tuple: Its parts in order, those without parameters and multiply-adds left out, and the
        number of RoIs that go through the second stage (0 if there is none).

    Raises:
        ValueError: If the model has no ``forward`` that can be traced.
    """
    model = getattr(model, "wrapped_model", model)  # MMOCR's wrapper of MMDetection's
    two_stage = getattr(model, "roi_head", None) is not None
    network = (TwoStage(model, size) if two_stage else Plain(model)).eval()
    analyzer = FlopAnalyzer(network, (torch.zeros(1, 3, *size),))
    analyzer.set_op_handle(**dict.fromkeys(_LEFT_OUT, lambda inputs, outputs: 0))
    handles = {f"prim::PythonOp.{name}": _deformable_macs for name in _DEFORMABLE}
    analyzer.set_op_handle(**handles)
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    try:
        with torch.no_grad():
            macs = analyzer.tracer_warnings("none").by_module()
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{type(model).__name__} cannot be traced: {reason}") from error
    parts, seen = [], set()
    for name, module in _parts(model):
        params = _params(module, seen)
        found = _macs(f"detector.{name}", module, macs) - sum(
            _macs(f"detector.{part.name}", model.get_submodule(part.name), macs)
            for part in parts
            if part.name.startswith(f"{name}.")
        )
        parts.append(Part(name, params, found))
    rest = Part("other", _params(model, seen), macs[""] - sum(part.macs for part in parts))
    kept = [part for part in [*parts, rest] if part.params or part.macs]
    return kept, network.proposals if two_stage else 0


def _parts(model: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """The modules to tell apart; a part of a part comes before it."""
    for name, module in model.named_children():
        inner = name == "roi_head" and module.named_children()
        if getattr(module, "link_refiner", None) is not None:
            inner = [("link_refiner", module.link_refiner)]
        for inner_name, inner_module in inner or ():
            yield f"{name}.{inner_name}", inner_module
        yield name, module


def _params(module: nn.Module, seen: set[int]) -> int:
    """Count parameters that were not seen yet, and remember them."""
    new = {id(p): p.numel() for p in module.parameters() if id(p) not in seen}
    seen.update(new)
    return sum(new.values())


def _macs(name: str, module: nn.Module, macs: dict[str, int]) -> int:
    """Multiply-adds of a module; of one whose methods are called past ``forward``, of its own."""
    return macs.get(name, 0) or sum(
        _macs(f"{name}.{inner}", child, macs) for inner, child in module.named_children()
    )


def table(parts: list[Part]) -> list[str]:
    """The lines of a table with a sum."""
    total = Part("all", sum(p.params for p in parts), sum(p.macs for p in parts))
    width = max(len(part.name) for part in [*parts, total])
    lines = [f"{'part':<{width}}  {'parameters':>14}  {'multiply-adds':>18}"]
    for part in [*parts, total]:
        share = f"{100 * part.macs / max(total.macs, 1):.1f} %"
        lines.append(
            f"{part.name:<{width}}  {part.params:>12,}    {part.macs / 1e9:>10.3f} G {share:>8}"
        )
    return lines


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--shape",
        type=int,
        nargs="+",
        default=[736, 1280],
        metavar="PIXELS",
        help="height and width of the image, or one number for both (default: 736 1280)",
    )
    launch.add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if len(args.shape) > 2 or min(args.shape) < 1:
        raise ValueError("--shape takes height and width, or one number for both, at least 1")
    height, width = args.shape[0], args.shape[-1]
    size = (-(-height // _STRIDE) * _STRIDE, -(-width // _STRIDE) * _STRIDE)
    cfg = launch.load_config(args.config, args.cfg_options)
    launch.demand(cfg, "model", use="counting")
    init_default_scope(cfg.get("default_scope", "mmengine"))
    parts, rois = count(MODELS.build(cfg.model), size)
    padded = "" if size == (height, width) else f", padded to {size[0]} x {size[1]}"
    print(f"one image of {height} x {width} (height x width){padded}")
    if rois:
        print(f"{rois} RoIs go through the second stage, up to 100 through a mask branch")
    print("\n".join(table(parts)))
    print(
        "counted: convolutions (also transposed and deformable) and matrix products; not counted:\n"
        "normalisation, activations, resizing, pooling, sampling, NMS, post-processing;\n"
        "twice as many FLOPs, where a multiplication and an addition count as two"
    )


if __name__ == "__main__":
    launch.run(main)
