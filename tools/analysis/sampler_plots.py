"""Pictures of the comparison of samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmtextplug.visualization.strata import plot_strata

_FALSE = "words/false_"


def draw_all(
    results: Sequence[dict], measures: Mapping[str, tuple[str, int]], folder: Path
) -> list[Path]:
    """Write ``ends.png``, ``curves.png``, and the strata of each S-OHEM at its first seed.

    Args:
        results: ``arm``, ``seed``, ``steps`` and a list for each of the measures, of each training.
        measures: title and digits of each key.
        folder: where to write; work folders are ``<arm>/seed<seed>`` in it.

    Returns:
        What was written.
    """
    written = [folder / "ends.png", folder / "curves.png"]
    draw_ends(results, measures, written[0])
    draw_curves(results, measures, written[1])
    for arm, seed in _first_seeds(results).items():
        if arm.startswith("s-ohem"):
            written.append(folder / f"strata_{arm}.png")
            # Of the last training there; those before it may have had other settings.
            logs = sorted((folder / arm / f"seed{seed}").glob("*/vis_data/scalars.json"))
            plot_strata(logs[-1].parent, written[-1])
    return written


def draw_ends(results: Sequence[dict], measures: Mapping[str, tuple[str, int]], path: Path) -> None:
    """The last values: a dot for each seed, a line at the mean; false positives stacked by kind."""
    keys = [key for key in measures if not key.startswith(_FALSE)]
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    arms = list(_first_seeds(results))
    for axis, key in zip(axes, keys):
        for place, arm in enumerate(arms):
            values = [r[key][-1] for r in results if r["arm"] == arm]
            axis.plot([place] * len(values), values, "o", color=f"C{place}", alpha=0.6)
            axis.plot([place - 0.3, place + 0.3], [np.mean(values)] * 2, color=f"C{place}")
        axis.set_title(measures[key][0])
        _name_arms(axis, arms)
    _stack_false(axes[len(keys)], results, arms, measures)
    for axis in axes[len(keys) + 1 :]:
        axis.remove()
    figure.savefig(path, dpi=100)


def _stack_false(
    axis: Axes, results: Sequence[dict], arms: list[str], measures: Mapping[str, tuple[str, int]]
) -> None:
    bottom = np.zeros(len(arms))
    for number, key in enumerate(key for key in measures if key.startswith(_FALSE)):
        values = [np.array([r[key][-1] for r in results if r["arm"] == arm]) for arm in arms]
        known = [own[np.isfinite(own)] for own in values]
        means = np.array([own.mean() if len(own) else 0.0 for own in known])
        axis.bar(
            range(len(arms)), means, bottom=bottom, label=key.removeprefix(_FALSE),
            color=("#b2182b", "#ef8a62", "#2166ac", "#bdbdbd")[number % 4],
        )  # fmt: skip
        bottom += means
    for place, own in enumerate(known):
        if not len(own):  # of no kind, then: the recall was not reached
            axis.text(place, 0, "not reached", rotation=90, ha="center", va="bottom")
    axis.set_title("false positives in 100 pictures at recall 0.9")
    axis.legend(fontsize="small")
    _name_arms(axis, arms)


def draw_curves(
    results: Sequence[dict], measures: Mapping[str, tuple[str, int]], path: Path
) -> None:
    """Means over the seeds at each validation, in a band from the least to the most."""
    keys = ("words/AP50", "words/AP75", "pool_cls", "pool_loc")
    figure = Figure(figsize=(16, 4), layout="constrained")
    for axis, key in zip(figure.subplots(1, len(keys)), keys):
        for place, arm in enumerate(_first_seeds(results)):
            own = [r for r in results if r["arm"] == arm]
            values = np.array([r[key] for r in own])
            axis.plot(own[0]["steps"], values.mean(0), ".-", color=f"C{place}", label=arm)
            if len(own) > 1:
                band = values.min(0), values.max(0)
                axis.fill_between(own[0]["steps"], *band, color=f"C{place}", alpha=0.12)
        axis.set(title=measures[key][0], xlabel="step")
        if key.startswith("pool"):
            axis.set_yscale("log")
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=100)


def _name_arms(axis: Axes, arms: list[str]) -> None:
    axis.set_xticks(range(len(arms)), arms, rotation=30, ha="right", fontsize="small")
    axis.grid(alpha=0.3, axis="y")


def _first_seeds(results: Sequence[dict]) -> dict[str, int]:
    """The samplers in their order, each with its first seed."""
    seeds: dict[str, int] = {}
    for result in results:
        seeds.setdefault(result["arm"], result["seed"])
    return seeds
