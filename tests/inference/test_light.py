"""The light detector that comes with the package."""

from __future__ import annotations

import importlib
import importlib.util
import json

import cv2
import numpy as np
import pytest

import mmtextplug  # noqa: F401  lets MMOCR import

# isort: split
from mmengine.config import Config

from mmtextplug import launch, light
from mmtextplug.checkpoint import read_state_dict
from mmtextplug.craft.weights import PACKAGE
from mmtextplug.datasets.text_renderer import TextRenderer, sample_rng
from mmtextplug.evaluation.hmean import add_counts, count_page, judge_page, rates
from mmtextplug.evaluation.overlaps import Predictions, Truth
from mmtextplug.inference import TextDetector
from mmtextplug.inference.saved_config import config_of
from mmtextplug.inferencer import TextDetInferencer

CONFIG = "configs/craft/craft_efficientnet-lite0_icdar2015.py"
PAGES = TextRenderer(
    (384, 512),
    words_per_image=(4, 8),
    char_height=(16, 40),
    styles=dict(straight=2, rotated=1, perspective=1),
    max_rotation=15,
    distractors=False,
)


def pages(count: int) -> list:
    # Of a series that no config draws.
    return [PAGES.render(sample_rng(4_711, number)) for number in range(count)]


def test_it_is_small_and_its_config_is_that_of_the_repository(repository):
    path = light.light_weights()
    assert path.stat().st_size <= 5_000_000
    state = read_state_dict(path)  # looks at the checksum
    assert {value.dtype.itemsize for value in state.values() if value.is_floating_point()} == {2}
    found = config_of(path)
    cfg = launch.load_config(str(repository / CONFIG))
    assert found.model == cfg.model
    assert [step["type"] for step in found.test_pipeline] == ["ResizeLongSide", "PackCharInputs"]
    assert found.test_pipeline[0] == cfg.test_pipeline[1]


def test_it_finds_generated_words():
    detector, counts = TextDetector.light(precision="float32"), []
    for page in pages(12):
        (found,) = detector.detect([page.image])
        words = [word.polygon for word in page.words]
        truth = Truth(words, np.zeros(len(words), bool), [None] * len(words))
        counts.append(count_page(judge_page(truth, Predictions(found.polygons, found.scores))))
    assert add_counts(counts).truths > 40
    assert rates(add_counts(counts))["hmean"] > 0.8


def test_an_installation_that_has_lost_it_says_so(monkeypatch):
    monkeypatch.setattr(light, "FILE", "gone.pth")
    with pytest.raises(FileNotFoundError, match=r"gone\.pth: the light detector is missing"):
        TextDetector.light()


@pytest.fixture
def infer(repository, monkeypatch, tmp_path):
    """`infer.py` on a page; gives its status and the words found."""
    monkeypatch.syspath_prepend(str(repository / "tools"))
    tool = importlib.import_module("infer")
    cv2.imwrite(str(tmp_path / "page.png"), pages(1)[0].image)

    def run(*arguments: str) -> tuple[int, list]:
        command = ["infer.py", str(tmp_path / "page.png"), "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", [*command, "--device", "cpu", *arguments])
        status = tool.main()
        return status, json.loads((tmp_path / "out" / "page.json").read_text())["words"]

    run.tool = tool
    return run


def test_the_tool_runs_it_on_demand(infer, capsys):
    status, words = infer("--light", "--precision", "float32")
    assert status == 0
    (detection,) = TextDetector.light(precision="float32").detect([pages(1)[0].image])
    polygons = [np.reshape(word["polygon"], (-1, 2)) for word in words]
    assert len(polygons) == len(detection.polygons) > 0
    for ours, expected in zip(polygons, detection.polygons):
        np.testing.assert_allclose(ours, expected, atol=0.01)
    assert "not installed" not in capsys.readouterr().err


def test_the_tool_runs_it_where_the_official_weights_are_not_installed(infer, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == PACKAGE else find(name)
    )
    status, words = infer()
    assert status == 0
    assert words
    assert "the official weights are not installed: the light" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--config", "--checkpoint", "--refine", "--onnx"])
def test_it_is_not_run_beside_another(infer, option):
    with pytest.raises(ValueError, match=r"leave (it|one) out"):
        infer("--light", option, "something")


def test_mmocr_inferencer_takes_it():
    page = pages(1)[0]
    inferencer = TextDetInferencer(weights=light.light_weights(), precision="float32")
    (found,) = inferencer(page.image)["predictions"]
    (detection,) = TextDetector.light(precision="float32").detect([page.image])
    assert len(found["polygons"]) == len(detection.polygons) > 0


def test_it_is_exported(repository, monkeypatch, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.syspath_prepend(str(repository / "tools"))
    tool = importlib.import_module("export_onnx")
    tool.main(["--light", "--out", str(tmp_path / "light.onnx")])
    assert "all of standard ONNX" in capsys.readouterr().out
    page = pages(1)[0].image
    (ours,) = TextDetector.light(precision="float32").detect([page])
    (theirs,) = TextDetector.from_onnx(tmp_path / "light.onnx").detect([page])
    assert len(ours.polygons) == len(theirs.polygons) > 0
    for a, b in zip(ours.polygons, theirs.polygons):
        np.testing.assert_allclose(a, b, atol=0.6)
    with pytest.raises(ValueError, match="a detector of its own"):
        tool.main(["config.py", "--light", "--out", str(tmp_path / "other.onnx")])


def test_the_recipe_goes_through_both_stages(repository):
    weak = launch.load_config(str(repository / CONFIG))
    name = "craft_efficientnet-lite0_generated-text"
    strong = Config.fromfile(repository / "configs" / "craft" / f"{name}.py")
    assert weak.load_from == f"work_dirs/{name}/iter_{strong.train_cfg.max_iters}.pth"
    assert strong.model.backbone.pretrained
    assert not weak.model.backbone.pretrained
    photos = weak.train_dataloader.dataset.dataset.datasets[1]
    assert photos.ann_file == "textdet_train900.json"
    assert weak.val_dataloader.dataset.ann_file == "textdet_val.json"
    assert not photos.pipeline[1].with_chars
