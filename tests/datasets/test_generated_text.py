import errno
import importlib.util
import json
import pickle
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mmtextplug.datasets.generated_text import GeneratedTextDataset
from mmtextplug.datasets.text_renderer import TextRenderer, sample_rng

TOOL = Path(__file__).resolve().parents[2] / "tools" / "datasets" / "generate_text.py"
SMALL = {"size": 80, "renderer": {"words_per_image": (1, 3), "char_height": (12, 16)}}


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("generate_text", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["generate_text"] = module  # its workers look their functions up by name
    yield module
    del sys.modules["generate_text"]


def dataset(**arguments):
    return GeneratedTextDataset(**{"num_samples": 8, **SMALL, **arguments})


def names(items):
    return [item["img_path"] for item in items]


def test_builds_from_a_config_without_drawing(monkeypatch):
    monkeypatch.setattr(TextRenderer, "render", lambda *_: pytest.fail("drawn too early"))
    built = DATASETS.build({"type": "GeneratedTextDataset", "num_samples": 10**12, "seed": 3})
    assert isinstance(built, GeneratedTextDataset)
    assert len(built) == 10**12
    assert built.metainfo["task_name"] == "textdet"
    assert built.metainfo["category"] == [{"id": 0, "name": "text"}]


def test_an_item_is_the_renderers_picture():
    item = dataset(size=(70, 90), seed=5)[2]
    sample = TextRenderer((70, 90), **SMALL["renderer"]).render(sample_rng(5, 2))
    np.testing.assert_array_equal(item["img"], sample.image)
    assert item["img"].dtype == np.uint8
    assert item["img_shape"] == item["ori_shape"] == (70, 90)
    assert (item["height"], item["width"]) == (70, 90)
    assert item["img_path"] == "generated/5/2"
    assert item["sample_idx"] == 2
    assert item["instances"] == sample.instances()
    assert len(item["instances"]) >= 1
    for instance, word in zip(item["instances"], sample.words, strict=True):
        assert len(instance["chars"]) == len(word.text)
        assert {len(quad) for quad in instance["chars"]} == {8}
        np.testing.assert_array_equal(np.float32(instance["chars"]).reshape(-1, 4, 2), word.chars)


def test_items_repeat_and_seeds_and_indices_differ():
    first, second, other = dataset(seed=1), dataset(seed=1), dataset(seed=2)
    for idx in range(3):
        np.testing.assert_array_equal(first[idx]["img"], second[idx]["img"])
        np.testing.assert_array_equal(first[idx]["img"], first[idx]["img"])
        assert (first[idx]["img"] != other[idx]["img"]).any()
    assert (first[0]["img"] != first[1]["img"]).any()
    # A shorter or longer set of the same seed begins with the same pictures.
    np.testing.assert_array_equal(dataset(seed=1, num_samples=1)[0]["img"], first[0]["img"])


def test_indices_count_from_the_end_and_stop():
    items = dataset()
    assert items.get_data_info(-1)["img_path"] == "generated/0/7"
    assert items.get_data_info(-1)["sample_idx"] == 7
    with pytest.raises(IndexError):
        items.get_data_info(8)


@pytest.mark.parametrize(
    ("indices", "numbers"), [(3, [0, 1, 2]), (-2, [6, 7]), ([5, 1], [5, 1]), ([], [])]
)
def test_subsets_keep_the_pictures(indices, numbers):
    whole = dataset()
    part = whole.get_subset(indices)
    assert names(part.get_data_info(i) for i in range(len(part))) == [
        f"generated/0/{n}" for n in numbers
    ]
    given = dataset(indices=indices)
    assert len(given) == len(numbers)
    if numbers:
        np.testing.assert_array_equal(part[-1]["img"], whole[numbers[-1]]["img"])
        assert given.get_data_info(0)["sample_idx"] == 0
    assert len(whole) == 8


def test_lazy_init_and_pipeline():
    seen = []

    def count_words(results):
        seen.append(results["img_path"])
        return len(results["instances"])

    items = dataset(pipeline=[count_words], lazy_init=True, test_mode=True)
    expected = [len(dataset().get_data_info(i)["instances"]) for i in range(3)]
    assert [items[i] for i in range(3)] == expected
    assert seen == [f"generated/0/{i}" for i in range(3)]


def test_workers_and_pickles_give_the_same_pictures():
    items = dataset(num_samples=6)
    pickled = pickle.dumps(items)
    assert len(pickled) < 20_000
    copy = pickle.loads(pickled)
    loader = DataLoader(items, batch_size=2, num_workers=2, collate_fn=list)
    loaded = [item for batch in loader for item in batch]
    assert names(loaded) == [f"generated/0/{i}" for i in range(6)]
    for i, item in enumerate(loaded):
        np.testing.assert_array_equal(item["img"], items[i]["img"])
        np.testing.assert_array_equal(item["img"], copy[i]["img"])
        assert item["instances"] == copy[i]["instances"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be"),
        ({"num_samples": 2.5}, "num_samples must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**32}, "seed must be"),
        ({"size": -5}, "size must be"),
        ({"renderer": {"size": 80}}, "size is an argument of GeneratedTextDataset"),
        ({"renderer": {"styles": {"wavy": 1}}}, "unknown wavy"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        dataset(**arguments)


def run(tool, out, *more, train=5, val=3, workers=0):
    counts = ["--num-train", str(train), "--num-val", str(val), "--workers", str(workers)]
    return tool.main(["--out", str(out), "--size", "72", "96", *counts, *more])


def contents(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_tool_writes_what_the_renderer_draws(tool, tmp_path):
    assert run(tool, tmp_path, "--seed", "4") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "generated.json",
        "train",
        "train.json",
        "val",
        "val.json",
    ]
    renderer = TextRenderer((72, 96))
    firsts = []
    for split, count, seed in (("train", 5, 4), ("val", 3, 4 + tool.VAL_SEED_OFFSET)):
        content = json.loads((tmp_path / f"{split}.json").read_text())
        assert content["metainfo"] == GeneratedTextDataset.METAINFO
        assert len(content["data_list"]) == count == len(list((tmp_path / split).iterdir()))
        for index, entry in enumerate(content["data_list"]):
            sample = renderer.render(sample_rng(seed, index))
            assert (entry["height"], entry["width"]) == (72, 96)
            image = cv2.imread(str(tmp_path / entry["img_path"]))
            assert image.shape == (72, 96, 3)
            assert np.abs(image.astype(int) - sample.image).mean() < 12
            assert entry["instances"] == sample.instances(digits=3)
        firsts.append(cv2.imread(str(tmp_path / content["data_list"][0]["img_path"])))
    assert (firsts[0] != firsts[1]).any()


def test_a_second_run_does_nothing_and_other_arguments_are_refused(tool, tmp_path, capsys):
    assert run(tool, tmp_path) == 0
    before = contents(tmp_path)
    assert run(tool, tmp_path) == 0
    assert contents(tmp_path) == before
    assert "nothing to do" in capsys.readouterr().out
    assert run(tool, tmp_path, "--seed", "1") == 1
    error = capsys.readouterr().err
    assert "other arguments" in error
    assert "--overwrite" in error
    assert contents(tmp_path) == before
    (tmp_path / "train" / "notes.txt").write_text("mine")
    assert run(tool, tmp_path, "--seed", "1", "--overwrite", train=2) == 0
    after = contents(tmp_path)
    assert sorted(name for name in after if name.startswith("train/")) == [
        "train/000000.jpg",
        "train/000001.jpg",
        "train/notes.txt",
    ]
    assert after["train/000000.jpg"][0] != before["train/000000.jpg"][0]


def test_workers_change_nothing(tool, tmp_path):
    assert run(tool, tmp_path / "none") == 0
    assert run(tool, tmp_path / "two", workers=2) == 0
    plain, parallel = contents(tmp_path / "none"), contents(tmp_path / "two")
    assert {name: data for name, (data, _) in plain.items()} == {
        name: data for name, (data, _) in parallel.items()
    }


def test_an_interrupted_run_is_taken_up(tool, tmp_path, monkeypatch, capsys):
    write = tool.write_atomically

    def full_disk(path, data):
        if path.parent.name == "val" and path.name == "000001.jpg":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(tool, "write_atomically", full_disk)
    assert run(tool, tmp_path) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No space left on device" in error
    assert "free some space" in error
    assert (tmp_path / "train.json").exists()
    assert not (tmp_path / "val.json").exists()
    before = contents(tmp_path)
    monkeypatch.undo()
    assert run(tool, tmp_path) == 0
    after = contents(tmp_path)
    train = [name for name in before if name.startswith("train")]
    assert len(train) == 6
    assert all(after[name] == before[name] for name in train)
    assert len(json.loads((tmp_path / "val.json").read_text())["data_list"]) == 3


def test_annotations_of_others_are_not_replaced(tool, tmp_path, capsys):
    (tmp_path / "val.json").write_text("{}")
    assert run(tool, tmp_path) == 1
    assert "val.json was not written by this tool" in capsys.readouterr().err
    assert contents(tmp_path)["val.json"][0] == b"{}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-train", "0", "--num-val", "0"], "one of them positive"),
        (["--num-val", "-1"], "must be 0 or more"),
        (["--size", "1", "2", "3"], "--size takes one or two"),
        (["--seed", "-1"], "--seed must be"),
        (["--workers", "-1"], "--workers must be"),
    ],
)
def test_wrong_options_are_named(tool, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        tool.main(["--out", str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_wrong_folders_leave_nothing_behind(tool, tmp_path, capsys):
    out = tmp_path / "out"
    for option in ("--fonts", "--backgrounds", "--words"):
        assert run(tool, out, option, str(tmp_path / "missing")) == 1
        error = capsys.readouterr().err
        assert "missing" in error
        assert error.count("\n") == 1
    assert run(tool, out, "--size", "20") == 1
    assert "too small for char_height" in capsys.readouterr().err
    assert not out.exists()
