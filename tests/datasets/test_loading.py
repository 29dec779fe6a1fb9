"""From an annotation file's instances to the keys that transforms share."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from mmtextplug.datasets.annotations import Word
from mmtextplug.datasets.transforms.loading import get_words, set_words

QUADS = [[2, 3, 7, 3, 7, 9, 2, 9], [7, 3, 12, 3, 12, 9, 7, 9]]
GOOD = {"polygon": [2, 3, 12, 3, 12, 9, 2, 9], "text": "ab", "chars": QUADS}


def load(*instances, **results) -> dict:
    return TRANSFORMS.build({"type": "LoadCharAnnotations"}).transform(
        dict(instances=list(instances), **results)
    )


def test_every_key_by_hand():
    results = load(
        GOOD,
        {"bbox": [20, 5, 30, 15], "ignore": True, "text": "xyz"},
        {"polygon": [1, 2, 9, 0, 8, 8, 4, 9, 0, 6]},
        ori_shape=(40, 50),
    )
    assert [p.tolist() for p in results["gt_polygons"]] == [
        [2, 3, 12, 3, 12, 9, 2, 9],
        [20, 5, 30, 5, 30, 15, 20, 15],
        [1, 2, 9, 0, 8, 8, 4, 9, 0, 6],
    ]
    assert all(p.dtype == np.float32 and p.ndim == 1 for p in results["gt_polygons"])
    assert results["gt_bboxes"].tolist() == [[2, 3, 12, 9], [20, 5, 30, 15], [0, 0, 9, 9]]
    assert results["gt_bboxes"].dtype == np.float32
    assert results["gt_bboxes_labels"].tolist() == [0, 0, 0]
    assert results["gt_bboxes_labels"].dtype == np.int64
    assert results["gt_ignored"].tolist() == [False, True, False]
    assert results["gt_ignored"].dtype == bool
    assert results["gt_texts"] == ["ab", "xyz", None]
    np.testing.assert_array_equal(results["gt_chars"][0], np.reshape(QUADS, (2, 4, 2)))
    assert results["gt_chars"][1:] == [None, None]
    assert results["gt_char_confidence"].tolist() == [1, 1, 1]
    assert results["gt_char_confidence"].dtype == np.float32


def test_words_of_no_use_are_left_out_and_broken_characters_become_unknown():
    results = load(
        {"polygon": [1, 2, 3, 4]},
        dict(GOOD, chars=QUADS[:1]),
        {"bbox": [60, 1, 70, 9]},
        GOOD,
        ori_shape=(40, 50),
    )
    assert results["gt_texts"] == ["ab", "ab"]
    assert results["gt_chars"][0] is None
    assert results["gt_chars"][1].shape == (2, 4, 2)
    # Before an image is loaded nothing tells what is outside.
    assert len(load({"bbox": [60, 1, 70, 9]})["gt_polygons"]) == 1


def test_no_word_keeps_shapes_and_types():
    results = load(ori_shape=(40, 50))
    assert results["gt_bboxes"].shape == (0, 4)
    assert results["gt_bboxes"].dtype == np.float32
    assert results["gt_bboxes_labels"].dtype == np.int64
    assert results["gt_ignored"].dtype == bool
    assert results["gt_polygons"] == results["gt_chars"] == results["gt_texts"] == []


def test_the_annotation_is_read_only():
    instance = copy.deepcopy(GOOD)
    results = load(instance)
    results["gt_polygons"][0] += 100
    results["gt_chars"][0] += 100
    assert instance == GOOD


def test_reading_back_gives_the_same_words():
    words = [
        Word(
            np.array([[0, 0], [5, 0], [5, 5]], np.float32),
            "a",
            False,
            np.ones((1, 4, 2), np.float32),
            0.625,
        ),
        Word(np.array([[9, 9], [12, 9], [12, 15], [9, 15]], np.float32)[::-1], None, True, None),
    ]
    results = set_words({}, words)
    for mine, theirs in zip(words, get_words(results), strict=False):
        np.testing.assert_array_equal(mine.polygon, theirs.polygon)
        assert (mine.text, mine.ignored) == (theirs.text, theirs.ignored)
        assert theirs.chars is mine.chars
        assert theirs.confidence == mine.confidence
    del results["gt_char_confidence"]
    assert [word.confidence for word in get_words(results)] == [1, 1]


def test_keys_of_different_lengths_are_named():
    results = load(GOOD, GOOD, img_path="a.png")
    results["gt_char_confidence"] = np.ones(3)
    with pytest.raises(ValueError, match=r"a\.png: lengths differ: .*'gt_char_confidence': 3"):
        get_words(results)


def test_characters_can_be_left_out():
    build = TRANSFORMS.build({"type": "LoadCharAnnotations", "with_chars": False})
    without = build.transform(dict(instances=[GOOD], ori_shape=(40, 50)))
    assert load(GOOD, ori_shape=(40, 50))["gt_chars"][0].shape == (2, 4, 2)
    assert without["gt_chars"] == [None]
    np.testing.assert_array_equal(without["gt_polygons"], load(GOOD)["gt_polygons"])
    assert repr(build) == "LoadCharAnnotations(with_chars=False)"
