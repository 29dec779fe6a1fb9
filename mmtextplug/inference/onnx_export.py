"""A detector's network as an ONNX file, and proof that the file computes the same."""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmtextplug.files import write_atomically
from mmtextplug.inference import memory, tiles
from mmtextplug.inference.folding import fold_batch_norms
from mmtextplug.inference.network import gives_maps
from mmtextplug.inference.onnx_metadata import OnnxMetadata, usable_config

INPUT, OUTPUT = "input", "score_maps"
STRIDE = 32
"""The largest stride of the backbones: sizes must be multiples of it."""
TOLERANCE = 1e-3
"""Largest difference between the scores of PyTorch and ONNX Runtime, by the largest score."""

_DEFORMABLE = {"DeformConv2d", "ModulatedDeformConv2d"}  # of MMCV, and of torchvision


@dataclass(frozen=True)
class OnnxExport:
    """What was found out about an exported network.

    Attributes:
        opset: Version of ONNX's operators.
        nodes: How many operators the graph has.
        divisor: Height and width of its input must be multiples of it.
        shapes: Of the inputs that it was compared on.
        difference: Largest difference of a score from PyTorch's.
    """

    opset: int
    nodes: int
    divisor: int
    shapes: tuple[tuple[int, ...], ...]
    difference: float


def export_onnx(
    model: nn.Module, path: str | Path, config: Config, *, opset: int = 17
) -> OnnxExport:
    """Write a detector's network, from normalised images to score maps, as an ONNX file.

    ``input`` is ``(N, 3, H, W)`` float32, H and W multiples of the divisor (32, or what the config
    pads to besides); ``score_maps`` is ``(N, C, h, w)`` float32, what the head gives, one channel
    where it gives none. Batch, height and width are free. Batch normalisation is folded; there are
    only operators of standard ONNX. The file is checked, and compared with PyTorch at sizes other
    than the traced one, before it gets its name: there is none that failed.

    Args:
        model (nn.Module): An MMOCR detector whose head gives maps; not changed.
        path (str | Path): Replaced if it exists.
        config (Config): Of the model, with test transforms. What is needed to use the network goes
            into the file, see `OnnxMetadata`.
        opset (int): Version of ONNX's operators, 17 or later.

    Raises:
        ImportError: If onnx or onnxruntime is not installed.
        ValueError: If the network cannot be exported, or the file would not compute the same.
        OSError: If the file cannot be written.
    """
    onnx, runtime = require("onnx"), require("onnxruntime")
    if opset < 17:
        raise ValueError(f"opset must be 17 or later, got {opset}")
    _refuse_deformable(model)
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    if not gives_maps(model):
        raise ValueError(
            f"{type(model).__name__}: gives no score maps; only segmentation detectors, such as "
            "CRAFT and DBNet, can be exported"
        )
    network = _Maps(model).eval()
    fold_batch_norms(model, network)
    divisor = math.lcm(STRIDE, getattr(model.data_preprocessor, "pad_size_divisor", 1))
    metadata = OnnxMetadata(
        usable_config(config, divisor),
        divisor,
        memory.bytes_per_pixel(network, torch.device("cpu")),
        tiles.reach(network, torch.device("cpu")),
    )

    exported = onnx.load_from_string(_traced(network, divisor, opset))
    _refuse_foreign_operators(exported)
    for key, value in metadata.pack().items():
        exported.metadata_props.add(key=key, value=value)
    # Neither of them has the traced sides.
    shapes = ((2, 3, 3 * divisor, 4 * divisor), (1, 3, 5 * divisor, divisor))
    data = exported.SerializeToString()
    try:
        onnx.checker.check_model(exported, full_check=True)
        session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # theirs are of no common kind
        raise ValueError(f"the exported network is not valid: {first_line(error)}") from error
    difference = max(_difference(session, network, shape) for shape in shapes)
    write_atomically(Path(path), data)
    return OnnxExport(opset, len(exported.graph.node), divisor, shapes, difference)


def require(name: str) -> ModuleType:
    """Import onnx, onnxruntime or openvino; an ImportError says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = "openvino" if name == "openvino" else "onnx"
        raise ImportError(
            f"{name} cannot be imported ({error}); remedy: pip install 'mmtextplug[{extra}]'"
        ) from error


def first_line(error: Exception) -> str:
    """What a foreign error says, in short."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


class _Maps(nn.Module):
    """From images to score maps, always with channels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.model.det_head(self.model.extract_feat(inputs), None)
        return maps if maps.ndim == 4 else maps.unsqueeze(1)


def _refuse_deformable(model: nn.Module) -> None:
    found = [
        (name, type(module).__name__)
        for name, module in model.named_modules()
        if _DEFORMABLE & {base.__name__ for base in type(module).__mro__}
    ]
    if found:
        name, kind = found[0]
        raise ValueError(
            f"{len(found)} deformable convolutions ({kind} in {name}, ...) have no operator that "
            "ONNX Runtime knows; take a config without dcn, such as "
            "dbnet_resnet18_fpnc_1200e_icdar2015.py, and a checkpoint trained with it"
        )


def _traced(network: nn.Module, divisor: int, opset: int) -> bytes:
    """The network as an ONNX model.

    By PyTorch's older exporter: every PyTorch since 1.13 has it, it needs no further packages, and
    the graphs of the newer one are no faster. What it would get wrong, conditions on sizes, shows
    in the comparison.
    """
    inputs = torch.randn(2, 3, 2 * divisor, 2 * divisor, generator=_seeded())
    choices = inspect.signature(torch.onnx.export).parameters
    options = {"dynamo": False} if "dynamo" in choices else {}
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network,
                (inputs,),
                buffer,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={
                    INPUT: {0: "batch", 2: "height", 3: "width"},
                    OUTPUT: {0: "batch", 2: "map_height", 3: "map_width"},
                },
                opset_version=opset,
                **options,
            )
    except RuntimeError as error:  # of which the exporter's own errors are, too
        raise ValueError(f"PyTorch cannot export this network: {first_line(error)}") from error
    return buffer.getvalue()


def _seeded() -> torch.Generator:
    # Independent of the caller's random numbers, which it leaves alone.
    return torch.Generator().manual_seed(0)


def _refuse_foreign_operators(exported: object) -> None:
    # What a node's domain is, the model must import.
    foreign = [item.domain for item in exported.opset_import if item.domain not in ("", "ai.onnx")]
    if foreign:
        kinds = sorted({node.op_type for node in exported.graph.node if node.domain in foreign})
        raise ValueError(
            f"the network has operators that are not of standard ONNX: {', '.join(kinds)} "
            f"({', '.join(foreign)}); replace the layers that they come from"
        )


def _difference(session: object, network: nn.Module, shape: tuple[int, ...]) -> float:
    """Largest difference between ONNX Runtime and PyTorch on random images of a shape."""
    inputs = torch.randn(*shape, generator=_seeded())
    with torch.inference_mode():
        expected = network(inputs)
    found = torch.from_numpy(session.run([OUTPUT], {INPUT: inputs.numpy()})[0])
    if found.shape != expected.shape:
        raise ValueError(
            f"the exported network gives {tuple(found.shape)} for {shape}, PyTorch "
            f"{tuple(expected.shape)}: its sizes depend on the traced image; it was not written"
        )
    difference = (found - expected).abs().max().item()
    limit = TOLERANCE * expected.abs().max().item()
    if not difference <= limit:  # nor is a NaN
        raise ValueError(
            f"the exported network differs from PyTorch by {difference:.2g} for {shape}, more than "
            f"{limit:.2g}; it was not written"
        )
    return difference
