"""The sweep over CRAFT's thresholds: against the post-processor at each setting."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmtextplug.evaluation.hmean import count_page, judge_page
from mmtextplug.evaluation.overlaps import Predictions

GRID = ["--low-text", "0.3", "0.5", "--link-threshold", "0.2", "0.6"]
GRID += ["--text-threshold", "0.55", "0.7", "0.9"]


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("sweep_thresholds")


@pytest.fixture
def photos(tmp_path: Path, painted_network) -> Path:
    """Two photos of words of three letters whose links and peaks differ in strength."""
    y, x = np.mgrid[:120, :200]

    def hill(cx, cy, height, width=6):
        return height * np.exp(-(((x - cx) / width) ** 2 + ((y - cy) / 6) ** 2) / 2)

    entries = []
    for number, (peak, link) in enumerate([(1.0, 0.7), (0.8, 0.3)]):
        photo = np.zeros((120, 200, 3), np.uint8)
        red = [hill(40 + 20 * i, 30, peak) for i in range(3)] + [hill(150, 90, 0.6)]
        photo[..., 2] = 255 * np.max(red, axis=0)
        photo[..., 1] = 255 * np.max([hill(50 + 20 * i, 30, link) for i in range(2)], axis=0)
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo)
        word = dict(polygon=[30, 20, 90, 20, 90, 40, 30, 40], text="abc", ignore=False)
        entries.append(
            dict(
                img_path=f"{number}.png",
                height=120,
                width=200,
                instances=[dict(word, bbox_label=0)],
            )
        )
    (tmp_path / "val.json").write_text(json.dumps(dict(metainfo={}, data_list=entries)))
    return tmp_path


def arguments_of(photos: Path, *more: str) -> list[str]:
    source = [str(photos / "val.json"), "--images", str(photos), "--cache", str(photos / "maps")]
    return [*source, "--out", str(photos / "out"), *GRID, *more]


@pytest.mark.parametrize("polygons", [False, True])
def test_every_setting_is_what_the_post_processor_finds(tool, photos, painted_network, polygons):
    arguments = arguments_of(photos, *(["--polygons"] if polygons else []))
    tool.main(arguments)
    assert painted_network.calls == 2
    content = json.loads((photos / "out" / "sweep.json").read_text())
    args = tool.parse_args(arguments)
    source, dataset = tool.MapSource(args), tool.open_photos(args)
    found = set()
    for i, low in enumerate(args.low_text):
        for j, link in enumerate(args.link_threshold):
            for k, text in enumerate(args.text_threshold):
                post = MODELS.build(
                    dict(
                        type="CRAFTPostprocessor",
                        text_repr_type="poly" if polygons else "quad",
                        low_text=low,
                        link_threshold=link,
                        text_threshold=text,
                    )
                )
                total = np.zeros(3, int)
                for index in range(2):
                    data = dataset.get_data_info(index)
                    maps = source(Path(data["img_path"]), Path(data["img_path"]).name)
                    scores = torch.from_numpy(maps.scores.astype(np.float32))[None]
                    words = post(scores, [maps.sample()])[0].pred_instances
                    predictions = Predictions(
                        [p.reshape(-1, 2) for p in words.polygons], words.scores.numpy()
                    )
                    truth = tool.truth_of(data["instances"])
                    total += count_page(judge_page(truth, predictions))
                assert content["counts"][i][j][k] == total.tolist()
                found.add(tuple(total))
    assert len(found) >= 5
    # Maps came from the folder, and do so the next time.
    assert painted_network.calls == 2
    best = content["best"]
    place = [getattr(args, name).index(best[name]) for name in tool.NAMES]
    assert content["hmean"][place[0]][place[1]][place[2]] == np.max(content["hmean"]) > 0.6


def test_what_is_printed_and_drawn(tool, photos, capsys):
    tool.main(arguments_of(photos))
    printed = " ".join(capsys.readouterr().out.split())
    content = json.loads((photos / "out" / "sweep.json").read_text())
    best = content["best"]
    assert (
        "model = dict(det_head=dict(postprocessor=dict("
        f"text_threshold={best['text_threshold']:g}, link_threshold={best['link_threshold']:g}, "
        f"low_text={best['low_text']:g})))"
    ) in printed
    assert "of 12 settings are as good within the 95 % interval" in printed
    picture = cv2.imread(str(photos / "out" / "sweep.png"))
    assert min(picture.shape[:2]) > 300
    # A star marks the best.
    assert (np.abs(picture.astype(int) - (0, 0, 255)) < 40).all(2).sum() > 20


def test_of_equal_settings_the_nearest_to_the_configs(tool, photos, capsys):
    args = tool.parse_args(arguments_of(photos))
    hmeans = np.zeros((2, 2, 3))
    hmeans[:, 1, 1:] = 0.5
    assert tool.choose(args, hmeans, tool.DEFAULTS | {"low_text": 0.45}) == (1, 1, 1)
    assert tool.choose(args, hmeans, tool.DEFAULTS | {"low_text": 0.3, "text_threshold": 0.85}) == (
        0,
        1,
        2,
    )


def test_few_settings_and_the_edge_of_the_grid(tool, photos, capsys):
    arguments = ["--low-text", "0.4", "--link-threshold", "0.4", "--text-threshold", "0.6", "0.7"]
    source = [str(photos / "val.json"), "--images", str(photos), "--out", str(photos / "out")]
    tool.main([*source, *arguments])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("│")]
    assert len(rows) == 2
    assert sum("0.7 (the config's)" in row for row in rows) == 1
    assert "NOTE: the best is at the edge of the grid in text_threshold: widen it" in printed


def test_settings_of_the_config_and_test_sets_in_wrappers(tool, photos, capsys):
    config = config_of(photos, "val.json")
    config.write_text(
        config.read_text()
        + "test_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=["
        + "dict(test_dataloader['dataset']), dict(test_dataloader['dataset'])]))\n"
    )
    arguments = ["--config", str(config), "--out", str(photos / "out"), *GRID]
    tool.main(arguments)
    told = capsys.readouterr()
    assert told.err.count("WARNING: 2 of 2") == 2
    assert told.out.count("0.9 (the config's)") == 1
    tool.main([*arguments, "--cfg-options", "model.det_head.postprocessor.text_threshold=0.7"])
    assert "0.7 (the config's)" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--cfg-options: they are for a --config"):
        tool.main(arguments_of(photos, "--cfg-options", "a=1"))


@pytest.mark.parametrize("content", ["{", "{}", "[]", '{"data_list": [3]}'])
def test_what_is_no_test_annotation(tool, photos, content):
    (photos / "test.json").write_text(content)
    with pytest.raises(ValueError, match=r"test\.json: --test-annotation must be MMOCR's JSON"):
        tool.main(arguments_of(photos, "--test-annotation", str(photos / "test.json")))


def test_as_good(tool):
    # Setting 1 finds all, setting 0 nothing, setting 2 all but of one photo in thirty.
    counts = np.zeros((30, 3, 3))
    counts[..., 1:] = 1
    counts[:, 1:, 0] = 1
    counts[7, 2, 0] = 0
    assert tool.as_good(counts, (1,)).tolist() == [False, True, True]


def config_of(photos: Path, test: str) -> Path:
    pipeline = "pipeline=[dict(type='PackCharInputs')]"
    loader = f"dict(dataset=dict(type='CharTextDataset', {pipeline}, "
    loader += "data_root={!r}, ann_file={!r}))"
    config = photos / "config.py"
    config.write_text(
        "default_scope = 'mmocr'\n"
        "model = dict(det_head=dict(postprocessor=dict(type='CRAFTPostprocessor', low_text=0.5, "
        "link_threshold=0.2, text_threshold=0.9)))\n"
        f"val_dataloader = {loader.format(str(photos), 'val.json')}\n"
        f"test_dataloader = {loader.format(str(photos), test)}\n"
    )
    return config


def test_photos_of_a_config_and_a_test_set_apart(tool, photos, capsys):
    content = json.loads((photos / "val.json").read_text())
    content["data_list"][0]["img_path"] = "other.png"
    (photos / "test.json").write_text(json.dumps(content))
    arguments = ["--config", str(config_of(photos, "val.json")), "--out", str(photos / "out")]
    tool.main([*arguments, *GRID])
    told = capsys.readouterr()
    assert "WARNING: 2 of 2 photos are test photos" in told.err
    assert "(the config's)" in told.out or "0.9" in told.out
    tool.main(
        ["--config", str(config_of(photos, "test.json")), "--out", str(photos / "out"), *GRID]
    )
    assert "WARNING: 1 of 2 photos are test photos" in capsys.readouterr().err
    tool.main(
        ["--config", str(config_of(photos, "none.json")), "--out", str(photos / "out"), *GRID]
    )
    assert "WARNING" not in capsys.readouterr().err
    tool.main(arguments_of(photos, "--test-annotation", str(photos / "test.json"), "--number", "1"))
    assert "WARNING" not in capsys.readouterr().err
    tool.main(arguments_of(photos, "--test-annotation", str(photos / "test.json")))
    assert "WARNING: 1 of 2 photos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--out", "x"], "give ANN_JSON and --images, or a --config"),
        (["a.json", "--out", "x"], "ANN_JSON and --images go together"),
        (["a.json", "--images", "x", "--out", "x", "--low-text", "1"], "between 0 and 1"),
        (["a.json", "--images", "x", "--out", "x", "--number", "0"], "must be 1 or more"),
    ],
)
def test_misuse(tool, capsys, arguments, fault):
    with pytest.raises(SystemExit):
        tool.parse_args(arguments)
    assert fault in capsys.readouterr().err


def test_nothing_to_choose_by(tool, photos):
    content = json.loads((photos / "val.json").read_text())
    for entry in content["data_list"]:
        entry["instances"][0]["ignore"] = True
    (photos / "val.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no word that counts: nothing to choose by"):
        tool.main(arguments_of(photos))
    config = photos / "bare.py"
    config.write_text("default_scope = 'mmocr'\nmodel = dict(det_head=dict())")
    with pytest.raises(ValueError, match="val_dataloader has 0 datasets with an ann_file"):
        tool.main(["--config", str(config), "--out", str(photos / "out")])
