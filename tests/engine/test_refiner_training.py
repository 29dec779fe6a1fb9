"""A link refiner through the real tools: its CRAFT stays, resuming is exact, two can train it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from whole_tools import ENV, ROOT, TEST, TRAIN, free_port, needs_torchrun, run

from mmtextplug.checkpoint import read_state_dict

CONFIG = """
_base_ = ['{root}/configs/craft/craft_resnet18_refiner_generated-lines.py']
load_from = {load_from!r}
model = dict(
    backbone=dict(base_channels=4),
    neck=dict(in_channels=[4, 8, 16], out_channels=[8, 8, 8]),
    det_head=dict(in_channels=8, link_refiner=dict(in_channels=8, channels=4)),
)
small = dict(size=96, renderer=dict(words_per_image=(1, 3)))
train_dataloader = dict(batch_size=2, dataset=dict(dataset=small))
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(num_samples=4, **small))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=9))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A tiny recipe, and the checkpoint of the CRAFT that it starts from."""
    path, craft = tmp_path / "tiny_refiner.py", tmp_path / "craft.pth"
    path.write_text(CONFIG.format(root=ROOT, load_from=str(craft)))
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(Config.fromfile(path).model)
    state = {k: v for k, v in model.state_dict().items() if "link_refiner" not in k}
    torch.save({"state_dict": state}, craft)
    return path


def train(config: Path, work_dir: Path, *more: str) -> None:
    done = run([*TRAIN, str(config), "--work-dir", str(work_dir), *more])
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_refiner_alone_learns_and_resumes_exactly(config: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole)
    options = ["--cfg-options", "train_cfg.max_iters=2", "train_cfg.val_interval=2"]
    train(config, parts, *options)
    train(config, parts, "--resume")
    before = read_state_dict(tmp_path / "craft.pth")
    early, first, second = (
        read_state_dict(folder / f"iter_{step}.pth")
        for folder, step in ((whole, 2), (whole, 4), (parts, 4))
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(torch.equal(first[key], value) for key, value in before.items())
    learned = [key for key in first if not torch.equal(first[key], early[key])]
    assert set(first) - set(before) >= set(learned)
    assert len(learned) > 50
    results = tmp_path / "results"
    done = run([*TEST, str(config), str(whole / "iter_4.pth"), "--work-dir", str(results)])
    assert done.returncode == 0, done.stderr[-2000:]
    assert "icdar/hmean" in done.stdout + done.stderr


@needs_torchrun
def test_two_processes(config: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "two"
    env = {**ENV, "PORT": free_port()}
    script = [str(ROOT / "tools/dist_train.sh"), str(config), "2", "--work-dir", str(work_dir)]
    done = run(script, env)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = (
        read_state_dict(path) for path in (tmp_path / "craft.pth", work_dir / "iter_4.pth")
    )
    assert all(torch.equal(after[key], value) for key, value in before.items())


@needs_torchrun
def test_two_processes_train_craft_with_its_refiner(config: Path, tmp_path: Path) -> None:
    joint = tmp_path / "joint.py"
    joint.write_text(
        f"_base_ = [{str(config)!r}]\n"
        "model = dict(frozen=False, det_head=dict(\n"
        "    module_loss=dict(craft_loss=dict(type='CRAFTModuleLoss', bridge_spaces=True))))\n"
        "pipeline = [dict(type='LoadCharAnnotations'), dict(type='RandomTextWarp', size=96),\n"
        "            dict(type='PackCharInputs')]\n"
        "train_dataloader = dict(dataset=dict(dataset=dict(pipeline=pipeline)))\n"
        "train_cfg = dict(max_iters=2, val_interval=2)\n"
    )
    work_dir = tmp_path / "joint"
    env = {**ENV, "PORT": free_port()}
    script = [str(ROOT / "tools/dist_train.sh"), str(joint), "2", "--work-dir", str(work_dir)]
    done = run(script, env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss_region" in done.stdout + done.stderr
    assert "loss_link" in done.stdout + done.stderr
    before, after = (
        read_state_dict(path) for path in (tmp_path / "craft.pth", work_dir / "iter_2.pth")
    )
    changed = {key.split(".")[0] for key in before if not torch.equal(after[key], before[key])}
    assert changed == {"backbone", "neck", "det_head"}


def test_a_craft_without_refiner_cannot_be_tested_as_one_with(config: Path, tmp_path: Path) -> None:
    done = run([*TEST, str(config), str(tmp_path / "craft.pth"), "--work-dir", str(tmp_path)])
    assert done.returncode == 1
    assert "craft.pth: has no link refiner, which this model needs" in done.stderr
    assert "Traceback" not in done.stderr
