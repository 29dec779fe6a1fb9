"""DB's targets on the CPU: a loop over rows, compiled by Numba.

An edge matters to the distance only within the offset D of it: on each row that is one interval,
known in closed form, so that a pixel is visited by the few edges near it. What is inside is told
by winding numbers along the row. `targets_gpu.py` has the form for GPUs; tests hold both equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmtextplug.compiled import compiled
from mmtextplug.geometry import Windows

if TYPE_CHECKING:
    from mmtextplug.db.shapes import TextPolygons
    from mmtextplug.db.targets import DBTargets


def _loop(
    kernel, mask, threshold, threshold_mask, points, ends, plane, offsets, trained, slack,
    thr_min, thr_max, left, top, width, height,
):  # fmt: skip  # pragma: no cover - compiled
    widest = 0
    for n in range(len(ends)):
        widest = max(widest, width[n])
    nearest = np.empty(widest)
    winding = np.empty(widest + 1, np.int32)
    for n in range(len(ends)):
        start, end = ends[n - 1] if n else 0, ends[n]
        offset, columns = offsets[n], width[n]
        radius = offset + slack
        slope = (thr_max - thr_min) / offset if offset > 0.0 else 0.0
        # Squared, so that only pixels on the border cost a root.
        outer, middle_line, inner = radius**2, offset**2, max(offset - slack, 0.0) ** 2
        for y in range(top[n], top[n] + height[n]):
            nearest[:columns] = np.inf
            winding[: columns + 1] = 0
            leftmost, rightmost = columns, 0
            for i in range(start, end):
                j = i + 1 if i + 1 < end else start
                # The edge (x0, y0) + t (ex, ey), t in [0, 1], and the row's height above its ends.
                x0, y0 = points[i, 0] - left[n], points[i, 1]
                ex, ey = points[j, 0] - left[n] - x0, points[j, 1] - y0
                above, beyond = y - y0, y - y0 - ey
                squared = ex * ex + ey * ey
                # By the corner itself: y0 + ey may round to the other side of the row.
                if (y0 <= y) != (points[j, 1] <= y):
                    cut = min(max(x0 + above * ex / ey, 0.0), float(columns))
                    winding[int(np.ceil(cut))] += 1 if ey > 0 else -1
                # Columns within the radius: of either end, then of the line between them, which
                # is where two strips meet, one along the edge and one across. All are convex,
                # and so is the whole: one interval.
                low, high = np.inf, -np.inf
                if abs(above) <= radius:
                    half = np.sqrt(radius * radius - above * above)
                    low, high = x0 - half, x0 + half
                if abs(beyond) <= radius:
                    half = np.sqrt(radius * radius - beyond * beyond)
                    low, high = min(low, x0 + ex - half), max(high, x0 + ex + half)
                if squared > 0.0:
                    first, last = -np.inf, np.inf
                    if ex != 0.0:
                        first, last = -above * ey / ex, (squared - above * ey) / ex
                        first, last = min(first, last), max(first, last)
                    elif above * ey < 0.0 or above * ey > squared:
                        last = -np.inf
                    if ey != 0.0:
                        middle, half = above * ex / ey, radius * np.sqrt(squared) / abs(ey)
                        first, last = max(first, middle - half), min(last, middle + half)
                    elif abs(above) > radius:
                        last = -np.inf
                    if first <= last:
                        low, high = min(low, x0 + first), max(high, x0 + last)
                if low > high:
                    continue
                begin = int(np.ceil(min(max(low, 0.0), float(columns))))
                stop = int(np.floor(min(max(high, -1.0), columns - 1.0))) + 1
                # What lies inside lies between edges, even if these are beyond the window.
                leftmost = min(leftmost, begin)
                rightmost = max(rightmost, stop)
                scale = 1.0 / squared if squared > 0.0 else 0.0
                step, base = ex * scale, above * ey * scale
                for column in range(begin, stop):
                    dx = column - x0
                    t = min(max(dx * step + base, 0.0), 1.0)
                    across, along = dx - t * ex, above - t * ey
                    near = across * across + along * along
                    nearest[column] = min(nearest[column], near)
            turns = 0
            for column in range(rightmost):
                turns += winding[column]
                if column < leftmost or (turns == 0 and nearest[column] > outer):
                    continue
                place = plane[n], y, left[n] + column
                if not trained[n]:
                    mask[place] = False
                    continue
                threshold_mask[place] = True
                if nearest[column] < middle_line:
                    value = thr_max - slope * np.sqrt(nearest[column])
                    threshold[place] = max(threshold[place], value)
                if turns != 0 and nearest[column] >= inner:
                    kernel[place] = 1.0


def draw(
    maps: DBTargets,
    shapes: TextPolygons,
    trained: np.ndarray,
    windows: Windows,
    *,
    slack: float,
    thr_min: float,
    thr_max: float,
) -> None:
    """Draw all polygons, in place.

    Args:
        maps (DBTargets): On the CPU; the masks and the threshold hold what is true without text.
        shapes (TextPolygons): What to draw.
        trained (np.ndarray): ``(N,)`` bool: whether a polygon has a kernel and a border; of the
            others the inside is masked.
        windows (Windows): The pixels to visit.
        slack (float): How much nearer or farther a pixel counts as right on an offset.
        thr_min, thr_max (float): See `mmtextplug.db.targets.db_targets`.
    """
    compiled(_loop)(
        *(plane.numpy() for plane in maps),
        shapes.points,
        shapes.count.cumsum(),
        shapes.image,
        # What is not trained on is masked up to its border: the offset 0.
        np.where(trained, shapes.distance, 0.0),
        trained,
        slack,
        float(thr_min),
        float(thr_max),
        windows.left.numpy(),
        windows.top.numpy(),
        windows.width.numpy(),
        windows.height.numpy(),
    )
