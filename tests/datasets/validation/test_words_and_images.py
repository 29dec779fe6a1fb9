"""Each fault of a word and of an image file, by its kind, place and number."""

from __future__ import annotations

import math
import os

import cv2
import numpy as np
import pytest
from PIL import Image
from word_files import entry, kinds, shaped, validate, without, word, write

from mmtextplug.datasets import char_faults as characters
from mmtextplug.datasets import findings, image_faults, word_faults
from mmtextplug.datasets.image_faults import check_image, suggest
from mmtextplug.datasets.word_faults import check_words

QUAD = [10, 10, 50, 10, 50, 30, 10, 30]
READ_WORD = [
    ({"polygon": "abc"}, "polygon and bbox are no lists of numbers"),
    ({"polygon": QUAD[:7]}, "polygon has an odd number of coordinates"),
    ({"polygon": QUAD[:4]}, "polygon has fewer than 3 points"),
    ({"polygon": [math.nan, *QUAD[1:]]}, "polygon has a NaN or infinite coordinate"),
    ({"polygon": [1e300, *QUAD[1:]]}, "polygon has a NaN or infinite coordinate"),
    ({"polygon": [10, 10, 20, 20, 30, 30]}, "polygon has no area"),
    ({"polygon": [v + 200 for v in QUAD]}, "polygon is outside of the image"),
    ({"text": 5}, "text is no string"),
    ({"chars": "abc"}, "chars is no list of 8-number quads"),
    ({"chars": [[math.inf] * 8] * 4}, "chars have a NaN or infinite coordinate"),
    ({"text": "words"}, "number of chars differs from the visible characters of the text"),
    (
        {"chars": [quad[2:] + quad[:2] for quad in word()["chars"][:3]] + [[0] * 8]},
        "chars have a quad without area or with crossed or reversed corners",
    ),
    ({"chars": [[v + 500 for v in q] for q in word()["chars"]]}, "chars are outside of the image"),
]


@pytest.mark.parametrize(("fields", "kind"), READ_WORD)
def test_what_read_word_finds_is_an_error(folder, fields, kind):
    path = write(folder, [entry("0.png"), entry("1.png", [word(50, 35), word() | fields])])
    found, summary = validate(path)
    assert found.count((kind, "data_list[1].instances[1]")) == 1
    assert summary.kinds[kind] == 1
    assert summary.errors >= 1
    assert not any(where.startswith("data_list[0]") for _, where in found)


def arc(count, *, radius=40):
    """Upper and lower points of a ribbon 12 pixels wide along half a circle, clockwise."""
    angles = np.linspace(np.pi, 2 * np.pi, count)
    ray = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.concatenate([50 + radius * ray, (50 + (radius - 12) * ray)[::-1]])


WORDS = [
    # Errors.
    (shaped([[10, 10], [10, 30], [50, 30], [50, 10]]), [word_faults.REVERSED]),
    (shaped([[10, 10], [60, 30], [60, 10], [10, 20]]), [word_faults.CROSSED]),
    (word(bbox=[1, 2, 3]), [word_faults.BAD_BBOX]),
    (word(bbox=[1, 2, 3, "x"]), [word_faults.BAD_BBOX]),
    (word(ignore="false"), [word_faults.BAD_IGNORE]),
    (word(bbox_label="text"), [word_faults.BAD_LABEL]),
    (word(chars=word(10, 40)["chars"]), [characters.CHARS_STRAY]),
    (word(chars=[word()["chars"][i] for i in (1, 0, 3, 2)]), [characters.CHARS_DISORDERED]),
    (word(chars=[word()["chars"][0]] * 4), [characters.CHARS_DISORDERED]),
    # Notes.
    (without(word(), "bbox", "ignore"), [word_faults.FIELD_MISSING]),
    (word(bbox=[10, 10, 50, 33]), [word_faults.BBOX_DIFFERS]),
    (word(bbox=[10, 10, 50, 31]), []),
    (word(text="###", chars=None), [word_faults.ILLEGIBLE_TEXT]),
    (shaped([[50, 10], [50, 20], [10, 20], [10, 10]]), [word_faults.STARTS_ELSEWHERE]),
    (shaped([[50, 20], [10, 20], [10, 10], [50, 10]]), [word_faults.STARTS_ELSEWHERE]),
    # A standing outline may hold letters that stand on each other.
    (shaped([[10, 10], [20, 10], [20, 55], [10, 55]]), []),
    (shaped([[10, 10], [50, 10], [30, 15], [20, 40]]), [word_faults.CONCAVE]),
    (shaped([[10, 10], [30, 5], [50, 10], [50, 30], [10, 30]]), [word_faults.ODD_POINTS]),
    (shaped([[80, 10], [103, 10], [103, 20], [80, 20]]), [word_faults.PARTLY_OUTSIDE]),
    (shaped([[80, 10], [100.9, 10], [100.9, 20], [80, 20]]), []),
    (shaped([[-30, 10], [20, 10], [20, 20], [-30, 20]]), [word_faults.MOSTLY_OUTSIDE]),
    (shaped([[10, 10], [30, 10], [30, 13.9], [10, 13.9]]), [word_faults.TINY]),
    (word(text="wor "[::-1], chars=None), [word_faults.TEXT_BLANKS]),
    (word(text="w\x07rd", chars=None), [word_faults.TEXT_CONTROL]),
    (word(text="w\ud800rd", chars=None), [word_faults.TEXT_CONTROL]),
    (word(text="w\ufffdrd", chars=None), [word_faults.TEXT_REPLACED]),
    (word(text="caf\u00e9 de", chars=None), []),
    # From right to left.
    (word(chars=word()["chars"][::-1]), [characters.CHARS_AGAINST]),
    (word(text="\u05e9\u05dc\u05d5\u05dd", chars=word()["chars"][::-1]), []),
    # Letters that lie on their side in an upright outline.
    (word(chars=[quad[2:] + quad[:2] for quad in word()["chars"]]), [characters.CHARS_AGAINST]),
    (shaped(arc(7)), []),
    (shaped(arc(7)[::-1]), [word_faults.REVERSED]),
    # Nobody trains on what is ignored.
    (shaped([[10, 10], [60, 30], [60, 10], [10, 20]], ignore=True), []),
    (without(word(), "text", "chars"), []),
]


@pytest.mark.parametrize(("instance", "expected"), WORDS)
def test_each_fault_of_a_word_is_found_alone(instance, expected):
    assert kinds(instance) == expected


def test_two_words_of_one_outline():
    instances = [word(), word(50, 30), word(text="twin")]
    found = check_words(instances, (60, 100)).faults
    assert found == [(2, word_faults.DUPLICATE_WORD, "also word 0")]


def test_letters_that_stand_on_each_other_and_commas_are_in_order():
    column = [[10, y, 20, y, 20, y + 10, 10, y + 10] for y in (0, 10, 20, 30)]
    stacked = shaped([[10, 0], [20, 0], [20, 40], [10, 40]], text="word", chars=column)
    assert kinds(stacked) == []
    shuffled = {**stacked, "chars": [column[i] for i in (0, 2, 1, 3)]}
    assert kinds(shuffled) == [characters.CHARS_DISORDERED]
    # A comma, and an apostrophe, far above or below the middle of their neighbours.
    letters = np.reshape(word(text="a,b'c")["chars"], (5, 4, 2)).astype(float)
    letters[1, :2, 1] += 17
    letters[3, 2:, 1] -= 17
    # Narrow, and slanted as far as it is high.
    letters[..., 0] = letters[..., 0] / 2 + 30 - letters[..., 1] + 10
    outline = [[35, 10], [60, 10], [40, 30], [15, 30]]
    assert kinds(shaped(outline, text="a,b'c", chars=letters.reshape(5, 8).tolist())) == []


def test_fields_that_a_loader_needs(folder):
    instance = without(word(), "bbox", "bbox_label")
    assert kinds(instance, needed=()) == []
    assert kinds(instance, needed=("polygon", "ignore")) == []
    found = check_words([instance], needed=("polygon", "bbox", "text")).faults
    assert found == [(0, word_faults.FIELD_NEEDED, "bbox")]


def test_outlines_without_order_are_not_blamed_for_it():
    for points in ([[10, 10], [10, 30], [50, 30], [50, 10]], arc(7)[1:]):
        assert kinds(shaped(points), ordered=False) == []


def test_ribbons_have_the_sides_of_their_strip():
    """A half circle of 40 and 28 pixels: 12 high, as long as the circle in between."""
    check = check_words([shaped(arc(400))], (60, 100))
    assert check.heights == pytest.approx([12], rel=1e-3)
    assert check.aspects == pytest.approx([np.pi * 34 / 12], rel=1e-3)


def damaged_jpeg(path, keep, size=(100, 60)):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (*size[::-1], 3), np.uint8)).save(path, quality=90)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def test_faults_of_image_files(tmp_path):
    size = (60, 100)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image at all")
    damaged_jpeg(tmp_path / "cut.jpg", 0.6)
    damaged_jpeg(tmp_path / "whole.jpg", 1)
    (tmp_path / "appended.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes() + bytes(9000))
    damaged_jpeg(tmp_path / "head.jpg", 0.01)
    Image.effect_noise((100, 60), 99).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    (tmp_path / "folder.jpg").mkdir()
    expected = {
        "absent.jpg": image_faults.MISSING,
        "folder.jpg": image_faults.MISSING,
        "nul\0.jpg": image_faults.MISSING,
        "\ud800.jpg": image_faults.MISSING,
        "empty.jpg": image_faults.EMPTY,
        "text.jpg": image_faults.UNREADABLE,
        "head.jpg": image_faults.UNREADABLE,
        "cut.jpg": image_faults.CUT_OFF,
        "cut.png": image_faults.CUT_OFF,
        "whole.jpg": None,
        "appended.jpg": None,
    }
    for name, kind in expected.items():
        found = [found for found, _ in check_image(str(tmp_path / name), size).faults]
        assert found == ([kind] if kind else []), name
    check = check_image(str(tmp_path / "whole.jpg"), (60, 101))
    assert check.faults == [(image_faults.SIZE, "100 x 60, not 101 x 60")]
    assert check.size == size


def test_damage_in_the_middle_is_found_by_decoding(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((100, 60), 99).save(path)
    data = bytearray(path.read_bytes())
    data[2000:2400] = bytes(400)
    path.write_bytes(bytes(data))
    assert check_image(str(path)).faults == []
    (fault,) = check_image(str(path), decode=True).faults
    assert fault[0] == image_faults.CUT_OFF


def test_sizes_before_and_after_turning(tmp_path):
    def save(name, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (100, 60)).save(tmp_path / name, exif=exif)
        return str(tmp_path / name)

    sideways, upside_down = save("a.jpg", 6), save("b.jpg", 3)
    turned = [kind for kind, _ in check_image(sideways, (100, 60)).faults]
    assert turned == [image_faults.SIZE_TURNED]
    assert check_image(sideways, (60, 100)).faults == [(image_faults.TURNED, "orientation 6")]
    assert check_image(upside_down, (60, 100)).faults == [(image_faults.TURNED, "orientation 3")]
    assert check_image(sideways, (61, 100)).faults[0][0] == image_faults.SIZE
    # A loader that turns.
    assert check_image(sideways, (100, 60), upright=True).faults == []
    assert check_image(sideways, (100, 60), upright=True).size == (100, 60)
    (fault,) = check_image(sideways, (60, 100), upright=True).faults
    assert fault == (image_faults.SIZE_STORED, "60 x 100, not 100 x 60")
    tiff = save("c.tif", 6)
    assert check_image(tiff, (60, 100)).faults == [(image_faults.TURNED, "orientation 6")]


@pytest.mark.parametrize(
    ("mode", "suffix", "colours"),
    [
        ("RGB", "jpg", None),
        ("L", "jpg", None),
        ("CMYK", "jpg", "CMYK"),
        ("P", "png", "palette"),
        ("I;16", "png", "16 bits"),
        ("RGBA", "png", "with transparency"),
        ("LA", "png", "with transparency"),
        ("F", "tif", "16 bits"),
        ("YCbCr", "tif", "other"),
    ],
)
def test_unusual_colours_are_notes(tmp_path, mode, suffix, colours):
    path = tmp_path / f"a.{suffix}"
    Image.new(mode, (100, 60)).save(path)
    with Image.open(path) as image:
        if image.mode == "RGB":  # of YCbCr, by older releases of Pillow
            colours = None
    expected = [(image_faults.COLOURS + colours, "")] if colours else []
    assert check_image(str(path), (60, 100)).faults == expected
    assert {kind for kind, _ in expected} <= findings.NOTES


def test_16_bits_a_colour(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 100, 3), 999, np.uint16))
    found = check_image(str(tmp_path / "a.png"), (60, 100)).faults
    assert found == [(image_faults.COLOURS + "16 bits", "")]


def test_names_that_were_meant(tmp_path):
    (tmp_path / "Images").mkdir()
    for name in ("Photo.JPG", "caf\u00e9.png", "x.jpg", "y.jpg", "Y.JPG"):
        (tmp_path / "Images" / name).touch()
    base = str(tmp_path)
    expected = {
        "images/photo.jpg": "Photo.JPG",
        "Images\\Photo.JPG": "Photo.JPG",
        "Images/Photo.png": "Photo.JPG",
        "IMAGES/cafe\u0301.png": "caf\u00e9.png",
        "Images/z.jpg": None,
        "pictures/Photo.JPG": None,
    }
    if len(os.listdir(tmp_path / "Images")) == 5:  # where upper and lower case differ
        expected["Images/y.jpeg"] = None
    for given_name, name in expected.items():
        meant = os.path.join(base, "Images", name) if name else ""
        assert suggest(os.path.join(base, given_name)) == meant
    (fault,) = check_image(os.path.join(base, "images/photo.jpg")).faults
    assert fault[1] == f"did you mean {base}/Images/Photo.JPG?"
