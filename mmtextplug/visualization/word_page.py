"""What there is to see of a word that weak supervision has labelled: crop, watershed, labels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData

from mmtextplug.craft.char_split import hearts
from mmtextplug.craft.flood import flood
from mmtextplug.craft.grouping import as_score_map
from mmtextplug.craft.targets import ScoreMaps
from mmtextplug.craft.word_crops import cut_out
from mmtextplug.craft.word_labeller import WordLabel


@dataclass(frozen=True)
class Watershed:
    """How a word's region score was split, in pixels of the score.

    Attributes:
        seeds (np.ndarray): ``(h, w)`` int32, from 1; those of the right number if there are such.
        basins (np.ndarray): ``(h, w)`` int32, what each has grown to; 0 where there is none.
        threshold (float): The seeds are the areas above it.
    """

    seeds: np.ndarray
    basins: np.ndarray
    threshold: float


@dataclass(frozen=True)
class WordPage:
    """All that is to be seen of a word that was labelled.

    Attributes:
        number (int): Its place among the words of its image.
        text (str | None): Its transcription; None if unknown.
        label (WordLabel): What was found.
        confidence (float): How far it is to be believed.
        watershed (Watershed): How it was found, or what was given up for equal parts.
        image (np.ndarray): ``(H, W, 3)`` uint8 BGR: the whole image.
        polygon (np.ndarray): ``(k, 2)``: its outline there.
        crop (np.ndarray): ``(h, w, 3)`` uint8 BGR: the word as the teacher sees it.
        targets (np.ndarray): ``(2, h, w)`` float32: the region and affinity labels of the image,
            cut out as the crop is.
    """

    number: int
    text: str | None
    label: WordLabel
    confidence: float
    watershed: Watershed
    image: np.ndarray
    polygon: np.ndarray
    crop: np.ndarray
    targets: np.ndarray


def word_watershed(region: np.ndarray, threshold: float, background: float) -> Watershed:
    """The seeds and basins with which a word was split.

    Args:
        region: ``(h, w)`` region score of the rectified word.
        threshold: Of the `Split`.
        background: See `mmtextplug.craft.char_split.split_word`.
    """
    region = as_score_map(region, "region")
    _, seeds = hearts(region, threshold)
    return Watershed(seeds, flood(region, seeds, background), threshold)


def read_page(
    image: np.ndarray,
    words: InstanceData,
    targets: ScoreMaps,
    label: WordLabel,
    confidence: float,
    *,
    size: tuple[int, int],
    background: float,
) -> WordPage:
    """Collect what there is to see of a word.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, the network's input.
        words: ``gt_instances`` of the image, in its pixels.
        targets: The labels of the image, one map each, of any size.
        label: Of one of the words.
        confidence: See `mmtextplug.craft.pseudo_labels.WordLabeller.confidence`.
        size: (width, height) that the word was rectified to.
        background: That it was split with.
    """
    crop = label.crop
    texts = words.get("texts") or [None] * len(words)
    # One crop of all channels: the labels at the image's size.
    maps = [m[0].cpu().numpy() for m in (targets.region, targets.affinity)]
    maps = [cv2.resize(m, image.shape[1::-1], interpolation=cv2.INTER_LINEAR) for m in maps]
    layers = np.concatenate([image.astype(np.float32), np.stack(maps, axis=2)], axis=2)
    layers = torch.from_numpy(layers).permute(2, 0, 1)[None]
    flat = cut_out(layers, [crop], [size])[0, :, : size[1], : size[0]].numpy()
    return WordPage(
        number=crop.word,
        text=texts[crop.word],
        label=label,
        confidence=confidence,
        watershed=word_watershed(label.region, label.split.threshold, background),
        image=image,
        polygon=np.asarray(words.polygons[crop.word], np.float32).reshape(-1, 2),
        crop=np.rint(np.clip(flat[:3], 0, 255)).astype(np.uint8).transpose(1, 2, 0).copy(),
        targets=flat[3:],
    )
