"""The demo's bookkeeping: what it shows of a log, when a step is done, what it starts and ends."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest


@pytest.fixture
def demo(repository, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    return importlib.import_module("demo")


@pytest.fixture
def steps(demo) -> ModuleType:
    return importlib.import_module("steps")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "11/21 05:23:44 - mmengine - INFO - Iter(train) [ 20/900]  lr: 8.9796e-04  "
            "eta: 0:44:11  time: 3.0  grad_norm: 2.1104  loss: 0.3351  loss_region: 0.1448",
            "iteration  20/900  loss 0.3351  0:44:11 left",
        ),
        (
            "Iter(train) [100/90000]  base_lr: 1e-3 eta: 1 day, 2:03:04  loss_region: 0.1",
            "iteration   100/90000  1 day, 2:03:04 left",
        ),
        (
            "INFO - Iter(val) [25/25]    icdar/precision: 0.8123  icdar/recall: 0.7500  "
            "icdar/hmean: 0.7799  data_time: 0.01",
            "on held-out pictures: precision 0.812, recall 0.750, hmean 0.780",
        ),
        ("INFO - Iter(test) [10/25]    eta: 0:00:04  time: 0.3", "evaluating 10/25"),
        ("INFO - Checkpoints will be saved to work_dirs.", None),
        ("", None),
    ],
)
def test_condense(steps, line, expected):
    assert steps.condense(line) == expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0s"), (59.5, "59.5s"), (60, "1m00s"), (190.9, "3m10s")]
)
def test_elapsed(steps, seconds, text):
    assert steps.elapsed(seconds) == text


def test_state_survives_what_a_kill_leaves(demo, tmp_path):
    state = demo.State(tmp_path / "deep" / "state.json")
    assert state.read() == {}
    state.write(key="a", finished=True)
    assert state.read() == {"key": "a", "finished": True}
    state.write(key="b")
    assert state.read() == {"key": "b"}
    for rest in ("", '{"key": "b', "[1]"):
        state.path.write_text(rest)
        assert state.read() == {}


def test_a_training_is_known_by_its_settings_and_data(demo, tmp_path):
    (tmp_path / "base.py").write_text("lr = 1\n")
    config = tmp_path / "config.py"
    config.write_text("_base_ = 'base.py'\n")
    first = demo.fingerprint(config, 24)
    assert demo.fingerprint(config, 24) == first
    others = {demo.fingerprint(config, 25), demo.fingerprint(config, 24, "a=1")}
    config.write_text("# a comment\n_base_ = 'base.py'\n")
    assert demo.fingerprint(config, 24) == first
    (tmp_path / "base.py").write_text("lr = 2\n")
    others.add(demo.fingerprint(config, 24))
    assert len(others | {first}) == 4


def test_the_last_checkpoint_is_evaluated_not_the_best(demo, tmp_path):
    stage = demo.Stage("config.py", tmp_path, "key", 0)
    (tmp_path / "best_icdar_hmean_iter_4.pth").touch()
    assert stage.checkpoint(required=False) is None
    with pytest.raises(demo.StepError, match="no checkpoint"):
        stage.checkpoint()
    (tmp_path / "last_checkpoint").write_text(f"{tmp_path / 'iter_8.pth'}\n")
    assert stage.checkpoint(required=False) is None
    (tmp_path / "iter_8.pth").touch()
    assert stage.checkpoint() == tmp_path / "iter_8.pth"


def test_a_weak_stage_is_known_by_both_configs_and_starts_from_the_strong_one(
    demo, tmp_path, monkeypatch
):
    monkeypatch.setattr(demo, "fingerprint", lambda config, *made_from: config.stem[-4:])
    whole = demo.Demo(dataclasses.replace(demo.FAST, work_dir=tmp_path / "run"), 0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "iter_8.pth").touch()
    (tmp_path / "run" / "last_checkpoint").write_text(f"{tmp_path / 'run' / 'iter_8.pth'}\n")
    assert whole.strong.key == "demo"
    assert whole.weak.key == "demo-weak"
    assert whole.weak.work_dir == tmp_path / "run_weak"
    assert whole.weak.options[-1] == f"load_from={tmp_path / 'run' / 'iter_8.pth'}"
    results, trained = [], []
    monkeypatch.setattr(
        demo.Stage, "evaluate", lambda self, path, to: results.append((path.name, to.name)) or ""
    )
    monkeypatch.setattr(demo.Stage, "train", lambda self: trained.append(self.config) or "")
    (tmp_path / "run_weak").mkdir()
    (tmp_path / "run_weak" / "iter_4.pth").touch()
    (tmp_path / "run_weak" / "last_checkpoint").write_text(str(tmp_path / "run_weak/iter_4.pth"))
    assert whole.train_weakly() == ""
    assert trained == [demo.WEAK_CONFIG]
    assert results == [("iter_8.pth", "weak_before.json"), ("iter_4.pth", "weak_after.json")]


def test_what_is_done_is_not_done_again(demo, tmp_path, monkeypatch):
    stage = demo.Stage("config.py", tmp_path, "key", 0)
    checkpoint = tmp_path / "iter_8.pth"
    checkpoint.touch()
    (tmp_path / "last_checkpoint").write_text(str(checkpoint))
    demo.State(tmp_path / "stage.json").write(key="key", finished=True)
    assert stage.train() == "done before"
    result = tmp_path / "result.json"
    demo.State(result).write(made_from=stage.made_from(checkpoint), hmean=0.5)
    assert stage.evaluate(checkpoint, result) == "done before"
    assert demo.State(result).read()["hmean"] == 0.5
    os.utime(checkpoint, (1, 1))  # another one of the same name
    called = []
    stages = importlib.import_module("training_stage")
    monkeypatch.setattr(stages, "run", lambda *args: called.append(args[0][1]))
    with pytest.raises(demo.StepError, match="left no metrics"):
        stage.evaluate(checkpoint, result)
    assert called == ["tools/test.py"]


def test_set_aside_never_overwrites(steps, tmp_path):
    for content in ("first", "second"):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "x").write_text(content)
        steps.set_aside(tmp_path / "run")
    assert (tmp_path / "run.1" / "x").read_text() == "first"
    assert (tmp_path / "run.2" / "x").read_text() == "second"
    assert not (tmp_path / "run").exists()


def test_run_shows_some_keeps_all_and_quotes_failures(demo, steps, tmp_path, capsys):
    log = tmp_path / "log" / "all.txt"
    code = "print('one'); print('two'); raise SystemExit(3)"
    with (tmp_path / "lock").open("a") as lock, pytest.raises(demo.StepError) as raised:
        steps.run(
            [sys.executable, "-c", code],
            log,
            lock.fileno(),
            lambda line: line.strip().upper() if "two" in line else None,
        )
    assert capsys.readouterr().out == "  TWO\n"
    assert log.read_text() == "one\ntwo\n"
    assert "exit status 3" in str(raised.value)
    assert "one" in str(raised.value)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_stopping_ends_the_helpers_of_a_command(steps, tmp_path):
    code = "import os, time; os.fork(); os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    pids: list[int] = []

    def show(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            raise KeyboardInterrupt

    with (tmp_path / "lock").open("a") as lock, pytest.raises(KeyboardInterrupt):
        steps.run([sys.executable, "-c", code], tmp_path / "log", lock.fileno(), show)
    for _ in range(100):
        if not any(alive(pid) for pid in pids):
            break
        time.sleep(0.05)
    assert len(set(pids)) == 2
    assert not any(alive(pid) for pid in pids)


def test_two_demos_at_once_are_refused(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    path = tmp_path / "out" / ".lock"
    with demo.only_one(path) as lock:
        os.write(lock, b"4711")
        with pytest.raises(demo.StepError, match="kill -- -4711"), demo.only_one(path):
            pass
    with demo.only_one(path) as lock:
        assert lock > 0


def test_an_image_is_written_whole(repository, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(repository / "tools"))
    demo_pictures = importlib.import_module("demo_pictures")
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    demo_pictures.write_image(tmp_path / "x.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "x.png")), image)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
