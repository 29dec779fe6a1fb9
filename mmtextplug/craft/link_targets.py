"""Ground truth of the link refiner: the centre lines of lines of text.

The author of CRAFT published neither the training of the link refiner nor code for it, but said
what it is trained for: the centre line of a text polygon, as wide as an eighth of the distance
between paired control points, learned as the affinity score is, by its squared error
(https://github.com/clovaai/CRAFT-pytorch/issues/56).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmtextplug.craft.rectify import READ_DOWNWARDS, word_band
from mmtextplug.craft.targets import WordLabels, confidence_map
from mmtextplug.geometry import Windows, to_device

THICKNESS = 1 / 8
"""Thickness of a centre line, as a share of the distance between paired points."""

# Thinner lines would fall apart on the map: a stripe of this thickness is 4-connected, as the
# grouping wants it, in any direction. A little more, because exact diagonals have pixels right on
# its border.
_LEAST_RADIUS = math.sqrt(2) / 2 + 1e-3


@dataclass(frozen=True)
class CentreLine:
    """The centre line of a line of text, in its own pixels.

    Attributes:
        points (np.ndarray): ``(m, 2)`` float64 (x, y), in reading order, m >= 2.
        thickness (np.ndarray): ``(m,)`` float64, at each point.
    """

    points: np.ndarray
    thickness: np.ndarray


@dataclass(frozen=True)
class LinkMaps:
    """Ground truth of a batch: two maps ``(B, H, W)`` float32, and what has no centre line.

    ``unpaired`` names the lines, by image and number, whose points cannot be paired across the
    text. They are masked.
    """

    link: Tensor
    confidence: Tensor
    unpaired: list[tuple[int, int]]


def centre_line(polygon: np.ndarray) -> CentreLine | None:
    """The centre line of an annotated line of text.

    The outline's points are paired across the text (see `mmtextplug.craft.rectify.word_band`): the
    first half of them with the second half, backwards, or by their distances along the sides where
    their number is odd or the pairs lie aslant.

    Args:
        polygon (np.ndarray): ``(k, 2)``, from the first character's top left along the top.

    Returns:
        CentreLine | None: None for outlines whose points cannot be paired: they cross themselves,
        have no area, are not finite or no band.
    """
    band = word_band(polygon, vertical=READ_DOWNWARDS, rectangle=False)
    if band is None:
        return None
    across = np.linalg.norm(band.lower - band.upper, axis=1)
    return CentreLine((band.upper + band.lower) / 2, THICKNESS * across)


def draw_centre_lines(
    lines: Sequence[CentreLine],
    size: tuple[int, int],
    *,
    batch_index: Sequence[int] | None = None,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw centre lines as stripes of varying thickness with round joints and ends.

    A pixel belongs to a stretch of line if it is no further from it than half the thickness at the
    nearest point, between the stretch's ends in proportion.

    Args:
        lines (Sequence[CentreLine]): In pixels of the maps. Thin ones are drawn 1.4 pixels thick,
            so that they hold together.
        size (tuple[int, int]): (H, W) of the maps.
        batch_index (Sequence[int], optional): The map of each line. Default: map 0.
        batch_size (int): Number of maps.
        device (torch.device | str): Where to draw. Only the lines' points travel there.

    Returns:
        Tensor: ``(B, H, W)`` float32, 1 on lines, 0 elsewhere.
    """
    device = torch.device(device)
    maps = torch.zeros((batch_size, *size), device=device)
    if not lines:
        return maps
    planes = [0] * len(lines) if batch_index is None else list(batch_index)
    counts = [len(line.points) - 1 for line in lines]
    first = np.concatenate([line.points[:-1] for line in lines])
    last = np.concatenate([line.points[1:] for line in lines])
    radii = [np.maximum(line.thickness / 2, _LEAST_RADIUS) for line in lines]
    start, end = (np.concatenate([r[part] for r in radii]) for part in np.s_[:-1, 1:])
    reach = np.maximum(start, end)[:, None]
    low, high = np.minimum(first, last) - reach, np.maximum(first, last) + reach
    windows = Windows.around(torch.from_numpy(low), torch.from_numpy(high), size)
    # Relative to the window's corner, where 32-bit floats are fine.
    corner = np.stack([windows.left.numpy(), windows.top.numpy()], axis=1)
    stretch = last - first
    squared = (stretch**2).sum(axis=1, keepdims=True)
    # A stretch of no length is a disc, as thick as its first point.
    unit = np.where(squared > 1e-12, stretch / np.maximum(squared, 1e-12), 0.0)
    stretches = [first - corner, stretch, unit, start[:, None], (end - start)[:, None]]
    params = to_device(torch.from_numpy(np.hstack(stretches).astype(np.float32)), device)
    target = torch.from_numpy(np.repeat(planes, counts) * (size[0] * size[1]))
    target, corners = to_device(target, device), to_device(torch.from_numpy(corner), device)
    flat = maps.view(-1)
    for index, x, y in windows.pixels(device):
        x0, y0, dx, dy, ux, uy, radius, growth = params[index].unbind(1)
        px, py = x - corners[index, 0] - x0, y - corners[index, 1] - y0
        along = (px * ux + py * uy).clamp(0, 1)
        distance = (px - along * dx) ** 2 + (py - along * dy) ** 2
        inside = distance <= (radius + along * growth) ** 2
        flat.scatter_reduce_(0, target[index] + y * size[1] + x, inside.float(), "amax")
    return maps


def draw_link_maps(
    images: Sequence[WordLabels],
    size: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
) -> LinkMaps:
    """Draw the link refiner's ground truth for a batch of images.

    Args:
        images (Sequence[WordLabels]): The lines of each image. Lines of confidence 0 are not drawn
            but masked, and so are those without a centre line.
        size (tuple[int, int]): (H, W) of the maps.
        device (torch.device | str): Where to draw.
    """
    lines, planes, masked, unpaired = [], [], [], []
    for index, image in enumerate(images):
        confidence = np.asarray(image.confidence, np.float32).copy()
        for number in np.flatnonzero(confidence > 0):
            line = centre_line(image.polygons[number])
            if line is None:
                confidence[number] = 0
                unpaired.append((index, int(number)))
            else:
                lines.append(line)
                planes.append(index)
        masked.append(WordLabels(image.polygons, image.chars, confidence, image.valid))
    link = draw_centre_lines(lines, size, batch_index=planes, batch_size=len(images), device=device)
    return LinkMaps(link, confidence_map(masked, size, device), unpaired)
