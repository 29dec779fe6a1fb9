"""OHEM and S-OHEM step by step in plain Python: slow, and nothing like the code under test.

A batch is a list of images, an image a list of RoIs, a RoI a dict of ``box`` (x1, y1, x2, y2),
``label``, ``fg`` (whether it is foreground), ``cls`` and ``loc``. Results are sets of
``(image, index)``.
"""

from __future__ import annotations

import math


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union


def greedy(boxes, scores, groups, iou_thr, overlap=iou) -> set[int]:
    """Non-maximum suppression as textbooks have it."""
    order = [i for i, s in enumerate(scores) if math.isfinite(s)]
    order.sort(key=lambda i: (-scores[i], i))
    kept: list[int] = []
    for i in order:
        if all(groups[i] != groups[j] or overlap(boxes[i], boxes[j]) <= iou_thr for j in kept):
            kept.append(i)
    return set(kept)


def valid(roi) -> bool:
    """Whether it may be mined: losses are numbers, the box has an area."""
    x1, y1, x2, y2 = roi["box"]
    return x2 > x1 and y2 > y1 and math.isfinite(roi["cls"]) and math.isfinite(roi["loc"])


def survivors(batch, score, iou_thr, per_label) -> set[tuple[int, int]]:
    kept = set()
    for n, image in enumerate(batch):
        scores = [score(roi) if valid(roi) else math.nan for roi in image]
        groups = [roi["label"] if per_label else 0 for roi in image]
        boxes = [roi["box"] for roi in image]
        kept |= {(n, i) for i in greedy(boxes, scores, groups, iou_thr)}
    return kept


def top(batch, members, rank, count) -> list[tuple[int, int]]:
    """So many of the members, the highest first, ties by index."""
    return sorted(members, key=lambda ni: (-rank(batch[ni[0]][ni[1]]), ni))[:count]


def scopes(batch, pool, num) -> list[tuple[set[int], int]]:
    """Over which images a quota goes, and the quota."""
    if pool == "batch":
        return [(set(range(len(batch))), num * len(batch))]
    return [({n}, num) for n in range(len(batch))]


def mine(batch, num, *, alpha=1.0, beta=1.0, iou_thr=0.7, per_label=True, pool="image"):
    """OHEM; with other weights the weighted mode of S-OHEM. ``beta`` may be a list by label."""

    def score(roi):
        own = beta if not isinstance(beta, list) else beta[roi["label"]] if roi["fg"] else 0.0
        return alpha * roi["cls"] + own * roi["loc"]

    kept = survivors(batch, score, iou_thr, per_label)
    selected = set()
    for images, quota in scopes(batch, pool, num):
        selected |= set(top(batch, {m for m in kept if m[0] in images}, score, quota))
    return selected, kept


def thresholds(batch, kept) -> tuple[float, float]:
    """From where on losses are high: means, of the localisation loss over foreground."""
    rois = [batch[n][i] for n, i in kept]
    locs = [roi["loc"] for roi in rois if roi["fg"]]
    return (
        sum(roi["cls"] for roi in rois) / len(rois) if rois else 0.0,
        sum(locs) / len(locs) if locs else 0.0,
    )


def strata(batch, kept, pool="image") -> dict[tuple[int, int], int]:
    """Stratum of every survivor, by the thresholds of its image or of the batch."""
    table = {(True, True): 1, (True, False): 2, (False, True): 3, (False, False): 4}
    number = {}
    for images, _ in scopes(batch, pool, 0):
        here = {m for m in kept if m[0] in images}
        high_cls, high_loc = thresholds(batch, here)
        for n, i in here:
            roi = batch[n][i]
            number[n, i] = table[roi["cls"] >= high_cls, roi["fg"] and roi["loc"] >= high_loc]
    return number


def mine_strata(
    batch, num, progress, *, alpha=1.0, beta=0.0, iou_thr=0.7, per_label=True, pool="image",
    late="s13", late_share=1.0,
):  # fmt: skip
    """The stratified mode of S-OHEM."""

    def score(roi):
        return alpha * roi["cls"] + beta * roi["loc"]

    kept = survivors(batch, score, iou_thr, per_label)
    number = strata(batch, kept, pool)
    late_numbers, late_rank = ((1, 3), lambda roi: roi["loc"])
    if late == "s23":
        late_numbers, late_rank = (2, 3), lambda roi: roi["cls"] + roi["loc"]
    selected: set[tuple[int, int]] = set()
    for images, quota in scopes(batch, pool, num):
        here = {m for m in kept if m[0] in images}
        n_late = math.floor(progress * late_share * quota + 0.5)
        early = {m for m in here if number[m] in (1, 2)}
        chosen = set(top(batch, early, lambda roi: roi["cls"], quota - n_late))
        rest = {m for m in here - chosen if number[m] in late_numbers}
        chosen |= set(top(batch, rest, late_rank, n_late))
        chosen |= set(top(batch, here - chosen, score, quota - len(chosen)))
        selected |= chosen
    return selected, kept, number
