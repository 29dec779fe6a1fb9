"""What counts as a character: counted by hand."""

from __future__ import annotations

import pytest

from mmtextplug.datasets.graphemes import slots, visible_length


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
