"""Region, affinity and confidence maps from the words and characters of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from torch import Tensor

from mmtextplug.craft.gaussian import (
    ENLARGE,
    SIGMA,
    affinity_quads,
    render_gaussians,
)
from mmtextplug.datasets.graphemes import slots
from mmtextplug.frames import outside_frames
from mmtextplug.geometry import convex_quads, fill_polygons

CRAFT_KINDS = ("region", "affinity")
REFINED_KINDS = (*CRAFT_KINDS, "refined link")
"""Names of a head's score maps, without and with a link refiner."""


@dataclass(frozen=True)
class WordLabels:
    """The words of one image, on the host, in pixels of the score map.

    Attributes:
        polygons (list[np.ndarray]): W arrays ``(K, 2)``.
        chars (list[np.ndarray | None]): W arrays ``(n, 4, 2)`` in reading order, None if unknown.
        confidence (np.ndarray): ``(W,)`` in [0, 1]: how far the characters are to be believed; 0
            for ignored words.
        valid (np.ndarray, optional): ``(K, 2)``, convex: outside of it there is no image, and
            nothing is trained.
        places (list[list[bool] | None], optional): Of W texts, False for a space (see
            `mmtextplug.datasets.graphemes.slots`): characters on both sides have no affinity.
    """

    polygons: list[np.ndarray]
    chars: list[np.ndarray | None]
    confidence: np.ndarray
    valid: np.ndarray | None = None
    places: list[list[bool] | None] | None = None


@dataclass(frozen=True)
class ScoreMaps:
    """Ground truth of a batch: three maps ``(B, H, W)`` float32, and what could not be drawn.

    ``skipped`` counts the characters that are no convex clockwise quads with an area, and the
    links of good characters that are none; what merely lies off the map is no fault.
    """

    region: Tensor
    affinity: Tensor
    confidence: Tensor
    skipped: int


def draw_score_maps(
    images: Sequence[WordLabels],
    size: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
    sigma: float = SIGMA,
    enlarge: float = ENLARGE,
) -> ScoreMaps:
    """Draw the ground truth of a batch of images (CRAFT paper, sections 3.2.1 and 3.2.2).

    Args:
        images (Sequence[WordLabels]): The words of each image.
        size (tuple[int, int]): (H, W) of the maps.
        device (torch.device | str): Where to draw. Only corners travel there.
        sigma, enlarge (float): See `render_gaussians`.

    Returns:
        ScoreMaps: Words without confidence draw no characters; their polygons are taken out of
        training, except where a word with confidence covers them.
    """
    chars, word_of, image_of = [np.zeros((0, 4, 2), np.float32)], [], []
    for index, image in enumerate(images):
        places = image.places or [None] * len(image.chars)
        for word, confidence, place in zip(image.chars, image.confidence, places):
            if word is not None and len(word) and confidence > 0:
                chars.append(np.asarray(word, dtype=np.float32))
                parts = words_of_line(place, chars[-1])
                word_of += parts
                image_of += [index] * len(parts)
    lengths = torch.tensor(word_of, dtype=torch.long)
    quads = torch.from_numpy(np.concatenate(chars))
    word = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    image = torch.tensor(image_of, dtype=torch.long)
    links = affinity_quads(quads, word=word)
    link_word = torch.repeat_interleave(torch.arange(len(lengths)), (lengths - 1).clamp(min=0))
    # Both kinds at once, the links on maps of their own behind those of the characters: what a
    # call costs besides the pixels is spent once.
    maps = render_gaussians(
        torch.cat([quads, links]),
        size,
        batch_index=torch.cat([image[word], image[link_word] + len(images)]),
        batch_size=2 * len(images),
        sigma=sigma,
        enlarge=enlarge,
        device=device,
    )
    # How many cannot be drawn is known on the host, where the quads are. Links of characters that
    # count already are not counted again.
    good = convex_quads(quads)
    linked = (good[:-1] & good[1:])[word[:-1] == word[1:]]
    skipped = int((~good).sum()) + int((linked & ~convex_quads(links)).sum())
    return ScoreMaps(
        region=maps[: len(images)],
        affinity=maps[len(images) :],
        confidence=confidence_map(images, size, device),
        skipped=skipped,
    )


def words_of_line(places: list[bool] | None, chars: np.ndarray) -> list[int]:
    """Numbers of characters ``(n, 4, 2)`` between the spaces of their text.

    If there are more or fewer characters than places for them, the widest gaps are the spaces.
    """
    count = len(chars)
    if places is None or all(places):
        return [count]
    runs = np.flatnonzero(np.diff(np.r_[False, places, False].astype(np.int8)))
    parts = (runs[1::2] - runs[::2]).tolist()
    if sum(parts) == count or not 1 < len(parts) < count:
        return parts if sum(parts) == count else [count]
    steps = np.linalg.norm(np.diff(chars.mean(axis=1), axis=0), axis=1)
    ends = np.sort(np.argsort(-steps, kind="stable")[: len(parts) - 1]) + 1
    return np.diff(np.r_[0, ends, count]).tolist()


def places_of(texts: Sequence[str | None] | None) -> list[list[bool] | None] | None:
    """`slots` of those texts that have a space in them, None for the others."""
    if texts is None:
        return None
    return [slots(t) if t is not None and len(t.split()) > 1 else None for t in texts]


def confidence_map(
    images: Sequence[WordLabels], size: tuple[int, int], device: torch.device | str
) -> Tensor:
    """What is trained where: ``(B, H, W)`` float32 in [0, 1], 0 for ignored words and padding."""

    def fill(entries: list[tuple[np.ndarray, float, int]]) -> Tensor:
        polygons, values, index = zip(*entries)
        return fill_polygons(
            polygons, values, size, batch_index=index, batch_size=len(images), device=device
        )

    words = [
        (polygon, float(value), index)
        for index, image in enumerate(images)
        for polygon, value in zip(image.polygons, image.confidence)
    ]
    maps = torch.ones((len(images), *size), device=device)
    unknown = [word for word in words if word[1] <= 0]
    known = [word for word in words if word[1] > 0]
    # Where words overlap, one with characters is trained even inside an ignored one; among words
    # with characters the most doubtful decides.
    if unknown:
        maps = torch.minimum(maps, fill(unknown))
    if known and len(unknown) + sum(word[1] < 1 for word in known):
        painted = fill(known)
        maps = torch.where(torch.isfinite(painted), painted, maps)
    frames = [image.valid for image in images]
    return maps.masked_fill(outside_frames(frames, size, device), 0.0)


@TRANSFORMS.register_module()
class GaussianCharLabels(BaseTransform):
    """Draws a sample's ground truth maps in the data workers, to be seen or to spare the device.

    The same function as in the loss draws them, at the size the network's maps will have.

    Required keys: ``img``, ``gt_polygons``, ``gt_chars``, ``gt_ignored``; used if present:
    ``gt_char_confidence``, ``valid_polygon``. Added key: ``gt_score_maps``, ``(3, H, W)`` float32:
    region, affinity, confidence.

    Args:
        stride (int): Input pixels for each pixel of the network's maps.
        sigma, enlarge (float): See `mmtextplug.craft.gaussian.render_gaussians`.
        bridge_spaces (bool): Whether characters on both sides of a space in a text have affinity,
            for data whose unit is the line.
    """

    def __init__(
        self,
        stride: int = 2,
        sigma: float = SIGMA,
        enlarge: float = ENLARGE,
        bridge_spaces: bool = False,
    ) -> None:
        self.stride, self.bridge_spaces = stride, bridge_spaces
        self.shape = dict(sigma=sigma, enlarge=enlarge)

    def transform(self, results: dict) -> dict:
        height, width = results["img"].shape[:2]
        size = (-(-height // self.stride), -(-width // self.stride))
        valid = results.get("valid_polygon")
        words = WordLabels(
            polygons=[np.reshape(p, (-1, 2)) / self.stride for p in results["gt_polygons"]],
            chars=[None if c is None else c / self.stride for c in results["gt_chars"]],
            confidence=char_confidence(results),
            valid=None if valid is None else valid / self.stride,
            places=None if self.bridge_spaces else places_of(results.get("gt_texts")),
        )
        maps = draw_score_maps([words], size, **self.shape)
        stacked = torch.cat([maps.region, maps.affinity, maps.confidence])
        results["gt_score_maps"] = stacked.numpy()
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(stride={self.stride}, {self.shape}, "
            f"bridge_spaces={self.bridge_spaces})"
        )


def char_confidence(results: dict) -> np.ndarray:
    """How far a sample's characters are to be believed, ``(W,)`` float32.

    0 for ignored words and for words whose characters are unknown; else what a labeller wrote to
    ``gt_char_confidence``, or 1.

    Raises:
        ValueError: If the keys hold different numbers of words.
    """
    known = [c is not None and len(c) > 0 for c in results["gt_chars"]]
    confidence = results.get("gt_char_confidence", np.ones(len(known), dtype=np.float32))
    lengths = (len(known), len(confidence), len(results["gt_ignored"]))
    if len(set(lengths)) > 1:
        raise ValueError(
            f"{results.get('img_path', 'sample')}: gt_chars, gt_char_confidence and gt_ignored "
            f"hold {lengths} words. A transform that leaves out words must leave them out of all "
            "three, as set_words does."
        )
    usable = np.array(known, dtype=bool) & ~np.asarray(results["gt_ignored"], dtype=bool)
    return np.where(usable, confidence, 0).astype(np.float32)
