"""The tools that measure DB's targets and losses, on small pages."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely


@pytest.fixture
def tool(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    monkeypatch.setenv("COLUMNS", "200")
    return importlib.import_module


def test_pages_hold_words_of_the_kinds_they_say(tool):
    pages = tool("db_pages")
    words = pages.quads(30, 400)
    assert len(words) == 30
    assert {w.shape for w in words} == {(4, 2)}
    arcs = pages.curved(12, 400)
    assert {w.shape for w in arcs} == {(14, 2)}
    outlines = [shapely.Polygon(w) for w in words + arcs]
    assert all(o.is_valid and o.area > 50 for o in outlines)
    # Curved: smaller than what encloses them.
    assert all(o.area < 0.93 * o.convex_hull.area for o in outlines[30:])


def test_the_benchmark_of_targets_compares_all_pages(tool, capsys):
    tool("benchmark_db_targets").main(["--sizes", "64", "--repeats", "1", "--batch", "1"])
    table = capsys.readouterr().out
    for page in ("5 words", "20 words", "60 words", "150 words", "20 curved"):
        (row,) = re.findall(rf"{page}, 64 px.*", table)
        theirs, ours, ratio = (float(n) for n in re.findall(r"([\d.]+)x?\s", row)[2:5])
        assert ratio == pytest.approx(theirs / ours, rel=0.1, abs=0.1)


def test_the_benchmark_of_training_runs_both_losses(tool, capsys):
    benchmark = tool("benchmark_db_training")
    benchmark.main(["--size", "64", "--batch", "1", "--repeats", "1", "--words", "2",
                    "--device", "cpu"])  # fmt: skip
    table = capsys.readouterr().out
    assert "1 images of 64 px, 2 words, cpu" in table
    for name in ("MMOCR's", "ours"):
        (row,) = re.findall(rf"{name} .*", table)
        step, _, targets, share = (float(n) for n in re.findall(r"([\d.]+)%?\s", row))
        assert 0 < targets < step
        assert share == pytest.approx(100 * targets / step, abs=10)


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    folder = tmp_path / "gts"
    folder.mkdir()
    first = "\ufeff10,10,110,12,110,40,10,38,one, two\n200,50,260,90,250,120,190,80,###\n"
    (folder / "a.txt").write_text(first, encoding="utf-8")
    curve = "10,60,60,20,140,20,190,60,170,90,130,60,70,60,30,90,Word\n300,300,301,300,301,302,x\n"
    (folder / "b.txt").write_text(curve)
    (folder / "c.txt").write_text("\n")
    return folder


def test_targets_are_compared_with_mmocrs(tool, annotations, capsys):
    compare = tool("compare_db_targets")
    words, ignored = compare.read_words(annotations / "a.txt")
    assert [w.tolist() for w in words] == [
        [[10, 10], [110, 12], [110, 40], [10, 38]],
        [[200, 50], [260, 90], [250, 120], [190, 80]],
    ]
    assert ignored == [False, True]
    compare.main([str(annotations), "--size", "200"])
    table = capsys.readouterr().out
    assert "gts: 3 images at 200 px" in table
    assert re.search(r"words\s+│ 4, of which 1 ignored, 1 (small|no area)", table)
    (overlap,) = re.findall(r"IoU of kernels, ours and MMOCR's\s+│ ([\d.]+)", table)
    assert 0.8 < float(overlap) < 1
    (exact,) = re.findall(r"threshold, ours - exact\s+│ mean ([\d.]+), greatest ([\d.]+)", table)
    assert float(exact[0]) == float(exact[1]) == 0
    again = re.findall(
        r"words \d+ to \d+ px high, from kernels\s+│ MMOCR's ([\d.]+), ours ([\d.]+), "
        r"ours, no margin ([\d.]+)", table
    )  # fmt: skip
    assert again
    for theirs, ours, bare in again:
        assert 0.4 < float(bare) < float(ours) <= 1
        assert 0.4 < float(theirs) <= 1
    (shared,) = re.findall(r"shared rule - exact\s+│ mean [\d.]+, greatest ([\d.]+)", table)
    assert float(shared) > 0


def test_the_shared_rule_errs_by_a_root_of_two_at_most(tool):
    compare = tool("compare_db_targets")
    square = np.array([[0, 0], [40, 0], [40, 40], [0, 40]], float)
    # Half an edge above its middle: on the circle, where the rule changes.
    x, y = np.array([20.0, 20.0, 20.0]), np.array([-20.1, -19.9, -5.0])
    rule, exact = (f(x, y, square) for f in (compare.shared_rule, compare.exact_rule))
    assert exact.tolist() == pytest.approx([20.1, 19.9, 5.0])
    assert rule.tolist() == pytest.approx([np.hypot(20, 20.1), 19.9, 5.0])


def test_a_folder_without_annotations_is_named(tool, tmp_path, capsys):
    with pytest.raises(SystemExit):
        tool("compare_db_targets").main([str(tmp_path)])
    assert "no .txt files" in capsys.readouterr().err


def test_losses_are_compared_by_training(tool, tmp_path, capsys):
    rng = np.random.default_rng(0)
    entries = []
    for number in range(3):
        image = rng.integers(0, 255, (80, 100, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        word = {"polygon": [10, 20, 80, 20, 80, 50, 10, 50], "text": "ab", "ignore": False,
                "bbox": [10, 20, 80, 50], "bbox_label": 0}  # fmt: skip
        entries.append(
            {"img_path": f"{number}.png", "height": 80, "width": 100, "instances": [word]}
        )
    for name, part in (("train", entries[:2]), ("val", entries[2:])):
        content = {"metainfo": {"dataset_type": "TextDetDataset"}, "data_list": part}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    flags = ["--images", str(tmp_path), "--train", str(tmp_path / "train.json"), "--val",
             str(tmp_path / "val.json"), "--out", str(out), "--seeds", "0", "--steps", "2",
             "--size", "64", "--batch", "1", "--short-side", "64", "--threads", "1"]  # fmt: skip
    compare = tool("compare_db_losses")
    compare.main(flags)
    found = {loss: json.loads((out / f"{loss}-seed0/result.json").read_text())
             for loss in ("mmocr", "released")}  # fmt: skip
    for result in found.values():
        assert 0 <= result["hmean"] <= 1
        assert all(len(result[part]) == 2 for part in compare.PARTS)
    # The same weights and pictures to begin with: the first losses are near.
    for part in compare.PARTS:
        assert found["mmocr"][part][0] == pytest.approx(found["released"][part][0], rel=0.1)
    assert cv2.imread(str(out / "losses.png")).shape[1] > 1000
    # What is done is not repeated.
    (out / "mmocr-seed0/result.json").write_text(json.dumps({**found["mmocr"], "hmean": 0.125}))
    capsys.readouterr()
    compare.main(flags)
    assert "0.1250" in capsys.readouterr().out
