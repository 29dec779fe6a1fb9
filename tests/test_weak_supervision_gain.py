"""The experiment's configs and curves; the stages themselves run the tools that others test."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numpy as np
import pytest
from mmengine.config import Config

from mmtextplug.launch import unknown_types


@pytest.fixture
def tool(repository, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("weak_supervision_gain")


def test_the_second_stage_sees_word_boxes_only_of_the_second_kind(tool, tmp_path):
    experiment = tool.Experiment(tool.parse_args(["--out", str(tmp_path)]), 3)
    strong = Config.fromfile(experiment.write_config("strong", tool.STRONG, 600))
    weak = Config.fromfile(experiment.write_config("weak", tool.WEAK, 300, "strong.pth"))
    assert unknown_types(strong) == unknown_types(weak) == []
    first, second = weak.train_dataloader.dataset.dataset.datasets
    assert first == strong.train_dataloader.dataset.dataset
    assert first.pipeline[0] == dict(type="LoadCharAnnotations")
    assert second.pipeline[0] == dict(type="LoadCharAnnotations", with_chars=False)
    assert second.renderer == weak.test_dataloader.dataset.renderer == strong.other_kind
    assert first.renderer != second.renderer
    # No picture is trained on and judged by.
    seeds = {first.seed, second.seed, weak.test_dataloader.dataset.seed}
    assert len(seeds) == 3
    assert weak.load_from == "strong.pth"
    assert weak.train_dataloader.sampler.ratio == (1, 3)
    assert (strong.train_cfg.max_iters, weak.train_cfg.max_iters) == (600, 300)


def test_a_tool_that_fails_is_named_with_its_log(tool, tmp_path, monkeypatch):
    experiment = tool.Experiment(tool.parse_args(["--out", str(tmp_path)]), 0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SystemExit, match=r"tools/train\.py failed: see .*seed0/strong/train\.txt"):
        experiment.run("strong", "train", "config.py")


def test_curves_are_means_of_neighbours(tool, tmp_path):
    np.testing.assert_allclose(tool.smoothed([1, 2, 3, 4], 2), [1.5, 2.5, 3.5])
    np.testing.assert_allclose(tool.smoothed([1, 3], 20), [2])
    results = [dict(seed=0, confidence=[0.1] * 30, equal=[0.9] * 30)]
    tool.draw(results, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
