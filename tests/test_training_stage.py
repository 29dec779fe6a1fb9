"""A training as a step: fresh, going on, finished, of other settings, and without its file."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def stages(repository, monkeypatch, tmp_path) -> ModuleType:
    """The module, on a repository in a temporary folder."""
    monkeypatch.syspath_prepend(str(repository / "tools"))
    module = importlib.import_module("training_stage")
    for name in ("steps", "training_stage"):
        monkeypatch.setattr(importlib.import_module(name), "ROOT", tmp_path)
    return module


@pytest.fixture
def commands(stages, monkeypatch, tmp_path) -> list[list[str]]:
    """What would have been run; `stopped` in it stands for a training that is killed."""
    called: list[list[str]] = []

    def run(command: list[str], log: Path, lock: int, show: object) -> None:
        called.append(command)
        log.parent.mkdir(parents=True, exist_ok=True)
        save(log.parent, 1)
        if "stopped" in command:
            raise stages.StepError("stopped")
        save(log.parent, 2)

    monkeypatch.setattr(stages, "run", run)
    return called


def save(folder: Path, step: int) -> None:
    path = folder / f"iter_{step}.pth"
    path.touch()
    (folder / "last_checkpoint").write_text(str(path))


def stage(stages: ModuleType, key: str = "key", *options: str):
    return stages.Stage("config.py", Path("work"), key, 0, options)


def test_it_trains_once(stages, commands, tmp_path, capsys):
    assert stage(stages, "key", "a=1").train() == ""
    assert "going on" not in capsys.readouterr().out
    assert commands[0][1:] == [
        "tools/train.py", "config.py", "--work-dir", "work", "--resume", "--cfg-options", "a=1",
    ]  # fmt: skip
    assert stage(stages, "key", "a=1").checkpoint() == tmp_path / "work" / "iter_2.pth"
    assert stage(stages).train() == "done before"
    assert len(commands) == 1


def test_a_stopped_one_goes_on(stages, commands, tmp_path, capsys):
    with pytest.raises(stages.StepError, match="stopped"):
        stage(stages, "key", "stopped").train()
    assert stage(stages).train() == ""
    assert "going on from iter_1.pth" in capsys.readouterr().out
    assert "--resume" in commands[1]
    assert not (tmp_path / "work.1").exists()


def test_one_of_other_settings_is_moved_away(stages, commands, tmp_path, capsys):
    stage(stages).train()
    assert stage(stages, "other").train() == ""
    said = capsys.readouterr().out
    assert "other settings were trained before; moved to work.1" in said
    assert "going on" not in said
    assert (tmp_path / "work.1" / "iter_2.pth").is_file()
    assert stage(stages, "other").train() == "done before"


def test_a_moved_repository_finds_its_checkpoint(stages, commands, tmp_path, capsys):
    with pytest.raises(stages.StepError, match="stopped"):
        stage(stages, "key", "stopped").train()
    (tmp_path / "work" / "last_checkpoint").write_text("/somewhere/else/iter_1.pth\n")
    assert stage(stages).train() == ""
    assert "going on from iter_1.pth" in capsys.readouterr().out


@pytest.mark.parametrize("options", [(), ("stopped",)], ids=["finished", "stopped"])
def test_a_checkpoint_that_is_gone_is_named(stages, commands, tmp_path, options):
    if options:
        with pytest.raises(stages.StepError, match="stopped"):
            stage(stages, "key", *options).train()
    else:
        stage(stages).train()
    for path in (tmp_path / "work").glob("*.pth"):
        path.unlink()
    with pytest.raises(stages.StepError, match=r"no checkpoint iter_\d.pth in .*work: delete"):
        stage(stages).train()
    assert len(commands) == 1
