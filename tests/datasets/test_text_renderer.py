import hashlib
import pickle
import string
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from shapely.geometry import Polygon

from mmtextplug.datasets.fonts import bundled_fonts, can_write, cap_height, open_font
from mmtextplug.datasets.paint import luminance
from mmtextplug.datasets.text_lines import STYLES
from mmtextplug.datasets.text_renderer import TextRenderer, sample_rng
from mmtextplug.datasets.typesetting import SetGlyph, SetWord, line_extent, set_column, set_line
from mmtextplug.datasets.vocabulary import random_word
from mmtextplug.datasets.word_shapes import (
    apply_homography,
    bent_shape,
    draw_glyphs,
    flat_shape,
    foreshortening,
    rotation,
    scaling,
    translation,
)

FONTS = bundled_fonts()
MONO = next(path for path in FONTS if path.endswith("DejaVuSansMono.ttf"))
PLAIN = {"backgrounds": {"plain": 1}, "distractors": False, "effects": False}


def unit_coordinates(quad, points):
    """Where points lie in a quad: (0, 0) is its first corner, (1, 1) its third."""
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    matrix = cv2.getPerspectiveTransform(np.asarray(quad, np.float32), square)
    return apply_homography(matrix, np.asarray(points, float))


def pixels_of(mask):
    rows, columns = np.nonzero(mask)
    return np.stack([columns, rows], 1).astype(float)


def signed_area(polygon):
    x, y = np.asarray(polygon, float).T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


@pytest.mark.parametrize("style", STYLES)
def test_each_quad_holds_the_ink_of_its_own_character(style):
    maker = TextRenderer(256, styles={style: 1}).lines
    checked = 0
    for index in range(12):
        line = maker.propose(sample_rng(3, index), 3, 40)
        if line is None:
            continue
        x0, y0 = -np.floor(line.bounds()[:2]) + 4
        line = line.mapped(translation(x0, y0))
        size = tuple(np.ceil(line.bounds()[3:1:-1]).astype(int) + 4)
        whole = draw_glyphs(line.inks, line.matrices, (0, 0), size)
        quads = np.concatenate([word.chars for word in line.words])
        for i, quad in enumerate(quads):
            rest = [k for k in range(len(quads)) if k != i]
            without = draw_glyphs(
                tuple(line.inks[k] for k in rest), line.matrices[rest], (0, 0), size
            )
            changed = unit_coordinates(quad, pixels_of(whole > without))
            wide = np.linalg.norm(quad[1] - quad[0])
            tall = np.linalg.norm(quad[3] - quad[0])
            # 1/32 px is the precision of OpenCV's warp.
            slack = 0.06 / np.array([wide, tall])
            assert (changed > -slack).all()
            assert (changed < 1 + slack).all()
            # Along the reading direction the ink reaches both ends of its quad.
            alone = draw_glyphs(line.inks[i : i + 1], line.matrices[i : i + 1], (0, 0), size)
            ink = unit_coordinates(quad, pixels_of(alone))
            axis, length = (1, tall) if style == "vertical" else (0, wide)
            assert ink[:, axis].min() * length < 3
            assert (1 - ink[:, axis].max()) * length < 3
            checked += 1
    assert checked > 40


@pytest.mark.parametrize("style", STYLES)
def test_ink_of_a_picture_lies_in_the_quads_and_in_every_quad(style):
    renderer = TextRenderer(200, styles={style: 1}, **PLAIN)
    for index in range(4):
        sample = renderer.render(sample_rng(5, index))
        ground = sample.image[0, 0].astype(int)
        ink = np.abs(sample.image.astype(int) - ground).max(2) > 0
        found = np.zeros(len(pixels_of(ink)), bool)
        for word in sample.words:
            for quad in word.chars:
                where = unit_coordinates(quad, pixels_of(ink))
                inside = ((where > -0.02) & (where < 1.02)).all(1)
                assert inside.any()
                found |= inside
        assert found.all()
        assert sample.words


@pytest.mark.parametrize("style", STYLES)
def test_polygons_contain_their_characters_closely_and_keep_apart(style):
    renderer = TextRenderer((180, 300), styles={style: 1}, words_per_image=(4, 12))
    seen = 0
    for index in range(12):
        words = renderer.render(sample_rng(7, index)).words
        outlines = [Polygon(word.polygon) for word in words]
        for word, outline in zip(words, outlines, strict=True):
            assert outline.is_valid
            assert signed_area(word.polygon) > 0
            assert all(signed_area(quad) > 0 for quad in word.chars)
            assert len(word.chars) == len(word.text)
            ink = Polygon()
            for quad in word.chars:
                assert outline.buffer(1e-3).contains(Polygon(quad))
                ink = ink.union(Polygon(quad))
            hull = ink.convex_hull if style != "curved" else outline
            assert outline.area <= 1.01 * hull.area
            assert word.polygon.min() >= 0
            assert (word.polygon.max(0) <= [299, 179]).all()
            seen += 1
        for i, outline in enumerate(outlines):
            assert all(outline.distance(other) > 1.5 for other in outlines[i + 1 :])
    assert seen > 30


def test_reading_order_goes_right_in_lines_and_down_in_columns():
    rng = sample_rng(1, 1)
    for style, axis in (("straight", 0), ("vertical", 1)):
        renderer = TextRenderer(256, styles={style: 1}, max_rotation=0)
        words = [w for i in range(5) for w in renderer.render(rng).words if len(w.text) > 1]
        assert len(words) > 5
        for word in words:
            centres = word.chars.mean(1)
            assert (np.diff(centres[:, axis]) > 0).all()
            if style == "straight":
                np.testing.assert_allclose(np.diff(word.chars[:, 0, 1]), 0, atol=1e-4)


def test_a_set_line_is_what_pillow_writes():
    text, px = "Hpx8,kW", 40
    line = set_line([text], MONO, px)
    shape = flat_shape(line, translation(20, 50))
    ours = draw_glyphs(shape.inks, shape.matrices, (0, 0), (80, 240)).astype(float)
    canvas = Image.new("L", (240, 80))
    ImageDraw.Draw(canvas).text((20, 50), text, fill=255, font=open_font(MONO, px), anchor="ls")
    theirs = np.asarray(canvas, float)
    assert theirs.sum() > 1e5
    # Pens are rounded to whole pixels of the large bitmap: half a pixel of an edge may differ.
    assert np.abs(ours - theirs).sum() < 0.12 * theirs.sum()
    rows = np.flatnonzero(theirs.any(1))
    quads = shape.words[0].chars
    np.testing.assert_allclose(quads[:, :2, 1], rows[0] - 1)
    np.testing.assert_allclose(quads[:, 2:, 1], rows[-1] + 1)


def test_a_column_stacks_upright_characters_of_one_width():
    (word,) = set_column(["IW1"], MONO, 40, gap=0.25)
    heights = [len(glyph.ink) for glyph in word.glyphs]
    widths = [glyph.ink.shape[1] for glyph in word.glyphs]
    tops = [0, heights[0] + 10, heights[0] + heights[1] + 20]
    assert [glyph.y for glyph in word.glyphs] == tops
    np.testing.assert_allclose(word.boxes[:, 1], np.array(tops) - 1)
    np.testing.assert_allclose(word.boxes[:, 3], np.add(tops, heights))
    assert len(set(word.boxes[:, 0])) == len(set(word.boxes[:, 2])) == 1
    assert max(widths) + 1 <= word.boxes[0, 2] - word.boxes[0, 0] <= max(widths) + 2


def blank_line(widths, height=10.0):
    """A word of solid boxes, 2 apart; line coordinates of the boxes start at 0."""
    glyphs, boxes, pen = [], [], 0.0
    for width in widths:
        glyphs.append(SetGlyph(np.full((8, 4), 255, np.uint8), round(pen), 0))
        boxes.append((pen, 0.0, pen + width, height))
        pen += width + 2
    return [SetWord("x" * len(widths), tuple(glyphs), np.array(boxes, float))]


def test_maps_by_hand():
    turned = flat_shape(blank_line([4]), rotation(np.pi / 2)).words[0]
    np.testing.assert_allclose(turned.chars[0], [(0, 0), (0, 4), (-10, 4), (-10, 0)], atol=1e-12)
    moved = flat_shape(blank_line([4]), translation(5, 7) @ scaling(2, 3)).words[0]
    np.testing.assert_allclose(moved.polygon, [(5, 7), (13, 7), (13, 37), (5, 37)])
    np.testing.assert_allclose(foreshortening(0, 0, 100), np.eye(3))
    # A point 10 to the right on a plane turned by 30 degrees: (8.66, 0) at depth 100 - 5.
    seen = apply_homography(foreshortening(np.pi / 6, 0, 100), np.array([(10.0, 0.0)]))
    np.testing.assert_allclose(seen, [(10 * np.cos(np.pi / 6) / 0.95, 0)], atol=0.5)


@pytest.mark.parametrize("curvature", [0.01, -0.01])
def test_bent_glyphs_stand_upright_on_the_arc(curvature):
    line = blank_line([20, 8, 30, 12])
    shape = bent_shape(line, (1.0, 1.0), curvature, pivot=10.0)
    centre = np.array([0, 1 / curvature])
    for quad in shape.words[0].chars:
        foot = (quad[2] + quad[3]) / 2
        head = (quad[0] + quad[1]) / 2
        np.testing.assert_allclose(np.linalg.norm(foot - centre), 100, atol=1e-9)
        np.testing.assert_allclose(
            np.linalg.norm(head - centre), 110 if curvature > 0 else 90, atol=1e-9
        )
    widths = np.linalg.norm(shape.words[0].chars[:, 1] - shape.words[0].chars[:, 0], axis=1)
    np.testing.assert_allclose(widths, [20, 8, 30, 12])
    nearly_flat = bent_shape(line, (1.0, 1.0), 1e-7, pivot=10.0).words[0]
    flat = flat_shape(line, translation(-38, -10)).words[0]
    np.testing.assert_allclose(nearly_flat.chars, flat.chars, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.floats(2, 40), min_size=1, max_size=12),
    height=st.floats(5, 40),
    bend=st.floats(0.05, 2.8),
    sign=st.sampled_from([-1, 1]),
    share=st.floats(0, 1),
)
def test_bent_polygons_contain_any_boxes(widths, height, bend, sign, share):
    line = blank_line(widths, height)
    length = line_extent(line)[2]
    curvature = sign * min(bend / length, 1 / (2 * max(height, *widths, 1)))
    word = bent_shape(line, (1.0, 1.0), curvature, share * height).words[0]
    outline = Polygon(word.polygon)
    assert len(word.polygon) == 2 * (len(widths) + 1)
    assert outline.is_valid
    for quad in word.chars:
        assert outline.buffer(1e-6 * length).contains(Polygon(quad))
    # Loose by gaps and slivers only: 2 px a gap (wider on the outside) of the whole length.
    ink = sum(Polygon(quad).area for quad in word.chars)
    gaps = 2 * len(widths) * height
    assert outline.area <= 1.75 * (ink + gaps)


def test_drawing_nothing_or_off_the_map_leaves_it_empty():
    assert draw_glyphs((), np.zeros((0, 3, 3)), (0, 0), (5, 6)).sum() == 0
    ink = np.full((4, 4), 255, np.uint8)
    far = translation(100, 100)[None]
    assert draw_glyphs((ink,), far, (0, 0), (20, 20)).sum() == 0
    half = draw_glyphs((ink,), translation(-2, 18)[None], (0, 0), (20, 20))
    assert (half[18:, :2] == 255).all()
    assert half.sum() == 4 * 255


def test_words_are_painted_legibly():
    renderer = TextRenderer(128, **PLAIN)
    for index in range(15):
        sample = renderer.render(sample_rng(11, index))
        ground = luminance(sample.image[0, 0])
        for word in sample.words:
            low, high = word.polygon.min(0).astype(int), np.ceil(word.polygon.max(0)).astype(int)
            part = luminance(sample.image[low[1] : high[1], low[0] : high[0]])
            assert np.abs(part - ground).max() > 70


def test_same_generator_same_picture_in_any_process():
    renderer = TextRenderer(96)

    def digest(renderer):
        state = hashlib.sha256()
        for index in range(6):
            sample = renderer.render(sample_rng(9, index))
            state.update(sample.image.tobytes() + repr(sample.instances()).encode())
        return state.hexdigest()

    expected = digest(renderer)
    assert digest(pickle.loads(pickle.dumps(renderer))) == expected
    # A fresh interpreter that never sees the package's __init__, hence none of what it imports.
    code = (
        "import hashlib, sys, types\n"
        "for name in ('mmtextplug', 'mmtextplug/datasets'):\n"
        "    module = sys.modules[name.replace('/', '.')] = types.ModuleType(name)\n"
        "    module.__path__ = [name]\n"
        "from mmtextplug.datasets.text_renderer import TextRenderer, sample_rng\n"
        "assert not {'torch', 'mmengine', 'mmcv'} & set(sys.modules)\n"
        "r, state = TextRenderer(96), hashlib.sha256()\n"
        "for i in range(6):\n"
        "    s = r.render(sample_rng(9, i))\n"
        "    state.update(s.image.tobytes() + repr(s.instances()).encode())\n"
        "print(state.hexdigest())\n"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == expected, run.stderr


def test_pictures_differ_and_are_of_the_type_and_size_asked_for():
    renderer = TextRenderer((101, 150), words_per_image=(2, 3))
    images = [renderer.render(sample_rng(s, i)).image for s in (0, 1) for i in range(6)]
    assert {image.shape for image in images} == {(101, 150, 3)}
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    assert all(image.flags.c_contiguous for image in images)
    assert len({image.tobytes() for image in images}) == 12


def test_counts_and_heights_follow_the_arguments():
    assert TextRenderer(64, words_per_image=(0, 0)).render(sample_rng(0, 0)).words == []
    renderer = TextRenderer(
        256, words_per_image=(3, 3), char_height=(20, 20), styles={"straight": 1}, **PLAIN
    )
    counts, heights = [], []
    for index in range(8):
        words = renderer.render(sample_rng(0, index)).words
        counts.append(len(words))
        plain = [w for w in words if w.text.isupper() and "J" not in w.text and "Q" not in w.text]
        heights += [np.ptp(w.chars[0, :, 1]) for w in plain if w.text.isalpha()]
    assert counts == [3] * 8
    assert len(heights) > 3
    # A capital's ink, the margin of one bitmap pixel at either end, round letters' overshoot.
    assert min(heights) > 19.5
    assert max(heights) < 24.5


def test_instances_are_plain_and_round():
    sample = TextRenderer(128, words_per_image=(2, 4)).render(sample_rng(2, 2))
    assert sample.words
    for word, instance in zip(sample.words, sample.instances(digits=2), strict=True):
        np.testing.assert_allclose(
            np.reshape(instance["polygon"], (-1, 2)), word.polygon, atol=0.0051
        )
        np.testing.assert_allclose(
            np.reshape(instance["chars"], (-1, 4, 2)), word.chars, atol=0.0051
        )
        x0, y0, x1, y1 = instance["bbox"]
        np.testing.assert_allclose([x0, y0], word.polygon.min(0), atol=0.0051)
        np.testing.assert_allclose([x1, y1], word.polygon.max(0), atol=0.0051)
        assert (instance["ignore"], instance["bbox_label"]) == (False, 0)
        assert instance["text"] == word.text
        assert {type(v) for v in instance["polygon"]} == {float}


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), longest=st.integers(1, 20))
def test_made_up_words(seed, longest):
    word = random_word(np.random.default_rng(seed), longest)
    assert 1 <= len(word) <= min(longest, 12)
    assert set(word) <= set(string.ascii_letters + string.digits + ".,:-/$%'&;!?")


def test_made_up_words_vary():
    rng = np.random.default_rng(0)
    words = [random_word(rng) for _ in range(2000)]
    assert len(set(words)) > 1500
    assert {len(word) for word in words} == set(range(1, 13))
    assert 0.1 < np.mean([any(c.isdigit() for c in word) for word in words]) < 0.4
    assert 0.15 < np.mean([word.isupper() for word in words]) < 0.45
    assert 0.1 < np.mean([word.islower() for word in words]) < 0.45


def test_bundled_fonts_are_text_fonts():
    assert len(FONTS) >= 12
    names = {Path(path).name for path in FONTS}
    assert "DejaVuSans.ttf" in names
    assert not any(name.startswith(("cmex", "cmsy", "STIXSiz", "LastResort")) for name in names)
    assert all(can_write(path, string.ascii_letters + string.digits) for path in FONTS)
    assert not can_write(MONO, "日本")
    assert 26 <= cap_height(MONO, 40) <= 32


def test_own_words_and_fonts(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("Straße\nnaïve two\n日本語 שלום\n", encoding="utf-8")
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    (fonts / "own.ttf").write_bytes(Path(MONO).read_bytes())
    renderer = TextRenderer(160, word_list=words, font_dirs=[fonts], words_per_image=(4, 6))
    assert renderer.lines.fonts[-1] == str(fonts / "own.ttf")
    texts = {w.text for i in range(12) for w in renderer.render(sample_rng(0, i)).words}
    assert {"Straße", "naïve", "two"} <= texts
    assert {text.casefold() for text in texts} <= {"strasse", "naïve", "two"}


def test_photos_become_backgrounds_and_broken_ones_are_left_out(tmp_path):
    red = np.zeros((50, 400, 3), np.uint8)
    red[..., 2] = 200
    cv2.imwrite(str(tmp_path / "red.png"), red)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    arguments = {**PLAIN, "words_per_image": (0, 0), "background_dir": tmp_path}
    renderer = TextRenderer((60, 90), **arguments)
    with pytest.warns(UserWarning, match=r"broken\.jpg is not a readable image"):
        images = [renderer.render(sample_rng(0, i)).image for i in range(30)]
    assert {image.shape for image in images} == {(60, 90, 3)}
    photos = sum(bool((image == [0, 0, 200]).all()) for image in images)
    assert 8 <= photos <= 22
    (tmp_path / "red.png").unlink()
    with pytest.raises(ValueError, match=r"none of 1 images can be read"):
        [TextRenderer((60, 90), **arguments).render(sample_rng(0, i)) for i in range(9)]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_how_often_a_photo_is_the_background(tmp_path, share):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((80, 80, 3), (0, 0, 200), np.uint8))
    arguments = {**PLAIN, "words_per_image": (0, 0), "background_dir": tmp_path}
    renderer = TextRenderer((60, 90), **arguments, photo_prob=share)
    images = [renderer.render(sample_rng(0, i)).image for i in range(20)]
    assert np.mean([(image == [0, 0, 200]).all() for image in images]) == share


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be"),
        ({"size": (100, -1)}, "size must be"),
        ({"size": (1, 2, 3)}, "size must be"),
        ({"size": 30}, "too small for char_height"),
        ({"char_height": (30, 20)}, "char_height must be"),
        ({"char_height": (float("nan"), 20)}, "char_height must be"),
        ({"char_height": 20}, r"char_height must be \(minimum, maximum\)"),
        ({"words_per_image": (-1, 3)}, "words_per_image must be"),
        ({"styles": {"wavy": 1}}, "styles: unknown wavy; choose from straight"),
        ({"styles": {"curved": 0}}, "styles: weights"),
        ({"styles": {"curved": -1, "straight": 2}}, "styles: weights"),
        ({"backgrounds": {"sky": 1}}, "backgrounds: unknown sky"),
        ({"max_rotation": 200}, "max_rotation"),
        ({"line_prob": 1.5}, "line_prob"),
        ({"photo_prob": -0.1}, "photo_prob"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TextRenderer(**arguments)


def test_wrong_folders_and_lists_are_named(tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    for name in ("font_dirs", "background_dir", "word_list"):
        with pytest.raises(FileNotFoundError, match=f"{name}: .*missing"):
            TextRenderer(**{name: tmp_path / "missing"})
    with pytest.raises(ValueError, match=r"no usable font in .* \(1 files"):
        TextRenderer(font_dirs=tmp_path)
    with pytest.raises(ValueError, match="background_dir: no image"):
        TextRenderer(background_dir=tmp_path)
    words = tmp_path / "words.txt"
    for content, message in (
        (b" \n", "has no usable word"),
        ("שלום".encode(), "has no usable word"),
        (b"\xff\xfe\xff", "is not UTF-8"),
        ("日本".encode(), "no font has the characters"),
    ):
        words.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            TextRenderer(word_list=words)


def test_shapes_survive_being_mapped():
    line = set_line(["ab", "c"], MONO, 24)
    shape = flat_shape(line, np.eye(3))
    there = shape.mapped(rotation(0.3) @ translation(3, 4))
    back = there.mapped(translation(-3, -4) @ rotation(-0.3))
    assert [word.text for word in back.words] == ["ab", "c"]
    for before, after in zip(shape.words, back.words, strict=True):
        np.testing.assert_allclose(after.polygon, before.polygon, atol=1e-9)
        np.testing.assert_allclose(after.chars, before.chars, atol=1e-9)
    np.testing.assert_allclose(back.matrices, shape.matrices, atol=1e-9)
