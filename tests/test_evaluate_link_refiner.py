"""The tool that says what a link refiner is worth: how it counts, and that it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "analysis" / "evaluate_link_refiner.py"


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(TOOL.parent))
    try:
        import evaluate_link_refiner
    finally:
        sys.path.remove(str(TOOL.parent))
    return evaluate_link_refiner


def box(left: float, right: float, top: float = 0, height: float = 10) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, top + height], [left, top + height]], float)


@pytest.mark.parametrize(
    ("found", "fate"),
    [
        ([box(0, 100)], "whole"),
        ([box(0, 49), box(60, 100)], "broken"),
        ([box(0, 55), box(60, 100)], "whole"),  # IoU 0.55
        ([box(0, 230)], "merged"),
        ([box(120, 200)], "missed"),
        ([box(0, 100, top=30)], "missed"),
        ([], "missed"),
    ],
)
def test_what_became_of_a_line(tool, found, fate):
    lines = [box(0, 100), box(120, 230)]
    if fate == "merged":
        assert tool.fates(lines, found) == {"merged": 2}
        return
    assert tool.fates(lines[:1], found) == {fate: 1}


def test_without_lines_there_is_nothing_to_count(tool):
    assert not tool.fates([], [box(0, 10)])
    assert not tool.fates([], [])


def test_crossed_outlines_do_no_harm(tool):
    crossed = box(0, 100)[[0, 2, 1, 3]]
    assert sum(tool.fates([box(0, 100)], [crossed]).values()) == 1


def test_the_tool_runs(tmp_path):
    config = tmp_path / "tiny.py"
    config.write_text(
        f"_base_ = ['{ROOT}/configs/craft/craft_resnet18_refiner_generated-lines.py']\n"
        "model = dict(backbone=dict(base_channels=4),\n"
        "    neck=dict(in_channels=[4, 8, 16], out_channels=[8, 8, 8]),\n"
        "    det_head=dict(in_channels=8, link_refiner=dict(in_channels=8, channels=4)))\n"
        "val_dataloader = dict(dataset=dict(size=96, renderer=dict(words_per_image=(1, 3))))\n"
    )
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(Config.fromfile(config).model)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    command = [sys.executable, "-W", "ignore", str(TOOL), str(config), str(tmp_path / "model.pth")]
    options = ["--out", str(tmp_path / "pictures"), "--number", "3", "--pictures", "2"]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = re.findall(r"^\| (affinity|refined link) \|(.*)\|$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == ["affinity", "refined link"]
    counted = [sum(map(int, row.split("|")[-4:])) for _, row in rows]
    assert counted[0] == counted[1] > 0
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["0000.png", "0001.png"]
