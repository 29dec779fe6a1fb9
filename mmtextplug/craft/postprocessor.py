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
from mmtextplug.craft.isolated import check_isolated_threshold
from mmtextplug.craft.page_chars import check_char_shift, page_characters
from mmtextplug.craft.targets import REFINED_KINDS


@MODELS.register_module()
class CRAFTPostprocessor(BaseTextDetPostProcessor):
    """Groups score maps to words (CRAFT paper, section 3.3) and writes them to the sample.

    ``pred_instances`` gets, for N words, ``polygons`` (flat arrays, in pixels of the original
    image) and ``scores``. With ``find_chars`` it also gets ``chars``, a list of N float32 arrays
    ``(n, 4, 2)`` in reading order (see `page_characters`), in the same pixels, and
    ``char_counts``, ``(N,)`` int64, how many there are in each word.

    Args:
        text_repr_type (str): 'quad' for rotated boxes, 'poly' for outlines that follow curves.
        text_threshold (float): A word needs a region score of at least this somewhere.
        link_threshold (float): Affinity scores above this join characters.
        low_text (float): Region scores above this belong to a word.
        isolated_threshold (float, optional): Instead of ``text_threshold`` for single characters
            that stand alone (see `group_words`). None: ``text_threshold`` for these, too.
        find_chars (bool): Whether to find the characters of each word.
        char_shift (float): How far the network's scores lie to the right of characters, as a share
            of their widths: 0 for networks trained on exact boxes, 0.1 for the official weights
            (measured on half of the photos of ICDAR 2003).
        keep_score_maps (bool): Whether to keep the score maps as ``pred_score_maps``
            (``PixelData``, ``(2, h, w)`` or ``(3, h, w)``), to be drawn. What three of them are,
            says its metainfo ``kinds``.
        rescale_fields (Sequence[str]): Fields brought back to the original image; characters go
            where their words' polygons go.

    Raises:
        ValueError: ``isolated_threshold`` or ``char_shift`` is out of its range.
    """

    def __init__(
        self,
        text_repr_type: str = "quad",
        text_threshold: float = 0.7,
        link_threshold: float = 0.4,
        low_text: float = 0.4,
        isolated_threshold: float | None = None,
        find_chars: bool = False,
        char_shift: float = 0.0,
        keep_score_maps: bool = False,
        rescale_fields: Sequence[str] = ("polygons",),
        **kwargs,
    ) -> None:
        super().__init__(
            text_repr_type=text_repr_type, rescale_fields=list(rescale_fields), **kwargs
        )
        check_isolated_threshold(isolated_threshold, text_threshold)
        self.thresholds = dict(
            text_threshold=text_threshold,
            link_threshold=link_threshold,
            low_text=low_text,
            isolated_threshold=isolated_threshold,
        )
        check_char_shift(char_shift)
        self.find_chars = find_chars
        self.char_shift = char_shift
        self.keep_score_maps = keep_score_maps

    def get_text_instances(
        self, pred_results: Tensor, data_sample: TextDetDataSample, **kwargs
    ) -> TextDetDataSample:
        """Words of one image.

        Args:
            pred_results (Tensor): ``(2, h, w)``, region and affinity scores; or ``(3, h, w)`` with
                the link score that a refiner made of them, which takes the affinity's place.
            data_sample (TextDetDataSample): Its ``pred_instances`` and, if asked for,
                ``pred_score_maps`` are filled, in pixels of the network's input.

        Raises:
            ValueError: There are fewer or more maps, or maps without pixels.
        """
        shape = tuple(pred_results.shape)
        if len(shape) != 3 or shape[0] not in (2, 3) or 0 in shape:
            raise ValueError(
                "pred_results of an image must be (2, h, w), region and affinity, or (3, h, w) "
                f"with a refined link score, got {shape}: take CRAFTHead for det_head"
            )
        height, width = data_sample.img_shape[:2]
        padded = data_sample.get("batch_input_shape", (height, width))
        rows, columns = shape[1:]
        scale = np.array([padded[1] / columns, padded[0] / rows], dtype=np.float32)
        # Scores over the padding mean nothing; words must not reach into it.
        maps = pred_results.detach().float()
        maps = maps[:, : int(np.ceil(height / scale[1])), : int(np.ceil(width / scale[0]))].cpu()
        curved = self.text_repr_type == "poly"
        words = group_words(maps[0], maps[-1], polygons=curved, **self.thresholds)
        outlines = words.polygons if curved else words.boxes
        found = InstanceData()
        found.polygons = [(outline * scale).astype(np.float32).flatten() for outline in outlines]
        found.scores = torch.from_numpy(words.scores)
        if self.find_chars:
            chars = page_characters(maps[0], outlines, char_shift=self.char_shift)
            found.chars = [quads * scale for quads in chars]
            found.char_counts = torch.tensor([len(quads) for quads in chars], dtype=torch.int64)
        data_sample.pred_instances = found
        if self.keep_score_maps:
            kinds = dict(kinds=REFINED_KINDS) if len(maps) == 3 else None
            data_sample.pred_score_maps = PixelData(data=maps, metainfo=kinds)
        return data_sample

    def rescale(
        self, results: TextDetDataSample, scale_factor: Sequence[float]
    ) -> TextDetDataSample:
        """Bring the words, and their characters with them, back to the original image."""
        results = super().rescale(results, scale_factor)
        words = results.pred_instances
        if "chars" in words and "polygons" in self.rescale_fields:
            scale = np.asarray(scale_factor, np.float32)
            words.chars = [quads / scale for quads in words.chars]
        return results
