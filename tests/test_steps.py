"""How jobs of several steps run, and how they end."""

from __future__ import annotations

import importlib
import os
import signal

import pytest


@pytest.fixture
def steps(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools"))
    module = importlib.import_module("steps")
    kept = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
    yield module
    for number, handler in kept:
        signal.signal(number, handler)


def test_steps_are_counted_and_say_how_they_ended(steps, capsys):
    done = []

    def work() -> str:
        done.append("work")
        return ""

    steps.perform([("looking", lambda: "done before"), ("working", work)])
    assert done == ["work"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["[1/2] looking", "  done before", "[2/2] working"]
    assert lines[3].startswith("  done in 0.0")


def test_a_step_that_fails_is_the_last(steps):
    def fail() -> str:
        raise steps.StepError("no disk")

    with pytest.raises(steps.StepError, match="no disk"):
        steps.perform([("failing", fail), ("never", lambda: pytest.fail("went on"))])


def test_how_a_job_ends_is_its_status(steps, capsys):
    def fail() -> None:
        raise steps.StepError("no disk")

    assert steps.status_of("job", lambda: None) == 0
    assert steps.status_of("job", fail) == 1
    assert capsys.readouterr().err == "job: no disk\n"
    assert steps.status_of("job", lambda: os.kill(os.getpid(), signal.SIGTERM)) == 130
    assert "job: stopped; run it again to go on from here" in capsys.readouterr().err


def test_defects_keep_their_traceback(steps):
    with pytest.raises(ZeroDivisionError):
        steps.status_of("job", lambda: 1 / 0)
