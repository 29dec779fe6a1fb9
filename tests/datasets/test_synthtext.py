"""SynthText from its index: samples, subsets, workers, copies, and files that are not whole."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import DataLoader

from mmtextplug.datasets import char_text, synthtext
from mmtextplug.datasets.synthtext import SynthTextDataset, SynthTextIndex
from mmtextplug.datasets.synthtext_index import ARRAYS, MANIFEST, Chunk, write_index

LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadCharAnnotations"}]


@pytest.fixture(autouse=True)
def mmocr_scope():
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


@pytest.fixture
def log(monkeypatch):
    """Every line logged."""
    lines: list[str] = []
    monkeypatch.setattr(
        char_text,
        "print_log",
        lambda message, logger=None, level=logging.INFO: lines.append(message),
    )
    return lines


def box(left: float, top: float, width: float, height: float) -> np.ndarray:
    right, bottom = left + width, top + height
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def make(folder: Path, count: int = 5, pictures: bool = True) -> Path:
    """An index of images n with a word of n + 1 letters and one without characters, "unknown".

    The grey value of image n is 10 n.
    """
    for n in range(count if pictures else 0):
        (folder / "img").mkdir(parents=True, exist_ok=True)
        path = folder / "img" / f"{n}.png"
        assert cv2.imwrite(str(path), np.full((40, 80 + n, 3), 10 * n, np.uint8))
    chunk = Chunk(
        names=[f"{n}.png" for n in range(count)],
        sizes=np.array([[40, 80 + n] for n in range(count)]),
        word_counts=np.full(count, 2),
        texts=[text for n in range(count) for text in ("abcdefgh"[: n + 1], "unknown")],
        words=np.stack([w for n in range(count) for w in (box(2, 3, 9 * n + 9, 10),
                                                          box(2, 20, 60, 10.5))]),
        char_counts=np.array([k for n in range(count) for k in (n + 1, 0)]),
        chars=np.stack([box(2 + 9 * k, 3, 8, 10) for n in range(count) for k in range(n + 1)]),
    )  # fmt: skip
    write_index(folder / "index", [chunk])
    return folder


def dataset(folder: Path, **kwargs) -> SynthTextDataset:
    cfg = {
        "type": "SynthTextDataset",
        "index": "index",
        "data_root": str(folder),
        "data_prefix": {"img_path": "img"},
        "pipeline": LOAD,
    }
    return DATASETS.build({**cfg, **kwargs})


def lengths(data) -> list[int]:
    """The letters of the first word of each sample, by which `make`'s images are told apart."""
    return [len(data.get_data_info(i)["instances"][0]["text"]) for i in range(len(data))]


# --- samples -----------------------------------------------------------------------------------


def test_a_sample(tmp_path):
    data = dataset(make(tmp_path))
    assert len(data) == 5
    assert data.metainfo == char_text.CharTextDataset.METAINFO
    info = data.get_data_info(1)
    assert info["img_path"] == str(tmp_path / "img" / "1.png")
    assert (info["height"], info["width"], info["sample_idx"]) == (40, 81, 1)
    first, second = info["instances"]
    assert first["text"] == "ab"
    assert first["polygon"].tolist() == [2, 3, 20, 3, 20, 13, 2, 13]
    assert first["bbox"].tolist() == [2, 3, 20, 13]
    assert first["chars"].tolist() == [[2, 3, 10, 3, 10, 13, 2, 13], [11, 3, 19, 3, 19, 13, 11, 13]]
    assert (first["ignore"], first["bbox_label"]) == (False, 0)
    assert second["polygon"].tolist() == [2, 20, 62, 20, 62, 30.5, 2, 30.5]
    assert "chars" not in second

    sample = data[1]
    assert (sample["img"] == 10).all()
    assert sample["gt_texts"] == ["ab", "unknown"]
    np.testing.assert_array_equal(
        sample["gt_chars"][0], np.stack([box(2, 3, 8, 10), box(11, 3, 8, 10)])
    )
    assert sample["gt_chars"][1] is None
    assert sample["gt_ignored"].tolist() == [False, False]


def test_nobody_writes_into_the_index(tmp_path):
    data = dataset(make(tmp_path))
    info = data.get_data_info(2)
    for instance in info["instances"]:
        instance["polygon"][:] = -1
        instance.get("chars", np.empty(0))[:] = -1
    again = data.get_data_info(2)["instances"][0]
    assert again["polygon"][0] == 2
    assert again["chars"][0, 0] == 2


def test_the_whole_pipeline_of_training(tmp_path):
    pipeline = [*LOAD, {"type": "RandomTextWarp", "size": 32}, {"type": "PackCharInputs"}]
    packed = dataset(make(tmp_path), pipeline=pipeline)[4]
    assert packed["inputs"].shape == (3, 32, 32)
    instances = packed["data_samples"].gt_instances
    assert len(instances.polygons) == len(instances.chars) > 0


def test_mmocrs_own_annotations(tmp_path):
    load = {
        "type": "LoadOCRAnnotations", "with_polygon": True, "with_bbox": True, "with_label": True
    }  # fmt: skip
    sample = dataset(make(tmp_path), pipeline=[LOAD[0], load])[0]
    np.testing.assert_array_equal(sample["gt_polygons"][0], box(2, 3, 9, 10).reshape(8))
    assert sample["gt_bboxes"].tolist() == [[2, 3, 11, 13], [2, 20, 62, 30.5]]


def test_positions_from_the_end_and_beyond(tmp_path):
    data = dataset(make(tmp_path))
    info = data.get_data_info(-2)
    assert (len(info["instances"][0]["text"]), info["sample_idx"]) == (4, 3)
    for index in (5, -6):
        with pytest.raises(IndexError):
            data.get_data_info(index)


# --- subsets and wrappers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        (None, [1, 2, 3, 4, 5]), (2, [1, 2]), (0, []), (99, [1, 2, 3, 4, 5]), (-2, [4, 5]),
        ([3, 0, 0], [4, 1, 1]), ([-1], [5]), ([], []), (np.array([2, 1]), [3, 2]),
        (range(1, 3), [2, 3]), (np.int64(3), [1, 2, 3]),
    ],
)  # fmt: skip
def test_indices(tmp_path, indices, expected):
    folder = make(tmp_path, pictures=False)
    assert lengths(dataset(folder, indices=indices)) == expected
    whole = dataset(folder)
    part = whole.get_subset(5 if indices is None else indices)
    assert lengths(part) == expected
    assert lengths(whole) == [1, 2, 3, 4, 5]
    assert part.unreadable.is_shared()
    whole.get_subset_(5 if indices is None else indices)
    assert lengths(whole) == expected


def test_subsets_of_subsets(tmp_path):
    data = dataset(make(tmp_path, pictures=False), indices=[4, 2, 0, 1])
    assert lengths(data.get_subset([1, 3])) == [3, 2]
    assert lengths(data.get_subset(-1)) == [2]


@pytest.mark.parametrize("wrong", [[5], [0, -6]])
def test_indices_out_of_range(tmp_path, wrong):
    with pytest.raises(ValueError, match=rf"indices: {wrong[-1]} is out of range, there are 5"):
        dataset(make(tmp_path, pictures=False), indices=wrong)


def test_opened_when_needed(tmp_path):
    data = dataset(tmp_path, lazy_init=True)  # nothing there yet
    assert data.metainfo["task_name"] == "textdet"
    make(tmp_path)
    assert len(data) == 5
    assert (data[3]["img"] == 30).all()


def test_wrappers(tmp_path):
    one = dict(make_config(make(tmp_path / "one", 3)), pipeline=LOAD)
    two = dict(make_config(make(tmp_path / "two", 2)), pipeline=LOAD)
    both = DATASETS.build({"type": "ConcatDataset", "datasets": [one, two]})
    assert [both[i]["img"][0, 0, 0] for i in range(len(both))] == [0, 10, 20, 0, 10]
    assert [both.get_data_info(i)["width"] for i in range(5)] == [80, 81, 82, 80, 81]
    again = DATASETS.build({"type": "RepeatDataset", "dataset": one, "times": 2})
    assert [again[i]["img"][0, 0, 0] for i in range(len(again))] == [0, 10, 20, 0, 10, 20]
    seeded = DATASETS.build({"type": "SeededDataset", "dataset": one})
    assert len(seeded) == 3
    assert seeded[3 + 2]["img"][0, 0, 0] == 20
    assert seeded.metainfo == again.metainfo == SynthTextDataset.METAINFO


def make_config(folder: Path) -> dict:
    return {
        "type": "SynthTextDataset", "index": "index", "data_root": str(folder),
        "data_prefix": {"img_path": "img"},
    }  # fmt: skip


# --- workers and copies ------------------------------------------------------------------------


def test_two_workers(tmp_path):
    data = dataset(make(tmp_path))
    loader = DataLoader(data, batch_size=1, num_workers=2, collate_fn=list,
                        multiprocessing_context="fork")  # fmt: skip
    samples = [batch[0] for batch in loader]
    assert [int(s["img"][0, 0, 0]) for s in samples] == [0, 10, 20, 30, 40]
    assert [len(s["gt_chars"][0]) for s in samples] == [1, 2, 3, 4, 5]


def test_copies_are_small_and_read_the_same(tmp_path):
    data = dataset(make(tmp_path, 8), indices=7)
    pickled = pickle.dumps(data.index)
    assert len(pickled) < 500
    assert lengths(pickle.loads(pickle.dumps(data))) == [1, 2, 3, 4, 5, 6, 7]
    assert lengths(copy.deepcopy(data)) == [1, 2, 3, 4, 5, 6, 7]
    assert pickle.loads(pickled).read(3)["img_path"] == "3.png"


def test_an_index_replaced_while_it_is_open_is_read_as_it_was(tmp_path):
    data = dataset(make(tmp_path, 5))
    make(tmp_path, 2)
    assert lengths(data) == [1, 2, 3, 4, 5]
    assert lengths(dataset(tmp_path)) == [1, 2]


def test_pages_let_go_are_read_again(tmp_path, monkeypatch):
    released = []
    release = SynthTextIndex._release
    monkeypatch.setattr(synthtext, "RELEASE_EVERY", 3)
    monkeypatch.setattr(
        SynthTextIndex, "_release", lambda self: (released.append(self._reads), release(self))
    )
    data = dataset(make(tmp_path))
    assert lengths(data) == [1, 2, 3, 4, 5]
    assert lengths(data) == [1, 2, 3, 4, 5]
    assert released == [3, 3, 3]
    assert len(data.index._maps) == len(ARRAYS)


# --- image files -------------------------------------------------------------------------------


def test_images_that_cannot_be_read(tmp_path, log):
    make(tmp_path)
    (tmp_path / "img" / "0.png").unlink()
    (tmp_path / "img" / "1.png").write_bytes(b"no image")
    data = dataset(tmp_path)
    np.random.seed(0)
    for index in (0, 0, 1):
        assert data[index]["img"][0, 0, 0] in (20, 30, 40)
    assert int(data.unreadable) >= 3
    assert sum("0.png: skipped, image file is missing" in line for line in log) == 1
    assert sum("1.png: skipped, image file cannot be read" in line for line in log) == 1
    strict = dataset(tmp_path, test_mode=True)
    assert len(strict) == 5
    with pytest.raises(ValueError, match=r"0\.png: image file is missing\. Replace or remove it"):
        strict[0]
    assert (strict[2]["img"] == 20).all()


def test_a_wrong_prefix_says_so(tmp_path, log):
    data = dataset(make(tmp_path), data_prefix={"img_path": "imgs"}, max_refetch=20)
    with pytest.raises(ValueError, match=r"index: no usable sample in 21 tries.*data_prefix"):
        data[0]


# --- files that are not whole ------------------------------------------------------------------


def test_no_index(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"index\.json: no such file\. Check index and dat"):
        dataset(tmp_path)
    (tmp_path / "index").write_bytes(b"a file, no folder")
    with pytest.raises(FileNotFoundError, match=r"index\.json: no such file"):
        dataset(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[]", "field 'format' is not"),
        (b'{"data_list": []}', "field 'format' is not"),
    ],
)
def test_a_manifest_of_no_use(tmp_path, content, match):
    (make(tmp_path, 1) / "index" / MANIFEST).write_bytes(content)
    with pytest.raises(ValueError, match=rf"index\.json: {match}.*; make it again with tools"):
        dataset(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("version", 2, r"field 'version' is 2, this package reads 1"),
        ("version", None, r"field 'version' is None"),
        ("arrays", {}, r"field 'arrays' is damaged"),
        ("arrays", {"names": "5"}, r"field 'arrays' is damaged"),
    ],
)
def test_fields_of_the_manifest(tmp_path, field, value, match):
    path = make(tmp_path, 1) / "index" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match=rf"index\.json: {match}.*; make it again"):
        dataset(tmp_path)


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_missing_cut_off_or_of_another_kind(tmp_path, name):
    path = make(tmp_path, 3) / "index" / f"{name}.npy"
    content = path.read_bytes()
    for cut in (0, 5, 60, 128, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=rf"{name}\.npy: damaged or cut off .*; make it again"):
            dataset(tmp_path)
    path.write_bytes(content)
    whole = np.load(path)
    for other in (whole[:-1], whole.astype(np.complex64)):
        np.save(path, other)
        with pytest.raises(ValueError, match=rf"{name}\.npy: .* as index\.json says; make it ag"):
            dataset(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}\.npy: no such file; make it again"):
        dataset(tmp_path)


def test_files_that_contradict_each_other(tmp_path):
    folder = make(tmp_path, 3) / "index"
    starts = np.load(folder / "starts.npy")
    np.save(folder / "starts.npy", starts + np.array([0, 0, 0, 1]))
    with pytest.raises(ValueError, match=r"starts\.npy: damaged; make it again"):
        dataset(tmp_path)
    # Damage in the middle shows when the image is read, and nowhere else.
    starts[1, 3] += 1
    np.save(folder / "starts.npy", starts)
    data = dataset(tmp_path, pipeline=[])
    assert len(data[2]["instances"]) == 2
    for index in (0, 1):
        with pytest.raises(
            ValueError, match=rf"starts\.npy or lengths\.npy is damaged at image {index}"
        ):
            data[index]


@pytest.mark.parametrize("name", ["sizes", "lengths"])
def test_arrays_of_another_index(tmp_path, name):
    """Each as long as the manifest says, but not of one length with its fellows."""
    folder = make(tmp_path, 3) / "index"
    rows = np.load(folder / f"{name}.npy")
    np.save(folder / f"{name}.npy", rows[:-1])
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["arrays"][name] -= 1
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"starts\.npy: damaged; make it again"):
        dataset(tmp_path)


def test_text_that_is_no_text(tmp_path):
    folder = make(tmp_path, 3) / "index"
    texts = np.load(folder / "texts.npy")
    texts[0] = 0xFF
    np.save(folder / "texts.npy", texts)
    data = dataset(tmp_path)
    with pytest.raises(ValueError, match=r"texts\.npy is damaged at image 0; make it again"):
        data[0]
    assert (data[1]["img"] == 10).all()
