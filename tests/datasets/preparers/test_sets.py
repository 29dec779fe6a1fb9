"""Every set in the formats of its owners: the JSON to the last number."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io
from miniatures import box, entry, photo, row, text, word

from mmtextplug.datasets.preparers.sets import SETS

QUAD = [10, 20, 60, 22, 59, 41, 9, 40]
QUAD_LINE = "10,20,60,22,59,41,9,40,"


def test_icdar2013_words_and_characters(prepared, tmp_path, capsys):
    root = tmp_path / "Challenge2"
    photo(root / "Challenge2_Training_Task12_Images" / "100.jpg")
    photo(root / "Challenge2_Training_Task12_Images" / "101.jpg")
    text(
        root / "Challenge2_Training_Task1_GT" / "gt_100.txt",
        '20 30 60 50 "Hi"\r\n70 30 150 52 "a\\"b, c"\r\n20 60 60 80 "Hi"\r\n90 60 120 80 "No"\r\n',
    )
    text(root / "Challenge2_Training_Task1_GT" / "gt_101.txt", '1 2 30 40 "x"\r\n')
    photo(root / "Challenge2_Training_Task2_GT" / "100_GT.bmp")
    text(
        root / "Challenge2_Training_Task2_GT" / "100_GT.txt",
        # The lower "Hi" comes first: the place decides, not the order.
        '9 0 0 30 70 21 61 38 79 "h"\r\n9 1 0 50 70 42 61 59 79 "i"\r\n'
        "\r\n"
        '9 2 0 30 40 20 31 38 50 "H"\r\n#9 9 0 0 0 0 0 1 1 "?"\r\n9 3 0 50 40 42 31 60 50 "i"\r\n'
        "\r\n"
        '9 4 0 75 40 70 30 80 52 "a"\r\n9 5 0 85 40 82 30 90 40 "\\""\r\n'
        '9 6 0 95 40 92 30 110 52 "b"\r\n9 6 0 112 40 111 45 115 52 ","\r\n'
        '9 6 0 112 40 115 45 120 52 " "\r\n9 7 0 140 40 130 30 150 52 "c"\r\n'
        "\r\n"
        '9 8 0 5 5 1 1 9 9 "Z"\r\n\r\n'
        "9 8 0 5 5 1 1 9\r\n",
    )
    photo(root / "Challenge2_Test_Task12_Images" / "img_1.jpg")
    text(root / "Challenge2_Test_Task1_GT" / "gt_img_1.txt", '\ufeff38, 43, 92, 90, "Ti, red"\n')
    found = prepared("icdar2013")
    train = "Challenge2/Challenge2_Training_Task12_Images"
    assert found["train"] == [
        entry(
            f"{train}/100.jpg",
            word(box(20, 30, 60, 50), "Hi", chars=[box(20, 31, 38, 50), box(42, 31, 60, 50)]),
            word(
                box(70, 30, 150, 52),
                'a"b, c',
                chars=[
                    box(70, 30, 80, 52),
                    box(82, 30, 90, 40),
                    box(92, 30, 110, 52),
                    box(111, 45, 115, 52),
                    box(130, 30, 150, 52),
                ],
            ),
            word(box(20, 60, 60, 80), "Hi", chars=[box(21, 61, 38, 79), box(42, 61, 59, 79)]),
            word(box(90, 60, 120, 80), "No"),
        ),
        entry(f"{train}/101.jpg", word(box(1, 2, 30, 40), "x")),
    ]
    name = "Challenge2/Challenge2_Test_Task12_Images/img_1.jpg"
    assert found["test"] == [entry(name, word(box(38, 43, 92, 90), "Ti, red"))]
    printed = capsys.readouterr().out
    assert f"characters from {root}/Challenge2_Training_Task2_GT (1)" in printed
    assert row(printed, "with characters") == ["3"]
    assert row(printed, "characters") == ["9"]
    assert row(printed, "word without characters") == ["1"]
    assert row(printed, "characters of no word") == ["1"]
    assert row(printed, "photo without characters") == ["1"]
    assert "100_GT.txt:17: does not fit R G B x y left top right bottom" in printed
    assert row(printed, "of 229 published photos missing") == ["227"]
    assert row(printed, "of 233 published photos missing") == ["232"]


def tagged(tag: str, attributes: str, cuts: str = "") -> str:
    return f"<taggedRectangle {attributes}><tag>{tag}</tag>{cuts}</taggedRectangle>"


def tagset(*images: tuple[str, str]) -> str:
    listed = (
        f'<image><imageName>{name}</imageName><resolution x="200" y="100" />'
        f"<taggedRectangles>{rectangles}</taggedRectangles></image>"
        for name, rectangles in images
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\r\n<tagset>{"".join(listed)}</tagset>'


CAT = 'x="20.0" y="30.0" width="60.0" height="20.0" offset="0.0" rotation="0.0" userName="a"'
TURNED = 'x="100" y="30" width="60" height="20" offset="0.0" rotation="0.2"'


def test_icdar2003_words_and_cuts(prepared, tmp_path, capsys):
    for part, name in (
        ("SceneTrialTrain", "a_06.08.2002/IMG_1.JPG"),
        ("SceneTrialTest", "b/2.jpg"),
    ):
        photo(tmp_path / part / name)
        words = tagged("c&amp;t", CAT) + tagged("tea", TURNED)
        text(tmp_path / part / "words.xml", tagset((name, words)))
        text(tmp_path / part / "locations.xml", tagset((name, "")))
    cuts = "<segmentation><xOff>18.0</xOff><xOff>40.5</xOff></segmentation>"
    wrong = "<segmentation><xOff>18.0</xOff><xOff>90</xOff></segmentation>"
    text(
        tmp_path / "SceneTrialTrain" / "segmentation.xml",
        tagset(
            ("a_06.08.2002/IMG_1.JPG", tagged("c&amp;t", CAT, cuts) + tagged("tea", TURNED, wrong))
        ),
    )
    found = prepared("icdar2003")
    chars = [box(20, 30, 38, 50), box(38, 30, 60.5, 50), box(60.5, 30, 80, 50)]
    tea = word(box(100, 30, 160, 50), "tea")
    assert found == {
        "train": [
            entry(
                "SceneTrialTrain/a_06.08.2002/IMG_1.JPG",
                word(box(20, 30, 80, 50), "c&t", chars=chars),
                tea,
            )
        ],
        "test": [
            entry("SceneTrialTest/b/2.jpg", word(box(20, 30, 80, 50), "c&t"), tea),
        ],
    }
    printed = capsys.readouterr().out
    assert row(printed, "rectangle has a rotation") == ["1", "1"]
    assert row(printed, "cuts do not part the word into its characters") == ["1"]
    assert row(printed, "word without characters") == ["1"]


@pytest.mark.parametrize("texts", [True, False])
def test_icdar2003_as_one_file_of_characters(prepared, tmp_path, texts):
    photo(tmp_path / "images" / "7.jpg")
    characters = [{"c": c, "box": [x, 10.0, x + 10, 30.0]} for c, x in (("O", 20.0), ("n", 30.0))]
    words = [{"text": "On", "box": [20.0, 10.0, 40.0, 30.0], "chars": characters}]
    images = [{"file_name": "7.jpg", "width": 200, "height": 100, "words": words}]
    text(tmp_path / "chars.json", json.dumps({"note": "", "images": images}))
    left = 20
    if texts:
        left = 19
        text(tmp_path / "word_gts" / "gt_7.txt", '19 10 40 31 "On"\n100 10 140 30 "more"\n')
    found = prepared("icdar2003", "--split", "train")["train"]
    chars = [box(20, 10, 30, 30), box(30, 10, 40, 30)]
    on = word(box(left, 10, 40, 31 if texts else 30), "On", chars=chars)
    more = [word(box(100, 10, 140, 30), "more")] if texts else []
    assert found == [entry("images/7.jpg", on, *more)]


def test_characters_that_no_word_gets_are_counted(prepared, tmp_path, capsys):
    """Photo 7 has a word of two letters and one that is not in its list; 8 and 9 have no list."""
    for name in "7", "8":
        photo(tmp_path / "images" / f"{name}.jpg")

    def spelled(word_, left):
        boxes = [[left + 10 * i, 10.0, left + 10 * (i + 1), 30.0] for i in range(len(word_))]
        chars = [{"c": c, "box": b} for c, b in zip(word_, boxes)]
        outer = [left, 10.0, left + 10 * len(word_), 30.0]
        return {"text": word_, "box": outer, "chars": chars}

    words = {"7": [spelled("On", 20.0), spelled("odd", 60.0)], "8": [spelled("four", 20.0)]}
    words["9"] = [spelled("fiver", 20.0)]
    images = [{"file_name": f"{name}.jpg", "words": found} for name, found in words.items()]
    text(tmp_path / "chars.json", json.dumps({"images": images}))
    text(tmp_path / "word_gts" / "gt_7.txt", '20 10 40 30 "On"\n150 10 190 30 "?"\n')
    found = prepared("icdar2003", "--split", "train")["train"]
    on = word(box(20, 10, 40, 30), "On", chars=[box(20, 10, 30, 30), box(30, 10, 40, 30)])
    unread = word(box(150, 10, 190, 30), "?", ignore=True)
    assert found == [entry("images/7.jpg", on, unread)]
    printed = capsys.readouterr().out
    assert row(printed, "characters") == ["2"]
    assert row(printed, "characters found") == ["14"]
    assert row(printed, "characters of no word") == ["1"]
    assert row(printed, "characters of a photo without words here") == ["2"]
    assert row(printed, "left out") == ["2"]
    assert "8.jpg, words[0]: characters of a photo without words here; find its photo" in printed
    assert "4 characters are left out" in printed
    assert "5 characters are left out" in printed
    assert row(printed, "text is '?'") == ["1"]


def test_icdar2003_says_what_nobody_could_read_and_cuts_without_words(prepared, tmp_path, capsys):
    photo(tmp_path / "train" / "1.jpg")
    cuts = "<segmentation><xOff>18.0</xOff><xOff>40.5</xOff></segmentation>"
    words = tagged("cat", CAT) + tagged("?", 'x="100" y="30" width="60" height="20"')
    text(tmp_path / "train" / "words.xml", tagset(("1.jpg", words)))
    segments = [("1.jpg", tagged("cat", CAT, cuts)), ("2.jpg", tagged("cat", CAT, cuts))]
    text(tmp_path / "train" / "segmentation.xml", tagset(*segments))
    chars = [box(20, 30, 38, 50), box(38, 30, 60.5, 50), box(60.5, 30, 80, 50)]
    assert prepared("icdar2003")["train"] == [
        entry(
            "train/1.jpg",
            word(box(20, 30, 80, 50), "cat", chars=chars),
            word(box(100, 30, 160, 50), "?", ignore=True),
        )
    ]
    printed = capsys.readouterr().out
    assert "1.jpg, rectangle 2: text is '?'; nobody could read the word: it is ignored" in printed
    assert row(printed, "word without characters") == []
    assert "2.jpg: characters of a photo without words here; find its words; 3 char" in printed
    assert (row(printed, "characters"), row(printed, "characters found")) == (["3"], ["6"])


def test_entries_of_cocotext_that_belong_to_nothing(prepared, tmp_path, capsys):
    photo(tmp_path / "train2014" / "a.jpg")
    good = {"image_id": 3, "mask": box(10, 20, 60, 40), "utf8_string": "a"}
    images = {"3": {"id": 3, "set": "train", "file_name": "a.jpg"}, "4": "b.jpg"}
    annotations = {"1": good, "2": [1, 2], "5": good | {"image_id": 99}, "6": {}}
    text(tmp_path / "COCO_Text.json", json.dumps({"imgs": images, "anns": annotations}))
    expected = [entry("train2014/a.jpg", word(box(10, 20, 60, 40), "a"))]
    assert prepared("cocotext") == {"train": expected}
    printed = capsys.readouterr().out
    for place in ("anns 5", "anns 6"):
        assert f"COCO_Text.json, {place}: word of a photo that is not in imgs; correct" in printed
    assert "COCO_Text.json, anns 2: word's entry is no object" in printed
    assert "COCO_Text.json, imgs 4: photo's entry is no object" in printed
    assert row(printed, "left out") == ["4"]


def test_icdar2015(prepared, tmp_path):
    photo(tmp_path / "ch4_training_images" / "img_1.jpg")
    photo(tmp_path / "ch4_training_word_images_gt" / "word_1.png", (20, 10))
    text(tmp_path / "ch4_training_word_images_gt" / "gt.txt", 'word_1.png, "x"\n')
    text(
        tmp_path / "ch4_training_localization_transcription_gt" / "gt_img_1.txt",
        f'\ufeff{QUAD_LINE}a, "b"\r\n{QUAD_LINE}###\r\n',
    )
    photo(tmp_path / "ch4_test_images" / "img_1.jpg")
    text(tmp_path / "Challenge4_Test_Task1_GT" / "gt_img_1.txt", f"\ufeff{QUAD_LINE}12,5 %")
    assert prepared("icdar2015") == {
        "train": [
            entry(
                "ch4_training_images/img_1.jpg",
                word(QUAD, 'a, "b"'),
                word(QUAD, "###", ignore=True),
            )
        ],
        "test": [entry("ch4_test_images/img_1.jpg", word(QUAD, "12,5 %"))],
    }


def test_mlt2017_in_many_folders_and_formats(prepared, tmp_path, capsys):
    for number, suffix in ((1, "jpg"), (2, "png"), (3, "gif")):
        photo(tmp_path / f"ch8_training_images_{number}" / f"img_{number}.{suffix}")
        text(
            tmp_path / "ch8_training_localization_transcription_gt_v2" / f"gt_img_{number}.txt",
            f"\ufeff{QUAD_LINE}Arabic,\u0645\u0631\u062d\u0628\u0627\r\n{QUAD_LINE}None,###\r\n",
        )
    photo(tmp_path / "ch8_validation_images" / "img_1.jpg")
    text(
        tmp_path / "ch8_validation_localization_transcription_gt_v2" / "gt_img_1.txt",
        f"{QUAD_LINE}Latin,a,b\n{QUAD_LINE}Klingon,q\n",
    )
    found = prepared("mlt2017")
    words = [word(QUAD, "\u0645\u0631\u062d\u0628\u0627"), word(QUAD, "###", ignore=True)]
    assert found["train"] == [
        entry("ch8_training_images_1/img_1.jpg", *words),
        entry("ch8_training_images_2/img_2.png", *words),
        entry("ch8_training_images_3/img_3.gif", *words),
    ]
    assert found["val"] == [entry("ch8_validation_images/img_1.jpg", word(QUAD, "a,b"))]
    printed = capsys.readouterr().out
    assert row(printed, "photo is a GIF") == ["1"]
    assert row(printed, "no script before the transcription") == ["1"]


def test_art(prepared, tmp_path, capsys):
    polygon = [[10, 10], [40, 5], [70, 10], [70, 30], [40, 25], [10, 30]]
    flat = [value for point in polygon for value in point]
    labels = {
        "gt_0": [
            {"transcription": "caf\u00e9", "points": polygon, "language": "Latin",
             "illegibility": False},
            {"transcription": "###", "points": polygon, "language": "Latin", "illegibility": True},
            {"transcription": "seen", "points": polygon[:4], "language": "x", "illegibility": True},
        ],
        "gt_10": [{"transcription": "a", "points": [[1, 2], [3]], "illegibility": False},
                  {"transcription": "b", "points": polygon, "illegibility": False}],
        "gt_11": [],
    }  # fmt: skip
    text(tmp_path / "train_labels.json", json.dumps(labels))
    for name in ("gt_0", "gt_10"):
        photo(tmp_path / "train_images" / "train_images" / f"{name}.jpg")
    found = prepared("art")
    assert found == {
        "train": [
            entry(
                "train_images/train_images/gt_0.jpg",
                word(flat, "caf\u00e9"),
                word(flat, "###", ignore=True),
                word(flat[:8], "seen", ignore=True),
            ),
            entry("train_images/train_images/gt_10.jpg", word(flat, "b")),
        ]
    }
    printed = capsys.readouterr().out
    assert row(printed, "annotations without photo") == ["1 gt_11"]
    assert "train_labels.json, gt_10[0]: outline has an odd number of coordinates" in printed
    assert row(printed, "of 5,603 published photos missing") == ["5,601"]


CURVE_X, CURVE_Y = [153, 161, 179, 195, 184, 177], [47, 23, 5, 15, 31, 57]
CURVE = [value for point in zip(CURVE_X, CURVE_Y) for value in point]


def total_text(form: str) -> bytes | list:
    if form == "plain":
        numbers = ",".join(map(str, CURVE))
        return f"{numbers},it's\n{numbers},#\n10,20,60,22,59,41,9,40,a,b\n".encode()
    xs, ys = (" ".join(map(str, values)) for values in (CURVE_X, CURVE_Y))
    return (
        f"x: [[{xs}]], y: [[{ys}]], ornt: [u'c'], transcriptions: [u\"it's\"]\r\n"
        f"x: [[{xs[:11]}\r\n {xs[11:]}]], y: [[ {ys}]], ornt: [u'#'], transcriptions: [u'#']\r\n"
        "x: [[10 60 59  9]], y: [[20 22 41 40]], ornt: [u'h'], transcriptions: [u'a', u'b']\r\n"
    ).encode()


def total_text_mat(path):
    rows = np.empty((3, 6), object)
    quad = [QUAD[::2], QUAD[1::2]]
    for i, (x, y, text_, orientation) in enumerate(
        [(CURVE_X, CURVE_Y, ["it's"], ["c"]), (CURVE_X, CURVE_Y, ["#"], []), (*quad, ["a,b"], "h")]
    ):
        rows[i] = [
            *("x:", np.array([x], np.int16), "y:", np.array([y], np.int16)),
            *(np.array(text_), np.array(orientation)),
        ]
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"polygt": rows})


@pytest.mark.parametrize(
    ("form", "folder", "name"),
    [
        ("plain", "train_gts", "img11.jpg.txt"),
        ("owners", "txt_format/Train", "poly_gt_img11.txt"),
        ("mat", "Groundtruth/Polygon/Train", "poly_gt_img11.mat"),
    ],
)
def test_totaltext_in_its_three_forms(prepared, tmp_path, form, folder, name):
    photo(tmp_path / "Images" / "Train" / "img11.JPG")
    if form == "mat":
        total_text_mat(tmp_path / folder / name)
        total_text_mat(tmp_path / "Groundtruth" / "Rectangular" / "Train" / "rect_gt_img11.mat")
    else:
        text(tmp_path / folder / name, total_text(form))
    assert prepared("totaltext") == {
        "train": [
            entry(
                "Images/Train/img11.JPG",
                word(CURVE, "it's"),
                word(CURVE, "#", ignore=True),
                word(QUAD, "a,b"),
            )
        ]
    }


CTW = (
    "131,58,150,49,160,56,170,76,180,81,185,85,190,90,180,99,175,95,170,93,160,90,150,80,140,75,"
    "135,70"
)
CTW_NUMBERS = [int(value) for value in CTW.split(",")]


def test_ctw1500(prepared, tmp_path, capsys):
    photo(tmp_path / "train_images" / "0200.jpg")
    photo(tmp_path / "test_images" / "1001.jpg")
    photo(tmp_path / "test_images" / "1002.jpg")
    text(
        tmp_path / "ctw1500_train_labels" / "0200.xml",
        f'<Annotations>\r\n <image file="0200.jpg">\r\n  <box height="41" left="131" top="49" '
        f'width="59">\r\n   <label>A &amp; B</label>\r\n   <segs>{CTW}</segs>\r\n'
        f'   <pts x="183" y="95" />\r\n  </box>\r\n  <box><label>###</label><segs>{CTW}</segs>'
        "</box>\r\n  <box><label>bad</label><segs>1,2,x</segs></box>\r\n </image>\r\n"
        "</Annotations>",
    )
    text(
        tmp_path / "ctw1500_test_labels" / "0001001.txt",
        f"{CTW},####E, 313\n{CTW},#######\n{CTW},CARE\n{CTW},36,000\n10,20,60,22,59,41,9,40,####L\n"
        "1,2,3,4,5,six\n",
    )
    first_edition = "100,50,160,90," + ",".join(
        str(value - (50 if i % 2 else 100)) for i, value in enumerate(CTW_NUMBERS)
    )
    text(tmp_path / "ctw1500_test_labels" / "0001002.txt", first_edition)
    assert prepared("ctw1500") == {
        "train": [
            entry(
                "train_images/0200.jpg",
                word(CTW_NUMBERS, "A & B"),
                word(CTW_NUMBERS, "###", ignore=True),
            )
        ],
        "test": [
            entry(
                "test_images/1001.jpg",
                word(CTW_NUMBERS, "E, 313"),
                word(CTW_NUMBERS, "###", ignore=True),
                word(CTW_NUMBERS, "CARE"),
                word(CTW_NUMBERS, "36,000"),
                word(QUAD, "L"),
            ),
            entry("test_images/1002.jpg", word(CTW_NUMBERS)),
        ],
    }
    printed = capsys.readouterr().out
    assert "0200.xml, box 3: segs are no numbers with commas; correct the box" in printed
    assert "0001001.txt:6: does not fit x1,y1,...,x14,y14,####text" in printed


@pytest.mark.parametrize(
    ("dataset", "folder"), [("msra_td500", "MSRA-TD500/train"), ("hust-tr400", "HUST-TR400")]
)
def test_turned_lines(prepared, tmp_path, dataset, folder):
    photo(tmp_path / folder / "IMG_0030.JPG")
    text(
        tmp_path / folder / "IMG_0030.gt",
        # A quarter turn clockwise: the upper left corner goes to the upper right.
        "0 0 50 40 40 20 0.000000\r\n1 1 50 40 40 20 1.5707963267948966\r\n2 0 5 5 9 9\r\n",
    )
    assert prepared(dataset) == {
        "train": [
            entry(
                f"{folder}/IMG_0030.JPG",
                word(box(50, 40, 90, 60)),
                word([80, 30, 80, 70, 60, 70, 60, 30], ignore=True),
            )
        ]
    }


def test_lines_as_other_authors_pass_them_on(prepared, tmp_path):
    for part in ("TD500", "TR400"):
        photo(tmp_path / part / "train_images" / "IMG_0030.JPG")
        text(
            tmp_path / part / "train_gts" / "IMG_0030.JPG.txt",
            f"{QUAD_LINE}0\n{QUAD_LINE}1\n50,40,90,60,0.0,None\n50,40,90,60,0.0,###\n",
        )
    words = [
        *(word(QUAD), word(QUAD, ignore=True)),
        *(word(box(50, 40, 90, 60)), word(box(50, 40, 90, 60), ignore=True)),
    ]
    for dataset, part in (("msra_td500", "TD500"), ("hust_tr400", "TR400")):
        # The last pair has one outline and no text: the same word twice.
        expected = [entry(f"{part}/train_images/IMG_0030.JPG", *words)]
        assert prepared(dataset)["train"] == expected


@pytest.mark.parametrize("version", [1, 2])
def test_cocotext(prepared, tmp_path, version):
    outline = "polygon" if version == 1 else "mask"

    def annotation(image, text_, legibility="legible"):
        return {
            "image_id": image,
            "bbox": [10.0, 20.0, 50.5, 20.0],
            outline: [10, 20, 60.5, 20, 60.5, 40, 10, 40],
            "class": "machine printed",
            "language": "english",
            "legibility": legibility,
            **({} if text_ is None else {"utf8_string": text_}),
        }

    images = {
        str(number): {
            "id": number,
            "set": split,
            "width": 200,
            "height": 100,
            "file_name": f"COCO_train2014_{number:012}.jpg",
        }
        for number, split in ((3, "train"), (4, "train"), (5, "val"), (6, "test"), (7, "train"))
    }
    without = annotation(5, "box") | {outline: None}
    annotations = {
        "30": annotation(3, "caf\u00e9"),
        "31": annotation(3, None, "illegible"),
        "32": annotation(3, "dim", "illegible"),
        "50": without,
    }
    content = {
        "cats": {},
        "info": {},
        "imgs": images,
        "anns": {key: {"id": int(key), **value} for key, value in annotations.items()},
        "imgToAnns": {"3": [30, 31, 32], "4": [], "5": [50]},
    }
    name = "COCO_Text.json" if version == 1 else "cocotext.v2.json"
    text(tmp_path / name, json.dumps(content))
    for number in (3, 4, 5, 6, 9):
        photo(tmp_path / "train2014" / f"COCO_train2014_{number:012}.jpg")
    quad = [10, 20, 60.5, 20, 60.5, 40, 10, 40]
    assert prepared("cocotext") == {
        "train": [
            entry(
                "train2014/COCO_train2014_000000000003.jpg",
                word(quad, "caf\u00e9"),
                word(quad, "", ignore=True),
                word(quad, "dim", ignore=True),
            ),
            entry("train2014/COCO_train2014_000000000004.jpg"),
        ],
        "val": [entry("train2014/COCO_train2014_000000000005.jpg", word(quad, "box"))],
    }


def test_svt(prepared, tmp_path, capsys):
    def rectangle(x, tag):
        return tagged(tag, f'height="20" width="30" x="{x}" y="25"')

    text(
        tmp_path / "svt1" / "train.xml",
        tagset(("img/14_03.jpg", rectangle(10, "LIVING") + rectangle(50, "ROOM"))),
    )
    text(
        tmp_path / "svt1" / "test.xml",
        tagset(("img/00_00.jpg", rectangle(10, "A") + tagged("B", 'x="1" y="2"'))),
    )
    for name in ("14_03", "00_00", "99_99"):
        photo(tmp_path / "svt1" / "img" / f"{name}.jpg")
    assert prepared("svt") == {
        "train": [
            entry(
                "svt1/img/14_03.jpg",
                word(box(10, 25, 40, 45), "LIVING"),
                word(box(50, 25, 80, 45), "ROOM"),
            )
        ],
        "test": [entry("svt1/img/00_00.jpg", word(box(10, 25, 40, 45), "A"))],
    }
    printed = capsys.readouterr().out
    assert row(printed, "photos without annotation") == ["1 99_99.jpg", "1 99_99.jpg"]
    assert "test.xml, img/00_00.jpg, rectangle 2: rectangle without x, y, width and" in printed


@pytest.mark.parametrize(
    ("dataset", "line"),
    [("icdar2013", '10 20 60 40 "word"'), ("icdar2015", f"{QUAD_LINE}word"), ("totaltext", None)],
)
def test_folders_as_mmocrs_preparer_leaves_them(prepared, tmp_path, dataset, line):
    content = line.encode() if line else total_text("owners")
    for split in ("train", "test"):
        photo(tmp_path / "textdet_imgs" / split / "img_1.jpg")
        name = "poly_gt_img_1.txt" if dataset == "totaltext" else "gt_img_1.txt"
        text(tmp_path / "annotations" / split / name, content)
    found = prepared(dataset)
    assert [found[split][0]["img_path"] for split in ("train", "test")] == [
        "textdet_imgs/train/img_1.jpg",
        "textdet_imgs/test/img_1.jpg",
    ]
    assert found["train"][0]["instances"] == found["test"][0]["instances"]
    assert len(found["train"][0]["instances"]) == (1 if line else 3)


OWNERS = {
    "icdar2013": {
        "train": (
            "Challenge2_Training_Task12_Images/100.jpg",
            "Challenge2_Training_Task1_GT/gt_100.txt",
        ),
        "test": (
            "Challenge2_Test_Task12_Images/img_1.jpg",
            "Challenge2_Test_Task1_GT/gt_img_1.txt",
        ),
    },
    "icdar2015": {
        "train": (
            "ch4_training_images/img_1.jpg",
            "ch4_training_localization_transcription_gt/gt_img_1.txt",
        ),
        "test": ("ch4_test_images/img_1.jpg", "Challenge4_Test_Task1_GT/gt_img_1.txt"),
    },
    "mlt2017": {
        "train": (
            "ch8_training_images_1/img_1.jpg",
            "ch8_training_localization_transcription_gt_v2/gt_img_1.txt",
        ),
        "val": (
            "ch8_validation_images/img_1.jpg",
            "ch8_validation_localization_transcription_gt_v2/gt_img_1.txt",
        ),
    },
    "totaltext": {
        "train": ("Images/Train/img11.jpg", "Groundtruth/Polygon/Train/poly_gt_img11.txt"),
        "test": ("Images/Test/img1.jpg", "Groundtruth/Polygon/Test/poly_gt_img1.txt"),
    },
    "ctw1500": {
        "train": ("train_images/0001.jpg", "ctw1500_train_labels/0001.xml"),
        "test": ("test_images/1001.jpg", "gt_ctw1500/0001001.txt"),
    },
    "msra_td500": {
        "train": ("MSRA-TD500/train/IMG_0030.JPG", "MSRA-TD500/train/IMG_0030.gt"),
        "test": ("MSRA-TD500/test/IMG_0059.JPG", "MSRA-TD500/test/IMG_0059.gt"),
    },
    "hust_tr400": {"train": ("HUST-TR400/0001.jpg", "HUST-TR400/0001.gt")},
    "art": {"train": ("train_images/gt_0.jpg", "train_labels.json")},
    "cocotext": {
        "train": ("train2014/COCO_train2014_000000000001.jpg", "cocotext.v2.json"),
        "val": ("train2014/COCO_train2014_000000000002.jpg", "cocotext.v2.json"),
    },
    "svt": {
        "train": ("svt1/img/14_03.jpg", "svt1/train.xml"),
        "test": ("svt1/img/00_00.jpg", "svt1/test.xml"),
    },
    "icdar2003": {
        "train": ("SceneTrialTrain/apanar_06.08.2002/IMG_1261.JPG", "SceneTrialTrain/words.xml"),
        "test": ("SceneTrialTest/ryoungt_05.08.2002/aPICT0034.JPG", "SceneTrialTest/words.xml"),
    },
}
RECORD = "x: [[10 60 60 10]], y: [[20 20 40 40]], ornt: [u'h'], transcriptions: [u'a']"
IMAGES = {
    str(i): {"id": i, "set": part, "file_name": f"COCO_train2014_{i:012}.jpg"}
    for i, part in ((1, "train"), (2, "val"))
}
WORDS = {
    str(i): {
        "image_id": i,
        "mask": box(10, 20, 60, 40),
        "utf8_string": "a",
        "legibility": "legible",
    }
    for i in (1, 2)
}


def owners_truth(dataset: str, image: str, truth: str) -> str:
    """One word of the photo, in the owners' format."""
    if dataset in ("svt", "icdar2003"):
        name = image.split("/", 1)[1]
        return tagset((name, tagged("a", 'x="10" y="20" width="50" height="20"')))
    if truth.endswith("0001.xml"):
        line = f"<box><label>a</label><segs>{CTW}</segs></box>"
        return f"<Annotations><image>{line}</image></Annotations>"
    return {
        "icdar2013": '10 20 60 40 "a"',
        "icdar2015": "10,20,60,20,60,40,10,40,a",
        "mlt2017": "10,20,60,20,60,40,10,40,Latin,a",
        "totaltext": RECORD,
        "ctw1500": f"{CTW},####a",
        "msra_td500": "0 0 10 20 50 20 0.0",
        "hust_tr400": "0 0 10 20 50 20 0.0",
        "art": json.dumps(
            {"gt_0": [{"transcription": "a", "points": [[10, 20], [60, 20], [60, 40]]}]}
        ),
        "cocotext": json.dumps({"imgs": IMAGES, "anns": WORDS}),
    }[dataset]


@pytest.mark.parametrize("dataset", OWNERS)
def test_names_as_the_owners_give_them(prepared, tmp_path, dataset):
    """Both parts, and each without the other: what is not there does not stop what is."""
    parts = OWNERS[dataset]

    def lay_out(names):
        for split in names:
            image, truth = parts[split]
            photo(tmp_path / image)
            text(tmp_path / truth, owners_truth(dataset, image, truth))

    def found():
        files = prepared(dataset)
        for path in tmp_path.glob("textdet_*.json"):
            path.unlink()
        return {
            split: [(e["img_path"], len(e["instances"])) for e in entries]
            for split, entries in files.items()
        }

    expected = {split: [(image, 1)] for split, (image, _) in parts.items()}
    for split in parts if dataset != "cocotext" else ():
        lay_out([split])
        assert found() == {split: expected[split]}
        for name in parts[split]:
            (tmp_path / name).unlink()
    lay_out(parts)
    assert found() == expected


def test_every_set_is_laid_out_as_its_owners_do():
    assert {name: list(parts) for name, parts in OWNERS.items()} == {
        name: list(known.counts) for name, known in SETS.items()
    }


@pytest.mark.parametrize("unnamed", ["photos", "truth"])
def test_files_that_could_belong_to_both_parts_are_refused(prepared, tmp_path, unnamed):
    """Both parts of ICDAR 2015 have an img_1: a folder that names none may hold either."""
    for split in ("train", "test"):
        image = "all" if unnamed == "photos" else f"{split}_images"
        truth = "all" if unnamed == "truth" else f"{split}_gts"
        photo(tmp_path / image / "img_1.jpg")
        text(tmp_path / truth / "gt_img_1.txt", f"{QUAD_LINE}{split}")
    other = "gts" if unnamed == "photos" else "images"
    with pytest.raises(ValueError, match=r"train: files in .*all could belong to ") as caught:
        prepared("icdar2015")
    message = str(caught.value)
    assert f"{tmp_path}/train_{other} or to {tmp_path}/test_{other}: rename it" in message
