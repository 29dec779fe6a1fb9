"""Pages of words and overviews of images: what is drawn, where, in which colour."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmtextplug.craft.char_split import split_word
from mmtextplug.craft.rectify import word_band
from mmtextplug.craft.targets import ScoreMaps, WordLabels, draw_score_maps
from mmtextplug.craft.word_crops import WordCrop
from mmtextplug.craft.word_labeller import WordLabel
from mmtextplug.datasets.graphemes import slots
from mmtextplug.visualization.pseudo_labels import confidence_colour, draw_overview, draw_page
from mmtextplug.visualization.score_maps import IGNORED_COLOUR
from mmtextplug.visualization.sheet import TITLE_PX
from mmtextplug.visualization.word_page import WordPage, read_page

RED, GREEN = (60, 30, 225), (170, 215, 0)
MARGIN, GAP, TITLE = 16, 14, round(1.5 * TITLE_PX)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def labelled(
    text: str | None, seen: int, outline: np.ndarray, shape=(120, 160), number: int = 0
) -> tuple[WordLabel, InstanceData, ScoreMaps]:
    """A word in whose region score there are so many characters."""
    places = None if text is None else slots(text)
    band = word_band(outline, length=None if places is None else sum(places))
    width, height = band.size(32)
    y, x = np.mgrid[:height, :width]
    region = np.zeros((height, width), np.float32)
    for i in range(seen):
        far = ((x - (i + 0.5) * width / seen) / (0.3 * width / seen)) ** 2
        region = np.maximum(region, np.exp(-far / 2 - ((y - height / 2) / 8) ** 2))
    split = split_word(region.astype(np.float32), places)
    chars = band.to_image(split.quads, (width, height)).astype(np.float32)
    words = InstanceData(polygons=[outline.ravel()], texts=[text])
    words.ignored = torch.tensor([False])
    maps = draw_score_maps(
        [WordLabels([outline], [chars], np.array([split.confidence], np.float32))], shape
    )
    return WordLabel(WordCrop(0, number, band, places), region, split, chars), words, maps


def make_page(text: str | None, seen: int, outline: np.ndarray, colour: int = 90) -> WordPage:
    label, words, maps = labelled(text, seen, outline)
    image = np.full((120, 160, 3), colour, np.uint8)
    size = label.crop.band.size(64, 1024)
    return read_page(
        image,
        words,
        maps,
        label,
        label.split.confidence,
        size=size,
        background=0.05,
    )


WORD = box(20, 40, 100, 72)


def test_colours_of_confidence():
    assert confidence_colour(0) == confidence_colour(0.5) == RED
    assert confidence_colour(0.75) == (0, 200, 255)
    assert confidence_colour(1) == GREEN
    assert confidence_colour(0.625) == (30, 115, 240)


def has_colour(part: np.ndarray, colour: tuple[int, ...]) -> bool:
    return bool((np.abs(part.astype(int) - colour).max(-1) <= 3).any())


@pytest.mark.parametrize(("seen", "colour", "other"), [(4, GREEN, RED), (1, RED, GREEN)])
def test_a_page_is_in_the_colour_of_its_confidence(seen, colour, other):
    page = draw_page(make_page("abcd", seen, WORD))
    assert has_colour(page, colour)
    assert not has_colour(page, other)
    # The bar below the heading.
    bars = np.flatnonzero((page[:, MARGIN:-MARGIN] == colour).all((1, 2)))
    assert len(bars) == 6
    assert np.ptp(bars) == 5


def panels(page: np.ndarray, word: WordPage) -> list[np.ndarray]:
    """The six panels beside the image of a page in two columns, without their titles."""
    width = round(180 * word.crop.shape[1] / word.crop.shape[0])
    top = np.flatnonzero((page[:, MARGIN:-MARGIN] == GREEN).all((1, 2)))[-1] + 1 + GAP
    left = page.shape[1] - MARGIN - 2 * width - GAP
    # Letters stand below the panels of the second row.
    tops = [top, top + TITLE + 180 + GAP, top + 2 * (TITLE + 180 + GAP) + 30]
    return [
        page[y + TITLE : y + TITLE + 180, x : x + width]
        for y in tops
        for x in (left, left + width + GAP)
    ]


def test_the_panels_of_a_page():
    word = make_page("abcd", 4, WORD)
    crop, score, shed, chars, region, affinity = panels(draw_page(word), word)
    assert crop.shape == (180, 450, 3)
    assert (crop == 90).all()
    # A pixel of the score takes 5.6 of the page: a border may be so far off.
    middles, borders = [56, 169, 281, 394], [112, 225, 337]
    for x in middles:
        # A score of 1 is dark red over grey, in prediction and label; between characters less.
        for panel in (score, region):
            blue, green, red = panel[90, x].astype(int)
            assert red > 80
            assert max(blue, green) < 60
        assert (shed[90, x] != shed[5, x]).any()  # the seed is stronger than its basin
        assert (chars[90, x] == 90).all()
    for x in borders:
        assert affinity[90, x, 2] > 80
        assert score[90, x, 2] < 80
        assert (chars[90, x - 7 : x + 8] != 90).any()
        assert shed[90, x - 7 : x + 8].max() > 200  # a white cut
    assert affinity[90, middles[0] // 2, 2] < 80
    # Different basins on both sides of a cut.
    assert (shed[90, 105] != shed[90, 120]).any()


def test_letters_below_the_characters_are_those_of_the_text():
    one, two = (draw_page(make_page(text, 4, WORD)) for text in ("abcd", "abxd"))
    assert one.shape == two.shape
    rows = np.flatnonzero((one != two).any((1, 2)))
    # In the heading, and in one strip of letters.
    assert len(np.flatnonzero(np.diff(rows) > 50)) == 1
    low = rows[rows > 100]
    columns = np.flatnonzero((one[low] != two[low]).any((0, 2)))
    assert 4 < np.ptp(columns) < 40


def test_numbers_stand_where_letters_do_not_fit():
    # Three of four characters were seen, and no threshold shows four: 1, 2, 3 for any text.
    one, two = (make_page(text, 3, WORD) for text in ("abcd", "wxyz"))
    assert len(one.label.split.quads) == 3
    rows = np.flatnonzero((draw_page(one) != draw_page(two)).any((1, 2)))
    assert np.ptp(rows) < 50


def test_a_word_that_the_border_cuts_says_so():
    page = make_page("abcd", 4, WORD)
    whole = draw_page(page)
    cut = draw_page(replace(page, text="abcdefgh"))
    assert cut.shape == whole.shape
    heading = slice(MARGIN + 45, MARGIN + 45 + round(1.5 * (TITLE_PX + 2)))
    dark = [int((picture[heading] < 128).any(2).sum()) for picture in (whole, cut)]
    assert dark[1] > 1.4 * dark[0]


@pytest.mark.parametrize(
    ("text", "seen", "outline"),
    [
        (None, 3, WORD),
        ("i", 1, box(10, 10, 14, 60)),
        ("東京 العربية", 2, WORD),
        ("x" * 60, 0, WORD),
        ("ab", 2, box(0, 0, 159, 2)),
        ("ab", 2, box(-400, -400, 600, 700)),
        ("abc", 3, box(155, 110, 400, 140)),
        ("a", 1, box(30, 30, 30.5, 30.5)),
        ("abcd", 4, np.array([[20, 60], [50, 40], [90, 60], [80, 75], [50, 60], [28, 75]], float)),
    ],
)
def test_any_word_fits_on_a_page(text, seen, outline):
    page = make_page(text, seen, np.asarray(outline, np.float32))
    picture = draw_page(page)
    assert picture.dtype == np.uint8
    assert 100 < picture.shape[0] <= 1600
    assert 200 < picture.shape[1] <= 2 * MARGIN + 420 + GAP + 1200
    assert (picture[:MARGIN] == 255).all()
    assert has_colour(picture, confidence_colour(page.confidence))


def test_overview():
    outlines = [box(10, 10, 50, 30), box(10, 40, 50, 60), box(60, 10, 100, 30), box(60, 40, 99, 60)]
    found = [labelled("ab", 2, outlines[0])[0], labelled("ab", 0, outlines[1], number=1)[0]]
    known = np.stack([box(60, 40, 80, 60), box(80, 40, 99, 60)])
    words = InstanceData(polygons=[outline.ravel() for outline in outlines])
    words.ignored = torch.tensor([False, False, True, False])
    words.chars = [found[0].chars, found[1].chars, None, known]
    values = np.array([1, 0.5, 0, 1], np.float32)
    maps = draw_score_maps([WordLabels(outlines, words.chars, values)], (82, 164))
    image = np.full((82, 164, 3), 90, np.uint8)
    picture = draw_overview(image, words, found, [1.0, 0.5], maps)
    assert picture.shape[1] == 2 * MARGIN + 2 * 820 + GAP
    assert (image == 90).all()
    top = MARGIN + TITLE
    place = picture[top : top + 410, MARGIN : MARGIN + 820]
    for outline, colour in zip(outlines, (GREEN, RED, IGNORED_COLOUR, None)):
        left, bottom = (outline[3] * 5).astype(int)
        corner = place[bottom - 4 : bottom + 8, left - 4 : left + 8]
        if colour is None:  # a thin line between two pixels
            assert (corner.min(2) > 150).any()
        else:
            assert has_colour(corner, colour)
        assert (place[bottom - 40, left + 50] == 90).all()
    # Both words are split in the middle, by a thin line.
    for y, colour in ((20, GREEN), (50, RED)):
        line = place[y * 5, 30 * 5 - 4 : 30 * 5 + 8].astype(int)
        assert (np.abs(line - colour).max(1) < 80).any()
    # The region label beside it, the confidence below: blue in the ignored word, red outside.
    region = picture[top : top + 410, MARGIN + 820 + GAP :]
    assert region[20 * 5, 20 * 5, 2] > 80
    assert region[20 * 5, 80 * 5, 2] < 60
    trust = picture[top + 410 + GAP + TITLE :, MARGIN + 820 + GAP :]
    assert trust[20 * 5, 80 * 5, 0] > 80
    assert trust[20 * 5, 80 * 5, 2] < 60
    assert trust[70 * 5, 80 * 5, 2] > 80
    assert trust[70 * 5, 80 * 5, 0] < 60
    # The legend has the colours even where the picture has not.
    empty = InstanceData(polygons=[], ignored=torch.zeros(0, dtype=torch.bool))
    legend = draw_overview(image, empty, [], [], maps)[-60:]
    for colour in (RED, GREEN, IGNORED_COLOUR):
        assert has_colour(legend, colour)
