"""A trained detector as a function from images to words, prepared as its config tests it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

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

OFFICIAL = dict(
    default_scope="mmocr",
    model=dict(
        type="CRAFT",
        data_preprocessor=dict(
            type="TextDetDataPreprocessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        backbone=dict(type="CRAFTVGG16BN"),
        neck=dict(type="CRAFTDecoder", in_channels=[128, 256, 512, 512, 1024]),
        det_head=dict(
            type="CRAFTHead",
            in_channels=32,
            module_loss=dict(type="CRAFTModuleLoss"),
            postprocessor=dict(
                type="CRAFTPostprocessor",
                text_threshold=0.7,
                link_threshold=0.4,
                low_text=0.4,
                char_shift=0.1,
            ),
        ),
    ),
    test_pipeline=[
        dict(type="ResizeLongSide", long_side=1280, magnification=1.5),
        dict(type="PackCharInputs"),
    ],
)
"""The official CRAFT as a config: what ``craft_vgg16bn_general.py`` says, for installations that
have no config files."""


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
        model (nn.Module): An MMOCR text detector with its weights; put into evaluation mode.
        pipeline (Sequence[dict]): Test transforms after the loading of the image, packing included.
        scope (str): The registry scope that the transforms are built in.
        device (str | torch.device): Where the model runs.
    """

    def __init__(
        self,
        model: nn.Module,
        pipeline: Sequence[dict],
        scope: str = "mmocr",
        device: str | torch.device = "cpu",
    ) -> None:
        self.model = model.to(device).eval()
        with DefaultScope.overwrite_default_scope(scope):
            self.transforms = Compose(list(pipeline))

    @classmethod
    def official(cls, **kwargs) -> TextDetector:
        """The official CRAFT with its official weights; ``kwargs`` as for `from_config`.

        Raises:
            FileNotFoundError: If the weights are not installed.
            ValueError: If they are damaged.
        """
        return cls.from_config(Config(OFFICIAL), **kwargs)

    @classmethod
    def from_config(
        cls,
        config: str | Path | Config,
        checkpoint: str | Path | None = None,
        *,
        refiner: str | Path | None = None,
        device: str | torch.device = "cpu",
        polygons: bool | None = None,
        score_maps: bool = False,
        text_threshold: float | None = None,
        link_threshold: float | None = None,
        low_text: float | None = None,
        isolated_threshold: float | None = None,
        chars: bool = False,
        long_side: int | None = None,
        magnification: float | None = None,
    ) -> TextDetector:
        """A detector from a config of this package, or of another MMOCR text detector.

        Args:
            config (str | Path | Config): Its model and test pipeline are used.
            checkpoint (str | Path, optional): Its weights. Default: the official ones.
            refiner (str | Path, optional): Weights of a link refiner, by which a CRAFT finds lines
                instead of words: the published ones or a checkpoint that has one. Default: a
                config with a ``link_refiner`` has it in its checkpoint.
            device (str | torch.device): Where the model runs.
            polygons (bool, optional): Outlines that follow curved words, instead of boxes. Default:
                as the config says; outlines with ``refiner``, as the official code has it.
            score_maps (bool): Whether DB's maps are wanted, too; CRAFT's are always there.
            text_threshold, link_threshold, low_text, isolated_threshold (float, optional): See
                `CRAFTPostprocessor`.
            chars (bool): Whether to find the characters of each word, too.
            long_side (int, optional), magnification (float, optional): See `ResizeLongSide`.
                None leaves what the config says, here and above.

        Raises:
            FileNotFoundError: If a file is missing, the official weights included.
            ValueError: If config, checkpoint and settings do not go together, or there is no such
                device.
        """
        device = _usable_device(device)
        if not isinstance(config, Config):
            config = launch.load_config(str(config))
        scope = config.get("default_scope") or "mmocr"
        settings = {
            "text_threshold": text_threshold,
            "link_threshold": link_threshold,
            "low_text": low_text,
            "isolated_threshold": isolated_threshold,
        }
        model = ConfigDict(config.model.to_dict())
        post = model.get("det_head", {}).get("postprocessor", {})
        if refiner is not None:
            head = model.get("det_head", {})
            if head.get("type") != "CRAFTHead":
                raise ValueError("refiner: this config has no CRAFTHead to put it in; leave it out")
            if head.get("link_refiner") is None:
                head.link_refiner = dict(
                    type="LinkRefiner", in_channels=head.get("in_channels", 32)
                )
            polygons = True if polygons is None else polygons
        if polygons is not None:
            if "type" not in post:
                raise ValueError("polygons: this config has no det_head.postprocessor to ask")
            post.text_repr_type = "poly" if polygons else "quad"
        _override(post, settings, "CRAFTPostprocessor")
        if chars and post.get("type") != "CRAFTPostprocessor":
            raise ValueError(
                "chars: characters are found by a region score, and this config has no "
                "CRAFTPostprocessor; leave it out"
            )
        if chars:
            post.find_chars = True
        if post.get("type") == "CRAFTPostprocessor" or (
            score_maps and post.get("type") == "DifferentiableBinarizationPostprocessor"
        ):
            post.keep_score_maps = True
        pipeline = photo_pipeline(config)
        resize = [step for step in pipeline if step["type"] == "ResizeLongSide"]
        sizes = {"long_side": long_side, "magnification": magnification}
        _override(resize[0] if resize else {}, sizes, "ResizeLongSide")
        with DefaultScope.overwrite_default_scope(scope):
            network = MODELS.build(model)
        _load(network, checkpoint, refiner)
        return cls(network, pipeline, scope, device)

    @property
    def has_score_maps(self) -> bool:
        """Whether score maps come with the words."""
        return bool(getattr(self._postprocessor, "keep_score_maps", False))

    @property
    def _postprocessor(self) -> object:
        # MMDetection's models, wrapped by MMOCR, have none.
        return getattr(getattr(self.model, "det_head", None), "postprocessor", None)

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
        return [_detection(sample) for sample in self.samples(images, batch_size=batch_size)]

    def samples(
        self, images: Sequence[np.ndarray], *, batch_size: int = 1
    ) -> list[BaseDataElement]:
        """As `detect`, but the data samples that the model fills, in order."""
        packed = [self.transforms(_sample(image)) for image in images]
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, item in enumerate(packed):
            alike.setdefault(tuple(item["inputs"].shape), []).append(index)
        found: dict[int, BaseDataElement] = {}
        for indices in alike.values():
            for start in range(0, len(indices), batch_size):
                part = indices[start : start + batch_size]
                batch = {key: [packed[i][key] for i in part] for key in ("inputs", "data_samples")}
                with torch.inference_mode():
                    found.update(zip(part, self.model.test_step(batch), strict=True))
        return [found[index] for index in range(len(packed))]


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


def photo_pipeline(config: Config) -> list[ConfigDict]:
    """Copies of a config's test transforms that come after the loading of image and annotation.

    They are looked for where ``tools/test.py`` runs them, in ``test_dataloader``; a config without
    one has them in ``test_pipeline``.

    Raises:
        ValueError: If there are none.
    """
    dataset = config.get("test_dataloader", {}).get("dataset", config)
    while dataset.get("pipeline") is None and ("dataset" in dataset or "datasets" in dataset):
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    steps = dataset.get("pipeline") or config.get("test_pipeline")
    if not steps:
        raise ValueError(
            f"{config.filename or 'config'}: neither test_dataloader.dataset.pipeline nor "
            "test_pipeline: how to prepare an image is not known"
        )
    steps = [ConfigDict(step) for step in steps]
    return [step for step in steps if not step["type"].rpartition(".")[2].startswith("Load")]


def _sample(image: np.ndarray) -> dict:
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


def _detection(sample: BaseDataElement) -> Detection:
    words = sample.pred_instances.numpy()
    polygons = [np.asarray(p, np.float32).reshape(-1, 2) for p in words.polygons]
    scores = np.asarray(words.get("scores", np.ones(len(polygons))), np.float32)
    maps = None
    if "pred_score_maps" in sample:
        kinds = sample.pred_score_maps.get("kinds", CRAFT_KINDS)
        maps = dict(zip(kinds, sample.pred_score_maps.data.cpu().numpy()))
    return Detection(polygons, scores, words.get("chars"), maps)


def _override(settings: dict, values: dict, needed: str) -> None:
    values = {key: value for key, value in values.items() if value is not None}
    if values and settings.get("type") != needed:
        raise ValueError(
            f"{', '.join(values)}: this config has no {needed} to set it in; leave it out"
        )
    settings.update(values)


def _usable_device(device: str | torch.device) -> torch.device:
    try:
        device = torch.device(device)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device}: not usable here: {_first_line(error)}") from error
    return device


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
