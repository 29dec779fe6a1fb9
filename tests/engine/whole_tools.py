"""A tiny model on tiny data, for tests that run whole tools."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
GENERATE = [sys.executable, str(ROOT / "tools/datasets/generate_text.py")]
TRAIN = [sys.executable, str(ROOT / "tools/train.py")]
TEST = [sys.executable, str(ROOT / "tools/test.py")]
ENV = {
    **os.environ,
    "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHON": sys.executable,
}

needs_torchrun = pytest.mark.skipif(
    torch.__version__ < "2" and sys.version_info >= (3, 11),
    reason="torchrun of PyTorch 1.13 does not start on Python 3.11",
)

CONFIG = """
_base_ = ['{root}/configs/craft/craft_resnet18_demo.py']
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32], out_channels=[16, 8, 8]),
    det_head=dict(in_channels=8),
)
train_dataloader = dict(
    batch_size=2,
    num_workers={workers},
    persistent_workers={workers} > 0,
    dataset=dict(
        dataset=dict(
            data_root='{data}',
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadCharAnnotations'),
                dict(type='RandomTextWarp', size=64, scale=(0.8, 1.4)),
                dict(type='PackCharInputs'),
            ],
        )
    ),
)
val_dataloader = dict(dataset=dict(data_root='{data}'), num_workers=0)
test_dataloader = val_dataloader
train_cfg = dict(max_iters={iters}, val_interval={iters})
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=2, save_best=None, max_keep_ckpts=100)
)
"""


def write_config(folder: Path, data: Path, iters: int, workers: int = 1) -> Path:
    path = folder / "tiny.py"
    path.write_text(CONFIG.format(root=ROOT, data=data, iters=iters, workers=workers))
    return path


def run(command: list[str], env: dict[str, str] = ENV) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=300, cwd=ROOT, check=False
    )


def free_port() -> str:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
