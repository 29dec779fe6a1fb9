"""A trained detector as a function from images to words, prepared as its config tests it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

import mmtextplug  # noqa: F401  registers the components, and lets MMOCR import
from mmtextplug import launch
from mmtextplug.checkpoint import load_weights
from mmtextplug.craft.targets import CRAFT_KINDS
from mmtextplug.craft.weights import (
    load_craft_weights,
    load_detector_weights,
    load_refiner_weights,
    official_weights,
)
from mmtextplug.inference.runner import BatchRunner, Limits
from mmtextplug.inference.saved_config import config_of
from mmtextplug.inference.settings import configure
from mmtextplug.light import light_weights


@dataclass(frozen=True)
class Detection:
    """What was found on one image, in pixels of that image, (x, y).

    Attributes:
        polygons: ``N`` float32 arrays ``(k, 2)``, clockwise; 4 corners each, unless polygons were
            asked for.
        scores: ``(N,)`` float32 in [0, 1].
        chars: ``N`` float32 arrays ``(n, 4, 2)`` in reading order; None if not asked for.
        score_maps: ``(h, w)`` float32 maps over the whole image by their kinds: 'region' and
            'affinity' of CRAFT, and 'refined link' if it has a refiner; 'probability',
            'threshold' and 'binary' of DB, if asked for; None if there are none.
    """

    polygons: list[np.ndarray]
    scores: np.ndarray
    chars: list[np.ndarray] | None = None
    score_maps: dict[str, np.ndarray] | None = None


class TextDetector:
    """A trained text detector with the preparation of images that its config tests it with.

    Args:
        model (nn.Module): An MMOCR text detector with its weights. It is put into evaluation mode,
            and at the first image made fast in place (see `TorchNetwork`).
        pipeline (Sequence[dict]): Test transforms after the loading of the image, packing included.
        scope (str): The registry scope that the transforms are built in.
        device (str | torch.device): Where the model runs.
        limits (Limits, optional): What it may compute in, and how much memory it may take.
        network (Callable, optional): See `BatchRunner`.
    """

    def __init__(
        self,
        model: nn.Module,
        pipeline: Sequence[dict],
        scope: str = "mmocr",
        device: str | torch.device = "cpu",
        limits: Limits | None = None,
        network: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.runner = BatchRunner(self.model, limits or Limits(), network)
        with DefaultScope.overwrite_default_scope(scope):
            self.transforms = Compose(list(pipeline))

    @classmethod
    def official(cls, **kwargs) -> TextDetector:
        """The official CRAFT with its official weights; ``kwargs`` as for `from_config`.

        Raises:
            FileNotFoundError: If the weights are not installed.
            ValueError: If they are damaged.
        """
        return cls.from_config(**kwargs)

    @classmethod
    def light(cls, **kwargs) -> TextDetector:
        """The light detector that comes with this package; ``kwargs`` as for `from_config`.

        Raises:
            FileNotFoundError: If the installation has lost its weights.
        """
        return cls.from_config(checkpoint=light_weights(), **kwargs)

    @classmethod
    def from_config(
        cls,
        config: str | Path | Config | None = None,
        checkpoint: str | Path | None = None,
        *,
        refiner: str | Path | None = None,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        compile: bool = False,
        max_memory: int | None = None,
        **settings: bool | float | None,
    ) -> TextDetector:
        """A detector from a config of this package, or of another MMOCR text detector.

        Args:
            config (str | Path | Config, optional): Its model and test pipeline are used. Default:
                the config in the checkpoint, or, if it has none, that of the official CRAFT.
            checkpoint (str | Path, optional): Its weights. Default: the official ones.
            refiner (str | Path, optional): Weights of a link refiner, by which a CRAFT finds lines
                instead of words: the published ones or a checkpoint that has one. Default: a
                config with a ``link_refiner`` has it in its checkpoint.
            device (str | torch.device): Where the model runs.
            precision (str): 'float32', 'bfloat16', 'float16', or 'auto', which measures at the
                first image what is the fastest here. Lower precision moves some words by a pixel
                or two.
            compile (bool): Whether to run the network through ``torch.compile``.
            max_memory (int, optional): MiB that the network may take for images and features, its
                parameters aside; a larger image goes through it in tiles. Default: 4096, or on a
                GPU half of what is free there.
            settings: How words are found:

                - polygons (bool): Outlines that follow curved words, instead of boxes. Default: as
                  the config says; outlines with ``refiner``, as the official code has it.
                - score_maps (bool): Whether to keep the score maps. Default: CRAFT's, but not DB's.
                - chars (bool): Whether to find the characters of each word, too.
                - text_threshold, link_threshold, low_text, isolated_threshold (float): See
                  `CRAFTPostprocessor`.
                - long_side (int), magnification (float): See `ResizeLongSide`; where a config has
                  MMOCR's or MMDetection's ``Resize``, the longer side becomes ``long_side``.

                None leaves what the config says.

        Raises:
            FileNotFoundError: If a file is missing, the official weights included.
            ValueError: If config, checkpoint and settings do not go together, or there is no such
                device.
        """
        device = usable_device(device)
        if config is None:
            config = config_of(checkpoint)
        elif not isinstance(config, Config):
            config = launch.load_config(str(config))
        scope = config.get("default_scope") or "mmocr"
        model, pipeline = configure(config, refine=refiner is not None, **settings)
        with DefaultScope.overwrite_default_scope(scope):
            network = MODELS.build(model)
        _load(network, checkpoint, refiner)
        return cls(network, pipeline, scope, device, Limits(precision, compile, max_memory))

    @classmethod
    def from_onnx(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        backend: str = "onnxruntime",
        precision: str = "auto",
        max_memory: int | None = None,
        **settings: bool | float | None,
    ) -> TextDetector:
        """A detector from a file that ``tools/export_onnx.py`` wrote.

        Args:
            path (str | Path): It holds the network, and how to prepare images and find words.
            device, backend, precision (str): See `OnnxNetwork`.
            max_memory (int, optional), settings: See `from_config`.

        Raises:
            FileNotFoundError: If there is no such file.
            ImportError: If the backend is not installed.
            ValueError: If the file is another one or damaged, or the settings do not go with it.
        """
        from mmtextplug.inference.onnx_network import OnnxNetwork

        network = OnnxNetwork(path, device=device, backend=backend, precision=precision)
        config = network.config
        model, pipeline = configure(config, **settings)
        scope = config.get("default_scope") or "mmocr"
        ends = nn.Module()
        with DefaultScope.overwrite_default_scope(scope):
            ends.data_preprocessor = MODELS.build(model.data_preprocessor)
            ends.det_head = nn.Module()
            ends.det_head.postprocessor = MODELS.build(model.det_head.postprocessor)
        # Images are prepared on the CPU: that is where the network takes them from.
        limits = Limits(max_memory=max_memory)
        return cls(ends, pipeline, scope, "cpu", limits, network)

    @property
    def precision(self) -> str:
        """What the network computes in; measured now if it is to be and no image has been seen."""
        return getattr(self.runner.network, "precision", "float32")

    @property
    def has_score_maps(self) -> bool:
        """Whether score maps come with the words."""
        # MMDetection's models, wrapped by MMOCR, have no post-processor.
        postprocessor = getattr(getattr(self.model, "det_head", None), "postprocessor", None)
        return bool(getattr(postprocessor, "keep_score_maps", False))

    def detect(self, images: Sequence[np.ndarray], *, batch_size: int = 1) -> list[Detection]:
        """Find the words on images; those that the network gets at one size share batches.

        Args:
            images (Sequence[np.ndarray]): ``(H, W, 3)`` BGR or ``(H, W)`` grey, uint8, any sizes.
            batch_size (int): How many images go through the network at once, at most.

        Returns:
            list[Detection]: One for each image, in order.

        Raises:
            ValueError: If something is no such image.
        """
        return [as_detection(sample) for sample in self.samples(images, batch_size=batch_size)]

    def samples(
        self, images: Sequence[np.ndarray], *, batch_size: int = 1
    ) -> list[BaseDataElement]:
        """As `detect`, but the data samples that the model fills, in order."""
        return [future.result() for future in self.start(images, batch_size=batch_size)]

    def start(
        self,
        images: Sequence[np.ndarray],
        *,
        batch_size: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Future[BaseDataElement]]:
        """As `samples`, but it returns when the network is done: words are still being found.

        Args:
            images (Sequence[np.ndarray]), batch_size (int): See `detect`.
            progress (Callable, optional): Told after each tile of an image that is too large for
                the memory how many tiles are done, and of how many.
        """
        packed = [self.transforms(as_sample(image)) for image in images]
        return self.runner.start(packed, batch_size, progress)


def _load(network: nn.Module, checkpoint: str | Path | None, refiner: str | Path | None) -> None:
    """Give a network its weights, see `TextDetector.from_config`."""
    if checkpoint is None:
        if refiner is None and getattr(network.det_head, "link_refiner", None) is not None:
            raise ValueError(
                "the official weights have no link refiner, which this config needs: name a "
                "checkpoint, or the refiner's own file (--refine)"
            )
        try:
            load_craft_weights(network, official_weights())
        except ValueError as error:
            raise ValueError(
                f"{error} No checkpoint was named: these are the official weights."
            ) from error
    elif refiner is None:
        load_weights(network, checkpoint)
    else:
        load_detector_weights(network, checkpoint)
    if refiner is not None:
        load_refiner_weights(network, refiner)


def as_sample(image: np.ndarray) -> dict:
    """What the test transforms after loading work on.

    Args:
        image (np.ndarray): ``(H, W, 3)`` BGR, ``(H, W)`` or ``(H, W, 1)`` grey, uint8.

    Returns:
        dict: ``img``, ``(H, W, 3)`` BGR, and its ``img_shape``, ``ori_shape``, ``img_path`` ("").

    Raises:
        ValueError: If it is no such image, or empty.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"an image must be a uint8 array that is not empty, got {type(image).__name__}"
            f"{getattr(image, 'shape', '')} {getattr(image, 'dtype', '')}"
        )
    if image.ndim == 2 or image.shape[2:] == (1,):
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2:] != (3,):
        raise ValueError(f"an image must be (H, W, 3) BGR or (H, W) grey, got {image.shape}")
    shape = image.shape[:2]
    return dict(img=image, img_path="", img_shape=shape, ori_shape=shape)


def as_detection(sample: BaseDataElement) -> Detection:
    """What is found on an image, out of the data sample that the model filled."""
    words = sample.pred_instances.numpy()
    polygons = [np.asarray(p, np.float32).reshape(-1, 2) for p in words.polygons]
    scores = np.asarray(words.get("scores", np.ones(len(polygons))), np.float32)
    maps = None
    if "pred_score_maps" in sample:
        kinds = sample.pred_score_maps.get("kinds", CRAFT_KINDS)
        maps = dict(zip(kinds, sample.pred_score_maps.data.cpu().numpy()))
    return Detection(polygons, scores, words.get("chars"), maps)


def usable_device(device: str | torch.device) -> torch.device:
    """A device on which something can be put; a ValueError if there is none of this name."""
    try:
        device = torch.device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device}: not usable here: {_first_line(error)}") from error
    return device


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
