"""The network in an ONNX file as a function, by ONNX Runtime or OpenVINO, without PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmtextplug.inference.onnx_export import INPUT, OUTPUT, first_line, require
from mmtextplug.inference.onnx_metadata import OnnxMetadata

BACKENDS = ("onnxruntime", "openvino")
PRECISIONS = ("auto", "float32", "bfloat16")

_CUDA = "CUDAExecutionProvider"
# How much more memory they take than PyTorch, as measured: ONNX Runtime asks for it in blocks.
_MEMORY = {"onnxruntime": 1.25, "openvino": 1.5}


class OnnxError(RuntimeError):
    """What stopped a backend on a batch; its ``__cause__`` is the backend's own error."""


class OnnxNetwork:
    """Score maps of a batch, by a file that ``tools/export_onnx.py`` wrote.

    Nothing that the file names is imported or run; use it from one thread at a time.

    Args:
        path (str | Path): The file.
        device (str): 'cpu', or 'cuda' or 'cuda:N' with the package onnxruntime-gpu.
        threads (int, optional): CPU threads; default: as many as PyTorch has.
        backend (str): One of `BACKENDS`; OpenVINO runs on CPUs.
        precision (str): One of `PRECISIONS`. ONNX Runtime computes in float32; OpenVINO can in
            bfloat16, and 'auto' has it do so where the CPU says that it is optimised for it.

    Attributes:
        config (Config): How images are prepared and words found, see `OnnxMetadata`.
        divisor (int): Height and width of inputs must be multiples of it.
        bytes_per_pixel (float): Memory that a pixel of an input takes.
        reach (int | None): How far tiles have to overlap, see `tiles.reach`.
        precision (str): What it computes in.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the backend is not installed.
        ValueError: If the file is no such file, or the settings do not go together.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        threads: int | None = None,
        backend: str = "onnxruntime",
        precision: str = "auto",
    ) -> None:
        for name, value, known in (
            ("backend", backend, BACKENDS),
            ("precision", precision, PRECISIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: no such ONNX file")
        device, threads = torch.device(device), threads or torch.get_num_threads()
        if backend == "openvino":
            opened = _openvino(path, device, threads, precision)
        else:
            opened = _onnxruntime(path, device, threads, precision)
        metadata, self.precision, self._run = opened
        self.path = Path(path)
        self.config = metadata.config
        self.divisor = metadata.divisor
        self.bytes_per_pixel = _MEMORY[backend] * metadata.bytes_per_pixel
        self.reach = metadata.reach

    def __call__(self, inputs: Tensor) -> Tensor:
        """Score maps of a batch.

        Args:
            inputs (Tensor): ``(N, 3, H, W)`` float32, normalised, on any device.

        Returns:
            Tensor: As the head that was exported gives them, float32 on the CPU: ``(N, C, h, w)``,
            or ``(N, h, w)`` where there is one map.

        Raises:
            ValueError: If the inputs are of another shape or type.
            OnnxError: If the backend fails, such as for want of memory.
        """
        shape = tuple(inputs.shape)
        if len(shape) != 4 or shape[1] != 3 or not shape[0] or inputs.dtype != torch.float32:
            raise ValueError(
                f"inputs must be (N, 3, H, W) float32 images, got {shape} {inputs.dtype}"
            )
        if any(side % self.divisor or not side for side in shape[2:]):
            raise ValueError(
                f"{self.path}: height and width must be multiples of {self.divisor}, got {shape}; "
                "pad the images"
            )
        try:
            maps = self._run(np.ascontiguousarray(inputs.detach().cpu().numpy()))
        except Exception as error:  # theirs are of no common kind
            raise OnnxError(f"{self.path}: {first_line(error)}") from error
        maps = torch.from_numpy(np.asarray(maps, np.float32))
        return maps[:, 0] if maps.shape[1] == 1 else maps


_Opened = tuple[OnnxMetadata, str, Callable[[np.ndarray], np.ndarray]]


def _onnxruntime(path: str | Path, device: torch.device, threads: int, precision: str) -> _Opened:
    runtime = require("onnxruntime")
    if precision == "bfloat16":
        raise ValueError("precision bfloat16: ONNX Runtime computes in float32; take OpenVINO")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {device}: ONNX Runtime is used on cpu or cuda")
    providers: list = ["CPUExecutionProvider"]
    if device.type == "cuda":
        # Each size that is new would be tuned for seconds; TF32 would move the scores.
        choices = {"device_id": device.index or 0, "cudnn_conv_algo_search": "HEURISTIC"}
        providers.insert(0, (_CUDA, choices | {"use_tf32": "0"}))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, too
    # It would keep a plan of the memory for each size that it has met.
    options.enable_mem_pattern = False
    session = None
    if device.type == "cpu" or _CUDA in runtime.get_available_providers():
        try:
            session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # theirs are of no common kind
            raise _unreadable(path, error) from error
    # Where CUDA does not work, it would go on without.
    if session is None or (device.type == "cuda" and _CUDA not in session.get_providers()):
        raise ValueError(
            f"device {device}: this ONNX Runtime has no CUDA that works here; pip install "
            "onnxruntime-gpu in the place of onnxruntime"
        )
    metadata = OnnxMetadata.unpack(session.get_modelmeta().custom_metadata_map, path)
    _check_ends(
        path, [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    )
    choices = runtime.RunOptions()
    # Else it would keep what the largest image took.
    choices.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return metadata, "float32", lambda inputs: session.run([OUTPUT], {INPUT: inputs}, choices)[0]


def _openvino(path: str | Path, device: torch.device, threads: int, precision: str) -> _Opened:
    openvino = require("openvino")
    if device.type != "cpu":
        raise ValueError(f"device {device}: OpenVINO is used on the CPU; leave the device out")
    core = openvino.Core()
    can = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "auto":
        precision = "bfloat16" if "BF16" in can else "float32"
    try:
        # By its own reader: Core.read_model tries those of all formats.
        reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
        model = reader.convert(reader.load(str(path)))
    except Exception as error:  # theirs are of no common kind
        raise _unreadable(path, error) from error
    found = dict(model.get_rt_info().items()).get("framework", {})
    metadata = OnnxMetadata.unpack({key: str(item.value) for key, item in found.items()}, path)
    _check_ends(path, [e.any_name for e in model.inputs], [e.any_name for e in model.outputs])
    settings = {
        "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    except Exception as error:  # theirs are of no common kind
        raise _unreadable(path, error) from error
    # Copied: the next call overwrites what this one gives.
    return metadata, precision, lambda inputs: request.infer({INPUT: inputs})[OUTPUT].copy()


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: no ONNX file, or a damaged one: {first_line(error)}")


def _check_ends(path: str | Path, inputs: list[str], outputs: list[str]) -> None:
    if inputs != [INPUT] or outputs != [OUTPUT]:
        raise ValueError(
            f"{path}: its network takes {inputs} and gives {outputs}, not {INPUT} and {OUTPUT}; "
            "export it by tools/export_onnx.py"
        )
