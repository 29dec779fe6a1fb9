"""`crop_backgrounds.py` from annotated photos to a folder that the renderer takes."""

from __future__ import annotations

import importlib
import json

import cv2
import numpy as np
import pytest

from mmtextplug.datasets.text_renderer import TextRenderer, sample_rng

SIZE = (120, 200)
WORDS = [(60, 0, 80, 119), (150, 40, 190, 60)]


@pytest.fixture
def tool(repository, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(repository / "tools" / "datasets"))
    module = importlib.import_module("crop_backgrounds")

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["crop_backgrounds.py", *arguments])
        return module.main()

    return run


def write(folder, entries: list[dict]) -> str:
    """The annotation file of photos."""
    metainfo = dict(dataset_type="TextDetDataset", task_name="textdet")
    (folder / "words.json").write_text(json.dumps(dict(metainfo=metainfo, data_list=entries)))
    return str(folder / "words.json")


@pytest.fixture
def photos(tmp_path):
    """Two photos, blue but for their words, which are red; the second cannot be read."""
    image = np.full((*SIZE, 3), (200, 0, 0), np.uint8)
    instances = []
    for number, (x0, y0, x1, y1) in enumerate(WORDS):
        cv2.rectangle(image, (x0, y0), (x1, y1), (0, 0, 200), -1)
        polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
        bbox = [x0, y0, x1, y1]
        word = dict(polygon=polygon, bbox=bbox, bbox_label=0, ignore=number == 1, text="word")
        instances.append(word)
    assert cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "b.png").write_bytes(b"nothing")
    entries = [
        dict(img_path=name, height=SIZE[0], width=SIZE[1], instances=instances)
        for name in ("a.png", "b.png")
    ]

    return lambda count: write(tmp_path, entries[:count])


def test_no_word_is_in_them_not_even_ignored_ones(tool, photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert tool(photos(1), "--out", str(out), "--min-side", "30") == 0
    assert "rectangles of 1 photos" in capsys.readouterr().out
    crops = sorted(out.iterdir())
    assert [path.name for path in crops] == ["a_0.jpg", "a_1.jpg", "a_2.jpg"]
    for path in crops:
        image = cv2.imread(str(path)).astype(int)
        assert min(image.shape[:2]) >= 30
        assert np.abs(image - [200, 0, 0]).max() < 12  # JPEG
    # Between the words, left of the first, below the second right of what is taken.
    assert [cv2.imread(str(path)).shape[:2] for path in crops] == [(120, 53), (120, 52), (51, 58)]
    renderer = TextRenderer(64, (0, 0), background_dir=out, photo_prob=1.0, effects=False)
    assert renderer.render(sample_rng(0, 0)).image[..., 0].mean() > 100


def test_what_cannot_be_read_is_skipped_and_told(tool, photos, tmp_path, capsys):
    assert tool(photos(2), "--out", str(tmp_path / "out"), "--min-side", "30") == 1
    said = capsys.readouterr().out
    assert "b.png" in said
    assert "3 rectangles of 1 photos" in said


def test_a_folder_with_something_in_it_is_left_alone(tool, photos, tmp_path):
    with pytest.raises(ValueError, match="not empty"):
        tool(photos(1), "--out", str(tmp_path))


def test_photos_of_the_same_name_have_files_of_their_own(tool, tmp_path, capsys):
    entries = []
    for number, name in enumerate(("x/p.png", "y/p.png", "p-2.png", "p.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((*SIZE, 3), 40 * number, np.uint8))
        entries.append(dict(img_path=name, instances=[]))  # sizes are not needed
    out = tmp_path / "out"
    assert tool(write(tmp_path, entries), "--out", str(out), "--min-side", "30") == 0
    assert "4 rectangles of 4 photos" in capsys.readouterr().out
    shades = {path.name: round(cv2.imread(str(path)).mean() / 40) for path in out.iterdir()}
    assert shades == {"p_0.jpg": 0, "p-2_0.jpg": 1, "p-2-2_0.jpg": 2, "p-3_0.jpg": 3}


def test_words_may_have_boxes_only(tool, photos, tmp_path):
    annotation = photos(1)
    content = json.loads((tmp_path / "words.json").read_text())
    for word in content["data_list"][0]["instances"]:
        del word["polygon"]
    write(tmp_path, content["data_list"])
    assert tool(annotation, "--out", str(tmp_path / "out"), "--min-side", "30") == 0
    shapes = [cv2.imread(str(path)).shape[:2] for path in sorted((tmp_path / "out").iterdir())]
    assert shapes == [(120, 53), (120, 52), (51, 58)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict(instances=[dict(polygon=[60, 0, 80, 0, float("nan"), 119])]), "a.png: 1 words have"),
        (dict(width=201), r"a.png: (200, 120) pixels, annotated as (201, 120)"),
    ],
)
def test_a_photo_whose_words_may_be_anywhere_is_left_out(
    tool, photos, tmp_path, capsys, change, said
):
    photos(1)
    content = json.loads((tmp_path / "words.json").read_text())
    annotation = write(tmp_path, [content["data_list"][0] | change])
    assert tool(annotation, "--out", str(tmp_path / "out"), "--min-side", "30") == 1
    assert said in capsys.readouterr().out
    assert list((tmp_path / "out").iterdir()) == []
