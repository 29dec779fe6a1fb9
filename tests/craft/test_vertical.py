"""Text that runs downwards, from its labels to its words, characters, outlines and lines.

Stacked letters (a column, as in Chinese or on shop signs) and a line turned by a right angle; what
the network would predict is drawn from the exact characters.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
import torch
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

from mmtextplug.craft.grouping import group_words
from mmtextplug.craft.link_targets import centre_line, draw_centre_lines
from mmtextplug.craft.page_chars import word_characters
from mmtextplug.craft.targets import WordLabels, draw_score_maps, places_of
from mmtextplug.craft.word_crops import words_without_characters
from mmtextplug.craft.word_labeller import WordLabeller
from mmtextplug.datasets.fonts import bundled_fonts
from mmtextplug.datasets.typesetting import joined, line_extent, set_column, set_line
from mmtextplug.datasets.word_shapes import (
    LineShape,
    bent_shape,
    flat_shape,
    rotation,
    scaling,
    translation,
)

SIZE = (200, 120)
FONT = next(path for path in bundled_fonts() if path.endswith("DejaVuSans.ttf"))


def standing(words: list[str], kind: str, unit: str = "word", angle: float = 0.0) -> LineShape:
    """Text from the top of a map of `SIZE` to its bottom, in its middle."""
    column = kind == "stacked"
    line = set_column(words, FONT, 24) if column else set_line(words, FONT, 24)
    if unit == "line":
        line = [joined(line, column=column)]
    x0, y0, x1, y1 = line_extent(line)
    extent = (y1 - y0) if column else (x1 - x0)
    turn = rotation(angle + (0 if column else math.pi / 2))
    scale = scaling(160 / extent, 160 / extent)
    centre = translation(-(x0 + x1) / 2, -(y0 + y1) / 2)
    return flat_shape(line, translation(60, 100) @ turn @ scale @ centre)


def score_maps(shape: LineShape) -> tuple[np.ndarray, np.ndarray]:
    words = shape.words
    labels = WordLabels(
        [w.polygon for w in words],
        [w.chars for w in words],
        np.ones(len(words), np.float32),
        places=places_of([w.text for w in words]),
    )
    maps = draw_score_maps([labels], SIZE)
    assert maps.skipped == 0
    return maps.region[0].numpy(), maps.affinity[0].numpy()


def iou(first: np.ndarray, second: np.ndarray) -> float:
    a, b = (shapely.Polygon(p).buffer(0) for p in (first, second))
    return a.intersection(b).area / a.union(b).area


KINDS = pytest.mark.parametrize("kind", ["stacked", "turned"])
ANGLES = pytest.mark.parametrize("angle", [-0.25, 0.0, 0.25])


@KINDS
@ANGLES
def test_a_word_and_its_characters_downwards(kind, angle):
    shape = standing(["HOTEL"], kind, angle=angle)
    words = group_words(*score_maps(shape), polygons=True)
    assert len(words) == 1
    assert iou(words.boxes[0], shape.words[0].polygon) > 0.6
    assert iou(words.polygons[0], shape.words[0].polygon) > 0.6
    chars = word_characters(score_maps(shape)[0], words.boxes[0])
    assert len(chars) == 5
    assert (np.diff(chars.mean(1)[:, 1]) > 0).all()
    truth = shape.words[0].chars
    # Stacked letters stand; the corners of a found one begin where reading does, at the upper
    # right: as areas they are the same.
    assert all(iou(found, real) > 0.45 for found, real in zip(chars, truth, strict=True))


@KINDS
def test_two_words_stay_two(kind):
    shape = standing(["BAR", "CAFE"], kind)
    words = group_words(*score_maps(shape))
    assert len(words) == 2
    upper, lower = sorted(words.boxes.tolist(), key=lambda box: box[0][1])
    assert iou(np.array(upper), shape.words[0].polygon) > 0.6
    assert iou(np.array(lower), shape.words[1].polygon) > 0.6


class Sees:
    """A teacher whose region score is written into the image's first channel."""

    def region(self, crops: torch.Tensor, amp: torch.dtype | None = None) -> torch.Tensor:
        return crops[:, 0, ::2, ::2]


@KINDS
@ANGLES
def test_pseudo_labels(kind, angle):
    shape = standing(["HOTEL"], kind, angle=angle)
    region, _ = score_maps(shape)
    sample = TextDetDataSample(metainfo=dict(img_shape=SIZE))
    polygon = shape.words[0].polygon.astype(np.float32).ravel()
    sample.gt_instances = InstanceData(
        polygons=[polygon], chars=[None], texts=["HOTEL"], ignored=np.zeros(1, bool)
    )
    crops, left_out = words_without_characters([sample])
    assert (len(crops), left_out) == (1, 0)
    image = torch.from_numpy(region)[None, None].expand(1, 3, *SIZE)
    (label,) = WordLabeller(max_zoom=4).label(Sees(), image, crops)
    assert label.split.confidence == 1
    truth = shape.words[0].chars
    assert len(label.chars) == len(truth) == 5
    assert all(iou(found, real) > 0.5 for found, real in zip(label.chars, truth, strict=True))


@pytest.mark.parametrize("bend", [-1.2, 1.2])
def test_a_standing_curve_has_an_outline_that_follows_it(bend):
    line = set_line(["Promenade"], FONT, 24)
    x0, y0, x1, y1 = line_extent(line)
    scale = 150 / (x1 - x0)
    shape = bent_shape(line, (scale, scale), bend / 150, (y0 + y1) / 2)
    shape = shape.mapped(translation(60, 100) @ rotation(math.pi / 2))
    bounds = shape.bounds()
    assert (bounds > 0).all()
    assert (bounds[2:] < SIZE[::-1]).all()
    words = group_words(*score_maps(shape), polygons=True)
    assert len(words) == 1
    truth = shape.words[0].polygon
    assert len(words.polygons[0]) > 4
    assert iou(words.polygons[0], truth) > max(0.65, iou(words.boxes[0], truth) + 0.1)
    chars = word_characters(score_maps(shape)[0], words.polygons[0])
    assert len(chars) == 9
    assert (np.diff(chars.mean(1)[:, 1]) > 0).all()


@KINDS
def test_a_refined_link_joins_the_words_of_a_standing_line(kind):
    words = standing(["BAR", "CAFE"], kind)
    line = standing(["BAR", "CAFE"], kind, unit="line").words[0]
    assert line.text == "BAR CAFE"
    centre = centre_line(line.polygon)
    (x0, top), (x1, bottom) = centre.points
    assert abs(x0 - x1) < 1
    assert bottom - top == pytest.approx(160, abs=2)
    region, _ = score_maps(words)
    link = draw_centre_lines([centre], SIZE)[0]
    found = group_words(region, link)
    assert len(found) == 1
    assert iou(found.boxes[0], line.polygon) > 0.6


@KINDS
def test_affinity_by_line_bridges_spaces(kind):
    """A line with its spaces bridged is one component; with the text's spaces, two."""
    line = standing(["BAR", "CAFE"], kind, unit="line").words[0]
    for places, number in ((None, 1), (places_of([line.text]), 2)):
        labels = WordLabels([line.polygon], [line.chars], np.ones(1, np.float32), places=places)
        maps = draw_score_maps([labels], SIZE)
        assert len(group_words(maps.region[0], maps.affinity[0])) == number
