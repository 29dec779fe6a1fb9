"""The real tools on a small model and small data: training, killing, resuming, two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from whole_tools import ENV, ROOT, TRAIN, free_port, needs_torchrun, run, write_config

from mmtextplug.checkpoint import read_state_dict


def scalars(work_dir: Path) -> list[dict]:
    """What was logged, run by run."""
    logs = sorted(work_dir.glob("*/vis_data/scalars.json"))
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


def losses(work_dir: Path) -> dict[int, float]:
    """Training loss by iteration, later runs over earlier ones."""
    return {entry["step"]: entry["loss"] for entry in scalars(work_dir) if "loss" in entry}


def weights(work_dir: Path, iters: int) -> dict[str, torch.Tensor]:
    return read_state_dict(work_dir / f"iter_{iters}.pth")


def assert_same_run(first: Path, second: Path, iters: int) -> None:
    left, right = losses(first), losses(second)
    assert left[iters] == right[iters]
    left, right = weights(first, iters), weights(second, iters)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


def kill_after(command: list[str], work_dir: Path, checkpoint: str) -> None:
    """Start a training and kill it, processes and all, once a checkpoint is complete."""
    process = subprocess.Popen(
        command,
        env=ENV,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240
        marker = work_dir / "last_checkpoint"
        while not (marker.exists() and marker.read_text().endswith(checkpoint)):
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline, f"no {checkpoint} in time"
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


MIXED = """
optim_wrapper = dict(
    type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(type='AdamW', lr=1e-4)
)
"""
# train.py on a CPU that computes in bfloat16, whichever this one is.
IN_BFLOAT16 = """
import runpy, sys
from mmtextplug import cpu_amp
cpu_amp.cpu_has_bfloat16 = lambda: True
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_training_resumes_to_the_same_weights(
    data: Path, tmp_path: Path, precision: str
) -> None:
    config = write_config(tmp_path, data, iters=30)
    train = TRAIN
    if precision == "bfloat16":
        config.write_text(config.read_text() + MIXED)
        train = [TRAIN[0], "-c", IN_BFLOAT16, *TRAIN[1:]]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = run([*train, str(config), "--work-dir", str(whole)])
    assert done.returncode == 0, done.stderr[-2000:]
    assert ("training in bfloat16" in done.stdout + done.stderr) is (precision == "bfloat16")
    kill_after([*train, str(config), "--work-dir", str(broken)], broken, "iter_4.pth")
    assert not (broken / "iter_30.pth").exists()
    # By the config that the training itself has written down, as people resume, too.
    written = str(broken / config.name)
    done = run([*train, written, "--work-dir", str(broken), "--resume"])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "resumed" in done.stdout + done.stderr
    assert_same_run(whole, broken, 30)
    assert max(losses(whole)) == 30
    evaluated = [entry for entry in scalars(whole) if "icdar/hmean" in entry]
    assert len(evaluated) == 1


@needs_torchrun
@pytest.mark.parametrize("more", ["", MIXED], ids=["float32", "bfloat16 where the CPU has it"])
def test_two_processes_train_and_resume_alike(data: Path, tmp_path: Path, more: str) -> None:
    config = write_config(tmp_path, data, iters=12, workers=0)
    config.write_text(config.read_text() + more)
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    def command(work_dir: Path) -> list[str]:
        ENV["PORT"] = free_port()
        return [str(ROOT / "tools/dist_train.sh"), str(config), "2", "--work-dir", str(work_dir)]

    done = run(command(whole))
    assert done.returncode == 0, done.stderr[-2000:]
    kill_after(command(broken), broken, "iter_4.pth")
    done = run([*command(broken), "--resume"])
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_run(whole, broken, 12)


def test_mmocr_config_trains_with_our_import(tmp_path: Path) -> None:
    """Somebody else's project: MMOCR's own DBNet recipe, plus one line."""
    annotations = {
        "metainfo": {"dataset_type": "TextDetDataset", "task_name": "textdet"},
        "data_list": [],
    }
    import cv2
    import numpy as np

    for index in range(4):
        image = np.random.default_rng(index).integers(0, 255, (64, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
        polygon = [20.0, 20.0, 70.0, 20.0, 70.0, 45.0, 20.0, 45.0]
        instance = {"polygon": polygon, "bbox": [20, 20, 70, 45], "bbox_label": 0, "ignore": False}
        annotations["data_list"].append(
            {"img_path": f"{index}.png", "height": 64, "width": 96, "instances": [instance]}
        )
    (tmp_path / "train.json").write_text(json.dumps(annotations))
    (tmp_path / "dbnet.py").write_text(
        f"""
_base_ = 'mmocr::textdet/dbnet/dbnet_resnet18_fpnc_1200e_icdar2015.py'
custom_imports = dict(imports=['mmtextplug'], allow_failed_imports=False)
dataset = dict(
    type='OCRDataset', data_root={str(tmp_path)!r}, ann_file='train.json',
    data_prefix=dict(img_path=''), pipeline=_base_.train_pipeline)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(_delete_=True, **dataset),
    sampler=dict(type='InfiniteSampler', shuffle=False))
model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=2)
val_dataloader = None
val_evaluator = None
val_cfg = None
param_scheduler = None
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=2))
log_processor = dict(by_epoch=False)
"""
    )
    done = run([*TRAIN, str(tmp_path / "dbnet.py"), "--work-dir", str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "iter_2.pth").exists()
    assert set(losses(tmp_path / "out")) == {1, 2}


def test_bad_configs_end_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "wrong.py"
    config.write_text(
        f"_base_ = ['{ROOT}/configs/craft/craft_resnet18_demo.py']\n"
        "model = dict(det_head=dict(type='CRAFTHaed'))\n"
    )
    done = run([*TRAIN, str(config), "--work-dir", str(tmp_path / "out")])
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert "wrong.py" in message
    assert "CRAFTHaed" in message
    assert "did you mean 'CRAFTHead'" in message
    assert "Traceback" not in done.stderr
