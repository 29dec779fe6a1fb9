"""Folders by the part of a set that they name, chosen by what they hold, and photos by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import photo, text

from mmtextplug.datasets.preparers.folders import Folder, PhotoIndex, Tree, choose, split_of


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("ch4_training_images", "train"),
        ("Challenge2_Test_Task12_Images", "test"),
        ("SceneTrialTrain/a_06.08.2002", "train"),
        ("SceneTrialTest", "test"),
        ("textdet_imgs/train", "train"),
        ("ch8_validation_images", "val"),
        ("totaltext/Images/Test", "test"),
        ("train2014", "train"),
        ("TRAIN", "train"),
        ("test_images/training_copy", "train"),
        ("val/x", "val"),
        ("train_and_test", None),
        ("images", None),
        ("interval/contest/latest", None),
        ("values/constraint", None),
        ("", None),
    ],
)
def test_the_part_of_a_set_that_a_path_names(path, split):
    assert split_of(Path(path)) == split


def names(folders):
    return [(folder.path.name, [path.name for path in folder.files]) for folder in folders]


def test_trees_leave_out_what_is_hidden_and_follow_links_once(tmp_path):
    root = tmp_path / "set"
    for name in ("a/img_10.jpg", "a/img_9.jpg", "a/.img_8.jpg", ".git/b.jpg", "__MACOSX/c.jpg"):
        photo(root / name)
    for name in ("a/crops/1.jpg", "word_images/1.png", "a/notes.txt"):
        text(root / name, "")
    photo(tmp_path / "elsewhere" / "d.jpg")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "circle").symlink_to(root)
    tree = Tree(root)
    assert names(tree.photos()) == [("a", ["img_9.jpg", "img_10.jpg"]), ("link", ["d.jpg"])]
    assert names(tree.photos(re.compile("img_9"))) == [("a", ["img_10.jpg"]), ("link", ["d.jpg"])]
    assert tree.name(root / "a" / "img_9.jpg") == "a/img_9.jpg"


def test_unnamed_folders_count_only_where_none_is_named(tmp_path):
    for name in ("train/1.jpg", "other/2.jpg"):
        photo(tmp_path / name)
    tree = Tree(tmp_path)
    photos = tree.photos()
    assert [(names(found), named) for found, named in
            (tree.of_split(photos, split) for split in ("train", "test"))] == [
        ([("train", ["1.jpg"])], True),
        ([], True),
    ]  # fmt: skip
    other = [folder for folder in photos if folder.path.name == "other"]
    assert tree.of_split(other, "test") == (other, False)
    # The folder itself may be called anything.
    below = Tree(tmp_path / "train")
    assert below.of_split(below.photos(), "test") == (below.photos(), False)


def folder(name, *files):
    return Folder(Path(name), tuple(Path(name, file) for file in files))


def test_folders_are_chosen_by_what_they_hold():
    parts = [folder("p1", "1", "2"), folder("p2", "3", "4", "5"), folder("p3", "9")]
    chosen, passed_over = choose(parts, set("12345"), lambda path: path.name)
    assert [f.path.name for f in chosen] == ["p2", "p1"]
    assert passed_over == []
    copies = [*parts, folder("copy", "4", "5", "6"), folder("again", "1", "2")]
    chosen, passed_over = choose(copies, set("12345"), lambda path: path.name)
    assert [f.path.name for f in chosen] == ["p2", "p1"]
    assert [f.path.name for f in passed_over] == ["copy", "again"]
    assert choose(parts, set(), lambda path: path.name) == ([], [])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.frozensets(st.integers(0, 9), max_size=6), max_size=5),
    st.frozensets(st.integers(0, 9)),
)
def test_chosen_folders_never_share_what_is_wanted(contents, wanted):
    folders = [folder(str(i), *map(str, sorted(c))) for i, c in enumerate(contents)]
    chosen, passed_over = choose(folders, set(map(str, wanted)), lambda path: path.name)
    useful = [{p.name for p in f.files} & set(map(str, wanted)) for f in chosen]
    assert sum(map(len, useful)) == len(set().union(*useful))
    assert all(useful)
    assert len(chosen) + len(passed_over) == sum(bool(c & wanted) for c in contents)
    if chosen:
        assert len(useful[0]) == max(len(c & wanted) for c in contents)


def test_photos_are_found_by_the_ends_of_their_paths():
    train = folder("set/train/a", "IMG_1.JPG", "b.c.png")
    test = folder("set/test/a", "img_1.jpg")
    index = PhotoIndex([train, test])
    assert index.find("train/a/img_1.jpg", Path("set/words.xml")) == (train.files[0], 0)
    assert index.find(r"a\IMG_1.jpg", Path("set/test/words.xml")) == (test.files[0], 0)
    assert index.find("A/img_1.gif", Path("set/train/words.xml")) == (train.files[0], 0)
    assert index.find("img_1", Path("set/words.xml")) == (train.files[0], 1)
    assert index.find("x/img_1.jpg", Path("set/words.xml")) == (train.files[0], 1)
    assert index.find("b.c", Path("set/words.xml")) == (train.files[1], 0)
    assert index.find("img_2.jpg", Path("set/words.xml")) == (None, 0)
