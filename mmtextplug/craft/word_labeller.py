"""A word's characters from a teacher's region score: rectified, predicted in batches, split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmtextplug.craft.char_split import BACKGROUND, FOREGROUND, Split, split_word
from mmtextplug.craft.rectify import VERTICAL
from mmtextplug.craft.teacher import Teacher
from mmtextplug.craft.word_crops import DIVISOR, WordCrop, buckets, cut_out


@dataclass(frozen=True)
class WordLabel:
    """The characters that a teacher found in a word.

    Attributes:
        crop (WordCrop): The word.
        region (np.ndarray): ``(h, w)`` region score of the rectified word.
        split (Split): Its characters in pixels of the region score.
        chars (np.ndarray): ``(n, 4, 2)`` float32, in pixels of the image.
    """

    crop: WordCrop
    region: np.ndarray
    split: Split
    chars: np.ndarray


class WordLabeller:
    """Finds characters in words of known outline and text with a teacher's region score.

    Args:
        crop_height (int): Height in pixels that words are rectified to. 64 counts the characters of
            small text better, and costs four times as much.
        max_zoom (float): Small words are enlarged no further than this, rounded up to a multiple of
            32 pixels: enlarging costs the teacher's time and shows it nothing new.
        max_crop_width (int): Longer words are squeezed.
        crop_pixels (int): Pixels of words that the teacher sees at once.
        foreground, background (float): See `mmtextplug.craft.char_split.split_word`. Teachers whose
            scores stay low need a lower foreground.
        vertical (float): See `mmtextplug.craft.rectify.word_band`.
        unknown_confidence (float): Confidence of words whose text is unknown.
        threads (int): Threads that split words.
    """

    def __init__(
        self,
        crop_height: int = 32,
        max_zoom: float = 2.0,
        max_crop_width: int = 1024,
        crop_pixels: int = 2_000_000,
        foreground: float = FOREGROUND,
        background: float = BACKGROUND,
        vertical: float = VERTICAL,
        unknown_confidence: float = 0.5,
        threads: int = 4,
    ) -> None:
        for name, value in (
            ("crop_height", crop_height),
            ("max_zoom", max_zoom),
            ("max_crop_width", max_crop_width),
            ("threads", threads),
        ):
            if not value >= 1:
                raise ValueError(f"{name}={value} must be 1 or more")
        if not 0 <= unknown_confidence <= 1:
            raise ValueError(f"unknown_confidence={unknown_confidence} must be in [0, 1]")
        if not 0 <= background <= foreground < 1:
            raise ValueError(f"need 0 <= background={background} <= foreground={foreground} < 1")
        self.crop_height, self.max_zoom = crop_height, max_zoom
        self.max_crop_width, self.crop_pixels = max_crop_width, crop_pixels
        self.vertical = vertical
        self.thresholds = dict(foreground=foreground, background=background)
        self.unknown_confidence = unknown_confidence
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="split_word")

    def label(
        self,
        teacher: Teacher,
        images: Tensor,
        crops: Sequence[WordCrop],
        amp: torch.dtype | None = None,
    ) -> list[WordLabel]:
        """Characters of words, in their order.

        Args:
            teacher (Teacher): Gives the region score.
            images (Tensor): ``(B, 3, H, W)``, normalised.
            crops (Sequence[WordCrop]): See `words_without_characters`.
            amp (torch.dtype, optional): Type that the teacher runs in.
        """
        sizes = [self.size(crop) for crop in crops]
        maps = []
        with torch.inference_mode():
            for bucket in buckets(sizes, self.crop_pixels):
                batch = cut_out(images, [crops[i] for i in bucket], [sizes[i] for i in bucket])
                scores = teacher.region(batch, amp)
                strides = [side / cells for side, cells in zip(batch.shape[2:], scores.shape[1:])]
                maps.append((bucket, scores, strides))
            # The device works on all of them before the host waits for the first.
            futures = {
                index: self.pool.submit(self._finish, crops[index], sizes[index], score, strides)
                for bucket, scores, strides in maps
                for index, score in zip(bucket, scores.cpu().numpy())
            }
        return [futures[index].result() for index in range(len(crops))]

    def size(self, crop: WordCrop) -> tuple[int, int]:
        """Width and height that a word is rectified to, in pixels."""
        enough = DIVISOR * math.ceil(self.max_zoom * crop.band.height / DIVISOR)
        return crop.band.size(min(self.crop_height, enough), self.max_crop_width)

    def _finish(
        self, crop: WordCrop, size: tuple[int, int], score: np.ndarray, strides: Sequence[float]
    ) -> WordLabel:
        height, width = (max(round(side / stride), 1) for side, stride in zip(size[::-1], strides))
        region = score[:height, :width]
        split = split_word(region, crop.places, **self.thresholds)
        chars = crop.band.to_image(split.quads, (width, height)).astype(np.float32)
        return WordLabel(crop, region, split, chars)

    def confidence(self, label: WordLabel) -> float:
        """How far a word's characters are to be believed; 0 without any, or the word would count
        as background."""
        if not len(label.chars):
            return 0.0
        return self.unknown_confidence if label.crop.places is None else label.split.confidence
