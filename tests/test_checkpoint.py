"""Parameters out of checkpoints of every layout, into models that they fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmtextplug import checkpoint
from mmtextplug.checkpoint import load_fitting_weights, load_weights, read_state_dict


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


@pytest.mark.parametrize("where", ["flat", "state_dict", "model", "craft"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_all_layouts_are_read(small, tmp_path, where, prefix, zipped):
    state = {prefix + key: value for key, value in small.state_dict().items()}
    content = state if where == "flat" else {"iter": 3, where: state}
    path = tmp_path / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read = read_state_dict(path)
    assert read.keys() == small.state_dict().keys()
    torch.testing.assert_close(read["0.weight"], small[0].weight.data, rtol=0, atol=0)


@pytest.mark.parametrize("outer", ["state_dict", "model", "craft"])
@pytest.mark.parametrize("inner", ["state_dict", "model", "craft"])
def test_nested_twice_in_any_order(small, tmp_path, outer, inner):
    path = tmp_path / "weights.pth"
    torch.save({"iter": 3, outer: {inner: small.state_dict(), "epoch": 1}}, path)
    assert read_state_dict(path).keys() == small.state_dict().keys()


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [1, 2], {"a": 1}])
def test_a_file_without_parameters_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"weights\.pth: no parameters found"):
        read_state_dict(path)


def test_weights_are_loaded_also_without_counters(small, tmp_path):
    path = tmp_path / "weights.pth"
    state = {k: v + 1 for k, v in small.state_dict().items() if "num_batches" not in k}
    torch.save({"state_dict": state}, path)
    expected = small[0].weight.data.clone() + 1
    load_weights(small, path)
    torch.testing.assert_close(small[0].weight.data, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("0.bias"), r"1 parameters are missing \(such as 0.bias\)"),
        (lambda s: s.update(x=torch.ones(1)), r"1 are not in the model \(such as x\)"),
        (
            lambda s: s.update({"0.bias": torch.ones(5)}),
            r"1 differ in shape \(such as 0.bias is \(5,\), the model has \(2,\)\)",
        ),
    ],
)
def test_weights_of_another_model_are_refused(small, tmp_path, change, message):
    path = tmp_path / "weights.pth"
    state = dict(small.state_dict())
    change(state)
    torch.save(state, path)
    with pytest.raises(ValueError, match=rf"weights\.pth: does not fit this model: .*{message}"):
        load_weights(small, path)


def test_what_fits_is_loaded_and_the_rest_is_logged(small, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    state = {key: value + 1 for key, value in small.state_dict().items()}
    state["0.bias"] = torch.ones(5)
    state["head.weight"] = torch.ones(1)
    del state["1.weight"]
    torch.save({"model": state}, path)
    before = {key: value.clone() for key, value in small.state_dict().items()}
    lines = []
    monkeypatch.setattr(checkpoint, "print_log", lambda text, logger: lines.append(text))
    load_fitting_weights(small, path)
    for key, value in small.state_dict().items():
        step = 0 if key in ("0.bias", "1.weight") else 1
        torch.testing.assert_close(value, before[key] + step, rtol=0, atol=0)
    assert lines == [
        f"{path}: 1 parameters are not in the file: 1.weight",
        f"{path}: 1 parameters have another shape: 0.bias",
        f"{path}: 1 parameters of the file are not in the model: head.weight",
    ]


@pytest.mark.parametrize("state", [{"a": torch.ones(1)}, {"0.bias": torch.ones(5)}])
def test_a_file_of_which_nothing_fits_is_refused(small, tmp_path, state):
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth: nothing in it fits this model"):
        load_fitting_weights(small, tmp_path / "weights.pth")
