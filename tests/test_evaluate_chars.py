"""Characters of found words against annotated ones: the measures, and the tool."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from mmtextplug.datasets.annotations import Word


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def row(left: float, count: int, width: float = 10) -> np.ndarray:
    """Characters 20 high, side by side."""
    return np.stack([box(left + i * width, 0, left + (i + 1) * width, 20) for i in range(count)])


def word(chars: np.ndarray | None, polygon: np.ndarray | None = None, ignored=False) -> Word:
    if polygon is None:
        polygon = box(*chars.min((0, 1)), *chars.max((0, 1)))
    return Word(polygon, "x", ignored, chars)


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("evaluate_chars")


# --- measures ------------------------------------------------------------------------------------


def test_pairs_are_one_to_one_and_the_best_first(tool):
    iou = np.array([[0.6, 0.9, 0.0], [0.0, 0.8, 0.49], [0.5, 0.0, 0.0]])
    assert tool.match(iou) == [(0, 1), (2, 0)]
    assert tool.match(np.zeros((0, 3))) == tool.match(np.zeros((2, 2))) == []


def test_counts_of_a_page_by_hand(tool):
    words = [
        word(row(0, 4)),
        word(row(100, 2)),  # never found
        word(row(200, 1)),
        word(row(300, 1)),  # found, its character is not
        word(None, box(400, 0, 440, 20)),  # characters unknown
        word(None, box(500, 0, 540, 20), ignored=True),
    ]
    polygons = [
        box(0, 0, 40, 20),
        box(200, 0, 210, 20),
        box(300, 0, 310, 20),
        box(402, 0, 442, 20),
        box(505, 0, 520, 20),  # a part of the ignored word
        box(600, 0, 620, 20),  # nothing is there
    ]
    chars = [
        row(0, 5, width=8),  # IoU 0.8, 8 * 2 / 12 < 0.5, ...: see below
        row(200, 1),
        row(306, 1),
        row(402, 4),
        row(505, 1),
        row(600, 2),
    ]
    # Five of 8 pixels against four of 10: the IoU of 0-8 and 0-10 is 0.8, of 8-16 and 10-20 is
    # 0.5, of 16-24 and either neighbour at most 4 / 14, of 24-32 and 20-30 is 0.5, of 32-40 and
    # 30-40 is 0.8.
    count = tool.compare(words, polygons, chars)
    assert dict(count) == dict(
        words=4,
        words_found=4,
        words_matched=3,
        chars=8,
        chars_found=9,
        chars_matched=5,
        singles=2,
        inner_chars=6,
        inner_found=7,
        inner_matched=5,
        counts_right=2,
        singles_matched=2,
        singles_right=1,
    )
    assert list(tool.shares(count).values()) == pytest.approx(
        [3 / 4, 3 / 4, 5 / 9, 5 / 8, 5 / 7, 5 / 6, 2 / 3, 1, 1 / 2]
    )


def test_empty_pages(tool):
    count = tool.compare([], [], [])
    assert not any(count.values())
    assert np.isnan(list(tool.shares(count).values())).all()
    count = tool.compare([], [box(0, 0, 9, 9)], [row(0, 1)])
    assert tool.shares(count)["char precision"] == 0
    count = tool.compare([word(row(0, 2))], [], [])
    assert tool.shares(count)["char recall"] == 0
    assert count["words_found"] == 0


# --- the tool ------------------------------------------------------------------------------------


@pytest.fixture
def annotated(tmp_path: Path, tool, painted_network) -> Path:
    """A photo of a word of three and, alone and weak, one of one character; and an empty one."""
    y, x = np.mgrid[:120, :200]

    def hill(cx, cy, height):
        return height * np.exp(-(((x - cx) / 6) ** 2 + ((y - cy) / 6) ** 2) / 2)

    red = np.max([hill(40 + 20 * i, 30, 1.0) for i in range(3)] + [hill(140, 90, 0.6)], axis=0)
    photo = np.zeros((120, 200, 3), np.uint8)
    photo[..., 2] = 255 * red
    photo[..., 1] = 255 * np.max([hill(50, 30, 1), hill(70, 30, 1), hill(140, 90, 0.2)], axis=0)
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "a.png"), photo)
    cv2.imwrite(str(tmp_path / "b.png"), 0 * photo)

    def instance(chars):
        outline = box(*chars.min((0, 1)), *chars.max((0, 1)))
        known = dict(polygon=outline.ravel().tolist(), chars=chars.reshape(-1, 8).tolist())
        return dict(**known, text="abc"[: len(chars)], ignore=False, bbox_label=0)

    three = np.stack([box(30 + 20 * i, 20, 50 + 20 * i, 40) for i in range(3)])
    one = box(130, 80, 150, 100)[None]
    entries = [
        dict(img_path="deep/a.png", height=120, width=200, instances=[*map(instance, [three, one])])
    ]
    entries.append(dict(img_path="b.png", height=120, width=200, instances=[]))
    (tmp_path / "words.json").write_text(json.dumps(dict(metainfo={}, data_list=entries)))
    return tmp_path


def test_photos_are_read_compared_drawn_and_kept(tool, annotated, painted_network, capsys):
    arguments = [str(annotated / "words.json"), "--images", str(annotated)]
    arguments += ["--cache", str(annotated / "maps"), "--link-threshold", "0.1"]
    arguments += ["--out", str(annotated / "out"), "--isolated-threshold", "0.5"]
    tool.main(arguments)
    assert "4 annotated characters in 2 words, 1 of them single" in " ".join(
        capsys.readouterr().out.split()
    )
    content = json.loads((annotated / "out" / "results.json").read_text())
    assert content["settings"]["link_threshold"] == "0.1"
    strict, lenient = content["results"]
    assert (strict["isolated_threshold"], lenient["isolated_threshold"]) == (None, 0.5)
    assert (strict["words_matched"], strict["chars_matched"], strict["char recall"]) == (1, 3, 0.75)
    assert (strict["counts right"], strict["single chars right"]) == (1, 0)
    # The single one has link pixels of its own, up to 0.2.
    assert lenient == {**strict, "isolated_threshold": 0.5}

    assert painted_network.calls == 2
    picture = cv2.imread(str(annotated / "out" / "deep" / "a.png"))
    assert picture.shape == (720, 1200, 3)
    for colour in (tool.REAL_COLOUR, tool.FOUND_COLOUR):
        near = (np.abs(picture.astype(int) - colour) < 40).all(2)
        assert near[100:260, 160:560].sum() > 200
    assert (annotated / "out" / "b.png").exists()
    # Now from the folder; with links from 0.5 on, the weak character has none.
    arguments[arguments.index("0.1")] = "0.5"
    tool.main(arguments)
    assert painted_network.calls == 2
    strict, lenient = json.loads((annotated / "out" / "results.json").read_text())["results"]
    assert (strict["single chars right"], lenient["single chars right"]) == (0, 1)
    assert lenient["chars_matched"] == 4
    # Other photos, or other settings of the network, are looked at again.
    tool.main([*arguments, "--long-side", "64"])
    assert painted_network.calls == 4
    tool.main([*arguments[:-2], "--long-side", "64", "--polygons"])
    assert painted_network.calls == 4


def test_maps_come_back_as_they_were_kept(tool, annotated, painted_network):
    args = tool.parse_args([str(annotated / "words.json"), "--images", str(annotated)])
    path = annotated / "deep" / "a.png"
    fresh = tool.MapSource(args)(path, "deep/a.png")
    args.cache = annotated / "maps"
    kept = [tool.MapSource(args)(path, "deep/a.png") for _ in range(2)]
    assert painted_network.calls == 2
    for maps in kept:
        assert (maps.img_shape, maps.scale_factor) == ((120, 200), (1.0, 1.0))
        assert maps.scores.dtype == np.float16
        np.testing.assert_array_equal(maps.scores, fresh.scores)
        assert maps.sample().batch_input_shape == (120, 200)
    # A photo that has changed is looked at again.
    cv2.imwrite(str(path), np.full((120, 220, 3), 255, np.uint8))
    assert tool.MapSource(args)(path, "deep/a.png").img_shape == (120, 220)


def test_maps_of_another_network_are_made_anew(tool, annotated, painted_network, tmp_path):
    args = tool.parse_args([str(annotated / "words.json"), "--images", str(annotated)])
    args.cache, args.checkpoint = annotated / "maps", tmp_path / "weights.pth"
    config = tmp_path / "craft.py"

    def calls() -> int:
        tool.MapSource(args)(annotated / "deep" / "a.png", "deep/a.png")
        return painted_network.calls

    args.checkpoint.write_bytes(b"one")
    assert [calls(), calls()] == [1, 1]
    args.checkpoint.write_bytes(b"two")
    os.utime(args.checkpoint, (1, 1))  # of the same size
    assert [calls(), calls()] == [2, 2]
    head = "dict(postprocessor=dict(type='CRAFTPostprocessor', low_text={}))"
    text = "default_scope = 'mmocr'\ntest_pipeline = [dict(type='PackCharInputs')]\n"
    text += f"model = dict(type='CRAFT', det_head={head})\n"
    args.config = str(config)
    config.write_text(text.format(0.4))
    assert calls() == 3
    # What comes after the network makes no other maps, the network does.
    config.write_text(text.format(0.5))
    assert calls() == 3
    config.write_text(text.format(0.5) + "model['frozen'] = True\n")
    assert calls() == 4
    args.checkpoint = tmp_path / "none.pth"
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file"):
        tool.MapSource(args)


@pytest.mark.parametrize("content", ["cut off", "of others", "empty"])
def test_a_cache_that_is_none_is_named(tool, annotated, content):
    args = tool.parse_args([str(annotated / "words.json"), "--images", str(annotated)])
    args.cache = annotated / "maps"
    file = annotated / "maps" / "deep" / "a.npz"
    file.parent.mkdir(parents=True)
    if content == "cut off":
        file.write_bytes(b"PK")
    elif content == "empty":
        file.write_bytes(b"")
    else:
        np.savez(file, maps=np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npz: damaged, or not written by this tool"):
        tool.MapSource(args)(annotated / "deep" / "a.png", "deep/a.png")


def test_misuse_is_told(tool, annotated, tmp_path):
    config = tmp_path / "dbnet.py"
    head = 'dict(postprocessor=dict(type="DBPostprocessor"))'
    config.write_text(f'default_scope = "mmocr"\nmodel = dict(det_head={head})')
    arguments = [str(annotated / "words.json"), "--images", str(annotated)]
    with pytest.raises(ValueError, match=r"dbnet\.py: no CRAFTPostprocessor"):
        tool.main([*arguments, "--config", str(config)])
    with pytest.raises(ValueError, match=r"isolated_threshold=0\.9 must be"):
        tool.main([*arguments, "--isolated-threshold", "0.9"])
    content = json.loads((annotated / "words.json").read_text())
    for entry in content["data_list"]:
        for instance in entry["instances"]:
            del instance["chars"]
    (annotated / "words.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"words\.json: no word with 'chars'"):
        tool.main(arguments)
