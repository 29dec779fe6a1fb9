"""Words from files as people have them: archives, other people's names, faults in lines."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mmtextplug.evaluation.files import pair_pages, read_predictions, read_truth
from mmtextplug.evaluation.sources import image_key


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def pack(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(folder.rglob("*")):
            out.write(path, path.relative_to(folder))
    return archive


SQUARE = [0, 0, 10, 0, 10, 10, 0, 10]

TRUTH = {
    # A byte order mark, Windows line ends, a comma in a text, a word nobody can read.
    "gt_img_1.txt": b"\xef\xbb\xbf0,0,10,0,10,5,0,5,a,b\r\n20,0,30,0,30,5,20,5,###\r\n",
    "gt_img_2.txt": "",
    "gt_img_10.txt": "0,0,9,0,9,4,0,4,c\n1,2,3,4,5\n",
}
FOUND = {
    "res_img_1.txt": "0,0,10,0,10,5,0,5,0.9\n1,1,2,1,2,2,1,2,0.25\n",
    "res_img_10.txt": "0,0,9,0,9,4,0,4,0.5\n" * 40 + "1,2,3,4,5\n0,0,9,0,9,4,0,nan,0.5\n",
    "res_img_77.txt": "0,0,9,0,9,4,0,4,0.5\n",
}


@pytest.mark.parametrize("packed", [False, True])
def test_text_files(tmp_path, packed):
    truth, found = write(tmp_path / "gt", TRUTH), write(tmp_path / "found", FOUND)
    if packed:
        truth, found = pack(truth), pack(found)
    annotated = read_truth(truth)
    assert list(annotated) == ["img_1", "img_10", "img_2"]
    assert annotated.form == "x1,y1,x2,y2,x3,y3,x4,y4,text"
    assert annotated["img_1"].texts == ["a,b", "###"]
    assert annotated["img_1"].ignored.tolist() == [False, True]
    assert annotated["img_1"].outlines[1].tolist() == [[20, 0], [30, 0], [30, 5], [20, 5]]
    assert annotated["img_2"].outlines == []
    (fault,) = annotated.remarks
    assert fault.where == f"{truth}/gt_img_10.txt:2"
    assert "does not fit icdar2015" in fault.what
    predicted = read_predictions(found)
    assert predicted.form == "x1,y1,x2,y2,x3,y3,x4,y4,score"
    assert predicted["img_1"].scores.tolist() == [0.9, 0.25]
    assert len(predicted["img_10"].outlines) == 40
    assert [(one.where, one.what) for one in predicted.remarks] == [
        (f"{found}/res_img_10.txt:41", "too few numbers"),
        (f"{found}/res_img_10.txt:42", "NaN or infinite coordinate"),
    ]
    pairs, remarks = pair_pages(annotated, predicted)
    assert [(key, len(t.outlines), len(p.outlines)) for key, t, p in pairs] == [
        ("img_1", 2, 2),
        ("img_10", 1, 40),
        ("img_2", 0, 0),
    ]
    assert [(one.where, one.what, one.kept) for one in remarks] == [
        ("img_77", "predictions for an unknown image", False),
        ("img_2", "no predictions for the image", True),
    ]


def test_names_of_one_image():
    names = ["gt_img_1.txt", "res_img_1.txt", "train/img_1.jpg", "img_1.jpg.txt", "IMG_1.png"]
    assert {image_key(name) for name in names} == {"img_1"}
    assert image_key("poly_gt_img12.txt") == "img12"


def test_what_archives_from_other_systems_bring_along(tmp_path):
    folder = write(
        tmp_path / "gt",
        {
            "deep/er/gt_1.txt": "0,0,9,0,9,4,0,4,c\n",
            "__MACOSX/gt_1.txt": "junk",
            "deep/._gt_1.txt": "junk",
            "readme.md": "junk",
        },
    )
    assert list(read_truth(pack(folder))) == ["1"]


def test_two_files_of_one_image(tmp_path):
    folder = write(tmp_path / "gt", {"a/gt_1.txt": "", "b/1.txt": ""})
    with pytest.raises(ValueError, match=r"a/gt_1.txt and .*b/1.txt are of one image"):
        read_predictions(folder)


def test_not_utf_8(tmp_path):
    truth = write(
        tmp_path / "gt",
        {"1.txt": b"0,0,9,0,9,4,0,4,a\n0,0,9,0,9,4,0,4,caf\xe9\n"}
        | {"2.txt": "0,0,9,0,9,4,0,4,a\n"},
    )
    pages = read_truth(truth)
    assert [str(one) for one in pages.remarks] == [
        f"{truth}/1.txt:2: file is not UTF-8; convert the file, such as by "
        "`iconv -f ISO-8859-1 -t UTF-8`"
    ]
    assert len(pages["2"].outlines) == 1


def test_rotated_boxes(tmp_path):
    truth = write(tmp_path / "gt", {"gt_img_1.txt": "1,2,5,4,1.5707963267948966,None\n1,2,x,4,0,a"})
    pages = read_truth(truth, "rotated")
    assert pages["img_1"].outlines[0] == pytest.approx(np.array([[4, 1], [4, 5], [2, 5], [2, 1]]))
    assert pages["img_1"].texts == ["None"]
    assert pages.remarks[0].where.endswith("gt_img_1.txt:2")


def test_rotated_boxes_are_recognised(tmp_path):
    truth = write(tmp_path / "gt", {"1.txt": "1,2,5,4,1.5,None\n1,2,5,4,-0.5,a,b\n"})
    pages = read_truth(truth)
    assert pages.form == "x0,y0,x1,y1,angle,text"
    assert pages["1"].texts == ["None", "a,b"]
    # A fifth number that is no angle: nothing fits.
    (truth / "2.txt").write_text("1,2,5,4,17,None\n")
    with pytest.raises(ValueError, match=r"or rotated: x0,y0,x1,y1,angle,text"):
        read_truth(truth)


def test_a_format_that_most_lines_do_not_fit_is_refused(tmp_path):
    quads = "0,0,9,0,9,4,0,4,a\n" * 3
    folder = write(tmp_path / "gt", {"1.txt": quads})
    with pytest.raises(ValueError, match=r"only 0 of 3 lines .*1\.txt:1: more than 4"):
        read_truth(folder, "icdar2013")
    with pytest.raises(ValueError, match=r"only 0 of 3 lines could be read as .*score"):
        read_predictions(folder, "quad", scored=True)


def test_names_of_photos_are_compared_alike_on_both_sides(tmp_path):
    square = {"polygon": SQUARE, "score": 0.5}
    truth, found = tmp_path / "truth.json", tmp_path / "found.json"
    truth.write_text(json.dumps({"data_list": [entry("a/1.jpg", {"polygon": SQUARE})]}))
    entries = [entry("a/1.jpg", square), entry("b/1.png")]
    found.write_text(json.dumps({"data_list": entries}))
    pairs, remarks = pair_pages(read_truth(truth), read_predictions(found))
    assert [(key, len(p.outlines)) for key, _, p in pairs] == [("a/1", 1)]
    assert [(one.where, one.kept) for one in remarks] == [("b/1.png", False)]


def entry(path, *instances):
    return {"img_path": path, "height": 50, "width": 50, "instances": list(instances)}


def test_json(tmp_path):
    truth = tmp_path / "truth.json"
    truth.write_text(
        json.dumps(
            {
                "data_list": [
                    entry(
                        "a/1.jpg",
                        {"polygon": SQUARE, "text": "x"},
                        {"bbox": [0, 0, 5, 5], "ignore": True},
                        {"polygon": [0, 0, 1, 1], "text": "y"},
                        7,
                    ),
                    entry("a/2.jpg"),
                    {"img_path": "3.jpg"},
                ]
            }
        )
    )
    pages = read_truth(truth)
    assert list(pages) == ["1", "2"]
    assert pages["1"].texts == ["x", None]
    assert pages["1"].ignored.tolist() == [False, True]
    assert [(one.where, one.what) for one in pages.remarks] == [
        (f"{truth}: data_list[2]", "entry is no image with words"),
        (f"{truth}: data_list[0], instances[2]", "polygon has fewer than 3 points"),
        (f"{truth}: data_list[0], instances[3]", "no dict"),
    ]
    found = tmp_path / "found.json"
    found.write_text(
        json.dumps(
            {
                "data_list": [
                    entry(
                        "1.jpg",
                        {"polygon": SQUARE, "score": 0.5},
                        {"polygon": SQUARE},
                        {"polygon": SQUARE, "score": 3},
                        {"polygon": [*SQUARE[:-1], float("nan")], "score": 0.5},
                        {"polygon": "none"},
                    )
                ]
            }
        )
    )
    predicted = read_predictions(found)
    assert predicted["1"].scores.tolist() == [0.5, 1]
    assert [one.what for one in predicted.remarks] == [
        "score is not in [0, 1]",
        "polygon has fewer than 3 points, or a NaN or infinite coordinate",
        "polygon and score are no list of numbers and no number",
    ]


def test_photos_numbered_anew_in_each_folder(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"data_list": [entry("a/1.jpg"), entry("b/1.jpg")]}))
    assert list(read_truth(path)) == ["a/1", "b/1"]
    path.write_text(json.dumps({"data_list": [entry("a/1.jpg"), entry("a/1.jpg")]}))
    with pytest.raises(ValueError, match="are one image; remove one"):
        read_truth(path)


def test_what_infer_writes(tmp_path):
    words = [{"polygon": [[0, 0], [10, 0], [10, 10], [0, 10]], "score": 0.5, "char_count": 3}]
    found = write(
        tmp_path / "found",
        {
            "img_1.json": json.dumps(
                {"image": "x/img_1.jpg", "exif_orientation": 1, "words": words}
            ),
            "img_2.json": json.dumps(
                {"image": "x/img_2.jpg", "exif_orientation": 6, "words": words}
            ),
            "img_3.json": "[]",
            "img_1.jpg": "",
        },
    )
    pages = read_predictions(found)
    assert list(pages) == ["img_1"]
    assert pages["img_1"].outlines[0].tolist() == words[0]["polygon"]
    assert pages["img_1"].scores.tolist() == [0.5]
    assert [one.what for one in pages.remarks] == [
        "photo was turned by its EXIF orientation, and annotations are not",
        "no predictions of a photo",
    ]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("gt.json", "{", "cannot be read as JSON"),
        ("gt.json", "[]", "field 'data_list' is missing"),
        ("gt.zip", "no archive", "neither a folder nor a ZIP archive nor JSON"),
        ("gt/readme.md", "", "no .txt files in it"),
        ("gt/1.txt", "a,b,c\n", "gt: no line fits one of the known"),
    ],
)
@pytest.mark.parametrize("read", [read_truth, read_predictions])
def test_no_words_at_all(tmp_path, read, name, content, fault):
    write(tmp_path, {name: content})
    with pytest.raises(ValueError, match=fault):
        read(tmp_path / Path(name).parts[0])


@pytest.mark.parametrize("read", [read_truth, read_predictions])
@pytest.mark.parametrize("name", ["gt.json", "gt.zip", "gt"])
def test_missing(tmp_path, read, name):
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
        read(tmp_path / name)
