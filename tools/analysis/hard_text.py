"""Pictures for the comparison of samplers: words, things hard to tell from words, proposals.

Two transforms that follow ``GeneratedTextDataset``. What is random about a picture depends on its
number alone, so that every training sees the same pictures with the same proposals.
"""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.evaluation.functional import bbox_overlaps
from mmengine.registry import TRANSFORMS

from mmtextplug.datasets.distractors import draw_symbols

_CELL = 4  # pixels a side of the cells in which draw_symbols books free ground
_STRIPS = 4  # as wide as a word is high are so many strips of it,
_LEAST_STRIP = 3  # and no narrower than so many pixels


@TRANSFORMS.register_module()
class HardNegatives(BaseTransform):
    """Cuts some words into strips and mixes them, and draws symbols between the words.

    A scrambled word has the fonts, colours, edges and plates of words; only its letters are none.
    Words that stand too close to others stay as they are.

    Reads ``img``, ``instances`` and ``sample_idx``. Replaces ``img``; adds ``gt_bboxes``
    ``(N, 4)`` float32, ``gt_bboxes_labels`` ``(N,)`` int64, all 0, ``gt_ignore_flags`` ``(N,)``,
    all False, the boxes ``scrambled`` ``(M, 4)`` and ``symbols`` ``(S, 4)``; ``scale_factor`` is 1.

    Args:
        seed (int): With the number of a picture, decides all that is random.
        share (float): Chance of a word to be scrambled.
        symbols (tuple[int, int]): Fewest and most symbols to try.
    """

    def __init__(self, seed: int, share: float = 0.3, symbols: tuple[int, int] = (3, 8)) -> None:
        self.seed, self.share, self.symbols = seed, share, symbols

    def transform(self, results: dict) -> dict:
        rng = np.random.default_rng([self.seed, results["sample_idx"], 1])
        image = results["img"].copy()
        # Pixel centres have integer coordinates there, pixels a size here.
        boxes = _boxes([word["bbox"] for word in results["instances"]]) + np.float32(0.5)
        chosen = rng.random(len(boxes)) < self.share
        for number in np.flatnonzero(chosen):
            alone = not _touch(boxes[number], np.delete(boxes, number, axis=0)).any()
            chosen[number] = alone and scramble(image, boxes[number], rng)
        first, last = self.symbols
        drawn = symbols(image, boxes, rng, int(rng.integers(first, last + 1)))
        results.update(
            img=image,
            gt_bboxes=boxes[~chosen],
            gt_bboxes_labels=np.zeros((~chosen).sum(), np.int64),
            gt_ignore_flags=np.zeros((~chosen).sum(), bool),
            scrambled=boxes[chosen],
            symbols=drawn,
            scale_factor=(1.0, 1.0),
        )
        return results


@TRANSFORMS.register_module()
class FixedProposals(BaseTransform):
    """Proposals as an external method would give them, the same whenever the picture is seen.

    Of words, scrambled words and symbols each gets its share, at overlaps from 0.3 to 0.95, so that
    neither place nor number tells a word; the others lie anywhere, half of them on top of each
    other. Shares of what a picture does not have lie anywhere too.

    Reads ``img``, ``sample_idx``, ``gt_bboxes``, ``scrambled`` and ``symbols``; adds ``proposals``
    ``(total, 4)`` float32 in random order and ``proposals_scores`` ``(total,)``, all 1.

    Args:
        seed (int): With the number of a picture, decides all that is random.
        total (int): Proposals of a picture.
        around (tuple[int, int, int]): Of them around words, scrambled words and symbols.
    """

    def __init__(
        self, seed: int, total: int = 400, around: tuple[int, int, int] = (40, 12, 8)
    ) -> None:
        if total < sum(around):
            raise ValueError(f"FixedProposals: total={total} is less than around={tuple(around)}")
        self.seed, self.total, self.around = seed, total, around

    def transform(self, results: dict) -> dict:
        rng = np.random.default_rng([self.seed, results["sample_idx"], 2])
        size = results["img"].shape[:2]
        things = (results["gt_bboxes"], results["scrambled"], results["symbols"])
        parts = [
            jittered(boxes, count, size, rng)
            for boxes, count in zip(things, self.around)
            if len(boxes)
        ]
        left = self.total - sum(map(len, parts))
        loose = anywhere(left - left // 2, size, rng)
        parts += [loose, jittered(loose, left // 2, size, rng, low=0.6)]
        proposals = rng.permutation(np.concatenate(parts))
        results.update(proposals=proposals, proposals_scores=np.ones(len(proposals), np.float32))
        return results


def scramble(image: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> bool:
    """Cut a box of a picture into upright strips and put them in another order, in place.

    Args:
        image: ``(H, W, 3)`` uint8.
        box: ``(4,)`` x1, y1, x2, y2.
        rng: source of chance.

    Returns:
        Whether it was done: not where the box leaves the picture or is narrower than two strips.
    """
    x0, y0 = np.floor(box[:2]).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int)
    width = max((y1 - y0) // _STRIPS, _LEAST_STRIP)
    if min(x0, y0) < 0 or x1 > image.shape[1] or y1 > image.shape[0] or x1 - x0 < 2 * width:
        return False
    part = image[y0:y1, x0:x1]
    strips = np.split(part, range(width, x1 - x0, width), axis=1)
    order = rng.permutation(len(strips))
    if (np.diff(order) > 0).all():  # as it was
        order = order[::-1]
    part[:] = np.concatenate([strips[number] for number in order], axis=1)
    return True


def symbols(
    image: np.ndarray, words: np.ndarray, rng: np.random.Generator, count: int
) -> np.ndarray:
    """Draw up to ``count`` symbols in place beside the words; their boxes, ``(S, 4)`` float32.

    Boxes are those of the cells of 4 pixels that a symbol takes, a little larger than it.
    """
    height, width = image.shape[:2]
    taken = np.zeros((height // _CELL, width // _CELL), np.uint8)
    for x0, y0, x1, y1 in words / _CELL:
        taken[max(int(y0) - 1, 0) : int(y1) + 2, max(int(x0) - 1, 0) : int(x1) + 2] = 1
    boxes = []
    for _ in range(count):
        before = taken.copy()
        # One at a time: where it lies is told only by what it takes.
        draw_symbols(image, taken, _CELL, rng, 1)
        rows, columns = np.nonzero(taken != before)
        if len(rows):
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return _boxes(boxes) * _CELL


def jittered(
    boxes: np.ndarray,
    count: int,
    size: tuple[int, int],
    rng: np.random.Generator,
    low: float = 0.3,
    high: float = 0.95,
    tries: int = 24,
) -> np.ndarray:
    """``count`` boxes near the given ones, their overlaps spread evenly over ``[low, high]``.

    Args:
        boxes: ``(N, 4)``, one at least unless ``count`` is 0; all get equally many.
        count: boxes wanted.
        size: height and width of the picture, to which boxes are clipped.
        rng: source of chance.
        low, high: overlaps (intersection over union) wanted; met as far as clipping lets.
        tries: guesses for each box, of which the one nearest to the overlap wanted stays.

    Returns:
        ``(count, 4)`` float32.
    """
    owner = boxes[np.arange(count) % max(len(boxes), 1)][:, None]
    wanted = rng.uniform(low, high, (count, 1))
    sides = owner[..., 2:] - owner[..., :2]
    # About as far away as the overlap wanted asks for, in every direction.
    spread = (1 - wanted)[..., None] * rng.uniform(0.3, 1.2, (count, tries, 1))
    centre = (owner[..., :2] + owner[..., 2:]) / 2 + sides * 0.5 * spread * rng.normal(
        size=(count, tries, 2)
    )
    half = sides / 2 * np.exp(0.8 * spread * rng.normal(size=(count, tries, 2)))
    guesses = _clipped(np.concatenate([centre - half, centre + half], axis=-1), size)
    inner = np.minimum(guesses[..., 2:], owner[..., 2:]) - np.maximum(
        guesses[..., :2], owner[..., :2]
    )
    shared = inner.clip(0).prod(-1)
    area = (guesses[..., 2:] - guesses[..., :2]).prod(-1)
    overlap = shared / (area + sides.prod(-1) - shared)
    best = np.abs(overlap - wanted).argmin(1)
    return guesses[np.arange(count), best].astype(np.float32)


def anywhere(count: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """``(count, 4)`` float32 boxes of the shapes of words, wherever they fall."""
    height = rng.uniform(10, 56, count)
    width = height * np.exp(rng.uniform(-0.5, 1.8, count))
    half = np.stack([width, height], 1) / 2
    centre = rng.random((count, 2)) * size[::-1]
    return _clipped(np.concatenate([centre - half, centre + half], 1), size).astype(np.float32)


def _clipped(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Within the picture, 4 pixels wide and high at least."""
    limit = np.array(size[::-1])
    start = boxes[..., :2].clip(0, limit - 4)
    return np.concatenate([start, boxes[..., 2:].clip(start + 4, limit)], axis=-1)


def _boxes(rows: list) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 4)


def _touch(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which boxes a box overlaps, ``(N,)`` bool."""
    return bbox_overlaps(box[None], others)[0] > 0
