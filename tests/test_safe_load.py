"""Checkpoint files: all that MMEngine saves is read, nothing is run."""

from __future__ import annotations

import collections
import os
import pickle
import subprocess
import tarfile
import types
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from mmtextplug.safe_load import safe_load


class Bomb:
    """Unpickled in earnest, it leaves a mark."""

    def __init__(self, mark, call=open):
        self.mark, self.call = mark, call

    def __reduce__(self):
        return self.call, (str(self.mark), "w") if self.call is open else (str(self.mark),)


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, HistoryBuffer):
        return all(map(np.array_equal, a.data, b.data)) and a.mean() == b.mean()
    return a == b


def test_all_that_mmengine_saves_is_read(tmp_path):
    parameter = nn.Parameter(torch.randn(2, 3, 5)[:, 1:].transpose(0, 2))
    content = {
        "meta": {"epoch": 1, "seed": np.int64(3), "random": np.arange(3.0), "set": {1, 2}},
        "state_dict": collections.OrderedDict(weight=parameter),
        "message_hub": {
            "log_scalars": {"loss": HistoryBuffer([0.5, 0.25], [1, 1])},
            "runtime_info": {"best": np.float32(0.5), "last": Path("a") / "b", "c": b"\x80\xff"},
        },
        "optimizer": {"state": collections.defaultdict(dict, {0: {"lr": 0.1}}), "groups": [(1,)]},
        "more": [slice(1, 2), 1j, torch.device("cpu"), torch.Size([1]), torch.float16, None],
    }
    path = tmp_path / "epoch_1.pth"
    torch.save(content, path)
    read = safe_load(path)
    assert read.pop("more") == content.pop("more")
    read["state_dict"]["weight"] = nn.Parameter(read["state_dict"]["weight"])
    assert same(read, content)
    assert read["message_hub"]["log_scalars"]["loss"].statistics("max") == 0.5


DTYPES = [
    "float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "complex64", "complex128",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (2, 3, 4)])
def test_tensors_of_every_type_and_shape(tmp_path, dtype, shape):
    generator = torch.Generator().manual_seed(len(shape))
    tensor = torch.randint(0, 100, shape, generator=generator).to(getattr(torch, dtype))
    torch.save([tensor], tmp_path / "t.pth")
    assert same(safe_load(tmp_path / "t.pth"), [tensor])


def test_views_of_one_storage_stay_views_of_one_storage(tmp_path):
    base = torch.arange(12.0)
    torch.save(
        {"base": base, "odd": base[1::2], "square": base[2:11].view(3, 3).t()}, tmp_path / "t"
    )
    read = safe_load(tmp_path / "t")
    assert same(read, {"base": base, "odd": base[1::2], "square": base[2:11].view(3, 3).t()})
    read["base"][3] = -1
    assert read["odd"][1] == -1
    assert read["square"][1, 0] == -1


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("call", [open, os.mkdir, eval, subprocess.Popen, getattr, Path.unlink])
def test_a_hostile_file_is_not_run(tmp_path, zipped, call):
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    bomb = {"state_dict": {"a": torch.ones(1), "b": Bomb(mark, call)}}
    torch.save(bomb, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"weights\.pth: (refused|damaged)") as caught:
        safe_load(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


class Reaching:
    """``getattr(HistoryBuffer, "__init__")``, the first step on the way to all of Python."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, "__init__")


@pytest.mark.parametrize("content", [Reaching(), types.SimpleNamespace(a=1), HistoryBuffer])
def test_what_is_not_on_the_list_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save({"a": content}, path)
    if content is HistoryBuffer:  # the class itself is harmless
        assert safe_load(path) == {"a": HistoryBuffer}
        return
    with pytest.raises(ValueError, match=r"refused: it holds more than tensors \(\S+"):
        safe_load(path)


def test_a_tar_file_is_not_given_to_pytorch(tmp_path, monkeypatch):
    (tmp_path / "pickle").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with tarfile.open(tmp_path / "weights.pth", "w") as archive:
        archive.add(tmp_path / "pickle", "pickle")
    with pytest.raises(ValueError, match=r"weights\.pth: damaged.*left in 2017"):
        safe_load(tmp_path / "weights.pth")
    assert not (tmp_path / "mark").exists()


@pytest.mark.skipif(
    not hasattr(torch.serialization, "safe_globals"), reason="PyTorch 2.5 has the context manager"
)
def test_a_user_can_declare_a_class_safe(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": types.SimpleNamespace(a=1)}, path)
    with torch.serialization.safe_globals([types.SimpleNamespace]):
        assert safe_load(path) == {"a": types.SimpleNamespace(a=1)}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.98])
def test_cut_off_files_are_named(tmp_path, zipped, part):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.ones(999)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=r"weights\.pth: (damaged, cut off|refused)") as caught:
        safe_load(path)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.arange(999)}, path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(np.arange(500, 504).tobytes())] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"weights\.pth: damaged.*CRC"):
        safe_load(path)


@pytest.mark.parametrize("content", [b"no weights", b"PK\x03\x04 broken", b"<html>404</html>"])
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth: (damaged, cut off|refused)"):
        safe_load(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such checkpoint file") as caught:
            safe_load(path)
        assert str(path) in str(caught.value)


# --- pickles written by hand --------------------------------------------------------------------


def saved(tmp_path: Path, pickled: bytes) -> Path:
    """A checkpoint with these bytes for its pickle."""
    path = tmp_path / "weights.pth"
    torch.save({}, tmp_path / "empty.pth")
    with zipfile.ZipFile(tmp_path / "empty.pth") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return path


def test_no_state_is_given_to_what_all_others_share(tmp_path):
    # BUILD on a class, on a function of the reader: what is on the list stays as it is.
    before = vars(PurePosixPath).copy()
    for name in ("pathlib\nPurePosixPath", "torch._utils\n_rebuild_tensor_v2", "numpy\nndarray"):
        pickled = f"c{name}\n(S'__str__'\ncbuiltins\nlist\ndb.".encode()
        with pytest.raises(ValueError, match="refused"):
            safe_load(saved(tmp_path, pickled))
    assert vars(PurePosixPath) == before


def test_types_that_hold_pointers_are_refused(tmp_path):
    for kind in ("O", "V16", "M8[s]"):
        pickled = f"cnumpy\ndtype\n(S'{kind}'\nI00\nI01\ntR.".encode()
        with pytest.raises(ValueError, match="refused"):
            safe_load(saved(tmp_path, pickled))
    array = np.array([{"a": 1}], dtype=object)
    torch.save({"a": array}, tmp_path / "object.pth")
    with pytest.raises(ValueError, match="refused"):
        safe_load(tmp_path / "object.pth")
    # A type that is built as numbers and given fields by its state stays numbers.
    torch.save({"a": np.zeros(2, [("x", "f4")])}, tmp_path / "fields.pth")
    with pytest.raises(ValueError, match="refused"):
        safe_load(tmp_path / "fields.pth")


@pytest.mark.parametrize("attribute", ["mro", "update", "__init__", "register_statistics"])
def test_no_way_leads_from_the_history_to_the_rest_of_python(tmp_path, attribute):
    pickled = "cbuiltins\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\n"
    pickled += f"S'{attribute}'\ntR."
    with pytest.raises(ValueError, match=rf"refused.*{attribute}"):
        safe_load(saved(tmp_path, pickled.encode()))


def test_a_history_brings_no_statistics_of_its_own(tmp_path):
    history = HistoryBuffer([0.5], [1])
    torch.save({"a": history}, tmp_path / "h.pth")
    statistics = dict(HistoryBuffer._statistics_methods)
    assert safe_load(tmp_path / "h.pth")["a"].mean() == 0.5
    assert HistoryBuffer._statistics_methods == statistics


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3.5), np.zeros((0, 2), np.int8), np.array(["ab", "c"]), np.array([True, False]),
        np.array([1 + 2j]),
    ],
)  # fmt: skip
def test_arrays_of_every_plain_kind(tmp_path, array):
    torch.save({"a": array, "b": [array, array.dtype], "c": array.ravel()[:1]}, tmp_path / "a.pth")
    read = safe_load(tmp_path / "a.pth")
    assert same(read["a"], array)
    assert read["b"][0] is read["a"]
    assert read["b"][1] == array.dtype
    assert read["a"].flags.writeable
