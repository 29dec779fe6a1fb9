"""StratifiedOHEMHook in the real Runner: history, schedule, the log."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from tiny_detector import config, train

from mmtextplug.mining.s_ohem import ratio
from mmtextplug.mining.s_ohem_hook import StratifiedOHEMHook, find_samplers
from mmtextplug.mining.s_ohem_sampler import HISTORY

ROOT = Path(__file__).resolve().parents[2]
SAMPLER = dict(type="StratifiedOHEMSampler", num=8)
# Stable as soon as two windows are full: at step 8. Done at step 14.
HOOK = dict(window=4, windows=2, tolerance=1e9, patience=1, ramp_iters=6, interval=1)


def hook_of(runner: Runner) -> StratifiedOHEMHook:
    return next(hook for hook in runner.hooks if isinstance(hook, StratifiedOHEMHook))


def equal_weights(first: Runner, second: Runner) -> bool:
    left, right = first.model.state_dict(), second.model.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


class Note(Hook):
    """Sums that were taken, and the weights at the beginning of every step."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.sums, self.weights = {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        samplers = find_samplers(runner.model)
        self.weights.append([sampler.weights for _, sampler in samplers])
        self.step = runner.iter + 1

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.sums[self.step] = [
            sampler.history.tolist() for _, sampler in find_samplers(runner.model)
        ]


def noted(cfg) -> tuple[Runner, dict, Note]:
    note = Note()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(note)
    runner.train()
    return runner, note.sums, note


# --- the schedule ------------------------------------------------------------------------------


def test_history_ratio_and_ramp_by_hand(tmp_path):
    # No checkpoint within a window: what a sampler holds at its end is the sum of the window.
    cfg = config(tmp_path, SAMPLER, HOOK)
    cfg.default_hooks.checkpoint.interval = 100
    runner, sums, note = noted(cfg)
    (state,) = hook_of(runner).states
    first, second = (dict(zip(HISTORY, sums[step][0])) for step in (4, 8))
    means = [[w["cls"] / w["survivors"], w["loc"] / w["foreground"]] for w in (first, second)]
    assert state.history == [pytest.approx(mean) for mean in means]
    assert means[0] != means[1]
    assert state.start == 8
    expected = ratio(second["cls_selected"], second["loc_selected"])
    assert state.ratios.loc == pytest.approx(expected)
    assert 0.5 < expected < 10
    betas = [weights[0].beta for weights in note.weights]
    assert betas[:9] == [0.0] * 9  # at step 8 it begins, at 0
    assert betas[9:] == pytest.approx([expected * n / 6 for n in (1, 2, 3)])
    assert [weights[0].alpha for weights in note.weights] == [1.0] * 12


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        (dict(tolerance=1e-12), 8),  # never stable: the first window from half the training on
        (dict(tolerance=1e-12, window=1), 6),
        (dict(tolerance=1e-12, window=None), 6),  # an eightieth of the training: one step
        (dict(tolerance=1e-12, force_start=1.0), 12),
        (dict(tolerance=1e-12, force_start=0.0), 4),
        (dict(window=1, windows=2, patience=3), 4),
        (dict(window=7, force_start=1.0), -1),
    ],
)
def test_when_the_ramp_begins(tmp_path, changes, start):
    runner, _ = train(config(tmp_path, SAMPLER, {**HOOK, **changes}))
    assert [state.start for state in hook_of(runner).states] == [start]


@pytest.mark.parametrize(
    ("sampler", "hook", "message"),
    [
        ({}, dict(window=13), "no window=13 ends within the training of 12 steps"),
        (dict(per_class=True), dict(beta_end=1.9), "beta_end is one weight for all categories"),
    ],
)
def test_what_could_never_take_effect_is_refused(tmp_path, sampler, hook, message):
    with pytest.raises(ValueError, match=message):
        train(config(tmp_path, {**SAMPLER, **sampler}, {**HOOK, **hook}))


def test_a_drop_of_the_learning_rate_makes_the_history_begin_anew(tmp_path):
    hook = {**HOOK, "window": 2, "windows": 3, "force_start": 1.0}
    starts = []
    for name, gamma in (("none", 1.0), ("small", 0.6), ("large", 0.1)):
        scheduler = dict(type="MultiStepLR", milestones=[3], gamma=gamma, by_epoch=False)
        cfg = config(tmp_path / name, SAMPLER, hook, param_scheduler=[scheduler])
        cfg.default_hooks.param_scheduler = dict(type="ParamSchedulerHook")
        starts.append(hook_of(train(cfg)[0]).states[0].start)
    assert starts == [6, 6, 8]


@pytest.mark.parametrize("nothing", ["bare", "broken"])
def test_windows_in_which_nothing_was_measured_do_not_count(tmp_path, nothing):
    # No foreground in the first four steps, or no number: a mean of 0 would make later ones jump.
    cfg = config(tmp_path, SAMPLER, {**HOOK, "windows": 3, "force_start": 1.0})
    cfg.train_cfg.max_iters = 18
    cfg.train_dataloader.dataset[nothing] = list(range(8))
    runner, outcome = train(cfg)
    (state,) = hook_of(runner).states
    # The fourth window is the third that tells something.
    assert state.start == 16
    assert len(state.history) == 3
    assert all(cls > 0 and loc > 0 for cls, loc in state.history)
    empty = [sum(map(len, rows)) == 0 for rows in outcome["mined"][0]]
    assert empty == [nothing == "broken"] * 4 + [False] * 14


def test_every_stage_of_a_cascade_has_its_own(tmp_path):
    model = dict(kind="MiningCascadeRoIHead")
    cfg = config(tmp_path, {**SAMPLER, "mode": "stratified"}, HOOK, model=model)
    runner, outcome = train(cfg)
    first, second = hook_of(runner).states
    assert first.start == second.start == 8
    assert first.history != second.history
    assert first.ratios != second.ratios
    assert outcome["weights"][0]["progress"] == outcome["weights"][1]["progress"] == 4 / 6
    assert [len(mined) for mined in outcome["mined"]] == [12, 12]
    logged = runner.message_hub.log_scalars
    assert {"train/mining_s0/beta", "train/mining_s1/beta"} <= logged.keys()


def test_every_category_may_have_its_own_ratio(tmp_path):
    cfg = config(tmp_path, {**SAMPLER, "per_class": True}, HOOK)
    cfg.default_hooks.checkpoint.interval = 100
    runner, sums, note = noted(cfg)
    own = sums[8][0][len(HISTORY) :]
    (state,) = hook_of(runner).states
    expected = [ratio(*sums, state.ratios.loc) for sums in zip(own[:3], own[3:])]
    assert state.ratios.per_class == pytest.approx(expected)
    assert len(set(expected)) == 3
    assert note.weights[-1][0].beta == pytest.approx([r / 2 for r in expected])
    logged = runner.message_hub.log_scalars
    for number, value in enumerate(expected):
        assert logged[f"train/mining/beta_{number}"].current() == pytest.approx(value * 4 / 6)


# --- the log -----------------------------------------------------------------------------------


def test_what_is_logged(tmp_path):
    hook = {**HOOK, "beta_end": 1.9, "interval": 4}
    runner, outcome = train(config(tmp_path, {**SAMPLER, "mode": "stratified"}, hook))
    logged = {
        key.removeprefix("train/mining/"): value.current()
        for key, value in runner.message_hub.log_scalars.items() if "mining" in key
    }  # fmt: skip
    assert not any("loss" in key for key in logged)
    assert logged["selected"] == 16
    assert logged["candidates"] == 2 * (30 + 3)
    assert logged["non_finite"] == 0
    assert logged["alpha"] == 1
    assert logged["beta"] == pytest.approx(1.9 * 4 / 6)
    assert logged["progress"] == pytest.approx(4 / 6)
    assert logged["ramp"] == 1
    strata = [logged[f"population_s{n}"] for n in (1, 2, 3, 4)]
    assert sum(strata) == pytest.approx(logged["candidates"] - logged["duplicates"])
    assert sum(logged[f"selected_s{n}"] for n in (1, 2, 3, 4)) == pytest.approx(16)
    assert logged["cls_threshold"] > 0 < logged["loc_threshold"]
    # Of the last four steps, by who was mined: proposals and ground truths, of 33 an image.
    truths = sum(i < 3 for rows in outcome["mined"][0][8:] for part in rows for i in part)
    assert logged["ground_truths"] == pytest.approx(truths / 4)
    assert 0 < logged["foreground"] < 1
    files = list(tmp_path.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in files[0].read_text().splitlines()]
    last = lines[-1]
    assert last["mining/beta"] == pytest.approx(1.9 * 4 / 6)
    assert last["loss"] == pytest.approx(last["loss_cls"] + last["loss_bbox"])


def test_losses_that_are_no_numbers_are_warned_of(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        "mmtextplug.mining.s_ohem_hook.print_log", lambda message, **kw: told.append((message, kw))
    )
    cfg = config(tmp_path, SAMPLER, {**HOOK, "interval": 2})
    cfg.train_dataloader.dataset.broken = [4, 10, 11]
    train(cfg)
    # In steps 3 and 6: of four images each that were mined since the last time, one and two.
    warned = [(message, kw["level"]) for message, kw in told if "NaN or infinite" in message]
    assert warned == [
        (f"StratifiedOHEMHook: mining: of 132 RoIs, the losses of {count} are NaN or infinite; "
         "none is trained on", logging.WARNING) for count in (33, 66)
    ]  # fmt: skip


def test_the_log_changes_nothing_that_is_trained(tmp_path):
    # Ends of 0: the selection is by classification with and without a schedule.
    hook = {**HOOK, "beta_end": 0.0}
    runners = [
        train(config(tmp_path / str(n), SAMPLER, options))[0]
        for n, options in enumerate([hook, {**hook, "interval": 100}, None])
    ]
    assert equal_weights(runners[0], runners[1])
    assert equal_weights(runners[0], runners[2])
    entries = [r.message_hub.log_scalars["train/loss"].data[0].tolist() for r in runners]
    assert entries[0] == entries[1] == entries[2]


def test_ohem_without_a_schedule_is_logged_too(tmp_path):
    runner, _ = train(config(tmp_path, dict(type="RoIOHEMSampler", num=8), HOOK))
    logged = {key for key in runner.message_hub.log_scalars if "mining" in key}
    assert logged == {
        f"train/mining/{key}" for key in
        ("candidates", "duplicates", "without_area", "non_finite", "selected", "foreground",
         "ground_truths")
    }  # fmt: skip
    assert runner.message_hub.log_scalars["train/mining/selected"].current() == 16


# --- bad input ---------------------------------------------------------------------------------


def test_a_model_without_a_sampler_of_this_package(tmp_path):
    cfg = config(tmp_path, SAMPLER, HOOK)
    cfg.model = dict(type="OneNumber")
    with pytest.raises(
        ValueError, match="no StratifiedOHEMSampler or RoIOHEMSampler is in the model"
    ):
        Runner.from_cfg(cfg).train()


@MODELS.register_module(force=True)
class OneNumber(BaseModel):
    """Has no RoI head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, mode="loss", **given):
        return dict(loss=self.layer.weight.sum())


def test_with_the_hook_nothing_is_said_of_its_absence(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        "mmtextplug.mining.s_ohem_sampler.print_log", lambda message, **_: told.append(message)
    )
    train(config(tmp_path / "with", SAMPLER, HOOK))
    assert told == []
    train(config(tmp_path / "without", SAMPLER, None))
    assert len(told) == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"window": 0}, "window=0"), ({"interval": 0}, "interval=0"),
        ({"force_start": 1.5}, "force_start=1.5"), ({"windows": 1}, "windows=1"),
        ({"shape": "sine"}, "shape='sine'"), ({"beta_end": -1.0}, "beta_end=-1.0"),
        ({"ramp_iters": 0}, "ramp_iters=0"),
    ],
)  # fmt: skip
def test_arguments_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        StratifiedOHEMHook(**options)
