"""The log that is kept beside results: what stays of it, and how long the training took."""

from __future__ import annotations

import importlib
import json

import cv2
import pytest


@pytest.fixture
def tool(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("compact_log")


def train_row(step: int, loss: float, time: float = 2.0) -> dict:
    row = {"base_lr": 1.0, "lr": 0.5, "data_time": 0.1, "grad_norm": 1.0, "loss": loss}
    return row | {"loss_region": loss / 2, "time": time, "iter": step, "step": step}


def val_row(step: int, hmean: float) -> dict:
    return {"icdar/hmean": hmean, "data_time": 0.1, "time": 0.2, "step": step}


def written_val_row(hmean: float) -> dict:
    """As MMEngine writes it: without the iteration."""
    return val_row(0, hmean)


def write(folder, name: str, rows: list[dict]) -> None:
    path = folder / name / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_was_done_twice_counts_once(tool, tmp_path):
    first = [train_row(20, 4.0), train_row(40, 3.0), written_val_row(0.5), train_row(60, 9.0)]
    write(tmp_path, "20260101_000000", first)
    write(tmp_path, "20260101_000001", [])
    write(tmp_path, "20260102_000000", [train_row(60, 2.0, 5.0), written_val_row(0.6)])
    rows = tool.read_runs(tmp_path)
    assert [(row["step"], row.get("loss")) for row in rows] == [
        (20, 4.0), (40, 3.0), (40, None), (60, 2.0), (60, None),
    ]  # fmt: skip
    assert tool.hours(rows) == pytest.approx((40 * 2 + 20 * 5) / 3600)


def test_a_run_that_ends_before_it_logs_an_iteration_takes_nothing_away(tool, tmp_path):
    first = [train_row(20, 4.0), train_row(40, 3.0), written_val_row(0.5)]
    write(tmp_path, "20260101_000000", first)
    write(tmp_path, "20260102_000000", [written_val_row(0.6)])
    write(tmp_path, "20260103_000000", [written_val_row(0.7), train_row(60, 2.0)])
    assert [(row["step"], row.get("icdar/hmean")) for row in tool.read_runs(tmp_path)] == [
        (20, None), (40, None), (40, 0.5), (40, 0.6), (40, 0.7), (60, None),
    ]  # fmt: skip


def test_stretches_have_means_and_validations_stay(tool):
    rows = [train_row(20 * n, float(n)) for n in range(1, 6)]
    rows.insert(3, val_row(60, 0.123456))
    found = tool.condensed(rows, 2)
    common = {"lr": 0.5, "grad_norm": 1.0, "time": 2.0}
    assert found == [
        {"iter": 60, **common, "loss": 2.0, "loss_region": 1.0},
        {"iter": 60, "icdar/hmean": 0.1235},
        {"iter": 100, **common, "loss": 4.5, "loss_region": 2.25},
    ]


def test_what_is_logged_now_and_then_has_the_mean_of_its_rows(tool):
    rows = [train_row(20, 1.0), train_row(40, 1.0) | {"pseudo_confidence": 0.5}]
    rows += [train_row(60, 1.0) | {"pseudo_confidence": 0.7}, train_row(80, 1.0)]
    assert tool.condensed(rows, 1)[0]["pseudo_confidence"] == 0.6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_json(tool, value):
    (row,) = tool.condensed([train_row(20, 1.0) | {"grad_norm": value}], 1)
    assert row["grad_norm"] is None
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_from_folders_to_file_and_picture(tool, tmp_path, monkeypatch, capsys):
    rows = [train_row(20, 4.0), train_row(40, 3.0), written_val_row(0.5)]
    write(tmp_path / "strong", "20260101_000000", rows)
    write(tmp_path / "weak", "20260101_000000", [train_row(20, 1.0)])
    out, png = tmp_path / "logs" / "log.jsonl", tmp_path / "curves.png"
    folders = [str(tmp_path / name) for name in ("strong", "weak")]
    command = ["compact_log.py", *folders, "--out", str(out), "--plot", str(png)]
    monkeypatch.setattr("sys.argv", command)
    tool.main()
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[0] == {"config": "strong", "iterations": 40, "hours": 0.02}
    assert [line.get("iter") for line in lines] == [None, 20, 40, 40, None, 20]
    assert lines[4]["config"] == "weak"
    assert "strong: 40 iterations, 0.02 hours" in capsys.readouterr().out
    image = cv2.imread(str(png))
    assert image.std() > 10


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "no training was logged"), ('{"step": 1}\nnothing\n', r"scalars\.json:2: no line")],
)
def test_folders_without_a_training(tool, tmp_path, content, message):
    path = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        tool.read_runs(tmp_path)
