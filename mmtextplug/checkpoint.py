"""Parameters out of checkpoints and into models: all of them, or those that fit."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmtextplug.craft.official_names import official_to_ours
from mmtextplug.safe_load import safe_load

CHECKSUM = "weights_sha256"
"""Where ``meta`` of a published checkpoint has the `checksum` of its parameters."""

_NESTED = ("state_dict", "model", "craft")
REFINER = "det_head.link_refiner."
"""Names of a link refiner's parameters begin so."""

NO_PLACE_FOR_REFINER = (
    "holds the weights of a link refiner, which this model has not: set "
    "det_head.link_refiner=dict(type='LinkRefiner')"
)

_COUNTER = "num_batches_tracked"  # early PyTorch saved none, and no result depends on it


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters of a checkpoint without running code from it.

    Args:
        path (str | Path): A checkpoint; the parameters may lie under ``state_dict``, ``model`` or
            ``craft``, and have ``module.`` before their names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, unsafe (see `safe_load`), holds no parameters, or others than
            were published in it.
    """
    content = safe_load(path)
    state = state_dict_of(content, path)
    meta = content.get("meta")
    published = meta.get(CHECKSUM) if isinstance(meta, dict) else None
    if published not in (None, checksum(state)):
        raise ValueError(
            f"{path}: its parameters are not those that were published in it (meta.{CHECKSUM}): "
            "download it again"
        )
    return state


def checksum(state: dict[str, Tensor]) -> str:
    """SHA-256 of parameters: of their names, types, shapes and numbers, in order; 64 hex digits."""
    total = hashlib.sha256()
    for name, value in state.items():
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def state_dict_of(content: object, path: str | Path) -> dict[str, Tensor]:
    """The parameters in what `safe_load` read from a path; a ValueError if there are none."""
    for _ in _NESTED:  # in any order
        inner = [content.get(key) for key in _NESTED] if isinstance(content, dict) else []
        content = next((value for value in inner if isinstance(value, dict)), content)
    state = content if isinstance(content, dict) else {}
    state = {
        re.sub(r"^(module\.)+", "", key): value
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    if not state:
        raise ValueError(
            f"{path}: no parameters found, neither flat nor under {', '.join(_NESTED)}. "
            "Is it a checkpoint?"
        )
    return state


def fill(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Give a model all its parameters from a state dict that holds these and no others.

    Args:
        model (nn.Module): Changed only if all is well.
        state (dict[str, Tensor]): From `read_state_dict`.
        path (str | Path): Where it was read, for the message.

    Raises:
        ValueError: If parameters are missing, foreign or of another shape.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in state and not k.endswith(_COUNTER)]
    foreign = [k for k in state if k not in own]
    shapes = [
        f"{k} is {tuple(v.shape)}, the model has {tuple(own[k].shape)}"
        for k, v in state.items()
        if k in own and v.shape != own[k].shape
    ]
    problems = [
        f"{len(found)} {what} (such as {found[0]})"
        for found, what in (
            (missing, "parameters are missing"),
            (foreign, "are not in the model"),
            (shapes, "differ in shape"),
        )
        if found
    ]
    fault = _refiner_fault(state, own, missing)
    if fault:
        raise ValueError(f"{path}: {fault}")
    if problems:
        raise ValueError(
            f"{path}: does not fit this model: {'; '.join(problems)}. Use the config that it was "
            "trained with."
        )
    model.load_state_dict(state, strict=False)


def _refiner_fault(state: dict[str, Tensor], own: dict[str, Tensor], missing: list[str]) -> str:
    """What to say where one of a file and a model has a link refiner, and the other has none."""
    given = [key for key in state if key.startswith(REFINER)]
    wanted = [key for key in own if key.startswith(REFINER)]
    if given and not wanted:
        return NO_PLACE_FOR_REFINER
    if wanted and missing and set(missing) <= set(wanted) and not given:
        return (
            "has no link refiner, which this model needs: train it (LinkRefinerModuleLoss), or "
            "leave det_head.link_refiner out"
        )
    if given and len(given) == len(state) and not set(missing) <= set(wanted):
        return "holds a link refiner without its CRAFT: name a checkpoint that has both"
    return ""


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load all parameters of a model from a checkpoint.

    Args:
        model (nn.Module): What it was saved from; official names of CRAFT are taken, too.
        path (str | Path): See `read_state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, unsafe, or does not fit the model.
    """
    fill(model, _named_for(model, read_state_dict(path)), path)


def load_fitting_weights(model: nn.Module, path: str | Path) -> None:
    """Load those parameters of a checkpoint that fit a model, to train it further; log the rest.

    Args:
        model (nn.Module): Parameters that the file lacks keep their values.
        path (str | Path): See `read_state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, unsafe, or nothing in it fits the model.
    """
    state = _named_for(model, read_state_dict(path))
    own = {key: value.shape for key, value in model.state_dict().items()}
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


def _named_for(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    own, renamed = model.state_dict().keys(), dict(state)
    official_to_ours(renamed)
    if all(key.startswith(REFINER) for key in renamed):
        return renamed
    return renamed if len(own & renamed.keys()) > len(own & state.keys()) else state
