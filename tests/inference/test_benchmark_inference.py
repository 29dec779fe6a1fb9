"""The benchmark of inference: figures and words on made-up numbers, subjects on painted photos."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import painted
import pytest
from rich.console import Console

from mmtextplug.inference import folding, network

NAMES = ("plain", "channels-last", "folded", "precision", "threads", "tiled")


PAINTED = f"""
default_scope = "mmocr"
model = {painted.MODEL!r}
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeLongSide", long_side=99, magnification=1.0),
    dict(type="PackCharInputs"),
]
"""
TINY = """
default_scope = "mmocr"
model = dict(
    type="CRAFT",
    data_preprocessor=dict(
        type="TextDetDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3, pad_size_divisor=32
    ),
    backbone=dict(
        type="mmdet.ResNet", depth=18, base_channels=8, num_stages=3, strides=(1, 2, 2),
        dilations=(1, 1, 1), out_indices=(0, 1, 2),
    ),
    neck=dict(type="CRAFTDecoder", in_channels=[8, 16, 32], out_channels=[8, 8, 8]),
    det_head=dict(
        type="CRAFTHead", in_channels=8, module_loss=dict(type="CRAFTModuleLoss"),
        postprocessor=dict(type="CRAFTPostprocessor"),
    ),
)
test_pipeline = [dict(type="ResizeLongSide"), dict(type="PackCharInputs")]
"""


def module(name: str) -> Callable:
    """A fixture: a module of the tools."""

    @pytest.fixture
    def loaded(repository, monkeypatch) -> ModuleType:
        monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
        return importlib.import_module(name)

    return loaded


tool = module("benchmark_inference")
subjects = module("inference_subjects")
process = module("inference_process")
peers = module("inference_peers")
tables = module("inference_tables")
differences = module("word_differences")


@pytest.fixture
def compare(differences) -> Callable:
    return differences.compare_words


@pytest.fixture
def job(subjects, tmp_path, checkpoint) -> Callable:
    (tmp_path / "painted.py").write_text(PAINTED)

    def make(subject: str = "plain", **changes):
        settings = dict(
            model="craft", subject=subject, batch_size=1, long_side=896, device="cpu", threads=1,
            precision="float32", config=str(tmp_path / "painted.py"), checkpoint=str(checkpoint),
            onnx=None, photos=[],
        )  # fmt: skip
        return subjects.Job(**{**settings, **changes})

    return make


def box(x: float, y: float, width: float = 20, height: float = 10) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], float)


# --- words compared -----------------------------------------------------------------------------


def test_words_are_equal_moved_missing_or_extra(compare):
    reference = [box(0, 0), box(100, 0), box(200, 0), box(300, 0)]
    turned = np.roll(box(0, 1), 1, axis=0)
    found = compare(reference, [box(400, 0), box(103, 0), box(300, 2), turned])
    assert sorted(found.equal) == [(0, 3, 1.0), (3, 2, 2.0)]  # the first from another corner
    assert found.moved == [(1, 1, 3.0)]
    assert (found.missing, found.extra) == ([2], [0])


def test_one_corner_too_far_is_no_equal_word(compare):
    word = box(0, 0)
    word[2] += [0, 2.1]
    found = compare([box(0, 0)], [word])
    assert found.equal == []
    ((_, _, distance),) = found.moved
    assert distance == pytest.approx(2.1)


def test_as_many_words_are_matched_as_can_be(compare):
    """The first of the reference could take either word, the second only one of them."""
    found = compare([box(0, 0), box(3, 0)], [box(1.5, 0), box(-1.5, 0)])
    assert sorted(found.equal) == [(0, 1, 1.5), (1, 0, 1.5)]
    twice = compare([box(0, 0)], [box(0, 0), box(0, 0)])
    assert (len(twice.equal), len(twice.extra)) == (1, 1)


def test_degenerate_words_are_counted_too(compare):
    assert compare([], []) == type(compare([], []))([], [], [], [])
    assert compare([box(0, 0)], []).missing == [0]
    assert compare([], [box(0, 0)]).extra == [0]
    outline = np.insert(box(0, 0), 1, [10, 0], axis=0)  # the same word, by five points
    ((_, _, distance),) = compare([box(0, 0)], [outline]).moved
    assert distance == math.inf
    unknown = compare([np.full((4, 2), np.nan)], [box(0, 0)])
    assert (unknown.missing, unknown.extra) == ([0], [0])


# --- figures ------------------------------------------------------------------------------------


def result(laps=((1, 1.0),), **changes) -> dict:
    base = dict(
        precision="float32", loaded=100.0, peak=200.0, reserved=None, laps=list(laps), finding=0.0,
        words=[[]],
    )  # fmt: skip
    return {**base, **changes}


def test_figures_add_up(tables):
    words = [[box(0, 0).tolist()] * 3, []]
    figures = tables.summarize(result([(8, 4.0), (2, 2.0)], finding=0.6, words=words))
    assert figures.mean == pytest.approx(0.6)
    assert figures.spread == pytest.approx(math.sqrt(0.125))  # of 0.5 and 1.0
    assert figures.finding == pytest.approx(0.1)
    assert figures.words == 3
    assert math.isnan(tables.summarize(result()).spread)


def rows_of(printed: str) -> list[list[str]]:
    lines = [line for line in printed.splitlines() if re.search("[│┃]", line)]
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]


def test_the_table_relates_subjects_to_the_first_peer(tables, job, capsys):
    done = [
        tables.Done(job("plain"), result([(1, 3.0), (1, 5.0)], peak=1300.0, finding=0.8)),
        tables.Done(job("easyocr"), result([(1, 2.0)], peak=2600.0)),
        tables.Done(job("easyocr", batch_size=2), result([(2, 2.0)], peak=5000.0)),
    ]
    tables.show_figures(Console(width=150), done)
    _, plain, peer, both = rows_of(capsys.readouterr().out)
    assert plain == [
        "plain PyTorch", "float32", "1", "100", "1,300", "4.000 ± 1.414", "0.25", "10.00%", "0",
        "0.50x", "50%",
    ]  # fmt: skip
    assert peer[-2:] == ["1.00x", "100%"]
    assert both[2:7] == ["2", "100", "5,000", "1.000", "1.00"]


def test_random_weights_only_give_times(tables, job, capsys):
    done = [tables.Done(job("plain", checkpoint=None), result(reserved=300.0))]
    tables.show_figures(Console(width=160), done)
    printed = capsys.readouterr().out
    assert "random weights: timing only" in printed
    header, row = rows_of(printed)
    assert header[5] == "reserved MiB"
    assert row[5] == "300"
    assert row[-4:] == ["-"] * 4
    assert tables.pairs_to_compare([*done, *done]) == []


def test_words_are_compared_with_plain_and_with_the_same_network_in_one_piece(tables, job):
    names = [("plain", 1), ("threads", 1), ("threads", 8), ("tiled", 1), ("easyocr", 1)]
    runs = {name: tables.Done(job(name[0], batch_size=name[1]), result()) for name in names}
    other = [
        tables.Done(job("plain", long_side=96), result()),
        tables.Done(job("easyocr-quantize", checkpoint="another.pth"), result()),
    ]
    named = {id(run): name for name, run in runs.items()}
    pairs = tables.pairs_to_compare([*runs.values(), *other])
    assert [(named[id(a)], named[id(b)]) for a, b in pairs] == [
        (("threads", 1), ("plain", 1)),
        (("threads", 8), ("plain", 1)),
        (("threads", 8), ("threads", 1)),
        (("tiled", 1), ("plain", 1)),
        (("tiled", 1), ("threads", 1)),
        (("easyocr", 1), ("plain", 1)),
    ]


def test_differences_are_counted_and_listed_by_photo(tables, job, capsys):
    first = [[box(0, 0).tolist(), box(100, 0).tolist()], [box(50, 50).tolist()]]
    second = [[box(0, 0).tolist(), box(103, 0).tolist()], []]
    done = [
        tables.Done(job("plain"), result(words=first)),
        tables.Done(job("easyocr"), result(words=second)),
    ]
    pairs = tables.differences(done)
    tables.show_differences(Console(width=150), pairs, ["a.jpg", "b.jpg"])
    printed = capsys.readouterr().out
    assert rows_of(printed)[1] == [
        "craft", "896", "EasyOCR", "1", "plain PyTorch", "1", "1", "1", "1", "0", "3.00"
    ]  # fmt: skip
    listed = [line for line in printed.splitlines() if ".jpg" in line]
    assert listed == [
        "a.jpg: easyocr (batch 1) against plain (batch 1): moved by up to 3.0 px: "
        "(103, 0) (123, 0) (123, 10) (103, 10)",
        "b.jpg: easyocr (batch 1) against plain (batch 1): missing: "
        "(50, 50) (70, 50) (70, 60) (50, 60)",
    ]


def test_outlines_of_other_corners_have_no_distance(tables, job, tmp_path, tool, capsys):
    outline = np.insert(box(0, 0), 1, [10, 0], axis=0).tolist()
    done = [
        tables.Done(job("plain"), result(words=[[box(0, 0).tolist()]])),
        tables.Done(job("threads"), result(words=[[outline]])),
    ]
    pairs = tables.differences(done)
    assert pairs[0]["photos"][0]["moved"][0][2] is None
    tables.show_differences(Console(width=150), pairs, ["a.jpg"])
    printed = capsys.readouterr().out
    assert rows_of(printed)[1][-1] == "0.00"
    assert "other corners: (0, 0) (10, 0)" in printed
    assert "NaN" not in tool.as_json(done, [tmp_path], pairs).decode()  # spreads of one batch


# --- what runs ----------------------------------------------------------------------------------


def test_time_passes_until_the_next_batch_can_start(process, subjects, monkeypatch):
    """The first batch warms up; words come while the next batch runs; the last ones are waited
    for."""
    clock = [0.0]
    events: list[str] = []
    monkeypatch.setattr(process.time, "perf_counter", lambda: clock[0])

    def start(images):
        clock[0] += 10 * len(images)
        events.append(f"start {images}")

        def wait():
            clock[0] += 1
            events.append(f"wait {images}")
            return [[image] for image in images]

        return wait

    subject = subjects.Subject(start, finding=[123.0])
    words, laps = process.run_through(subject, ["a", "b", "c"], 2)
    assert words == [["a"], ["b"], ["c"]]
    assert laps == [(2, 20.0), (1, 12.0)]
    assert events[2:] == [
        "start ['a', 'b']", "start ['c']", "wait ['a', 'b']", "wait ['c']"
    ]  # fmt: skip
    assert subject.finding == []


@pytest.mark.parametrize("name", NAMES)
def test_every_step_finds_the_painted_words(process, job, tmp_path, monkeypatch, name):
    folded = []
    for module in (network, folding):
        monkeypatch.setattr(module, "fold_batch_norms", lambda model, _: folded.append(model))
    memory = {"VmRSS": 100 << 20, "VmHWM": 300 << 20}
    monkeypatch.setattr(process, "memory", memory.get)
    places = {(100, 100), (400, 333), (336, 500)}
    paths = []
    for number, words in enumerate([sorted(places), [], [(250, 60)]]):
        np.save(
            tmp_path / f"{number}.npy", painted.page((896, 896), [(*place, 1) for place in words])
        )
        paths.append(str(tmp_path / f"{number}.npy"))
    found = process.run(job(name, photos=paths, batch_size=2))
    centres = [[np.mean(word, axis=0) for word in words] for words in found["words"]]
    assert [len(words) for words in centres] == [3, 0, 1]
    assert {tuple(10 * round(v / 10) for v in c) for c in centres[0]} == {
        (100, 100), (400, 330), (340, 500)
    }  # fmt: skip
    assert found["precision"] == "float32"
    assert [count for count, _ in found["laps"]] == [2, 1]
    assert 0 < found["finding"] < sum(seconds for _, seconds in found["laps"])
    assert found["loaded"] == 100
    assert found["peak"] == 300 - 3 * 896 * 896 * 3 / 2**20  # without the photos
    assert bool(folded) == (name not in ("plain", "channels-last"))
    json.dumps(found)


def test_tiles_are_forced(subjects, job, monkeypatch):
    from mmtextplug.inference import tiles

    seen = []
    whole = tiles.tiled_maps
    monkeypatch.setattr(
        tiles, "tiled_maps", lambda *a, **k: seen.append(k["tile"]) or whole(*a, **k)
    )
    subject = subjects.ladder(job("tiled"))
    photo = painted.page((896, 896), [(336, 336, 1)])
    subject.prepare([photo])
    ((word,),) = subject.start([photo])()
    assert np.allclose(np.mean(word, axis=0), 336, atol=2)
    assert len(seen) == 1
    assert seen[0] < 896
    with pytest.raises(ValueError, match="too small to be cut into tiles"):
        subjects.ladder(job("tiled", long_side=128)).prepare([photo])


def test_easyocr_gets_rgb_in_batches_of_one_size(peers, job, monkeypatch):
    calls = []

    def test_net(side, magnification, net, images, *thresholds):
        calls.append((images.shape, images[0, 0, 0].tolist(), side, magnification, thresholds))
        boxes = [detection.getDetBoxes(image) for image in images]
        return boxes, boxes

    detection = ModuleType("easyocr.detection")
    detection.getDetBoxes = lambda image: np.stack([box(*image.shape[:2])])
    detection.get_detector = lambda path, device, quantize: (path, device, quantize)
    detection.test_net = test_net
    package = ModuleType("easyocr")
    package.detection = detection
    monkeypatch.setitem(sys.modules, "easyocr", package)
    monkeypatch.setitem(sys.modules, "easyocr.detection", detection)
    subject = peers.easyocr(job("easyocr"))
    blue = np.zeros((32, 64, 3), np.uint8)
    blue[..., 0] = 255
    words = subject.start([blue, blue])()
    assert calls == [((2, 32, 64, 3), [0, 0, 255], 896, 1.5, (0.7, 0.4, 0.4, False, "cpu"))]
    np.testing.assert_array_equal(words, [[box(32, 64)]] * 2)
    assert len(subject.finding) == 2
    words = subject.start([blue, blue[:, :32]])()
    assert [shape for shape, *_ in calls[1:]] == [(1, 32, 64, 3), (1, 32, 32, 3)]
    np.testing.assert_array_equal(words, [[box(32, 64)], [box(32, 32)]])


def test_rapidocr_detects_only_by_its_own_file(peers, job, monkeypatch, tmp_path):
    settings = {}

    class Engine:
        def __init__(self, params):
            settings.update(params)
            self.text_det = SimpleNamespace(postprocess_op=lambda image: [box(1, 2)])

        def __call__(self, image):
            found = self.text_det.postprocess_op(image) if image.any() else None
            return SimpleNamespace(boxes=found)

    package = ModuleType("rapidocr")
    package.RapidOCR = Engine
    monkeypatch.setitem(sys.modules, "rapidocr", package)
    subject = peers.rapidocr(job("rapidocr", onnx="det.onnx", threads=3))
    photo = np.ones((32, 32, 3), np.uint8)
    words = subject.start([photo, 0 * photo])()
    assert [len(found) for found in words] == [1, 0]
    assert len(subject.finding) == 1
    assert settings["Det.model_path"] == "det.onnx"
    assert settings["Det.limit_side_len"] == 896
    assert settings["EngineConfig.onnxruntime.intra_op_num_threads"] == 3
    assert not settings["Global.use_rec"]
    assert peers.bundled_rapidocr(tmp_path) is None


# In a process of its own: what other tests left behind may be given back at any time.
TAKES_AND_GIVES_BACK = """
import json, sys
sys.path[:0] = sys.argv[1:]
import numpy as np
from inference_process import memory

def now():
    return [memory("VmRSS"), memory("VmHWM")]

seen = [now()]
block = np.ones(256 << 20, np.uint8)
seen.append(now())
del block
print(json.dumps([*seen, now()]))
"""


def test_memory_is_that_of_this_process(repository):
    tools = repository / "tools"
    command = [sys.executable, "-c", TAKES_AND_GIVES_BACK, str(tools), str(tools / "analysis")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    before, full, after = json.loads(done.stdout)
    block = 256 << 20
    assert full[0] - before[0] == pytest.approx(block, rel=0.1)
    assert full[0] - after[0] == pytest.approx(block, rel=0.1)
    assert full[1] - before[0] == pytest.approx(block, rel=0.1)
    assert after[1] >= full[1] * 0.99


# --- the tool -----------------------------------------------------------------------------------


def test_a_peer_that_is_not_there_is_said_and_the_rest_runs(tool, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(tool, "official_weights", lambda: Path("official.pth"))
    args = tool.parse_args(["x", "--onnx", "m.onnx", "--batch-sizes", "1", "4"])
    jobs, missing = tool.plan(args, [])
    assert [line.split(":")[1].strip() for line in missing] == [
        "easyocr is not installed", "rapidocr is not installed"
    ]  # fmt: skip
    craft = [job for job in jobs if job.model == "craft"]
    assert [job.subject for job in craft[::2]] == [*NAMES[:5], "onnx", "openvino", "tiled"]
    assert {(job.config, job.checkpoint, job.onnx) for job in craft} == {
        (None, "official.pth", "m.onnx")
    }
    dbnet = [job for job in jobs if job.model == "dbnet"]
    assert [job.subject for job in dbnet[::2]] == list(NAMES)
    assert {(job.config, job.checkpoint, job.onnx) for job in dbnet} == {
        (str(tool.DBNET), None, None)
    }
    # RapidOCR, once it is there: photos one by one, with the file that it brings.
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "PP_det_x.onnx").touch()
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda name: spec)
    jobs, missing = tool.plan(args, [])
    assert missing == []
    (peer,) = [job for job in jobs if job.subject == "rapidocr"]
    assert (peer.batch_size, peer.onnx) == (1, str(tmp_path / "models" / "PP_det_x.onnx"))
    assert [job.batch_size for job in jobs if job.subject == "easyocr"] == [1, 4]
    jobs, missing = tool.plan(tool.parse_args(["x", "--device", "cuda"]), [])
    assert missing == ["left out: rapidocr is measured on the CPU only"]
    assert "easyocr" in {job.subject for job in jobs}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-sizes", "0"], "numbers must be 1 or more"),
        (["--photos", "-1"], "numbers must be 1 or more"),
        (["--subjects", "onnx"], "--subjects onnx: needs --onnx FILE"),
        (["--subjects", "nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_wrong_options_are_refused(tool, capsys, flags, message):
    with pytest.raises(SystemExit):
        tool.parse_args(["x", *flags])
    assert message in capsys.readouterr().err


def test_a_device_that_is_not_there_is_named(tool):
    with pytest.raises(ValueError, match="--device cuda:99: not usable here"):
        tool.check_device("cuda:99")


def test_a_failing_subject_does_not_stop_the_others(
    tool, process, job, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)  # the tests' own process

    def measure(one):
        source, target = tmp_path / "job.json", tmp_path / "result.json"
        source.write_text(json.dumps(dataclasses.asdict(one)))
        status = process.main([str(source), str(target)])
        found = json.loads(target.read_text())
        assert status == int("error" in found)
        return found

    monkeypatch.setattr(tool, "measure", measure)
    cv2.imwrite(str(tmp_path / "a.png"), painted.page((96, 128), [(64, 48, 1)]))
    cv2.imwrite(str(tmp_path / "b.png"), painted.page((96, 128), []))
    made = job()
    a, b = (str(tmp_path / name) for name in ("a.png", "b.png"))
    settings = ["--config", made.config, "--checkpoint", made.checkpoint, "--threads", "1"]
    settings += ["--precision", "float32", "--long-side", "128", "--batch-sizes", "1", "2"]
    arguments = [a, b, "--models", "craft", "--subjects", "plain", "tiled", "threads", *settings]
    assert tool.main([*arguments, "--out", str(tmp_path / "out.json")]) == 1
    printed = capsys.readouterr()
    failures = [line for line in printed.err.splitlines() if line.startswith("failed:")]
    assert len(failures) == 2
    assert (
        "failed: craft tiled, batch 1, long side 128: photos of 12,288 pixels are too small"
        in failures[0]
    )
    rows = rows_of(printed.out)
    figures = {(row[0], row[2]): row for row in rows if len(row) == 11 and row[1] == "float32"}
    steps = ("plain PyTorch", "+ words found in threads")
    assert set(figures) == {(step, batch) for step in steps for batch in "12"}
    assert {row[8] for row in figures.values()} == {"1"}  # words
    written = json.loads((tmp_path / "out.json").read_text())
    assert [run["subject"] for run in written["runs"]] == ["plain"] * 2 + ["threads"] * 2
    assert len(written["runs"][0]["words"]) == 2
    assert [pair["photos"][0]["equal"] for pair in written["differences"]] == [1] * 4
    assert tool.main([a, "--models", "craft", *settings, "--subjects", "plain"]) == 0


def test_what_is_done_is_shown_when_the_user_stops_it(tool, job, tmp_path, monkeypatch, capsys):
    results = iter([result(words=[[box(0, 0).tolist()]])])

    def measure(one):
        try:
            return next(results)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(tool, "measure", measure)
    cv2.imwrite(str(tmp_path / "a.png"), painted.page((64, 64), []))
    made = job()
    arguments = [str(tmp_path / "a.png"), "--models", "craft", "--config", made.config]
    arguments += ["--subjects", "plain", "threads", "--out", str(tmp_path / "out.json")]
    assert tool.main(arguments) == 130
    assert "plain PyTorch" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out.json").read_text())["runs"]) == 1


def test_a_subject_runs_in_a_process_of_its_own(process, job, tmp_path, monkeypatch, repository):
    monkeypatch.setenv("PYTHONPATH", str(repository))
    (tmp_path / "tiny.py").write_text(TINY)
    np.save(tmp_path / "a.npy", np.full((40, 60, 3), 100, np.uint8))
    tiny = dict(config=str(tmp_path / "tiny.py"), checkpoint=None, long_side=64)
    found = process.measure(job("folded", photos=[str(tmp_path / "a.npy")], **tiny))
    assert "error" not in found
    assert len(found["words"]) == 1
    assert found["precision"] == "float32"


def test_a_process_that_dies_is_explained(process, job, tmp_path, monkeypatch):
    (tmp_path / "die.py").write_text("import sys\nprint('last words\\n')\nsys.exit(3)\n")
    monkeypatch.setattr(process, "__file__", str(tmp_path / "die.py"))
    assert process.measure(job()) == {"error": "ended with status 3: last words"}
    (tmp_path / "die.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert process.measure(job())["error"].startswith("killed: not enough memory")
