"""What the README and docs/ show: examples run, commands and files exist, figures agree."""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

from mmtextplug import launch
from mmtextplug.datasets.char_text import CharTextDataset
from mmtextplug.datasets.preparers.sets import SETS
from mmtextplug.registration import COMPONENTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}


def commands() -> dict[str, set[str]]:
    """Options shown for each Python tool."""
    found: dict[str, set[str]] = defaultdict(set)
    for text in (README, *DOCS.values()):
        for line in "\n".join(blocks("bash", text)).splitlines():
            shown = line.split("#")[0]
            tool = re.search(r"tools/[\w/]+\.py", shown)
            if tool:
                found[tool[0]] |= set(re.findall(r"--[\w-]+", shown))
    return found


@pytest.mark.parametrize("tool", sorted(commands()))
def test_tools_take_the_options_shown(tool: str, monkeypatch, capsys) -> None:
    # In this process, which has imported everything already.
    path = ROOT / tool
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert commands()[tool] <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


@pytest.mark.parametrize("text", [README, *DOCS.values()], ids=["README.md", *DOCS])
def test_files_named_exist(text: str) -> None:
    folders = "configs|tools|docs|requirements"
    named = set(re.findall(rf"(?:{folders})/[\w/.-]+\.(?:py|sh|png|jpg|md|txt|jsonl)", text))
    assert named
    assert {name for name in named if not (ROOT / name).exists()} == set()
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link}
    here = ROOT if text == README else ROOT / "docs"
    assert {link for link in links if not (here / link).exists()} == set()


def test_tools_that_measured_something_exist() -> None:
    named = re.findall(r"^\|.*\| `(\w+\.py)` \|$", README, re.M)
    assert len(named) >= 9
    assert {name for name in named if not (ROOT / "tools" / "analysis" / name).exists()} == set()


def test_figures_of_the_readme_are_those_of_the_docs() -> None:
    """Each number of a row of the README's table stands in the section that names its tool."""
    rows = re.findall(r"^(\|.*\|) `(\w+\.py)` \|$", README, re.M)
    assert len(rows) >= 9
    number = r"(?<![\w.,])\d+(?:[.,]\d+)*(?=x?(?!\w))"  # a ratio is written as 1.5x there
    sections = [part for text in DOCS.values() for part in re.split(r"^## ", text, flags=re.M)]
    for row, tool in rows:
        figures = set(re.findall(number, row))
        assert figures, row
        there = "\n".join(section for section in sections if tool in section)
        assert figures <= set(re.findall(number, there)), row


def test_make_targets_shown_exist() -> None:
    shown = {
        target for block in blocks("bash") for target in re.findall(r"^make (\w+)", block, re.M)
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert shown == {"demo", "test"}
    assert shown <= set(re.findall(r"^(\w+):", makefile, re.M))


def test_annotation_example_loads(tmp_path: Path) -> None:
    (example,) = blocks("json")
    (tmp_path / "a.json").write_text(example)
    dataset = CharTextDataset(ann_file=str(tmp_path / "a.json"), data_prefix=dict(img_path=""))
    (instance,) = dataset.get_data_info(0)["instances"]
    assert instance["text"] == "ab"
    assert len(instance["chars"]) == 2
    assert json.loads(example)["data_list"][0]["instances"] == [instance]


def test_metrics_as_shown() -> None:
    (shown,) = [block for block in blocks("python") if "CLEvalMetric" in block]
    namespace: dict = {}
    exec(shown, namespace)
    evaluator = Evaluator(namespace["test_evaluator"])
    word = np.array([0, 0, 30, 0, 30, 10, 0, 10], np.float32)
    truth = dict(polygons=[word], ignored=np.array([False]), texts=["abc"])
    sample = dict(gt_instances=truth, pred_instances=dict(polygons=[word], scores=[0.9]))
    evaluator.process(data_samples=[sample])
    metrics = evaluator.evaluate(1)
    assert {name: metrics[f"{name}/hmean"] for name in ("icdar", "deteval", "cleval", "tiou")} == {
        "icdar": 1, "deteval": 1, "cleval": 1, "tiou": 1
    }  # fmt: skip


def test_datasets_listed_are_those_that_can_be_prepared() -> None:
    rows = re.findall(r"^\|[^|]*\| (`.*`) \|[^|]*\|$", README, re.M)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert listed == {*SETS, "synthtext"}


def test_hard_example_mining_as_shown(tmp_path: Path) -> None:
    (shown,) = [block for block in blocks("python") if "StratifiedOHEMSampler" in block]
    base = "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
    (tmp_path / "mine.py").write_text(base + shown)
    cfg = launch.load_config(str(tmp_path / "mine.py"))
    assert launch.unknown_types(cfg) == []
    model = cfg.model
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = MODELS.build(
            {**model.roi_head, "train_cfg": model.train_cfg.rcnn, "test_cfg": model.test_cfg.rcnn}
        )
    sampler = head.bbox_sampler
    assert type(head).__name__ == "MiningStandardRoIHead"
    assert type(sampler).__name__ == "StratifiedOHEMSampler"
    assert (sampler.num, sampler.mode, sampler.mines_at_once) == (64, "weighted", True)
    assert [hook["type"] for hook in cfg.custom_hooks] == ["StratifiedOHEMHook"]
    heads = set(re.findall(r"`(\w+RoIHead)`", README))
    assert {f"Mining{name}" for name in heads} == {
        name for component in COMPONENTS for name in component.names if name.endswith("RoIHead")
    }


def test_differentiable_binarization_as_shown(tmp_path: Path) -> None:
    whole, part = (b for b in blocks("python") if "DifferentiableBinarizationLoss" in b)
    (tmp_path / "dbnet.py").write_text(whole)
    cfg = launch.load_config(str(tmp_path / "dbnet.py"))
    assert launch.unknown_types(cfg) == []
    cfg.model.backbone.init_cfg = None
    namespace: dict = {}
    exec(part, namespace)  # the second example replaces parts of the loss
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(cfg.model)
        replaced = MODELS.build(namespace["module_loss"])
    assert type(model.det_head).__name__ == "DBHead"
    sample = TextDetDataSample(metainfo=dict(img_shape=(64, 64)))
    sample.gt_instances = InstanceData(
        polygons=[np.array([8, 8, 56, 8, 56, 40, 8, 40], np.float32)],
        ignored=torch.zeros(1, dtype=torch.bool),
    )
    image = torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    for loss in (model.det_head.module_loss, replaced):
        assert type(loss).__name__ == "DifferentiableBinarizationLoss"
        model.det_head.module_loss = loss
        data = {"inputs": [image] * 2, "data_samples": [sample] * 2}
        losses = model(**model.data_preprocessor(data, training=True), mode="loss")
        total, _ = model.parse_losses(losses)
        total.backward()
        assert 0 < total.item() < 60
    assert type(replaced.loss_prob).__name__ == "MaskedFocalWithLogitsLoss"
    assert type(replaced.loss_db).__name__ == "MinedBCEWithLogitsLoss"
    assert replaced.loss_thr.beta == 0.1
