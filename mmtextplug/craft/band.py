"""A word laid straight: where the pixels of its straight crop lie in the image, and back.

Pure NumPy; the points of many words at once, on any device, are made by `sampling_grid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Crops are not wider than this times their height: more would be memory without text.
_WIDEST = 1000


@dataclass(frozen=True)
class Band:
    """A word between two rails; shares run from 0 to 1 along it and from 0 to 1 across it.

    Shares are those of a crop, whatever its size: column ``x`` of a crop ``w`` pixels wide lies at
    ``(x + 0.5) / w`` along, row ``y`` at ``(y + 0.5) / h`` across. In a quad seen in perspective
    equal shares are not equal lengths in the image.

    Attributes:
        upper, lower (np.ndarray): ``(m, 2)`` float64 (x, y), paired, in reading order.
        ticks (np.ndarray): ``(m,)`` share of the length at each pair: 0 to 1, not falling.
        length, height (float): In pixels of the image: means of both rails, and along the word.
        tilt (tuple[float, float]): Perspective along and across, of a quad: the homography's
            denominator is ``1 + tilt[0] * along + tilt[1] * across``. (0, 0) for strips.
    """

    upper: np.ndarray
    lower: np.ndarray
    ticks: np.ndarray
    length: float
    height: float
    tilt: tuple[float, float] = (0.0, 0.0)

    @property
    def is_upright(self) -> bool:
        """Whether the word reads downwards, or upwards, rather than to a side."""
        right, down = self.upper[-1] + self.lower[-1] - self.upper[0] - self.lower[0]
        return bool(abs(down) > abs(right))

    def size(self, height: int, max_width: int | None = None) -> tuple[int, int]:
        """Width and height in pixels of a crop that shows the word in its own proportions."""
        ratio = self.length / max(self.height, self.length / _WIDEST, 1e-9)
        width = max(round(height * ratio), 1)
        return (width if max_width is None else min(width, max_width)), height

    def ends(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points on the rails in homogeneous coordinates, each ``(n, 3)``, at shares ``(n,)``.

        What lies between them at a share ``t`` across is ``(1 - t) * upper + t * lower``. Shares
        below 0 count as 0, above 1 as 1.
        """
        along = np.clip(along, 0.0, 1.0)
        first, down = 1 + self.tilt[0] * along, self.tilt[1]
        if any(self.tilt):
            # Along a side of a quad the homography moves at the pace of its denominator.
            last = 1 + self.tilt[0]
            paces = along * last / first, along * (last + down) / (first + down)
        else:
            paces = along, along
        return tuple(
            np.stack([*(w * np.interp(pace, self.ticks, x) for x in rail.T), w], axis=1)
            for rail, pace, w in zip((self.upper, self.lower), paces, (first, first + down))
        )

    def to_image(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Points ``(..., 2)`` (x, y) of a crop of that (width, height), in the image; float64.

        The crop reaches from -0.5 to ``width - 0.5`` and ``height - 0.5``; points outside of it
        come to the nearest point of its border, so that nothing leaves the word.
        """
        shares = (np.asarray(points, np.float64).reshape(-1, 2) + 0.5) / size
        upper, lower = self.ends(shares[:, 0])
        mixed = upper + (lower - upper) * np.clip(shares[:, 1:], 0.0, 1.0)
        return (mixed[:, :2] / mixed[:, 2:]).reshape(np.shape(points))

    def part(self, start: float, end: float) -> Band:
        """The band of a section of the word, such as what the image's border leaves of it.

        Args:
            start, end (float): Shares along, as a crop's columns have them: columns ``a`` to ``b``
                (without ``b``) of a crop ``w`` pixels wide are ``part(a / w, b / w)``, and a share
                ``t`` of the part is ``start + t * (end - start)`` of the whole, in perspective too.

        Raises:
            ValueError: If not ``0 <= start < end <= 1``.
        """
        if not 0 <= start < end <= 1:
            raise ValueError(f"need 0 <= start < end <= 1, got start={start}, end={end}")
        within = self.ticks[(self.ticks > start) & (self.ticks < end)]
        along = np.concatenate([[start], within, [end]])
        upper, lower = (points[:, :2] / points[:, 2:] for points in self.ends(along))
        weight = 1 + self.tilt[0] * start
        tilt = self.tilt[0] * (end - start) / weight, self.tilt[1] / weight
        ticks = (along - start) / (end - start)
        return Band(upper, lower, ticks, *extent(upper, lower), tilt)


def sampling_grid(
    bands: Sequence[Band],
    sizes: Sequence[tuple[int, int]],
    padded: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Where the pixels of a batch of crops lie in their images.

    Args:
        bands (Sequence[Band]): N words.
        sizes (Sequence[tuple[int, int]]): (width, height) of each crop.
        padded (tuple[int, int]): (width, height) of all of them in the batch; pixels right of or
            below a crop lie on the word's last end and on its lower side.
        device (torch.device | str): Where to make it; a few numbers for each column travel there.

    Returns:
        Tensor: ``(N, H, W, 2)`` float32 (x, y) in pixels of the image.
    """
    width, height = padded
    columns = np.arange(width) + 0.5
    rails = np.zeros((2, len(bands), width, 3), np.float32)
    for index, (band, size) in enumerate(zip(bands, sizes, strict=True)):
        rails[:, index] = band.ends(columns / size[0])
    upper, lower = torch.from_numpy(rails).to(device, non_blocking=True)
    heights = torch.tensor([size[1] for size in sizes], dtype=torch.float32)
    heights = heights.to(device, non_blocking=True)
    across = (torch.arange(height, device=device) + 0.5)[None] / heights[:, None]
    # Unlike upper + (lower - upper) * across, this keeps small denominators exact near the end.
    mixed = torch.lerp(
        upper[:, None], lower[:, None], across.clamp(max=1.0)[:, :, None, None].expand(-1, -1, 1, 3)
    )
    return mixed[..., :2] / mixed[..., 2:]


def norm(vectors: np.ndarray) -> np.ndarray:
    """Lengths of vectors ``(n, 2)``."""
    return np.hypot(vectors[:, 0], vectors[:, 1])


def steps(rail: np.ndarray) -> np.ndarray:
    """Distances between neighbouring points ``(m, 2)`` of a rail."""
    return norm(rail[1:] - rail[:-1])


def extent(upper: np.ndarray, lower: np.ndarray) -> tuple[float, float]:
    """Mean length of two rails, and the mean distance between their points along them."""
    walked = (steps(upper) + steps(lower)) / 2
    rungs = norm(lower - upper)
    length = float(walked.sum())
    return length, float(((rungs[:-1] + rungs[1:]) / 2 * walked).sum() / max(length, 1e-9))
