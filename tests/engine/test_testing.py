"""`tools/test.py` on checkpoints of all kinds, hostile ones too, and `load_from` in training."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from whole_tools import ENV, ROOT, TEST, TRAIN, free_port, needs_torchrun, run, write_config

from mmtextplug import launch

# Runs a tool and compares the model that it ends with with a state dict.
COMPARE = """
import runpy, sys, torch
from mmengine.model import is_model_wrapper
from mmtextplug import safe_runner
load = safe_runner.SafeRunner.load_or_resume
expected = torch.load(sys.argv[1], weights_only=True)
def load_and_compare(runner):
    load(runner)
    state = runner.model.state_dict()
    assert state.keys() == expected.keys()
    print("equal parameters:", sum(torch.equal(state[k], expected[k]) for k in state), flush=True)
safe_runner.SafeRunner.load_or_resume = load_and_compare
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Bomb:
    """Unpickled in earnest, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (open, (str(self.mark), "w"))


def make_model(config: Path) -> nn.Module:
    cfg = launch.load_config(str(config))
    torch.manual_seed(5)
    with DefaultScope.overwrite_default_scope("mmocr"):
        return MODELS.build(cfg.model)


def officially_named(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names of the official release, for what it shares with the tiny model."""

    def rename(key: str) -> str:
        key = re.sub(r"^neck\.blocks\.(\d)\.", lambda m: f"upconv{int(m[1]) + 1}.conv.", key)
        return key.replace("det_head.conv_cls.", "conv_cls.")

    return {rename(key): value for key, value in state.items()}


def last_line(done: subprocess.CompletedProcess) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("layout", ["own", "official"])
def test_own_and_official_layouts_are_loaded_whole(data: Path, tmp_path: Path, layout) -> None:
    config = write_config(tmp_path, data, iters=2)
    state = make_model(config).state_dict()
    torch.save(state, tmp_path / "expected.pth")
    content = {"meta": {"epoch": 3}, "state_dict": state}
    if layout == "official":
        names = officially_named(state)
        assert "conv_cls.0.weight" in names
        assert any(key.startswith("upconv1.conv.") for key in names)
        content = {"craft": {f"module.{key}": value for key, value in names.items()}}
    torch.save(content, tmp_path / "weights.pth")
    tool = [str(ROOT / "tools/test.py"), str(config), str(tmp_path / "weights.pth")]
    tool += ["--work-dir", str(tmp_path / "out"), "--show-dir", str(tmp_path / "shown")]
    tool += ["--save-preds"]
    done = run([sys.executable, "-c", COMPARE, str(tmp_path / "expected.pth"), *tool])
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"equal parameters: {len(state)}\n" in done.stdout
    (metrics,) = (tmp_path / "out").glob("*/*.json")
    assert set(json.loads(metrics.read_text())) >= {"icdar/hmean", "icdar/precision"}
    # Our own file, with tensors and arrays in it.
    predictions = pickle.loads((tmp_path / "out" / "weights_predictions.pkl").read_bytes())
    assert len(predictions) == 3
    # Asked for by --show-dir.
    assert all("pred_score_maps" in sample for sample in predictions)
    assert len(list((tmp_path / "shown").rglob("*.png"))) == 3


def test_a_hostile_checkpoint_is_refused_and_not_run(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, data, iters=2)
    checkpoint, mark = tmp_path / "hostile.pth", tmp_path / "mark"
    torch.save({"state_dict": Bomb(mark)}, checkpoint)
    done = run([*TEST, str(config), str(checkpoint), "--work-dir", str(tmp_path / "out")])
    assert done.returncode == 1
    assert last_line(done).startswith(f"test.py: error: {checkpoint}: refused: it holds more than")
    assert not mark.exists()


def test_a_checkpoint_that_fits_nothing_is_refused(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, data, iters=2)
    checkpoint, mark = tmp_path / "foreign.pth", tmp_path / "mark"
    torch.save({"weights": {"a.weight": torch.ones(2)}, "a": torch.ones(2)}, checkpoint)
    done = run([*TEST, str(config), str(checkpoint), "--work-dir", str(tmp_path / "out")])
    assert done.returncode == 1
    message = last_line(done)
    assert message.startswith(f"test.py: error: {checkpoint}: does not fit this model: ")
    assert "1 are not in the model (such as a)" in message
    # In training, the same file and a hostile one.
    options = ["--work-dir", str(tmp_path / "out"), "--cfg-options", f"load_from={checkpoint}"]
    done = run([*TRAIN, str(config), *options])
    assert done.returncode == 1
    assert f"{checkpoint}: nothing in it fits this model: it starts with a, " in last_line(done)
    torch.save({"state_dict": Bomb(mark)}, checkpoint)
    done = run([*TRAIN, str(config), *options])
    assert done.returncode == 1
    assert last_line(done).startswith(f"train.py: error: {checkpoint}: refused: it holds more than")
    assert not mark.exists()


def test_training_starts_from_what_fits_without_amp_on_a_cpu(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, data, iters=1, workers=0)
    state = make_model(config).state_dict()
    names = officially_named(state)
    last = max(key for key in names if key.startswith("conv_cls.") and key.endswith(".weight"))
    names[last] = torch.ones(7, 7)
    torch.save({"module." + key: value for key, value in names.items()}, tmp_path / "weights.pth")
    torch.save(state, tmp_path / "expected.pth")
    tool = [str(ROOT / "tools/train.py"), str(config), "--work-dir", str(tmp_path / "out"), "--amp"]
    tool += ["--cfg-options", f"load_from={tmp_path / 'weights.pth'}"]
    done = run([sys.executable, "-c", COMPARE, str(tmp_path / "expected.pth"), *tool])
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"equal parameters: {len(state) - 1}\n" in done.stdout
    output = done.stdout + done.stderr
    assert f"1 parameters have another shape: det_head.{last}" in output
    assert "mixed precision needs a GPU" in output
    assert (tmp_path / "out" / "iter_1.pth").exists()
    # The config that is kept beside the checkpoints asks for the same on another machine.
    assert Config.fromfile(tmp_path / "out" / "tiny.py").optim_wrapper.type == "AmpOptimWrapper"


@needs_torchrun
def test_two_processes_test_alike(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, data, iters=2)
    # Thresholds at which a network that has learnt nothing takes each picture for one word.
    config.write_text(
        config.read_text()
        + "model['det_head']['postprocessor'] = dict(text_threshold=-9, low_text=-9)\n"
        + "test_evaluator = [dict(type='HmeanMetric', match_iou_thr=0.001, breakdown=True), "
        + "dict(type='DetEvalMetric', area_recall=0.01, area_precision=0.001), "
        + "dict(type='CLEvalMetric', polygons=True, area_precision=0.001), "
        + "dict(type='TIoUMetric', match_iou_thr=0.001)]\n"
    )
    torch.manual_seed(1)
    torch.save(make_model(config).state_dict(), tmp_path / "weights.pth")
    arguments = [str(config), str(tmp_path / "weights.pth")]
    command = [str(ROOT / "tools/dist_test.sh"), *arguments, "2"]
    command += ["--work-dir", str(tmp_path / "out"), "--save-preds", "--precision", "auto"]
    done = run(command, env={**ENV, "PORT": free_port()})
    assert done.returncode == 0, done.stderr[-9000:]
    predictions = pickle.loads((tmp_path / "out" / "weights_predictions.pkl").read_bytes())
    assert len({sample["img_path"] for sample in predictions}) == len(predictions) == 3
    (precision,) = re.findall(r"the network computes in (\w+)", done.stdout)
    tool = [sys.executable, str(ROOT / "tools/test.py"), *arguments, "--precision", precision]
    done = run([*tool, "--work-dir", str(tmp_path / "alone")])
    assert done.returncode == 0, done.stderr[-2000:]
    two, one = (
        json.loads(next((tmp_path / folder).glob("*/*.json")).read_text())
        for folder in ("out", "alone")
    )
    kinds = ("icdar", "deteval", "cleval", "tiou")
    names = [f"{kind}/{rate}" for kind in kinds for rate in ("precision", "recall", "hmean")]
    assert {name: one[name] for name in names} == pytest.approx({name: two[name] for name in names})
    assert sum(one[name] > 0 for name in names) >= 6


@pytest.mark.parametrize(
    ("script", "needed"), [("dist_train.sh", 2), ("dist_test.sh", 3), ("slurm_train.sh", 4)]
)
def test_scripts_with_too_few_arguments_show_their_usage(script: str, needed: int) -> None:
    for given in range(needed):
        done = run([str(ROOT / "tools" / script), *["x"] * given])
        assert done.returncode == 2
        assert re.fullmatch(rf"usage: tools/{script} [^\n]+\n", done.stderr)
        assert done.stdout == ""


def test_slurm_gets_the_resources_and_the_command(tmp_path: Path) -> None:
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    environment = {**ENV, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "GPUS": "2"}
    environment |= {"SRUN_ARGS": "--mem 4G", "PYTHON": "/the/python"}
    command = [str(ROOT / "tools/slurm_train.sh"), "part", "my job", "c.py", "out dir", "--amp"]
    done = run(command, env=environment)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "-p", "part", "--job-name=my job", "--gres=gpu:2", "--ntasks=2", "--ntasks-per-node=2",
        "--cpus-per-task=5", "--kill-on-bad-exit=1", "--mem", "4G",
        "/the/python", "-u", str(ROOT / "tools/train.py"), "c.py", "--work-dir", "out dir",
        "--launcher", "slurm", "--amp",
    ]  # fmt: skip


@pytest.mark.parametrize("made", [True, False])
def test_scripts_use_the_repositorys_python_if_there_is_one(tmp_path: Path, made: bool) -> None:
    (tmp_path / "tools").mkdir()
    script = tmp_path / "tools" / "dist_train.sh"
    script.write_bytes((ROOT / "tools/dist_train.sh").read_bytes())
    script.chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "path").mkdir()
    own, other = tmp_path / ".venv" / "bin" / "python", tmp_path / "path" / "python3"
    for python in [own] * made + [other]:
        python.write_text('#!/bin/sh\necho "$0"\n')
        python.chmod(0o755)
    environment = {key: value for key, value in ENV.items() if key != "PYTHON"}
    environment["PATH"] = f"{tmp_path / 'path'}{os.pathsep}{os.environ['PATH']}"
    done = run([str(script), "c.py", "1"], env=environment)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).resolve() == (own if made else other)
