"""The benchmark of samplers, at the smallest size: every sampler runs, and the figures add up."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from types import ModuleType

import pytest

TIMES = ("sampling ms", "RoI head ms", "step ms")


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("benchmark_samplers")


def rows_of(printed: str) -> dict[str, dict[str, str]]:
    """The cells of a table by the name of the row, then of the column."""
    lines = [line for line in printed.splitlines() if re.search("[│┃]", line)]
    header, *body = ([c.strip() for c in re.split("[│┃]", line)[1:-1]] for line in lines)
    return {cells[0]: dict(zip(header, cells)) for cells in body}


def test_the_table_names_all_samplers_and_its_figures_add_up(tool, capsys):
    tool.main(
        ["--size", "64", "96", "--depth", "18", "--repeat", "1", "--proposals", "30",
         "--images", "1"]
    )  # fmt: skip
    printed = capsys.readouterr().out
    title = re.search(r"1 images?, 30 proposals an image; the rest of a step ([\d,]+) ms", printed)
    rest = float(title[1].replace(",", ""))
    assert rest > 0
    rows = rows_of(printed)
    assert list(rows) == list(tool.SAMPLERS)
    assert {"random 512", "MMDetection's OHEM 512", "RoIOHEM 512, once for all images"} <= set(rows)
    number = {
        name: {column: float(cells[column].replace(",", "")) for column in TIMES}
        for name, cells in rows.items()
    }
    for name, times in number.items():
        assert all(0 < value < math.inf for value in times.values()), name
        # Whole milliseconds above, tenths in the table.
        assert times["step ms"] == pytest.approx(rest + times["RoI head ms"], abs=0.7)
        base = number["random 64" if "64" in name else "random 512"]["step ms"]
        over = float(rows[name]["over random"].rstrip(" %"))
        assert over == pytest.approx(100 * (times["step ms"] / base - 1), abs=0.5)
    assert rows["random 512"]["over random"] == "+0.0 %"


@pytest.mark.parametrize("count", [10, 30])
def test_proposals_and_truths_are_of_the_size_and_lie_in_the_image(tool, count):
    results, samples = tool.proposals_and_truths(count, 2, (64, 96), "cpu")
    assert [len(result) for result in results] == [count] * 2
    for sample in samples:
        x1, y1, x2, y2 = sample.gt_instances.bboxes.unbind(1)
        assert len(x1) == len(sample.gt_instances.labels) == 7
        assert float(min(x1.min(), y1.min())) >= 0
        assert float(x2.max()) <= 96
        assert float(y2.max()) <= 64
        assert bool((x2 > x1).all() & (y2 > y1).all())
