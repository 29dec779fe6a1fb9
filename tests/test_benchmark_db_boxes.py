"""The benchmark of DB's post-processing on small maps: its words agree, and its figures add up."""

from __future__ import annotations

import importlib
import math
import re
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData


@pytest.fixture
def tool(repository, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("benchmark_db_boxes")


def rows_of(printed: str) -> list[dict[str, str]]:
    lines = [line for line in printed.splitlines() if re.search("[│┃]", line)]
    header, *body = ([c.strip() for c in re.split("[│┃]", line)[1:-1]] for line in lines)
    return [dict(zip(header, cells)) for cells in body]


def test_words_agree_and_figures_add_up(tool, capsys):
    assert tool.main(["--words", "3", "12", "--size", "160", "256", "--repeats", "1"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [(row["map"], row["kind"]) for row in rows] == [
        (name, kind) for name in ("3 words", "12 words", "noise") for kind in ("quad", "poly")
    ]
    for row in rows:
        theirs, ours = float(row["MMOCR ms"]), float(row["ours ms"])
        assert 0 < min(theirs, ours) < math.inf
        # Tenths in the table.
        ratio = float(row["ratio"].rstrip("x"))
        lowest, highest = (theirs - 0.06) / (ours + 0.06), (theirs + 0.06) / max(ours - 0.06, 0.01)
        assert lowest - 0.06 <= ratio <= highest + 0.06
        if row["map"] != "noise":
            assert row["MMOCR's words"] == row["ours"] == row["map"].split()[0]
            assert float(row["mean IoU"]) >= 0.95
            assert float(row["score difference"]) <= 1e-6


def test_agreement_by_hand(tool):
    def words(*boxes: tuple[float, float, float, float, float]) -> InstanceData:
        data = InstanceData()
        data.polygons = [np.array([a, b, c, b, c, d, a, d]) for a, b, c, d, _ in boxes]
        data.scores = torch.tensor([box[4] for box in boxes])
        return data

    theirs = words((0, 0, 10, 10, 0.5), (20, 0, 30, 10, 0.7), (50, 0, 60, 10, 0.9))
    ours = words((20, 0, 30, 8, 0.75), (0, 0, 10, 10, 0.5))
    share, mean, gap = tool.agreement(theirs, ours)
    assert share == pytest.approx(1 / 3)
    assert mean == pytest.approx((1 + 0.8 + 0) / 3)
    assert gap == pytest.approx(0.05)
    assert tool.agreement(theirs, words())[:2] == (0, 0)
    assert all(math.isnan(value) for value in tool.agreement(words(), ours))


@pytest.mark.parametrize("count", [1, 7, 40])
def test_a_drawn_map_has_so_many_words(tool, count):
    prob = tool.draw_words(count, (300, 500), seed=3)
    assert prob.shape == (300, 500)
    assert prob.dtype == np.float32
    assert cv2.connectedComponents((prob > 0.3).astype(np.uint8))[0] - 1 == count
