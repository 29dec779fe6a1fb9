"""Text as pixels: which font writes what, escapes where none can, sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtextplug.visualization.lettering import writable, write_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe Ω Жук العربية", "Größe Ω Жук العربية"),
        ("e\u0301", "e\u0301"),
        ("a東b", "a\\u6771b"),
        ("\U0001f9ff", "\\U0001f9ff"),
        ("a\nb\t\x00", "a\\nb\\t\\x00"),
        ("", ""),
    ],
)
def test_what_no_font_can_write_is_escaped(text, shown):
    assert writable(text) == shown
    np.testing.assert_array_equal(write_line(text, 20), write_line(shown, 20))


def test_letters_of_many_scripts_are_not_boxes():
    pictures = [write_line(letter, 24) for letter in "éΩЖعק"]
    for index, picture in enumerate(pictures):
        assert (picture < 128).any()
        assert not any(np.array_equal(picture, other) for other in pictures[:index])


def test_size_and_colour():
    small, large = write_line("House", 10, (0, 0, 255)), write_line("House", 20, (0, 0, 255))
    assert (small.shape[0], large.shape[0]) == (15, 30)
    assert large.shape[1] == pytest.approx(2 * small.shape[1], rel=0.1)
    assert (large[..., 2] == 255).all()  # red and white have all of it
    assert (large[..., :2] == 0).all(2).any()
    assert (large[[0, -1]] == 255).all()


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20), st.integers(1, 40), st.integers(4, 200))
def test_any_text_stays_within_its_width(text, px, limit):
    picture = write_line(text, px, max_width=limit)
    assert picture.dtype == np.uint8
    assert picture.shape[0] == round(1.5 * px)
    assert 1 <= picture.shape[1] <= limit


def test_a_long_line_is_written_smaller_and_complete():
    whole, squeezed = write_line("M" * 30, 20), write_line("M" * 30, 20, max_width=200)
    assert whole.shape[1] > 400
    assert squeezed.shape[1] <= 200
    inked = np.flatnonzero((squeezed < 128).any((0, 2)))
    assert inked[0] < 10
    assert inked[-1] > squeezed.shape[1] - 10
