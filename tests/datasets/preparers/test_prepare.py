"""The command: what it says, refuses and leaves alone, and what it makes of bad input."""

from __future__ import annotations

import json
import os
import re
import shlex

import numpy as np
import pytest
import scipy.io
from miniatures import box, entry, icdar2015, photo, row, text, word
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from mmtextplug import launch
from mmtextplug.datasets.preparers.sets import SETS
from mmtextplug.photos import read_header

QUAD_LINE = "10,20,60,20,60,40,10,40,"
QUAD = box(10, 20, 60, 40)


def refused(tool, capsys, *arguments) -> str:
    """The one line of error of a run that writes nothing."""
    with pytest.raises(SystemExit) as exit_info:
        launch.run(lambda: tool.main([*map(str, arguments)]))
    assert exit_info.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_runs_again_to_the_same_bytes(prepared, tmp_path):
    icdar2015(tmp_path, "train")
    icdar2015(tmp_path, "test", 2)
    first = prepared("icdar2015")
    paths = [tmp_path / f"textdet_{split}.json" for split in ("train", "test")]
    before = [path.read_bytes() for path in paths]
    assert prepared("icdar2015") == first
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "textdet_test.json",
        "textdet_train.json",
    ]
    assert first["train"][1] == entry("ch4_training_images/img_2.jpg", word(QUAD, "w2"))


def test_both_kinds_of_datasets_read_what_is_written(prepared, tmp_path):
    icdar2015(tmp_path)
    prepared("icdar2015")
    for kind in ("CharTextDataset", "mmocr.OCRDataset"):
        dataset = DATASETS.build(
            dict(type=kind, data_root=str(tmp_path), ann_file="textdet_train.json", pipeline=[])
        )
        assert len(dataset) == 3
        assert dataset[2]["img_path"] == str(tmp_path / "ch4_training_images" / "img_3.jpg")
        assert os.path.isfile(dataset[2]["img_path"])


def test_says_what_was_taken_for_what(prepared, tmp_path, capsys):
    icdar2015(tmp_path)
    images = tmp_path / "copy" / "train" / "img_1.jpg"
    photo(images)
    prepared("icdar2015")
    printed = capsys.readouterr().out
    gts = tmp_path / "ch4_training_localization_transcription_gt"
    assert printed.startswith(f"left out, {tmp_path}: test: nothing found. Looked for photos such")
    assert f"  photos from {tmp_path / 'ch4_training_images'} (3)\n" in printed
    assert f"  annotations from {gts} (3)\n" in printed
    assert f"  passed over {images.parent}: the same names once more\n" in printed


def test_another_folder_to_write_to(tool, tmp_path):
    icdar2015(tmp_path / "data")
    tool.main(["ICDAR2015", str(tmp_path / "data"), "--out", str(tmp_path / "new" / "out")])
    content = json.loads((tmp_path / "new" / "out" / "textdet_train.json").read_text())
    assert content["metainfo"] == {
        "dataset_type": "TextDetDataset",
        "task_name": "textdet",
        "category": [{"id": 0, "name": "text"}],
    }
    assert content["data_list"][0]["img_path"] == "ch4_training_images/img_1.jpg"
    assert not list((tmp_path / "data").glob("*.json"))


def test_own_splits_by_number(prepared, tmp_path, capsys):
    icdar2015(tmp_path, photos=4)
    (tmp_path / "ch4_training_images" / "img_4.jpg").unlink()
    split = ("--split", "train", "--numbers")
    prepared("icdar2015", *split, "1-2", "--name", "train900")
    found = prepared("icdar2015", *split, "3-6", "--name", "val")
    assert {name: [e["img_path"][-9:] for e in part] for name, part in found.items()} == {
        "train900": ["img_1.jpg", "img_2.jpg"],
        "val": ["img_3.jpg"],
    }
    printed = capsys.readouterr().out
    assert row(printed, "annotations without photo") == ["0", "1 gt_img_4.txt"]
    assert row(printed, "numbers without photo and annotation") == ["0", "3 4, 5, 6"]
    assert "published photos missing" not in printed


def test_half_a_download_is_named(prepared, tmp_path, capsys):
    gts = icdar2015(tmp_path, photos=5)
    (tmp_path / "ch4_training_images" / "img_2.jpg").unlink()
    (gts / "gt_img_5.txt").unlink()
    assert len(prepared("icdar2015")["train"]) == 3
    printed = capsys.readouterr().out
    assert row(printed, "photos without annotation") == ["1 img_5.jpg"]
    assert row(printed, "annotations without photo") == ["1 gt_img_2.txt"]
    assert row(printed, "of 1,000 published photos missing") == ["997"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("ch4_test_images", "test: no annotations found. Looked for photos such as ch4_training_"),
        ("Challenge4_Test_Task1_GT", "test: no photos found. Looked for photos such as"),
    ],
)
def test_half_a_part_is_refused(tool, tmp_path, capsys, folder, message):
    icdar2015(tmp_path, "train")
    icdar2015(tmp_path, "test")
    others = {"ch4_test_images", "Challenge4_Test_Task1_GT"} - {folder}
    (tmp_path / others.pop()).rename(tmp_path.parent / f"{tmp_path.name}_elsewhere")
    line = refused(tool, capsys, "icdar2015", tmp_path)
    assert message in line
    assert "--split train leaves it out" in line
    assert not list(tmp_path.glob("*.json"))
    tool.main(["icdar2015", str(tmp_path), "--split", "train"])
    assert [path.name for path in tmp_path.glob("*.json")] == ["textdet_train.json"]


def test_nothing_there_is_one_error_that_says_what_was_looked_for(tool, tmp_path, capsys):
    line = refused(tool, capsys, "ctw1500", tmp_path / "none")
    assert "none: no such folder; name the one that was downloaded" in line
    for dataset, example in {
        "icdar2003": "SceneTrialTrain/words.xml",
        "icdar2013": "Challenge2_Training_Task1_GT/gt_100.txt",
        "icdar2015": "gt_img_1.txt",
        "mlt2017": "ch8_training_images_1/img_1.jpg",
        "art": "train_labels.json",
        "totaltext": "poly_gt_img11.mat",
        "ctw1500": "0001.xml",
        "msra_td500": "IMG_0030.gt",
        "hust_tr400": "0001.gt",
        "cocotext": "cocotext.v2.json",
        "svt": "svt1/train.xml",
    }.items():
        line = refused(tool, capsys, dataset, tmp_path)
        assert f"{tmp_path}: train: nothing found. Looked for " in line
        assert example in line
        assert "(found files in: no file)" in line
    assert "no gt.mat; SynthText has one" in refused(tool, capsys, "synthtext", tmp_path)


def test_archives_have_to_be_unpacked(tool, tmp_path, capsys):
    for name in ("ch4_training_images.zip", "ch4_test_images.tar.gz"):
        text(tmp_path / name, "")
    line = refused(tool, capsys, "icdar2015", tmp_path)
    assert line.endswith("; unpack ch4_test_images.tar.gz, ch4_training_images.zip first")


def test_other_peoples_names_are_no_pairs(tool, tmp_path, capsys):
    for number in range(3):
        photo(tmp_path / "train_images" / f"photo-{number}.jpg")
        text(tmp_path / "train_gts" / f"label_{number}.txt", f"{QUAD_LINE}a\n")
    line = refused(tool, capsys, "icdar2015", tmp_path)
    assert "train: photos and annotations whose names do not belong together found" in line
    assert "(found files in: train_gts, train_images)" in line


def test_folders_that_name_no_part_need_its_name(tool, prepared, tmp_path, capsys):
    photo(tmp_path / "images" / "img_1.jpg")
    text(tmp_path / "gts" / "img_1.txt", f"{QUAD_LINE}a\n")
    line = refused(tool, capsys, "icdar2015", tmp_path)
    assert "says whether this is train or test of ICDAR 2015: say so with --split" in line
    expected = [entry("images/img_1.jpg", word(QUAD, "a"))]
    assert prepared("icdar2015", "--split", "test") == {"test": expected}


BAD = [
    (f"{QUAD_LINE}ok\n1,2,3,4,5\n", "does not fit icdar2015 (x1,y1,x2,y2,x3,y3,x4,y4,text)", 2),
    (f"{QUAD_LINE}ok\n5,5,5,5,5,5,5,5,dot\n", "polygon has no area", 2),
    (f"{QUAD_LINE}ok\n{QUAD_LINE}no\r\n{QUAD_LINE}ok\r\n", "same outline and text as another", 3),
    (f"{QUAD_LINE}ok\n0,0,10,0,nan,10,0,10,b\n", "polygon has a NaN or infinite coordinate", 2),
    (
        f"{QUAD_LINE}ok\n900,300,920,300,920,310,900,310,out\n",
        "polygon is outside of the image",
        2,
    ),
    (f"{QUAD_LINE}ok\n\n{QUAD_LINE}caf\xe9\n".encode("latin-1"), "file is not UTF-8", 3),
]


@pytest.mark.parametrize(("content", "what", "line"), BAD)
def test_bad_lines_are_named_counted_and_left_out_or_refused(
    tool, prepared, tmp_path, capsys, monkeypatch, content, what, line
):
    gts = icdar2015(tmp_path)
    text(gts / "gt_img_2.txt", content)
    found = prepared("icdar2015")["train"]
    printed = capsys.readouterr().out
    assert f"{gts}/gt_img_2.txt:{line}: {what}; " in printed
    assert row(printed, what) == ["1"]
    whole_file = what == "file is not UTF-8"
    assert row(printed, "left out") == ["2" if whole_file else "1"]
    kept = [] if whole_file else ["ok", "no"] if "same" in what else ["ok"]
    texts = [[i["text"] for i in e["instances"]] for e in found]
    assert texts == [["w1"], *([kept] if kept else []), ["w3"]]

    (tmp_path / "textdet_train.json").unlink()
    line = refused(tool, capsys, "icdar2015", tmp_path, "--strict")
    faults = 2 if whole_file else 1
    assert f"--strict: {faults} faults left out; ICDAR 2015, train, has been published" in line
    assert not list(tmp_path.glob("*.json"))


def test_strict_accepts_what_is_whole(tool, prepared, tmp_path, capsys, monkeypatch):
    gts = icdar2015(tmp_path)
    sets = {"icdar2015": tool.SETS["icdar2015"]}
    sets["icdar2015"] = type(sets["icdar2015"])("ICDAR 2015", {"train": 3}, sets["icdar2015"].find)
    monkeypatch.setattr(tool, "SETS", tool.SETS | sets)
    assert len(prepared("icdar2015", "--strict")["train"]) == 3
    # Reversed outlines are mended, not left out.
    text(gts / "gt_img_2.txt", "10,20,10,40,60,40,60,20,back\n")
    assert prepared("icdar2015", "--strict")["train"][1]["instances"] == [word(QUAD, "back")]
    before = (tmp_path / "textdet_train.json").read_bytes()
    (gts / "gt_img_2.txt").unlink()
    line = refused(tool, capsys, "icdar2015", tmp_path, "--strict")
    assert "--strict: 1 photos without annotation (img_2.jpg); ICDAR 2015, train, has been" in line
    assert line.endswith("published with 3 photos, 2 are here: nothing is written")
    assert (tmp_path / "textdet_train.json").read_bytes() == before


def test_photos_without_words_stay_and_files_without_usable_words_do_not(
    prepared, tmp_path, capsys
):
    gts = icdar2015(tmp_path)
    text(gts / "gt_img_1.txt", "\ufeff\r\n  \r\n")
    text(gts / "gt_img_2.txt", "no words of this form\n")
    assert prepared("icdar2015")["train"] == [
        entry("ch4_training_images/img_1.jpg"),
        entry("ch4_training_images/img_3.jpg", word(QUAD, "w3")),
    ]
    printed = capsys.readouterr().out
    assert row(printed, "without words") == ["1"]
    assert row(printed, "photo left out, no word of it can be read") == ["1"]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_empty_annotation_files_are_named_and_refused_where_all_photos_have_words(
    tool, prepared, tmp_path, capsys, content
):
    gts = icdar2015(tmp_path)
    text(gts / "gt_img_2.txt", content)
    assert prepared("icdar2015")["train"][1] == entry("ch4_training_images/img_2.jpg")
    printed = capsys.readouterr().out
    what = "annotation file is empty"
    assert f"{gts}/gt_img_2.txt: {what}; its photo counts as one without words" in printed
    assert (row(printed, what), row(printed, "left out")) == (["1"], ["0"])
    line = refused(tool, capsys, "icdar2015", tmp_path, "--strict")
    bare = "1 photos without words, of which the set has none (ch4_training_images/img_2.jpg)"
    assert f"--strict: {bare}; ICDAR 2015, train" in line


def test_sets_with_photos_that_have_no_words():
    assert [name for name, known in SETS.items() if known.always_words] == [
        *("icdar2013", "icdar2015", "totaltext", "ctw1500")
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_files_in_utf_16_are_told_apart(prepared, tmp_path, capsys, encoding):
    gts = icdar2015(tmp_path)
    text(gts / "gt_img_2.txt", f"\ufeff{QUAD_LINE}a\n".encode(encoding))
    assert len(prepared("icdar2015")["train"]) == 2
    printed = capsys.readouterr().out
    assert (
        f"{gts}/gt_img_2.txt:1: file is UTF-16, not UTF-8; convert the file, such as by "
        "`iconv -f UTF-16 -t UTF-8`\n" in printed
    )


def test_files_that_share_a_name_are_named_with_their_folders(prepared, tmp_path, capsys):
    icdar2015(tmp_path)
    images = tmp_path / "ch4_training_images"
    photo(images / "img_2.png")
    assert len(prepared("icdar2015")["train"]) == 2
    names = f"{images}/img_2.jpg, {images}/img_2.png, "
    gts = tmp_path / "ch4_training_localization_transcription_gt"
    assert f"{names}{gts}/gt_img_2.txt: share a name; leave" in capsys.readouterr().out


def test_photos_of_all_kinds(prepared, tmp_path, capsys):
    icdar2015(tmp_path, photos=4)
    images = tmp_path / "ch4_training_images"
    Image.new("CMYK", (120, 80)).save(images / "img_1.jpg")
    (images / "img_2.jpg").write_bytes(b"no photo")
    whole = (images / "img_3.jpg").read_bytes()
    (images / "img_3.jpg").write_bytes(whole[:10])
    found = prepared("icdar2015")["train"]
    assert [(e["img_path"][-9:], e["width"], e["height"]) for e in found] == [
        ("img_1.jpg", 120, 80),
        ("img_4.jpg", 200, 100),
    ]
    printed = capsys.readouterr().out
    assert f"{images}/img_1.jpg: photo is CMYK; loaders convert it to RGB" in printed
    assert row(printed, "photo is CMYK") == ["1"]
    assert f"{images}/img_2.jpg: photo is no image that Pillow can read; replace" in printed
    assert row(printed, "left out") == ["2"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "JPG"])
def test_photos_that_are_cut_off_are_left_out_or_refused(tool, prepared, tmp_path, capsys, suffix):
    icdar2015(tmp_path)
    images = tmp_path / "ch4_training_images"
    (images / "img_2.jpg").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    path = images / f"img_2.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:12_000])
    assert read_header(path)[:2] == (100, 200)
    found = prepared("icdar2015")["train"]
    assert [e["img_path"][-9:] for e in found] == ["img_1.jpg", "img_3.jpg"]
    printed = capsys.readouterr().out
    assert f"{path}: photo is cut off; download it again (" in printed
    assert row(printed, "photo is cut off") == row(printed, "left out") == ["1"]
    (tmp_path / "textdet_train.json").unlink()
    line = refused(tool, capsys, "icdar2015", tmp_path, "--strict")
    assert "--strict: 1 faults left out" in line
    assert not list(tmp_path.glob("*.json"))


def test_no_word_at_all_writes_nothing(tool, tmp_path, capsys):
    gts = icdar2015(tmp_path)
    for path in gts.iterdir():
        path.write_text("")
    line = refused(tool, capsys, "icdar2015", tmp_path)
    assert "train: no word could be read; nothing is written" in line
    assert not list(tmp_path.glob("*.json"))


def test_a_bad_second_part_leaves_the_first_unwritten(tool, tmp_path, capsys):
    icdar2015(tmp_path, "train")
    for path in icdar2015(tmp_path, "test").iterdir():
        path.write_text("1,2,3\n")
    line = refused(tool, capsys, "icdar2015", tmp_path)
    assert "test: no word could be read; nothing is written; --split train leaves it out" in line
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_run_leaves_the_old_file(prepared, tmp_path, monkeypatch, error):
    icdar2015(tmp_path)
    old = prepared("icdar2015")

    def fail(*_):
        raise error

    icdar2015(tmp_path, photos=9)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(type(error)):
            prepared("icdar2015")
    assert json.loads((tmp_path / "textdet_train.json").read_text())["data_list"] == old["train"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["textdet_train.json"]
    assert len(prepared("icdar2015")["train"]) == 9


@pytest.mark.parametrize(
    ("dataset", "name", "content", "message"),
    [
        ("art", "train_labels.json", "{", "train_labels.json: cannot be read as JSON"),
        ("art", "train_labels.json", "[]", "train_labels.json: is no JSON object"),
        ("art", "train_labels.json", '{"gt_0": 3}', "'gt_0' is no list of words"),
        ("cocotext", "COCO_Text.json", '{"imgs": {}}', "has no imgs and anns as COCO-Text"),
        ("svt", "train.xml", "<tagset><image>", "train.xml: is no XML: no element found"),
        ("svt", "train.xml", "<t><image></image></t>", "image 1 has no imageName"),
        ("icdar2003", "train/words.xml", "words", "words.xml: is no XML: syntax error"),
        ("icdar2003", "train/chars.json", '{"images": [{}]}', "has no images with words (text"),
        ("synthtext", "gt.mat", "MATLAB", "cannot be read as SynthText's ground truth"),
    ],
)
def test_broken_lists_are_one_clear_error(tool, tmp_path, capsys, dataset, name, content, message):
    photo(tmp_path / "train" / "gt_0.jpg")
    text(tmp_path / name, content)
    assert message in refused(tool, capsys, dataset, tmp_path)
    assert not list(tmp_path.glob("textdet*.json"))


def svt(root, split, name):
    rectangle = '<taggedRectangle x="10" y="20" width="50" height="20"><tag>a</tag>'
    listed = f"<image><imageName>img/{name}</imageName>{rectangle}</taggedRectangle></image>"
    photo(root / "img" / name)
    text(root / f"{split}.xml", f"<tagset>{listed}</tagset>")


def test_a_broken_part_leaves_the_others_a_way(tool, prepared, tmp_path, capsys):
    svt(tmp_path, "train", "1.jpg")
    svt(tmp_path, "test", "2.jpg")
    text(tmp_path / "test.xml", "<tagset>")
    line = refused(tool, capsys, "svt", tmp_path)
    assert f"{tmp_path}/test.xml: is no XML" in line
    assert line.endswith("; --split train leaves it out")
    expected = [entry("img/1.jpg", word(QUAD, "a"))]
    assert prepared("svt", "--split", "train") == {"train": expected}
    printed = capsys.readouterr().out
    assert f"{tmp_path}/test.xml: list of another part cannot be read; photos that" in printed
    assert row(printed, "photos without annotation") == ["1 2.jpg"]
    # No way out where there is no other part, or none that is whole.
    text(tmp_path / "train.xml", "<tagset>")
    assert "leaves it out" not in refused(tool, capsys, "svt", tmp_path)
    assert "leaves it out" not in refused(tool, capsys, "svt", tmp_path, "--split", "test")


def test_several_lists_are_not_decided(tool, tmp_path, capsys):
    for name in ("cocotext.v2.json", "COCO_Text.json"):
        text(tmp_path / name, "{}")
    line = refused(tool, capsys, "cocotext", tmp_path)
    assert "train: several lists of words: " in line
    assert line.endswith("leave one of them there")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["icdar2015", ".", "--split", "val"], "--split val: icdar2015 has train, test"),
        (["icdar2015", ".", "--numbers", "1-2"], "for one part of a set: name it with --split"),
        (
            ["icdar2015", ".", "--split", "train", "--numbers", "1-2"],
            "--numbers needs --name",
        ),
        (["art", ".", "--name", "a/b"], "is no part of a file's name"),
        (["art", ".", "--numbers", "3-1", "--name", "x"], "is no number and no range"),
        (["art", ".", "--show", "-1"], "--show must be 0 or more"),
        (["synthtext", ".", "--strict"], "--strict is of no use for synthtext"),
        (["imagenet", "."], "invalid choice: 'imagenet'"),
    ],
)
def test_arguments_that_make_no_sense(tool, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_info:
        tool.main(arguments)
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


def synthtext(root, names):
    """A ground truth of one word of two characters an image, as its owners have it."""

    def cells(values):
        array = np.empty((1, len(values)), object)
        array[0] = values
        return array

    square = np.array([[10, 40, 40, 10], [10, 10, 30, 30]], np.float32)
    halves = np.stack([square * [[0.5], [1]] + [[5 + 15 * i], [0]] for i in (0, 1)], axis=2)
    root.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(
        root / "gt.mat",
        {
            "imnames": cells([np.array([name]) for name in names]),
            "wordBB": cells([square for _ in names]),
            "charBB": cells([halves for _ in names]),
            "txt": cells([np.array(["ab"]) for _ in names]),
        },
    )


@pytest.mark.parametrize(
    ("truth", "below"),
    [("", ""), ("", "imgs"), ("SynthText", "SynthText"), ("SynthText", "SynthText/imgs")],
)
def test_synthtext_becomes_an_index_that_its_config_reads(
    repository, tool, tmp_path, capsys, truth, below
):
    root = tmp_path / "set"
    synthtext(root / truth, ["1/a_1.jpg", "1/a_2.jpg"])
    for number in (1, 2):
        photo(root / below / "1" / f"a_{number}.jpg")
    tool.main(["synthtext", str(root)])
    printed = capsys.readouterr().out
    assert f"photos from {root / below}\n" in printed
    assert "2  images of 2" in printed
    config = Config.fromfile(repository / "configs" / "_base_" / "datasets" / "synthtext.py")
    settings = config.synthtext_textdet_train.to_dict() | dict(pipeline=[])

    def paths(where, **fields):
        dataset = DATASETS.build(settings | dict(data_root=str(where)) | fields)
        return [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]

    expected = [str(root / below / "1" / f"a_{number}.jpg") for number in (1, 2)]
    assert paths(root) == expected
    assert all(map(os.path.isfile, expected))
    # Who gives a prefix is believed.
    assert paths(root, data_prefix=dict(img_path="x")) == [
        str(root / "x" / "1" / f"a_{number}.jpg") for number in (1, 2)
    ]
    moved = root.rename(tmp_path / "moved")
    assert paths(moved) == [path.replace(str(root), str(moved)) for path in expected]
    tool.main(["synthtext", str(moved)])
    printed = capsys.readouterr().out
    assert "nothing to do, the index of 2 images is there" in printed
    assert "its images are in" not in printed


def test_an_old_index_of_synthtext_learns_where_its_photos_are(tool, tmp_path, capsys):
    synthtext(tmp_path, ["1/a_1.jpg"])
    path = photo(tmp_path / "imgs" / "1" / "a_1.jpg")
    tool.main(["synthtext", str(tmp_path)])
    manifest = tmp_path / "index" / "index.json"
    content = json.loads(manifest.read_text())
    assert content.pop("images") == "../imgs"
    manifest.write_text(json.dumps(content))
    settings = dict(type="SynthTextDataset", data_root=str(tmp_path), index="index", pipeline=[])
    info = DATASETS.build(settings).get_data_info(0)
    assert info["img_path"] == str(tmp_path / "1" / "a_1.jpg")
    info = DATASETS.build(settings | dict(data_prefix=dict(img_path="imgs"))).get_data_info(0)
    assert info["img_path"] == str(path)
    capsys.readouterr()
    tool.main(["synthtext", str(tmp_path)])
    assert f"its images are in {tmp_path / 'imgs'}, as index.json says" in capsys.readouterr().out
    assert DATASETS.build(settings).get_data_info(0)["img_path"] == str(path)
    for field, error, match in (
        ("../gone", FileNotFoundError, "images: no folder .*gone; give data_prefix"),
        (3, ValueError, "field 'images' is no folder"),
    ):
        manifest.write_text(json.dumps(content | {"images": field}))
        with pytest.raises(error, match=match):
            DATASETS.build(settings)


def test_commands_that_configs_document(repository, tool):
    """Each is one that the tool takes, and leaves what the config reads where it looks for it."""
    found = 0
    for path in sorted((repository / "configs").rglob("*.py")):
        comment = re.sub(r"\\\n#", "", path.read_text(encoding="utf-8"))
        for line in re.findall(
            r"^# +python tools/datasets/prepare\.py (.*)$", comment, re.MULTILINE
        ):
            args = tool.parse_args(shlex.split(line))
            assert args.folder.as_posix() == f"data/{args.dataset}", path
            found += 1
    assert found > 12
    path = repository / "configs" / "craft" / "craft_vgg16bn_50k_synthtext.py"
    dataset = Config.fromfile(path).train_dataloader.dataset.dataset
    assert (dataset.data_root, dataset.index) == ("data/synthtext", "index")


def test_synthtext_without_its_photos(tool, tmp_path, capsys):
    synthtext(tmp_path, ["1/a_1.jpg"])
    line = refused(tool, capsys, "synthtext", tmp_path)
    assert f"none of 1 photos of {tmp_path}/gt.mat is there, such as 1/a_1.jpg" in line
    synthtext(tmp_path / "again", ["1/a_1.jpg"])
    assert "several ground truths" in refused(tool, capsys, "synthtext", tmp_path)
