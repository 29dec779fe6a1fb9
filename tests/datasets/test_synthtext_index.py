"""From ``gt.mat`` to an index: read, repaired, left out, written."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from mmtextplug.datasets import synthtext_repair as repair
from mmtextplug.datasets.annotations import read_word
from mmtextplug.datasets.graphemes import visible_length
from mmtextplug.datasets.synthtext import SynthTextIndex
from mmtextplug.datasets.synthtext_gt import GroundTruth, read_gt_mat
from mmtextplug.datasets.synthtext_index import (
    MANIFEST,
    Chunk,
    check_target,
    write_index,
)
from mmtextplug.datasets.synthtext_repair import clean, reorder_quads, sound_quads

NAN, INF = float("nan"), float("inf")


def box(left: float, top: float, width: float = 6, height: float = 10) -> np.ndarray:
    right, bottom = left + width, top + height
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def row(text: str, left: float = 0, top: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """The box of a word, and those of its characters: 8 pixels a character, one of them a gap."""
    chars = np.stack([box(left + 8 * i, top, 7) for i in range(len(text))])
    return box(left, top, 8 * len(text) - 1), chars


def page(*words: str) -> dict:
    """An image with a word in each row of 20 pixels."""
    rows = [row(word, 5, 20 * i + 3) for i, word in enumerate(words)]
    return {
        "name": "8/page.jpg",
        "lines": list(words),
        "words": np.stack([word for word, _ in rows]),
        "chars": np.concatenate([chars for _, chars in rows]),
    }


def cells(values: list) -> np.ndarray:
    array = np.empty((1, len(values)), dtype=object)
    array[0] = values
    return array


def matlab_boxes(quads: np.ndarray) -> np.ndarray:
    """2x4xN; MATLAB knows no third axis of length 1."""
    array = np.asarray(quads, np.float64).transpose(2, 1, 0)
    return array[:, :, 0] if array.shape[2] == 1 else array


def save_gt(path: Path, pages: list[dict], **replace) -> Path:
    columns = {
        "imnames": cells([np.array([p["name"]]) for p in pages]),
        "txt": cells([np.array(p["lines"]) for p in pages]),
        "wordBB": cells([matlab_boxes(p["words"]) for p in pages]),
        "charBB": cells([matlab_boxes(p["chars"]) for p in pages]),
    }
    columns |= replace
    savemat(path, {k: v for k, v in columns.items() if v is not None}, do_compression=True)
    return path


def truth(*pages: dict) -> GroundTruth:
    """What `read_gt_mat` makes of pages, without a file."""
    return GroundTruth(
        [p["name"] for p in pages],
        ["\n".join(p["lines"]) for p in pages],
        np.concatenate([p["words"] for p in pages]).astype(np.float32),
        np.array([len(p["words"]) for p in pages]),
        np.concatenate([p["chars"] for p in pages]).astype(np.float32),
        np.array([len(p["chars"]) for p in pages]),
    )


def cleaned(*pages: dict, size: tuple[int, int] | None = None, **kwargs) -> tuple[Chunk, dict]:
    """The chunk, and the faults that were found."""
    faults: Counter[str] = Counter()
    sizes = None if size is None else np.tile(size, (len(pages), 1))
    chunk = clean(truth(*pages), range(len(pages)), faults, sizes=sizes, **kwargs)
    return chunk, {fault: count for fault, count in faults.items() if count}


# --- gt.mat ------------------------------------------------------------------------------------


def test_the_layout_of_the_original(tmp_path):
    first = page("Lines:", "I", "lost", "Kevin", "will")
    # Lines of several words, padded with spaces to one length by MATLAB.
    first["lines"] = ["Lines:\nI lost\nKevin ", "will                "]
    single = page("x")
    single["name"] = "9/one.jpg"
    gt = read_gt_mat(save_gt(tmp_path / "gt.mat", [first, single]))
    assert gt.names == ["8/page.jpg", "9/one.jpg"]
    assert gt.word_counts.tolist() == [5, 1]
    assert gt.char_counts.tolist() == [6 + 1 + 4 + 5 + 4, 1]
    assert gt.words.dtype == gt.chars.dtype == np.float32
    np.testing.assert_array_equal(gt.words, np.concatenate([first["words"], single["words"]]))
    np.testing.assert_array_equal(gt.chars, np.concatenate([first["chars"], single["chars"]]))

    faults: Counter[str] = Counter()
    chunk = clean(gt, range(2), faults)
    assert chunk.texts == ["Lines:", "I", "lost", "Kevin", "will", "x"]
    assert chunk.word_counts.tolist() == [5, 1]
    assert chunk.char_counts.tolist() == [6, 1, 4, 5, 4, 1]
    np.testing.assert_array_equal(chunk.words, gt.words)
    np.testing.assert_array_equal(chunk.chars, gt.chars)
    assert not +faults


def test_variables_are_announced_before_they_are_read(tmp_path):
    seen = []
    read_gt_mat(save_gt(tmp_path / "gt.mat", [page("ab")]), seen.append)
    assert seen == ["imnames", "txt", "wordBB", "charBB"]


def test_cells_of_other_kinds_become_faults_of_their_image(tmp_path):
    pages = [page("ab"), page("cd"), page("ef"), page("gh"), page("ij")]
    columns = {
        "imnames": cells([np.array(["a.jpg"]), np.zeros((0, 0)), *[np.array(["c.jpg"])] * 3]),
        "txt": cells([*[np.array([w]) for w in ("ab", "cd", "ef")], np.zeros((0, 0)), 7.0]),
        "wordBB": cells([matlab_boxes(pages[0]["words"]), *[np.ones((3, 3))] * 2,
                         np.zeros((0, 0)), np.array(["no box"])]),
        "charBB": cells([matlab_boxes(p["chars"]) for p in pages[:2]] + [np.ones((2, 3, 4))]
                        + [np.zeros((0, 0))] * 2),
    }  # fmt: skip
    gt = read_gt_mat(save_gt(tmp_path / "gt.mat", [], **columns))
    assert gt.names == ["a.jpg", "", "c.jpg", "c.jpg", "c.jpg"]
    assert gt.word_counts.tolist() == [1, -1, -1, 0, -1]
    assert gt.char_counts.tolist() == [2, 2, -1, 0, 0]
    faults: Counter[str] = Counter()
    chunk = clean(gt, range(5), faults)
    assert chunk.names == ["a.jpg"]
    assert dict(+faults) == {
        repair.IMAGE_NAMELESS: 1, repair.IMAGE_MISMATCH: 1, repair.IMAGE_EMPTY: 2
    }  # fmt: skip


def test_words_beyond_ascii_come_through(tmp_path):
    lines = ["größe ñandú", "слово 文字      "]
    words = ["größe", "ñandú", "слово", "文字"]
    source = dict(page(*words), lines=lines)
    gt = read_gt_mat(save_gt(tmp_path / "gt.mat", [source]))
    assert clean(gt, range(1), Counter()).texts == words


def test_files_that_are_no_gt_mat(tmp_path):
    good = save_gt(tmp_path / "good.mat", [page("word", "text")] * 30)
    content = good.read_bytes()
    bad = tmp_path / "gt.mat"
    for cut in (0, 1, 100, 130, 200, len(content) // 2, len(content) - 20):
        bad.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"gt\.mat: .*(cannot be read|no cell array)"):
            read_gt_mat(bad)
    bad.write_bytes(b"PK" + bytes(300))
    with pytest.raises(ValueError, match=r"gt\.mat: "):
        read_gt_mat(bad)
    # The header of a version 7.3 file.
    bad.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(ValueError, match=r"gt\.mat: MATLAB 7\.3 files are not supported.*'-v7'"):
        read_gt_mat(bad)
    save_gt(bad, [page("ab")], charBB=None)
    with pytest.raises(ValueError, match=r"no cell array 'charBB'"):
        read_gt_mat(bad)
    save_gt(bad, [page("ab")], wordBB=np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"no cell array 'wordBB'"):
        read_gt_mat(bad)
    save_gt(bad, [page("ab")], txt=cells([np.array(["ab"])] * 3))
    with pytest.raises(ValueError, match=r"different lengths: .*'txt': 3"):
        read_gt_mat(bad)
    with pytest.raises(FileNotFoundError, match=r"none\.mat: no such file"):
        read_gt_mat(tmp_path / "none.mat")


# --- repair rules ------------------------------------------------------------------------------


def test_mirrored_text_keeps_its_reading_direction():
    # As seen in a mirror on the floor: still from left to right, but the first edge lies below.
    whole = page("abc", "x")
    mirrored = dict(whole, words=whole["words"][:, [3, 2, 1, 0]], chars=whole["chars"][:, ::-1])
    chunk, faults = cleaned(mirrored)
    np.testing.assert_array_equal(chunk.words, whole["words"])
    np.testing.assert_array_equal(chunk.chars, whole["chars"])
    assert faults == {repair.WORD_TURNED: 2, repair.CHAR_TURNED: 4}


def test_text_that_reads_to_the_left():
    """Seen from behind: the first character is on the right, and its first edge points left."""
    whole = page("abc")
    other = dict(whole, words=whole["words"][:, [1, 0, 3, 2]],
                 chars=whole["chars"][::-1][:, [1, 0, 3, 2]])  # fmt: skip
    chunk, faults = cleaned(other)
    np.testing.assert_array_equal(chunk.words[0], whole["words"][0][[2, 3, 0, 1]])
    np.testing.assert_array_equal(chunk.chars, whole["chars"][::-1][:, [2, 3, 0, 1]])
    assert faults == {repair.WORD_TURNED: 1, repair.CHAR_TURNED: 3}


@pytest.mark.parametrize("order", itertools.permutations(range(4)))
def test_corners_in_any_order(order):
    whole = page("abc")
    chars = whole["chars"].copy()
    chars[1] = chars[1][list(order)]
    chunk, faults = cleaned(dict(whole, chars=chars))
    # Clockwise orders are left as they are: text may well be turned.
    clockwise = order in {(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)}
    np.testing.assert_array_equal(chunk.chars[1], chars[1] if clockwise else whole["chars"][1])
    assert faults == ({} if clockwise else {repair.CHAR_TURNED: 1})
    assert chunk.char_counts.tolist() == [3]


@given(
    angle=st.floats(0, 6.28),
    order=st.permutations(range(4)),
    size=st.tuples(st.floats(2, 50), st.floats(2, 50)),
    taper=st.floats(0, 0.3),
)
@settings(max_examples=100, deadline=None)
def test_reordering_finds_the_first_edge_along_the_text(angle, order, size, taper):
    quad = box(-size[0] / 2, -size[1] / 2, *size).astype(np.float64)
    quad[:2] *= 1 - taper
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    quad = quad @ turn + 100
    result = reorder_quads(quad[list(order)][None], turn[:1])
    np.testing.assert_allclose(result[0], quad)


def test_a_narrow_character_of_a_line_that_climbs():
    narrow = box(0, 0, 2, 20)
    result = reorder_quads(narrow[[3, 2, 1, 0]][None], np.array([[0.9, -0.44]]))
    np.testing.assert_array_equal(result[0], narrow)


@pytest.mark.parametrize(
    "broken",
    [
        [[0, 0], [6, 0], [6, 0], [0, 0]],
        [[3, 3]] * 4,
        [[0, 0], [3, 3], [6, 6], [9, 9]],
        [[0, 0], [6, 0], [2, 2], [0, 6]],
        [[0, 0], [6, 0], [6, NAN], [0, 6]],
        [[0, 0], [INF, 0], [6, 6], [0, 6]],
        [[0, 0], [1e30, 0], [1e30, 1e30], [0, 1e30]],
        [[0, 0], [0.01, 0], [0.01, 0.01], [0, 0.01]],
    ],
)
def test_boxes_that_cannot_be_repaired(broken):
    quad = np.array(broken, np.float32)
    assert not sound_quads(quad[None])[0]
    whole = page("abc", "de")
    # A character: its word is kept without characters.
    chars = whole["chars"].copy()
    chars[1] = quad
    chunk, faults = cleaned(dict(whole, chars=chars))
    assert chunk.texts == ["abc", "de"]
    assert chunk.char_counts.tolist() == [0, 2]
    np.testing.assert_array_equal(chunk.chars, whole["chars"][3:])
    np.testing.assert_array_equal(chunk.words, whole["words"])
    assert faults == {repair.CHAR_BROKEN: 1, repair.WORD_BROKEN_CHARS: 1}
    # A word: made again from its characters; here the very box that it had.
    words = whole["words"].copy()
    words[0] = quad
    chunk, faults = cleaned(dict(whole, words=words))
    np.testing.assert_allclose(chunk.words, whole["words"], atol=1e-5)
    assert chunk.char_counts.tolist() == [3, 2]
    assert faults == {repair.WORD_REBUILT: 1}
    # Both: the word is left out, the image stays for the other one.
    chunk, faults = cleaned(dict(whole, words=words, chars=chars))
    assert chunk.texts == ["de"]
    assert chunk.word_counts.tolist() == [1]
    assert faults == {repair.CHAR_BROKEN: 1, repair.WORD_BROKEN: 1}


def test_a_word_made_from_slanted_characters_holds_them_all():
    whole = page("abcd")
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]], np.float32)
    chars = whole["chars"] @ turn + 100
    words = np.full((1, 4, 2), NAN)
    chunk, faults = cleaned(dict(whole, words=words, chars=chars))
    np.testing.assert_allclose(chunk.words, whole["words"] @ turn + 100, atol=1e-4)
    assert faults == {repair.WORD_REBUILT: 1}
    single = page("x")
    chunk, _ = cleaned(dict(single, words=words))
    np.testing.assert_array_equal(chunk.words, single["chars"])


def test_numbers_that_do_not_match():
    whole = page("abc", "de")
    name = {"name": "other.jpg"}
    good = dict(page("ok"), **name)
    # A character box too many: nobody knows whose.
    chunk, faults = cleaned(dict(whole, chars=np.concatenate([whole["chars"], [box(0, 0)]])), good)
    assert chunk.texts == ["abc", "de", "ok"]
    assert chunk.char_counts.tolist() == [0, 0, 2]
    np.testing.assert_array_equal(chunk.chars, good["chars"])
    assert faults == {repair.WORD_UNMATCHED: 2}
    # A word box too few: characters say where the words are.
    chunk, faults = cleaned(dict(whole, words=whole["words"][:1]), good)
    np.testing.assert_allclose(
        chunk.words, np.concatenate([whole["words"], good["words"]]), atol=1e-5
    )
    assert chunk.char_counts.tolist() == [3, 2, 2]
    assert faults == {repair.IMAGE_REBUILT: 1}
    # Both: text would stand in the image that no box is of.
    chunk, faults = cleaned(dict(whole, words=whole["words"][:1], chars=whole["chars"][1:]), good)
    assert chunk.names == ["other.jpg"]
    np.testing.assert_array_equal(chunk.words, good["words"])
    np.testing.assert_array_equal(chunk.chars, good["chars"])
    assert faults == {repair.IMAGE_MISMATCH: 1}


def test_images_of_no_use():
    whole = page("abc")
    nothing = np.empty((0, 4, 2))
    empty = {"name": "empty.jpg", "lines": ["  ", "\n"], "words": nothing, "chars": nothing}
    broken = dict(whole, words=whole["words"] * NAN, chars=whole["chars"] * NAN)
    chunk, faults = cleaned(
        dict(whole, name=""), empty, whole, broken, whole, unusable={4: "image on fire"}
    )
    assert chunk.names == ["8/page.jpg"]
    np.testing.assert_array_equal(chunk.chars, whole["chars"])
    assert faults == {
        repair.IMAGE_NAMELESS: 1,
        repair.IMAGE_EMPTY: 2,
        repair.CHAR_BROKEN: 3,
        repair.WORD_BROKEN: 1,
        "image on fire": 1,
    }


def test_outside_of_the_image():
    """Words at x = 5: an image 8 pixels wide shows a part of each; one 5 wide none."""
    whole = page("abc", "de")
    chunk, faults = cleaned(whole, size=(100, 100))
    assert not faults
    assert chunk.sizes.tolist() == [[100, 100]]
    chunk, faults = cleaned(whole, size=(100, 8))
    np.testing.assert_array_equal(chunk.chars, whole["chars"])
    assert faults == {repair.WORD_REACHING: 2, repair.CHAR_REACHING: 5}
    chunk, faults = cleaned(whole, size=(100, 5))
    assert chunk.names == []
    assert faults == {repair.WORD_OUTSIDE: 2, repair.IMAGE_EMPTY: 1}
    # The first row ends at y = 13, the second begins at 23.
    chunk, faults = cleaned(whole, size=(23, 100))
    assert chunk.texts == ["abc"]
    assert faults == {repair.WORD_OUTSIDE: 1}
    # Without a size, what is above or left of the image shows.
    shift = np.array([-20, 0])
    away = dict(whole, words=whole["words"] + shift, chars=whole["chars"] + shift)
    chunk, faults = cleaned(away)  # now abc at -15 to 8, de at -15 to 0
    assert chunk.texts == ["abc"]
    assert faults == {repair.WORD_OUTSIDE: 1, repair.WORD_REACHING: 1, repair.CHAR_REACHING: 2}
    # The box of the word reaches in, its characters do not.
    wide = dict(page("ab"), words=box(-30, 3, 34)[None], chars=row("ab", -22, 3)[1])
    chunk, faults = cleaned(wide)
    assert chunk.char_counts.tolist() == [0]
    assert faults == {repair.WORD_CHARS_OUTSIDE: 1, repair.WORD_REACHING: 1}


def test_characters_far_from_their_word():
    whole = page("abcd", "de")
    for stray in (box(200, 3), box(5, 3, 200, 200)):
        chars = whole["chars"].copy()
        chars[2] = stray
        chunk, faults = cleaned(dict(whole, chars=chars))
        assert chunk.char_counts.tolist() == [0, 2]
        assert faults == {repair.WORD_STRAY_CHARS: 1}
    # A quarter of the word's longer side, 31, is 7.75.
    chars = whole["chars"].copy()
    chars[0] += [-7.5, 0]
    assert cleaned(dict(whole, chars=chars))[1] == {repair.CHAR_REACHING: 1}
    chars[0] += [-0.5, 0]
    assert cleaned(dict(whole, chars=chars))[1] == {repair.WORD_STRAY_CHARS: 1}


def test_marks_are_no_characters():
    """A letter with a combining accent, once with a box of its own for the accent."""
    word = "e\u0301a"
    assert visible_length(word) == 2
    three, two = row("xyz", 5, 3)[1], row("xy", 5, 3)[1]
    whole = dict(page("xy"), lines=[word])
    chunk, faults = cleaned(dict(whole, chars=two))
    np.testing.assert_array_equal(chunk.chars, two)
    assert not faults
    chunk, faults = cleaned(dict(whole, words=row("xyz", 5, 3)[0][None], chars=three))
    np.testing.assert_array_equal(chunk.chars, three[[0, 2]])
    assert chunk.char_counts.tolist() == [2]
    assert faults == {repair.CHAR_MARK: 1}
    # Two code points that are one character, neither of them a mark: either box is a part of it.
    flag = page("xyz", "de")
    flag["lines"][0] = "\U0001f1e9\U0001f1eaz"
    chunk, faults = cleaned(flag)
    assert chunk.char_counts.tolist() == [0, 2]
    np.testing.assert_array_equal(chunk.chars, flag["chars"][3:])
    assert faults == {repair.WORD_UNMATCHED: 1}


def test_a_part_of_the_images_is_what_the_whole_has_there():
    pages = [dict(page("a" * (i + 1), "bc"), name=str(i)) for i in range(6)]
    pages[1]["chars"] = pages[1]["chars"][1:]
    gt = truth(*pages)
    whole = clean(gt, range(6), Counter())
    sizes = np.array([[100, 200], [100, 300], [100, 400]])
    part = clean(gt, range(2, 5), Counter(), sizes=sizes, unusable={3: "gone"})
    assert part.names == ["2", "4"]
    assert part.sizes.tolist() == [[100, 200], [100, 400]]
    assert part.texts == ["aaa", "bc", "aaaaa", "bc"]
    np.testing.assert_array_equal(part.words, whole.words[[4, 5, 8, 9]])
    np.testing.assert_array_equal(part.chars, np.concatenate([pages[2]["chars"],
                                                              pages[4]["chars"]]))  # fmt: skip


numbers = st.one_of(
    st.floats(-20, 120, width=32), st.sampled_from([NAN, INF, -INF, 0.0, 50.0, 3e38])
)
quads = st.lists(numbers, min_size=8, max_size=8)
letters = st.text(
    st.sampled_from("ab*#\u0301\u200d\U0001f600\U0001f1e9\u1100\u1161 \n\t\x00ß字"), max_size=8
)


@st.composite
def strange_pages(draw):
    sound = page(*draw(st.lists(st.sampled_from(["a", "abc", "e\u0301x"]), min_size=1, max_size=3)))
    result = dict(sound, name=draw(st.sampled_from(["", "a.jpg"])))
    if draw(st.booleans()):
        result["lines"] = draw(st.lists(letters, max_size=4))
    for key in ("words", "chars"):
        kind = draw(st.sampled_from(["sound", "turned", "some", "any"]))
        if kind == "turned":
            result[key] = sound[key][:, draw(st.permutations(range(4)))]
        elif kind == "some":
            result[key] = sound[key].copy()
            result[key][draw(st.integers(0, len(sound[key]) - 1))] = np.reshape(draw(quads), (4, 2))
        elif kind == "any":
            result[key] = np.array(draw(st.lists(quads, max_size=6)), np.float32).reshape(-1, 4, 2)
    return result


@given(st.lists(strange_pages(), min_size=1, max_size=4), st.sampled_from([None, (30, 40)]))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_in_only_sound_words_come_out(pages, size):
    chunk, faults = cleaned(*pages, size=size)
    assert set(faults) <= set(repair.FAULTS)
    assert len(chunk.names) == len(chunk.sizes) == len(chunk.word_counts)
    assert (chunk.word_counts > 0).all()
    assert chunk.word_counts.sum() == len(chunk.texts) == len(chunk.words)
    assert chunk.char_counts.sum() == len(chunk.chars)
    assert "" not in chunk.names
    ends = np.cumsum(chunk.char_counts)
    for text, polygon, count, end in zip(chunk.texts, chunk.words, chunk.char_counts, ends):
        instance = {"polygon": polygon.reshape(8), "text": text}
        if count:
            instance["chars"] = chunk.chars[end - count : end].reshape(-1, 8)
        word, fault = read_word(instance, size)
        assert fault == ""
        assert word.chars is None or len(word.chars) == count == visible_length(text)
        assert (word.chars is None) == (count == 0 or word.ignored)


# --- written and read --------------------------------------------------------------------------

anything = st.text(max_size=12)
floats = st.floats(-1e4, 1e4, width=32)


@given(
    st.lists(
        st.tuples(
            anything,
            st.lists(st.tuples(anything, st.integers(0, 3)), max_size=4),
            st.tuples(st.integers(0, 9), st.integers(0, 9)),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 3),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(images, parts, seed):
    rng = np.random.default_rng(seed)
    expected, chunks = [], []
    for part in (images[i::parts] for i in range(parts)):
        texts = [text for _, words, _ in part for text, _ in words]
        counts = np.array([n for _, words, _ in part for _, n in words], np.int64)
        words = rng.normal(size=(len(texts), 4, 2)).astype(np.float32)
        chars = rng.normal(size=(int(counts.sum()), 4, 2)).astype(np.float32)
        owned = iter(np.split(chars, np.cumsum(counts)[:-1]) if len(counts) else [])
        boxes = iter(words)
        for name, instances, size in part:
            expected.append((name, size, [(t, n, next(boxes), next(owned)) for t, n in instances]))
        chunks.append(
            Chunk(
                [name for name, _, _ in part],
                np.array([size for _, _, size in part]).reshape(-1, 2),
                np.array([len(w) for _, w, _ in part], np.int64),
                texts,
                words,
                counts,
                chars,
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        write_index(Path(folder) / "index", chunks)
        index = SynthTextIndex(Path(folder) / "index")
        assert len(index) == len(images)
        for i, (name, (height, width), instances) in enumerate(expected):
            info = index.read(i)
            assert info["img_path"] == name
            assert (info.get("height"), info.get("width")) == (
                (height, width) if height and width else (None, None)
            )
            assert len(info["instances"]) == len(instances)
            for instance, (text, count, word, chars) in zip(info["instances"], instances):
                assert instance["text"] == text
                np.testing.assert_array_equal(instance["polygon"], word.reshape(8))
                assert instance["bbox"].tolist() == [*word.min(0), *word.max(0)]
                assert instance["ignore"] is False
                if count:
                    np.testing.assert_array_equal(instance["chars"], chars.reshape(-1, 8))
                else:
                    assert "chars" not in instance


def chunk_of(*words: str) -> Chunk:
    return cleaned(page(*words))[0]


def test_lone_surrogates_come_through(tmp_path):
    write_index(tmp_path / "index", [chunk_of("\ud800x")])
    assert SynthTextIndex(tmp_path / "index").read(0)["instances"][0]["text"] == "\ud800x"


def test_files_are_numpys(tmp_path):
    manifest = write_index(tmp_path / "new" / "index", [chunk_of("ab"), chunk_of("c")],
                           source={"name": "x"}, faults={"bad": 2})  # fmt: skip
    folder = tmp_path / "new" / "index"
    assert json.loads((folder / MANIFEST).read_text()) == manifest
    (tmp_path / "plain").mkdir()
    assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert manifest["counts"] == {"images": 2, "words": 2, "characters": 3}
    assert manifest["source"] == {"name": "x"}
    assert manifest["faults"] == {"bad": 2}
    starts = np.load(folder / "starts.npy")
    assert starts.tolist() == [[0, 0, 0, 0], [10, 1, 2, 2], [20, 2, 3, 3]]
    assert np.load(folder / "lengths.npy").tolist() == [[2, 2], [1, 1]]
    assert np.load(folder / "chars.npy").shape == (3, 4, 2)
    assert np.load(folder / "texts.npy").tobytes() == b"abc"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path, error):
    def chunks():
        yield chunk_of("new")
        raise error("stopped")

    out = tmp_path / "index"
    with pytest.raises(error):
        write_index(out, chunks())
    assert list(tmp_path.iterdir()) == []
    # An index that was there stays as it was.
    write_index(out, [chunk_of("old")])
    with pytest.raises(error):
        write_index(out, chunks())
    assert list(tmp_path.iterdir()) == [out]
    assert SynthTextIndex(out).read(0)["instances"][0]["text"] == "old"
    write_index(out, [chunk_of("new")])
    assert list(tmp_path.iterdir()) == [out]
    assert SynthTextIndex(out).read(0)["instances"][0]["text"] == "new"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_the_old_index_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path, monkeypatch, error
):
    out = tmp_path / "index"
    write_index(out, [chunk_of("old")])
    rename = Path.rename

    def fail_for_the_new(path, target):
        if path.suffix == ".part":
            raise error("stopped")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail_for_the_new)
        with pytest.raises(error):
            write_index(out, [chunk_of("new")])
    assert list(tmp_path.iterdir()) == [out]
    assert SynthTextIndex(out).read(0)["instances"][0]["text"] == "old"


def test_no_image_no_index(tmp_path):
    with pytest.raises(ValueError, match=r"index: not written: no usable image"):
        write_index(tmp_path / "index", [])
    assert list(tmp_path.iterdir()) == []


def test_where_an_index_may_be_written(tmp_path):
    out = tmp_path / "index"
    assert check_target(out) is None
    out.mkdir()
    assert check_target(out) is None
    (out / "holiday.jpg").write_bytes(b"")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"index: is there, and is no index of this tool"):
            check_target(out, overwrite)
    (out / "holiday.jpg").unlink()
    manifest = write_index(out, [chunk_of("ab")])
    assert check_target(out) == manifest
    assert check_target(out, overwrite=True) is None
    (out / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match=r"index\.json: cannot be used .*--overwrite"):
        check_target(out)


@pytest.mark.parametrize(
    "content", ["", "{", "\x00", '{"format": "mmtextplug SynthText index", "version": 0}', None]
)
def test_a_damaged_or_older_index_may_be_replaced(tmp_path, content):
    out = tmp_path / "index"
    manifest = write_index(out, [chunk_of("old")])
    if content is not None:
        (out / MANIFEST).write_text(content)
        with pytest.raises(ValueError, match=r"index\.json: cannot be used .*--overwrite"):
            check_target(out)
    (out / "chars.npy").unlink()
    (out / "words.npy").write_bytes(b"cut off")
    assert check_target(out, overwrite=True) is None
    assert write_index(out, [chunk_of("old")]) == manifest
    assert SynthTextIndex(out).read(0)["instances"][0]["text"] == "old"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("content", ['{"photos": 2}', "[1]", "null", '{"format": "albums"}', "{"])
def test_a_folder_of_something_else_is_never_replaced(tmp_path, content):
    out = tmp_path / "album"
    (out / "photos").mkdir(parents=True)
    (out / "photos" / "a.jpg").write_bytes(b"a")
    (out / "index.json").write_text(content)
    before = files(tmp_path)
    # Even without a file of another name: what can be read shows whose it is.
    foreign = "photos" if content == "{" else r"index\.json"
    message = rf"album: is not replaced, since {foreign} in it .*name another --out"
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=message):
            check_target(out, overwrite)
    with pytest.raises(ValueError, match=message):
        write_index(out, [chunk_of("ab")])
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "a.npy", "words.npy/deep", ".hidden", "b/words.npy"])
def test_what_somebody_put_into_an_index_is_not_deleted(tmp_path, name):
    out = tmp_path / "index"
    manifest = write_index(out, [chunk_of("ab")])
    if name.startswith("words"):
        (out / "words.npy").unlink()
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_bytes(b"mine")
    (out / "zebra.txt").write_bytes(b"mine too")
    before = files(tmp_path)
    assert check_target(out) == manifest  # left as it is, it does no harm
    foreign = re.escape(name.split("/")[0])
    for action in (lambda: check_target(out, True), lambda: write_index(out, [chunk_of("new")])):
        with pytest.raises(ValueError, match=rf"index: is not replaced, since {foreign} in it"):
            action()
    assert files(tmp_path) == before


# --- the tool ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tool(repository):
    path = repository / "tools" / "datasets" / "synthtext_index.py"
    spec = importlib.util.spec_from_file_location("synthtext_index_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, tmp_path, monkeypatch, capsys):
    """Runs the tool on `tmp_path`; its exit status, output and errors."""

    def start(*arguments: str) -> tuple[int, str, str]:
        folder = str(tmp_path)
        argv = ["synthtext_index.py", f"{folder}/gt.mat", folder, "--out", f"{folder}/index"]
        monkeypatch.setattr(sys, "argv", [*argv, *arguments])
        with pytest.raises(SystemExit) as stop:
            tool.launch.run(tool.main)
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return start


@pytest.fixture
def pictures(tmp_path):
    """Three pages: whole, whole but wider than its image, and missing; and a broken image."""
    pages = [dict(page("abc", "de"), name=f"8/{n}.jpg") for n in ("a", "b", "c", "d")]
    (tmp_path / "8").mkdir()
    cv2.imwrite(str(tmp_path / "8" / "a.jpg"), np.zeros((60, 50, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "8" / "b.jpg"), np.zeros((60, 20, 3), np.uint8))
    (tmp_path / "8" / "d.jpg").write_bytes(b"no image")
    save_gt(tmp_path / "gt.mat", pages)
    return pages


def test_a_run_without_looking_at_images(tmp_path, pictures, run):
    status, out, _ = run()
    assert status == 0
    assert "4  images of 4" in out
    assert "8  words of 8" in out
    assert "20  characters of 20" in out
    assert "no faults" in out
    assert out.splitlines()[-1] == "right and bottom borders not checked; --check-images does"
    index = SynthTextIndex(tmp_path / "index")
    assert [index.read(i)["img_path"] for i in range(4)] == [p["name"] for p in pictures]
    assert "height" not in index.read(0)
    status, out, _ = run()
    assert (status, "nothing to do, the index of 4 images is there" in out) == (0, True)


def test_a_run_that_looks_at_images(tmp_path, pictures, run, tool):
    assert run()[0] == 0
    status, _, err = run("--check-images")
    assert status == 1
    assert "index.json: the index there is of another file or other options" in err
    status, out, _ = run("--check-images", "--overwrite")
    assert status == 0
    assert "2  images of 4" in out
    assert f"1  {tool.MISSING}" in out
    assert f"1  {tool.UNREADABLE}" in out
    assert f"1  {repair.WORD_REACHING}" in out
    assert "not checked" not in out
    index = SynthTextIndex(tmp_path / "index")
    assert [(index.read(i)["height"], index.read(i)["width"]) for i in range(2)] == [
        (60, 50), (60, 20)
    ]  # fmt: skip


def test_errors_of_the_tool_are_one_line(tmp_path, pictures, run):
    content = (tmp_path / "gt.mat").read_bytes()
    (tmp_path / "gt.mat").write_bytes(content[: len(content) // 2])
    status, _, err = run()
    assert status == 1
    assert "gt.mat: " in err.splitlines()[-1]
    assert "download it again" in err.splitlines()[-1]
    (tmp_path / "gt.mat").unlink()
    assert "no such file" in run()[2].splitlines()[-1]
    save_gt(tmp_path / "gt.mat", [dict(page("ab"), name="elsewhere/a.jpg")])
    status, _, err = run()
    assert status == 1
    assert "none of 1 images of GT_MAT is there, such as elsewhere/a.jpg" in err.splitlines()[-1]
    assert not (tmp_path / "index").exists()
    assert not list(tmp_path.glob(".index*"))


def test_overwriting_spares_a_folder_of_something_else(tmp_path, pictures, run):
    (tmp_path / "index" / "photos").mkdir(parents=True)
    (tmp_path / "index" / "photos" / "a.jpg").write_bytes(b"a")
    (tmp_path / "index" / "index.json").write_text('{"photos": 1}')
    status, _, err = run("--overwrite")
    assert status == 1
    assert "index: is not replaced, since index.json in it is no part" in err.splitlines()[-1]
    assert files(tmp_path / "index") == {"photos/a.jpg": b"a", "index.json": b'{"photos": 1}'}
