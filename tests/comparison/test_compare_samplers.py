"""The comparison of samplers: what it trains again, what it says and draws."""

from __future__ import annotations

import ast
import json
import math
import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import compare_samplers as tool
import cv2
import numpy as np
import pytest
import sampler_plots
import sampler_training
from matplotlib.figure import Figure
from sampler_probe import KINDS

from mmtextplug.launch import unknown_types

ROOT = Path(tool.__file__).parents[2]


def test_trainings_of_a_seed_differ_in_the_sampler_alone():
    def common(arm: str, seed: int) -> dict:
        cfg = sampler_training.training(arm, seed, 60, "start.pth")
        assert unknown_types(cfg) == []
        assert cfg.load_from == "start.pth"
        assert cfg.custom_hooks[-1] == dict(type="SamplerProbe")
        assert cfg.train_cfg.max_iters == 60 == tool.CHECKS * cfg.train_cfg.val_interval
        assert cfg.train_dataloader.dataset.num_samples == 120
        plain = cfg.to_dict()
        del plain["custom_hooks"], plain["model"]["train_cfg"]["rcnn"]["sampler"]
        del plain["model"]["roi_head"]["type"]
        return plain

    first, *others = [common(arm, 3) for arm in sampler_training.ARMS]
    assert all(other == first for other in others)
    second = common("random", 4)
    # What they begin with has learned from random RoIs of other pictures.
    start = sampler_training.training(tool.START, 3, 60)
    assert start.load_from is None
    assert start.model.train_cfg.rcnn.sampler == sampler_training.ARMS["random"][0]
    seeds = [cfg["train_dataloader"]["dataset"]["seed"] for cfg in (first, second, start)]
    assert seeds[:2] == [3, 4]
    assert seeds[2] > 10**6
    # The pictures that judge are the same for all seeds, and nobody's to train on.
    assert first["val_dataloader"] == second["val_dataloader"] == start.to_dict()["val_dataloader"]
    judges = first["val_dataloader"]["dataset"]
    assert judges["seed"] > 10**6
    assert judges["seed"] != seeds[2]
    assert judges["num_samples"] == 100
    for arm, (sampler, _) in sampler_training.ARMS.items():
        assert sampler["num"] == 32, arm


@pytest.fixture
def trainings(monkeypatch) -> list[dict]:
    """What would have been run; instead there is a checkpoint at once, unless told to fail."""
    calls = []

    def config(*arguments: object) -> SimpleNamespace:
        return SimpleNamespace(pretty_text=repr((arguments, sampler_training._PICTURES)))

    def run(command, **kwargs) -> SimpleNamespace:
        arguments, _ = ast.literal_eval(Path(command[2]).read_text())
        Path(command[2]).write_text("what the Runner makes of it")
        checkpoint = Path(command[-1], f"iter_{arguments[2]}.pth")
        calls.append(dict(command=command, before=checkpoint.exists(), **kwargs))
        failed = Path(command[-1], "fail").exists()
        if not failed:
            checkpoint.touch()
        return SimpleNamespace(returncode=int(failed))

    monkeypatch.setattr(tool, "training", config)
    monkeypatch.setattr(tool, "subprocess", SimpleNamespace(run=run, STDOUT=None))
    return calls


def plan(out: Path, *options: str, arm: str = "ohem", seed: int = 0) -> tool.Training:
    """A training of 12 steps that begins with one of 24."""
    argv = ["--out", str(out), "--iters", "12", "--start-iters", "24", *options]
    args = tool.parse_args(argv)
    return tool.Training(args, arm, seed, tool.Training(args, tool.START, seed))


def test_trained_again_only_if_the_config_is_another(tmp_path, monkeypatch, trainings):
    start, one = plan(tmp_path).start, plan(tmp_path, "--threads", "3")
    assert start.run()
    assert one.run()
    assert not start.run()
    assert not one.run()
    assert len(trainings) == 2
    folder = tmp_path / "ohem/seed0"
    call = trainings[1]
    assert call["command"] == [
        sys.executable, "tools/train.py", str(folder / "config.py"), "--work-dir", str(folder),
    ]  # fmt: skip
    assert call["cwd"] == ROOT
    assert call["env"]["OMP_NUM_THREADS"] == "3"
    paths = call["env"]["PYTHONPATH"].split(os.pathsep)
    assert paths[:2] == [str(ROOT / "tools/analysis"), str(ROOT)]
    assert plan(tmp_path, arm="random").run()
    assert not one.run()
    assert plan(tmp_path, "--iters", "24").run()
    assert one.run()  # the config there is that of 24 steps by now
    monkeypatch.setattr(sampler_training, "_PICTURES", 4)
    assert one.run()
    assert not one.run()
    (folder / "iter_12.pth").unlink()
    assert one.run()
    # An old checkpoint never passes for the new one.
    assert not any(call["before"] for call in trainings)
    assert len(trainings) == 7


def test_trained_again_after_the_start_was(tmp_path, trainings):
    """Also if whatever trained the start was stopped before it came to this one."""
    one = plan(tmp_path)
    one.start.run()
    one.run()
    text = one.start.config.read_text()
    os.utime(one.checkpoint, ns=(0, one.start.checkpoint.stat().st_mtime_ns - 1))
    assert one.run()
    assert one.start.config.read_text() == text
    assert not plan(tmp_path).run()
    other = plan(tmp_path, "--start-iters", "36")
    other.start.run()
    assert other.run()
    assert len(trainings) == 5


def test_what_failed_is_named_and_trained_again(tmp_path, trainings):
    one = plan(tmp_path).start
    one.folder.mkdir(parents=True)
    (one.folder / "fail").touch()
    for _ in range(2):
        with pytest.raises(
            SystemExit, match=r"tools/train\.py failed: see .*/start/seed0/log\.txt"
        ):
            one.run()
    (one.folder / "fail").unlink()
    assert one.run()
    assert not one.run()
    assert len(trainings) == 3


def log(folder: Path, name: str, rows: list[dict]) -> None:
    file = folder / name / "vis_data/scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_results_are_those_of_the_last_log(tmp_path):
    one = plan(tmp_path, seed=5)
    with pytest.raises(SystemExit, match=r"seed5: no validation at step 12 .*remove the folder"):
        one.result()
    first = {"words/AP50": 0.25, "pool_cls": 0.5, "pool_loc": 2.0, "step": 6}
    last = {"words/AP50": 0.75, "pool_cls": 0.25, "words/false_symbols": math.nan, "step": 12}
    log(one.folder, "20260101_120000", [first, dict(last, pool_cls=9.0)])
    log(
        one.folder, "20260101_130000", [dict(loss=1.0, step=1), first, dict(loss=1.0, step=7), last]
    )
    result = one.result()
    assert (result["arm"], result["seed"], result["steps"]) == ("ohem", 5, [6, 12])
    np.testing.assert_equal(result["words/AP50"], [0.25, 0.75])
    np.testing.assert_equal(result["pool_cls"], [0.5, 0.25])
    np.testing.assert_equal(result["pool_loc"], [2.0, math.nan])
    np.testing.assert_equal(result["words/false_symbols"], [math.nan] * 2)
    assert set(result) == {"arm", "seed", "steps", *tool.MEASURES}
    log(one.folder, "20260101_140000", [first])  # was stopped
    with pytest.raises(SystemExit, match="no validation at step 12"):
        one.result()


@pytest.mark.parametrize("option", ["--iters", "--start-iters"])
@pytest.mark.parametrize("steps", ["0", "5", "13"])
def test_steps_that_validations_do_not_divide(option, steps, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args(["--out", "x", option, steps])
    said = capsys.readouterr().err
    assert f"{option} {steps}: needs to be a multiple of {tool.CHECKS}" in said


def result(arm: str, seed: int, **last: float) -> dict:
    """Other values, at the first of two validations, are those that must not count."""
    values = {key: [99.0, last.get(key.rpartition("/")[2], 0.0)] for key in tool.MEASURES}
    return dict(arm=arm, seed=seed, steps=[10, 20], **values)


NAN = math.nan
RESULTS = [
    result("ohem", 0, AP50=0.5, pool_cls=0.02, false_symbols=10, peak_mb=600.4),
    result("s-ohem", 0, AP50=0.6, pool_cls=0.01, false_symbols=NAN, peak_mb=601),
    result("ohem", 1, AP50=0.6, pool_cls=0.04, false_symbols=30, peak_mb=600.4),
    result("s-ohem", 1, AP50=0.9, pool_cls=NAN, false_symbols=NAN, peak_mb=601),
    result("ohem", 2, AP50=0.7, pool_cls=0.06, false_symbols=NAN, peak_mb=600.4),
    result("s-ohem", 2, AP50=0.6, pool_cls=0.02, false_symbols=NAN, peak_mb=601),
]


def cells(markdown: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines()]
    assert set("".join(rows.pop(1))) == {"-"}
    assert len({len(line) for line in markdown.splitlines()}) == 1
    return {row[0]: row[1:] for row in rows}


def test_means_and_deviations_by_hand():
    rows = cells(tool.table(RESULTS))
    assert rows[""] == ["ohem", "s-ohem"]
    # Squares of -0.1, 0.2, -0.1 are 0.06; halved and rooted.
    assert rows["AP50"] == ["0.600 ± 0.100", "0.700 ± 0.173"]
    assert rows["pool L_cls, all proposals"] == [
        "0.0400 ± 0.0200",
        "0.0150 ± 0.0071 (2 of 3 seeds)",
    ]
    assert rows["... symbols"] == ["20.0 ± 14.1 (2 of 3 seeds)", "not reached"]
    assert rows["peak memory, MiB"] == ["600 ± 0", "601 ± 0"]
    assert len(rows) == 1 + len(tool.MEASURES)
    assert cells(tool.table(RESULTS[:1]))["AP50"] == ["0.500"]


def test_differences_at_the_same_seed_by_hand():
    # A seed without the sampler to compare with does not count.
    rows = cells(tool.differences([*RESULTS, result("s-ohem", 3, AP50=9.0)]))
    assert rows["less ohem"] == ["s-ohem"]
    # 0.1, 0.3, -0.1; -0.01, nothing, -0.04.
    assert rows["AP50"] == ["+0.100 ± 0.200"]
    assert rows["pool L_cls, all proposals"] == ["-0.0250 ± 0.0212 (2 of 3 seeds)"]
    assert rows["... symbols"] == ["not reached"]
    assert cells(tool.differences(RESULTS[:2], "s-ohem"))["AP50"] == ["-0.100"]


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Those that were saved, which they are not."""
    kept = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kwargs: kept.append(self))
    return kept


def test_pictures_show_the_numbers_of_the_table(figures, tmp_path):
    sampler_plots.draw_ends(RESULTS, tool.MEASURES, tmp_path / "ends.png")
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes[:2]] == ["AP50", "AP75"]
    drawn = [list(line.get_ydata()) for line in axes[0].get_lines()]
    assert drawn[0] == [0.5, 0.6, 0.7]
    assert drawn[1] == pytest.approx([0.6, 0.6])
    assert drawn[3] == pytest.approx([0.7, 0.7])
    # Bars are means of the seeds that reached the recall; none is not the same as no false ones.
    heights = [bar.get_height() for bar in axes[-1].patches]
    assert heights == pytest.approx([0, 0, 20, 0, 0, 0, 0, 0])
    texts = [(text.get_position(), text.get_text()) for text in axes[-1].texts]
    assert texts == []
    kinds = {f"false_{kind}": NAN for kind in KINDS}
    unreached = [result("ohem", 0, false_symbols=4), result("s-ohem", 0, **kinds)]
    sampler_plots.draw_ends(unreached, tool.MEASURES, tmp_path / "ends.png")
    texts = [(text.get_position(), text.get_text()) for text in figures[1].axes[-1].texts]
    assert texts == [((1, 0), "not reached")]


def test_curves_are_means_in_a_band(figures, tmp_path):
    sampler_plots.draw_curves(RESULTS, tool.MEASURES, tmp_path / "curves.png")
    axes = figures[0].axes
    assert [axis.get_yscale() for axis in axes] == ["linear", "linear", "log", "log"]
    lines = {line.get_label(): line.get_xydata() for line in axes[0].get_lines()}
    np.testing.assert_allclose(lines["ohem"], [[10, 99], [20, 0.6]])
    np.testing.assert_allclose(lines["s-ohem"], [[10, 99], [20, 0.7]])
    corners = axes[0].collections[1].get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 20][:, 1]
    assert (at_end.min(), at_end.max()) == pytest.approx((0.6, 0.9))


def test_strata_are_those_of_the_last_training(figures, tmp_path):
    """Not of one before it, with other settings, in the same folder."""
    mined = dict(alpha=1.0, beta=0.0, gamma=0.0, progress=0.0, ramp=0.0)
    mined |= dict(cls_threshold=1.0, loc_threshold=1.0)
    rows = [
        {"loss": 1.0, "step": step, **{f"mining/{key}": v for key, v in mined.items()}}
        for step in (1, 2, 3, 4)
    ]
    folder = tmp_path / "s-ohem/seed0"
    log(folder, "20260101_130000", rows[:2])
    log(folder, "20260101_120000", rows)
    written = sampler_plots.draw_all(RESULTS, tool.MEASURES, tmp_path)
    assert [path.name for path in written] == ["ends.png", "curves.png", "strata_s-ohem.png"]
    alpha = figures[2].axes[0].get_lines()[0]
    np.testing.assert_array_equal(alpha.get_xydata(), [[1, 1], [2, 1]])


def train_in_a_fork(command, stdout, env, cwd, **kwargs) -> SimpleNamespace:
    """What the command does, without its imports, which take longer than the training."""

    def child() -> None:
        sys.stdout = sys.stderr = stdout
        os.chdir(cwd)
        sys.argv = command[1:]
        runpy.run_path(command[1], run_name="__main__")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return SimpleNamespace(returncode=process.exitcode)


def test_the_whole_comparison(tmp_path, monkeypatch, capsys):
    """Few steps and two pictures to judge by; one of three trainings as a process of its own."""

    def run(command, **kwargs):
        own = "s-ohem-weighted" in command[-1]
        return (subprocess.run if own else train_in_a_fork)(command, **kwargs)

    monkeypatch.setattr(sampler_training, "_PICTURES", 2)
    monkeypatch.setattr(tool, "subprocess", SimpleNamespace(run=run, STDOUT=subprocess.STDOUT))
    arms, steps = ["ohem", "s-ohem-weighted"], tool.CHECKS
    argv = ["--out", str(tmp_path), "--seeds", "3", "--samplers", *arms]
    argv += ["--iters", str(steps), "--start-iters", str(steps)]
    tool.main(argv)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(one["arm"], one["seed"]) for one in results] == [(arm, 3) for arm in arms]
    for one in results:
        values = {key: np.array(one[key]) for key in tool.MEASURES}
        assert one["steps"] == list(range(1, steps + 1))
        assert ((values["words/AP50"] >= values["words/AP75"]) & (values["words/AP75"] >= 0)).all()
        assert (values["words/AP50"] < 0.9).all()
        # Two classes, hardly trained: ln 2 or a little less. Foreground losses: some tenths.
        assert ((values["pool_cls"] > 0.15) & (values["pool_cls"] < 0.9)).all()
        assert ((values["pool_loc"] > 0.2) & (values["pool_loc"] < 5)).all()
        assert ((values["step_ms"] > 1) & (values["step_ms"] < 60_000)).all()
        assert ((values["peak_mb"] > 50) & (np.diff(values["peak_mb"], prepend=0) >= 0)).all()
        false = np.array([one[f"words/false_{kind}"] for kind in KINDS])
        assert np.isnan(false).all(0).tolist() == np.isnan(false).any(0).tolist()
        assert not (false % 50)[np.isfinite(false)].any()  # whole ones of two pictures
    # From the same weights on the same pictures: one step apart they are nearly the same still.
    first = [one["pool_loc"][0] for one in results]
    assert first[0] == pytest.approx(first[1], rel=0.02)
    for arm in arms:
        begun = f"loaded {tmp_path / 'start/seed3' / f'iter_{steps}.pth'}"
        assert begun in (tmp_path / arm / "seed3/log.txt").read_text()
    rows = [
        json.loads(line)
        for line in next(tmp_path.glob("s-ohem-weighted/*/*/*/scalars.json")).open()
    ]
    selected = [row["mining/selected"] for row in rows if "loss" in row]
    assert selected == [64.0] * steps  # 32 of each of two pictures
    text = (tmp_path / "table.md").read_text()
    table, differences = text.strip().split("\n\n")
    for column, one in enumerate(results):
        assert cells(table)["AP50"][column] == f"{one['words/AP50'][-1]:.3f}"
    gap = results[1]["pool_cls"][-1] - results[0]["pool_cls"][-1]
    assert cells(differences)["pool L_cls, all proposals"] == [f"{gap:+.4f}"]
    for name, size in (
        ("ends", (750, 1500)), ("curves", (400, 1600)), ("strata_s-ohem-weighted", (374, 2310)),
    ):  # fmt: skip
        drawn = cv2.imread(str(tmp_path / f"{name}.png"))
        assert drawn.shape[:2] == size
        assert 0.01 < (drawn < 250).any(2).mean() < 0.7
    assert text in capsys.readouterr().out
    # Another time all would be there already, whatever the Runner wrote beside it.
    monkeypatch.delattr(tool, "subprocess")
    args = tool.parse_args(argv)
    start = tool.Training(args, tool.START, 3)
    assert not any(tool.Training(args, arm, 3, start).run() for arm in arms)
