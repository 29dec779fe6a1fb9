"""The metrics of text detection as OpenMMLab's: what evaluators call, around pure functions."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from mmtextplug.evaluation.breakdown import (
    count_page_kinds,
    format_kinds,
    summarize_kinds,
)
from mmtextplug.evaluation.hmean import (
    Counts,
    check_strategy,
    judge_page,
    rates,
    sweep_page,
)
from mmtextplug.evaluation.overlaps import Predictions, Truth, are_outlines


class TextDetectionMetric(BaseMetric):
    """What metrics of text detection have in common: words of samples, judged image by image.

    Samples need ``gt_instances`` with ``polygons`` and ``ignored``, and ``texts`` where a metric
    counts characters; ``pred_instances`` with ``polygons`` and, as it may be, ``scores``.
    Polygons are flat arrays or ``(K, 2)``, both in pixels of the original image.

    Args:
        score_thr (float): Predictions with lower scores do not count. The default counts all that
            the post-processor lets through: its thresholds are the stated ones.
        **kwargs: Of ``BaseMetric``: collect_device, prefix.
    """

    def __init__(self, score_thr: float = 0.0, **kwargs) -> None:
        super().__init__(**kwargs)
        if not 0 <= score_thr <= 1:
            raise ValueError(f"{type(self).__name__}: score_thr is {score_thr}, not in [0, 1]")
        self.score_thr = score_thr

    def process(self, data_batch: object, data_samples: Sequence[Mapping]) -> None:
        """Judge the images of a batch.

        Args:
            data_batch: Not used.
            data_samples (Sequence[Mapping]): Samples as dicts.

        Raises:
            ValueError: If a sample has no annotated or no predicted words.
        """
        for sample in data_samples:
            self.results.append(self.judge(*sample_words(sample, type(self).__name__)))

    @abstractmethod
    def judge(self, truth: Truth, predictions: Predictions) -> object:
        """What an image adds; small, as it is sent from process to process."""

    def confident(self, predictions: Predictions) -> Predictions:
        """The predictions that reach the score threshold."""
        kept = np.nonzero(np.float32(predictions.scores) >= np.float32(self.score_thr))[0]
        return Predictions([predictions.outlines[i] for i in kept], predictions.scores[kept])


def sample_words(sample: Mapping, asker: str) -> tuple[Truth, Predictions]:
    """Annotated and predicted words of a data sample.

    Args:
        sample (Mapping): With ``gt_instances`` and ``pred_instances``.
        asker (str): Who needs them, for messages.

    Raises:
        ValueError: If there are none.
    """
    image = sample.get("img_path", "sample")
    truth, found = sample.get("gt_instances"), sample.get("pred_instances")
    if truth is None or truth.get("polygons") is None:
        raise ValueError(
            f"{asker}: {image} has no annotated polygons: the test pipeline must load annotations "
            "(LoadCharAnnotations, or LoadOCRAnnotations with_polygon=True) after resizing"
        )
    if found is None or found.get("polygons") is None:
        raise ValueError(f"{asker}: {image} has no predicted polygons: is this a text detector?")
    outlines = [_points(polygon) for polygon in truth.get("polygons")]
    ignored = truth.get("ignored")
    if ignored is None:
        ignored = np.zeros(len(outlines), dtype=bool)
    texts = truth.get("texts")
    texts = [None] * len(outlines) if texts is None else list(texts)
    predicted = [_points(polygon) for polygon in found.get("polygons")]
    scores = found.get("scores")
    scores = np.ones(len(predicted)) if scores is None else _host(scores)
    if len(scores) != len(predicted):
        raise ValueError(f"{asker}: {image}: {len(predicted)} polygons, {len(scores)} scores")
    broken = int((~are_outlines(predicted)).sum())
    if broken:
        print_log(
            f"{asker}: {image}: {broken} predicted polygons have fewer than 3 points, or a NaN or "
            "infinite coordinate; they match nothing",
            logger="current",
            level=logging.WARNING,
        )
    return (
        Truth(outlines, _host(ignored).astype(bool), texts),
        Predictions(predicted, scores.astype(np.float64)),
    )


def _points(polygon: object) -> np.ndarray:
    return np.asarray(_host(polygon), dtype=np.float64).reshape(-1, 2)


def _host(values: object) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)


@METRICS.register_module()
class HmeanMetric(TextDetectionMetric):
    """Precision, recall and hmean at a least IoU, at one stated threshold and swept, side by side.

    MMOCR's ``HmeanIOUMetric`` reports only the best of several score thresholds, chosen on the very
    set that is tested. Here ``hmean`` is that of the stated threshold, and what MMOCR would report
    is ``swept_hmean``: equal but for outlines that cross themselves, whose areas MMOCR takes before
    it mends them, and scores that are thresholds, which count here. Equal to the official
    evaluation of ICDAR 2015 with ``score_thr=0``.

    Returned are ``precision``, ``recall`` and ``hmean``; ``swept_precision``, ``swept_recall``,
    ``swept_hmean`` and ``swept_score_thr``, the threshold they belong to.

    Args:
        match_iou_thr (float): In [0, 1): a prediction may match a word if their IoU is above.
        ignore_precision_thr (float): In [0, 1]: a prediction does not count if a larger share of
            its area lies in one ignored word.
        score_thr (float): See ``TextDetectionMetric``.
        pred_score_thrs (dict): ``start``, ``stop`` and ``step`` of the swept thresholds, as
            ``numpy.arange`` takes them.
        strategy (str): 'vanilla', as the official evaluation, or 'max_matching'.
        breakdown (bool): Whether to log recall, precision and hmean by size, direction, length and
            curvature of words, too (see `measure_words`).
        **kwargs: Of ``BaseMetric``: collect_device, prefix.

    Raises:
        ValueError: If a setting is out of its range.
    """

    default_prefix = "icdar"

    def __init__(
        self,
        match_iou_thr: float = 0.5,
        ignore_precision_thr: float = 0.5,
        score_thr: float = 0.0,
        pred_score_thrs: Mapping[str, float] | None = None,
        strategy: str = "vanilla",
        breakdown: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(score_thr, **kwargs)
        self.thresholds = dict(iou_thr=match_iou_thr, ignore_thr=ignore_precision_thr)
        judge_page(
            Truth([], np.zeros(0, bool), []), Predictions([], np.zeros(0)), **self.thresholds
        )
        grid = dict(start=0.3, stop=0.9, step=0.1) if pred_score_thrs is None else pred_score_thrs
        try:
            # 0.6, not 0.6000000000000001, which a score of 0.6 would not reach.
            self.swept_thrs = np.arange(**grid).round(10)
        except (TypeError, ZeroDivisionError) as error:
            raise ValueError(f"HmeanMetric: pred_score_thrs {grid}: {error}") from error
        if not len(self.swept_thrs):
            raise ValueError(f"HmeanMetric: pred_score_thrs {grid} is an empty range")
        check_strategy(strategy)
        self.strategy = strategy
        self.breakdown = breakdown

    def judge(self, truth: Truth, predictions: Predictions) -> dict:
        """Counts of an image at the stated and at all swept thresholds."""
        page = judge_page(truth, predictions, **self.thresholds)
        counts = sweep_page(page, [self.score_thr, *self.swept_thrs], self.strategy)
        result = dict(counts=counts)
        if self.breakdown:
            result["kinds"] = count_page_kinds(
                truth, predictions, page, self.score_thr, self.strategy
            )
        return result

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Rates of all images."""
        totals = np.sum([result["counts"] for result in results], axis=0)
        stated, *swept = [Counts(*row) for row in totals.tolist()]
        metrics = rates(stated)
        swept_rates = [rates(counts) for counts in swept]
        best = max(range(len(swept)), key=lambda i: swept_rates[i]["hmean"])
        lines = [_line(f"at score threshold {self.score_thr:.2f}, as stated", stated)]
        if set(swept) == {stated}:
            lines.append("and the same at all swept thresholds")
        else:
            lines += [
                _line(f"at score threshold {thr:.2f}" + (", the best" if i == best else ""), counts)
                for i, (thr, counts) in enumerate(zip(self.swept_thrs, swept))
            ]
        print_log("hmean-iou\n" + "\n".join(lines), logger="current")
        metrics |= {f"swept_{key}": value for key, value in swept_rates[best].items()}
        metrics["swept_score_thr"] = float(self.swept_thrs[best])
        if self.breakdown:
            kinds = summarize_kinds(np.sum([result["kinds"] for result in results], axis=0))
            print_log("by kinds of words\n" + format_kinds(kinds), logger="current")
        return metrics


def _line(title: str, counts: Counts) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in rates(counts).items())
    return (
        f"{title:<42}{values}  ({counts.hits:,} of {counts.truths:,} words, "
        f"{counts.predictions:,} predictions)"
    )
