"""Samples with words, and predictions for them, for the tests of the loss and of its labels."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

SIZE = (48, 64)
WORD = [6, 6, 46, 8, 45, 28, 5, 26]
IGNORED = [30, 30, 60, 30, 60, 44, 30, 44]


def sample(*polygons, ignored=None, shape=SIZE, **metainfo) -> TextDetDataSample:
    words = InstanceData()
    words.polygons = [np.array(p, np.float32) for p in polygons]
    words.ignored = torch.tensor(ignored or [False] * len(polygons), dtype=torch.bool)
    found = TextDetDataSample(metainfo=dict(img_shape=shape, img_path="photo.jpg", **metainfo))
    found.gt_instances = words
    return found


def predictions(batch=1, size=SIZE, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((batch, *size), generator=generator).to(dtype).requires_grad_()
    threshold = torch.rand((batch, *size), generator=generator).to(dtype).requires_grad_()
    return logits, threshold


def total(losses: dict) -> torch.Tensor:
    return sum(value for name, value in losses.items() if name.startswith("loss"))


def run(loss, batch, **kwargs):
    logits, threshold = predictions(len(batch), **kwargs)
    losses = loss((logits, threshold, torch.full_like(logits, float("nan"))), batch)
    total(losses).backward()
    return losses, logits.grad, threshold.grad
