"""The converter of KITTI's labels: what it writes, says and refuses; what MMDetection reads."""

from __future__ import annotations

import importlib
import json

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmtextplug import launch

PAPER = ["Car", "Pedestrian", "Cyclist", "Truck", "Van", "Tram", "Misc"]
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


@pytest.fixture
def kitti_config(repository):
    name = "faster-rcnn_r50_fpn_s-ohem_80k_kitti12.py"
    return Config.fromfile(repository / "configs" / "faster_rcnn" / name)


def read_from(folder):
    """Settings of a data set that reads what `convert` wrote."""
    return dict(data_root=str(folder), ann_file="out/kitti.json", data_prefix=dict(img=""))


def build(settings):
    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build(settings)


def convert(tool, folder, *arguments):
    out = folder / "out" / "kitti.json"
    images, labels = (str(folder / name) for name in ("image_2", "label_2"))
    tool.main(["--images", images, "--annotations", labels, "--out", str(out), *arguments])
    return json.loads(out.read_text(encoding="utf-8"))


def rows(printed):
    """The last table printed as a list of (title, number)."""
    found = []
    for text in printed.split("kitti.json:\n")[-1].splitlines():
        title, number = text[:62].strip(), text[62:].split()[0]
        found.append((title, int(number.replace(",", ""))))
    return found


def test_writes_and_counts_as_the_benchmark(tool, folder, capsys):
    content = convert(tool, folder, "--categories", "benchmark")
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


def test_writes_and_counts_as_the_paper(tool, folder, capsys):
    content = convert(tool, folder)
    assert content == convert(tool, folder, "--categories", "paper")
    assert [category["name"] for category in content["categories"]] == PAPER
    assert [category["id"] for category in content["categories"]] == [1, 2, 3, 4, 5, 6, 7]
    keys = ("image_id", "category_id", "bbox", "iscrowd")
    assert [[a[key] for key in keys] for a in content["annotations"]] == [
        [1, 1, [10, 20, 30, 15], 0],
        [1, 4, [0, 0, 9, 9], 0],
        *([1, number, [1, 2, 2, 2], 1] for number in range(1, 8)),
        [2, 6, [5, 5, 45, 45], 0],
        [3, 3, [60, 30, 20, 20], 0],
        [3, 2, [1, 1, 8, 8], 1],
    ]
    found = rows(capsys.readouterr().out)
    assert found[:2] == [("photos", 3), ("without objects", 0)]
    counts = [("Car", 1, 1), ("Pedestrian", 0, 2), ("Cyclist", 1, 1), ("Truck", 1, 1)]
    counts += [("Van", 0, 1), ("Tram", 1, 1), ("Misc", 0, 1)]
    expected = []
    for name, objects, ignored in counts:
        expected += [(name, objects), ("regions to ignore", ignored)]
    assert found[2:16] == expected
    assert found[16] == ("objects of other types, left out", 0)


def test_mmdetection_reads_it_and_knows_what_to_ignore(tool, folder, kitti_config):
    convert(tool, folder, "--root", str(folder))
    settings = kitti_config.val_dataloader.dataset
    settings.update(read_from(folder), pipeline=[])
    dataset = build(settings)
    assert list(dataset.metainfo["classes"]) == PAPER
    assert len(dataset) == 3
    assert dataset[0]["img_path"] == str(folder / "image_2" / "000000.png")
    found = [
        [(i["bbox_label"], i["bbox"], i["ignore_flag"]) for i in dataset[index]["instances"]]
        for index in range(3)
    ]
    cared, truck = (0, [10, 20, 40, 35], 0), (3, [0, 0, 9, 9], 0)
    assert found == [
        [cared, truck, *((label, [1, 2, 3, 4], 1) for label in range(7))],
        [(5, [5, 5, 50, 50], 0)],
        [(2, [60, 30, 80, 50], 0), (1, [1, 1, 9, 9], 1)],
    ]


def test_training_keeps_images_without_objects_and_every_image_its_size(tool, folder, kitti_config):
    for number, text in {0: "", 1: line("DontCare", 1, 2, 30, 40)}.items():
        (folder / "label_2" / f"{number:06}.txt").write_text(text)
    convert(tool, folder)
    settings = kitti_config.train_dataloader.dataset
    settings.update(read_from(folder), data_prefix=dict(img="image_2/"))
    dataset = build(settings)
    assert len(dataset) == 3
    packed = [dataset[index] for index in range(3)]
    assert [tuple(item["inputs"].shape) for item in packed] == [(3, 60, 80)] * 3
    samples = [item["data_samples"] for item in packed]
    assert [sample.scale_factor for sample in samples] == [(1, 1)] * 3
    assert [len(sample.gt_instances) for sample in samples] == [0, 0, 1]
    assert [len(sample.ignored_instances) for sample in samples] == [0, 7, 1]
    settings.update(filter_cfg=dict(filter_empty_gt=True))
    assert len(build(settings)) == 2  # as MMDetection would have it


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
    assert {item["image_id"] for item in content["annotations"]} == {1, 2}
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
        (lambda f: rewrite(f, "bad\n"), f"no {', '.join(PAPER)} could be read"),
        (lambda f: rewrite(f, line("Person_sitting", 1, 1, 9, 9)), "Tram, Misc could be read"),
        (lambda f: rewrite(f, ""), "Tram, Misc could be read"),
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


def test_vans_alone_are_objects_of_the_paper_only(tool, folder, capsys):
    rewrite(folder, line("Van", 1, 1, 9, 9))
    with pytest.raises(SystemExit):
        launch.run(lambda: convert(tool, folder, "--categories", "benchmark"))
    assert "no Car, Pedestrian, Cyclist could be read" in capsys.readouterr().err
    found = [(a["category_id"], a["iscrowd"]) for a in convert(tool, folder)["annotations"]]
    assert found == [(5, 0)] * 4
