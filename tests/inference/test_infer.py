"""`tools/infer.py` from photos to JSON and pictures, by a network that is painted on them."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import cv2
import numpy as np
import painted
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from painted import CENTRES, PAGE, PAINTED, centres, page
from PIL import Image

from mmtextplug.inference import TextDetector, tiles
from mmtextplug.inference.onnx_network import OnnxError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(tmp_path, checkpoint, monkeypatch):
    """Runs the tool in this process on `tmp_path`; gives its status and the folder of results."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("infer_tool", ROOT / "tools" / "infer.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "infer_tool", module)
    spec.loader.exec_module(module)
    config = tmp_path / "painted.py"
    config.write_text("\n".join(f"{key} = {value!r}" for key, value in PAINTED.items()))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        standard = ["infer.py", "--config", str(config), "--checkpoint", str(checkpoint)]
        standard += ["--device", "cpu", "--out", "out"]
        monkeypatch.setattr("sys.argv", standard + list(arguments))
        return module.main()

    run.module = module
    return run


def write(path: str, image: np.ndarray, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(path, exif=exif)


def results(folder: str = "out") -> dict[str, dict]:
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(Path(folder).rglob("*.json"))
    }


def test_json_and_pictures_of_a_photo(tool, capsys):
    write("in/päge.png", np.rot90(PAGE), orientation=6)
    assert tool("in/päge.png", "--chars", "--score-maps") == 0
    (name, found), *others = results().items()
    assert (name, others) == ("päge.json", [])
    assert found["image"] == "in/päge.png"
    assert (found["width"], found["height"], found["exif_orientation"]) == (200, 120, 6)
    assert [len(word["polygon"]) for word in found["words"]] == [4, 4]
    np.testing.assert_allclose(centres([w["polygon"] for w in found["words"]]), CENTRES, atol=1.5)
    assert sorted(np.shape(word["chars"]) for word in found["words"]) == [(3, 4, 2), (4, 4, 2)]
    assert [word["char_count"] for word in found["words"]] == [
        len(word["chars"]) for word in found["words"]
    ]
    assert all(0.7 < word["score"] <= 1 for word in found["words"])
    picture = cv2.imdecode(np.fromfile("out/päge.jpg", np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == PAGE.shape
    changed = np.abs(picture.astype(int) - PAGE).max(2) > 60
    assert changed.any()
    assert not changed[100:, :80].any()  # far from both words
    scores = cv2.imdecode(np.fromfile("out/päge_scores.jpg", np.uint8), cv2.IMREAD_COLOR)
    assert scores.shape[1] == 2 * 420 + 4  # small photos are enlarged for their maps
    assert scores.shape[0] > 120
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "päge.jpg",
        "päge.json",
        "päge_scores.jpg",
    ]
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last.startswith("1 photos, 2 words, ")
    assert last.endswith("-> out")


def test_no_result_overwrites_another_nor_a_photo(tool):
    for path in ("a/x.png", "a/x.bmp", "a/deep/x.png", "b/x.png", "b/x_scores.png", "b/X.png"):
        write(path, PAGE[:64, :64])
    Path("a/notes.txt").write_text("no photo")
    assert tool("a", "b", "a/x.png", "--recursive") == 0
    found = {name: value["image"] for name, value in results().items()}
    assert len(found) == 6
    assert sorted(found.values()) == sorted(
        ["a/x.png", "a/x.bmp", "a/deep/x.png", "b/x.png", "b/x_scores.png", "b/X.png"]
    )
    assert found["deep/x.json"] == "a/deep/x.png"
    assert len({name.casefold() for name in found}) == 6
    # Again, with results inside of the folder that is searched.
    assert tool("a", "--recursive", "--out", "a/found") == 0
    assert tool("a", "--recursive", "--out", "a/found") == 0
    assert sorted(results("a/found")) == ["deep/x.json", "x.json", "x_2.json"]


def test_folders_are_searched_to_the_bottom_only_if_asked(tool):
    write("a/x.png", PAGE)
    write("a/deep/y.png", PAGE)
    assert tool("a") == 0
    assert list(results()) == ["x.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in", "--out", "in"], "photos are read from there"),
        (["in/x.jpg", "--out", "in"], r"x\.jpg is one of the photos"),
        (["in/x.jpg", "--out", "in/x.jpg"], r"--out in/x\.jpg: in/x\.jpg is a file; name a folder"),
        (["in/x.jpg", "--out", "in/x.jpg/a/b"], r"--out in/x\.jpg/a/b: in/x\.jpg is a file"),
        (["empty"], "no photos in empty.*--recursive"),
    ],
)
def test_misuse_is_told_before_anything_is_written(tool, arguments, message):
    write("in/x.jpg", PAGE)
    before = Path("in/x.jpg").read_bytes()
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=message):
        tool(*arguments)
    assert Path("in/x.jpg").read_bytes() == before
    assert [p.name for p in Path("in").iterdir()] == ["x.jpg"]


def test_too_low_a_cap_is_told_before_any_photo(tool, monkeypatch):
    monkeypatch.setattr(tiles, "reach", lambda *_: 300)
    write("in/x.jpg", PAGE)  # which needs no tiles
    with pytest.raises(ValueError, match=r"max_memory 1 MiB: .* at least \d+ MiB .* by 320 px"):
        tool("in", "--max-memory", "1")
    assert not Path("out").exists()


MANY = """
import sys
from pathlib import Path

sys.path[:0] = sys.argv[1:4]
import infer
import infer_output

resident = []


def finish(job, *rest):
    whole(job, *rest)
    pages = Path("/proc/self/statm").read_text().split()[1]
    resident.append(int(pages) * 4096)


whole, infer.finish = infer.finish, finish
sys.argv[1:] = ["in", *sys.argv[4:]]
assert infer.main() == 0
print(len(resident), max(resident[-50:]) - max(resident[50:100]))
"""


def test_memory_stays_where_it_is(tmp_path, checkpoint):
    """A photo that were kept would be 1.2 MiB."""
    large = painted.page((640, 640), [(30 + 60 * i, 30 + 60 * i, 3) for i in range(8)])
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "0.png"), large)
    for number in range(1, 150):
        os.link(tmp_path / "in" / "0.png", tmp_path / "in" / f"{number}.png")
    config = "\n".join(f"{key} = {value!r}" for key, value in PAINTED.items())
    imports = 'custom_imports = dict(imports=["painted"])\n'
    (tmp_path / "painted_config.py").write_text(imports + config)
    folders = [str(ROOT), str(ROOT / "tools"), str(Path(painted.__file__).parent)]
    arguments = ["--out", "out", "--config", "painted_config.py", "--checkpoint", str(checkpoint)]
    arguments += ["--device", "cpu", "--precision", "float32"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MANY, *folders, *arguments],
        cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    count, grown = map(int, done.stdout.split()[-2:])
    assert count == 150
    assert grown < 40 << 20


def test_bad_photos_are_skipped_counted_and_reported(tool, capsys):
    write("in/good.png", PAGE)
    Path("in/bad.jpg").write_bytes(b"nonsense")
    assert tool("in", "missing.png") == 1
    out, err = capsys.readouterr()
    assert list(results()) == ["good.json"]
    assert out.strip().endswith("2 skipped")
    skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert len(skipped) == 2
    assert skipped[0].startswith("skipped: in/bad.jpg: not an image")
    assert skipped[1] == "skipped: missing.png: no such file"


def test_status_is_1_when_nothing_could_be_read(tool):
    Path("bad.jpg").write_bytes(b"nonsense")
    assert tool("bad.jpg") == 1
    assert results() == {}


def test_batches_give_what_single_photos_give(tool):
    sizes = [(120, 200), (64, 200), (110, 200), (120, 90), (64, 190)]
    for number, (height, width) in enumerate(sizes):
        write(f"in/{number}.png", PAGE[:height, :width])
    assert tool("in", "--out", "single") == 0
    assert tool("in", "--out", "batched", "--batch-size", "3") == 0
    assert results("single") == results("batched")
    assert [len(r["words"]) for r in results("single").values()] == [2, 1, 2, 1, 1]


def test_what_was_found_before_ctrl_c_is_kept(tool, monkeypatch, capsys):
    for number in range(4):
        write(f"in/{number}.png", PAGE)
    calls = []
    start = TextDetector.start

    def interrupted(self, images, **kwargs):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return start(self, images, **kwargs)

    monkeypatch.setattr(TextDetector, "start", interrupted)
    assert tool("in") == 130
    assert list(results()) == ["0.json", "1.json"]
    assert "2 photos, 4 words" in capsys.readouterr().out


def test_words_that_are_found_when_ctrl_c_comes_are_written(tool, monkeypatch, capsys):
    for number in range(4):
        write(f"in/{number}.png", PAGE)
    output = sys.modules["infer_output"]
    second = threading.Event()
    start, whole = TextDetector.start, output.write_results

    def observed(self, images, **kwargs):
        calls.append(len(images))
        found = start(self, images, **kwargs)
        if len(calls) == 2:
            second.set()
        return found

    def slow(job, *rest):
        if job.name == "0":
            assert second.wait(30)
            time.sleep(0.3)  # until it is this that the tool waits for
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
        whole(job, *rest)

    calls: list[int] = []
    monkeypatch.setattr(TextDetector, "start", observed)
    monkeypatch.setattr(output, "write_results", slow)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert tool("in") == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert len(calls) == 2
    assert list(results()) == ["0.json", "1.json"]
    said = capsys.readouterr().out.strip().splitlines()[-1]
    assert said.startswith("2 photos, 4 words, ")
    assert said.endswith("; stopped, 2 not done")


class Tensors:
    """Some, that a function may hold."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        cv2.error("OpenCV(4): error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    ],
    ids=["cpu", "cuda", "python", "opencv"],
)
def test_photos_go_one_by_one_where_memory_is_short(tool, monkeypatch, capsys, error):
    for number in range(3):
        write(f"in/{number}.png", PAGE[:, : 200 - 40 * number])
    start = TextDetector.start
    held, still = [], []

    def greedy(self, images, **kwargs):
        still.append(sum(tensors() is not None for tensors in held))
        if len(images) > 1 or images[0].shape[1] == 160:
            tensors = Tensors()
            held.append(weakref.ref(tensors))
            raise type(error)(*error.args)
        return start(self, images, **kwargs)

    jobs = []
    monkeypatch.setattr(TextDetector, "start", greedy)
    job = tool.module.Job
    monkeypatch.setattr(tool.module, "Job", lambda *args: jobs.append(job(*args)) or jobs[-1])
    assert tool("in", "--batch-size", "4") == 1
    assert list(results()) == ["0.json", "2.json"]
    assert "skipped: in/1.png: not enough memory for the network" in capsys.readouterr().err
    # What did not fit is gone when they are tried one by one, and no photo is kept.
    assert still == [0, 0, 0, 0]
    assert [job.image for job in jobs] == [None] * 3


def onnx_error(cause: Exception) -> OnnxError:
    error = OnnxError(f"/out of memory/x.onnx: {cause}")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (RuntimeError("Non-zero status code"), "/out of memory/x.onnx: Non-zero status code"),
        (RuntimeError("std::bad_alloc"), "not enough memory for the network: lower --max-memory"),
        (MemoryError(), "not enough memory for the network: lower --max-memory"),
    ],
)
def test_a_photo_that_a_backend_fails_on_is_skipped(tool, monkeypatch, capsys, cause, message):
    for number in range(3):
        write(f"in/{number}.png", PAGE[:, : 200 - 40 * number])
    start = TextDetector.start

    def failing(self, images, **kwargs):
        if any(image.shape[1] == 160 for image in images):
            raise onnx_error(cause)
        return start(self, images, **kwargs)

    monkeypatch.setattr(TextDetector, "start", failing)
    assert tool("in", "--batch-size", "4") == 1
    assert list(results()) == ["0.json", "2.json"]
    out, err = capsys.readouterr()
    skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert skipped == [f"skipped: in/1.png: {message}"]
    assert out.strip().endswith("; 1 skipped")


def test_a_defect_that_mentions_memory_keeps_its_traceback(tool, monkeypatch, capsys):
    for number in range(2):
        write(f"in/{number}.png", PAGE)
    start = TextDetector.start
    calls = []

    def failing(self, images, **kwargs):
        calls.append(len(images))
        if len(calls) == 2:
            raise RuntimeError("/data/memory/x: shapes do not match")
        return start(self, images, **kwargs)

    monkeypatch.setattr(TextDetector, "start", failing)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        tool("in")
    assert list(results()) == ["0.json"]
    assert "1 photos, 2 words" in capsys.readouterr().out


def test_score_maps_need_a_detector_that_has_them(tool, monkeypatch):
    write("x.png", PAGE)
    monkeypatch.setattr(TextDetector, "has_score_maps", False)
    with pytest.raises(ValueError, match="--score-maps needs a post-processor of this package"):
        tool("x.png", "--score-maps")


DBNET = """
_base_ = ["{root}/configs/dbnet/dbnet_resnet18_generated-text.py"]
model = dict(det_head=dict(postprocessor=dict(min_text_score=0.0)))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(128, 128), keep_ratio=True),
    dict(type="PackTextDetInputs", meta_keys=(
        "img_path", "ori_shape", "img_shape", "scale_factor")),
]))
"""


def test_a_dbnet_finds_words_and_shows_its_maps(tool, tmp_path):
    config, weights = tmp_path / "dbnet.py", tmp_path / "dbnet.pth"
    config.write_text(DBNET.format(root=ROOT))
    with DefaultScope.overwrite_default_scope("mmocr"):
        network = MODELS.build(Config.fromfile(config).model)
    torch.manual_seed(0)
    network.init_weights()
    torch.save(network.state_dict(), weights)
    write("in/x.png", PAGE)
    flags = ["--config", str(config), "--checkpoint", str(weights)]
    assert tool("in", *flags, "--score-maps", "--polygons") == 0
    assert list(results()) == ["x.json"]
    # Words, and a row of three maps under the photo.
    picture = cv2.imread("out/x_scores.jpg")
    assert picture.shape[0] > 2 * 100
    detector = TextDetector.from_config(str(config), weights, score_maps=True)
    (one,) = detector.detect([PAGE])
    assert set(one.score_maps) == {"probability", "threshold", "binary"}
    k = 50 * (one.score_maps["probability"] - one.score_maps["threshold"])
    np.testing.assert_allclose(one.score_maps["binary"], 1 / (1 + np.exp(-k)), atol=1e-5)
    assert TextDetector.from_config(str(config), weights).detect([PAGE])[0].score_maps is None
    with pytest.raises(ValueError, match="no CRAFTPostprocessor; leave it out"):
        tool("in", *flags, "--chars")
    with pytest.raises(ValueError, match="isolated_threshold: this config has no CRAFTPost"):
        tool("in", *flags, "--isolated-threshold", "0.5")


def test_characters_are_drawn_in_their_colour(tool):
    write("x.png", PAGE)
    assert tool("x.png") == 0
    plain = cv2.imread("out/x.jpg").astype(int)
    assert tool("x.png", "--chars") == 0
    drawn = cv2.imread("out/x.jpg").astype(int)
    # Between the characters of the word of four, whose centres lie 16 pixels apart.
    for x in (38, 54, 70):
        changed = np.abs(drawn - plain)[26:35, x - 3 : x + 4].max(axis=(0, 2))
        assert changed.max() > 60, x
    assert (np.abs(drawn - plain)[:, 150:] < 40).all()  # right of both words


def test_a_weak_character_alone_is_found_with_a_threshold_of_its_own(tool):
    weak = page((120, 200), [(30, 30, 4), (110, 80, 1)])
    weak[60:] = weak[60:] // 2
    write("x.png", weak)
    assert tool("x.png", "--chars") == 0
    assert [word["char_count"] for word in results()["x.json"]["words"]] == [4]
    assert tool("x.png", "--chars", "--isolated-threshold", "0.45", "--low-text", "0.3") == 0
    words = results()["x.json"]["words"]
    assert [word["char_count"] for word in words] == [4, 1]
    assert words[1]["score"] == pytest.approx(0.49, abs=0.02)
    np.testing.assert_allclose(np.mean(words[1]["chars"][0], axis=0), [110, 80], atol=2)
    with pytest.raises(ValueError, match=r"isolated_threshold=0\.8 must be a number from 0 to"):
        tool("x.png", "--isolated-threshold", "0.8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--isolated-threshold", "-1"],
        ["--batch-size", "0"],
        ["--text-threshold", "7"],
        ["--magnification", "nan"],
        ["--long-side"],
    ],
)
def test_arguments_are_checked(tool, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        tool("x.png", *arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_checkpoint_brings_its_config(tool, tmp_path, checkpoint, monkeypatch):
    """As trainings and tools/publish_model.py write it; without one it is the official CRAFT's."""
    own = Config(copy.deepcopy(PAINTED))
    own.model.det_head.postprocessor.update(text_threshold=0.5, link_threshold=1.0)
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "meta": {"cfg": own.pretty_text}}, tmp_path / "whole.pth")
    detector = TextDetector.from_config(checkpoint=tmp_path / "whole.pth")
    assert detector.model.det_head.postprocessor.thresholds["text_threshold"] == 0.5
    assert len(detector.detect([PAGE])[0].polygons) == 7  # letters, as nothing links them
    write("in/x.png", PAGE)
    arguments = ["in", "--out", "out", "--checkpoint", str(tmp_path / "whole.pth")]
    monkeypatch.setattr("sys.argv", ["infer.py", *arguments])
    assert tool.module.main() == 0
    assert len(results()["x.json"]["words"]) == 7
    with pytest.raises(ValueError, match=r"painted\.pth: does not fit this model"):
        TextDetector.from_config(checkpoint=checkpoint)
