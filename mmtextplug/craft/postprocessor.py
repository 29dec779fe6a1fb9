"""From CRAFT's score maps to words, as an MMOCR post-processor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from mmocr.models.textdet.postprocessors.base import BaseTextDetPostProcessor
from mmocr.structures import TextDetDataSample
from torch import Tensor

from mmtextplug.craft.grouping import group_words


@MODELS.register_module()
class CRAFTPostprocessor(BaseTextDetPostProcessor):
    """Groups score maps to words (CRAFT paper, section 3.3) and writes them to the sample.

    ``pred_instances`` gets ``polygons`` (flat arrays, in pixels of the original image) and
    ``scores``.

    Args:
        text_repr_type (str): 'quad' for rotated boxes, 'poly' for outlines that follow curves.
        text_threshold (float): A word needs a region score of at least this somewhere.
        link_threshold (float): Affinity scores above this join characters.
        low_text (float): Region scores above this belong to a word.
        keep_score_maps (bool): Whether to keep region and affinity scores as
            ``pred_score_maps`` (``PixelData``, ``(2, h, w)``), to be drawn.
        rescale_fields (Sequence[str]): Fields brought back to the original image.
    """

    def __init__(
        self,
        text_repr_type: str = "quad",
        text_threshold: float = 0.7,
        link_threshold: float = 0.4,
        low_text: float = 0.4,
        keep_score_maps: bool = False,
        rescale_fields: Sequence[str] = ("polygons",),
        **kwargs,
    ) -> None:
        super().__init__(
            text_repr_type=text_repr_type, rescale_fields=list(rescale_fields), **kwargs
        )
        self.thresholds = dict(
            text_threshold=text_threshold, link_threshold=link_threshold, low_text=low_text
        )
        self.keep_score_maps = keep_score_maps

    def get_text_instances(
        self, pred_results: Tensor, data_sample: TextDetDataSample, **kwargs
    ) -> TextDetDataSample:
        """Words of one image.

        Args:
            pred_results (Tensor): ``(2, h, w)``, region and affinity scores.
            data_sample (TextDetDataSample): Its ``pred_instances`` and, if asked for,
                ``pred_score_maps`` are filled, in pixels of the network's input.
        """
        height, width = data_sample.img_shape[:2]
        padded = data_sample.get("batch_input_shape", (height, width))
        rows, columns = pred_results.shape[1:]
        scale = np.array([padded[1] / columns, padded[0] / rows], dtype=np.float32)
        # Scores over the padding mean nothing; words must not reach into it.
        maps = pred_results.detach().float()
        maps = maps[:, : int(np.ceil(height / scale[1])), : int(np.ceil(width / scale[0]))].cpu()
        curved = self.text_repr_type == "poly"
        words = group_words(maps[0], maps[1], polygons=curved, **self.thresholds)
        outlines = words.polygons if curved else words.boxes
        data_sample.pred_instances = InstanceData()
        data_sample.pred_instances.polygons = [
            (outline * scale).astype(np.float32).flatten() for outline in outlines
        ]
        data_sample.pred_instances.scores = torch.from_numpy(words.scores)
        if self.keep_score_maps:
            data_sample.pred_score_maps = PixelData(data=maps)
        return data_sample
