"""What counts as a character: counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtextplug.datasets.graphemes import slots, slots_along, visible_length


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0), ("   ", 0), ("abc", 3), ("a b\tc\n", 3), ("é", 1), ("e\u0301", 1), ("é̂", 1),
        ("\u200bx\u00ad", 1), ("文字", 2), ("a\u3000b", 2), ("1,5!", 4), ("\x00a", 1),
        ("नि", 1),  # a vowel sign that takes room of its own, but belongs to its letter
        ("각", 1), ("\u1100\u1161\u11a8", 1),  # a Korean syllable, whole and in three parts
        ("👨‍👩‍👧‍👦", 1), ("🇩🇪🇫🇷", 2), ("👍🏽!", 2), ("กำ", 1), ("\ufeffab", 2),
    ],
)  # fmt: skip
def test_visible_length(text, length):
    assert visible_length(text) == length


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("AB CD", [1, 1, 0, 1, 1]),
        ("  AB  C ", [1, 1, 0, 0, 1]),
        ("e\u0301 \u200b文", [1, 0, 1]),
        ("\n", []),
    ],
)
def test_spaces_take_places_inside_only(text, places):
    assert slots(text) == [bool(place) for place in places]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("ab c", [1, 1, 0, 1]),
        ("אב ג", [1, 0, 1, 1]),
        ("سلام يا", [1, 1, 0, 1, 1, 1, 1]),
        ("12 אבג", [1, 1, 1, 0, 1, 1]),  # digits have no direction of their own
        ("ab אבג", [1, 1, 0, 1, 1, 1]),  # the first letter decides
        ("12 3", [1, 1, 0, 1]),
        ("", []),
    ],
)
def test_places_from_left_to_right(text, places):
    assert slots_along(text) == [bool(place) for place in places]


@given(st.text(st.characters(codec="ascii"), max_size=12))
def test_the_short_way_for_ascii(text):
    assert visible_length(text) == sum(slots(text))
