"""The benchmark of training on a CPU, on small pictures."""

from __future__ import annotations

import importlib
import re

import pytest
import torch

pytest.importorskip("mmocr")


@pytest.fixture
def tool(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    monkeypatch.setenv("COLUMNS", "200")
    threads = torch.get_num_threads()
    yield importlib.import_module("benchmark_cpu_training")
    torch.set_num_threads(threads)


def test_every_way_takes_its_steps(tool, capsys):
    tool.main(["--size", "64", "--batch", "2", "--repeats", "1", "--models", "light"])
    table = capsys.readouterr().out
    rows = re.findall(r"light[ │|]+(.+?)\s+[│|]\s+([\d.]+)\s+[│|]\s+([\d.]+)x", table)
    assert [way for way, *_ in rows] == [*tool.WAYS, tool.PLAIN_DEPTHWISE]
    assert all(float(seconds) > 0 and float(ratio) > 0 for _, seconds, ratio in rows)
    assert float(rows[0][2]) == 1


def test_ways_differ_in_layout_type_and_depthwise_gradients_only(tool, monkeypatch):
    data = tool.pictures(2, 64)
    assert [tuple(image.shape) for image in data["inputs"]] == [(3, 64, 64)] * 2
    model = tool.network("light")
    seen = {}
    conv = next(m for m in model.modules() if type(m).__name__ == "_DepthwiseConv2d" and m._slow)
    path = next(name for name, m in model.named_modules() if m is conv)
    for way, settings in tool.WAYS.items():
        training = tool.Training(model, **settings)
        types = []
        part = training.model.get_submodule(path)
        monkeypatch.setattr(part, "_conv_forward", watched(part._conv_forward, types))
        before = part.weight.detach().clone()
        training.step(data)
        assert not torch.equal(part.weight, before)
        seen[way] = types[0], training.model.backbone.stem[0].weight.is_contiguous()
    assert seen["float32"] == (torch.float32, True)
    assert seen["bfloat16"] == (torch.float32, True)
    assert seen["bfloat16, channels last"] == (torch.float32, False)
    with tool.plain_depthwise():
        types.clear()
        training.step(data)
    assert types == [torch.bfloat16]


def watched(function, types):
    def watching(x, weight, bias):
        out = function(x, weight, bias)
        types.append(out.dtype)
        return out

    return watching
