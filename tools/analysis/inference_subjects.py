"""What benchmark_inference.py measures: a detector of ours, its options switched on in turn.

A subject's memory is to be its own: what only some of them need is imported where they need it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mmtextplug.inference import TextDetector

LADDER = {
    "plain": "plain PyTorch",
    "channels-last": "+ inference mode, channels last",
    "folded": "+ batch norms folded",
    "precision": "+ lower precision",
    "threads": "+ words found in threads",
    "compile": "  compiled",
    "onnx": "  ONNX Runtime",
    "openvino": "  OpenVINO",
    "tiled": "  in tiles",
}
"""Ours: each step down to 'threads', which is what users get, is added to those before; the others
are taken to 'threads'."""

FROM_ONNX = {"onnx": "onnxruntime", "openvino": "openvino"}
"""What runs an exported file, by subject; ONNX Runtime in float32, OpenVINO as the rest."""

WHOLE_SHARE = 0.9
"""Of the memory that the smallest photo needs: so much is left for it to be cut into tiles."""

Words = list[np.ndarray]
"""``(k, 2)`` float corners of each word of a photo, (x, y) in its pixels."""


@dataclass(frozen=True)
class Job:
    """What to run, and on which photos.

    Attributes:
        model: 'craft' or 'dbnet'.
        subject: One of `LADDER`, or of the model's `PEERS`.
        batch_size: Photos at once.
        long_side: Of the network's input, in pixels.
        device: Where the network runs.
        threads: Of PyTorch, OpenCV and ONNX Runtime; and processors that the process may use.
        precision: What 'precision' and the steps after it compute in, see `TorchNetwork`.
        config: Of the ladder; None: the official CRAFT.
        checkpoint: Its weights; None: random ones.
        onnx: The model file of the subjects in `FROM_ONNX`, or of a peer.
        photos: ``.npy`` files, ``(H, W, 3)`` uint8 BGR.
    """

    model: str
    subject: str
    batch_size: int
    long_side: int
    device: str
    threads: int
    precision: str
    config: str | None
    checkpoint: str | None
    onnx: str | None
    photos: list[str]


@dataclass
class Subject:
    """A detector that is ready to run.

    Attributes:
        start: From photos to a function that waits for their words: they may still be on their way.
        precision: Tells, after the first photo, what the network computes in.
        finding: Seconds of each call of the post-processor.
        prepare: Called with all photos before the first one.
    """

    start: Callable[[Sequence[np.ndarray]], Callable[[], list[Words]]]
    precision: Callable[[], str] = lambda: "float32"
    finding: list[float] = field(default_factory=list)
    prepare: Callable[[Sequence[np.ndarray]], None] = lambda photos: None


class Watched:
    """A function, or an object that is called, whose calls leave their seconds in a list."""

    def __init__(self, watched: Callable, seconds: list[float], device: str = "cpu") -> None:
        self._watched, self._seconds = watched, seconds
        self._device = device

    def __getattr__(self, name: str) -> object:
        return getattr(self._watched, name)

    def __call__(self, *args: object, **kwargs: object) -> object:
        if self._device.startswith("cuda"):  # else the network would be waited for in here
            import torch

            torch.cuda.current_stream(self._device).synchronize()
        start = time.perf_counter()
        result = self._watched(*args, **kwargs)
        self._seconds.append(time.perf_counter() - start)
        return result


def at_once(find: Callable[[Sequence[np.ndarray]], list[Words]]) -> Callable:
    """`Subject.start` of what returns when the words are there."""

    def start(images: Sequence[np.ndarray]) -> Callable[[], list[Words]]:
        words = find(images)
        return lambda: words

    return start


def make_detector(job: Job) -> TextDetector:
    """Our detector, with the limits that its step of the ladder sets."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope

    from mmtextplug import launch
    from mmtextplug.inference import OFFICIAL, TextDetector
    from mmtextplug.inference.runner import Limits
    from mmtextplug.inference.settings import configure

    if job.subject in FROM_ONNX:
        backend = FROM_ONNX[job.subject]
        precision = "auto" if backend == "onnxruntime" else job.precision
        return TextDetector.from_onnx(
            job.onnx,
            device=job.device,
            backend=backend,
            precision=precision,
            score_maps=False,
            long_side=job.long_side,
        )
    config = launch.load_config(job.config) if job.config else Config(OFFICIAL)
    limits = Limits(job.precision, job.subject == "compile")
    if job.checkpoint or not job.config:
        return TextDetector.from_config(
            config,
            job.checkpoint,
            device=job.device,
            score_maps=False,
            long_side=job.long_side,
            precision=job.precision,
            compile=limits.compile,
        )
    torch.manual_seed(0)
    model, pipeline = configure(config, score_maps=False, long_side=job.long_side)
    scope = config.get("default_scope") or "mmocr"
    with DefaultScope.overwrite_default_scope(scope):
        network = MODELS.build(model)
    return TextDetector(network, pipeline, scope, job.device, limits)


def force_tiles(detector: TextDetector, photos: Sequence[np.ndarray]) -> None:
    """Leave so little memory to a detector that each of the photos goes through it in tiles.

    Raises:
        ValueError: If the smallest photo is too small to be cut.
    """
    from mmtextplug.inference.memory import MIB

    inputs = [detector.transforms(_as_loaded(photo))["inputs"] for photo in photos]
    smallest = min(one.shape[1] * one.shape[2] for one in inputs)
    runner = detector.runner
    cap = int(WHOLE_SHARE * smallest * runner.network.bytes_per_pixel / MIB)
    runner.limits = replace(runner.limits, max_memory=cap)
    try:
        _ = runner.tile
    except ValueError as error:
        raise ValueError(
            f"photos of {smallest:,} pixels are too small to be cut into tiles: leave 'tiled' out, "
            f"or raise --long-side ({error})"
        ) from error


def _as_loaded(image: np.ndarray) -> dict:
    return dict(img=image, img_path="", img_shape=image.shape[:2], ori_shape=image.shape[:2])


def ladder(job: Job) -> Subject:
    """A step of `LADDER`.

    Raises:
        ValueError: If the config or a file does not go with it.
    """
    from mmtextplug.inference.detector import as_detection

    detector = make_detector(job)
    head = getattr(detector.model, "det_head", None)
    if not callable(getattr(head, "postprocessor", None)):
        raise ValueError(f"{job.config}: a detector without score maps has no such steps")
    finding: list[float] = []
    head.postprocessor = Watched(head.postprocessor, finding, job.device)
    if job.subject in ("plain", "channels-last", "folded", "precision"):
        return serial(job, detector, finding)

    def start(images: Sequence[np.ndarray]) -> Callable[[], list[Words]]:
        futures = detector.start(images, batch_size=job.batch_size)
        return lambda: [as_detection(future.result()).polygons for future in futures]

    subject = Subject(start, lambda: detector.precision, finding)
    if job.subject == "tiled":
        subject.prepare = functools.partial(force_tiles, detector)
    return subject


def serial(job: Job, detector: TextDetector, finding: list[float]) -> Subject:
    """The first steps of `LADDER`, where words are found before the next photo is looked at."""
    import torch

    from mmtextplug.inference.batches import plan_batches
    from mmtextplug.inference.detector import as_detection
    from mmtextplug.inference.folding import fold_batch_norms
    from mmtextplug.inference.network import TorchNetwork

    model, context, layout = detector.model, torch.inference_mode, torch.channels_last
    if job.subject == "plain":
        context, layout = torch.no_grad, torch.contiguous_format

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return model.det_head(model.extract_feat(inputs.contiguous(memory_format=layout)), None)

    model.to(memory_format=layout)
    if job.subject == "folded":
        fold_batch_norms(model, forward)
    network = TorchNetwork(model, job.precision) if job.subject == "precision" else forward

    def find(images: Sequence[np.ndarray]) -> list[Words]:
        packed = [detector.transforms(_as_loaded(image)) for image in images]
        words: list[Words] = [[] for _ in images]
        with context():
            for indices in plan_batches([p["inputs"].shape[1:] for p in packed], len(packed)):
                data = {key: [packed[i][key] for i in indices] for key in packed[0]}
                data = model.data_preprocessor(data, False)
                maps = network(data["inputs"])
                samples = model.det_head.postprocessor(maps, data["data_samples"])
                for index, sample in zip(indices, samples):
                    words[index] = as_detection(sample).polygons
        return words

    return Subject(at_once(find), lambda: getattr(network, "precision", "float32"), finding)
