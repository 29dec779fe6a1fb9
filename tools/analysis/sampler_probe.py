"""What the comparison of samplers measures: average precision, false positives by kind, pool
losses, time and memory. A metric and a hook for the runner of each training.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.evaluation.functional import average_precision, bbox_overlaps
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from mmtextplug.mining.roi_forward import RoIStage
from mmtextplug.mining.roi_pool import RoIPool

KINDS = ("scrambled", "symbols", "misplaced", "background")
"""Of false positives: what they lie on. Misplaced ones lie on words, or are second ones there."""

_RECALL = 0.9
_LIES_ON = 0.1  # overlap from which on a false positive counts as lying on something
_WARM_UP = 5  # steps that are not timed


@METRICS.register_module()
class HardTextMetric(BaseMetric):
    """``AP50``, ``AP75`` and false positives in 100 pictures where recall reaches 0.9, by kind.

    Of data samples it reads ``gt_instances``, ``pred_instances``, ``scrambled`` and ``symbols``.
    """

    default_prefix = "words"

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            found = sample["pred_instances"]
            self.results.append(
                dict(
                    scores=found["scores"].cpu().numpy(),
                    boxes=found["bboxes"].cpu().numpy(),
                    words=sample["gt_instances"]["bboxes"].cpu().numpy(),
                    scrambled=sample["scrambled"],
                    symbols=sample["symbols"],
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        false = false_positives(results)
        return {
            "AP50": precision(results, 0.5),
            "AP75": precision(results, 0.75),
            **{f"false_{kind}": 100 * false[kind] / len(results) for kind in KINDS},
        }


def hits(pictures: Sequence[dict], iou_thr: float) -> tuple[np.ndarray, np.ndarray]:
    """Which detections find a word: those of the highest score on each.

    Args:
        pictures: ``scores`` ``(D,)``, ``boxes`` ``(D, 4)`` and ``words`` ``(G, 4)`` of each.
        iou_thr: overlap with the word that they lie on most.

    Returns:
        Scores and bools of all detections, picture by picture.
    """
    found = []
    for picture in pictures:
        hit = np.zeros(len(picture["boxes"]), bool)
        overlaps = bbox_overlaps(picture["boxes"], picture["words"])
        taken: set[int] = set()
        if len(picture["words"]):
            for row in np.argsort(-picture["scores"], kind="stable"):
                word = int(overlaps[row].argmax())
                hit[row] = overlaps[row, word] >= iou_thr and word not in taken
                if hit[row]:
                    taken.add(word)
        found.append(hit)
    return np.concatenate([p["scores"] for p in pictures]), np.concatenate(found)


def precision(pictures: Sequence[dict], iou_thr: float) -> float:
    """Average precision: the area below precision over recall; NaN if there are no words."""
    words = sum(len(picture["words"]) for picture in pictures)
    if not words:
        return float("nan")
    scores, hit = hits(pictures, iou_thr)
    right = hit[np.argsort(-scores, kind="stable")].cumsum()
    ranks = np.arange(1, len(right) + 1)
    return float(average_precision(right / words, right / ranks)) if len(right) else 0.0


def false_positives(
    pictures: Sequence[dict], recall: float = _RECALL, iou_thr: float = 0.5
) -> dict[str, float]:
    """How many false positives of each of `KINDS` there are when just so many words are found.

    Args:
        pictures: As for `hits`, with ``scrambled`` and ``symbols``, ``(N, 4)`` each.
        recall: Share of the words; NaN for all kinds if it is not reached.
        iou_thr: Overlap from which on a word is found.
    """
    words = sum(len(picture["words"]) for picture in pictures)
    scores, hit = hits(pictures, iou_thr)
    kinds = np.concatenate([_lies_on(picture) for picture in pictures])
    order = np.argsort(-scores, kind="stable")
    # The tiny term keeps 0.9 * 10 at 9 despite binary fractions.
    enough = np.flatnonzero(hit[order].cumsum() >= recall * words - 1e-9)
    if not words or not len(enough):
        return dict.fromkeys(KINDS, float("nan"))
    kept = order[: enough[0] + 1]
    false = kinds[kept][~hit[kept]]
    return {kind: float((false == number).sum()) for number, kind in enumerate(KINDS)}


def _lies_on(picture: dict) -> np.ndarray:
    """The kind of each detection if it is false: what it overlaps most, ``(D,)``."""
    columns = []
    for things in (picture["scrambled"], picture["symbols"], picture["words"]):
        overlaps = bbox_overlaps(picture["boxes"], np.asarray(things, np.float32).reshape(-1, 4))
        columns.append(overlaps.max(1, initial=0))
    most = np.stack([*columns, np.full(len(picture["boxes"]), _LIES_ON)], axis=1)
    return most.argmax(1)


@HOOKS.register_module()
class SamplerProbe(Hook):
    """Measures pool losses at each validation, and what steps cost.

    Adds to the results of a validation ``pool_cls``, the mean classification loss of all proposals
    of its pictures, ``pool_loc``, the mean localisation loss of those of them that are foreground,
    ``step_ms``, the median time of a step without loading, and ``peak_mb``. Time is that of the
    processor, which others do not lengthen, memory what is resident; on a GPU, time that has passed
    and memory that is allocated.
    """

    def __init__(self) -> None:
        self._times: list[float] = []
        self._peak = self._start = 0.0
        self._sums = np.zeros(4)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None):
        self._start = _clock()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        self._times.append(_clock() - self._start)
        self._peak = max(self._peak, _memory())

    def before_val_epoch(self, runner: Runner) -> None:
        self._sums[:] = 0

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        self._sums += pool_losses(runner.model, data_batch)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        cls, count, loc, foreground = self._sums
        values = dict(pool_cls=cls / max(count, 1), pool_loc=loc / max(foreground, 1))
        if self._times:
            timed = self._times[_WARM_UP:] or self._times
            values |= dict(step_ms=1e3 * statistics.median(timed), peak_mb=self._peak / 2**20)
        for key, value in values.items():
            runner.message_hub.update_scalar(f"val/{key}", value)


@torch.no_grad()
def pool_losses(model: nn.Module, data_batch: dict) -> np.ndarray:
    """Summed losses of the proposals of a batch.

    Returns:
        ``(4,)``: classification loss of all, their number; localisation loss of the foreground,
        its number.
    """
    data = model.data_preprocessor(data_batch, False)
    feats, head = model.extract_feat(data["inputs"]), model.roi_head
    pools = []
    for sample in data["data_samples"]:
        priors = InstanceData(priors=sample.proposals.bboxes)
        truths = sample.gt_instances
        owners = head.bbox_assigner.assign(priors, truths)
        pools.append(RoIPool(owners, priors, truths, add_gt=False))
    losses, _ = RoIStage(head).losses(feats, pools)
    foreground = sum(len(pool.pos_inds) for pool in pools)
    return np.array([losses.cls.sum(), len(losses.cls), losses.loc.sum(), foreground], float)


def _clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def _memory() -> float:
    """Bytes: the most so far."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
