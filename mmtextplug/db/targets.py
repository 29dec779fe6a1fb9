"""DB's ground truth: kernel, threshold and both masks of a batch from one signed distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtextplug.db.shapes import TextPolygons, text_polygons
from mmtextplug.geometry import Windows

# Pixels right on an offset, which happens as boxes lie on whole pixels, must be drawn alike in
# float32 and float64: so many pixels more or less do not count.
_SLACK = 1e-4


class DBTargets(NamedTuple):
    """Ground truth of a batch, each ``(B, H, W)``.

    Attributes:
        kernel (Tensor): float32, 1 in the shrunk polygons, else 0: the probability map's target
            and the binary map's.
        mask (Tensor): bool, False in ignored and unusable polygons: where neither is trained.
        threshold (Tensor): float32: the threshold map's target.
        threshold_mask (Tensor): bool, True in the grown polygons: where it is trained.
    """

    kernel: Tensor
    mask: Tensor
    threshold: Tensor
    threshold_mask: Tensor


def db_targets(
    polygons: Sequence[np.ndarray],
    ignored: Sequence[bool] | Tensor,
    size: tuple[int, int],
    *,
    shrink_ratio: float = 0.4,
    thr_min: float = 0.3,
    thr_max: float = 0.7,
    min_side: float = 0.0,
    batch_index: Sequence[int] | None = None,
    batch_size: int = 1,
    device: torch.device | str | None = None,
) -> DBTargets:
    """Draw the targets of a batch (DB paper, section 3.4) from exact signed distances.

    With s the distance to a polygon's outline, positive inside, A its area, L its perimeter and
    ``D = A (1 - r^2) / L``: the kernel is where ``s >= D``, the border where ``s >= -D``, and the
    threshold is ``thr_min + (thr_max - thr_min) max(0, 1 - |s| / D)``, the highest where polygons
    overlap. Vatti clipping with round joints draws the same shapes, up to its whole pixels. A
    kernel that falls apart is drawn with all its parts.

    Polygons with a fault (see `text_polygons`) are treated as ignored ones: their inside, by
    the non-zero winding rule, is masked, as far as they enclose anything. What lies off the map
    draws nothing there. GPUs compute in float32 about each polygon: thresholds are good to 1e-5,
    to 1e-3 for polygons that reach thousands of pixels beyond the map.

    Args:
        polygons (Sequence[np.ndarray]): N polygons of the batch, ``(K, 2)`` or flat, any number of
            corners, in map pixels; a pixel's centre lies on whole coordinates.
        ignored (Sequence[bool] | Tensor): ``(N,)``. On a GPU it is never read by the host.
        size (tuple[int, int]): (H, W) of the maps.
        shrink_ratio (float): r.
        thr_min, thr_max (float): Range of the threshold.
        min_side (float): Polygons whose minimum-area rectangle has a shorter side, in map pixels,
            are treated as ignored.
        batch_index (Sequence[int], optional): ``(N,)``, the map of each polygon. Default: map 0.
        batch_size (int): Number of maps B.
        device (torch.device | str, optional): Where to draw; default: the CPU. Corners travel
            there, maps do not, and the host does not wait.

    Returns:
        DBTargets: On ``device``.

    Raises:
        ValueError: If lengths differ or ``batch_index`` names a map that does not exist.
    """
    shapes = text_polygons(
        polygons, shrink_ratio=shrink_ratio, min_side=min_side, batch_index=batch_index
    )
    return draw_db_targets(
        shapes,
        ignored,
        size,
        thr_min=thr_min,
        thr_max=thr_max,
        batch_size=batch_size,
        device=device,
    )


def draw_db_targets(
    shapes: TextPolygons,
    ignored: Sequence[bool] | Tensor,
    size: tuple[int, int],
    *,
    thr_min: float = 0.3,
    thr_max: float = 0.7,
    batch_size: int = 1,
    device: torch.device | str | None = None,
) -> DBTargets:
    """As `db_targets`, for polygons that are measured already."""
    device = torch.device("cpu" if device is None else device)
    if len(ignored) != len(shapes):
        raise ValueError(f"db_targets: {len(ignored)} ignored flags for {len(shapes)} polygons")
    if ((shapes.image < 0) | (shapes.image >= batch_size)).any():
        raise ValueError(f"db_targets: batch_index names maps beyond batch_size={batch_size}")
    full = (batch_size, *size)
    maps = DBTargets(
        kernel=torch.zeros(full, device=device),
        mask=torch.ones(full, dtype=torch.bool, device=device),
        threshold=torch.full(full, float(thr_min), device=device),
        threshold_mask=torch.zeros(full, dtype=torch.bool, device=device),
    )
    low, high = (torch.from_numpy(corner) for corner in shapes.bounds())
    reach = torch.from_numpy(shapes.distance)[:, None] + _SLACK
    windows = Windows.around(low - reach, high + reach, size)
    if device.type == "cpu":
        from mmtextplug.db.targets_cpu import draw

        trained = (shapes.fault == 0) & ~np.asarray(ignored, dtype=bool)
        draw(maps, shapes, trained, windows, slack=_SLACK, thr_min=thr_min, thr_max=thr_max)
        return maps
    from mmtextplug.db.targets_gpu import draw

    return draw(maps, shapes, ignored, windows, slack=_SLACK, thr_min=thr_min, thr_max=thr_max)
