"""Images of any size through a network of limited memory: by tiles that overlap."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

HALO = 320
"""Overlap of tiles, in pixels, of networks whose scores depend on all of an image: what is around
them counts most, and of those that do not look at all of it none here looks farther."""

_STRIP = 1024  # the input in which a reach is measured, cut in the middle


def reach(maps: Callable[[Tensor], Tensor], device: torch.device) -> int | None:
    """How far scores depend on what lies beyond a cut at a multiple of 32 px: the overlap of tiles.

    Measured exactly: NaNs on one side of a cut make a NaN of every score that depends on them.

    Args:
        maps (Callable): From ``(1, 3, H, W)`` to score maps, see `tiled_maps`; in evaluation mode.
        device (torch.device): Where it runs.

    Returns:
        int | None: In pixels of the input; None if all the other side depends on them, as where a
        network averages over the whole image.
    """
    middle = _STRIP // 2
    found = 0
    for axis, begin in itertools.product((-2, -1), (0, middle)):
        inputs = torch.zeros(1, 3, *((_STRIP, 32) if axis == -2 else (32, _STRIP)), device=device)
        inputs.narrow(axis, begin, middle).fill_(float("nan"))
        with torch.inference_mode(), _plain_convolutions():
            lost = maps(inputs).isnan()
        lost = lost.movedim(axis, 0).flatten(1).any(1)
        found = max(found, (int(lost.sum()) - len(lost) // 2) * (_STRIP // len(lost)))
    return found if found < middle else None


@contextlib.contextmanager
def _plain_convolutions() -> Iterator[None]:
    """Without the fast ones: they work on blocks of pixels, all of which a NaN would spoil."""
    backends = torch.backends.mkldnn, torch.backends.cudnn
    before = [backend.enabled for backend in backends]
    try:
        for backend in backends:
            backend.enabled = False
        yield
    finally:
        for backend, enabled in zip(backends, before):
            backend.enabled = enabled


class Span(NamedTuple):
    """One side of a tile, in pixels: what the network sees, and what is taken of it."""

    start: int
    stop: int
    take_from: int
    take_to: int


def spans(length: int, tile: int, halo: int, step: int) -> list[Span]:
    """Cover a length with tiles that see ``halo`` pixels more on each side than they give.

    Args:
        length (int): In pixels, a multiple of ``step``.
        tile (int): What a tile sees at most; more than ``2 * halo``.
        halo (int): A multiple of ``step``.
        step (int): Tiles begin and end at multiples of it, where the network's strides meet.

    Returns:
        list[Span]: In order, what is taken one right after the other.

    Raises:
        ValueError: If a tile that sees so little would give nothing.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    inner = (tile - 2 * halo) // step * step
    if inner < step:
        raise ValueError(
            f"tiles of {tile} px give nothing beyond an overlap of {halo} px on each side: they "
            f"need at least {2 * halo + step} px"
        )
    # The first and the last tile have an overlap on one side only, and all are alike otherwise.
    count = -(-(length - 2 * halo) // inner)
    cuts = [0, *(halo + inner * index for index in range(1, count)), length]
    return [
        Span(max(begin - halo, 0), min(end + halo, length), begin, end)
        for begin, end in itertools.pairwise(cuts)
    ]


def tiled_maps(
    network: Callable[[Tensor], Tensor],
    prepare: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    tile: int,
    halo: int,
    step: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The score maps of an image, computed tile by tile.

    They are those of the whole image where the overlap covers what a score depends on, so that
    words on seams are whole.

    Args:
        network (Callable): From ``(1, 3, H, W)`` to ``(1, C, H / s, W / s)`` or ``(1, H/s, W/s)``.
        prepare (Callable): From a part of the image, ``(3, h, w)``, to the network's input
            ``(1, 3, h', w')``, padded on the right and below to multiples of ``step``.
        image (Tensor): ``(3, H, W)``.
        tile (int): Side of a tile at most, in pixels.
        halo (int): Overlap, in pixels, a multiple of ``step``.
        step (int): See `spans`.
        progress (Callable, optional): Told after each tile how many are done, and of how many.

    Returns:
        Tensor: ``(1, C, h, w)`` or ``(1, h, w)`` float32, in the memory of the CPU; for the image
        padded to multiples of ``step``.
    """
    height, width = (-(-side // step) * step for side in image.shape[1:])
    places = list(
        itertools.product(spans(height, tile, halo, step), spans(width, tile, halo, step))
    )
    maps = None
    for index, (rows, columns) in enumerate(places):
        part = image[:, rows.start : rows.stop, columns.start : columns.stop]
        found = network(prepare(part))
        if maps is None:
            stride = (columns.stop - columns.start) // found.shape[-1]
            lead = found.shape[:-2]
            maps = torch.empty(*lead, height // stride, width // stride)
        seen, taken = _slices(rows, columns, stride)
        maps[(..., *taken)] = found[(..., *seen)].cpu()
        if progress is not None:
            progress(index + 1, len(places))
    return maps


def _slices(
    rows: Span, columns: Span, stride: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What to take from a tile's maps, and where it goes in the image's."""
    seen = tuple(
        slice((side.take_from - side.start) // stride, (side.take_to - side.start) // stride)
        for side in (rows, columns)
    )
    taken = tuple(
        slice(side.take_from // stride, side.take_to // stride) for side in (rows, columns)
    )
    return seen, taken
