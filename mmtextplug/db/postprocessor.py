"""From DBNet's probability map to words, as an MMOCR post-processor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from mmocr.models.textdet.postprocessors.base import BaseTextDetPostProcessor
from mmocr.structures import TextDetDataSample
from torch import Tensor

from mmtextplug.db.boxes import WordRules, find_words

SHARPNESS = 50.0
"""k of the approximate binary map ``B = 1 / (1 + exp(-k (P - T)))`` (DB paper, eq. 2)."""


@MODELS.register_module()
class DifferentiableBinarizationPostprocessor(BaseTextDetPostProcessor):
    """Finds words on probability maps (see `find_words`) and writes them to the sample.

    Takes the place of MMOCR's ``DBPostprocessor``: the arguments that both have mean the same.
    ``pred_instances`` gets ``polygons`` (flat float32 arrays, in pixels of the original image)
    and ``scores``, sorted by score.

    Args:
        text_repr_type (str): 'quad' for rotated boxes, 'poly' for outlines that follow curves.
        mask_thr (float): Probabilities above it are text, when ``binarize='prob'``.
        min_text_score (float): A word needs a mean probability of at least this.
        min_text_width (float): Least shorter side of the rectangle around a word, in pixels of
            the network's input.
        unclip_ratio (float): Offset of a shrunken outline by its area over its perimeter.
        margin (float): By how much the outline is grown before, in pixels of the map. At 0 words
            are MMOCR's, whose kernels, rounded to whole pixels, are as large as their outlines;
            0.5 gives exact kernels, as of `DifferentiableBinarizationLoss`, the half pixel back
            that outlines through the middle of pixels lose: much, in words of few pixels.
        epsilon_ratio (float): How far an outline is simplified, as a share of its perimeter.
        max_candidates (int): So many words an image at most, the best by score.
        binarize (str): 'prob' for ``P > mask_thr``; 'binary' for the approximate binary map above
            1/2, which is ``P > T`` with the network's threshold map in the place of ``mask_thr``.
        keep_score_maps (bool): Whether to keep the maps as ``pred_score_maps`` (``PixelData``), to
            be drawn: ``(1, h, w)`` P or ``(3, h, w)`` P, T and B, named in its metainfo ``kinds``.
        rescale_fields (Sequence[str]): Fields brought back to the original image.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        text_repr_type: str = "poly",
        mask_thr: float = 0.3,
        min_text_score: float = 0.3,
        min_text_width: float = 5,
        unclip_ratio: float = 1.5,
        margin: float = 0.0,
        epsilon_ratio: float = 0.01,
        max_candidates: int = 3000,
        binarize: str = "prob",
        keep_score_maps: bool = False,
        rescale_fields: Sequence[str] = ("polygons",),
        **kwargs,
    ) -> None:
        super().__init__(
            text_repr_type=text_repr_type, rescale_fields=list(rescale_fields), **kwargs
        )
        if binarize not in ("prob", "binary"):
            raise ValueError(f"binarize must be 'prob' or 'binary', got {binarize!r}")
        if not isinstance(mask_thr, (int, float)) or not np.isfinite(mask_thr):
            raise ValueError(f"mask_thr must be a finite number, got {mask_thr!r}")
        self.mask_thr = mask_thr
        self.binarize = binarize
        self.rules = WordRules(
            min_text_score, min_text_width, unclip_ratio, epsilon_ratio, max_candidates, margin
        )
        self.keep_score_maps = keep_score_maps

    @property
    def uses_threshold(self) -> bool:
        """Whether it is of use to be given the threshold map, too."""
        return self.binarize == "binary" or self.keep_score_maps

    def get_text_instances(
        self, pred_results: Tensor, data_sample: TextDetDataSample, **kwargs
    ) -> TextDetDataSample:
        """Words of one image.

        Args:
            pred_results (Tensor): ``(h, w)`` probability P, or ``(2, h, w)`` P and threshold T, of
                any float type, on any device, and with any stride.
            data_sample (TextDetDataSample): Its ``pred_instances`` and, if asked for,
                ``pred_score_maps`` are filled, in pixels of the network's input.

        Raises:
            ValueError: The shape is another one, or ``binarize='binary'`` and there is no T.
        """
        shape = tuple(pred_results.shape)
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] != 2):
            raise ValueError(
                "pred_results of an image must be (h, w) probabilities, or (2, h, w) with the "
                f"threshold map, got {shape}"
            )
        if self.binarize == "binary" and len(shape) == 2:
            raise ValueError(
                "binarize='binary' needs the threshold map, and the head gives the probability "
                "map alone: take DifferentiableBinarizationHead for det_head, or binarize='prob'"
            )
        height, width = data_sample.img_shape[:2]
        padded = data_sample.get("batch_input_shape", (height, width))
        scale = np.array([padded[1] / shape[-1], padded[0] / shape[-2]])
        # Scores over the padding mean nothing; words must not reach into it.
        maps = pred_results.detach()
        if len(shape) == 3 and self.binarize == "prob" and not self.keep_score_maps:
            maps = maps[0]
        maps = maps[..., : int(np.ceil(height / scale[1])), : int(np.ceil(width / scale[0]))]
        maps = maps.float().cpu().reshape(-1, *maps.shape[-2:])
        curved = self.text_repr_type == "poly"
        words = find_words(
            maps[0],
            maps[1] if self.binarize == "binary" else self.mask_thr,
            replace(self.rules, min_text_width=self.rules.min_text_width / scale.prod() ** 0.5),
            polygons=curved,
        )
        outlines = words.polygons if curved else words.boxes
        data_sample.pred_instances = InstanceData()
        data_sample.pred_instances.polygons = [
            (outline * scale).astype(np.float32).flatten() for outline in outlines
        ]
        data_sample.pred_instances.scores = torch.from_numpy(words.scores)
        if self.keep_score_maps:
            kinds = ("probability",)
            if len(maps) == 2:
                binary = torch.sigmoid(SHARPNESS * (maps[0] - maps[1]))
                maps = torch.cat([maps, binary[None]])
                kinds = ("probability", "threshold", "binary")
            data_sample.pred_score_maps = PixelData(data=maps, metainfo=dict(kinds=kinds))
        return data_sample
