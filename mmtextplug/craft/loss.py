"""CRAFT's loss: squared error on both score maps, weighted by confidence, with mined negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmocr.models.textdet.module_losses.base import BaseTextDetModuleLoss
from mmocr.structures import TextDetDataSample
from torch import Tensor

from mmtextplug.craft.gaussian import ENLARGE, SIGMA
from mmtextplug.craft.targets import ScoreMaps, WordLabels, draw_score_maps, places_of
from mmtextplug.frames import on_map
from mmtextplug.mining.select import hard_select


class MinedLoss(NamedTuple):
    """A score map's loss and how many pixels it was taken from, each a scalar tensor."""

    loss: Tensor
    positives: Tensor
    negatives: Tensor


def score_map_loss(
    prediction: Tensor,
    target: Tensor,
    confidence: Tensor,
    *,
    negative_ratio: float = 3.0,
    min_negatives: int = 1000,
    positive_score: float = 0.1,
) -> MinedLoss:
    """Mined, confidence-weighted squared error of one score map (CRAFT paper, section 3.2.2).

    For each image: the mean over its positive pixels plus the mean over its hardest negative ones,
    of which there are ``negative_ratio`` times as many; then the mean over the images. Pixels of no
    confidence are neither positive nor negative.

    Args:
        prediction (Tensor): ``(B, H, W)``.
        target (Tensor): ``(B, H, W)`` in [0, 1].
        confidence (Tensor): ``(B, H, W)`` in [0, 1].
        negative_ratio (float): Hard negatives for each positive.
        min_negatives (int): Hard negatives of an image, at least, as far as there are any: what
            images without text teach.
        positive_score (float): Targets above are positive.

    Returns:
        MinedLoss: Finite and differentiable for finite predictions, whatever the targets; NaN as
        soon as any prediction is not finite.
    """
    error = confidence * (prediction.float() - target) ** 2
    trained = confidence > 0
    positive = (target > positive_score) & trained
    selected = hard_select(
        error.flatten(1),
        candidate=(trained & ~positive).flatten(1),
        forced=positive.flatten(1),
        ratio=negative_ratio,
        min_k=min_negatives,
    ).view_as(error)
    negative = selected & ~positive
    # Zero, unless a prediction is not finite: mining would pass over it and leave a finite loss
    # with a gradient that is not.
    loss = 0 * prediction.float().sum()
    for chosen in (positive, negative):
        count = chosen.flatten(1).sum(1)
        total = torch.where(chosen, error, error.new_zeros(())).flatten(1).sum(1)
        loss = loss + (total / count.clamp(min=1)).mean()
    return MinedLoss(loss, positive.sum(), negative.sum())


@MODELS.register_module()
class CRAFTModuleLoss(BaseTextDetModuleLoss):
    """Draws the region, affinity and confidence maps of a batch and compares the prediction.

    The maps are drawn on the device of the prediction from ``gt_instances.chars``, which
    ``PackCharInputs`` stores; maps that ``GaussianCharLabels`` has drawn already are used as they
    are. Region and affinity are mined separately, their positives differing in number. Everything
    is computed in float32, also under automatic mixed precision.

    Args:
        negative_ratio, min_negatives, positive_score: See `score_map_loss`.
        sigma, enlarge (float): See `mmtextplug.craft.gaussian.render_gaussians`.
        bridge_spaces (bool): Whether characters on both sides of a space in a text have affinity,
            for data whose unit is the line.
    """

    def __init__(
        self,
        negative_ratio: float = 3.0,
        min_negatives: int = 1000,
        positive_score: float = 0.1,
        sigma: float = SIGMA,
        enlarge: float = ENLARGE,
        bridge_spaces: bool = False,
    ) -> None:
        super().__init__()
        self.bridge_spaces = bridge_spaces
        self.mining = dict(
            negative_ratio=negative_ratio,
            min_negatives=min_negatives,
            positive_score=positive_score,
        )
        self.shape = dict(sigma=sigma, enlarge=enlarge)

    def forward(
        self, prediction: Tensor, data_samples: Sequence[TextDetDataSample]
    ) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            prediction (Tensor): ``(B, 2, H, W)``, region and affinity scores.
            data_samples (Sequence[TextDetDataSample]): With ``gt_instances.chars``; unchanged
                afterwards.

        Returns:
            dict[str, Tensor]: ``loss_region`` and ``loss_affinity`` to be summed; ``skipped_chars``
            (quads that could not be drawn, in this batch) to be logged.

        Raises:
            ValueError: If there are more score maps, such as a link refiner's, or fewer.
        """
        if prediction.shape[1] != 2:
            raise ValueError(
                f"CRAFTModuleLoss: {prediction.shape[1]} score maps instead of region and "
                "affinity: a head with a link refiner learns by dict(type='LinkRefinerModuleLoss', "
                "craft_loss=dict(type='CRAFTModuleLoss'))"
            )
        # Autocast would put the products in half precision, where small errors vanish.
        with torch.autocast(device_type=prediction.device.type, enabled=False):
            prediction = prediction.float()
            maps = self.get_targets(data_samples, prediction.shape[2:], prediction.device)
            losses = {
                f"loss_{name}": score_map_loss(
                    prediction[:, channel], target, maps.confidence, **self.mining
                ).loss
                for channel, (name, target) in enumerate(
                    (("region", maps.region), ("affinity", maps.affinity))
                )
            }
        losses["skipped_chars"] = prediction.new_tensor(float(maps.skipped))
        return losses

    def get_targets(
        self,
        data_samples: Sequence[TextDetDataSample],
        size: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> ScoreMaps:
        """Region, affinity and confidence maps ``(B, H, W)`` of a batch, at the size given.

        Raises:
            KeyError: If a sample has neither characters nor maps.
        """
        if all("gt_score_maps" in sample for sample in data_samples):
            return self._stored_targets(data_samples, size, device)
        words = [word_labels(sample, size, self.bridge_spaces) for sample in data_samples]
        return draw_score_maps(words, size, device=device, **self.shape)

    @staticmethod
    def _stored_targets(
        data_samples: Sequence[TextDetDataSample], size: tuple[int, int], device
    ) -> ScoreMaps:
        batch = torch.zeros((len(data_samples), 3, *size), device=device)
        for target, sample in zip(batch, data_samples):
            maps = sample.gt_score_maps.data
            # Images smaller than the batch are padded below and right; nothing is trained there.
            height, width = (min(a, b) for a, b in zip(maps.shape[1:], size))
            target[:, :height, :width] = maps[:, :height, :width].to(device, non_blocking=True)
        return ScoreMaps(*batch.unbind(1), skipped=0)


def word_labels(
    sample: TextDetDataSample, size: tuple[int, int], bridge_spaces: bool = False
) -> WordLabels:
    """What `draw_score_maps` needs of a sample, in pixels of a map of the size given."""
    instances = sample.gt_instances
    if "chars" not in instances:
        raise KeyError(
            f"{sample.get('img_path', 'a sample')}: no character boxes (gt_instances.chars). Put "
            "LoadCharAnnotations and PackCharInputs in the pipeline; for data with word boxes "
            "only, characters come from a PseudoCharLabelHook."
        )
    scale, polygons, valid = on_map(sample, size)
    return WordLabels(
        polygons=polygons,
        chars=[None if c is None else c * scale for c in instances.chars],
        confidence=np.asarray(instances.char_confidence, dtype=np.float32),
        valid=valid,
        places=None if bridge_spaces else _places(instances),
    )


def _places(instances: InstanceData) -> list[list[bool] | None] | None:
    places = places_of(instances.get("texts"))
    # Of words that the image's border cuts, whoever found their characters knows what is in view.
    seen = instances.get("char_places")
    if places is None or seen is None:
        return seen or places
    return [whole if part is None else part for whole, part in zip(places, seen)]
