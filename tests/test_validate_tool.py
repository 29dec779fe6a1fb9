"""The tool that validates datasets: what it prints, draws, reports, refuses; its exit status."""

from __future__ import annotations

import importlib
import json
import os

import cv2
import pytest
from PIL import Image

from mmtextplug import launch
from mmtextplug.datasets import annotation_files, findings, image_faults, word_faults

METAINFO = {
    "dataset_type": "TextDetDataset",
    "task_name": "textdet",
    "category": [{"id": 0, "name": "text"}],
}
CONFIG = """
default_scope = 'mmocr'
custom_imports = dict(imports=['mmtextplug'])
root = ''
train_dataloader = dict(dataset=dict(
    type='SeededDataset',
    dataset=dict(type='ConcatDataset', datasets=[
        dict(type='CharTextDataset', data_root=root, ann_file='train.json', pipeline=[]),
        dict(type='GeneratedTextDataset', num_samples=5, size=64, pipeline=[]),
    ])))
val_dataloader = dict(dataset=dict(
    type='CharTextDataset', data_root=root, ann_file='val.json', test_mode=True, pipeline=[]))
"""


@pytest.fixture
def tool(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "datasets"))
    return importlib.import_module("validate")


def word(points=(10, 10, 50, 10, 50, 30, 10, 30), **fields):
    xs, ys = points[::2], points[1::2]
    box = [min(xs), min(ys), max(xs), max(ys)]
    shape = {"polygon": list(points), "bbox": box, "bbox_label": 0}
    return {**shape, "ignore": False, "text": "word"} | fields


REVERSED = word((10, 10, 10, 30, 50, 30, 50, 10))


def write(path, **images):
    """An annotation file of images of 100 x 60 pixels, which are made as well."""
    for name in images:
        Image.new("RGB", (100, 60)).save(path.parent / f"{name}.png")
    entries = [
        {"img_path": f"{name}.png", "height": 60, "width": 100, "instances": words}
        for name, words in images.items()
    ]
    path.write_text(json.dumps({"metainfo": METAINFO, "data_list": entries}))
    return path


def run(tool, *arguments):
    return tool.main([str(argument) for argument in (*arguments, "--workers", 1)])


def lines(capsys):
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def row(printed, title):
    (line,) = [line for line in printed if line.strip().startswith(title + "  ")]
    return line.strip().removeprefix(title).split()


def test_clean_files_give_status_0(tool, tmp_path, capsys):
    path = write(
        tmp_path / "a.json", a=[word(), word((10, 40, 50, 40, 50, 59, 10, 59))], b=[word()]
    )
    assert run(tool, path, "--decode") == 0
    printed = lines(capsys)
    assert "  2 images, 3 words, 0 ignored (0%), 0 characters" in printed
    assert row(printed, "errors") == ["0"]
    assert row(printed, "notes") == ["0"]
    assert row(printed, "words an image") == ["1", "1", "1", "1", "2"]
    assert row(printed, "height in pixels")[-1] == "20"


def test_notes_alone_give_status_0(tool, tmp_path, capsys):
    assert run(tool, write(tmp_path / "a.json", a=[])) == 0
    assert row(lines(capsys), "notes") == ["1"]


def test_errors_give_status_1_and_are_named(tool, tmp_path, capsys):
    path = write(tmp_path / "a.json", a=[word()], b=[REVERSED], c=[word(), REVERSED])
    (tmp_path / "a.png").unlink()
    assert run(tool, path, "--show", 1) == 1
    printed = lines(capsys)
    assert row(printed, "errors") == ["3"]
    assert row(printed, word_faults.REVERSED) == ["2"]
    assert row(printed, image_faults.MISSING) == ["1"]
    assert "      data_list[1].instances[0], b.png, 'word'" in printed
    assert not [line for line in printed if "data_list[2]" in line]


def test_several_files_and_the_folder_of_images(tool, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    first = write(tmp_path / "images" / "a.json", a=[word()]).rename(tmp_path / "a.json")
    second = write(tmp_path / "images" / "b.json", b=[REVERSED]).rename(tmp_path / "b.json")
    assert run(tool, first, second, "--images", tmp_path / "images") == 1
    printed = lines(capsys)
    assert [line for line in printed if line.startswith(str(tmp_path))] == [str(first), str(second)]
    assert [line.split()[-1] for line in printed if line.startswith("  errors")] == ["0", "1"]


def test_one_file_that_is_none_stops_no_other(tool, tmp_path, capsys):
    broken = tmp_path / "broken.json"
    broken.write_text('{"data_list": [')
    path = write(tmp_path / "a.json", a=[word()])
    assert run(tool, broken, path) == 1
    printed = lines(capsys)
    assert row(printed, findings.FILE_BROKEN) == ["1"]
    assert any("it ends too early" in line for line in printed)
    assert "  1 images, 1 words, 0 ignored (0%), 0 characters" in printed


def test_report_holds_everything(tool, tmp_path, capsys):
    path = write(tmp_path / "a.json", a=[REVERSED] * 9, b=[word(text="caf\u00e9 ")])
    report = tmp_path / "new" / "report.json"
    assert run(tool, path, "--report", report, "--show", 0) == 1
    assert os.listdir(report.parent) == ["report.json"]
    content = json.loads(report.read_text())
    (dataset,) = content["datasets"]
    assert dataset["errors"] == 9
    assert dataset["kinds"] == {
        word_faults.REVERSED: 9,
        word_faults.DUPLICATE_WORD: 8,
        word_faults.TEXT_BLANKS: 1,
    }
    assert dataset["counts"] == {"images": 2, "words": 10, "ignored": 0, "characters": 0}
    assert len(content["findings"]) == 18
    assert content["findings"][-1] == {
        "severity": "note",
        "kind": word_faults.TEXT_BLANKS,
        "file": str(path),
        "where": "data_list[1].instances[0]",
        "image": "b.png",
        "detail": "'caf\u00e9 '",
    }
    # Again, and with nothing to say.
    clean = write(tmp_path / "b.json", b=[word()])
    assert run(tool, clean, "--report", report) == 0
    assert json.loads(report.read_text())["findings"] == []


def test_a_report_that_cannot_be_finished_leaves_the_old_one(tool, tmp_path, monkeypatch):
    path = write(tmp_path / "a.json", a=[REVERSED])
    report = tmp_path / "new" / "report.json"
    run(tool, path, "--report", report)
    old = report.read_bytes()
    partly = []

    def fail(source, target):
        partly.append((source.read_bytes(), target))
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            run(tool, path, "--report", report)
    # All of it was there, under another name, which is gone.
    assert partly == [(old, report)]
    assert os.listdir(report.parent) == ["report.json"]
    assert report.read_bytes() == old


def test_pictures(tool, tmp_path, capsys):
    path = write(tmp_path / "a.json", **{f"i{n}": [REVERSED] for n in range(5)}, empty=[])
    assert run(tool, path, "--draw", tmp_path / "drawn", "--number", 2, "--show", 0) == 1
    names = sorted(os.listdir(tmp_path / "drawn"))
    stem = "outline_is_counter_clockwise_the_word_reads_as_in_a_mirror"
    assert names == ["image_has_no_words_0.png", f"{stem}_0.png", f"{stem}_1.png"]
    assert cv2.imread(str(tmp_path / "drawn" / names[1])).shape[1] == 640 + 16
    assert f"{tmp_path / 'drawn'}: 3 drawn" in lines(capsys)


def test_datasets_of_a_config(tool, tmp_path, capsys):
    write(tmp_path / "train.json", a=[word()], b=[REVERSED])
    write(tmp_path / "val.json", b=[word()], c=[word()])
    config = tmp_path / "any.py"
    config.write_text(CONFIG.replace("root = ''", f"root = {str(tmp_path)!r}"))
    assert run(tool, config) == 1
    printed = lines(capsys)
    inner = "train_dataloader.dataset.dataset.datasets"
    assert f"{config}: {inner}[1]: skipped, no annotation file: generated" in printed
    assert f"{tmp_path / 'train.json'} ({inner}[0])" in printed
    assert f"{tmp_path / 'val.json'} (val_dataloader.dataset)" in printed
    assert row(printed, findings.SHARED) == ["1"]
    assert "      data_list[0], b.png, train and val" in printed
    assert row(printed, word_faults.REVERSED) == ["1"]


def test_a_config_without_its_files_gives_one_line(tool, tmp_path, capsys, monkeypatch):
    config = tmp_path / "any.py"
    config.write_text(CONFIG)
    root = str(tmp_path / "data")
    monkeypatch.setattr(
        "sys.argv",
        [
            *("validate.py", str(config), "--cfg-options"),
            f"train_dataloader.dataset.dataset.datasets.0.data_root={root}",
            f"val_dataloader.dataset.data_root={root}",
        ],
    )
    with pytest.raises(SystemExit) as status:
        launch.run(tool.main)
    assert status.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"validate.py: error: {config}: annotation file is missing: ")
    for name, field in (
        ("train", "train_dataloader.dataset.dataset.datasets[0].ann_file"),
        ("val", "val_dataloader.dataset.ann_file"),
    ):
        assert f"{field} {os.path.join(root, name + '.json')!r}" in error
    assert "--cfg-options" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--show", "-1", "a.json"], "--show must be 0 or more"),
        (["--number", "0", "a.json"], "--number"),
        (["--workers", "0", "a.json"], "--workers"),
        (["a.py", "--images", "x"], "--images is for files"),
        (["a.json", "--cfg-options", "a=1"], "--cfg-options is for configs"),
        (["a.json", "--report", "."], "--report .: is a folder"),
        ([], "required"),
    ],
)
def test_misuse_gives_status_2(tool, capsys, arguments, message):
    with pytest.raises(SystemExit) as status:
        tool.main(arguments)
    assert status.value.code == 2
    assert message in capsys.readouterr().err


def test_workers_find_the_same(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(annotation_files, "BATCH", 2)
    path = write(tmp_path / "a.json", **{f"i{n}": [REVERSED, word(ignore=3)] for n in range(7)})
    printed = []
    for workers in (1, 2):
        assert tool.main([str(path), "--workers", str(workers)]) == 1
        printed.append(lines(capsys))
    assert printed[0] == printed[1]
    assert row(printed[0], word_faults.BAD_IGNORE) == ["7"]


def test_as_a_command(tool, tmp_path, capsys, monkeypatch):
    path = write(tmp_path / "a.json", a=[REVERSED])
    clean = write(tmp_path / "b.json", b=[word()])
    for name, status in ((path, 1), (clean, 0), (tmp_path / "absent.json", 1)):
        monkeypatch.setattr("sys.argv", ["validate.py", str(name)])
        with pytest.raises(SystemExit) as end:
            launch.run(tool.main)
        assert end.value.code == status
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == f"validate.py: error: {tmp_path / 'absent.json'}: no such file"
