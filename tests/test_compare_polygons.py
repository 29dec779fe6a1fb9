"""The comparison of outlines: its words, its measures, its tables and pictures."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import shapely
import torch

from mmtextplug.craft.gaussian import drawable_quads
from mmtextplug.datasets.fonts import bundled_fonts, glyph
from mmtextplug.datasets.typesetting import line_extent, set_column, set_line


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("compare_polygons")


@pytest.fixture
def words(tool) -> ModuleType:
    return importlib.import_module("bent_words")


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


# --- words ---------------------------------------------------------------------------------------


def test_cases_bend_both_ways_at_every_height(words):
    chosen = list(words.cases(["line"], [60], [0, 90], [12, 20], 5))
    assert [(c.bend, c.orientation, c.height) for c in chosen[:5]] == [
        (60, 0, 12),
        (-60, 0, 12),
        (60, 0, 20),
        (-60, 0, 20),
        (60, 0, 12),
    ]
    assert {c.cell for c in chosen} == {("line", 60, 0), ("line", 60, 90)}


@pytest.mark.parametrize("kind", ["line", "column"])
@pytest.mark.parametrize("bend", [0, 60, -160, 260])
@pytest.mark.parametrize("orientation", [0, 30, 90, 135])
def test_words_are_bent_and_turned_as_chosen(words, kind, bend, orientation):
    case = words.Case(kind, bend, orientation, 20)
    shape = words.make_word(case, np.random.default_rng(3), bundled_fonts())
    (word,) = shape.words
    chars = words.upright_chars(case, shape)
    # Upright characters: their tops lead to the right as the word is turned, and turn on with it.
    tops = chars[:, 1] - chars[:, 0]
    angles = np.unwrap(np.arctan2(tops[:, 1], tops[:, 0]))
    middle = np.degrees((angles[0] + angles[-1]) / 2)
    assert (middle - orientation + 180) % 360 - 180 == pytest.approx(0, abs=max(8, abs(bend) / 6))
    # From the middle of the first character to that of the last it bends by a little less.
    turn = np.degrees(angles[-1] - angles[0])
    assert abs(bend) * 0.6 - 1e-6 <= turn * np.sign(bend or 1) <= abs(bend) + 1e-6
    assert len(chars) == len(word.text) >= 4
    size = words.picture_size(shape)
    assert (shape.bounds()[:2] >= 24).all()
    assert (shape.bounds()[2:] <= np.array(size[::-1]) - 24).all()
    assert size[0] % 2 == size[1] % 2 == 0
    assert drawable_quads(torch.from_numpy(chars), size).all()
    outline = shapely.polygons(word.polygon)
    assert shapely.is_valid(outline)
    assert shapely.covers(outline.buffer(0.01), shapely.polygons(chars)).all()


@pytest.mark.parametrize("amplitude", [0, 0.3, -0.6, 1.5])
@pytest.mark.parametrize("orientation", [0, 60])
def test_waves_are_as_chosen(words, amplitude, orientation):
    case = words.Case("wave", amplitude, orientation, 20)
    shape = words.make_word(case, np.random.default_rng(3), bundled_fonts())
    chars = words.upright_chars(case, shape)
    outline = shapely.polygons(shape.words[0].polygon)
    assert shapely.is_valid(outline)
    cut = shapely.difference(shapely.polygons(chars), outline)
    assert (shapely.area(cut) < 0.002 * shapely.area(shapely.polygons(chars))).all()
    assert shapely.area(outline) < 1.4 * shapely.area(shapely.union_all(shapely.polygons(chars)))
    tops = chars[:, 1] - chars[:, 0]
    angles = np.degrees(np.unwrap(np.arctan2(tops[:, 1], tops[:, 0])))
    steps = np.abs(np.diff(angles))
    if not amplitude:
        np.testing.assert_allclose(angles, orientation, atol=1e-6)
        return
    # Steepest by 2 pi periods times amplitude over length, to either side.
    height = np.linalg.norm(chars[:, 3] - chars[:, 0], axis=1).max()
    length = np.linalg.norm(tops, axis=1).sum()
    steepest = np.degrees(np.arctan(2 * np.pi * 1.3 * abs(amplitude) * 1.4 * height / length))
    assert np.abs(angles - orientation).max() <= steepest
    assert np.ptp(angles) > 0.4 * steepest
    assert steps.max() < 60
    size = words.picture_size(shape)
    assert (shape.bounds()[:2] >= 24).all()
    assert (shape.bounds()[2:] <= np.array(size[::-1]) - 24).all()
    assert len(shape.inks) == len(shape.matrices) == len(chars)


def test_a_wave_by_hand(words):
    """Two characters 10 wide and 8 high along a wave that is so long that it is a slope."""
    font = bundled_fonts()[0]
    (word,) = set_line(["ll"], font, 32)
    shape = words.wavy_shape(word, 1.0, 1e4, 1e-4, 0.0)
    x0, y0, x1, y1 = word.boxes.T
    slope = np.arctan(1e4 * 2 * np.pi * 1e-4 / (x1.max() - x0.min()))
    along, down = (
        np.array([np.cos(slope), np.sin(slope)]),
        np.array([-np.sin(slope), np.cos(slope)]),
    )
    middle = (y0.min() + y1.max()) / 2
    flat = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
    expected = (flat[..., :1] - x0.min()) * along + (flat[..., 1:] - middle) * down
    np.testing.assert_allclose(shape.words[0].chars, expected, atol=0.01)
    corners = [expected[0, 0], expected[-1, 1], expected[-1, 2], expected[0, 3]]
    np.testing.assert_allclose(shape.words[0].polygon[[0, 2, 3, 5]], corners, atol=0.01)
    at = shape.matrices[0] @ [0, 0, 1]
    glyph_at = (word.glyphs[0].x - x0.min()) * along + (word.glyphs[0].y - middle) * down
    np.testing.assert_allclose(at[:2], glyph_at, atol=0.01)


def test_a_lying_column_is_the_column_turned(words):
    font = bundled_fonts()[0]
    line = set_column(["Abg"], font, 32)
    (before,), (after,) = line, words.lying(line)
    assert after.glyphs[0].ink.shape == glyph(font, 32, "A").ink.shape[::-1]
    np.testing.assert_array_equal(np.rot90(after.glyphs[0].ink, -1), before.glyphs[0].ink)
    for one, other, row in zip(before.glyphs, after.glyphs, after.boxes, strict=True):
        # Ink and box keep to each other: a pixel of room on all sides along the word.
        assert other.x == one.y
        assert row[0] == other.x - 1
        assert row[2] == other.x + other.ink.shape[1]
        assert row[1] <= other.y - 1
        assert row[3] >= other.y + other.ink.shape[0]
    x0, y0, x1, y1 = line_extent(line)
    np.testing.assert_array_equal(line_extent(words.lying(line)), [y0, -x1, y1, -x0])


def test_perfect_maps_have_a_peak_at_every_character(words):
    case = words.Case("column", 90, 30, 30)
    shape = words.make_word(case, np.random.default_rng(0), bundled_fonts())
    (region, affinity), picture = words.perfect_maps(case, shape)
    height, width = words.picture_size(shape)
    assert region.shape == affinity.shape == (height // 2, width // 2)
    assert picture.shape == (height, width, 3)
    centres = np.rint(shape.words[0].chars.mean(1) / 2).astype(int)
    assert (region[centres[:, 1], centres[:, 0]] > 0.7).all()
    between = np.rint((centres[1:] + centres[:-1]) / 2).astype(int)
    assert (affinity[between[:, 1], between[:, 0]] > 0.4).all()


# --- measures ------------------------------------------------------------------------------------


def test_iou_by_hand(tool):
    assert tool.iou(box(0, 0, 10, 10), box(5, 0, 15, 10)) == pytest.approx(1 / 3)
    # An hourglass encloses two triangles, half of its square.
    hourglass = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], float)
    assert tool.iou(hourglass, box(0, 0, 10, 10)) == pytest.approx(0.5)
    assert tool.iou(np.zeros((4, 2)), np.zeros((4, 2))) == 0


def verdict(tool, bend: float, ious: list[float], corners: int = 14, whole: bool = True):
    outline = np.zeros((corners, 2))
    return tool.Verdict(
        tool.Case("line", bend, 30, 12),
        np.zeros((40, 60, 3), np.uint8),
        box(5, 5, 50, 20),
        [box(4, 4, 51, 21), outline[:4], outline],
        np.array(ious),
        np.full(3, 0.002),
        whole,
    )


def test_tables_and_losses_by_hand(tool):
    verdicts = [
        verdict(tool, 60, [0.5, 0.6, 0.9]),
        verdict(tool, -60, [0.3, 0.8, 0.7], 4),
        verdict(tool, 0, [0.9, 0.9, 0.8]),
    ]
    text = tool.report(verdicts)
    assert "| 60° | 0.400 / 0.700 / 0.800 |" in text
    assert "| 0° | 0.900 / 0.900 / 0.800 |" in text
    assert "| ours | 0.8000 | 1.000 | 1.000 | 0.667 | 2.00 |" in text
    assert "| box | 0.5667 | 0.667 | 0.333 | 0.000 | 2.00 |" in text
    assert tool.losses(verdicts) == ["lines bent 0°, turned 30°: 0.800 < 0.900"]
    waves = [replace(v, case=replace(v.case, kind="wave", bend=0.3)) for v in verdicts[2:]]
    text = tool.report([*verdicts, *waves])
    assert "| amplitude | turned 30° |" in text
    assert "| 0.3 h | 0.900 / 0.900 / 0.800 |" in text
    assert tool.losses(waves) == ["waves bent 0.3 h, turned 30°: 0.800 < 0.900"]


def test_broken_words_count_with_their_best_part(tool):
    region = np.zeros((60, 120), np.float32)
    region[20:30, 10:40] = region[20:30, 50:110] = 1
    word = SimpleNamespace(polygon=box(100, 40, 220, 60), chars=box(180, 40, 220, 60)[None])
    case, picture = tool.Case("line", 0, 0, 20), np.zeros((120, 240, 3), np.uint8)
    found = tool.judge(case, picture, word, (region, np.zeros_like(region)))
    assert found.ious[2] > 0.7
    assert found.whole
    word.chars = np.stack([box(20, 40, 60, 60), box(180, 40, 220, 60)])
    assert not tool.judge(case, picture, word, (region, np.zeros_like(region))).whole
    nothing = tool.judge(case, picture, word, (0 * region, 0 * region))
    assert nothing.found == [None] * 3
    assert not nothing.ious.any()
    assert tool.tile(nothing).shape[2] == 3


# --- the tool ------------------------------------------------------------------------------------


class Reader:
    """In place of a network: the score is 1 but for the room that is left around a word."""

    def detect(self, pictures):
        height, width = np.array(pictures[0].shape[:2]) // 2
        region = np.zeros((height, width), np.float32)
        region[14:-14, 14:-14] = 1
        return [SimpleNamespace(score_maps={"region": region, "affinity": 0 * region})]


def test_tool_prints_tables_and_draws(tool, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    arguments = ["--words", "2", "--bends", "0", "90", "--orientations", "0", "60"]
    arguments += ["--amplitudes", "0.6"]
    tool.main([*arguments, "--heights", "20", "--out", str(out)])
    text = capsys.readouterr().out
    assert "Mean IoU, lines" in text
    assert "Mean IoU, columns" in text
    assert "Mean IoU, waves" in text
    assert "| 20 words | mean IoU |" in text
    picture = cv2.imread(str(out))
    assert picture.shape[0] > 200
    assert picture.shape[1] > 4 * 320
    for colour in tool.COLOURS.values():
        assert (picture == colour).all(axis=2).any()


def test_tool_judges_a_detectors_maps(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool.TextDetector, "official", lambda **_: Reader())
    arguments = ["--official", "--words", "2", "--bends", "0", "--orientations", "0"]
    tool.main([*arguments, "--kinds", "line", "--heights", "24"])
    text = capsys.readouterr().out
    assert "| 2 words | mean IoU |" in text
    ours = next(line for line in text.splitlines() if line.startswith("| ours"))
    assert float(ours.split("|")[2]) > 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--words", "0"], "--words"),
        (["--bends", "340"], "--bends"),
        (["--bends", "-30"], "--bends"),
        (["--heights", "2"], "--heights"),
        (["--amplitudes", "-1"], "--amplitudes"),
        (["--checkpoint", "x.pth"], "--checkpoint: needs the --config"),
    ],
)
def test_bad_arguments_are_named(tool, arguments, message):
    with pytest.raises(ValueError, match=message):
        tool.main(arguments)
