#!/usr/bin/env python
"""Make of a training's checkpoint a file to give away: NAME-<checksum>.pth.

It holds the parameters (of a training with MMEngine's EMAHook the averages: that hook saves them as
the parameters), the text of the config, by which MMOCR's and MMEngine's inferencers build the model
from the file alone, the metrics, and a checksum of the parameters, by which these are checked
whenever they are loaded; no optimizer, no schedule, no log. Paths of your machine leave
the config, weights too small for a float's full precision, which slow CPUs down, become zero;
--half stores them in half the bytes. The same input gives the same file, under the first eight
digits of its SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import mmtextplug

# isort: split
import torch
from mmengine.config import Config
from torch import Tensor

from mmtextplug import launch
from mmtextplug.checkpoint import CHECKSUM, checksum, state_dict_of
from mmtextplug.craft.official_names import official_to_ours
from mmtextplug.files import write_atomically
from mmtextplug.inference.saved_config import read_config
from mmtextplug.safe_load import safe_load

# What a config says about one run on one machine.
_OF_A_RUN = ("work_dir", "load_from", "resume", "resume_from", "auto_resume", "launcher")
_META = ("dataset_meta", "epoch", "iter", "mmengine_version")
_TIMES = ("data_time", "time")
_MACHINE_PATH = re.compile(r"^(file://|~|/(?=[^/\s])|[A-Za-z]:[\\/]|\\\\)")


def without_paths(value: object, where: str = "") -> tuple[object, list[str]]:
    """Leave the last component of every path that begins at the root of a machine.

    Args:
        value: Of a config: nested dicts, lists, tuples.
        where: Its name, for the remarks.

    Returns:
        tuple: The same without such paths, and a remark for each, without the path.
    """
    if isinstance(value, dict):
        pairs, remarks = {}, []
        for key, item in value.items():
            name, more = without_paths(key, f"{where} (a key)")
            pairs[name], inner = without_paths(item, f"{where}.{name}" if where else str(name))
            remarks += more + inner
        return pairs, remarks
    if isinstance(value, (list, tuple)):
        items = [without_paths(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return type(value)(item for item, _ in items), [r for _, inner in items for r in inner]
    if isinstance(value, str) and _MACHINE_PATH.match(value):
        name = re.split(r"[\\/]", value.rstrip("\\/"))[-1].lstrip("~")
        return name, [f"{where}: a path of this machine, {name!r} is left of it"]
    return value, []


def clean_config(settings: dict) -> tuple[str, list[str]]:
    """The text of a config without what belongs to one machine, and a remark for each removal.

    Raises:
        ValueError: If it has no model.
    """
    if not isinstance(settings.get("model"), dict):
        raise ValueError("no model in its config")
    gone = [key for key in _OF_A_RUN if settings.get(key) not in (None, False, "none")]
    kept = {key: value for key, value in settings.items() if key not in _OF_A_RUN}
    kept, remarks = without_paths(kept)
    text = Config(kept).pretty_text
    if read_config(text) != kept:
        raise ValueError("its config cannot be written as text")
    return text, [f"{key}: removed" for key in gone] + remarks


def clean_weights(state: dict[str, Tensor], half: bool = False) -> tuple[dict[str, Tensor], int]:
    """Copies of parameters in which numbers below a float's normal range are zero.

    Processors compute with such denormal numbers many times slower, and results do not depend on
    them. Half precision keeps them: there they reach up to 6e-5, and are ordinary once loaded.

    Args:
        state (dict[str, Tensor]): Parameters and buffers by name.
        half (bool): Whether to round float32 to float16, which a model loads as float32 again.

    Returns:
        tuple: The copies, and how many numbers became zero.

    Raises:
        ValueError: If a number is not finite, or would not be as float16.
    """
    clean, flushed = {}, 0
    for name, value in state.items():
        value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        if value.is_floating_point():
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} holds NaN or infinity: publish an earlier checkpoint")
            if half and value.dtype == torch.float32:
                value = value.half()
                if bool(torch.isinf(value).any()):
                    raise ValueError(f"{name} reaches beyond float16's range: leave --half out")
            if value.dtype != torch.float16:
                tiny = (value != 0) & (value.abs() < torch.finfo(value.dtype).tiny)
                flushed += int(tiny.sum())
                value[tiny] = 0
        clean[name] = value
    return clean, flushed


def plain(value: object) -> bool:
    """Whether PyTorch's ``weights_only`` reads a value, whatever the version."""
    if isinstance(value, dict):
        return plain([*value.keys(), *value.values()])
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


def recorded_metrics(content: dict, name: str) -> dict[str, float]:
    """The validation that chose a checkpoint, if it is the best of its training, else nothing.

    The others hold the validation before them: MMEngine saves first and validates then.

    Args:
        content (dict): What `safe_load` read.
        name (str): Of its file.
    """
    hub = content.get("message_hub") or {}
    info = hub.get("runtime_info") or {}
    best = [Path(str(info[key])).name for key in info if str(key).startswith("best_ckpt")]
    if name not in best:
        return {}
    return {
        key[len("val/") :]: float(history.current())
        for key, history in (hub.get("log_scalars") or {}).items()
        if key.startswith("val/") and key[len("val/") :] not in _TIMES
    }


def read_metrics(path: str) -> dict[str, float]:
    """Metrics as ``tools/test.py`` writes them: one dict of names and numbers in JSON.

    Raises:
        ValueError: If it is anything else, or a number is not finite.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: not a dict of metrics")
    metrics = {key: value for key, value in found.items() if key not in _TIMES}
    for key, value in metrics.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not math.isfinite(value)
        ):
            raise ValueError(f"{path}: {key}: {value!r} is no finite number")
    if not metrics:
        raise ValueError(f"{path}: no metrics in it")
    return metrics


def publish(
    source: Path,
    out: Path,
    config: str | None,
    metrics: str | None,
    say: Callable[[str], None],
    half: bool = False,
) -> Path:
    """Write the published file of a checkpoint.

    Args:
        source (Path): The checkpoint.
        out (Path): Name to write to; the checksum goes before ``.pth``.
        config (str, optional): Config file, in place of the text that the checkpoint holds.
        metrics (str, optional): JSON file, in place of what the checkpoint recorded.
        say (callable): Takes one line about what is left out or kept.
        half (bool): See `clean_weights`.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If one of them is not what it should be.
        OSError: If the result cannot be written, or reads differently.
    """
    if out.is_dir():
        raise ValueError(f"{out}: a folder; name a file in it, such as {out / 'craft.pth'}")
    content = safe_load(source)
    state = state_dict_of(content, source)
    official_to_ours(state)
    content = content if isinstance(content, dict) else {}
    meta = content.get("meta") if isinstance(content.get("meta"), dict) else {}
    try:
        if config:
            settings = launch.load_config(config).to_dict()
        else:
            hub = content.get("message_hub") or {}
            text = (hub.get("runtime_info") or {}).get("cfg") or meta.get("cfg")
            if not isinstance(text, str):
                raise ValueError("no config in it; name one with --config")
            try:
                settings = read_config(text)
            except ValueError as error:
                raise ValueError(f"its config: {error}; name one with --config") from error
        text, remarks = clean_config(settings)
        state, flushed = clean_weights(state, half)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if isinstance(content.get("state_dict"), dict):
        say(f"left out: {', '.join(sorted(content.keys() - {'meta', 'state_dict'})) or 'nothing'}")
    for remark in remarks:
        say(f"config: {remark}")
    say(f"weights: {flushed} denormal numbers set to zero")
    measured = read_metrics(metrics) if metrics else recorded_metrics(content, source.name)
    say(
        "metrics: " + ", ".join(f"{key} {value:.4f}" for key, value in measured.items())
        if measured
        else "metrics: none; only the best checkpoint of a training holds its own (see --metrics)"
    )
    kept = {key: meta[key] for key in _META if key in meta and plain(meta[key])}
    kept |= dict(cfg=text, metrics=measured, mmtextplug_version=mmtextplug.__version__)
    kept[CHECKSUM] = checksum(state)
    return _write(dict(meta=kept, state_dict=state), out)


def _write(content: dict, out: Path) -> Path:
    buffer = io.BytesIO()  # a file's own name would become a part of its content
    torch.save(content, buffer)
    of_file = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = out.with_name(f"{out.name.removesuffix('.pth')}-{of_file[:8]}.pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    again = safe_load(path)
    state, read = content["state_dict"], again["state_dict"]
    if (
        again["meta"] != content["meta"]
        or list(read) != list(state)
        or any(read[n].dtype != v.dtype or not torch.equal(read[n], v) for n, v in state.items())
    ):
        path.unlink()
        raise OSError(f"{path}: reads differently from what was written; check the disk")
    return path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("in_file", type=Path, help="checkpoint of a training")
    parser.add_argument("out_file", type=Path, help="name to publish under; the checksum is added")
    parser.add_argument("--config", help="config file, if the checkpoint holds none")
    parser.add_argument("--metrics", help="JSON file of metrics, such as tools/test.py writes")
    parser.add_argument("--half", action="store_true", help="float16: half as large")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(publish(args.in_file, args.out_file, args.config, args.metrics, print, args.half))


if __name__ == "__main__":
    launch.run(main)
