"""The one primitive by which every miner of this package selects hard examples."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# From so many scores on, as the pixels of a map are, sorting all of them on a CPU takes longer
# than looking for the last one that is taken.
_LONG_ROW = 4096


def hard_select(
    score: Tensor,
    *,
    candidate: Tensor | None = None,
    forced: Tensor | None = None,
    group: Tensor | None = None,
    k: int | Tensor | None = None,
    ratio: float | None = None,
    min_k: int = 0,
    max_k: int | None = None,
    pool: str = "group",
) -> Tensor:
    """Select the hardest examples: the highest scores of each group, up to its quota.

    A group is a row of a 2-D ``score`` or the examples with one id in ``group``; its quota is
    ``k``, or ``ratio`` times its number of forced examples (rounded down), clamped to
    ``[min_k, max_k]``. Without ``k`` and ``ratio`` every candidate fits the quota, unless
    ``max_k`` limits it. Equal scores are taken in order of their index, so that the selection is
    deterministic. Nothing here waits for the device, and no gradient passes.

    It covers OHEM for RoIs (Shrivastava et al., 2016: ``k = B / N`` for each image) as well as the
    1 : 3 online hard negative mining of CRAFT, DB and SSD (``forced`` = positives,
    ``candidate`` = valid negatives, ``ratio=3``).

    Args:
        score (Tensor): ``(M,)`` or ``(G, L)``; the higher, the harder.
        candidate (Tensor, optional): Bool, same shape: who may be mined. Default: all.
        forced (Tensor, optional): Bool, same shape: always selected, outside the quota.
        group (Tensor, optional): ``(M,)`` integer ids, only for 1-D scores. Default: one group.
        k (int | Tensor, optional): Quota of every group, or one per row / group id.
        ratio (float, optional): Quota as a multiple of the group's forced examples.
        min_k (int): Lower clamp of the quota; also what a group without forced examples gets.
        max_k (int, optional): Upper clamp of the quota.
        pool (str): 'group' keeps quotas apart; 'all' adds them up over the groups present and
            takes the hardest of all.

    Returns:
        Tensor: Bool, same shape as ``score``: the forced and the mined. Examples with a NaN or
        infinite score are never mined.

    Raises:
        ValueError: If arguments contradict each other or shapes differ.
    """
    if k is not None and ratio is not None:
        raise ValueError("hard_select: give k or ratio, not both")
    if max_k is not None and max_k < min_k:
        raise ValueError(f"hard_select: min_k={min_k} is more than max_k={max_k}")
    if pool not in ("group", "all"):
        raise ValueError(f"hard_select: pool must be 'group' or 'all', got {pool!r}")
    if score.dim() not in (1, 2) or (group is not None and score.dim() != 1):
        raise ValueError(
            f"hard_select: score must be (M,), with or without group, or (G, L) without group; "
            f"got shape {tuple(score.shape)}"
        )
    for name, mask in (("candidate", candidate), ("forced", forced), ("group", group)):
        if mask is not None and mask.shape != score.shape:
            raise ValueError(
                f"hard_select: {name} has shape {tuple(mask.shape)}, score {tuple(score.shape)}"
            )
    if isinstance(k, Tensor) and k.dim():
        groups = score.shape[0] if score.dim() == 2 else 1
        if k.dim() > 1 or (group is None and len(k) != groups):
            raise ValueError(
                f"hard_select: k has shape {tuple(k.shape)}, one number for each group is expected"
            )
    score = score.detach()
    if forced is None:
        forced = torch.zeros_like(score, dtype=torch.bool)
    if score.numel() == 0:
        return forced.clone()
    eligible = torch.isfinite(score) & ~forced
    if candidate is not None:
        eligible &= candidate
    # Half precision has no sort on some devices; float64 scores stay what they are.
    keys = score if score.dtype == torch.float64 else score.float()
    keys = keys.masked_fill(~eligible, float("-inf"))
    rows = keys if score.dim() == 2 else keys[None]
    if group is None:
        counts = forced.view(rows.shape).count_nonzero(1)
        quota = _quota(counts, k, ratio, min_k, max_k, rows.shape[1])
        if pool == "all":
            rows, quota = rows.reshape(1, -1), quota.sum()[None]
        mined = _top_of_rows(rows, quota)
    else:
        mined = _top_of_groups(keys, forced, group, k, ratio, min_k, max_k, pool)
    return forced | (mined.view(score.shape) & eligible)


def _quota(
    forced: Tensor,
    k: int | Tensor | None,
    ratio: float | None,
    min_k: int,
    max_k: int | None,
    everything: int,
) -> Tensor:
    """Quota of each group, ``(G,)`` int64, from its number of forced examples."""
    if k is not None:
        # A tensor given per group has the groups' shape already; a number is the same for all.
        quota = k.to(forced) if isinstance(k, Tensor) else torch.full_like(forced, k)
        quota = quota.expand_as(forced)
    elif ratio is not None:
        # The tiny term keeps 0.3 * 10 at 3 despite binary fractions.
        quota = (forced.double() * ratio + 1e-6).floor().long()
    else:
        quota = torch.full_like(forced, everything)
    return quota.clamp(min=min_k, max=max_k)


def _top_of_rows(keys: Tensor, quota: Tensor) -> Tensor:
    """Mask ``(G, L)`` of the ``quota[g]`` highest keys of each row; ties by index."""
    if keys.device.type == "cpu" and keys.shape[1] >= _LONG_ROW:
        rows = [_top_of_long_row(row, q) for row, q in zip(keys.numpy(), quota.tolist())]
        return torch.from_numpy(np.stack(rows))
    order = keys.sort(dim=1, descending=True, stable=True).indices
    within = torch.arange(keys.shape[1], device=keys.device)[None] < quota[:, None]
    return torch.zeros_like(within.expand_as(keys)).scatter_(1, order, within)


def _top_of_long_row(keys: np.ndarray, quota: int) -> np.ndarray:
    """As `_top_of_rows` for one row: the quota's last key is found without sorting the others."""
    count = len(keys) - min(quota, len(keys))
    if count == len(keys):
        return np.zeros(len(keys), dtype=bool)
    last = np.partition(keys, count)[count]
    mined = keys > last
    mined[np.flatnonzero(keys == last)[: len(keys) - count - np.count_nonzero(mined)]] = True
    return mined


def _top_of_groups(
    keys: Tensor,
    forced: Tensor,
    group: Tensor,
    k: int | Tensor | None,
    ratio: float | None,
    min_k: int,
    max_k: int | None,
    pool: str,
) -> Tensor:
    """As `_top_of_rows` for examples whose group is told by an id; ids need not be dense."""
    order = keys.sort(descending=True, stable=True).indices
    order = order[group[order].sort(stable=True).indices]  # by group, and by score within it
    sorted_group = group[order]
    position = torch.arange(len(keys), device=keys.device)
    begins = torch.ones_like(forced)
    begins[1:] = sorted_group[1:] != sorted_group[:-1]
    # Segment ids and starts by running sums: no need to know the number of groups on the host.
    segment = begins.long().cumsum(0) - 1
    start = torch.where(begins, position, torch.zeros_like(position)).cummax(0).values
    counts = torch.zeros_like(position).scatter_add_(0, segment, forced[order].long())
    if isinstance(k, Tensor) and k.dim() > 0:
        k = k.to(position)[sorted_group]
        quota = _quota(counts[segment], k, ratio, min_k, max_k, len(keys))
    else:
        quota = _quota(counts, k, ratio, min_k, max_k, len(keys))[segment]
    if pool == "all":
        total = (quota * begins).sum()
        return _top_of_rows(keys[None], total[None])[0]
    mined = torch.zeros_like(forced)
    mined[order] = position - start < quota
    return mined
