"""Readers of single formats: what does not fit, and what belongs to what."""

from __future__ import annotations

import cmath
import itertools

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import box, text

from mmtextplug.datasets.instances import RawWord, Remark, check_words
from mmtextplug.datasets.preparers.characters import Spelled, attach, read_segmentation
from mmtextplug.datasets.preparers.frame import count_words
from mmtextplug.datasets.preparers.line_formats import (
    parse_ctw1500,
    parse_msra_td500,
)
from mmtextplug.datasets.preparers.tagged import read_ctw1500
from mmtextplug.datasets.preparers.totaltext import read_totaltext
from mmtextplug.datasets.word_lines import LineError, rotated_box

NUMBERS = ",".join(map(str, range(28)))


def said(found) -> list[str]:
    """Remarks as 'line what'; words as 'text'."""
    return [
        f"{item.where.rpartition(':')[2]} {item.what}" if isinstance(item, Remark) else item.text
        for item in found
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.floats(-2000, 2000)] * 2),
    st.tuples(*[st.floats(1, 1000)] * 2),
    st.floats(-7, 7),
)
def test_rectangles_turn_clockwise_about_their_centre(corner, size, angle):
    left, top, right, bottom = (*corner, corner[0] + size[0], corner[1] + size[1])
    centre = complex(left + right, top + bottom) / 2
    expected = [
        centre + (complex(x, y) - centre) * cmath.exp(1j * angle)  # y points down
        for x, y in ((left, top), (right, top), (right, bottom), (left, bottom))
    ]
    found = rotated_box(left, top, right, bottom, angle)
    np.testing.assert_allclose(found, [(z.real, z.imag) for z in expected], atol=6e-4)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0 10 20 30 8 0.0", (box(10, 20, 40, 28), None, False)),
        ("17\t1  10 20 30 8 -0", (box(10, 20, 40, 28), None, True)),
        ("10,20,40,20,40,28,10,28,0", (box(10, 20, 40, 28), None, False)),
        ("10, 20, 40, 20, 40, 28, 10, 28, 1.0", (box(10, 20, 40, 28), None, True)),
        ("10,20,40,28,0,None", (box(10, 20, 40, 28), None, False)),
        ("10,20,40,28,0, ###", (box(10, 20, 40, 28), None, True)),
    ],
)
def test_turned_lines(line, expected):
    assert parse_msra_td500(line) == expected


@pytest.mark.parametrize(
    "line", ["", "1 2 3 4 5", "0 0 1 2 3 4 x", "1,2,3,4,5", "1,2,3,4,five,x", "1 2 3 4 5 6 7 8"]
)
def test_lines_that_are_none_of_these(line):
    with pytest.raises(LineError, match="does not fit index difficult x y width height angle"):
        parse_msra_td500(line)


@pytest.mark.parametrize(
    ("line", "count", "words"),
    [
        (f"{NUMBERS},####a,####b", 28, "a,####b"),
        (f"{NUMBERS},####", 28, ""),
        (f"{NUMBERS},#######", 28, "###"),
        (f"{NUMBERS},###", 28, "###"),
        (f"{NUMBERS},12,5", 28, "12,5"),
        (f"{NUMBERS},", 28, ""),
        ("1,2,3,4,5,6,seven", 6, "seven"),
        (f"{NUMBERS},28,29,x", 28, "28,29,x"),
    ],
)
def test_curves(line, count, words):
    outline, found = parse_ctw1500(line)
    assert (len(outline), found) == (count, words)
    start = 1 if count == 6 else 0
    assert outline == list(range(start, start + count))


@pytest.mark.parametrize("line", ["", "a", "1,2,3,x", "1,2,3,4,5,####x", "1,2,x,4,5,6,####y"])
def test_curves_that_are_none(line):
    with pytest.raises(LineError, match=r"does not fit x1,y1,\.\.\.,x14,y14,####text"):
        parse_ctw1500(line)


def test_broken_xml_is_a_remark(tmp_path):
    path = text(tmp_path / "0001.xml", "<Annotations>\n<image>\n<box></image>")
    (remark,) = read_ctw1500(path)
    assert str(remark) == f"{path}:3: is no XML; correct or download it again"
    assert not check_words([remark]).usable


RECORD = "x: [[0 9 9 0]], y: [[0 0 5 5]], ornt: [u'h'], transcriptions: [{}]"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("u'a'", "a"),
        ("'a'", "a"),
        (r"u'caf\xe9'", "caf\u00e9"),
        ('u"it\'s"', "it's"),
        ("u','", ","),
        ("u'a', u'b'", "a,b"),
        ("", ""),
        ("u'x: [[1]], y: [[2]]'", "x: [[1]], y: [[2]]"),
    ],
)
def test_transcriptions_of_total_text(tmp_path, texts, expected):
    path = text(tmp_path / "poly_gt_img1.txt", RECORD.format(texts))
    (found,) = read_totaltext(path)
    assert found == RawWord(f"{path}:1", box(0, 0, 9, 5), expected)


def test_records_of_total_text_that_do_not_fit(tmp_path):
    lines = [
        RECORD.format("u'ok'"),
        "x: [[0 9 9 0]], y: [[0 0 5]], ornt: [u'h'], transcriptions: [u'a']",
        "x: [[0 9 q 0]], y: [[0 0 5 5]], ornt: [u'h'], transcriptions: [u'a']",
        RECORD.format("__import__('os')"),
        "x: [[0 9 9 0]], y: [[0 0 5 5]]",
        RECORD.format("u'#'").replace("u'h'", ""),
    ]
    found = list(read_totaltext(text(tmp_path / "poly_gt_img1.txt", "\n".join(lines))))
    assert said(found) == [
        "ok",
        "2 x and y are not as many numbers",
        "3 x and y are not as many numbers",
        "4 transcription is no list of strings",
        "5 does not fit x: [[x1 ... xn]], y: [[y1 ... yn]], ornt: [u'c'], "
        "transcriptions: [u'text']",
        "#",
    ]
    assert found[-1].ignored


def test_mat_files_of_total_text_that_do_not_fit(tmp_path):
    path = text(tmp_path / "poly_gt_img1.mat", b"no such file" * 20)
    assert said(read_totaltext(path)) == [f"{path} is no MATLAB file"]
    scipy.io.savemat(path, {"other": np.zeros(3)})
    assert said(read_totaltext(path)) == [f"{path} has no polygt of 6 columns"]
    scipy.io.savemat(path, {"polygt": np.zeros((0, 0))})
    assert list(read_totaltext(path)) == []
    rows = np.empty((1, 6), object)
    rows[0] = ["x:", np.array([[1, 2, 3]]), "y:", np.array([[1, 2]]), "a", "c"]
    scipy.io.savemat(path, {"polygt": rows})
    assert said(read_totaltext(path)) == [f"{path}, polygt[1] x and y are not as many numbers"]


def test_characters_of_words_between_blank_lines(tmp_path):
    path = text(
        tmp_path / "100_GT.txt",
        '\ufeff# a comment\r\n1 2 3 4 5 10 20 30 40 "a"\r\n# 1 2\r\n'
        '1 2 3 4.5 5, 30 20 35 40 "\\\\"\r\n\r\n\r\n1 2 3 4 5 1 2 3 4 """\r\nbad\r\n\r\n'
        '1 2 3 4 5 1 2 3 4 ""\r\n',
    )
    words, remarks = read_segmentation(path)
    assert words == [
        Spelled(f"{path}:1", "a\\", [box(10, 20, 30, 40), box(30, 20, 35, 40)]),
        Spelled(f"{path}:7", '"', [box(1, 2, 3, 4)]),
    ]
    assert said(remarks) == ['8 does not fit R G B x y left top right bottom "c"']
    text(path, b'1 2 3 4 5 1 2 3 4 "a"\n1 2 3 4 5 1 2 3 4 "\xe9"\n')
    words, remarks = read_segmentation(path)
    assert words == []
    assert said(remarks) == ["2 file is not UTF-8"]


def spelled(word: str, left: float, top: float, size: float = 10) -> Spelled:
    chars = [box(left + i * size, top, left + (i + 1) * size, top + size) for i in range(len(word))]
    return Spelled(f"{word}@{left}", word, chars)


def raw(word: str, left: float, top: float, size: float = 10) -> RawWord:
    return RawWord("w", box(left, top, left + len(word) * size, top + size), word)


def test_characters_go_to_the_word_that_they_spell_and_cover():
    found = list(
        attach(
            [
                raw("ab", 0, 0),
                raw("ab", 100, 0),
                RawWord("w", box(0, 50, 20, 60), "A b"),
                raw("ab", 0, 90),
            ],
            [
                spelled("ab", 102, 1),
                spelled("ab", 0, 0),
                spelled("ab", 0, 52),
                spelled("ab", 6, 96),
            ],
        )
    )
    words = [item for item in found if isinstance(item, RawWord)]
    assert [word.chars and word.chars[0][:2] for word in words] == [[0, 0], [102, 1], [0, 52], None]
    # 14 x 4 of 2 x 200 - 56: the last ones do not cover each other enough.
    assert [(r.what, r.kept) for r in found if isinstance(r, Remark)] == [
        ("word without characters", True),
        ("characters of no word", True),
    ]


@pytest.mark.parametrize(("left", "fits"), [(-12, True), (-14, False)])
def test_a_character_outside_of_the_word_is_none_of_its(left, fits):
    # The word is 20 high; the first letter's centre lies 4 before it, or 6.
    word = RawWord("w", box(0, 0, 50, 20), "abc")
    chars = [box(left, 0, left + 16, 20), box(4, 0, 25, 20), box(25, 0, 50, 20)]
    found = [*attach([word], [Spelled("s", "abc", chars)])]
    assert (found[0].chars is not None) == fits
    assert len(found) == (1 if fits else 3)


def test_words_that_need_no_characters_are_not_reported():
    words = [RawWord("w", box(0, 0, 9, 9), "x", ignored=True), RawWord("w", box(0, 0, 9, 9), "")]
    assert [*attach(words, [])] == words
    assert [*attach(words, [Spelled("s", "", [])])] == words


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "bc"]), st.integers(0, 25)), max_size=4), st.data())
def test_attach_takes_the_best_pairs_first(places, data):
    """No word and no characters that fit both miss a better partner than they have."""
    words = [raw(word, left, 0) for word, left in places]
    moves = data.draw(st.lists(st.integers(-6, 6), min_size=len(places), max_size=len(places)))
    groups = [spelled(word, left + dx, 0) for (word, left), dx in zip(places, moves)]

    def overlap(word, group):
        if word.text != group.text:
            return 0.0
        width = 10 * len(word.text)
        common = max(width - abs(word.outline[0] - group.chars[0][0]), 0)
        return common / (2 * width - common)

    found = [item for item in attach(words, groups) if isinstance(item, RawWord)]
    assert [(word.text, word.outline) for word in found] == [
        (word, raw(word, left, 0).outline) for word, left in places
    ]
    of_word, of_group = [0.0] * len(found), [0.0] * len(groups)
    for (i, word), (j, group) in itertools.product(enumerate(found), enumerate(groups)):
        if word.chars is group.chars:
            assert of_word[i] == of_group[j] == 0
            of_word[i] = of_group[j] = overlap(word, group)
            assert of_word[i] >= 0.5
    assert sum(value > 0 for value in of_word) == sum(word.chars is not None for word in found)
    for (i, word), (j, group) in itertools.product(enumerate(found), enumerate(groups)):
        value = overlap(word, group)
        assert value < 0.5 or max(of_word[i], of_group[j]) >= value - 1e-9


def test_characters_that_do_not_fit_leave_their_words():
    quads = [box(0, 0, 5, 9), box(5, 0, 9, 9)]
    words = [
        RawWord("1", box(0, 0, 9, 9), "ab", chars=quads),
        RawWord("2", box(0, 0, 9, 9), "abc", chars=quads),
        RawWord("3", box(0, 0, 9, 9), "de", chars=[quads[0], box(5, 0, 5, 9)]),
        RawWord("4", box(0, 0, 9, 9), "fg", chars=quads, ignored=True),
    ]
    result = check_words(words)
    assert ["chars" in instance for instance in result.instances] == [True, False, False, False]
    assert result.instances[0]["chars"] == quads
    assert [(r.where, r.what.split()[0], r.kept) for r in result.remarks] == [
        ("2", "number", True),
        ("3", "chars", True),
    ]
    entry = {"instances": result.instances}
    assert count_words([entry, {"instances": []}]) == {
        "photos": 2,
        "  without words": 1,
        "words": 4,
        "  ignored": 1,
        "  with characters": 1,
        "characters": 2,
    }


def test_only_exact_repetitions_are_left_out():
    words = [
        RawWord("1", box(0, 0, 9, 9), "a"),
        RawWord("2", box(0, 0, 9, 9), "A"),
        RawWord("3", box(0, 0, 9, 8), "a"),
        RawWord("4", box(0, 0, 9, 9), "a", ignored=True),
        RawWord("5", box(0, 0, 9, 9), "a"),
        RawWord("6", box(0, 0, 9, 9), None),
    ]
    assert len(check_words(words).instances) == 6
    result = check_words(words, unique=True)
    assert len(result.instances) == 5
    assert [str(r) for r in result.remarks] == [
        "5: same outline and text as another; remove one of them"
    ]
    assert not result.remarks[0].kept
