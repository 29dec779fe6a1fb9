"""What is made of one annotated word, and which faults are named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.datasets.annotations import read_word, visible_length

SQUARE = [2, 3, 12, 3, 12, 9, 2, 9]
QUADS = [[2, 3, 7, 3, 7, 9, 2, 9], [7, 3, 12, 3, 12, 9, 7, 9]]
NAN, INF = float("nan"), float("inf")


def test_a_word_with_everything():
    instance = {"polygon": SQUARE, "ignore": False, "text": "ab", "chars": QUADS}
    word, fault = read_word(instance, (20, 30))
    assert fault == ""
    assert word.text == "ab"
    assert word.ignored is False
    assert word.polygon.dtype == word.chars.dtype == np.float32
    np.testing.assert_array_equal(word.polygon, [[2, 3], [12, 3], [12, 9], [2, 9]])
    np.testing.assert_array_equal(word.chars, np.reshape(QUADS, (2, 4, 2)))


def test_a_box_becomes_a_polygon_clockwise_from_the_top_left():
    word, fault = read_word({"bbox": [2, 3, 12, 9]})
    assert fault == ""
    np.testing.assert_array_equal(word.polygon, [[2, 3], [12, 3], [12, 9], [2, 9]])
    assert (word.text, word.chars, word.ignored) == (None, None, False)


def test_the_polygon_wins_over_the_box_and_may_have_any_number_of_points():
    polygon = [0, 0, 5, -2, 10, 0, 10, 6, 5, 4]
    word, _ = read_word({"polygon": polygon, "bbox": [50, 50, 60, 60]})
    np.testing.assert_array_equal(word.polygon.reshape(-1), polygon)
    nested, _ = read_word({"polygon": [[0, 0], [5, -2], [10, 0], [10, 6], [5, 4]]})
    np.testing.assert_array_equal(nested.polygon, word.polygon)
    assert read_word({"polygon": None, "bbox": [0, 0, 5, 5]})[0] is not None


@pytest.mark.parametrize(
    ("instance", "fault"),
    [
        ({}, "no lists of numbers"),
        ({"polygon": None}, "no lists of numbers"),
        ({"polygon": "2,3,12,3,12,9"}, "no lists of numbers"),
        ({"polygon": {"x": 1}}, "no lists of numbers"),
        ({"polygon": [2, 3, [12], 3, 12, 9]}, "no lists of numbers"),
        ({"polygon": [None] * 8}, "no lists of numbers|NaN"),
        ({"polygon": [2, 3, "a", 3, 12, 9]}, "no lists of numbers"),
        ({"polygon": [2, 3, 10**400, 3, 12, 9]}, "no lists of numbers"),
        ({"bbox": [2, 3, 12]}, "no lists of numbers"),
        ({"bbox": [2, 3, 12, 9, 9]}, "no lists of numbers"),
        ({"bbox": 5}, "no lists of numbers"),
        ({"polygon": []}, "fewer than 3 points"),
        ({"polygon": [2, 3, 12, 9]}, "fewer than 3 points"),
        ({"polygon": [2, 3, 12, 3, 12, 9, 2]}, "odd number"),
        ({"polygon": [2, 3, NAN, 3, 12, 9]}, "NaN or infinite"),
        ({"polygon": [2, 3, INF, 3, 12, 9]}, "NaN or infinite"),
        ({"bbox": [2, 3, -INF, 9]}, "NaN or infinite"),
        ({"polygon": [2, 3, 12, 3, 7, 3]}, "no area"),
        ({"polygon": [2, 3] * 4}, "no area"),
        ({"bbox": [2, 3, 2, 9]}, "no area"),
        ({"bbox": [30, 3, 40, 9]}, "outside of the image"),
        ({"bbox": [-10, 3, 0, 9]}, "outside of the image"),
        ({"bbox": [3, 20, 9, 30]}, "outside of the image"),
        ({"bbox": [3, -9, 9, 0]}, "outside of the image"),
    ],
)
def test_outlines_of_no_use_are_named(instance, fault):
    word, found = read_word(instance, (20, 30))
    assert word is None
    assert re.search(fault, found)


def test_outlines_that_reach_over_the_border_stay():
    assert read_word({"bbox": [29.5, 3, 40, 9]}, (20, 30))[0] is not None
    assert read_word({"bbox": [-10, -10, 400, 400]}, (20, 30))[0] is not None
    # Without a size nothing is outside.
    assert read_word({"bbox": [-10, -10, -5, -5]})[0] is not None


def test_area_far_from_the_origin_is_not_lost():
    word, fault = read_word({"bbox": [9000, 9000, 9000.5, 9000.5]})
    assert fault == ""
    assert word is not None


@pytest.mark.parametrize(
    ("chars", "text", "fault"),
    [
        (QUADS[:1], "ab", "number of chars differs"),
        (QUADS, "abc", "number of chars differs"),
        ([], "ab", "number of chars differs"),
        ([QUADS[0], QUADS[1][:6]], "ab", "no list of 8-number quads"),
        ([[1, 2, 3]], "a", "no list of 8-number quads"),
        ("ab", "ab", "no list of 8-number quads"),
        (5, "ab", "no list of 8-number quads"),
        ({"a": QUADS[0]}, "ab", "no list of 8-number quads"),
        ([QUADS[0], [*QUADS[1][:7], NAN]], "ab", "NaN or infinite"),
        ([QUADS[0], [*QUADS[1][:7], INF]], "ab", "NaN or infinite"),
        # Reversed, crossed, with a corner inside, with two corners in one, without area.
        ([QUADS[0], [7, 9, 12, 9, 12, 3, 7, 3]], "ab", "quad without area or with crossed"),
        ([QUADS[0], [7, 3, 12, 9, 12, 3, 7, 9]], "ab", "quad without area or with crossed"),
        ([[2, 3, 7, 3, 3, 4, 2, 9], QUADS[1]], "ab", "quad without area or with crossed"),
        ([[2, 3, 7, 3, 7, 3, 2, 9], QUADS[1]], "ab", "quad without area or with crossed"),
        ([[2, 3, 7, 3, 7, 3, 2, 3], QUADS[1]], "ab", "quad without area or with crossed"),
        ([QUADS[0], [5] * 8], "ab", "quad without area or with crossed"),
        ([[30, 3, 35, 3, 35, 9, 30, 9]] * 2, "ab", "chars are outside of the image"),
        ([[-5, 3, 0, 3, 0, 9, -5, 9]] * 2, "ab", "chars are outside of the image"),
        ([[7, 20, 12, 20, 12, 29, 7, 29]] * 2, "ab", "chars are outside of the image"),
        ([[2, -6, 7, -6, 7, 0, 2, 0]] * 2, "ab", "chars are outside of the image"),
    ],
)
def test_characters_of_no_use_are_named_and_become_unknown(chars, text, fault):
    word, found = read_word({"polygon": SQUARE, "text": text, "chars": chars}, (20, 30))
    assert fault in found
    assert word.chars is None
    assert word.text == text
    assert word.ignored is False


def test_characters_that_reach_over_the_border_stay():
    over = [[-4, -4, 1, -4, 1, 1, -4, 1], [29, 19, 40, 19, 40, 30, 29, 30]]
    word, fault = read_word({"polygon": SQUARE, "text": "ab", "chars": over}, (20, 30))
    assert fault == ""
    np.testing.assert_array_equal(word.chars, np.reshape(over, (2, 4, 2)))
    # Without a size nothing is outside.
    far = [QUADS[0], [90, 3, 95, 3, 95, 9, 90, 9]]
    assert read_word({"polygon": SQUARE, "text": "ab", "chars": far})[0].chars.shape == (2, 4, 2)


def test_characters_without_a_text_are_taken_as_they_are():
    word, fault = read_word({"polygon": SQUARE, "chars": QUADS})
    assert (fault, word.chars.shape) == ("", (2, 4, 2))
    word, fault = read_word(
        {"polygon": SQUARE, "text": "a b", "chars": QUADS}
    )  # a space has no box
    assert (fault, word.chars.shape) == ("", (2, 4, 2))


@pytest.mark.parametrize("text", [5, 1.5, ["a"], {"a": 1}, True])
def test_texts_that_are_no_strings_are_named(text):
    word, fault = read_word({"polygon": SQUARE, "text": text, "chars": QUADS})
    assert "text is no string" in fault
    assert word.text is None
    assert word.chars is not None


@pytest.mark.parametrize(
    "instance", [{"text": "###"}, {"text": ""}, {"text": "*", "ignore": False},
                 {"text": "ab", "ignore": True},
                 {"text": "ab", "ignore": 1}]
)  # fmt: skip
def test_ignored_words_keep_no_characters_and_complain_about_none(instance):
    word, fault = read_word(dict(polygon=SQUARE, chars="broken", **instance))
    assert (word.ignored, word.chars, fault) == (True, None, "")


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0), ("abc", 3), ("a b\tc\n", 3), ("é", 1), ("e\u0301", 1), ("\u200bx\u00ad", 1),
        ("文字", 2), ("a\u3000b", 2), ("é̂", 1), ("1,5!", 4), ("\x00a", 1),
    ],
)  # fmt: skip
def test_visible_length(text, length):
    assert visible_length(text) == length


NUMBER = st.floats() | st.integers()
JSON = st.none() | st.booleans() | NUMBER | st.text(max_size=3)
LISTS = st.lists(JSON, max_size=9) | st.lists(NUMBER, min_size=6, max_size=9)
QUAD_LISTS = st.lists(st.lists(NUMBER, min_size=8, max_size=8), max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    instance=st.fixed_dictionaries(
        {},
        optional={
            "polygon": JSON | LISTS | st.lists(LISTS, max_size=3),
            "bbox": JSON | LISTS | st.lists(NUMBER, min_size=4, max_size=4),
            "ignore": JSON,
            "text": JSON | LISTS,
            "chars": JSON | LISTS | QUAD_LISTS,
        },
    )
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_nothing_that_json_can_hold_raises(instance):
    word, fault = read_word(instance, (20, 30))
    assert (word is not None) or fault
    if word is not None:
        assert np.isfinite(word.polygon).all()
        assert word.polygon.shape[1] == 2
        assert word.chars is None or word.chars.shape[1:] == (4, 2)


def test_a_word_that_reaches_out_of_the_image_keeps_its_characters():
    outside = [30, 3, 35, 3, 35, 9, 30, 9]
    word, fault = read_word(
        {"bbox": [2, 3, 35, 9], "text": "ab", "chars": [QUADS[0], outside]}, (20, 30)
    )
    assert fault == ""
    assert word.chars.shape == (2, 4, 2)


def test_exchanged_corners_are_text_that_nobody_is_judged_by():
    word, fault = read_word({"polygon": [0, 0, 40, 10, 40, 0, 0, 10], "text": "ab"})
    assert fault == "polygon crosses itself and has no area; ignored"
    assert (word.ignored, word.text, word.chars) == (True, None, None)
    assert word.polygon.shape == (4, 2)
    # Points on a line are no text.
    for line in ([0, 0, 40, 10, 20, 5, 0, 0], [5, 5, 5, 5, 5, 5], [0, 0, 9, 0, 3, 0, 1, 0]):
        assert read_word({"polygon": line, "text": "ab"}) == (None, "polygon has no area")
