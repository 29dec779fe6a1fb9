"""The tool that draws pseudo labels: what it writes and counts, and where its weights come from."""

from __future__ import annotations

import importlib
import json
import re
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mmtextplug  # noqa: F401 - before MMOCR, whose version ceilings it lifts

# isort: split
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, init_default_scope

CONFIG = """
_base_ = ['{configs}/craft/craft_resnet18_demo.py']
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32], out_channels=[16, 8, 8]),
    det_head=dict(in_channels=8),
)
words_only = dict(
    type='CharTextDataset', data_root='{root}', ann_file='words.json',
    data_prefix=dict(img_path=''),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadCharAnnotations'),
        dict(type='RandomTextWarp', size=96, scale=(1.0, 1.0), rotation=3),
        dict(type='PackCharInputs'),
    ],
)
train_dataloader = dict(dataset=dict(dataset=dict(_delete_=True, **words_only)))
val_dataloader = dict(dataset=dict(
    data_root='{root}', ann_file='words.json',
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='ResizeLongSide', long_side=64, magnification=1.0),
        dict(type='LoadCharAnnotations'),
        dict(type='PackCharInputs'),
    ],
))
{more}
"""


def word(left: float, top: float, width: float, text: str | None, **fields: object) -> dict:
    right, bottom = left + width, top + 20
    polygon = [left, top, right, top, right, bottom, left, bottom]
    return {
        "polygon": polygon,
        "bbox": [left, top, right, bottom],
        "bbox_label": 0,
        "ignore": False,
        "text": text,
    } | fields


CHARS = [[10, 10, 30, 10, 30, 30, 10, 30]]
NOTHING_TO_LABEL = [word(10, 10, 20, "x", chars=CHARS), word(10, 50, 40, "###", ignore=True)]


def write_photos(tmp_path: Path, lists: list[list[dict]], width: int = 96) -> Path:
    """Photos with these words."""
    entries = []
    for index, instances in enumerate(lists):
        image = np.random.default_rng(index).integers(0, 256, (96, width, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{index}.png"), cv2.blur(image, (9, 9)))
        entries.append(
            {"img_path": f"{index}.png", "height": 96, "width": width, "instances": instances}
        )
    metainfo = {
        "dataset_type": "TextDetDataset",
        "task_name": "textdet",
        "category": [{"id": 0, "name": "text"}],
    }
    content = {"metainfo": metainfo, "data_list": entries}
    (tmp_path / "words.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photos with 2 words, with none to label, and with 1."""
    return write_photos(
        tmp_path,
        [
            [word(10, 10, 60, "one"), word(10, 50, 50, "東京")],
            NOTHING_TO_LABEL,
            [word(20, 30, 60, "three")],
        ],
    )


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    return importlib.import_module("browse_pseudo_labels")


@pytest.fixture
def config(root: Path, repository: Path):
    def write(more: str = "") -> Path:
        path = root / "config.py"
        path.write_text(CONFIG.format(configs=repository / "configs", root=root, more=more))
        return path

    return write


@pytest.fixture
def weights(config, root: Path) -> Path:
    """A network that sees nothing."""
    cfg = Config.fromfile(config())
    init_default_scope("mmocr")
    state = MODELS.build(cfg.model).state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            state[key] = torch.zeros_like(value)
    torch.save({"state_dict": state}, root / "blind.pth")
    return root / "blind.pth"


@pytest.fixture
def browse(tool, root, monkeypatch, capsys):
    """Runs the tool; returns its pictures by name, and its table."""

    def run(path: Path, *arguments: str) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        out = root / "out"
        argv = ["browse", str(path), *arguments, "--out", str(out)]
        monkeypatch.setattr(sys, "argv", argv)
        tool.main()
        said = capsys.readouterr().out
        rows = re.findall(r"^  ([a-z ]+?) +([\d.]+)$", said, re.MULTILINE)
        run.last_line = said.splitlines()[-1]
        pictures = {p.relative_to(out).as_posix(): cv2.imread(str(p)) for p in out.rglob("*.png")}
        return pictures, {name: float(value) for name, value in rows}

    return run


def test_a_page_a_word_and_an_overview_a_sample(browse, config, weights, root):
    pictures, table = browse(config(), str(weights))
    assert sorted(pictures) == [
        "images/train_000000_0.png",
        "images/train_000002_2.png",
        "words/0.50_train_000000_0_word00.png",
        "words/0.50_train_000000_0_word01.png",
        "words/0.50_train_000002_2_word00.png",
    ]
    assert table == {
        "samples": 2,
        "words": 3,
        "words that cannot be labelled": 0,
        "mean confidence": 0.5,
        "share of equal splits": 1,
        "mean length error": 1,
    }
    assert min(picture.shape[1] for picture in pictures.values()) > 600
    # Samples are augmented, but the same each time.
    again, _ = browse(config(), str(weights))
    assert all(np.array_equal(pictures[name], again[name]) for name in pictures)


def test_settings_of_the_hook_are_used(browse, config, weights):
    # With the same score everywhere and thresholds below it every word is one character.
    hook = "custom_hooks = [dict(type='PseudoCharLabelHook', foreground=-0., background=-0.)]"
    state = torch.load(weights, weights_only=True)
    last = [key for key in state["state_dict"] if key.endswith("conv_cls.8.bias")]
    state["state_dict"][last[0]] += 0.5
    torch.save(state, weights)
    _, table = browse(config(hook), str(weights), "--number", "1")
    # "one" and the two signs of the second word, with one character seen in each.
    assert table["words"] == 2
    assert table["mean length error"] == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-3)
    assert table["mean confidence"] == 0.5
    assert table["share of equal splits"] == 0.5


def test_words_of_a_test_pipeline_are_labelled_in_its_input(browse, config, weights):
    pictures, table = browse(config(), str(weights), "--split", "val", "--number", "5")
    assert table["words"] == 3
    assert "words/0.50_val_000002_2_word00.png" in pictures


def test_weights_of_the_teacher_come_first(tool, config, weights, root):
    state = torch.load(weights, weights_only=True)["state_dict"]
    teacher = {k: v + 1 if v.is_floating_point() else v for k, v in state.items()}
    torch.save({"state_dict": state, tool.SAVED_AS: teacher}, root / "both.pth")
    cfg = Config.fromfile(config())
    for path, value in ((weights, 0), (root / "both.pth", 1)):
        model = tool.build_model(cfg, str(path))
        assert not model.training
        assert all((p == value).all() for p in model.parameters())


def test_where_weights_come_from(tool, config, weights, root):
    def path(more: str) -> str | None:
        cfg = Config.fromfile(config(more))
        return tool.checkpoint_of(cfg, tool.build_hook(cfg))

    assert path("") is None
    assert path(f"load_from = '{weights}'") == str(weights)
    hook = f"custom_hooks = [dict(type='PseudoCharLabelHook', checkpoint='{weights}')]"
    assert path(hook + "\nload_from = 'other.pth'") == str(weights)
    with pytest.raises(FileNotFoundError, match=r"other.pth: no such checkpoint.*config\.py"):
        path("load_from = 'other.pth'")


@pytest.mark.parametrize(
    ("text", "left", "width", "photo", "seen"),
    [
        ("ab cd efg hijk", 40, 140, 220, "cd efg hij"),  # the border cuts it
        ("אב גדהו", 10, 70, 96, "whdg ba"),
    ],
)
def test_labels_are_those_of_a_training_step(
    tool, browse, config, weights, root, text, left, width, photo, seen, monkeypatch
):
    write_photos(root, [[word(left, 40, width, text)]], width=photo)
    drawn, generate = [], tool.generate_maps

    def spied(*args: object) -> object:
        drawn.append(generate(*args))
        return drawn[-1]

    monkeypatch.setattr(tool, "generate_maps", spied)
    browse(config(), str(weights), "--number", "1")
    # The same sample in a training step with the hook.
    cfg = tool.seeded(Config.fromfile(config()), "train")
    batch = pseudo_collate([tool.build_dataset(cfg, "train")[0]])
    model = tool.build_model(cfg, str(weights))
    hook = tool.build_hook(cfg)
    run = SimpleNamespace(model=model, iter=0, optim_wrapper=None, message_hub=MessageHub("browse"))
    hook.before_train(run)
    hook.before_train_iter(run, 0, batch)
    (sample,) = batch["data_samples"]
    (places,) = sample.gt_instances.char_places
    assert places == [sign != " " for sign in seen]
    loss = tool.build_loss(cfg)
    sample.set_metainfo({"batch_input_shape": (96, 96)})
    expected = loss.get_targets([sample], (96, 96))
    for name in ("region", "affinity", "confidence"):
        assert torch.equal(getattr(drawn[0], name), getattr(expected, name))


class Parts:
    """Concatenated datasets of these sizes."""

    def __init__(self, *sizes: int) -> None:
        self.cumulative_sizes = np.cumsum(sizes).tolist()

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


def test_samples_are_spread_over_all_parts_until_there_are_no_more(tool):
    def first(count: int, *args: object) -> list[int]:
        return list(islice(tool.spread_over(*args), count))

    assert list(tool.spread_over(range(11), 3)) == [0, 5, 10, 2, 4, 6, 8, 1, 3, 7, 9]
    assert list(tool.spread_over(range(2), 5)) == [0, 1]
    assert list(tool.spread_over([], 5)) == []
    assert first(7, Parts(100, 0, 3), 4) == [0, 100, 33, 101, 66, 102, 99]
    # Only as far as it is asked for.
    assert first(3, Parts(10**9), 2) == [0, 999_999_999, 333_333_333]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4), number=st.integers(1, 50))
def test_each_sample_is_looked_at_once(tool, sizes, number):
    assert sorted(tool.spread_over(Parts(*sizes), number)) == list(range(sum(sizes)))


def test_samples_without_words_to_label_are_passed_over(browse, config, weights, root):
    words = [word(10, 10, 60, "one")]
    # Spread over the dataset, the first two samples are its ends.
    write_photos(root, [NOTHING_TO_LABEL, words, [], words, words, NOTHING_TO_LABEL])
    pictures, table = browse(config(), str(weights), "--number", "2")
    assert table["samples"] == 2
    assert sum(name.startswith("images/") for name in pictures) == 2
    assert "samples asked for" not in browse.last_line
    pictures, table = browse(config(), str(weights), "--number", "5")
    assert table["samples"] == 3
    assert {f"images/train_00000{i}_{i}.png" for i in (1, 3, 4)} <= pictures.keys()
    assert browse.last_line == (
        "only 3 of the 5 samples asked for: no more of the 6 of train_dataloader hold a word to "
        "label"
    )


def test_what_cannot_be_done_is_said(browse, config, weights, root):
    content = json.loads((root / "words.json").read_text())
    content["data_list"] = content["data_list"][1:2]
    (root / "words.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"config.py: no word without characters.* in the 1 samples"
    ):
        browse(config(), str(weights))
    with pytest.raises(ValueError, match=r"no test_dataloader\.dataset; choose another --split"):
        browse(config("test_dataloader = None"), str(weights), "--split", "test")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, root / "foreign.pth")
    with pytest.raises(ValueError, match="does not fit this model"):
        browse(config(), str(root / "foreign.pth"))
