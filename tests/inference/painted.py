"""A CRAFT whose scores are painted on the photos: what must be found is known to the pixel.

Blue is the region score, green the affinity score; the network only halves the image.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
from mmengine.registry import MODELS
from mmocr.models.textdet.heads.base import BaseTextDetHead
from torch import Tensor, nn

HALF = 8  # half a painted character, in pixels
_SPREAD = 4.8


@MODELS.register_module(force=True)
class PaintedBackbone(nn.Module):
    """A photo at half the size; black, without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(float(os.environ.get("SECONDS_A_PHOTO", 0)))
        return self.gain * nn.functional.avg_pool2d(x, 2)


@MODELS.register_module(force=True)
class PaintedHead(BaseTextDetHead):
    """Its score maps are the first two colours; ``batches`` are the sizes of those that it got."""

    batches: tuple[int, ...] = ()

    def __init__(self, postprocessor: dict) -> None:
        super().__init__(module_loss=dict(type="CRAFTModuleLoss"), postprocessor=postprocessor)

    def forward(self, x: Tensor, data_samples: list | None = None) -> Tensor:
        PaintedHead.batches += (len(x),)
        return x[:, :2]


MODEL = dict(
    type="CRAFT",
    data_preprocessor=dict(
        type="TextDetDataPreprocessor", mean=[0, 0, 0], std=[255, 255, 255], bgr_to_rgb=False
    ),
    backbone=dict(type="PaintedBackbone"),
    det_head=dict(type="PaintedHead", postprocessor=dict(type="CRAFTPostprocessor")),
)


PAINTED = dict(
    default_scope="mmocr",
    model=MODEL,
    test_dataloader=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="ResizeLongSide", long_side=640, magnification=1.0),
                dict(type="LoadCharAnnotations"),
                dict(type="PackCharInputs"),
            ]
        )
    ),
)


def page(size: tuple[int, int], words: list[tuple[int, int, int]]) -> np.ndarray:
    """A photo (H, W) of words (x, y, characters): ``(x, y)`` is the first character's centre."""
    yy, xx = np.mgrid[: size[0], : size[1]]
    scores = np.zeros((3, *size))
    for x, y, count in words:
        # Characters in blue, and in green what is between two of them.
        for half in range(2 * count - 1):
            squares = ((xx - x - HALF * half) ** 2 + (yy - y) ** 2) / _SPREAD**2
            scores[half % 2] = np.maximum(scores[half % 2], np.exp(-squares / 2))
    return np.rint(255 * scores).astype(np.uint8).transpose(1, 2, 0).copy()


PAGE = page((120, 200), [(30, 30, 4), (110, 80, 3)])
CENTRES = np.array([[54, 30], [126, 80]])


def centres(polygons) -> np.ndarray:
    found = np.array([np.mean(polygon, axis=0) for polygon in polygons])
    return found[np.argsort(found[:, 1])] if len(found) else found.reshape(0, 2)
