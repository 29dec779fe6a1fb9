"""Generated lines of several words, standing or not, and columns beside each other."""

from __future__ import annotations

import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from shapely.geometry import MultiPolygon, Polygon

from mmtextplug.datasets.fonts import bundled_fonts
from mmtextplug.datasets.text_renderer import TextRenderer, sample_rng
from mmtextplug.datasets.typesetting import joined, line_extent, moved, set_column, set_line

MONO = next(path for path in bundled_fonts() if path.endswith("DejaVuSansMono.ttf"))
PLAIN = dict(effects=False, distractors=False)


@pytest.mark.parametrize("style", ["straight", "rotated", "perspective", "curved", "vertical"])
def test_a_line_is_one_instance_around_all_its_words(style):
    renderer = TextRenderer(
        256, unit="line", styles={style: 1}, words_per_line=(2, 4), line_prob=1.0,
        char_height=(9, 14), **PLAIN,
    )  # fmt: skip
    lines = [w for i in range(6) for w in renderer.render(sample_rng(1, i)).words]
    several = [line for line in lines if " " in line.text]
    assert len(several) > 0.8 * len(lines) > 8
    assert max(line.text.count(" ") for line in lines) <= 3
    for line in lines:
        assert len(line.chars) == len(line.text.replace(" ", ""))
        outline = Polygon(line.polygon)
        assert outline.is_valid
        ink = MultiPolygon([Polygon(quad) for quad in line.chars])
        assert outline.buffer(1e-3).contains(ink)
        if style != "curved":
            assert len(line.polygon) == 4
            assert outline.area <= 1.01 * ink.convex_hull.area
        # Characters follow each other along the line.
        centres = line.chars.mean(1)
        reading = centres[-1] - centres[0]
        if style != "curved":
            assert ((np.diff(centres, axis=0) @ reading) > 0).all()


def test_lines_of_columns_keep_apart_and_stand_below_each_other():
    renderer = TextRenderer(
        320, unit="line", styles={"columns": 1}, words_per_image=(4, 12), words_per_line=(2, 2),
        line_prob=0.7, char_height=(9, 11), **PLAIN,
    )  # fmt: skip
    neighbours = 0
    for index in range(8):
        lines = renderer.render(sample_rng(2, index)).words
        assert len(lines) <= 12
        heights = [np.linalg.norm(w.polygon[3] - w.polygon[0]) for w in lines]
        for i, first in enumerate(lines):
            for j, second in enumerate(lines[:i]):
                gap = Polygon(first.polygon).distance(Polygon(second.polygon))
                assert gap > 0
                # Beside each other, as seen along the first one.
                axis = (first.polygon[1] - first.polygon[0]) / np.linalg.norm(
                    first.polygon[1] - first.polygon[0]
                )
                step = second.polygon.mean(0) - first.polygon.mean(0)
                across = abs(step @ [-axis[1], axis[0]])
                if across < 0.3 * heights[i]:
                    neighbours += 1
                    # Wider than any space between words, which is 0.8 em at most.
                    assert gap > heights[j]
    assert neighbours > 10


def test_words_of_columns_are_as_many_as_wanted():
    renderer = TextRenderer(
        256, styles={"columns": 1}, words_per_image=(5, 5), char_height=(9, 10), **PLAIN
    )
    samples = [renderer.render(sample_rng(3, i)) for i in range(6)]
    assert all(len(sample.words) <= 5 for sample in samples)
    assert all(" " not in word.text for sample in samples for word in sample.words)
    assert sum(len(sample.words) for sample in samples) >= 25


def test_joining_words_set_in_a_line_and_in_a_column():
    line = set_line(["Hg", "ace"], MONO, 40)
    one = joined(line)
    assert one.text == "Hg ace"
    assert len(one.glyphs) == len(one.boxes) == 5
    extent = line_extent(line)
    np.testing.assert_array_equal(one.boxes[:, 1], np.full(5, extent[1]))
    np.testing.assert_array_equal(one.boxes[:, 3], np.full(5, extent[3]))
    np.testing.assert_array_equal(one.boxes[:2, [0, 2]], line[0].boxes[:, [0, 2]])
    column = set_column(["IW", "1"], MONO, 40, gap=0.25, space=1.0)
    one = joined(column, column=True)
    assert one.text == "IW 1"
    assert len(set(one.boxes[:, 0])) == len(set(one.boxes[:, 2])) == 1
    # 0.25 em between inks, and 1 em more before the next word; boxes exceed inks by a pixel.
    assert one.boxes[1, 1] - one.boxes[0, 3] == 0.25 * 40 - 1
    assert one.boxes[2, 1] - one.boxes[1, 3] == 1.25 * 40 - 1


def test_moving_words():
    (word,) = set_line(["ab"], MONO, 32)
    (there,) = moved([word], 7, -3)
    np.testing.assert_array_equal(there.boxes, word.boxes + np.array([7, -3, 7, -3]))
    assert [(g.x - h.x, g.y - h.y) for g, h in zip(there.glyphs, word.glyphs)] == [(7, -3)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unit": "page"}, "unit must be one of word, line, got 'page'"),
        ({"words_per_line": (0, 2)}, "words_per_line must be"),
        ({"words_per_line": (3, 2)}, "words_per_line must be"),
        ({"words_per_line": (2.5, 3)}, "words_per_line must be whole numbers"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextRenderer(**arguments)


def test_lines_pass_the_checks_of_the_pipeline_with_their_characters():
    with DefaultScope.overwrite_default_scope("mmocr"):
        dataset = DATASETS.build(
            dict(
                type="GeneratedTextDataset",
                num_samples=3,
                renderer=dict(unit="line", line_prob=1.0),
            )
        )
        load = TRANSFORMS.build(dict(type="LoadCharAnnotations"))
    for index in range(3):
        item = dataset[index]
        loaded = load(dict(item))
        assert len(loaded["gt_chars"]) == len(item["instances"]) > 0
        assert all(chars is not None for chars in loaded["gt_chars"])
