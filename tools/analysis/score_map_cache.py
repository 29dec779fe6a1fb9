"""CRAFT's score maps of photos, kept on disk: what comes after the network is tried quickly."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np
from mmengine.config import Config

from mmtextplug import launch
from mmtextplug.craft import weights
from mmtextplug.files import write_atomically
from mmtextplug.inference import OFFICIAL, TextDetector, photo_pipeline

# isort: split
from mmocr.structures import TextDetDataSample  # mmtextplug lifts MMOCR's version ceilings first


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add what `MapSource` wants to know."""
    parser.add_argument("--config", help="config file; default: the official CRAFT")
    launch.add_config_options(parser)
    parser.add_argument("--checkpoint", help="checkpoint file; default: the official weights")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the score maps there")
    parser.add_argument("--long-side", type=int, metavar="PX", help="limit of the network's input")
    parser.add_argument("--magnification", type=float, metavar="R", help="enlarges photos before")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the network")


def read_config(args: argparse.Namespace) -> Config:
    """The config that `add_network_options` were given; the official CRAFT's without one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none, or ``--cfg-options`` are given without it.
    """
    if args.config:
        return launch.load_config(args.config, args.cfg_options)
    if args.cfg_options:
        raise ValueError("--cfg-options: they are for a --config")
    return Config(OFFICIAL)


def craft_postprocessor(args: argparse.Namespace) -> dict:
    """Settings of the post-processor of a config.

    Raises:
        ValueError: If the config has no ``CRAFTPostprocessor``.
    """
    settings = dict(read_config(args).model.get("det_head", {}).get("postprocessor", {}))
    if settings.get("type") != "CRAFTPostprocessor":
        raise ValueError(f"{args.config}: no CRAFTPostprocessor, and no score maps without it")
    return settings


def file_state(path: str | Path) -> list:
    """What tells a file from the one that was there before.

    Raises:
        FileNotFoundError: If there is none.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    stat = Path(path).stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


@dataclass(frozen=True)
class Maps:
    """What the network says of a photo.

    Attributes:
        scores: ``(2, h, w)`` or ``(3, h, w)`` float16.
        img_shape: (height, width) of the network's input.
        scale_factor: (x, y): pixels of the input for each of the photo.
    """

    scores: np.ndarray
    img_shape: tuple[int, int]
    scale_factor: tuple[float, float]

    def sample(self) -> TextDetDataSample:
        """A data sample of the photo without predictions."""
        rows, columns = self.scores.shape[1:]
        # The maps' stride is a power of two; their last cells may stick out of the input.
        stride = 2 ** round(math.log2(max(self.img_shape) / max(rows, columns)))
        shapes = dict(img_shape=self.img_shape, batch_input_shape=(stride * rows, stride * columns))
        return TextDetDataSample(metainfo=dict(scale_factor=self.scale_factor, **shapes))


class MapSource:
    """Score maps of photos, from a folder if they are there, else from the network."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.config = read_config(args)
        model = self.config.model.to_dict()
        # What comes after the network makes no other maps.
        model.get("det_head", {}).pop("postprocessor", None)
        content = repr((model, photo_pipeline(self.config)))
        self.settings = {
            "network": hashlib.sha256(content.encode()).hexdigest(),
            "checkpoint": file_state(args.checkpoint or weights.official_weights()),
            "long_side": args.long_side,
            "magnification": args.magnification,
        }

    @cached_property
    def detector(self) -> TextDetector:
        """Built when the first photo is not in the folder."""
        args = self.args
        settings = dict(long_side=args.long_side, magnification=args.magnification)
        settings |= dict(device=args.device, precision="float32")
        return TextDetector.from_config(self.config, args.checkpoint, **settings)

    def __call__(self, path: Path, name: str) -> Maps:
        """The maps of the photo at ``path``; ``name`` is its file in the folder."""
        key = json.dumps({**self.settings, "photo": file_state(path)})
        file = self.args.cache and (self.args.cache / name).with_suffix(".npz")
        if file and file.exists():
            try:
                with np.load(file) as kept:
                    if str(kept["key"]) == key:
                        shapes = kept["img_shape"].tolist(), kept["scale_factor"].tolist()
                        return Maps(kept["scores"], *map(tuple, shapes))
            except (KeyError, ValueError, EOFError, OSError, BadZipFile) as error:
                raise ValueError(
                    f"{file}: damaged, or not written by this tool: remove it, or choose another "
                    "--cache"
                ) from error
        (sample,) = self.detector.samples([read_photo(path)])
        scores = sample.pred_score_maps.data.cpu().numpy().astype(np.float16)
        maps = Maps(scores, tuple(sample.img_shape[:2]), tuple(map(float, sample.scale_factor)))
        if file:
            data = BytesIO()
            np.savez_compressed(data, key=key, **vars(maps))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, data.getvalue())
        return maps


def read_photo(path: Path) -> np.ndarray:
    """``(H, W, 3)`` BGR as it was annotated: not turned by its EXIF orientation."""
    photo = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if photo is None:
        raise ValueError(f"{path}: image file cannot be read")
    return photo
