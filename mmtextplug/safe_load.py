"""Checkpoint files read without running code from them."""

from __future__ import annotations

import codecs
import collections
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO

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
    """``getattr``, of which MMEngine's history needs no more than its own methods."""
    if owner is not HistoryBuffer or name.startswith("_"):
        raise _Refused(f"builtins.getattr of {owner}.{name}")
    return getattr(owner, name)


def _harmless() -> dict[tuple[str, str], object]:
    def where(item: Callable) -> tuple[str, str]:
        return item.__module__, item.__qualname__

    found = {
        where(item): item
        for item in (
            collections.OrderedDict, collections.defaultdict, collections.Counter,
            collections.deque, HistoryBuffer, torch.Size, torch.device, PurePath, PurePosixPath,
        )
    }  # fmt: skip
    for item in (set, frozenset, slice, complex, bytearray, list, dict, tuple):
        found["builtins", item.__name__] = found["__builtin__", item.__name__] = item
    found["builtins", "getattr"] = found["__builtin__", "getattr"] = _statistic
    found["pathlib", "PosixPath"] = PurePosixPath
    found["_codecs", "encode"] = codecs.encode  # bytes in pickle's protocol 2
    found["torch._utils", "_rebuild_tensor_v2"] = _tensor
    found["torch._utils", "_rebuild_parameter"] = _parameter
    found["torch", "Size"], found["torch", "device"] = torch.Size, torch.device
    array, number = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    for package in ("numpy.core", "numpy._core"):  # before and since NumPy 2
        found[f"{package}.multiarray", "_reconstruct"] = array
        found[f"{package}.multiarray", "scalar"] = number
    found["numpy", "ndarray"], found["numpy", "dtype"] = np.ndarray, np.dtype
    return found


class _Unpickler(pickle.Unpickler):
    harmless = _harmless()

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
        declared = getattr(torch.serialization, "get_safe_globals", list)()
        for item in declared:
            if (getattr(item, "__module__", ""), getattr(item, "__qualname__", "")) == (
                module,
                name,
            ):
                return item
        raise _Refused(f"{module}.{name}")
