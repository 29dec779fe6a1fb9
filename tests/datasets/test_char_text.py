"""Annotation files and image files, whole and broken."""

from __future__ import annotations

import json
import logging
from collections import Counter

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from mmtextplug.datasets import char_text
from mmtextplug.datasets.char_text import CharTextDataset

QUADS = [[2, 3, 7, 3, 7, 9, 2, 9], [7, 3, 12, 3, 12, 9, 7, 9]]
GOOD = {"polygon": [2, 3, 12, 3, 12, 9, 2, 9], "text": "ab", "chars": QUADS, "ignore": False}
LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadCharAnnotations"}]


@pytest.fixture(autouse=True)
def mmocr_scope():
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


@pytest.fixture
def log(monkeypatch):
    """Every line logged, with its level."""
    lines: list[tuple[int, str]] = []
    monkeypatch.setattr(
        char_text,
        "print_log",
        lambda message, logger=None, level=logging.INFO: lines.append((level, message)),
    )
    return lines


def write_image(path, value=100, shape=(20, 30, 3)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full(shape, value, np.uint8))


def entry(name: str, *instances, **more) -> dict:
    return dict(img_path=name, height=20, width=30, instances=list(instances), **more)


def write(tmp_path, data_list, metainfo=None) -> None:
    content = {"metainfo": metainfo or {}, "data_list": data_list}
    (tmp_path / "ann.json").write_text(json.dumps(content), encoding="utf-8")


def dataset(tmp_path, **kwargs) -> CharTextDataset:
    cfg = {
        "type": "CharTextDataset",
        "data_root": str(tmp_path),
        "ann_file": "ann.json",
        "pipeline": LOAD,
    }
    return DATASETS.build({**cfg, **kwargs})


# --- annotation files --------------------------------------------------------------------------


def test_a_good_file(tmp_path, log):
    write_image(tmp_path / "img" / "a.png", 50)
    write_image(tmp_path / "img" / "b.png", 60)
    word = {"bbox": [1, 1, 9, 9], "ignore": True}
    write(
        tmp_path,
        [entry("a.png", GOOD, word), entry("b.png")],
        metainfo={"dataset_type": "TextDetDataset", "source": "made here"},
    )
    data = dataset(tmp_path, data_prefix={"img_path": "img"})
    assert len(data) == 2
    assert data.metainfo["task_name"] == "textdet"
    assert data.metainfo["source"] == "made here"
    assert log == []
    first = data[0]
    assert (first["img"] == 50).all()
    assert first["gt_texts"] == ["ab", None]
    np.testing.assert_array_equal(first["gt_chars"][0], np.reshape(QUADS, (2, 4, 2)))
    assert first["gt_chars"][1] is None
    assert first["gt_ignored"].tolist() == [False, True]
    assert data[1]["gt_polygons"] == []


def test_mmocrs_word_level_file_works_unchanged(tmp_path):
    write_image(tmp_path / "a.png")
    instance = {"polygon": [2, 3, 12, 3, 12, 9, 2, 9], "bbox": [2, 3, 12, 9], "bbox_label": 0,
                    "ignore": False, "text": "word"}  # fmt: skip
    write(
        tmp_path,
        [entry("a.png", instance, seg_map="gt.txt")],
        {"category": [{"id": 0, "name": "text"}]},
    )
    sample = dataset(tmp_path)[0]
    assert sample["gt_chars"] == [None]
    assert sample["gt_texts"] == ["word"]


def test_every_fault_is_counted_and_named(tmp_path, log):
    write(
        tmp_path,
        [
            entry("a.png", GOOD, {"polygon": [1, 2, 3, 4]}, {"bbox": [1, 1, 1, 9]}),
            entry("b.png", dict(GOOD, text="abc"), {"bbox": [100, 1, 110, 9]}),
            entry("c.png", {"polygon": [float("nan")] * 8}, {"text": "lost"}, dict(GOOD, text=7)),
            {"instances": []},
            {"img_path": 5, "instances": []},
            {"img_path": "d.png"},
            {"img_path": "e.png", "instances": {}},
            {"img_path": "f.png", "instances": [GOOD, "word"]},
            "g.png",
            entry("h.png", GOOD, {"bbox": [1, 1, 1, 5]}),
        ],
    )
    data = dataset(tmp_path, pipeline=[])
    assert [data.get_data_info(i)["img_path"][-5:] for i in range(len(data))] == [
        "a.png", "b.png", "c.png", "h.png"
    ]  # fmt: skip
    # Faulty words are left out; one with faulty characters stays.
    assert [len(data.get_data_info(i)["instances"]) for i in range(4)] == [1, 1, 1, 1]
    summary = log[-1][1]
    expected = {
        "entry without 'img_path'": 3,
        "entry without a list 'instances'": 2,
        "instance is no dict": 1,
        "polygon has no area": 2,
        "polygon has fewer than 3 points": 1,
        "polygon is outside of the image": 1,
        "polygon has a NaN or infinite coordinate": 1,
        "polygon and bbox are no lists of numbers": 1,
        "number of chars differs from the visible characters of the text": 1,
        "text is no string": 1,
    }
    for fault, count in expected.items():
        assert f"{count} x {fault}" in summary
    assert f"ann.json: {sum(expected.values())} faults" in summary
    assert all(level == logging.WARNING for level, _ in log)
    lines = "\n".join(line for _, line in log[:-1])
    assert "a.png, instances[1]: polygon has fewer than 3 points" in lines
    assert "data_list[3]: entry without 'img_path'" in lines
    assert len(log) == sum(expected.values()) + 1


def test_examples_are_few_however_many_the_faults(tmp_path, log):
    write(tmp_path, [entry("a.png", GOOD, *[{"bbox": [1, 1, 1, 9]}] * 500)])
    dataset(tmp_path, pipeline=[])
    assert len(log) == char_text._EXAMPLES + 1
    assert "500 x polygon has no area" in log[-1][1]


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ({}, 2), ({"height": 20}, 2), ({"width": 30}, 2),
        ({"height": "20", "width": "30"}, 2), ({"height": None, "width": None}, 2),
        ({"height": 20, "width": 30}, 1),
    ],
)  # fmt: skip
def test_sizes_are_used_where_they_are_numbers(tmp_path, size, kept):
    far = {"bbox": [100, 100, 110, 110]}
    write(tmp_path, [dict(img_path="a.png", instances=[GOOD, far], **size)])
    assert len(dataset(tmp_path, pipeline=[]).get_data_info(0)["instances"]) == kept


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "cannot be read as JSON"),
        (b'{"data_list": [', "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        (b"[]", "field 'data_list' is missing"),
        (b"3", "field 'data_list' is missing"),
        (b'{"images": []}', "field 'data_list' is missing"),
        (b'{"data_list": {}}', "field 'data_list' is missing"),
        (b'{"data_list": []}', "no usable image.*data_list is empty"),
        (b'{"data_list": [{}, {}]}', "no usable image.*entry without 'img_path'"),
        (b'{"metainfo": [1], "data_list": []}', "no usable image|metainfo"),
    ],
)
def test_files_of_no_use(tmp_path, content, match):
    (tmp_path / "ann.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"ann.json: .*{match}|ann.json: {match}") as caught:
        dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_file_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ann\.json: no such annotation file.*data_root"):
        dataset(tmp_path)
    (tmp_path / "ann.json").mkdir()
    with pytest.raises(ValueError, match=r"ann\.json: cannot be read"):
        dataset(tmp_path)


# --- image files -------------------------------------------------------------------------------


def broken_images(folder) -> list[str]:
    """One file of each kind that cannot be read, and their names."""
    (folder / "text.png").write_bytes(b"no image at all")
    (folder / "empty.png").write_bytes(b"")
    write_image(folder / "whole.jpg")
    head = (folder / "whole.jpg").read_bytes()[:30]
    (folder / "head.jpg").write_bytes(head)
    return ["text.png", "empty.png", "head.jpg", "missing.png"]


@pytest.mark.parametrize("loader", ["LoadImageFromFile", "mmcv.LoadImageFromFile"])
def test_unreadable_images_are_replaced_counted_and_reported_while_training(tmp_path, log, loader):
    bad = broken_images(tmp_path)
    write_image(tmp_path / "good.png", 70)
    write(tmp_path, [entry(name, GOOD) for name in [*bad, "good.png"]])
    data = dataset(tmp_path, pipeline=[{"type": loader}, LOAD[1]])
    assert len(data) == 5
    np.random.seed(0)
    lines = []
    for index in range(len(bad)):
        before = int(data.unreadable)
        log.clear()
        assert (data[index]["img"] == 70).all()
        assert int(data.unreadable) > before
        lines += log
    fault = dict.fromkeys(bad, "image file cannot be read") | {
        "missing.png": "image file is missing"
    }
    for name in bad:
        # Once each, however often it is drawn.
        (line,) = [line for _, line in lines if f"{name}: " in line]
        assert f"{name}: skipped, {fault[name]}; " in line
    assert all(level == logging.WARNING for level, _ in lines)
    assert "1 skipped so far" in lines[0][1]


def test_skipped_images_of_several_workers_are_counted_together(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    write_image(tmp_path / "good.png", 70)
    write(tmp_path, [entry(name, GOOD) for name in ["bad.png", "good.png", "bad.png", "good.png"]])
    data = dataset(tmp_path)
    # Each worker gets one bad image, and finds a good one sooner or later.
    loader = DataLoader(data, batch_size=2, num_workers=2, collate_fn=list,
                        multiprocessing_context="fork")  # fmt: skip
    assert sum(len(batch) for batch in loader) == 4
    assert int(data.unreadable) >= 2


def test_in_test_mode_bad_images_are_left_out_from_the_start(tmp_path, log):
    bad = broken_images(tmp_path)
    write_image(tmp_path / "good.png", 70)
    write(tmp_path, [entry(name, GOOD) for name in [*bad, "good.png"]])
    data = dataset(tmp_path, test_mode=True)
    remaining = [data.get_data_info(i)["img_path"].rsplit("/", 1)[-1] for i in range(len(data))]
    assert remaining == ["good.png"]
    faults = Counter(line.rsplit(": ", 1)[-1] for _, line in log[:-1])
    assert faults == {"image file is missing": 1, "image file cannot be read": 3}


@pytest.mark.parametrize("part", [30, 0.5, 0.98])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("backend", ["cv2", "pillow"])
def test_a_file_that_is_cut_off_never_stops_training(tmp_path, log, part, suffix, backend):
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    bad = tmp_path / f"bad.{suffix}"
    assert cv2.imwrite(str(bad), noise)
    content = bad.read_bytes()
    bad.write_bytes(content[: part if part > 1 else int(part * len(content))])
    write_image(tmp_path / "good.png", 70)
    write(tmp_path, [entry(bad.name, GOOD), entry("good.png", GOOD)])
    loader = {"type": "LoadImageFromFile", "imdecode_backend": backend}
    data = dataset(tmp_path, pipeline=[loader, LOAD[1]])
    np.random.seed(0)
    image = data[0]["img"]
    if int(data.unreadable):
        assert (image == 70).all()
        assert "bad." in log[0][1]
        assert len(log) == 1
    else:  # OpenCV's decoder is content with a part, and gives it
        assert backend == "cv2"
        assert image.shape == noise.shape
    # Evaluation leaves the file out, whatever the loader makes of it.
    tested = dataset(tmp_path, pipeline=[loader, LOAD[1]], test_mode=True)
    assert len(tested) == 1
    assert (tested[0]["img"] == 70).all()
    assert "1 x image file cannot be read" in log[-1][1]


def test_a_part_that_opencv_reads_does_not_make_a_file_whole(tmp_path, monkeypatch):
    write_image(tmp_path / "bad.jpg", shape=(64, 64, 3))
    content = (tmp_path / "bad.jpg").read_bytes()
    (tmp_path / "bad.jpg").write_bytes(content[: len(content) * 4 // 5])
    write_image(tmp_path / "good.png", 70)
    write(tmp_path, [entry("bad.jpg", GOOD), entry("good.png", GOOD)])
    monkeypatch.setattr(char_text.cv2, "imread", lambda path: np.zeros((64, 64, 3), np.uint8))
    data = dataset(tmp_path, pipeline=[strict_load])
    np.random.seed(0)
    assert data[0]["img_path"].endswith("good.png")
    assert int(data.unreadable) >= 1


def strict_load(results):
    with Image.open(results["img_path"]) as image:
        image.load()
    return results


def test_an_image_that_only_pil_can_read_is_skipped(tmp_path, monkeypatch):
    for name in ("bad.png", "good.png"):
        write_image(tmp_path / name)
    write(tmp_path, [entry("bad.png", GOOD), entry("good.png", GOOD)])

    def load(results):
        assert results["img_path"].endswith("good.png")
        return results

    monkeypatch.setattr(char_text.cv2, "imread", lambda path: None)
    data = dataset(tmp_path, pipeline=[load])
    np.random.seed(0)
    assert data[0]["img_path"].endswith("good.png")
    with pytest.raises(
        ValueError, match=r"bad\.png: image file cannot be read by OpenCV\. Replace"
    ):
        dataset(tmp_path, pipeline=[load], test_mode=True)[0]


def test_images_too_large_for_pil_are_named(tmp_path, log, monkeypatch):
    write_image(tmp_path / "huge.png")
    write_image(tmp_path / "good.png", shape=(4, 5, 3))
    write(tmp_path, [entry("huge.png", GOOD), entry("good.png", GOOD)])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 30 // 2 - 1)
    assert len(dataset(tmp_path, test_mode=True)) == 1
    assert log[0][1].endswith(
        "huge.png: image has more than 598 pixels, the limit of PIL.Image.MAX_IMAGE_PIXELS"
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_no_image_at_all_while_training(tmp_path, log, lazy):
    bad = broken_images(tmp_path)
    write(tmp_path, [entry(name, GOOD) for name in bad])
    data = dataset(tmp_path, max_refetch=99, lazy_init=lazy)
    np.random.seed(0)
    expected = (
        r"ann\.json: no usable sample in 100 tries: 4 of 4 image files cannot be read "
        r"\(100 skipped so far\)\. Check data_root"
    )
    with pytest.raises(ValueError, match=expected):
        data[0]
    assert len(log) == len(bad)


def test_in_test_mode_an_image_that_breaks_later_stops_the_run(tmp_path):
    write_image(tmp_path / "a.png")
    write(tmp_path, [entry("a.png", GOOD)])
    data = dataset(tmp_path, test_mode=True)
    (tmp_path / "a.png").write_bytes(b"gone bad")
    with pytest.raises(
        ValueError, match=r"a\.png: image file cannot be read\. Replace or remove it"
    ):
        data[0]


def test_all_bad_in_test_mode(tmp_path):
    write(tmp_path, [entry("a.png", GOOD), entry("b.png", GOOD)])
    with pytest.raises(ValueError, match=r"no usable image in it \(image file is missing\)"):
        dataset(tmp_path, test_mode=True)
    # The check can be asked for, and done without.
    with pytest.raises(ValueError, match="image file is missing"):
        dataset(tmp_path, check_images=True)
    assert len(dataset(tmp_path, test_mode=True, check_images=False)) == 2


def test_errors_that_are_not_about_the_file_are_not_hidden(tmp_path):
    write_image(tmp_path / "a.png")
    write(tmp_path, [entry("a.png", GOOD)])

    class Broken:
        def __call__(self, results):
            raise AssertionError("a defect of a transform")

    data = dataset(tmp_path)
    data.pipeline.transforms.append(Broken())
    with pytest.raises(AssertionError, match="a defect of a transform"):
        data[0]


@pytest.mark.parametrize("shape", [(1, 1, 3), (20, 30), (20, 30, 4)])
def test_images_of_every_form_become_three_channels(tmp_path, shape):
    write_image(tmp_path / "a.png", shape=shape)
    write(tmp_path, [entry("a.png", GOOD)])
    assert dataset(tmp_path)[0]["img"].shape == (*shape[:2], 3)


def test_sixteen_bit_images(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30), 30000, np.uint16))
    write(tmp_path, [entry("a.png", GOOD)])
    image = dataset(tmp_path)[0]["img"]
    assert image.dtype == np.uint8
    assert abs(int(image[0, 0, 0]) - 117) <= 1
