"""What mining decides waits for no device: all of ``mine`` but the networks and the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from roi_heads import MASKS, build, features, samples
from roi_runs import record, total

from mmtextplug.mining.roi_pool import RoIPool
from mmtextplug.mining.s_ohem import Weights

SAMPLERS = {
    "ohem": dict(type="RoIOHEMSampler", max_pos_fraction=0.5, mask_weight=2.0),
    "weighted": dict(type="StratifiedOHEMSampler", per_class=True, mask_weight=2.0),
    "stratified": dict(type="StratifiedOHEMSampler", mode="stratified"),
    "quantiles": dict(type="StratifiedOHEMSampler", mode="stratified", quantile=0.5),
}


@contextmanager
def waiting(mode: str) -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def within(mode: str, function):
    def run(*args, **kwargs):
        with waiting(mode):
            return function(*args, **kwargs)

    return run


def mined_on(device: str, kind: str, sampler: dict, monkeypatch) -> tuple[list, float]:
    """What is selected in two steps; on a GPU it is an error to wait for it."""
    head = build(kind, {**sampler, "num": 12}, **MASKS).to(device)
    own = head.bbox_sampler
    if hasattr(own, "weights"):
        beta = [0.5, 1.0, 2.0] if sampler.get("per_class") else 1.0
        own.weights, own.is_scheduled = Weights(0.75, beta, 0.5, 0.5), True
    if device == "cuda":
        # RoIs have levels, targets their foreground, results a length: MMDetection's, and variable.
        own.stage.losses = within("default", own.stage.losses)
        own.stage.mask_losses = within("default", own.stage.mask_losses)
        monkeypatch.setattr(RoIPool, "select", within("default", RoIPool.select))
        own.mine = within("error", own.mine)
    mined = record(own)
    loss = 0.0
    for seed in (0, 1):
        results, data = samples(ignored=2, seed=seed)
        feats = tuple(level.to(device) for level in features(seed=seed))
        results = [result.to(device) for result in results]
        loss += float(total(head.loss(feats, results, [item.to(device) for item in data])))
    assert own.take_counts()["selected"] == sum(len(rows) for call in mined for rows in call)
    return mined, loss


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["StandardRoIHead", "MiningStandardRoIHead"])
def test_it_selects_the_same_on_every_device_and_waits_for_none(kind, name, monkeypatch):
    mined, loss = mined_on("cpu", kind, SAMPLERS[name], monkeypatch)
    assert [len(rows) for call in mined for rows in call] == [12] * 4
    if not torch.cuda.is_available():
        pytest.skip("the other half needs a GPU")
    on_gpu, same = mined_on("cuda", kind, SAMPLERS[name], monkeypatch)
    assert on_gpu == mined
    assert same == pytest.approx(loss, rel=1e-3)
