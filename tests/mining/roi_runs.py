"""What the tests do with RoI heads: sample, record what was mined, losses in plain Python."""

from __future__ import annotations

import copy
import math

import torch
from literal_mining import iou
from mmengine.structures import InstanceData
from roi_heads import CLASSES
from torch import Tensor

from mmtextplug.mining.roi_pool import RoIPool


def each_image(feats: tuple[Tensor, ...]) -> list[list[Tensor]]:
    """The features of one image after the other, as heads hand them to samplers."""
    return [[level[i][None] for level in feats] for i in range(len(feats[0]))]


def sample(head, results, data, feats, stage: int | None = None) -> list:
    """Assign and sample image by image, as the heads of MMDetection do."""
    assigner, sampler = head.bbox_assigner, head.bbox_sampler
    if stage is not None:
        assigner, sampler = assigner[stage], sampler[stage]
    sampled = []
    for result, item, own in zip(results, data, each_image(feats)):
        proposals = InstanceData(priors=result.bboxes.clone())
        assigned = assigner.assign(proposals, item.gt_instances, item.ignored_instances)
        sampled.append(sampler.sample(assigned, proposals, item.gt_instances, feats=own))
    return sampled


def selected(results: list) -> list[list[int]]:
    """Which of an image's ground truths and proposals, in this order, are in sampling results."""
    return [sorted([*r.pos_inds.tolist(), *r.neg_inds.tolist()]) for r in results]


def record(sampler) -> list[list[list[int]]]:
    """A list that every later mining of the sampler is added to, see `selected`."""
    mined, mine = [], sampler.mine

    def mine_and_note(*args, **kwargs):
        outcome = mine(*args, **kwargs)
        mined.append(selected(outcome[0]))
        return outcome

    sampler.mine = mine_and_note
    return mined


def samplers(head) -> list:
    """One, or those of the stages."""
    return head.bbox_sampler if isinstance(head.bbox_sampler, list) else [head.bbox_sampler]


def total(losses: dict) -> Tensor:
    """What is optimised, as MMEngine sums it."""
    parts = [v for k, v in losses.items() if "loss" in k]
    return sum(part.sum() for v in parts for part in (v if isinstance(v, list) else [v]))


def literal_batch(head, feats, results, data, stage: int | None = None) -> list[list[dict]]:
    """All candidates with their losses, in plain Python: one RoI a forward, no code of the mining.

    Softmax and smooth L1 of a head whose regression is class-specific. Ignored boxes are left out;
    the index among ground truths and proposals is ``index``.
    """
    batch = []
    bbox_head = head.bbox_head if stage is None else head.bbox_head[stage]
    stages = () if stage is None else (stage,)
    training = head.training
    head.eval()
    for result, item, own in zip(results, data, each_image(feats)):
        truths = item.gt_instances.bboxes.tolist()
        labels = item.gt_instances.labels.tolist()
        ignored = item.ignored_instances.bboxes.tolist()
        image = []
        for index, box in enumerate([*truths, *result.bboxes.tolist()]):
            overlaps = [iou(box, truth) for truth in truths]
            if index < len(truths):
                overlaps = [float(i == index) for i in range(len(truths))]
            elif any(_shared(box, other) / _area(box) > 0.5 for other in ignored):
                continue
            best = max(range(len(truths)), key=overlaps.__getitem__, default=None)
            fg = best is not None and overlaps[best] >= 0.5
            with torch.no_grad():
                out = head._bbox_forward(*stages, own, torch.tensor([[0.0, *box]]))
            logits = out["cls_score"][0].double().tolist()
            label = labels[best] if fg else CLASSES
            loc = 0.0
            if fg:
                deltas = out["bbox_pred"][0].double().view(CLASSES, 4)[label].tolist()
                stds = bbox_head.bbox_coder.stds
                loc = sum(map(_smooth_l1, deltas, _encoded(box, truths[best], stds)))
            cls = math.log(sum(map(math.exp, logits))) - logits[label]
            image.append(dict(box=box, label=label, fg=fg, cls=cls, loc=loc, index=index))
        batch.append(image)
    head.train(training)
    return batch


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def _encoded(box: list[float], truth: list[float], stds) -> list[float]:
    w, h = box[2] - box[0], box[3] - box[1]
    moves = [
        (truth[0] + truth[2] - box[0] - box[2]) / 2 / w,
        (truth[1] + truth[3] - box[1] - box[3]) / 2 / h,
        math.log((truth[2] - truth[0]) / w),
        math.log((truth[3] - truth[1]) / h),
    ]
    return [move / std for move, std in zip(moves, stds)]


def _smooth_l1(value: float, aim: float) -> float:
    error = abs(value - aim)
    return 0.5 * error**2 if error < 1 else error - 0.5


def indices(batch: list[list[dict]], members: set[tuple[int, int]]) -> list[list[int]]:
    """Members of a literal batch as `selected` tells them."""
    return [
        sorted(image[i]["index"] for m, i in members if m == n) for n, image in enumerate(batch)
    ]


def pools_of(head, results, data) -> list[RoIPool]:
    """All candidates of each image, as samplers make them."""
    pools = []
    for result, item in zip(results, data):
        proposals = InstanceData(priors=result.bboxes.clone())
        assigned = head.bbox_assigner.assign(proposals, item.gt_instances, item.ignored_instances)
        pools.append(RoIPool(assigned, proposals, item.gt_instances))
    return pools


def differentiable(feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(f.clone().requires_grad_() for f in feats)


def grads(head, feats) -> list[Tensor]:
    named = [p for p in head.parameters() if p.grad is not None]
    return [p.grad.clone() for p in named] + [f.grad.clone() for f in feats if f.grad is not None]


def joined(first: tuple, second: tuple) -> tuple:
    """The images of two batches as one: of features, or of what `samples` gives."""
    if isinstance(first[0], Tensor):
        return tuple(torch.cat(pair) for pair in zip(first, second))
    return tuple(copy.deepcopy([*a, *b]) for a, b in zip(first, second))
