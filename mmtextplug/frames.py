"""Where a picture that was padded or warped shows the image: nothing beyond it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


def padded_size(sample: BaseDataElement) -> tuple[int, int]:
    """(H, W) of the network's input that holds a sample."""
    return tuple(sample.get("batch_input_shape", sample.img_shape))[:2]


def image_frame(sample: BaseDataElement) -> np.ndarray | None:
    """Outline of the image in the network's input, ``(K, 2)`` float32, convex; None if it fills it.

    It is what ``RandomTextWarp`` wrote, or the border of an image that a batch pads.
    """
    frame = sample.get("valid_polygon")
    height, width = sample.img_shape[:2]
    if frame is None and (height, width) != padded_size(sample):
        frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    return frame


def on_map(
    sample: BaseDataElement, size: tuple[int, int]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray | None]:
    """A sample's words in pixels of a map (H, W) of the network's input.

    Returns:
        tuple: ``(2,)`` float32, pixels of the map for each pixel of the input along x and y;
        ``gt_instances.polygons`` as arrays ``(K, 2)``; and the `image_frame`.
    """
    padded, frame = padded_size(sample), image_frame(sample)
    scale = np.array([size[1] / padded[1], size[0] / padded[0]], dtype=np.float32)
    polygons = sample.gt_instances.polygons
    polygons = [np.asarray(p, np.float32).reshape(-1, 2) * scale for p in polygons]
    return scale, polygons, None if frame is None else frame * scale


def outside_frames(
    frames: Sequence[np.ndarray | None], size: tuple[int, int], device: torch.device | str = "cpu"
) -> Tensor:
    """Which pixels lie outside of convex frames.

    Args:
        frames (Sequence[np.ndarray | None]): For each map a frame ``(K, 2)``, in map pixels, or
            None for a map that lies inside altogether.
        size (tuple[int, int]): (H, W) of the maps.
        device (torch.device | str): Where to draw.

    Returns:
        Tensor: ``(B, H, W)`` bool.
    """
    # Shifted a little, pixels right on the upper and left sides lie inside, on the others outside.
    shift = 1e-3
    outside = torch.zeros((len(frames), *size), dtype=torch.bool, device=device)
    y = torch.arange(size[0], dtype=torch.float32, device=device)[:, None] + shift
    x = torch.arange(size[1], dtype=torch.float32, device=device) + shift
    for plane, frame in zip(outside, frames):
        if frame is None:
            continue
        corners = np.asarray(frame, dtype=np.float64)
        steps = np.roll(corners, -1, axis=0) - corners
        local = corners - corners[:1]
        turn = np.sign((local[:, 0] * steps[:, 1] - local[:, 1] * steps[:, 0]).sum())
        if turn == 0:
            plane.fill_(True)
        # Left of an edge, seen clockwise; numbers travel with the kernels, the host never waits.
        for (x0, y0), (ex, ey) in zip(corners.tolist(), (turn * steps).tolist()):
            plane |= (y * ex + (x0 * ey - y0 * ex)) - x * ey < 0
    return outside
