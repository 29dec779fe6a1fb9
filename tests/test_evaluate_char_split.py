"""Pseudo character boxes against annotated ones: the measures, and the public splitters."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mmtextplug.craft.rectify import quad_band


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("evaluate_char_split")


@pytest.fixture
def public(tool) -> ModuleType:
    return importlib.import_module("public_splitters")


# --- measures ------------------------------------------------------------------------------------


def test_overlap_is_that_of_the_best_box(tool):
    annotated = np.stack([box(0, 0, 10, 10), box(20, 0, 30, 10), box(50, 0, 60, 10)])
    found = np.stack([box(5, 0, 15, 10), box(2, 0, 10, 10), box(20, 5, 30, 25)])
    overlaps = tool.best_overlaps(annotated, found)
    np.testing.assert_allclose(overlaps, [0.8, 50 / 250, 0])


def test_overlap_of_turned_boxes(tool):
    # A square and the diamond that touches its sides, of half its area.
    diamond = np.array([[5, 0], [10, 5], [5, 10], [0, 5]], np.float64)
    np.testing.assert_allclose(tool.best_overlaps(box(0, 0, 10, 10)[None], diamond[None]), [0.5])


def test_nothing_and_flat_boxes_overlap_with_nothing(tool):
    none, one = np.zeros((0, 4, 2)), box(0, 0, 4, 4)[None]
    assert tool.best_overlaps(none, one).shape == (0,)
    np.testing.assert_array_equal(tool.best_overlaps(one, none), [0])
    flat = np.stack([box(0, 2, 4, 2), box(3, 3, 3, 3)])
    np.testing.assert_array_equal(tool.best_overlaps(one, flat), [0])
    np.testing.assert_array_equal(tool.best_overlaps(flat, flat), [0, 0])


def test_shares_are_counted_over_characters_and_over_words(tool, public, monkeypatch):
    band = quad_band(box(-0.5, -0.5, 39.5, 9.5))
    four = np.stack([box(10 * i - 0.5, -0.5, 10 * i + 9.5, 9.5) for i in range(4)])
    words = [tool.AnnotatedWord(band, [True] * 4, four), tool.AnnotatedWord(band, [True], four[:1])]
    view = public.WordView(np.zeros((5, 20)), np.zeros((10, 40, 3), np.uint8), [True] * 4)

    def halves(_) -> object:
        # In a map of half the size: the first half of the word, and its last quarter.
        quads = np.stack([box(-0.5, -0.5, 9.5, 4.5), box(14.5, -0.5, 19.5, 4.5)])
        return public.Boxes(quads, (20, 5), equal=True)

    monkeypatch.setitem(tool.METHODS, "halves", halves)
    result = tool.measure("halves", 64, words, [view, view])
    # Found: two characters of the first word by half (IoU 0.5), one exactly; the second word's one.
    assert (result.words, result.chars) == (2, 5)
    assert result.chars_found == pytest.approx(4 / 5)
    assert result.counts_right == 0
    assert result.equal_parts == 1
    monkeypatch.setitem(tool.METHODS, "equal", public.equal_parts)
    result = tool.measure("equal", 64, words[:1], [view])
    assert (result.chars_found, result.counts_right) == (1, 1)
    with pytest.raises(ValueError, match="no word"):
        tool.measure("equal", 64, [], [])


# --- public splitters ----------------------------------------------------------------------------


def two_blobs() -> np.ndarray:
    """A map with two characters: columns 2-7 and 12-17, peaks of 0.9, 0.3 around them, then 0."""
    region = np.zeros((8, 20), np.float32)
    for left in (2, 12):
        region[1:7, left : left + 6] = 0.3
        region[2:6, left + 1 : left + 5] = 0.9
    return region


def view_of(public, region: np.ndarray, places: list[bool]):
    """With the map as its photo, at twice the size."""
    grey = (region * 255).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    return public.WordView(region, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), places)


def test_equal_parts_leave_spaces_out(public):
    boxes = public.equal_parts(view_of(public, np.zeros((8, 20), np.float32), [True, False] * 2))
    np.testing.assert_allclose(boxes.quads, [box(-0.5, -0.5, 4.5, 7.5), box(9.5, -0.5, 14.5, 7.5)])
    assert boxes.equal
    assert boxes.size == (20, 8)


def test_easyocr_takes_extents_of_basins_without_their_last_pixel(public):
    boxes = public.easyocr_trainer(view_of(public, two_blobs(), [True, True]))
    np.testing.assert_allclose(boxes.quads, [box(2, 1, 7, 6), box(12, 1, 17, 6)])
    assert not boxes.equal
    boxes = public.easyocr_trainer(view_of(public, two_blobs(), [True, True]), stretch=True)
    np.testing.assert_allclose(boxes.quads, [box(2, -0.5, 7, 7.5), box(12, -0.5, 17, 7.5)])


def test_easyocr_floods_the_crop_where_nothing_is_surely_background(public):
    region = np.maximum(two_blobs(), 0.1)
    boxes = public.easyocr_trainer(view_of(public, region, [True, True]))
    # Together the two basins take every pixel.
    assert boxes.quads[:, :, 0].min() == 0
    assert boxes.quads[:, :, 0].max() == 19
    assert np.ptp(boxes.quads[:, :, 1], axis=1).tolist() == [7, 7]


@pytest.mark.parametrize("name", ["easyocr_trainer", "backtime_trainer"])
def test_up_to_a_confidence_of_one_half_the_parts_are_equal(public, name):
    split = getattr(public, name)
    # Two of four found: a confidence of exactly 0.5. Spaces count, though nothing is there.
    for places in ([True] * 4, [True, True, False, True], [True]):
        boxes = split(view_of(public, two_blobs(), places))
        assert boxes.equal
        assert len(boxes.quads) == sum(places)
    boxes = split(view_of(public, two_blobs(), [True] * 3))
    assert not boxes.equal
    assert len(boxes.quads) == 2


def test_the_authors_thresholds_keep_what_was_found_at_one_half(public):
    boxes = public.author_thresholds(view_of(public, two_blobs(), [True] * 4))
    assert not boxes.equal
    np.testing.assert_allclose(boxes.quads, [box(1.5, -0.5, 7.5, 7.5), box(11.5, -0.5, 17.5, 7.5)])
    assert public.author_thresholds(view_of(public, two_blobs(), [True] * 5)).equal


def test_backtime_gives_rectangles_in_the_crop_in_order(public):
    boxes = public.backtime_trainer(view_of(public, two_blobs(), [True, True]))
    assert boxes.size == (40, 16)
    centres = boxes.quads.mean(1)
    np.testing.assert_allclose(centres, [[9.5, 7.5], [29.5, 7.5]], atol=1)
    # Basins meet between the heart (8 pixels wide) and the end of what the mask keeps (12).
    assert (np.ptp(boxes.quads[..., 0], axis=1) >= 7).all()
    assert (np.ptp(boxes.quads[..., 0], axis=1) <= 13).all()
    np.testing.assert_allclose(boxes.quads.sum(2).argmin(1), 0)  # from the top left corner
    stretched = public.backtime_trainer(view_of(public, two_blobs(), [True, True]), stretch=True)
    np.testing.assert_allclose(np.unique(stretched.quads[..., 1]), [-0.5, 15.5])
    np.testing.assert_allclose(stretched.quads[:, 0, 0], boxes.quads[..., 0].min(1))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_maps_without_structure_do_no_harm(tool, public, value):
    for shape in ((8, 20), (1, 1), (1, 30)):
        view = view_of(public, np.full(shape, value, np.float32), [True] * 3)
        for name, split in tool.METHODS.items():
            boxes = split(view)
            assert np.isfinite(boxes.quads).all(), name
            assert boxes.quads.shape[1:] == (4, 2), name


# --- from files to figures -----------------------------------------------------------------------


class Red(nn.Module):
    """Its region score is the red channel, at half the size."""

    def __init__(self) -> None:
        super().__init__()
        self.det_head = nn.AvgPool2d(2)

    def extract_feat(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def data_preprocessor(self, data: dict, training: bool) -> dict:
        return {"inputs": torch.stack([image.float().flip(0) / 255 for image in data["inputs"]])}


@pytest.fixture
def annotated(tmp_path: Path) -> Path:
    """Two photos of a word of three characters, beside words that are not to be compared."""
    chars = np.stack([box(20 + 20 * i, 30, 40 + 20 * i, 60) for i in range(3)])
    y, x = np.mgrid[:100, :160]
    red = np.zeros((100, 160))
    for cx in (30, 50, 70):
        near = np.exp(-0.5 * (((x - cx) / 5.5) ** 2 + ((y - 45) / 8.5) ** 2))
        red = np.maximum(red, near)
    entries = []
    for name in ("a.png", "b.png"):
        photo = np.zeros((100, 160, 3), np.uint8)
        photo[..., 2] = 255 * red
        cv2.imwrite(str(tmp_path / name), photo)
        word = {"polygon": box(20, 30, 80, 60).ravel().tolist(), "text": "abc", "ignore": False}
        known = {**word, "chars": chars.reshape(-1, 8).tolist()}
        words = [known, word, {**known, "ignore": True}]
        entries.append({"img_path": name, "height": 100, "width": 160, "instances": words})
    (tmp_path / "words.json").write_text(json.dumps({"metainfo": {}, "data_list": entries}))
    return tmp_path


def test_words_are_read_predicted_split_and_compared(tool, annotated, monkeypatch, capsys):
    class Detector:
        model = Red()

    monkeypatch.setattr(tool.TextDetector, "from_config", lambda *_, **__: Detector())
    out = annotated / "results.json"
    arguments = [str(annotated / "words.json"), "--images", str(annotated), "--out", str(out)]
    tool.main([*arguments, "--crop-height", "32", "64", "--photos", "odd"])
    assert "3 annotated characters in 1 words" in capsys.readouterr().out
    content = json.loads(out.read_text())
    assert content["settings"]["photos"] == "odd"
    results = {(r["method"], r["crop_height"]): r for r in content["results"]}
    assert len(results) == 2 * len(tool.METHODS)
    assert {(r["words"], r["chars"]) for r in results.values()} == {(1, 3)}
    for height in (32, 64):
        for method in ("ours", "ours, length unknown", "EasyOCR trainer, stretched"):
            result = results[method, height]
            assert (result["chars_found"], result["counts_right"]) == (1, 1), (method, height)
            assert result["equal_parts"] == 0
        assert results["equal parts (brooklyn1900's)", height]["equal_parts"] == 1
    (path, words), *others = tool.read_words(annotated / "words.json", annotated, "even")
    assert (path.name, len(words), others) == ("a.png", 1, [])


def test_annotations_without_characters_are_named(tool, annotated):
    content = json.loads((annotated / "words.json").read_text())
    for entry in content["data_list"]:
        for word in entry["instances"]:
            word.pop("chars", None)
    (annotated / "words.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"words\.json: no word with 'chars'"):
        tool.main([str(annotated / "words.json"), "--images", str(annotated)])
