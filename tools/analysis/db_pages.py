"""Pages of words to draw DB's targets for, and MMOCR's own targets beside ours."""

from __future__ import annotations

import copy

import numpy as np
import torch

import mmtextplug  # noqa: F401 - before MMOCR, whose version ceilings it lifts

# isort: split
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

# What both losses leave out, in pixels.
MIN_SIDE = 8.0


def quads(count: int, side: int, seed: int = 0) -> list[np.ndarray]:
    """Turned words on a square page: of photos' size, smaller where there are many."""
    rng = np.random.default_rng(seed)
    height = min(30.0, 0.55 * side / np.sqrt(count))
    words = []
    for _ in range(count):
        h = height * rng.uniform(0.7, 1.4)
        extent = np.array([h * rng.uniform(2, 5), h]) / 2
        angle = rng.uniform(-0.4, 0.4)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * extent
        words.append((corners @ turn + rng.uniform(0.05, 0.95, 2) * side).astype(np.float32))
    return words


def curved(count: int, side: int, seed: int = 0, corners: int = 7) -> list[np.ndarray]:
    """Words along arcs, outlined by twice as many points as ``corners``, as in Total-Text."""
    rng = np.random.default_rng(seed)
    words = []
    for _ in range(count):
        radius, height = rng.uniform(60, 150), rng.uniform(20, 40)
        angle = np.linspace(-1, 1, corners) * rng.uniform(0.5, 1.0) + rng.uniform(0, 6.3)
        spokes = np.stack([np.sin(angle), -np.cos(angle)], 1)
        outline = np.concatenate([spokes * (radius + height), spokes[::-1] * radius])
        middle = spokes.mean(0) * (radius + height / 2)
        centre = rng.uniform(0.1, 0.9, 2) * side
        words.append((outline - middle + centre).astype(np.float32))
    return words


def sample(polygons: list[np.ndarray], size: tuple[int, int], ignored=None) -> TextDetDataSample:
    """MMOCR's sample of a page; with copies, since its loss moves polygons."""
    words = InstanceData()
    words.polygons = [np.array(polygon, np.float32).reshape(-1) for polygon in polygons]
    flags = np.zeros(len(polygons), bool) if ignored is None else np.array(ignored, bool)
    words.ignored = torch.from_numpy(flags)
    page = TextDetDataSample(metainfo=dict(img_shape=size, batch_input_shape=size))
    page.gt_instances = words
    return page


def build(config: dict) -> torch.nn.Module:
    """A component by its config, in MMOCR's scope."""
    with DefaultScope.overwrite_default_scope("mmocr"):
        return MODELS.build(copy.deepcopy(config))
