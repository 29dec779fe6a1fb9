"""Words without characters, cut out of a batch of images and laid straight, for a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmtextplug.craft.band import Band, sampling_grid
from mmtextplug.craft.rectify import VERTICAL, word_band
from mmtextplug.datasets.graphemes import slots, slots_along, visible_length

DIVISOR = 32
"""Crops are padded to multiples of the network's coarsest stride."""


@dataclass(frozen=True)
class WordCrop:
    """A word to be labelled, or what the image shows of it.

    Attributes:
        image (int): Its image in the batch.
        word (int): Its place in ``gt_instances``.
        band (Band): In pixels of the image.
        places (list[bool] | None): Of its text, False for a space; None if the text is unknown.
    """

    image: int
    word: int
    band: Band
    places: list[bool] | None


def words_without_characters(
    samples: Sequence[BaseDataElement], *, vertical: float = VERTICAL
) -> tuple[list[WordCrop], int]:
    """What there is to label in a batch, after all augmentation.

    Words that are ignored, have characters already, or lie outside of the image cost nothing. Of a
    word that the border cuts, the places of its text whose middles are in the image remain.

    Args:
        samples (Sequence[BaseDataElement]): With ``gt_instances`` as ``PackCharInputs`` makes them.
        vertical (float): See `word_band`.

    Returns:
        tuple[list[WordCrop], int]: The words; and how many cannot be labelled: without area,
        without a visible character in their text, or not in view in one piece. Words outside the
        image are in neither.
    """
    crops, left_out = [], 0
    for index, sample in enumerate(samples):
        instances = sample.gt_instances
        if "chars" not in instances or not any(chars is None for chars in instances.chars):
            continue
        texts = instances.texts if "texts" in instances else [None] * len(instances)
        for word, (polygon, chars, text, ignored) in enumerate(
            zip(instances.polygons, instances.chars, texts, np.asarray(instances.ignored))
        ):
            if chars is not None or ignored:
                continue
            length = None if text is None else visible_length(text)
            band = None if length == 0 else word_band(polygon, length=length, vertical=vertical)
            if band is not None and _is_outside(band, sample.img_shape[:2]):
                continue
            seen = band and _visible(band, _places(text, band), sample.img_shape[:2])
            if seen is None:
                left_out += 1
            else:
                crops.append(WordCrop(index, word, *seen))
    return crops, left_out


def _places(text: str | None, band: Band) -> list[bool] | None:
    """The places of a text along the band; standing lines read downwards in any script."""
    if text is None:
        return None
    return slots(text) if band.is_upright else slots_along(text)


def _is_outside(band: Band, shape: tuple[int, int]) -> bool:
    ends = np.concatenate([band.upper, band.lower])
    return bool(
        (ends.max(0) < -0.5).any() or (ends.min(0) > (shape[1] - 0.5, shape[0] - 0.5)).any()
    )


def _visible(
    band: Band, places: list[bool] | None, shape: tuple[int, int]
) -> tuple[Band, list[bool] | None] | None:
    """The section of a word that is in the image, and its places; None if not in one piece."""
    ends = np.concatenate([band.upper, band.lower])
    if (ends > -0.5).all() and (ends < (shape[1] - 0.5, shape[0] - 0.5)).all():
        return band, places
    # Of an unknown text each place is as wide as the word is high.
    count = band.size(1)[0] if places is None else len(places)
    middles = np.stack([np.arange(count), np.zeros(count)], axis=1)
    x, y = band.to_image(middles, (count, 1)).T
    inside = (x > -0.5) & (y > -0.5) & (x < shape[1] - 0.5) & (y < shape[0] - 0.5)
    if inside.all():
        return band, places
    edges = np.flatnonzero(np.diff(np.r_[False, inside, False]))
    if len(edges) != 2:  # nothing in view, or a curve that leaves the image and comes back
        return None
    first, stop = map(int, edges)
    seen = None if places is None else places[first:stop]
    if seen is not None and not any(seen):
        return None
    return band.part(first / count, stop / count), seen


def buckets(
    sizes: Sequence[tuple[int, int]], max_pixels: int, waste: float = 1.25
) -> Iterator[list[int]]:
    """Indices of crops of similar widths, to be padded to the widest of them.

    Args:
        sizes (Sequence[tuple[int, int]]): (width, height) of crops.
        max_pixels (int): Of a bucket, padding included; a single crop may have more.
        waste (float): The widest crop of a bucket is at most so many times as wide as the
            narrowest, or within the multiple of `DIVISOR` above it; all are padded to one height.
    """
    bucket: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: (_padded(sizes[i][1]), sizes[i][0])):
        if bucket:
            width, height = map(_padded, sizes[index])
            narrowest = sizes[bucket[0]][0]
            fits = width <= max(_padded(narrowest), int(waste * narrowest))
            same = height == _padded(sizes[bucket[0]][1])
            if not (fits and same and (len(bucket) + 1) * width * height <= max_pixels):
                yield bucket
                bucket = []
        bucket.append(index)
    if bucket:
        yield bucket


def cut_out(images: Tensor, crops: Sequence[WordCrop], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Rectified words of a batch of images.

    Args:
        images (Tensor): ``(B, C, H, W)``, normalised.
        crops (Sequence[WordCrop]): N words.
        sizes (Sequence[tuple[int, int]]): (width, height) of each.

    Returns:
        Tensor: ``(N, C, h, w)``, the largest height and width, padded to multiples of `DIVISOR`;
        0, the mean colour, outside of the image and where a crop is smaller.
    """
    width, height = (_padded(max(size[axis] for size in sizes)) for axis in (0, 1))
    grid = sampling_grid([c.band for c in crops], sizes, (width, height), device=images.device)
    # Bilinear sampling passes over pixels when it shrinks by more than two: such words are taken
    # from an image that is shrunk first, by averaging.
    levels = [
        max(int(np.log2(max(crop.band.height / size[1], 1))), 0) for crop, size in zip(crops, sizes)
    ]
    out = images.new_zeros((len(crops), images.shape[1], height, width))
    shrunk: dict[tuple[int, int], Tensor] = {}
    for key in sorted({(crop.image, level) for crop, level in zip(crops, levels)}):
        image, level = key
        level = min(level, int(np.log2(min(images.shape[2:]))))
        source = images[image : image + 1]
        shrunk[key] = F.avg_pool2d(source, 2**level) if level else source
        members = [i for i, crop in enumerate(crops) if (crop.image, levels[i]) == key]
        extent = grid.new_tensor(shrunk[key].shape[:1:-1]) * 2**level
        # One image for all crops, one below the other: nothing is copied for each.
        where = ((grid[members] + 0.5) * (2 / extent) - 1).flatten(0, 1)[None]
        found = F.grid_sample(shrunk[key], where.to(images.dtype), align_corners=False)
        out[members] = found.view(-1, len(members), height, width).transpose(0, 1)
    columns = torch.arange(width, device=images.device)
    rows = torch.arange(height, device=images.device)
    limits = torch.tensor(sizes, device=images.device)
    inside = (columns < limits[:, :1])[:, None, :] & (rows < limits[:, 1:])[:, :, None]
    return out * inside[:, None]


def _padded(side: int) -> int:
    return -(-side // DIVISOR) * DIVISOR
