"""StratifiedOHEMHook, killed and resumed, fine-tuned, and in two processes."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tiny_detector import config, train
from tiny_detector import outcome as outcome_of

from mmtextplug.mining.s_ohem_hook import SAVED_AS, StratifiedOHEMHook

ROOT = Path(__file__).resolve().parents[2]
SAMPLER = dict(type="StratifiedOHEMSampler", num=8)
# Stable as soon as two windows are full: at step 8. Done at step 14.
HOOK = dict(window=4, windows=2, tolerance=1e9, patience=1, ramp_iters=6, interval=1)


def hook_of(runner: Runner) -> StratifiedOHEMHook:
    return next(hook for hook in runner.hooks if isinstance(hook, StratifiedOHEMHook))


def equal_weights(first: Runner, second: Runner) -> bool:
    left, right = first.model.state_dict(), second.model.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


class Killed(Exception):
    pass


class KillAt(Hook):
    def __init__(self, step: int) -> None:
        self.step = step

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.step:
            raise Killed


@pytest.mark.parametrize(
    ("mode", "interval", "killed"),
    # Within a window, within the ramp, and at the end of a window.
    [("weighted", 5, 6), ("stratified", 10, 11), ("weighted", 4, 8)],
)
def test_killed_and_resumed_is_as_never_killed(tmp_path, mode, interval, killed):
    sampler = {**SAMPLER, "mode": mode, "per_class": mode == "weighted"}
    cfgs = [config(tmp_path / name, sampler, HOOK) for name in ("whole", "broken", "broken")]
    for cfg in cfgs:
        cfg.default_hooks.checkpoint.interval = interval
    whole, expected = train(cfgs[0])
    runner = Runner.from_cfg(cfgs[1])
    runner.register_hook(KillAt(killed))
    with pytest.raises(Killed):
        runner.train()
    cfgs[2].resume = True
    resumed, outcome = train(cfgs[2])
    begun = interval * (killed // interval)
    for key in ("states", "lr", "weights", "parameters"):
        assert outcome[key] == expected[key], key
    assert expected["states"][0]["start"] == 8
    assert outcome["mined"][0] == expected["mined"][0][begun:]
    assert equal_weights(whole, resumed)


def test_training_that_is_prolonged_keeps_what_it_had(tmp_path):
    # The last checkpoint is saved within a window, at a step that no interval tells.
    hook = {**HOOK, "force_start": 1.0}
    short, long, again = (config(tmp_path / n, SAMPLER, hook) for n in ("short", "long", "again"))
    short.train_cfg.max_iters = 7
    again.load_from, again.resume = str(tmp_path / "short" / "iter_7.pth"), True
    train(short)
    expected, outcome = train(long)[1], train(again)[1]
    assert outcome["states"] == expected["states"]
    assert outcome["mined"][0] == expected["mined"][0][7:]


def test_what_is_saved_is_plain_and_small(tmp_path):
    train(config(tmp_path, SAMPLER, HOOK))
    checkpoint = torch.load(tmp_path / "iter_10.pth", map_location="cpu", weights_only=False)
    saved = checkpoint[SAVED_AS]
    assert json.loads(json.dumps(saved)) == saved
    assert len(json.dumps(saved)) < 2000
    (state,) = saved["states"]
    assert state["start"] == 8
    assert not any("sampler" in key for key in checkpoint["state_dict"])


def test_load_from_brings_no_schedule(tmp_path):
    train(config(tmp_path / "first", SAMPLER, HOOK))
    # One window of its own, too early to begin.
    hook = {**HOOK, "window": 2, "force_start": 1.0}
    cfg = config(tmp_path / "second", SAMPLER, hook)
    cfg.load_from = str(tmp_path / "first" / "iter_10.pth")
    cfg.train_cfg.max_iters = 3
    runner, outcome = train(cfg)
    (state,) = hook_of(runner).states
    assert (state.start, len(state.history), state.calm) == (-1, 1, 0)
    assert outcome["weights"][0]["beta"] == 0
    # But the weights of the network did come: three steps from there, not from the beginning.
    torch.manual_seed(0)
    fresh = config(tmp_path / "third", SAMPLER, hook)
    fresh.train_cfg.max_iters = 3
    assert train(fresh)[1]["parameters"] != outcome["parameters"]


def test_a_checkpoint_without_a_history_is_told(tmp_path, monkeypatch):
    train(config(tmp_path / "first", SAMPLER, None))
    told = []
    monkeypatch.setattr(
        "mmtextplug.mining.s_ohem_hook.print_log", lambda message, **_: told.append(message)
    )
    cfg = config(tmp_path / "second", SAMPLER, {**HOOK, "window": 11, "force_start": 1.0})
    cfg.load_from, cfg.resume = str(tmp_path / "first" / "iter_10.pth"), True
    runner, _ = train(cfg)
    assert any("no history in the checkpoint" in message for message in told)
    assert hook_of(runner).states[0].start == -1


def test_a_checkpoint_of_another_number_of_samplers_is_told(tmp_path):
    train(config(tmp_path / "first", SAMPLER, HOOK))
    checkpoint = torch.load(tmp_path / "first/iter_10.pth", map_location="cpu", weights_only=False)
    checkpoint[SAVED_AS]["states"] *= 3
    torch.save(checkpoint, tmp_path / "three.pth")
    cfg = config(tmp_path / "second", SAMPLER, HOOK)
    cfg.load_from, cfg.resume = str(tmp_path / "three.pth"), True
    with pytest.raises(ValueError, match="states of 3 samplers, the model 1"):
        train(cfg)


class SaveAt(Hook):
    """Somebody else's wish for a checkpoint, before or after the hook of the schedule."""

    def __init__(self, step: int, priority: str) -> None:
        self.step, self.priority = step, priority

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.step:
            runner.save_checkpoint(runner.work_dir, "own.pth", by_epoch=False)


@pytest.mark.parametrize("priority", ["VERY_HIGH", "VERY_LOW"])
def test_a_checkpoint_that_another_hook_saves_within_a_window(tmp_path, priority):
    cfgs = [config(tmp_path / name, SAMPLER, HOOK) for name in ("whole", "saving", "resumed")]
    for cfg in cfgs:
        cfg.default_hooks.checkpoint.interval = 100
    _, expected = train(cfgs[0])
    runner = Runner.from_cfg(cfgs[1])
    runner.register_hook(SaveAt(6, priority))
    runner.train()
    assert compared(outcome_of(runner)) == compared(expected)  # it disturbs nothing
    cfgs[2].load_from, cfgs[2].resume = str(tmp_path / "saving" / "own.pth"), True
    _, resumed = train(cfgs[2])
    assert compared(resumed) == compared(expected)
    assert expected["states"][0]["start"] == 8
    assert resumed["mined"][0] == expected["mined"][0][6:]


def compared(outcome: dict) -> dict:
    return {key: outcome[key] for key in ("states", "lr", "weights", "parameters")}


def by_epochs(work_dir: Path):
    """Three epochs of five steps, each followed by a validation and the best checkpoint so far."""
    loader = dict(
        batch_size=2, dataset=dict(type="Seeds", length=10),
        sampler=dict(type="DefaultSampler", shuffle=False),
    )  # fmt: skip
    return config(
        work_dir, SAMPLER, HOOK,
        train_dataloader=loader, val_dataloader=loader, val_cfg=dict(),
        val_evaluator=dict(type="Rising"),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=1),
        default_hooks=dict(checkpoint=dict(
            type="CheckpointHook", interval=1, save_best="score", rule="greater"
        )),
        log_processor=dict(by_epoch=True),
    )  # fmt: skip


def test_epochs_with_the_best_checkpoint_killed_and_resumed(tmp_path):
    cfgs = [by_epochs(tmp_path / name) for name in ("whole", "broken", "broken", "best")]
    _, expected = train(cfgs[0])
    runner = Runner.from_cfg(cfgs[1])
    runner.register_hook(KillAt(12))
    with pytest.raises(Killed):
        runner.train()
    # After ten steps, two of them of a window and of the ramp.
    cfgs[2].resume = True
    best = tmp_path / "broken" / "best_score_epoch_2.pth"
    cfgs[3].load_from, cfgs[3].resume = str(best), True
    saved = [torch.load(path, map_location="cpu", weights_only=False)[SAVED_AS]
             for path in (best, best.with_name("epoch_2.pth"))]  # fmt: skip
    assert saved[0] == saved[1]
    assert saved[0]["states"][0]["start"] == 8
    for cfg in cfgs[3:1:-1]:
        _, outcome = train(cfg)
        assert compared(outcome) == compared(expected)
        assert outcome["mined"][0] == expected["mined"][0][10:]
    assert len(expected["mined"][0]) == 15


# --- several processes -------------------------------------------------------------------------


def test_two_processes_one_without_foreground_agree_and_resume(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    helpers = Path(__file__).parent
    path = os.pathsep.join([str(ROOT), str(helpers)])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(helpers / "tiny_detector.py"), str(tmp_path), port],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for run in ("whole", "resumed"):
        # Different data, one without any foreground: the same schedule and the same network.
        assert first[run]["mined"] != second[run]["mined"]
        own = slice(5, None) if run == "resumed" else slice(None)  # the log of the first is resumed
        assert max(second[run]["foreground"][own]) == 0 < min(first[run]["foreground"][own])
        for key in ("states", "lr", "weights", "parameters"):
            assert first[run][key] == second[run][key], key
    (state,) = first["whole"]["states"]
    assert state["start"] == 8
    assert all(cls > 0 and loc > 0 for cls, loc in state["history"])
    assert first["whole"]["weights"][0]["beta"] == pytest.approx(state["ratios"]["loc"] * 4 / 6)
    for outcome in (first, second):
        for key in ("states", "lr", "weights", "parameters"):
            assert outcome["resumed"][key] == outcome["whole"][key], key
        assert outcome["resumed"]["mined"][0] == outcome["whole"]["mined"][0][5:]
    # Nothing of the second was a number in its second step: it trained on nobody, and went on.
    alone, other = first["broken"], second["broken"]
    assert [sum(map(len, rows)) for rows in other["mined"][0]] == [16, 0, 16, 16, 16]
    assert [sum(map(len, rows)) for rows in alone["mined"][0]] == [16] * 5
    assert alone["parameters"] == other["parameters"]
    assert all(math.isfinite(value) for value in alone["parameters"])
    assert alone["states"] == other["states"]
