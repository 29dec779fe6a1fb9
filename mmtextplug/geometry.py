"""Quads and polygons: validity, area, centre, homographies, and the pixels inside polygons.

Everything here is a pure function on tensors. Coordinates are ``(x, y)`` in pixels, a pixel's
centre lies on its integer coordinates (OpenCV's convention), and "clockwise" is as seen on the
screen, with y pointing down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Pixels handled at once by the functions that visit every pixel of many windows: bounds their
# memory to some hundred megabytes however many and however large the shapes are.
PIXELS_PER_CHUNK = 4_000_000


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Send a tensor from the host on its way, through pinned memory, so that nobody waits."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """z component of the cross product of 2-D vectors ``(..., 2)``; ``(...)``."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def polygon_area(polygons: Tensor) -> Tensor:
    """Signed area of polygons, positive when clockwise on the screen (shoelace formula).

    Args:
        polygons (Tensor): ``(..., K, 2)``, in pixels.

    Returns:
        Tensor: ``(...)``, in square pixels.
    """
    # Relative to the first corner: far from the origin the products would cancel badly.
    local = polygons - polygons[..., :1, :]
    return 0.5 * cross(local, local.roll(-1, dims=-2)).sum(-1)


def convex_quads(quads: Tensor, min_area: float = 1e-3) -> Tensor:
    """Which quads are finite, strictly convex, clockwise and larger than ``min_area``.

    Args:
        quads (Tensor): ``(N, 4, 2)``, in pixels.
        min_area (float): In square pixels.

    Returns:
        Tensor: ``(N,)`` bool. Inverted (counter-clockwise), self-crossing and degenerate quads,
        and those with a NaN or infinite corner, are False.
    """
    edges = quads.roll(-1, dims=1) - quads
    turns = cross(edges, edges.roll(-1, dims=1))
    # Four turns of one sign mean convex; a quad cannot wind twice, so clockwise follows.
    return (
        torch.isfinite(quads).all(2).all(1) & (turns > 0).all(1) & (polygon_area(quads) > min_area)
    )


def diagonal_intersection(quads: Tensor) -> Tensor:
    """Where the diagonals of convex quads meet: the image of a square's centre.

    Args:
        quads (Tensor): ``(N, 4, 2)``, convex.

    Returns:
        Tensor: ``(N, 2)``.
    """
    first, second = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
    along = cross(quads[:, 1] - quads[:, 0], second) / cross(first, second)
    return quads[:, 0] + along[:, None] * first


def quad_to_square(quads: Tensor) -> Tensor:
    """Homographies that take convex quads to the square ``[-1, 1] x [-1, 1]``, in closed form.

    Corner 0 goes to (-1, -1), 1 to (1, -1), 2 to (1, 1), 3 to (-1, 1) (Heckbert, Fundamentals of
    Texture Mapping, 1989, section 2.2.3, with the inverse as the adjugate).

    Args:
        quads (Tensor): ``(N, 4, 2)``, convex; best given relative to a point inside.

    Returns:
        Tensor: ``(N, 3, 3)``, with a denominator that is positive inside clockwise quads.
    """
    p0, p1, p2, p3 = quads.unbind(1)
    total = p0 - p1 + p2 - p3
    right, down = p1 - p2, p3 - p2
    det = cross(right, down)
    g = cross(total, down) / det
    h = cross(right, total) / det
    # Unit square -> quad.
    forward = torch.stack(
        [
            torch.cat([p1 - p0 + g[:, None] * p1, g[:, None]], 1),
            torch.cat([p3 - p0 + h[:, None] * p3, h[:, None]], 1),
            torch.cat([p0, torch.ones_like(g)[:, None]], 1),
        ],
        dim=2,
    )
    a, b, c = forward.unbind(2)
    # Rows of the adjugate are cross products of the columns: det * inverse.
    inverse = torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=1
    )
    # (u, v) of the unit square -> (2u - 1, 2v - 1).
    u, v, w = inverse.unbind(1)
    # The determinant of a clockwise quad's homography is positive, so w > 0 inside the quad.
    return torch.stack([2 * u - w, 2 * v - w, w], dim=1)


@dataclass(frozen=True)
class Windows:
    """Integer pixel windows, clipped to a map, of N shapes.

    Attributes:
        left, top, width, height (Tensor): ``(N,)`` int64; an empty window has width or height 0.
    """

    left: Tensor
    top: Tensor
    width: Tensor
    height: Tensor

    @classmethod
    def around(
        cls, low: Tensor, high: Tensor, size: tuple[int, int] | tuple[Tensor, Tensor]
    ) -> Windows:
        """The pixels of maps ``size`` (H, W), all of one or ``(N,)`` each, with
        ``low <= (x, y) <= high``, each ``(N, 2)``."""
        limit = torch.stack([torch.as_tensor(side) for side in size[::-1]], -1).to(low)
        zero = torch.zeros_like(limit)
        first = torch.minimum(torch.maximum(low.ceil(), zero), limit).long()
        last = torch.minimum(torch.maximum(high.floor() + 1, zero), limit).long()
        extent = (last - first).clamp(min=0)
        return cls(first[:, 0], first[:, 1], extent[:, 0], extent[:, 1])

    @property
    def area(self) -> Tensor:
        return self.width * self.height

    def __getitem__(self, part: slice | Tensor) -> Windows:
        return Windows(self.left[part], self.top[part], self.width[part], self.height[part])

    def chunks(self) -> Iterator[tuple[slice, int]]:
        """Runs of windows of bounded size, and how many pixels (some) they have."""
        ends = self.area.cumsum(0).cpu().numpy()
        start = 0
        while start < len(ends):
            done = int(ends[start - 1]) if start else 0
            stop = int(np.searchsorted(ends, done + PIXELS_PER_CHUNK, side="right"))
            stop = max(stop, start + 1)
            total = int(ends[stop - 1]) - done
            if total:
                yield slice(start, stop), total
            start = stop

    def pixels(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Every pixel of every window, in chunks of bounded size.

        Yields:
            tuple: Shape index, x and y of each pixel, ``(P,)`` int64 on ``device``. Sizes are
            decided where the windows live: with windows on the host nothing waits for a GPU.
        """
        for part, total in self.chunks():
            w = self[part]
            packed = torch.stack([w.left, w.top, w.width, w.area])
            left, top, width, count = to_device(packed, device)
            index = torch.repeat_interleave(
                torch.arange(len(count), device=device), count, output_size=total
            )
            offset = torch.arange(total, device=device) - (count.cumsum(0) - count)[index]
            width = width[index]
            row = torch.div(offset, width, rounding_mode="floor")
            yield index + part.start, left[index] + offset - row * width, top[index] + row


def fill_polygons(
    polygons: Sequence[np.ndarray],
    values: Sequence[float],
    size: tuple[int, int],
    *,
    batch_index: Sequence[int] | None = None,
    batch_size: int = 1,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Fill polygons on a batch of maps; where several overlap the smallest value stays.

    Args:
        polygons (Sequence[np.ndarray]): N arrays ``(K, 2)``, any number of corners, in map pixels.
        values (Sequence[float]): ``(N,)``.
        size (tuple[int, int]): (H, W) of the maps.
        batch_index (Sequence[int], optional): ``(N,)``, the map each polygon belongs to.
        batch_size (int): Number of maps.
        device (torch.device | str): Where to draw.

    Returns:
        Tensor: ``(B, H, W)`` float32; ``inf`` where no polygon is. A pixel is inside by the
        even-odd rule at its centre; polygons that are empty or not finite fill nothing.
    """
    device = torch.device(device)
    height, width = size
    maps = torch.full((batch_size * height * width,), float("inf"), device=device)
    usable = [i for i, p in enumerate(polygons) if len(p) and np.isfinite(p).all()]
    if not usable:
        return maps.view(batch_size, height, width)
    corners = max(len(polygons[i]) for i in usable)
    # Repeating the last corner adds edges of no length, which cross nothing.
    padded = np.stack(
        [
            np.pad(polygons[i], ((0, corners - len(polygons[i])), (0, 0)), mode="edge")
            for i in usable
        ]
    ).astype(np.float32)
    first = torch.from_numpy(padded)
    windows = Windows.around(first.amin(1), first.amax(1), size)
    offset = np.zeros(len(usable)) if batch_index is None else np.asarray(batch_index)[usable]
    offset = torch.from_numpy(offset * float(height * width)).long()
    offset = to_device(offset, device)
    value = to_device(torch.from_numpy(np.asarray(values, dtype=np.float32)[usable]), device)
    edges = to_device(torch.cat([first, first.roll(-1, dims=1)], dim=2), device)
    for index, x, y in windows.pixels(device):
        inside = torch.zeros(len(index), dtype=torch.bool, device=device)
        for k in range(corners):
            x0, y0, x1, y1 = edges[index, k].unbind(1)
            crossing = (y0 <= y) != (y1 <= y)
            inside ^= crossing & (
                x < x0 + (y - y0) * (x1 - x0) / torch.where(crossing, y1 - y0, 1.0)
            )
        target = offset[index] + y * width + x
        painted = torch.where(inside, value[index], torch.full_like(value[index], float("inf")))
        maps.scatter_reduce_(0, target, painted, "amin")
    return maps.view(batch_size, height, width)
