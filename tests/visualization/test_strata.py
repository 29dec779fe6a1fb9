"""Curves of S-OHEM: what is read from logs of trainings, and what of it is drawn."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from mmtextplug.visualization.strata import plot_strata, read_mining_log

NUMBERS = (1, 2, 3, 4)
TOOL = Path(__file__).resolve().parents[2] / "tools" / "analysis" / "plot_strata.py"


def mined(step: int, name: str = "mining", **changes: float) -> dict:
    """What the hook logs of one sampler at one step: the ramp begins at step 30."""
    progress = max(step - 30, 0) / 40
    values = dict(alpha=1.0, beta=1.9 * progress, gamma=0.0, progress=progress)
    values |= dict(ramp=float(step >= 30), cls_threshold=8 / step, loc_threshold=4 / step)
    values |= dict(candidates=400.0, duplicates=4.0 * step, foreground=step / 100)
    values |= {f"population_s{i}": 100.0 * i for i in NUMBERS}
    values |= {f"selected_s{i}": float(10 - 2 * i) for i in NUMBERS}
    return {f"{name}/{key}": value for key, value in {**values, **changes}.items()}


def row(step: int, **changes: float) -> dict:
    return dict(loss=3 / step, loss_cls=2 / step, loss_bbox=1 / step, lr=0.1, step=step) | changes


def write(file: Path, rows: list[dict], written_at: int = 1000) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.utime(file, (written_at, written_at))
    return file


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that were saved, which they are as well."""
    figures, save = [], Figure.savefig

    def keep(self, *args, **kwargs):
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_reads_steps_and_values(tmp_path):
    rows = [row(step) | mined(step) for step in (10, 20, 30, 40)]
    # Validations have steps but no loss; not every step has been logged by the hook.
    rows[1:1] = [{"words/AP50": 0.5, "mining/alpha": 7.0, "step": 15}, row(17)]
    write(tmp_path / "20260101_000000/vis_data/scalars.json", rows)
    logs = read_mining_log(str(tmp_path))
    assert list(logs) == ["mining"]
    log = logs["mining"]
    np.testing.assert_array_equal(log["alpha"], [[10, 20, 30, 40], [1, 1, 1, 1]])
    np.testing.assert_allclose(log["beta"][1], [0, 0, 0, 0.475])
    np.testing.assert_array_equal(log["population_s3"][1], [300] * 4)
    np.testing.assert_array_equal(log["loss_cls"][0], [10, 17, 20, 30, 40])
    np.testing.assert_allclose(log["loss_bbox"][1], [1 / 10, 1 / 17, 1 / 20, 1 / 30, 1 / 40])
    assert "loss" not in log
    assert "lr" not in log


def test_stages_of_a_cascade_have_their_own_losses(tmp_path):
    rows = [
        {"loss": 9.0, "step": step, "s0.loss_cls": 1.0 * step, "s1.loss_cls": 2.0 * step,
         "s1.loss_bbox": 3.0 * step, **mined(step, "mining_s0"), **mined(step, "mining_s1", beta=5),
         "mining_s2/candidates": 400.0}
        for step in (1, 2)
    ]  # fmt: skip
    write(tmp_path / "scalars.json", rows)
    logs = read_mining_log(tmp_path)
    # What has no weights is plain OHEM.
    assert list(logs) == ["mining_s0", "mining_s1"]
    np.testing.assert_array_equal(logs["mining_s0"]["loss_cls"], [[1, 2], [1, 2]])
    np.testing.assert_array_equal(logs["mining_s1"]["loss_cls"], [[1, 2], [2, 4]])
    np.testing.assert_array_equal(logs["mining_s1"]["loss_bbox"], [[1, 2], [3, 6]])
    np.testing.assert_array_equal(logs["mining_s1"]["beta"][1], [5, 5])
    assert "loss_bbox" not in logs["mining_s0"]


@pytest.mark.parametrize("later", ["a", "z"])
def test_of_resumed_trainings_the_later_log_wins(tmp_path, later):
    """Whatever the folders' names are."""
    first = [row(step) | mined(step, beta=1.0) for step in (10, 20, 30)]
    second = [row(step) | mined(step, beta=2.0) for step in (20, 30, 40)]
    write(tmp_path / "m/vis_data/scalars.json", first, written_at=1000)
    write(tmp_path / later / "vis_data/scalars.json", second, written_at=2000)
    beta = read_mining_log(tmp_path)["mining"]["beta"]
    np.testing.assert_array_equal(beta, [[10, 20, 30, 40], [1, 2, 2, 2]])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"loss": 0.3, "step', "line 2 is no JSON .*remove it if a crash cut it off"),
        ("", "line 2 is no JSON"),
        ("\0\0\0", "line 2 is no JSON"),
        ("12", "line 2 is no JSON object"),
        ('["loss", "step"]', "line 2 is no JSON object"),
    ],
)
def test_broken_lines_are_named(tmp_path, line, problem):
    file = write(tmp_path / "scalars.json", [row(1) | mined(1)])
    file.write_text(file.read_text() + line + "\n" + json.dumps(row(2)) + "\n")
    with pytest.raises(ValueError, match=rf"scalars\.json: {problem}") as caught:
        read_mining_log(tmp_path)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(1), row(2)],
        [row(1) | {"mining/candidates": 400.0, "mining/foreground": 0.2}],  # RoIOHEMSampler
        [{"words/AP50": 0.5, "step": 1, "mining/alpha": 1.0}],
    ],
)
def test_a_log_without_s_ohem(tmp_path, rows):
    file = write(tmp_path / "scalars.json", rows)
    with pytest.raises(ValueError, match="no mining/alpha in it: train with Strat") as caught:
        plot_strata(tmp_path, tmp_path / "strata.png")
    assert str(caught.value).startswith(str(file))
    assert not (tmp_path / "strata.png").exists()


def test_no_log_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no scalars\.json in it: give the work folder"):
        read_mining_log(tmp_path)


def lines(axis) -> dict[str, np.ndarray]:
    """What is drawn as a line, ``(2, n)`` by its label."""
    return {line.get_label(): np.array(line.get_data(), float) for line in axis.get_lines()}


def test_what_is_drawn(tmp_path, drawn):
    steps = [10, 20, 30, 50, 70]
    write(tmp_path / "scalars.json", [row(step) | mined(step) for step in steps])
    plot_strata(tmp_path, tmp_path / "strata.png")
    assert (tmp_path / "strata.png").read_bytes().startswith(b"\x89PNG")
    weights, populations, selections, shares, losses = drawn[0].axes
    assert weights.get_ylabel() == "mining"
    weights_of = lines(weights)
    np.testing.assert_allclose(weights_of["alpha"], [steps, [1] * 5])
    np.testing.assert_allclose(weights_of["beta"], [steps, [0, 0, 0, 0.95, 1.9]])
    np.testing.assert_allclose(weights_of["progress"], [steps, [0, 0, 0, 0.5, 1]])
    assert "gamma" not in weights_of  # no mask loss
    shares_of = lines(shares)
    np.testing.assert_allclose(
        shares_of["duplicates among candidates"], [steps, np.array(steps) / 100]
    )
    np.testing.assert_allclose(
        shares_of["foreground among selected"], [steps, np.array(steps) / 100]
    )
    losses_of = lines(losses)
    assert losses.get_yscale() == "log"
    np.testing.assert_allclose(losses_of["pool: mean L_cls"], [steps, 8 / np.array(steps)])
    np.testing.assert_allclose(
        losses_of["pool: mean L_loc of foreground"], [steps, 4 / np.array(steps)]
    )
    np.testing.assert_allclose(losses_of["trained: L_cls"], [steps, 2 / np.array(steps)])
    np.testing.assert_allclose(losses_of["trained: L_loc"], [steps, 1 / np.array(steps)])
    # Shares of 100, 200, 300, 400, and of 8, 6, 4, 2, one on top of the other.
    for axis, tops in ((populations, [0.1, 0.3, 0.6, 1.0]), (selections, [0.4, 0.7, 0.9, 1.0])):
        np.testing.assert_allclose([edges(part)[1] for part in axis.collections], tops)
        bottoms = [edges(part)[0] for part in axis.collections]
        np.testing.assert_allclose(bottoms, [0, *tops[:3]])
    # The ramp has begun at 30, in every panel.
    for axis in drawn[0].axes:
        marks = [line for line in axis.get_lines() if line.get_linestyle() == "--"]
        assert [list(mark.get_xdata()) for mark in marks] == [[30, 30]]


def edges(part) -> tuple[float, float]:
    """Bottom and top of an area that is level."""
    heights = part.get_paths()[0].vertices[:, 1]
    assert len(np.unique(heights.round(9))) == 2
    return heights.min(), heights.max()


def test_rows_are_stages_and_categories_have_weights(tmp_path, drawn):
    rows = [
        {**row(step), **mined(step, "mining_s0", gamma=0.5), **mined(step, "mining_s1")}
        for step in (10, 20)  # the ramp never begins
    ]
    for each in rows:
        each.pop("mining_s1/beta")
        each |= {"mining_s1/beta_0": 2.0, "mining_s1/beta_1": 3.0}
    write(tmp_path / "scalars.json", rows)
    plot_strata(tmp_path, tmp_path / "strata.png")
    axes = drawn[0].axes
    assert [axis.get_ylabel() for axis in axes[::5]] == ["mining_s0", "mining_s1"]
    assert len(axes) == 10
    np.testing.assert_array_equal(lines(axes[0])["gamma"][1], [0.5, 0.5])
    np.testing.assert_array_equal(lines(axes[5])["beta_1"][1], [3, 3])
    assert set(lines(axes[5])) == {"alpha", "beta_0", "beta_1", "progress"}
    assert not [line for axis in axes for line in axis.get_lines() if line.get_linestyle() == "--"]


def test_one_step_without_candidates(tmp_path, drawn):
    nothing = {f"population_s{i}": 0.0 for i in NUMBERS} | {f"selected_s{i}": 0.0 for i in NUMBERS}
    write(tmp_path / "scalars.json", [row(1) | mined(1, **nothing)])
    plot_strata(tmp_path, tmp_path / "strata.png")
    areas = [part.get_paths()[0].vertices[:, 1] for part in drawn[0].axes[1].collections]
    np.testing.assert_array_equal(np.concatenate(areas), 0)
    assert len(areas) == 4


def test_the_tool_draws_and_names_what_is_wrong(tmp_path, capsys):
    write(tmp_path / "scalars.json", [row(10, loss_mask=0.5) | mined(10)])
    main = runpy.run_path(str(TOOL))["main"]
    main([str(tmp_path), "--out", str(tmp_path / "strata.png")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "strata.png")
    assert (tmp_path / "strata.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match=r"plot_strata: .*no scalars\.json in it"):
        main([str(tmp_path / "missing"), "--out", str(tmp_path / "a.png")])
