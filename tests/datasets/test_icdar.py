"""Word annotations in text files: every format's lines, what does not fit, order, pairing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtextplug.datasets import icdar
from mmtextplug.datasets.instances import turn_clockwise
from mmtextplug.datasets.word_lines import (
    FORMATS,
    LineError,
    line_format,
    parse_box,
    parse_polygon,
    parse_quad,
    parse_script_quad,
    recognise_format,
)

QUAD = [10.0, 20.0, 60.0, 22.0, 59.0, 41.0, 9.0, 40.0]
QUAD_LINE = "10,20,60,22,59,41,9,40,"
BOX = [158.0, 128.0, 411.0, 128.0, 411.0, 181.0, 158.0, 181.0]


def annotation(tmp_path, content, name="icdar2015", size=None):
    path = tmp_path / "gt_img_1.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return icdar.read_annotation(path, name, size)


def said(result):
    """Remarks as 'line what'."""
    return [f"{r.where.rpartition(':')[2]} {r.what}" for r in result.remarks]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Footpath", "Footpath"),
        ("###", "###"),
        ("", ""),
        ("36,000,000", "36,000,000"),
        ("a, b,", "a, b,"),
        ('"SCAN"', '"SCAN"'),  # these quotes can be seen in the photo
        ('"CARD', '"CARD'),
        (" spaced out ", "spaced out"),
        ("1987", "1987"),
        ("Latin,x", "Latin,x"),
    ],
)
def test_quad_lines_keep_commas_and_quotes(text, expected):
    assert parse_quad(QUAD_LINE + text) == (QUAD, expected)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('158 128 411 181 "Footpath"', "Footpath"),
        ('158, 128, 411, 181, "Footpath"', "Footpath"),
        ('158,128,411,181,"a, b"', "a, b"),
        ('  158\t128 411  181   "two words" ', "two words"),
        (r'158 128 411 181 "say \"hi\" \\ \n"', 'say "hi" \\ \\n'),
        ('158 128 411 181 "5" nails"', '5" nails'),
        ('158 128 411 181 ""', ""),
        (r'158 128 411 181 "\\"', "\\"),
        ("158,128,411,181,bare", "bare"),
        ("158,128,411,181,25", "25"),
        ("158,128,411,181,", ""),
        ("158,128,411,181,nancy 1,2", "nancy 1,2"),
        ("411 181 158 128 swapped", "swapped"),
    ],
)
def test_box_lines(line, text):
    assert parse_box(line) == (BOX, text)


def test_a_number_and_a_blank_begin_a_text_where_commas_separate_numbers():
    assert parse_box("158, 128, 411, 181, 2022 年9月 ") == (BOX, "2022 年9月")
    with pytest.raises(LineError, match="more than 4 numbers"):
        parse_box("158, 128, 411, 181, 2022, 9")


@pytest.mark.parametrize(
    ("parse", "line", "fault"),
    [
        (parse_box, "158 128 411", "does not fit icdar2013"),
        (parse_box, "158 128 411 181", "does not fit icdar2013"),
        (parse_box, "a b c d e", "does not fit icdar2013"),
        (parse_box, '158 128 411 181 "open', "quote is not closed"),
        (parse_box, '158 128 411 181 "', "quote is not closed"),
        (parse_box, r'158 128 411 181 "escaped\"', "quote is not closed"),
        (parse_box, QUAD_LINE + "word", "more than 4 numbers at the start"),
        (parse_box, "1 2 3 4 5 6 7 8 word", "more than 4 numbers at the start"),
        (parse_quad, "1,2,3,4,5,word", "does not fit icdar2015"),
        (parse_quad, QUAD_LINE[:-1], "does not fit icdar2015"),
        (parse_quad, "1,2,3,4,5,6,7,x,word", "does not fit icdar2015"),
        (parse_quad, "1 2 3 4 5 6 7 8 word", "does not fit icdar2015"),
        (parse_quad, "1,2,3,4,5,6,7,٣,word", "does not fit icdar2015"),
        (parse_quad, "1_0,2,3,4,5,6,7,8,word", "does not fit icdar2015"),
        (parse_script_quad, QUAD_LINE + "Latin", "does not fit icdar2017"),
        (parse_script_quad, QUAD_LINE + "Klingon,word", "no script before the transcription"),
        (parse_polygon, "word", "does not fit polygon"),
        (parse_polygon, "1,word", "does not fit polygon"),
        (parse_polygon, "1,2,3,4,5,6,7,word", "odd number of coordinates"),
        (parse_polygon, "1,2,3,4,5,6,7,8", "odd number of coordinates"),
    ],
)
def test_lines_that_do_not_fit_say_what_and_a_remedy(parse, line, fault):
    with pytest.raises(LineError) as error:
        parse(line)
    assert error.value.fault.startswith(fault)
    assert len(error.value.remedy) > 10


def test_script_and_polygon_lines():
    assert parse_script_quad(QUAD_LINE + "Latin,a,b") == (QUAD, "a,b")
    assert parse_script_quad(QUAD_LINE + " None ,###") == (QUAD, "###")
    assert parse_polygon("1,2,3,4.5,-5,6,word, two") == ([1, 2, 3, 4.5, -5, 6], "word, two")
    assert parse_polygon("1,2,3,4,5,6,10") == ([1, 2, 3, 4, 5, 6], "10")
    assert parse_polygon(QUAD_LINE) == (QUAD, "")


def test_a_very_long_line_is_read_in_linear_time():
    digits = "1" * 200_000
    assert line_format(digits) is None
    with pytest.raises(LineError):
        parse_box(digits + " x")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('1 2 3 4 "5,6"', "icdar2013"),
        ("1,2,3,4,word", "icdar2013"),
        ("1,2,3,4,5", None),
        ("1,2,3,4", None),
        (QUAD_LINE + "word", "icdar2015"),
        (QUAD_LINE + "12", "icdar2015"),
        (QUAD_LINE + "12 apples", "icdar2015"),
        (QUAD_LINE + "6,000", None),
        (QUAD_LINE + "36,000,000", None),
        (QUAD_LINE + "Latin,word", "icdar2017"),
        (QUAD_LINE + "latin,word", "icdar2015"),
        ("1,2,3,4,5,6,word", "polygon"),
        ("1,2,3,4,5,6,7,8,9,10,word", "polygon"),
        ("1,2,3,4,5,6,7,8,9,word", None),
        ("just words, no numbers", None),
    ],
)
def test_which_format_a_line_speaks_for(line, name):
    assert line_format(line) == name


def recognise(*groups):
    lines = [line for line, count in groups for _ in range(count)]
    return recognise_format((f"gt_{i}.txt:1", line) for i, line in enumerate(lines))


def test_recognises_formats_by_all_lines_together():
    quad, polygon = QUAD_LINE + "word", "1,2,3,4,5,6,word"
    script, box = QUAD_LINE + "Latin,word", '1 2 3 4 "word"'
    assert recognise((quad, 3)) == "icdar2015"
    assert recognise((quad, 3), (QUAD_LINE + "36,000,000", 9), ("rubbish", 9)) == "icdar2015"
    assert recognise((quad, 90), (polygon, 10)) == "polygon"
    assert recognise((script, 2)) == "icdar2017"
    assert recognise((box, 2)) == "icdar2013"
    # Outliers that their reader will refuse, line by line, do not stand in the way.
    assert recognise((script, 99), (quad, 1)) == "icdar2017"
    assert recognise((quad, 99), (box, 1)) == "icdar2015"


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([("word", 3)], ["no line fits", "icdar2013", "polygon"]),
        ([], ["no line fits"]),
        ([(QUAD_LINE + "a", 99), ("1,2,3,4,5,6,a", 1)], ["1 of polygon (first in gt_99.txt:1)"]),
        ([(QUAD_LINE + "a", 99), (QUAD_LINE + "Latin,a", 1)], ["99 of icdar2015", "icdar2017"]),
        ([('1 2 3 4 "a"', 5), (QUAD_LINE + "a", 5)], ["5 of icdar2013", "5 of icdar2015"]),
    ],
)
def test_never_guesses_a_format(groups, words):
    with pytest.raises(ValueError, match="choose the format") as error:
        recognise(*groups)
    assert all(word in str(error.value) for word in words)


def test_reads_what_editors_of_all_kinds_leave(tmp_path):
    content = (
        b"\xef\xbb\xbf" + QUAD_LINE.encode() + b"one\r\n"
        b"\r\n\xef\xbb\xbf" + QUAD_LINE.encode() + b"###\r" + QUAD_LINE.encode() + b"a\xc2\x85b \n"
        b"  \n\n"
    )
    result = annotation(tmp_path, content)
    assert result.remarks == []
    assert result.usable
    assert [(i["text"], i["ignore"]) for i in result.instances] == [
        ("one", False),
        ("###", True),
        ("a\x85b", False),
    ]
    assert result.instances[0] == {
        "polygon": [10, 20, 60, 22, 59, 41, 9, 40],
        "bbox": [9, 20, 60, 41],
        "bbox_label": 0,
        "ignore": False,
        "text": "one",
    }
    assert all(type(value) is int for value in result.instances[0]["polygon"])
    assert icdar.read_lines(tmp_path / "gt_img_1.txt")[1][0] == 3


def test_bad_lines_are_left_out_and_named(tmp_path):
    lines = [
        QUAD_LINE + "good",
        "1,2,3,4,5,word",
        "5,5,5,5,5,5,5,5,dot",
        "0,0,10,0,nan,10,0,10,word",
        "0,0,10,0,inf,10,0,10,word",
        "0,0,10,0," + "9" * 400 + ",10,0,10,word",
        "300,300,320,300,320,310,300,310,outside",
        QUAD_LINE + "*",
        QUAD_LINE,
    ]
    result = annotation(tmp_path, "\n".join(lines), size=(100, 200))
    assert said(result) == [
        "2 does not fit icdar2015 (x1,y1,x2,y2,x3,y3,x4,y4,text)",
        "3 polygon has no area",
        "4 polygon has a NaN or infinite coordinate",
        "5 polygon has a NaN or infinite coordinate",
        "6 polygon has a NaN or infinite coordinate",
        "7 polygon is outside of the image",
    ]
    assert str(result.remarks[1]) == (
        f"{tmp_path}/gt_img_1.txt:3: polygon has no area; correct or remove the line"
    )
    assert not any(remark.kept for remark in result.remarks)
    assert [(i["text"], i["ignore"]) for i in result.instances] == [
        ("good", False),
        ("*", True),
        ("", True),
    ]
    assert result.usable


def test_polygons_with_few_odd_or_crossing_points(tmp_path):
    content = "1,2,3,4,###\n0,0,9,0,9,5,5,7,0,5,five\n0,0,9,0,1,6,9,7,crossed\n"
    result = annotation(tmp_path, content, "polygon")
    assert said(result) == [
        "1 polygon has fewer than 3 points",
        "2 odd number of points",
        "3 outline crosses itself (kept as it is)",
    ]
    assert [remark.kept for remark in result.remarks] == [False, True, True]
    assert [i["polygon"] for i in result.instances] == [
        [0, 0, 9, 0, 9, 5, 5, 7, 0, 5],
        [0, 0, 9, 0, 1, 6, 9, 7],
    ]


def test_a_latin_1_file_is_one_clear_line(tmp_path):
    content = f"{QUAD_LINE}ok\r\n{QUAD_LINE}caf\xe9\r\n{QUAD_LINE}\xfcber\r\n".encode("latin-1")
    result = annotation(tmp_path, content)
    assert not result.usable
    assert [str(remark) for remark in result.remarks] == [
        f"{tmp_path}/gt_img_1.txt:2: file is not UTF-8; convert the file, such as by "
        "`iconv -f ISO-8859-1 -t UTF-8`"
    ]


@pytest.mark.parametrize("content", ["", "\ufeff", "\r\n\r\n  \n"])
def test_no_words_are_no_fault(tmp_path, content):
    result = annotation(tmp_path, content)
    assert (result.instances, result.remarks, result.usable) == ([], [], True)


def test_words_of_which_none_can_be_read_are_no_empty_photo(tmp_path):
    assert not annotation(tmp_path, "1,2,3\n").usable


visible = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\ufeff"), max_size=12
).map(str.strip)
corner = st.integers(-50, 3000)


@st.composite
def clockwise_quads(draw):
    """Convex: a point on each side of a box, or a corner of it."""
    x, y = draw(corner), draw(corner)
    width, height = draw(st.integers(2, 400)), draw(st.integers(2, 400))
    dx, dy = draw(st.integers(0, width // 2)), draw(st.integers(0, height // 2))
    return [x + dx, y, x + width, y + dy, x + width - dx, y + height, x, y + height - dy]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(clockwise_quads(), visible), max_size=4), st.booleans())
@pytest.mark.parametrize("name", ["icdar2015", "icdar2017", "polygon"])
def test_texts_and_quads_come_back(tmp_path_factory, name, words, windows):
    if name == "polygon":  # the one format whose texts cannot begin with numbers and commas
        words = [(quad, text.lstrip("0123456789+-., \t") or "x") for quad, text in words]
        words = [(quad, text) for quad, text in words if text[:3].lower() not in ("nan", "inf")]
    script = "Latin," if name == "icdar2017" else ""
    lines = [f"{','.join(map(str, quad))},{script}{text}" for quad, text in words]
    content = "\ufeff" + "".join(line + ("\r\n" if windows else "\n") for line in lines)
    result = annotation(tmp_path_factory.getbasetemp(), content, name)
    assert result.remarks == []
    assert [(i["polygon"], i["text"]) for i in result.instances] == [
        (quad, text.strip()) for quad, text in words
    ]
    for instance, (quad, text) in zip(result.instances, words, strict=True):
        x, y = quad[::2], quad[1::2]
        assert instance["bbox"] == [min(x), min(y), max(x), max(y)]
        assert instance["ignore"] == (text in ("", "*", "###"))


@settings(max_examples=150, deadline=None)
@given(visible, st.sampled_from([" ", ",", ", "]))
def test_quoted_texts_come_back(text, separator):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    line = separator.join(["1", "2", "30", "40", f'"{escaped}"'])
    assert parse_box(line) == ([1, 2, 30, 2, 30, 40, 1, 40], text)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(blacklist_categories=["Cs"]) | st.sampled_from('0123,. "-'), max_size=60)
)
def test_no_line_raises_anything_else(line):
    line_format(line)
    for parse, _ in FORMATS.values():
        try:
            outline, text = parse(line)
        except LineError:
            continue
        assert len(outline) % 2 == 0
        assert text == text.strip()


TOP_LEFT, TOP_RIGHT, BOTTOM_RIGHT, BOTTOM_LEFT = [0, 0], [40, 4], [39, 16], [-1, 12]
IN_ORDER = np.array([TOP_LEFT, TOP_RIGHT, BOTTOM_RIGHT, BOTTOM_LEFT], float)


@pytest.mark.parametrize("start", range(4))
def test_clockwise_outlines_are_left_alone_wherever_they_begin(start):
    quad = np.roll(IN_ORDER, start, axis=0)
    turned, what = turn_clockwise(quad)
    assert what == ""
    np.testing.assert_array_equal(turned, quad)


@pytest.mark.parametrize("start", range(4))
def test_reversed_quads_begin_at_the_top_left_again(start):
    turned, what = turn_clockwise(np.roll(IN_ORDER[::-1], start, axis=0))
    np.testing.assert_array_equal(turned, IN_ORDER)
    # np.roll by one moves the last of the reversed, the top left corner, to the front.
    assert what.endswith("kept" if start == 1 else "chosen anew")


def test_a_steep_reversed_quad_keeps_a_first_point_that_reads_to_the_right():
    angle = np.deg2rad(-40)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10]]) @ turn  # four starts look alike
    turned, what = turn_clockwise(square[[0, 3, 2, 1]])
    assert what == "reversed outline, first point kept"
    np.testing.assert_array_equal(turned, square)


@pytest.mark.parametrize("start", [0, 3])
def test_reversed_curves_keep_their_pairs(start):
    upper = np.array([[0, 10], [20, 0], [40, 8]], float)
    lower = upper + np.array([0, 12])
    band = np.concatenate([upper, lower[::-1]])
    turned, what = turn_clockwise(np.roll(band[::-1], start, axis=0))
    np.testing.assert_array_equal(turned, band)
    assert what == "reversed outline, first point chosen anew"


def test_reversed_words_are_turned_and_reported(tmp_path):
    result = annotation(tmp_path, "0,0,0,10,30,10,30,0,word\n")
    assert result.instances[0]["polygon"] == [0, 0, 30, 0, 30, 10, 0, 10]
    assert said(result) == ["1 reversed outline, first point kept"]
    assert result.usable


def test_sizes_are_those_of_the_stored_pixels(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.tif", "a.png"):
        image.save(tmp_path / name, exif=exif)
        assert icdar.image_size(tmp_path / name) == (20, 40)
    whole = (tmp_path / "a.jpg").read_bytes()
    for content in (b"", b"no image", whole[:10]):
        (tmp_path / "bad.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=r"no image that Pillow|damaged"):
            icdar.image_size(tmp_path / "bad.jpg")


def pair(tmp_path, images, annotations):
    pairs = icdar.pair_files([tmp_path / i for i in images], [tmp_path / a for a in annotations])
    return [(image.name, text.name) for image, text in pairs.both], pairs


def test_pairs_by_name_in_natural_order(tmp_path):
    both, pairs = pair(
        tmp_path,
        [
            *("img_10.jpg", "IMG_2.PNG", "img_3.jpg", "7.jpeg", "img8.jpg", "a.b.gif"),
            *("gt_9.jpg", "img9.jpg"),
        ],
        [
            *("gt_img_10.txt", "gt_img_2.txt", "GT_7.TXT", "img8.jpg.txt", "a.b.txt"),
            *("gt_img_4.txt", "poly_gt_img9.txt"),
        ],
    )
    assert both == [
        ("7.jpeg", "GT_7.TXT"),
        ("a.b.gif", "a.b.txt"),
        ("img8.jpg", "img8.jpg.txt"),
        ("img9.jpg", "poly_gt_img9.txt"),
        ("IMG_2.PNG", "gt_img_2.txt"),
        ("img_10.jpg", "gt_img_10.txt"),
    ]
    assert [path.name for path in pairs.lonely_images] == ["gt_9.jpg", "img_3.jpg"]
    assert [path.name for path in pairs.lonely_annotations] == ["gt_img_4.txt"]
    assert pairs.remarks == []


def test_a_name_shared_by_several_is_not_decided(tmp_path):
    both, pairs = pair(tmp_path, ["a.jpg", "a.png", "b.jpg"], ["a.txt", "b.txt", "gt_b.txt"])
    assert both == []
    assert [str(remark) for remark in pairs.remarks] == [
        f"{', '.join(str(tmp_path / name) for name in names)}: share a name; leave one photo and "
        "one annotation"
        for names in (("a.jpg", "a.png", "a.txt"), ("b.jpg", "b.txt", "gt_b.txt"))
    ]


@pytest.mark.parametrize(
    ("name", "number"),
    [("gt_img_12.txt", 12), ("img1001.jpg.txt", 1001), ("2013_007.png", 7), ("cover.jpg", None)],
)
def test_numbers_of_files(tmp_path, name, number):
    assert icdar.file_number(tmp_path / name) == number
