"""DBNet through the real tools: resuming, two processes, testing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from whole_tools import ENV, ROOT, TEST, TRAIN, free_port, needs_torchrun, run

from mmtextplug.checkpoint import read_state_dict

CONFIG = """
_base_ = ['{root}/configs/dbnet/dbnet_resnet18_generated-text.py']
model = dict(
    backbone=dict(base_channels=4),
    neck=dict(in_channels=[4, 8, 16, 32], lateral_channels=8, out_channels=4),
    det_head=dict(in_channels=16),
)
small = dict(size=64, renderer=dict(words_per_image=(1, 2), char_height=(10, 16)))
train_dataloader = dict(batch_size=2, dataset=small)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(num_samples=4, **small))
test_dataloader = val_dataloader
train_cfg = dict(max_iters={iters}, val_interval={iters})
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval={every}, max_keep_ckpts=100)
)
{more}
"""


def write(folder: Path, iters: int, every: int = 2, more: str = "") -> Path:
    path = folder / "tiny_db.py"
    path.write_text(CONFIG.format(root=ROOT, iters=iters, every=every, more=more))
    return path


def steps(work_dir: Path) -> dict[int, dict]:
    """What was logged, by step, later runs over earlier ones."""
    logs = sorted(work_dir.glob("*/vis_data/scalars.json"))
    entries = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    return {entry["step"]: entry for entry in entries if "loss" in entry}


def assert_same(first: Path, second: Path, iters: int) -> None:
    left, right = (read_state_dict(folder / f"iter_{iters}.pth") for folder in (first, second))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_a_training_in_two_parts_is_that_in_one(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = run([*TRAIN, str(write(tmp_path, 4)), "--work-dir", str(whole)])
    assert done.returncode == 0, done.stderr[-2000:]
    command = [*TRAIN, str(write(tmp_path, 4)), "--work-dir", str(parts)]
    first = run([*command, "--cfg-options", "train_cfg.max_iters=2", "train_cfg.val_interval=2"])
    assert first.returncode == 0, first.stderr[-2000:]
    second = run([*command, "--resume"])
    assert second.returncode == 0, second.stderr[-2000:]
    assert_same(whole, parts, 4)
    logged = steps(whole)
    assert set(logged) == {1, 2, 3, 4}
    for entry in logged.values():
        total = entry["loss_prob"] + entry["loss_db"] + entry["loss_thr"]
        assert entry["loss"] == pytest.approx(total, rel=1e-5)
        assert entry["unusable_words"] == 0


@needs_torchrun
def test_two_processes_train_what_one_can_test(tmp_path: Path) -> None:
    work_dir = tmp_path / "two"
    config = write(tmp_path, 2)
    env = {**ENV, "PORT": free_port()}
    script = [str(ROOT / "tools/dist_train.sh"), str(config), "2", "--work-dir", str(work_dir)]
    done = run(script, env)
    assert done.returncode == 0, done.stderr[-2000:]
    logged = steps(work_dir)
    assert set(logged) == {1, 2}
    assert all(entry["loss"] > 0 for entry in logged.values())
    results = tmp_path / "results"
    done = run(
        [*TEST, str(config), str(work_dir / "iter_2.pth"), "--work-dir", str(results),
         "--cfg-options", "model.det_head.postprocessor.binarize=binary"]
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(results.glob("*/*.json"))
