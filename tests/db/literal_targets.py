"""DB's targets pixel by pixel, from Shapely's distances: slow, and independent of ours."""

from __future__ import annotations

import numpy as np
import shapely


def literal_targets(polygons, ignored, size, shrink_ratio=0.4, thr_min=0.3, thr_max=0.7):
    """Kernel, mask, threshold and threshold mask ``(H, W)`` of one image, and where they are sure.

    The last is False at pixels so near to an offset that rounding decides.
    """
    height, width = size
    y, x = np.mgrid[:height, :width]
    pixels = shapely.points(x.ravel(), y.ravel())
    kernel, border = np.zeros(size), np.zeros(size, bool)
    mask, sure = np.ones(size, bool), np.ones(size, bool)
    threshold = np.full(size, thr_min)
    for points, hidden in zip(polygons, ignored):
        shape = shapely.Polygon(np.reshape(points, (-1, 2)))
        distance = shapely.distance(shape.exterior, pixels).reshape(size)
        signed = np.where(shapely.covers(shape, pixels).reshape(size), distance, -distance)
        if hidden:
            mask &= signed < 0
            sure &= np.abs(signed) > 1e-3
            continue
        offset = shape.area * (1 - shrink_ratio**2) / shape.length
        kernel[signed >= offset] = 1
        border |= signed >= -offset
        sure &= np.abs(np.abs(signed) - offset) > 1e-3
        share = np.maximum(0, 1 - np.abs(signed) / offset)
        threshold = np.maximum(threshold, thr_min + (thr_max - thr_min) * share)
    return kernel, mask, threshold, border, sure
