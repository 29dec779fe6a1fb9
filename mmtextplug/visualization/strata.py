"""Curves of S-OHEM: weights, strata and losses over the steps of a training, from its log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["plot_strata", "read_mining_log"]

Log = dict[str, tuple[np.ndarray, np.ndarray]]

_NUMBERS = ("1", "2", "3", "4")
_STRATA = dict(zip(_NUMBERS, ("1: both high", "2: class high", "3: box high", "4: none high")))
_COLOURS = dict(zip(_NUMBERS, ("#b2182b", "#ef8a62", "#2166ac", "#bdbdbd")))
_INCHES = (4.2, 3.4)  # of a panel


def read_mining_log(folder: str | Path) -> dict[str, Log]:
    """What ``StratifiedOHEMHook`` logged in a training.

    Args:
        folder (str | Path): The training's work folder; of all ``scalars.json`` in it, those
            written later count where they tell of the same steps, as after resuming.

    Returns:
        dict[str, Log]: For each sampler ('mining', or 'mining_s0', ... of a cascade) the steps and
        values of each key, such as 'alpha' or 'population_s1'. Those of the losses of training
        come with every one, under their own names.

    Raises:
        FileNotFoundError: If there is no log in the folder.
        ValueError: If a line of it is no JSON object, or no S-OHEM was logged.
    """
    files = sorted(Path(folder).rglob("scalars.json"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise FileNotFoundError(
            f"{folder}: no scalars.json in it: give the work folder of a training that logs "
            "with LocalVisBackend"
        )
    steps: dict[int, dict] = {}
    for file in files:
        for row in _rows(file):
            # Lines of validations have no loss.
            if "loss" in row and "step" in row:
                steps[int(row["step"])] = row
    keys = sorted({key for row in steps.values() for key in row})
    logs: dict[str, Log] = {}
    for key in keys:
        name, _, short = key.partition("/")
        if name.startswith("mining") and short:
            logs.setdefault(name, {})[short] = _series(steps, key)
    logs = {name: log for name, log in logs.items() if "alpha" in log}
    if not logs:
        raise ValueError(
            f"{files[-1]}: no mining/alpha in it: train with StratifiedOHEMSampler and "
            "StratifiedOHEMHook, for an interval of its log at least"
        )
    for name, log in logs.items():
        # Losses of one stage of a cascade: s0.loss_cls.
        stage = name.partition("_")[2]
        for loss in ("loss_cls", "loss_bbox", "loss_mask"):
            key = f"{stage}.{loss}" if stage else loss
            if key in keys:
                log[loss] = _series(steps, key)
    return logs


def plot_strata(folder: str | Path, path: str | Path) -> None:
    """Draw weights, strata, shares and losses over the steps; a row for each sampler.

    Args:
        folder (str | Path): See `read_mining_log`.
        path (str | Path): Where to write; the ending decides the format, such as ``.png``.

    Raises:
        FileNotFoundError, ValueError: See `read_mining_log`.
    """
    logs = read_mining_log(folder)
    figure = Figure(figsize=(5 * _INCHES[0], len(logs) * _INCHES[1]), layout="constrained")
    grid = figure.subplots(len(logs), 5, squeeze=False, sharex=True)
    for axes, (name, log) in zip(grid, logs.items()):
        _weights(axes[0], log)
        axes[0].set_ylabel(name)
        for axis, kind, title in (
            (axes[1], "population", "RoIs of each stratum"),
            (axes[2], "selected", "selected of each stratum"),
        ):
            _stack(axis, log, kind)
            axis.set_title(title)
        _shares(axes[3], log)
        _losses(axes[4], log)
        for axis in axes:
            _mark_ramp(axis, log)
            axis.set_xlabel("step")
            axis.margins(x=0)
    figure.savefig(path, dpi=110)


def _weights(axis: Axes, log: Log) -> None:
    betas = sorted(key for key in log if key == "beta" or key.startswith("beta_"))
    for key in ("alpha", *betas, "gamma"):
        if key in log and (key != "gamma" or log[key][1].any()):
            axis.plot(*log[key], label=key)
    axis.plot(*log["progress"], ":", color="grey", label="progress")
    axis.set(title="weights of the selection", ylim=(0, None))
    axis.legend(fontsize="small")


def _stack(axis: Axes, log: Log, kind: str) -> None:
    keys = [number for number in _NUMBERS if f"{kind}_s{number}" in log]
    if not keys:
        return
    steps = log[f"{kind}_s{keys[0]}"][0]
    counts = np.stack([log[f"{kind}_s{number}"][1] for number in keys])
    shares = counts / np.maximum(counts.sum(0), 1e-9)
    axis.stackplot(
        steps,
        shares,
        labels=[_STRATA[number] for number in keys],
        colors=[_COLOURS[number] for number in keys],
    )
    axis.set(ylim=(0, 1))
    axis.legend(fontsize="small", loc="lower left")


def _shares(axis: Axes, log: Log) -> None:
    """Of the candidates what was a duplicate, of the selected what was foreground."""
    if {"duplicates", "candidates"} <= log.keys():
        steps, candidates = log["candidates"]
        share = log["duplicates"][1] / np.maximum(candidates, 1)
        axis.plot(steps, share, "C3", label="duplicates among candidates")
    if "foreground" in log:
        axis.plot(*log["foreground"], "C2", label="foreground among selected")
    axis.set(title="shares", ylim=(0, 1))
    axis.legend(fontsize="small")


def _losses(axis: Axes, log: Log) -> None:
    for key, style, label in (
        ("cls_threshold", "C1", "pool: mean L_cls"),
        ("loc_threshold", "C0", "pool: mean L_loc of foreground"),
        ("loss_cls", "C1:", "trained: L_cls"),
        ("loss_bbox", "C0:", "trained: L_loc"),
        ("loss_mask", "C4:", "trained: L_mask"),
    ):
        if key in log:
            axis.plot(*log[key], style, label=label)
    axis.set(title="losses", yscale="log")
    axis.legend(fontsize="small")


def _mark_ramp(axis: Axes, log: Log) -> None:
    begun = log["ramp"][0][log["ramp"][1] > 0]
    if len(begun):
        axis.axvline(begun[0], color="black", linewidth=0.8, linestyle="--")


def _series(steps: dict[int, dict], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps ``(n,)`` and values ``(n,)`` of a key where it was logged."""
    pairs = [(step, row[key]) for step, row in sorted(steps.items()) if key in row]
    return np.array([step for step, _ in pairs]), np.array([value for _, value in pairs], float)


def _rows(file: Path) -> Iterable[dict]:
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{file}: line {number} is no JSON ({error.msg}): remove it if a crash cut it off"
            ) from error
        if not isinstance(row, dict):
            raise ValueError(f"{file}: line {number} is no JSON object: is it a log of MMEngine?")
        yield row
