"""Checkpoint files read without running code from them."""

from __future__ import annotations

import collections
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, ClassVar

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

_DTYPE_OF_STORAGE = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def safe_load(path: str | Path) -> object:
    """Read a file that ``torch.save`` wrote, on the CPU, without running code from it.

    PyTorch's ``weights_only`` refuses what MMEngine keeps beside the parameters (the history of
    its logs, NumPy's numbers) and cannot be told to allow it before PyTorch 2.4. Here tensors,
    Python's own containers, NumPy's arrays and numbers and that history are built; any other class
    or function is refused, unless ``torch.serialization.add_safe_globals`` declared it safe.

    Args:
        path (str | Path): The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, no checkpoint, or names anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_zip(archive)
        if tarfile.is_tarfile(path):  # PyTorch before 0.1.10; up to 2.5 its reader is not safe
            raise ValueError("a format that PyTorch left in 2017")
        return torch.load(path, map_location="cpu", weights_only=True)  # PyTorch before 1.6
    except (_Refused, pickle.UnpicklingError) as error:
        reason = f" ({error})" if isinstance(error, _Refused) else ", or is no PyTorch file"
        raise ValueError(
            f"{path}: refused: it holds more than tensors{reason}. "
            "Save `model.state_dict()` alone, from a source that you trust."
        ) from error
    except Exception as error:  # a damaged file can raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise ValueError(
            f"{path}: damaged, cut off or no checkpoint ({reason}). Download or copy it again, "
            "compare checksums."
        ) from error


class _Refused(Exception):
    pass


def _flat_tensor(buffer: bytearray, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(buffer, dtype=dtype) if buffer else torch.empty(0, dtype=dtype)


def _read_zip(archive: zipfile.ZipFile) -> object:
    entry = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
    root = entry[: -len("data.pkl")]
    order = f"{root}byteorder"
    if order in archive.namelist() and archive.read(order).decode() != sys.byteorder:
        raise ValueError("saved on a machine of another byte order")
    tensors: dict[str, Tensor] = {}

    def storage(key: str, dtype: torch.dtype) -> Tensor:
        if key not in tensors:  # views of one storage stay views of one storage
            name = f"{root}data/{key}"
            buffer = bytearray(archive.getinfo(name).file_size)
            with archive.open(name) as file:
                filled = file.readinto(buffer)
            if filled != len(buffer):
                raise EOFError(f"{name} is cut off")
            tensors[key] = _flat_tensor(buffer, dtype)
        return tensors[key]

    with archive.open(entry) as file:
        return _Unpickler(file, storage).load()


def _tensor(storage: Tensor, offset: int, size: tuple, stride: tuple, *rest: object) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _parameter(data: Tensor, *rest: object) -> Tensor:
    return data


def _statistic(owner: object, name: str) -> Callable:
    """``getattr``, of which MMEngine's history needs no more than its own four statistics."""
    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise _Refused(f"builtins.getattr of {owner}.{name}")
    return getattr(owner, name)


def _plain(dtype: object) -> np.dtype:
    """A NumPy type of numbers or text; others hold pointers, which a file must not set."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biufcSU" or not dtype.isnative:
        raise _Refused(f"numpy.dtype {dtype}")
    return dtype


def _dtype(name: str, *rest: object) -> np.dtype:
    if not isinstance(name, str):
        raise _Refused(f"numpy.dtype of {type(name).__name__}")
    return _plain(np.dtype(name))


def _number(dtype: np.dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, _plain(dtype), 1)[0]


def _array(kind: type, *rest: object) -> np.ndarray:
    if kind is not np.ndarray:
        raise _Refused(f"{kind} as an array")
    return np.empty(0)


def _bytes(text: str, encoding: str) -> bytes:
    """How pickle's protocol 2 writes bytes."""
    return text.encode({"latin1": "latin1"}[encoding])


def _harmless() -> dict[tuple[str, str], object]:
    found = {
        (item.__module__, item.__qualname__): item
        for item in (
            collections.OrderedDict, collections.defaultdict, collections.Counter,
            collections.deque, HistoryBuffer, PurePosixPath,
        )
    }  # fmt: skip
    for item in (set, frozenset, slice, complex, bytes, bytearray, list, dict, tuple):
        found["builtins", item.__name__] = found["__builtin__", item.__name__] = item
    found["builtins", "getattr"] = found["__builtin__", "getattr"] = _statistic
    found["pathlib", "PosixPath"] = found["pathlib", "PurePosixPath"] = PurePosixPath
    found["_codecs", "encode"] = _bytes
    found["torch._utils", "_rebuild_tensor_v2"] = _tensor
    found["torch._utils", "_rebuild_parameter"] = _parameter
    found["torch", "Size"], found["torch", "device"] = torch.Size, torch.device
    for package in ("numpy.core", "numpy._core"):  # before and since NumPy 2
        found[f"{package}.multiarray", "_reconstruct"] = _array
        found[f"{package}.multiarray", "scalar"] = _number
    found["numpy", "ndarray"], found["numpy", "dtype"] = np.ndarray, _dtype
    return found


class _Unpickler(pickle._Unpickler):  # the one in Python, where every operation can be watched
    harmless: ClassVar[dict] = _harmless()
    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, storage: Callable[[str, torch.dtype], Tensor]) -> None:
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def persistent_load(self, saved: tuple) -> Tensor:
        """A storage: what PyTorch keeps outside the pickle."""
        kind, dtype, key = saved[:3]
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise _Refused(f"a {kind} of {dtype}")
        return self._storage(key, dtype)

    def find_class(self, module: str, name: str) -> object:
        """What a name in the file stands for, if that is harmless."""
        if module == "torch" and name in _DTYPE_OF_STORAGE:
            return _DTYPE_OF_STORAGE[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) in self.harmless:
            return self.harmless[module, name]
        for item in _declared_safe():
            names = getattr(item, "__module__", None), getattr(item, "__qualname__", None)
            if names == (module, name):
                return item
        raise _Refused(f"{module}.{name}")

    def load_build(self) -> None:
        """Give an object its state: never a class or a function, which all others share."""
        state, made = self.stack[-1], self.stack[-2]
        if type(made) in _declared_safe():
            super().load_build()
            return
        self.stack.pop()
        if isinstance(made, np.dtype):
            return  # as its name says: the rest belongs to kinds that `_plain` refuses
        if type(made) is np.ndarray:
            _, shape, dtype, fortran, data = state
            order = "F" if fortran else "C"
            array = np.frombuffer(bytearray(data), _plain(dtype)).reshape(shape, order=order)
            self._replace(made, array)
        elif type(made) is HistoryBuffer:
            for name in ("max_length", "_log_history", "_count_history"):
                setattr(made, name, state[name])
            made._set_default_statistics()
        elif type(made) is collections.OrderedDict and isinstance(state, dict):
            made.__dict__.update(state)  # the versions of modules, in a state dict
        else:
            raise _Refused(f"state for {made!r}"[:100])

    dispatch[pickle.BUILD[0]] = load_build

    def _replace(self, old: np.ndarray, new: np.ndarray) -> None:
        self.stack[-1] = new
        for key, value in self.memo.items():
            if value is old:
                self.memo[key] = new


def _declared_safe() -> list:
    return list(getattr(torch.serialization, "get_safe_globals", list)())
