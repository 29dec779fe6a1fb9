"""DetEval, CLEval and TIoU as OpenMMLab's metrics: what evaluators call, around pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.logging import print_log
from mmengine.registry import METRICS

from mmtextplug.evaluation.cleval import CLEvalCounts, judge_cleval, summarize_cleval
from mmtextplug.evaluation.deteval import DetEvalCounts, judge_deteval, summarize_deteval
from mmtextplug.evaluation.overlaps import Predictions, Truth
from mmtextplug.evaluation.text_metrics import TextDetectionMetric, sample_words
from mmtextplug.evaluation.tiou import TIoUCounts, judge_tiou, summarize_tiou

_NOTHING = Truth([], np.zeros(0, dtype=bool), []), Predictions([], np.zeros(0))


@METRICS.register_module()
class DetEvalMetric(TextDetectionMetric):
    """DetEval, as ICDAR 2013 counts: words found whole, in pieces, or together with others.

    Returned are ``precision``, ``recall`` and ``hmean``, and the numbers of words found
    ``one_to_one``, ``split`` and ``merged``. See `judge_deteval` for how.

    Args:
        area_recall (float): In (0, 1], least share of an annotated word that is found.
        area_precision (float): In (0, 1], least share of a prediction that lies in words.
        boxes (bool): Whether outlines are taken as boxes of whole pixels, as the official script
            does; False judges polygons, with shares of 0.7 and 0.6 as Total-Text recommends.
        score_thr (float): See ``TextDetectionMetric``.
        **kwargs: Of ``BaseMetric``: collect_device, prefix.

    Raises:
        ValueError: If a setting is out of its range.
    """

    default_prefix = "deteval"

    def __init__(
        self,
        area_recall: float = 0.8,
        area_precision: float = 0.4,
        boxes: bool = True,
        score_thr: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(score_thr, **kwargs)
        self.settings = dict(area_recall=area_recall, area_precision=area_precision, boxes=boxes)
        judge_deteval(*_NOTHING, **self.settings)

    def judge(self, truth: Truth, predictions: Predictions) -> DetEvalCounts:
        """Counts of an image."""
        return judge_deteval(truth, self.confident(predictions), **self.settings)

    def compute_metrics(self, results: list[DetEvalCounts]) -> dict[str, float]:
        """Rates of all images."""
        return _logged("DetEval", summarize_deteval(results))


@METRICS.register_module()
class TIoUMetric(TextDetectionMetric):
    """Tightness-aware IoU: each match counts by what it cuts off and by what else it holds.

    Returned are ``precision``, ``recall`` and ``hmean``; see `judge_tiou`.

    Args:
        match_iou_thr (float): In [0, 1): a pair matches if its IoU is above.
        ignore_precision_thr (float): In [0, 1]: a prediction does not count if a larger share of
            its area lies in one ignored word.
        score_thr (float): See ``TextDetectionMetric``.
        **kwargs: Of ``BaseMetric``: collect_device, prefix.

    Raises:
        ValueError: If a setting is out of its range.
    """

    default_prefix = "tiou"

    def __init__(
        self,
        match_iou_thr: float = 0.5,
        ignore_precision_thr: float = 0.5,
        score_thr: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(score_thr, **kwargs)
        self.settings = dict(iou_thr=match_iou_thr, ignore_thr=ignore_precision_thr)
        judge_tiou(*_NOTHING, **self.settings)

    def judge(self, truth: Truth, predictions: Predictions) -> TIoUCounts:
        """Weights of an image."""
        return judge_tiou(truth, self.confident(predictions), **self.settings)

    def compute_metrics(self, results: list[TIoUCounts]) -> dict[str, float]:
        """Rates of all images."""
        return _logged("TIoU", summarize_tiou(results))


@METRICS.register_module()
class CLEvalMetric(TextDetectionMetric):
    """CLEval: precision and recall of characters, so that split and merged words lose little.

    Words need texts (``gt_instances.texts``), which say how many characters they have; see
    `judge_cleval`. Returned are ``precision``, ``recall`` and ``hmean``, and the numbers of
    ``splits``, ``merges``, ``overlapped`` and ``false_chars``.

    Args:
        polygons (bool): Whether outlines may have any number of points; otherwise all have 4.
        real_chars (bool): Whether characters are where ``gt_instances.chars`` says, for the words
            that have them, instead of evenly spread over their words.
        area_precision (float): In (0, 1], least share of a prediction that lies in the words it
            matches.
        score_thr (float): See ``TextDetectionMetric``.
        **kwargs: Of ``BaseMetric``: collect_device, prefix.

    Raises:
        ValueError: If ``area_precision`` or ``score_thr`` is out of its range.
    """

    default_prefix = "cleval"

    def __init__(
        self,
        polygons: bool = False,
        real_chars: bool = False,
        area_precision: float = 0.3,
        score_thr: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(score_thr, **kwargs)
        self.settings = dict(polygons=polygons, area_precision=area_precision)
        self.real_chars = real_chars
        judge_cleval(*_NOTHING, **self.settings)

    def process(self, data_batch: object, data_samples: Sequence[Mapping]) -> None:
        """Judge the images of a batch.

        Raises:
            ValueError: If a sample has no annotated or no predicted words, or an outline has not 4
                points though ``polygons`` is off.
        """
        for sample in data_samples:
            words = sample_words(sample, type(self).__name__)
            chars = sample["gt_instances"].get("chars") if self.real_chars else None
            centres = chars and [
                None if quads is None else np.mean(quads, axis=1) for quads in chars
            ]
            try:
                self.results.append(self.judge(*words, centres))
            except ValueError as error:
                image = sample.get("img_path", "sample")
                raise ValueError(f"{type(self).__name__}: {image}: {error}") from None

    def judge(
        self,
        truth: Truth,
        predictions: Predictions,
        char_centres: Sequence[np.ndarray | None] | None = None,
    ) -> CLEvalCounts:
        """Counts of an image; ``char_centres`` as for `judge_cleval`."""
        found = self.confident(predictions)
        return judge_cleval(truth, found, char_centres=char_centres, **self.settings)

    def compute_metrics(self, results: list[CLEvalCounts]) -> dict[str, float]:
        """Rates of all images."""
        return _logged("CLEval", summarize_cleval(results))


def _logged(name: str, metrics: dict[str, float]) -> dict[str, float]:
    values = (
        f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value:,}"
        for key, value in metrics.items()
    )
    print_log(f"{name}: " + ", ".join(values), logger="current")
    return metrics
