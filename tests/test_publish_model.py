"""Publishing: what stays, what goes, and that the file alone is enough to build the model."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

import mmtextplug

# isort: split
from mmengine.registry import MODELS, init_default_scope

from mmtextplug.checkpoint import checksum, read_state_dict
from mmtextplug.safe_load import safe_load

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
_base_ = ['{root}/configs/craft/craft_resnet18_demo.py']
model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32], out_channels=[16, 8, 8]),
    det_head=dict(in_channels=8),
)
data_root = '/home/somebody/secret/words'
train_dataloader = dict(dataset=dict(dataset=dict(data_root=data_root)))
work_dir = '/home/somebody/runs/tiny'
load_from = '/home/somebody/start.pth'
"""


def published(path: Path) -> dict:
    """What any project reads in the file, without running code from it."""
    if torch.__version__ < "2":  # its own reader knows no floats
        return safe_load(path)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import publish_model
    finally:
        sys.path.remove(str(ROOT / "tools"))
    return publish_model


@pytest.fixture(scope="module")
def cfg(tmp_path_factory) -> Config:
    path = tmp_path_factory.mktemp("config") / "tiny.py"
    path.write_text(CONFIG.format(root=ROOT))
    return Config.fromfile(path)


@pytest.fixture(scope="module")
def state(cfg) -> dict[str, torch.Tensor]:
    init_default_scope("mmocr")
    torch.manual_seed(0)
    return MODELS.build(cfg.model).state_dict()


@pytest.fixture
def checkpoint(cfg, state) -> dict:
    """What MMEngine saves of a training."""
    history = HistoryBuffer(np.array([0.25, 0.75]), np.array([1, 1]))
    return dict(
        meta=dict(
            cfg=cfg.pretty_text,
            epoch=1,
            iter=780,
            mmengine_version="0.10.4",
            dataset_meta=dict(dataset_type="TextDetDataset"),
        ),
        state_dict=OrderedDict((key, value.clone()) for key, value in state.items()),
        message_hub=dict(
            log_scalars=OrderedDict({"val/icdar/hmean": history, "val/time": history}),
            runtime_info=OrderedDict(
                cfg=cfg.pretty_text, best_ckpt="/home/somebody/runs/tiny/best_iter_780.pth"
            ),
            resumed_keys={},
        ),
        optimizer=dict(state={0: dict(exp_avg=torch.ones(3))}),
        param_schedulers=[dict(last_step=3)],
        ema_state_dict={"steps": torch.tensor(5)},
    )


def publish(tool, folder: Path, content: object, name: str = "last.pth", **options):
    source = folder / name
    torch.save(content, source)
    said: list[str] = []
    given = dict(config=None, metrics=None) | options
    path = tool.publish(source, folder / "out" / "tiny.pth", say=said.append, **given)
    return path, said


def test_named_after_its_content_and_the_same_each_time(tool, tmp_path, checkpoint):
    path, _ = publish(tool, tmp_path, checkpoint)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f"tiny-{digest[:8]}.pth"
    assert [item.name for item in path.parent.iterdir()] == [path.name]
    other = tmp_path / "elsewhere"
    other.mkdir()
    again, _ = publish(tool, other, checkpoint, "another.pth")
    assert again.name == path.name
    checkpoint["state_dict"]["det_head.conv_cls.0.bias"][0] += 1
    changed, _ = publish(tool, tmp_path, checkpoint)
    assert changed.name != path.name


def test_weights_stay_and_everything_else_goes(tool, tmp_path, checkpoint):
    path, said = publish(tool, tmp_path, checkpoint)
    content = published(path)
    assert content.keys() == {"meta", "state_dict"}
    assert list(content["state_dict"]) == list(checkpoint["state_dict"])
    for key, value in checkpoint["state_dict"].items():
        assert torch.equal(content["state_dict"][key], value)
    kept = "cfg metrics weights_sha256 mmtextplug_version epoch iter mmengine_version dataset_meta"
    assert content["meta"].keys() == set(kept.split())
    assert content["meta"]["mmtextplug_version"] == mmtextplug.__version__
    assert "left out: ema_state_dict, message_hub, optimizer, param_schedulers" in said


@pytest.mark.parametrize("change", ["number", "name", "order", "type"])
def test_other_parameters_than_were_published_are_refused(tool, tmp_path, checkpoint, change):
    path, _ = publish(tool, tmp_path, checkpoint)
    assert list(read_state_dict(path)) == list(checkpoint["state_dict"])
    content = published(path)
    state = content["state_dict"]
    first = next(iter(state))
    if change == "number":
        state[first].view(-1)[0] += 1
    elif change == "name":
        state["x" + first] = state.pop(first)
    elif change == "order":
        state[first] = state.pop(first)
    else:
        state[first] = state[first].double()
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"pth: its parameters are not those .*weights_sha256"):
        read_state_dict(path)


def test_a_checksum_of_parameters_by_hand():
    state = {"a": torch.tensor([1.0, float("nan")]), "b.c": torch.tensor(2), "d": torch.zeros(0, 3)}
    text = b"a torch.float32 (2,)\n" + state["a"].numpy().tobytes()
    text += b"b.c torch.int64 ()\n" + (2).to_bytes(8, sys.byteorder)
    text += b"d torch.float32 (0, 3)\n"
    assert checksum(state) == hashlib.sha256(text).hexdigest()
    turned = torch.arange(6.0).reshape(2, 3).t()
    assert checksum({"a": turned}) == checksum({"a": turned.contiguous()})


def test_no_path_of_the_machine_is_left(tool, tmp_path, checkpoint):
    path, said = publish(tool, tmp_path, checkpoint)
    assert b"somebody" not in path.read_bytes()
    assert b"secret" not in path.read_bytes()
    assert "config: work_dir: removed" in said
    assert "config: load_from: removed" in said
    remark = "a path of this machine, 'words' is left of it"
    assert f"config: data_root: {remark}" in said
    assert f"config: train_dataloader.dataset.dataset.data_root: {remark}" in said
    assert not any("somebody" in line for line in said)


def test_the_config_inside_says_the_same(tool, tmp_path, checkpoint, cfg):
    path, _ = publish(tool, tmp_path, checkpoint)
    text = published(path)["meta"]["cfg"]
    inside = Config.fromstring(text, ".py")
    assert inside.model == cfg.model
    assert inside.train_dataloader.dataset.dataset.data_root == "words"
    assert "work_dir" not in inside


def test_mmocr_builds_the_model_from_the_file_alone(tool, tmp_path, checkpoint):
    from mmocr.apis.inferencers import TextDetInferencer

    path, _ = publish(tool, tmp_path, checkpoint)
    inferencer = TextDetInferencer(weights=str(path), device="cpu")
    assert type(inferencer.model).__name__ == "CRAFT"
    for key, value in inferencer.model.state_dict().items():
        assert torch.equal(value, checkpoint["state_dict"][key])


def test_denormal_numbers_become_zero_and_are_counted(tool, tmp_path, checkpoint):
    bias = checkpoint["state_dict"]["det_head.conv_cls.0.bias"]
    tiny = torch.finfo(torch.float32).tiny
    bias[:5] = torch.tensor([tiny / 2, -tiny / 4, tiny, -tiny, 0.0])
    path, said = publish(tool, tmp_path, checkpoint)
    found = published(path)["state_dict"]["det_head.conv_cls.0.bias"]
    assert found[:5].tolist() == [0, 0, tiny, -tiny, 0]
    assert torch.equal(found[5:], bias[5:])
    assert "weights: 2 denormal numbers set to zero" in said


def test_half_precision_keeps_its_small_numbers(tool):
    half = torch.tensor([3e-5, 0.0, 1.0], dtype=torch.float16)
    whole = torch.tensor([3, 0])
    state, flushed = tool.clean_weights({"half": half, "whole": whole})
    assert flushed == 0
    assert torch.equal(state["half"], half)
    assert torch.equal(state["whole"], whole)


def test_half_precision_on_demand(tool, tmp_path, checkpoint, state):
    whole, _ = publish(tool, tmp_path, checkpoint)
    path, _ = publish(tool, tmp_path, checkpoint, half=True)
    assert path.name != whole.name
    assert path.stat().st_size < 0.7 * whole.stat().st_size
    found = read_state_dict(path)  # its checksum is of what it holds
    for name, value in state.items():
        expected = value.half() if value.is_floating_point() else value
        assert found[name].dtype == expected.dtype
        assert torch.equal(found[name], expected)


def test_what_half_precision_cannot_hold(tool):
    state, _ = tool.clean_weights({"edge": torch.tensor([65504.0, -65504.0])}, half=True)
    assert state["edge"].tolist() == [65504.0, -65504.0]
    with pytest.raises(ValueError, match="edge reaches beyond float16's range"):
        tool.clean_weights({"edge": torch.tensor([1.0, 1e5])}, half=True)


def test_a_view_brings_no_more_than_itself(tool):
    state, _ = tool.clean_weights({"a": torch.zeros(1000, 10)[:, :1].expand(1000, 3)})
    buffer = io.BytesIO()
    torch.save(state, buffer)
    assert 1000 * 3 * 4 <= len(buffer.getvalue()) < 1000 * 5 * 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tool, tmp_path, checkpoint, value):
    checkpoint["state_dict"]["det_head.conv_cls.0.bias"][3] = value
    with pytest.raises(ValueError, match=r"last\.pth: det_head\.conv_cls\.0\.bias holds NaN"):
        publish(tool, tmp_path, checkpoint)
    assert not (tmp_path / "out").exists()


def test_the_best_checkpoint_brings_its_metrics(tool, tmp_path, checkpoint):
    path, said = publish(tool, tmp_path, checkpoint, "best_iter_780.pth")
    assert published(path)["meta"]["metrics"] == {"icdar/hmean": 0.75}
    assert "metrics: icdar/hmean 0.7500" in said


def test_another_checkpoint_holds_the_metrics_of_the_validation_before(tool, tmp_path, checkpoint):
    path, said = publish(tool, tmp_path, checkpoint, "iter_780.pth")
    assert published(path)["meta"]["metrics"] == {}
    assert any("--metrics" in line for line in said)


def test_metrics_from_a_file(tool, tmp_path, checkpoint):
    file = tmp_path / "test.json"
    file.write_text(json.dumps({"icdar/hmean": 0.5, "count": 3, "data_time": 1.0, "time": 2.0}))
    path, _ = publish(tool, tmp_path, checkpoint, "best_iter_780.pth", metrics=str(file))
    metrics = published(path)["meta"]["metrics"]
    assert metrics == {"icdar/hmean": 0.5, "count": 3}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "not a JSON file"),
        ("[1]", "not a dict of metrics"),
        ("{}", "no metrics in it"),
        ('{"time": 1.0}', "no metrics in it"),
        ('{"hmean": NaN}', "hmean: nan is no finite number"),
        ('{"hmean": "0.5"}', "hmean: '0.5' is no finite number"),
    ],
)
def test_files_of_no_metrics(tool, tmp_path, text, fault):
    file = tmp_path / "metrics.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"metrics.json: {fault}"):
        tool.read_metrics(str(file))


def test_parameters_alone_need_a_config(tool, tmp_path, state, cfg):
    with pytest.raises(ValueError, match=r"last\.pth: no config in it; name one with --config"):
        publish(tool, tmp_path, dict(state))
    path, _ = publish(tool, tmp_path, dict(state), config=cfg.filename)
    content = published(path)
    assert Config.fromstring(content["meta"]["cfg"], ".py").model == cfg.model
    assert content["state_dict"].keys() == state.keys()


def test_official_names_become_ours(tool, tmp_path, state, cfg):
    content = {"module.conv_cls.0.bias": torch.ones(3)}
    path, _ = publish(tool, tmp_path, content, config=cfg.filename)
    assert list(published(path)["state_dict"]) == ["det_head.conv_cls.0.bias"]


def test_config_texts_that_are_refused_and_not_run(tool, tmp_path, checkpoint):
    trap = tmp_path / "trap"
    text = f"model = dict(type='CRAFT')\nopen({str(trap)!r}, 'w')\n"
    for line in (text, f"model = dict(a=open({str(trap)!r}, 'w'))", "import os\nmodel = {}"):
        checkpoint["message_hub"]["runtime_info"]["cfg"] = line
        with pytest.raises(ValueError, match=r"last\.pth: its config: .*; name one with"):
            publish(tool, tmp_path, checkpoint)
    assert not trap.exists()
    checkpoint["message_hub"]["runtime_info"]["cfg"] = "a = 1"
    with pytest.raises(ValueError, match=r"last\.pth: no model in its config"):
        publish(tool, tmp_path, checkpoint)


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("/data/me/words.json", "words.json"),
        ("/data/me/words/", "words"),
        ("~/words", "words"),
        ("C:\\Users\\me\\words", "words"),
        ("file:///home/me/words", "words"),
        ("data/words", "data/words"),
        ("https://host/words", "https://host/words"),
        ("torchvision://resnet18", "torchvision://resnet18"),
        (3, 3),
    ],
)
def test_paths_of_machines(tool, value, left):
    found, remarks = tool.without_paths({"a": [(value,)]}, "x")
    assert found == {"a": [(left,)]}
    assert len(remarks) == (value != left)
    assert all(remark.startswith("x.a[0][0]: ") for remark in remarks)


def test_paths_as_keys(tool):
    found, remarks = tool.without_paths({"/home/me/data": "s3://bucket"})
    assert found == {"data": "s3://bucket"}
    assert "/home" not in "".join(remarks)


def test_a_folder_is_no_name(tool, tmp_path):
    with pytest.raises(ValueError, match="a folder; name a file in it"):
        tool.publish(tmp_path / "a.pth", tmp_path, None, None, print)


def test_what_reads_differently_is_not_left_there(tool, tmp_path, checkpoint, monkeypatch):
    def load(path):
        content = safe_load(path)
        if path.parent.name == "out":
            content["state_dict"]["det_head.conv_cls.0.bias"][0] += 1
        return content

    monkeypatch.setattr(tool, "safe_load", load)
    with pytest.raises(OSError, match="reads differently"):
        publish(tool, tmp_path, checkpoint)
    assert os.listdir(tmp_path / "out") == []
