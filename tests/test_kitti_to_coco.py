"""The converter of KITTI's labels: what it writes, says and refuses; what MMDetection reads."""

from __future__ import annotations

import importlib
import json

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmtextplug import launch

REST = "1.50 1.60 3.70 -2.70 1.74 46.70 -1.59"


def line(kind, *box):
    return f"{kind} 0.00 0 -1.58 {' '.join(map(str, box))} {REST}\n"


@pytest.fixture
def tool(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "tools" / "datasets"))
    return importlib.import_module("kitti_to_coco")


@pytest.fixture
def folder(tmp_path):
    """Images 0 to 4 of 80 x 60 pixels with labels for 0, 1 (no object), 2, 3 (bad) and 9."""
    for name in ("image_2", "label_2"):
        (tmp_path / name).mkdir()
    for number in range(5):
        Image.new("RGB", (80, 60)).save(tmp_path / "image_2" / f"{number:06}.png")
    content = {
        0: line("Car", 10, 20, 40, 35) + line("Truck", 0, 0, 9, 9) + line("DontCare", 1, 2, 3, 4),
        1: line("Tram", 5, 5, 50, 50),
        2: line("Cyclist", 60, 30, 99, 50) + line("Person_sitting", 1, 1, 9, 9) + "bad\n",
        3: "bad\nworse\n",
        9: line("Car", 1, 1, 9, 9),
    }
    for number, text in content.items():
        (tmp_path / "label_2" / f"{number:06}.txt").write_text(text)
    return tmp_path


def convert(tool, folder, *arguments):
    out = folder / "out" / "kitti.json"
    images, labels = (str(folder / name) for name in ("image_2", "label_2"))
    tool.main(["--images", images, "--annotations", labels, "--out", str(out), *arguments])
    return json.loads(out.read_text(encoding="utf-8"))


def rows(printed):
    """The table as a list of (title, number)."""
    found = []
    for text in printed.split("kitti.json:\n")[1].splitlines():
        title, number = text[:62].strip(), text[62:].split()[0]
        found.append((title, int(number.replace(",", ""))))
    return found


def test_writes_and_counts(tool, folder, capsys):
    content = convert(tool, folder)
    assert content["categories"] == [
        {"id": 1, "name": "Car"},
        {"id": 2, "name": "Pedestrian"},
        {"id": 3, "name": "Cyclist"},
    ]
    assert content["images"] == [
        {"id": 1, "file_name": "000000.png", "height": 60, "width": 80},
        {"id": 2, "file_name": "000001.png", "height": 60, "width": 80},
        {"id": 3, "file_name": "000002.png", "height": 60, "width": 80},
    ]
    keys = ("id", "image_id", "category_id", "bbox", "area", "iscrowd")
    assert [[a[key] for key in keys] for a in content["annotations"]] == [
        [1, 1, 1, [10, 20, 30, 15], 450, 0],
        [2, 1, 1, [1, 2, 2, 2], 4, 1],
        [3, 1, 2, [1, 2, 2, 2], 4, 1],
        [4, 1, 3, [1, 2, 2, 2], 4, 1],
        [5, 3, 3, [60, 30, 20, 20], 400, 0],
        [6, 3, 2, [1, 1, 8, 8], 64, 1],
    ]
    printed = capsys.readouterr().out
    labels = folder / "label_2"
    assert f"{labels / '000002.txt'}:1: box clipped to its image; look" in printed
    assert f"{labels / '000002.txt'}:3: not the 15 fields of a label; they are type" in printed
    assert "000003.txt: photo left out, no object of it can be read; correct" in printed
    assert rows(printed) == [
        ("photos", 3),
        ("without objects", 1),
        ("Car", 1),
        ("regions to ignore", 1),
        ("Pedestrian", 0),
        ("regions to ignore", 2),
        ("Cyclist", 1),
        ("regions to ignore", 1),
        ("objects of other types, left out", 2),
        ("Truck", 1),
        ("Tram", 1),
        ("left out", 4),
        ("not the 15 fields of a label", 3),
        ("photo left out, no object of it can be read", 1),
        ("kept, but to be looked at", 1),
        ("box clipped to its image", 1),
        ("photos without annotation", 1),
        ("annotations without photo", 1),
    ]


def test_mmdetection_reads_it_and_knows_what_to_ignore(tool, folder, repository):
    convert(tool, folder, "--root", str(folder))
    name = "faster-rcnn_r50_fpn_s-ohem_80k_kitti12.py"
    cfg = Config.fromfile(repository / "configs" / "faster_rcnn" / name)
    settings = cfg.val_dataloader.dataset
    settings.update(
        data_root=str(folder), ann_file="out/kitti.json", data_prefix=dict(img=""), pipeline=[]
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(settings)
    assert dataset.metainfo["classes"] == ("Car", "Pedestrian", "Cyclist")
    assert len(dataset) == 3
    assert dataset[0]["img_path"] == str(folder / "image_2" / "000000.png")
    found = [
        [(i["bbox_label"], i["bbox"], i["ignore_flag"]) for i in dataset[index]["instances"]]
        for index in range(3)
    ]
    region = [1, 2, 3, 4]
    assert found == [
        [(0, [10, 20, 40, 35], 0), (0, region, 1), (1, region, 1), (2, region, 1)],
        [],
        [(2, [60, 30, 80, 50], 0), (1, [1, 1, 9, 9], 1)],
    ]


def test_numbers_make_the_split(tool, folder, capsys):
    first = convert(tool, folder, "--numbers", "0-1")
    assert [image["file_name"] for image in first["images"]] == ["000000.png", "000001.png"]
    capsys.readouterr()
    second = convert(tool, folder, "--numbers", "2-6")
    assert [image["file_name"] for image in second["images"]] == ["000002.png"]
    printed = capsys.readouterr().out
    (absent,) = [text for text in printed.splitlines() if "numbers without photo" in text]
    assert absent.split()[-4:] == ["3", "4,", "5,", "6"]  # 2 and 3 have both, if a bad one


def test_damaged_images_are_left_out(tool, folder, capsys):
    (folder / "image_2" / "000000.png").write_bytes(b"no image")
    content = convert(tool, folder)
    assert [image["file_name"] for image in content["images"]] == ["000001.png", "000002.png"]
    assert {item["image_id"] for item in content["annotations"]} == {2}
    assert "000000.png: photo is no image that Pillow can read; replace" in capsys.readouterr().out


def empty(folder, name):
    for path in (folder / name).iterdir():
        path.unlink()


def rewrite(folder, text):
    for path in (folder / "label_2").iterdir():
        path.write_text(text)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: empty(f, "label_2"), "label_2: no .txt file in it"),
        (lambda f: empty(f, "image_2"), "image_2: no photo file in it"),
        (lambda f: (f / "label_2").rename(f / "other"), "No such file or directory"),
        (
            lambda f: [p.rename(p.with_stem(f"x{p.stem}")) for p in (f / "image_2").iterdir()],
            "000123.png needs 000123.txt",
        ),
        (lambda f: rewrite(f, "bad\n"), "no Car, Pedestrian, Cyclist could be read"),
        (lambda f: rewrite(f, line("Van", 1, 1, 9, 9)), "no Car, Pedestrian, Cyclist could"),
        (lambda f: rewrite(f, ""), "no Car, Pedestrian, Cyclist could"),
        (lambda f: (f / "out" / "kitti.json").mkdir(parents=True), "is a folder; name a file"),
    ],
)
def test_nothing_usable_is_one_line_and_exit_status_1(tool, folder, capsys, prepare, message):
    prepare(folder)
    with pytest.raises(SystemExit) as exit_info:
        launch.run(lambda: convert(tool, folder))
    assert exit_info.value.code == 1
    (text,) = capsys.readouterr().err.strip().splitlines()
    assert message in text
    assert not (folder / "out" / "kitti.json").is_file()
