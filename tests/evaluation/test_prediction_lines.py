"""Lines of predicted words: which layout they are of, and what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtextplug.datasets.word_lines import rotated_box
from mmtextplug.evaluation.prediction_lines import (
    LAYOUTS,
    Layout,
    leading_numbers,
    read_prediction,
    recognise_layout,
)

QUAD = [0.0, 0, 10, 0, 10, 5, 0, 5]


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("1,2,3,4", [1, 2, 3, 4]),
        (" 1, 2 ,3,\t4 , text", [1, 2, 3, 4]),
        ("1 2 3 4 0.5", [1, 2, 3, 4, 0.5]),
        ("-1,2.5,1e2,text,7", [-1, 2.5, 100]),
        ("text,1,2", []),
        ("1,2,3,4,36,000 people", [1, 2, 3, 4, 36, 0]),
        ("1,2,3,1_0", [1, 2, 3]),
        ("1,,2", [1]),
        ("", []),
    ],
)
def test_leading_numbers(line, numbers):
    assert leading_numbers(line) == numbers


@pytest.mark.parametrize(
    ("lines", "name", "scored"),
    [
        ([QUAD] * 3, "quad", False),
        ([[*QUAD, 0.9]] * 3, "quad", True),
        # A transcription that is a number is no score.
        ([[*QUAD, 36.0], QUAD], "quad", False),
        ([[*QUAD, 1.0], QUAD, QUAD], "quad", False),
        ([[1, 2, 3, 4]] * 3, "box", False),
        ([[1, 2, 3, 4, 0.5]] * 3, "box", True),
        ([[1, 2, 3, 4, -0.5], [1, 2, 3, 4, 1.5]], "rotated", False),
        ([[1, 2, 3, 4, 200.0]] * 2, "box", False),
        ([[0.0] * 12, [0.0] * 14, QUAD], "polygon", False),
        ([[0.0] * 13, [0.0] * 15, [0.0] * 9], "polygon", True),
        # One line of five among many of eight is a fault, whatever it is.
        ([QUAD] * 30 + [[1, 2, 3, 4, 5]], "quad", False),
        # One longer outline among many quads, too.
        ([QUAD] * 30 + [[0.0] * 12], "quad", False),
        # And one line without its score.
        ([[*QUAD, 0.9]] * 30 + [QUAD], "quad", True),
        ([[], QUAD], "quad", False),
    ],
)
def test_recognised(lines, name, scored):
    assert recognise_layout(lines) == Layout(name, scored)


def test_nothing_predicted_is_no_fault():
    assert recognise_layout([]).scored is False


def test_told():
    assert recognise_layout([[*QUAD, 1.0]] * 3, scored=False) == Layout("quad", False)
    assert recognise_layout([[1, 2, 3, 4, 0.5]] * 3, "rotated") == Layout("rotated", False)
    assert recognise_layout([[0.0] * 8] * 3, "polygon") == Layout("polygon", False)


def test_no_layout():
    with pytest.raises(ValueError, match=r"known layouts \(box: x0,y0.*choose the layout"):
        recognise_layout([[1, 2, 3], [1, 2]])


@pytest.mark.parametrize(
    ("numbers", "layout", "fault"),
    [
        ([1, 2, 3, 4, 5], Layout("quad", False), "too few numbers"),
        (QUAD, Layout("quad", True), "too few numbers"),
        ([1, 2, 3], Layout("box", False), "too few numbers"),
        ([0.0] * 5, Layout("polygon", True), "too few numbers"),
        ([0.0] * 9, Layout("polygon", False), "odd number of coordinates"),
        ([*QUAD, 1.5], Layout("quad", True), "score is not in"),
        ([*QUAD, math.nan], Layout("quad", True), "score is not in"),
        ([math.nan, *QUAD[1:]], Layout("quad", False), "NaN or infinite"),
        ([1, 2, 3, math.inf], Layout("box", False), "NaN or infinite"),
    ],
)
def test_faults(numbers, layout, fault):
    with pytest.raises(ValueError, match=fault):
        read_prediction(numbers, layout)


def test_what_lines_say():
    outline, score = read_prediction([*QUAD, 0.25], Layout("quad", True))
    assert outline.tolist() == [[0, 0], [10, 0], [10, 5], [0, 5]]
    assert score == 0.25
    outline, score = read_prediction([1, 2, 5, 4, 9, 9], Layout("box", False))
    assert outline.tolist() == [[1, 2], [5, 2], [5, 4], [1, 4]]
    assert score == 1
    outline, score = read_prediction([0, 0, 1, 0, 1, 1, 0.5], Layout("polygon", True))
    assert outline.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert score == 0.5
    # A quarter turn clockwise about (3, 3) takes the top left corner to the top right.
    outline, _ = read_prediction([1, 2, 5, 4, math.pi / 2], Layout("rotated", False))
    assert outline == pytest.approx(np.array([[4, 1], [4, 5], [2, 5], [2, 1]]))


@given(st.floats(-3, 3), st.floats(1, 50), st.floats(1, 50))
def test_turning_keeps_size_and_centre(angle, width, height):
    corners = rotated_box(10, 20, 10 + width, 20 + height, angle)
    assert corners.mean(0) == pytest.approx([10 + width / 2, 20 + height / 2])
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    assert sides == pytest.approx([height, width, height, width])
    direction = corners[1] - corners[0]
    assert math.atan2(direction[1], direction[0]) == pytest.approx(angle)


def test_layouts_say_what_they_are():
    assert str(Layout("box", True)) == "x0,y0,x1,y1,score"
    assert all(str(Layout(name, False)) == form for name, form in LAYOUTS.items())
