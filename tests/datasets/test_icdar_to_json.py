"""The converter of word annotations: what it writes, says, refuses, and leaves alone."""

from __future__ import annotations

import argparse
import importlib
import json
import os

import pytest
from mmengine.registry import DATASETS
from PIL import Image

from mmtextplug import launch

QUAD = "10,20,60,20,60,40,10,40,"


@pytest.fixture
def tool(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "datasets"))
    return importlib.import_module("icdar_to_json")


@pytest.fixture
def folder(tmp_path):
    """Photos 1 to 4 of 80 x 60 pixels with annotations for 1, 2 (without words), 3 and 5."""
    for name in ("images", "gts"):
        (tmp_path / name).mkdir()
    for number in range(1, 5):
        Image.new("RGB", (80, 60)).save(tmp_path / "images" / f"img_{number}.jpg")
    lines = {
        1: f"\ufeff{QUAD}one, two\r\n{QUAD}###\r\n",
        2: "",
        3: f'{QUAD}"3"\n1,2,3,4,5,short\n{QUAD[:-1]}\n10,40,60,40,60,20,10,20,back\n',
        5: f"{QUAD}five\n",
    }
    for number, content in lines.items():
        path = tmp_path / "gts" / f"gt_img_{number}.txt"
        path.write_bytes(content.encode())
    return tmp_path


def convert(tool, folder, *arguments):
    out = folder / "out" / "words.json"
    images, gts = (str(folder / name) for name in ("images", "gts"))
    tool.main(["--images", images, "--annotations", gts, "--out", str(out), *arguments])
    return json.loads(out.read_text(encoding="utf-8"))


def row(printed, title):
    """The number, and names if any, in a row of the table."""
    lines = [line.strip() for line in printed.splitlines()]
    (line,) = [line for line in lines if line.startswith(title + "  ")]
    return line.removeprefix(title).split(maxsplit=1)


def test_writes_what_datasets_read(tool, folder, capsys):
    content = convert(tool, folder)
    assert content["metainfo"] == {
        "dataset_type": "TextDetDataset",
        "task_name": "textdet",
        "category": [{"id": 0, "name": "text"}],
    }
    assert [(e["img_path"], e["height"], e["width"]) for e in content["data_list"]] == [
        ("img_1.jpg", 60, 80),
        ("img_2.jpg", 60, 80),
        ("img_3.jpg", 60, 80),
    ]
    texts = [[(i["text"], i["ignore"]) for i in e["instances"]] for e in content["data_list"]]
    assert texts == [
        [("one, two", False), ("###", True)],
        [],
        [('"3"', False), ("back", False)],
    ]
    assert content["data_list"][0]["instances"][0] == {
        "polygon": [10, 20, 60, 20, 60, 40, 10, 40],
        "bbox": [10, 20, 60, 40],
        "bbox_label": 0,
        "ignore": False,
        "text": "one, two",
    }
    printed = capsys.readouterr().out
    gt_3 = folder / "gts" / "gt_img_3.txt"
    assert f"{gt_3}:2: does not fit icdar2015 (x1,y1,x2,y2,x3,y3,x4,y4,text); correct" in printed
    assert f"{gt_3}:4: reversed outline, first point chosen anew; look at" in printed
    assert "words.json: format icdar2015 (x1,y1,x2,y2,x3,y3,x4,y4,text), recognised\n" in printed
    assert row(printed, "photos") == ["3"]
    assert row(printed, "without words") == ["1"]
    assert row(printed, "words") == ["4"]
    assert row(printed, "ignored") == ["1"]
    assert row(printed, "left out") == ["2"]
    assert row(printed, "kept, but to be looked at") == ["1"]
    assert row(printed, "photos without annotation") == ["1", "img_4.jpg"]
    assert row(printed, "annotations without photo") == ["1", "gt_img_5.txt"]

    for kind in ("CharTextDataset", "mmocr.OCRDataset"):
        dataset = DATASETS.build(
            dict(
                type=kind,
                ann_file=str(folder / "out" / "words.json"),
                data_prefix=dict(img_path=str(folder / "images")),
                pipeline=[],
            )
        )
        assert [len(dataset[i]["instances"]) for i in range(len(dataset))] == [2, 0, 2]
        assert dataset[0]["img_path"] == str(folder / "images" / "img_1.jpg")


def test_numbers_select_a_split_and_say_what_is_missing(tool, folder, capsys):
    content = convert(tool, folder, "--numbers", "2-3,7-11")
    assert [entry["img_path"] for entry in content["data_list"]] == ["img_2.jpg", "img_3.jpg"]
    printed = capsys.readouterr().out
    assert row(printed, "photos without annotation") == ["0"]
    assert row(printed, "numbers without photo and annotation") == ["5", "7, 8, 9, ..."]


@pytest.mark.parametrize(
    ("text", "numbers"), [("1-3", [1, 2, 3]), ("5", [5]), ("1-2, 9 - 9", [1, 2, 9])]
)
def test_parse_numbers(tool, text, numbers):
    assert [number for part in tool.parse_numbers(text) for number in part] == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-5", "1,,2", "1-2-3"])
def test_parse_numbers_refuses(tool, text):
    with pytest.raises(argparse.ArgumentTypeError, match="no number and no range"):
        tool.parse_numbers(text)


def test_paths_are_relative_to_the_root(tool, folder):
    content = convert(tool, folder, "--root", str(folder), "--format", "polygon")
    assert content["data_list"][0]["img_path"] == "images/img_1.jpg"
    with pytest.raises(ValueError, match=r"--root .*gts: --images .*images does not lie in it"):
        convert(tool, folder, "--root", str(folder / "gts"))


def test_photos_whose_words_are_unknown_are_left_out(tool, folder, capsys):
    (folder / "gts" / "gt_img_1.txt").write_bytes(f"{QUAD}caf\xe9\n".encode("latin-1"))
    (folder / "gts" / "gt_img_2.txt").write_text("nothing that fits\n")
    (folder / "gts" / "gt_img_4.txt").write_text(f"{QUAD}four\n")
    (folder / "images" / "img_4.jpg").write_bytes(b"no image")
    content = convert(tool, folder)
    assert [entry["img_path"] for entry in content["data_list"]] == ["img_3.jpg"]
    printed = capsys.readouterr().out
    assert "gt_img_1.txt:1: file is not UTF-8; convert" in printed
    assert "gt_img_2.txt: photo left out, no word of it can be read; correct its lines" in printed
    assert "img_4.jpg: photo is no image that Pillow can read; replace or remove it" in printed
    assert row(printed, "photo left out, no word of it can be read") == ["2"]


def test_many_faults_of_a_kind_are_counted_not_listed(tool, folder, capsys):
    (folder / "gts" / "gt_img_1.txt").write_text(f"{QUAD}good\n" + "bad line\n" * 30)
    convert(tool, folder, "--show", "2")
    printed = capsys.readouterr().out
    assert printed.count("gt_img_1.txt:") == 2
    assert "... and 30 more: does not fit icdar2015" in printed  # two more are in another file
    assert "--show 32 names all" in printed


def test_refuses_to_guess_a_format(tool, folder):
    (folder / "gts" / "gt_img_1.txt").write_text('1 2 30 40 "one"\n')
    with pytest.raises(ValueError, match=r"several formats: 2 of icdar2015 .*--format"):
        convert(tool, folder)
    content = convert(tool, folder, "--format", "icdar2013")
    assert [len(entry["instances"]) for entry in content["data_list"]] == [1, 0]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: [p.unlink() for p in (f / "gts").iterdir()], "gts: no .txt file in it"),
        (lambda f: [p.unlink() for p in (f / "images").iterdir()], "images: no photo file in it"),
        (lambda f: (f / "gts").rename(f / "other"), "No such file or directory"),
        (
            lambda f: [p.rename(p.with_stem(f"x{p.stem}")) for p in (f / "images").iterdir()],
            "has its annotation in",
        ),
        (
            lambda f: [p.write_text("1,2,3\n") for p in (f / "gts").iterdir()],
            "no line fits one of the known formats",
        ),
        (
            lambda f: [
                p.write_text("5,5,5,5,5,5,5,5,dot\n") if "3" in p.name else p.unlink()
                for p in (f / "gts").iterdir()
            ],
            "no word could be read",
        ),
        (lambda f: (f / "out" / "words.json").mkdir(parents=True), "is a folder; name a file"),
    ],
)
def test_nothing_usable_is_one_line_and_exit_status_1(tool, folder, capsys, prepare, message):
    prepare(folder)
    with pytest.raises(SystemExit) as exit_info:
        launch.run(lambda: convert(tool, folder))
    assert exit_info.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (folder / "out" / "words.json").is_file()


def test_numbers_that_nothing_has(tool, folder):
    with pytest.raises(ValueError, match="no file has a number that --numbers selects"):
        convert(tool, folder, "--numbers", "100-200")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_the_old_file(tool, folder, monkeypatch, error):
    old = convert(tool, folder)

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(type(error)):
            convert(tool, folder, "--numbers", "1")
    out = folder / "out"
    assert [path.name for path in out.iterdir()] == ["words.json"]
    assert json.loads((out / "words.json").read_text(encoding="utf-8")) == old
    assert len(convert(tool, folder, "--numbers", "1")["data_list"]) == 1
