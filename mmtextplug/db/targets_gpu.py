"""DB's targets by tensor operations, for GPUs: sizes are decided on the host, nothing waits.

Each polygon has a window of pixels, and a column more, which takes the crossings beyond. Each edge
visits the pixels within D of it, in a window of its own, and leaves the least distance there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmtextplug.geometry import Windows, to_device

if TYPE_CHECKING:
    from mmtextplug.db.shapes import TextPolygons
    from mmtextplug.db.targets import DBTargets


def draw(
    maps: DBTargets,
    shapes: TextPolygons,
    ignored: Sequence[bool] | Tensor,
    windows: Windows,
    *,
    slack: float,
    thr_min: float,
    thr_max: float,
) -> DBTargets:
    """Draw all polygons; arguments as in `mmtextplug.db.targets_cpu.draw`, ``ignored`` anywhere.

    Returns:
        DBTargets: New masks, and the maps given, drawn on.
    """
    kernel, mask, threshold, _ = maps
    device, (height, width) = kernel.device, kernel.shape[1:]
    ignored = to_device(torch.as_tensor(ignored, dtype=torch.bool), device)
    trained = to_device(torch.from_numpy(shapes.fault == 0), device) & ~ignored
    plane = to_device(torch.from_numpy(shapes.image), device) * (height * width)
    offset = to_device(torch.from_numpy(shapes.distance).float(), device)
    # Booleans have no atomic maximum everywhere; numbers have.
    border, masked = torch.zeros((2, kernel.numel()), device=device)
    padded = Windows(windows.left, windows.top, windows.width + 1, windows.height)
    edges = _Edges.of(shapes)
    for part, total in padded.chunks():
        index, x, y = next(padded[part].pixels(device))
        inside, nearest = edges.draw(padded[part], part, total, shapes.distance, slack, device)
        right = to_device((windows.left + windows.width)[part], device)
        visible = x < right[index]
        index = index + part.start
        apart, far = nearest.sqrt(), offset[index]
        drawn = trained[index] & visible
        on_border = drawn & (inside | (apart <= far + slack))
        in_kernel = drawn & inside & (apart >= far - slack)
        in_ignored = ~trained[index] & visible & (inside | (apart <= slack))
        share = (1 - apart / far.clamp(min=slack)).clamp(min=0)
        value = torch.where(on_border, thr_min + (thr_max - thr_min) * share, thr_min)
        # The column more is nowhere: it changes nothing, at a pixel that exists.
        target = plane[index] + y * width + x.clamp(max=width - 1)
        kernel.view(-1).scatter_reduce_(0, target, in_kernel.float(), "amax")
        threshold.view(-1).scatter_reduce_(0, target, value, "amax")
        border.scatter_reduce_(0, target, on_border.float(), "amax")
        masked.scatter_reduce_(0, target, in_ignored.float(), "amax")
    return maps._replace(
        mask=(masked == 0).view_as(mask), threshold_mask=(border > 0).view_as(mask)
    )


class _Edges(NamedTuple):
    """The V edges of all polygons, on the host: where they begin and end, and whose they are."""

    begin: Tensor
    end: Tensor
    owner: Tensor
    ends: np.ndarray

    @classmethod
    def of(cls, shapes: TextPolygons) -> _Edges:
        ends = shapes.count.cumsum()
        following = np.arange(1, len(shapes.points) + 1)
        drawn = shapes.count > 0
        following[ends[drawn] - 1] = (ends - shapes.count)[drawn]
        owner = np.repeat(np.arange(len(shapes)), shapes.count)
        corners = (shapes.points, shapes.points[following], owner)
        return cls(*(torch.from_numpy(array) for array in corners), ends)

    def draw(
        self,
        windows: Windows,
        part: slice,
        total: int,
        distance: np.ndarray,
        slack: float,
        device: torch.device,
    ) -> tuple[Tensor, Tensor]:
        """Whether the pixels of some polygons' windows lie inside, and their squared distances.

        Distances beyond D are infinite.
        """
        own = slice(self.ends[part.start - 1] if part.start else 0, self.ends[part.stop - 1])
        owner = self.owner[own] - part.start
        # Relative to the window, where float32 is fine.
        origin = torch.stack([windows.left, windows.top], 1)[owner]
        # A corner must come out the same for both of its edges: as a sum of the other end and the
        # way from there it might lie across a row, and the crossings below would not cancel.
        begin, end = self.begin[own] - origin, self.end[own] - origin
        low, high = torch.minimum(begin, end), torch.maximum(begin, end)
        size = (windows.height[owner], windows.width[owner])
        # The crossing of an edge with each row that it spans, its lower end left out.
        limit = size[0].to(low)
        first = torch.minimum(low[:, 1].ceil().clamp(min=0), limit).long()
        last = torch.minimum(high[:, 1].ceil().clamp(min=0), limit).long()
        one, zero = torch.ones_like(first), torch.zeros_like(first)
        rows = Windows(zero, first, one, (last - first).clamp(min=0))
        reach = torch.from_numpy(distance)[self.owner[own]][:, None] + slack
        near = Windows.around(low - reach, high + reach, size)

        area = windows.area
        place = torch.stack([(area.cumsum(0) - area)[owner], windows.width[owner]], 1)
        place = to_device(place, device)
        edge = to_device(torch.cat([begin, end - begin], 1).float(), device)
        crossings = torch.zeros(total, dtype=torch.int32, device=device)
        for index, _, y in rows.pixels(device):
            x0, y0, ex, ey = edge[index].unbind(1)
            base, columns = place[index].unbind(1)
            # Between the ends, however little of a fall float32 has left.
            share = ((y - y0) / ey).nan_to_num(0.5).clamp(0, 1)
            cut = (x0 + share * ex).ceil().long().clamp(min=0)
            turn = torch.where(ey > 0, 1, -1).to(crossings)
            crossings.scatter_add_(0, base + y * columns + cut.minimum(columns - 1), turn)
        nearest = torch.full((total,), float("inf"), device=device)
        for index, x, y in near.pixels(device):
            x0, y0, ex, ey = edge[index].unbind(1)
            base, columns = place[index].unbind(1)
            dx, dy = x - x0, y - y0
            along = (dx * ex + dy * ey) / (ex * ex + ey * ey).clamp(min=1e-12)
            along = along.clamp(0, 1)
            squared = (dx - along * ex) ** 2 + (dy - along * ey) ** 2
            nearest.scatter_reduce_(0, base + y * columns + x, squared, "amin")
        # Each row ends with as many turns back as it had: sums run on from row to row.
        return crossings.cumsum(0) != 0, nearest
