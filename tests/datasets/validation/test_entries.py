"""Validation of the entries of annotation files, and pictures of what is found."""

from __future__ import annotations

import copy
import math

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from word_files import entry, shaped, validate, without, word, write

from mmtextplug.datasets import annotation_files, findings, image_faults, word_faults
from mmtextplug.datasets.annotation_files import named_source
from mmtextplug.datasets.validation import Validation
from mmtextplug.visualization.faults import draw_finding


def test_a_clean_file_has_no_finding(folder):
    entries = [entry(f"{i}.png", [word(), word(10, 35, "###", ignore=True)]) for i in range(4)]
    found, summary = validate(write(folder, entries), decode=True)
    assert found == []
    assert summary.errors == 0
    assert summary.counts == {"images": 4, "words": 8, "ignored": 4, "characters": 16}
    assert summary.quantiles("words an image", [0, 0.5, 1]) == [2, 2, 2]
    # In bins of a thousandth.
    assert summary.quantiles("height in pixels", [0, 1]) == pytest.approx([20, 20], rel=0.0006)
    assert summary.quantiles("width / height", [0.5]) == pytest.approx([2], rel=0.0006)


def test_faults_of_entries(folder):
    Image.new("RGB", (100, 60)).save(folder / "4.png")
    entries = [
        entry("0.png"),
        "no dict",
        without(entry("1.png"), "img_path"),
        entry("1.png", instances={}),
        entry("4.png", instances=[word(), 5]),
        entry("1.png", height=-60),
        without(entry("2.png"), "width"),
        entry("3.png", []),
        entry("0.png"),
        entry("9.png", [word(ignore=True)]),
    ]
    found, summary = validate(write(folder, entries))
    assert found == [
        ("entry without 'img_path'", "data_list[1]"),
        ("entry without 'img_path'", "data_list[2]"),
        ("entry without a list 'instances'", "data_list[3]"),
        ("instance is no dict", "data_list[4].instances[1]"),
        (findings.BAD_SIZE, "data_list[5]"),
        (findings.NO_SIZE, "data_list[6]"),
        (findings.NO_WORDS, "data_list[7]"),
        (image_faults.MISSING, "data_list[9]"),
        (findings.ALL_IGNORED, "data_list[9]"),
        # What is seen by comparing images comes after them.
        (findings.IMAGE_TWICE, "data_list[8]"),
    ]
    assert summary.errors == 7


def test_an_instance_that_is_no_dict_hides_nothing_else(folder):
    """Two such among 43 words, of an image that is cut off."""
    data = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(data[:-30])
    words = [word(10 + i, 10 + i % 9) for i in range(43)]
    words[5], words[20], words[30] = 7, None, word(30, 12, ignore="no")
    words[41] = words[4]
    path = write(folder, [entry(), entry("1.png", words, height=-1, width=200)])
    found = []
    validation = Validation(drawings=3, log=lambda _, finding: found.append(finding))
    summary = validation.run(named_source(path, None))
    errors = [finding for finding in found if finding.is_error]
    assert [(finding.kind, str(finding)) for finding in errors] == [
        (findings.BAD_SIZE, "data_list[1], 1.png"),
        (image_faults.CUT_OFF, "data_list[1], 1.png, image file is truncated"),
        ("instance is no dict", "data_list[1].instances[5], 1.png, 7"),
        ("instance is no dict", "data_list[1].instances[20], 1.png, None"),
        (word_faults.BAD_IGNORE, "data_list[1].instances[30], 1.png, 'no'"),
    ]
    (twin,) = [finding for finding in found if finding.kind == word_faults.DUPLICATE_WORD]
    assert str(twin) == "data_list[1].instances[41], 1.png, also word 4"
    assert summary.counts == {"images": 2, "words": 42, "ignored": 1, "characters": 164}
    # The image, without outlines.
    assert errors[2].drawing.outlines == [None]


def test_an_entry_of_nothing_but_no_dicts(folder):
    found, summary = validate(write(folder, [entry(instances=[[], "x"])]))
    assert found == [("instance is no dict", f"data_list[0].instances[{i}]") for i in (0, 1)]
    assert summary.counts == {"images": 1, "words": 0, "ignored": 0, "characters": 0}


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_number_do_not_depend_on_workers(folder, monkeypatch, workers):
    monkeypatch.setattr(annotation_files, "BATCH", 3)
    names = [f"{i % 4}.png" if i < 4 else f"gone{i}.png" for i in range(20)]
    path = write(folder, [entry(name, [word(), word(50, 35, ignore="no")]) for name in names])
    steps = []
    found = []
    validation = Validation(workers=workers, log=lambda _, finding: found.append(finding))
    summary = validation.run(named_source(path, None), lambda *step: steps.append(step))
    assert summary.kinds == {image_faults.MISSING: 16, word_faults.BAD_IGNORE: 20}
    places = [finding.where for finding in found if finding.kind == image_faults.MISSING]
    assert places == [f"data_list[{i}]" for i in range(4, 20)]
    assert [finding.where for finding in summary.examples[image_faults.MISSING]] == places[:3]
    assert sum(count for count, _ in steps) == 20
    assert steps[-1] == (2, 20)


WRONG = [None, "x", {}, [], ["x"], math.nan, math.inf, -1e30, 10**400, True]
FIELDS = {
    "entry": ["img_path", "instances", "height", "width"],
    "word": ["polygon", "bbox", "ignore", "bbox_label", "text", "chars"],
    "number": ["polygon", "bbox", "chars"],
}
# What a field may be, and is as good as absent for.
FINE = {("text", "None"), ("chars", "None"), ("text", "'x'"), ("ignore", "True")}


@given(
    level=st.sampled_from(list(FIELDS)),
    choice=st.integers(0, 5),
    place=st.integers(0, 3),
    value=st.sampled_from(WRONG),
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_damaged_field_goes_unnoticed(tmp_path, level, choice, place, value):
    image = tmp_path / "0.png"
    if not image.exists():
        Image.new("RGB", (100, 60)).save(image)
    damaged = copy.deepcopy(entry())
    name = FIELDS[level][choice % len(FIELDS[level])]
    if level == "entry":
        damaged[name] = value
    elif level == "word":
        damaged["instances"][0][name] = value
    elif name == "chars":
        damaged["instances"][0]["chars"][place][2 * place] = value
    else:
        damaged["instances"][0][name][place] = value
    path = write(tmp_path, [damaged])
    found, summary = validate(path)
    absent = (name, repr(value)) in FINE and level == "word"
    # The number 1, as far as NumPy and Python are concerned.
    number = value is True and (level == "number" or name == "bbox_label")
    if absent or number:
        return
    assert found, (level, name, value)
    assert all(where.startswith("data_list[0]") for _, where in found)
    for examples in summary.examples.values():
        for finding in examples:
            str(finding).encode()


def test_pictures_of_findings(folder):
    image = np.full((60, 100, 3), 40, np.uint8)
    cv2.imwrite(str(folder / "0.png"), image)
    far = shaped([[1e5, 10], [1e5 + 20, 10], [1e5 + 20, 20], [1e5, 20]])
    reversed_word = shaped([[10, 10], [10, 30], [50, 30], [50, 10]])
    broken = word(polygon=[math.nan, 5, 50, 5, 50, 20])
    instances = [reversed_word, far, broken, word(chars="abc"), word(polygon="abc")]
    path = write(folder, [entry("0.png", instances), entry("absent.png"), entry("1.png", [])])
    _, summary = validate(path, drawings=2, examples=0)
    drawn = {
        (kind, finding.where): draw_finding(finding)
        for kind, examples in summary.examples.items()
        for finding in examples
    }
    for (kind, _), picture in drawn.items():
        if kind == image_faults.MISSING:
            assert picture is None
        else:
            assert picture.dtype == np.uint8
            assert max(picture.shape) < 1000
    picture = drawn[word_faults.REVERSED, "data_list[0].instances[0]"].astype(int)
    # The outline is green, its first point red.
    green = (picture[..., 1] > 200) & (picture[..., [0, 2]] < 120).all(2)
    red = (picture[..., 2] > 200) & (picture[..., :2] < 120).all(2)
    assert green.sum() > 500
    assert 50 < red.sum() < green.sum()
    # The window is 40 pixels wide and 30 more on both sides, 640 in all: corner 0 is at 30 / 100.
    columns = np.flatnonzero(red.any(0))
    assert columns.min() == pytest.approx(8 + 0.3 * 640 - 5, abs=4)
    _, summary = validate(path, drawings=0)
    assert all(f.drawing is None for examples in summary.examples.values() for f in examples)
