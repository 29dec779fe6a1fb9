"""What is drawn, pixel by pixel, and that nothing is drawn on the caller's image."""

from __future__ import annotations

import numpy as np
import pytest

from mmtextplug.visualization.draw import (
    draw_chars,
    draw_words,
    heat_map,
    line_thickness,
    overlay_score,
    side_by_side,
)

SQUARE = np.array([[10, 20], [50, 20], [50, 40], [10, 40]], np.float32)


def test_colours_run_from_blue_to_red():
    colours = heat_map(np.array([[-1.0, 0.0, 0.5, 1.0, 7.0, np.nan, np.inf]]))[0].tolist()
    # The ends of the map, as OpenCV has it: dark blue, dark red; its middle is green.
    assert colours[0] == colours[1] == colours[5] == [128, 0, 0]
    assert colours[3] == colours[4] == colours[6] == [0, 0, 128]
    assert np.argmax(colours[2]) == 1


def test_scores_are_enlarged_before_they_are_coloured():
    score = np.zeros((4, 4), np.float32)
    score[:, 2:] = 1
    large = heat_map(score, (80, 40))
    assert large.shape == (40, 80, 3)
    np.testing.assert_array_equal(large[:, :20], np.full((40, 20, 3), [128, 0, 0]))
    np.testing.assert_array_equal(large[:, -20:], np.full((40, 20, 3), [0, 0, 128]))
    assert large[0, 40, 1] > 200  # half-way the score is 0.5, not a mixture of blue and red


def test_overlay_mixes_colours_and_image():
    image = np.full((6, 8, 3), 200, np.uint8)
    picture = overlay_score(image, np.zeros((3, 4)), 0.25)
    np.testing.assert_array_equal(picture, np.full((6, 8, 3), [182, 150, 150]))
    np.testing.assert_array_equal(overlay_score(image[..., 0], np.zeros((3, 4)), 0.25), picture)


@pytest.mark.parametrize("flat", [False, True])
def test_words_are_outlined(flat):
    image = np.zeros((60, 80, 3), np.uint8)
    polygon = SQUARE.reshape(-1) if flat else SQUARE
    picture = draw_words(image, [polygon], (50, 100, 250))
    outline = np.concatenate([picture[[20, 40], 10:51], picture[20:41, [10, 50]].swapaxes(0, 1)], 1)
    # Soft edges leave a line of one pixel a little paler than its colour.
    np.testing.assert_allclose(outline, np.broadcast_to([50, 100, 250], outline.shape), rtol=0.25)
    assert not picture[25:36, 15:46].any()
    assert not picture[:18].any()
    assert not image.any()


def test_scores_are_written_at_the_first_corner():
    image = np.zeros((200, 300, 3), np.uint8)
    plain = draw_words(image, [SQUARE + 60])
    written = draw_words(image, [SQUARE + 60], scores=[0.5])
    changed = np.argwhere((plain != written).any(2))
    assert len(changed) > 20
    np.testing.assert_allclose(changed.max(0)[0], 80, atol=6)
    np.testing.assert_allclose(changed.min(0)[1], 70, atol=6)
    with pytest.raises(ValueError, match="zip"):
        draw_words(image, [SQUARE], scores=[0.5, 0.6])


@pytest.mark.parametrize(
    "polygon",
    [SQUARE * np.nan, np.zeros((0, 2)), SQUARE + 1e30, SQUARE - 1e30, np.full((4, 2), np.inf)],
)
def test_what_cannot_be_seen_is_not_drawn(polygon):
    image = np.zeros((60, 80, 3), np.uint8)
    assert not draw_words(image, [polygon]).any()
    assert not draw_words(image, []).any()


@pytest.mark.parametrize("wrap", [lambda q: q, lambda q: [q], lambda q: [None, q[:1], q[1:]]])
def test_characters_are_outlined(wrap):
    image = np.zeros((60, 80), np.uint8)
    quads = np.stack([SQUARE, SQUARE + np.float32([25, 15])])
    picture = draw_chars(image, wrap(quads), (0, 0, 255))
    assert picture.shape == (60, 80, 3)
    for quad in quads.astype(int):
        corners = picture[quad[:, 1], quad[:, 0]]
        assert (corners[:, :2] == 0).all()
        assert (corners[:, 2] > 200).all()
    assert not image.any()


def test_lines_are_as_thick_as_the_image_asks_for():
    assert line_thickness(np.zeros((10, 10))) == 1
    assert line_thickness(np.zeros((720, 1280))) == 1
    assert line_thickness(np.zeros((9000, 100, 3))) == 10


def test_pictures_side_by_side():
    left = np.full((20, 30, 3), 7, np.uint8)
    right = np.full((40, 80), 9, np.uint8)
    row = side_by_side([left, right], gap=5)
    assert row.shape == (20, 30 + 5 + 40, 3)
    assert (row[:, :30] == 7).all()
    assert (row[:, 30:35] == 255).all()
    assert (row[:, 35:] == 9).all()


def test_titles_stand_on_white_above():
    images = [np.zeros((20, 100, 3), np.uint8)] * 2
    row = side_by_side(images, ["region", "a title far too long for so small a picture"])
    strip = row[: row.shape[0] - 20]
    assert len(strip) > 10
    assert not row[-20:, :100].any()
    assert (strip[0] == 255).all()
    assert (strip[:, :100] < 128).any()
    assert (strip[:, 104:] < 128).any()
    assert (strip[:, 100:104] == 255).all()


@pytest.mark.parametrize(("count", "titles"), [(0, None), (2, ["one"])])
def test_titles_must_match(count, titles):
    with pytest.raises(ValueError, match=f"got {count} images"):
        side_by_side([np.zeros((2, 2), np.uint8)] * count, titles)


def test_lines_do_not_hide_small_words_on_large_pictures():
    image = np.zeros((2700, 2700), np.uint8)
    word = np.array([[100, 100], [400, 100], [400, 116], [100, 116]], float)
    tall = word * [1, 4]
    # 2,700 / 900 = 3 px for a picture of this size; an eighth of 16 px is 2.
    for words, thickness in (([word], 2), ([tall], 3), ([word, word, tall], 2)):
        expected = draw_words(image, words, thickness=thickness)
        np.testing.assert_array_equal(draw_words(image, words), expected)
    assert not draw_words(image, [word])[104:113, 250].any()
