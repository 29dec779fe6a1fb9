"""The tools that judge files of predictions: evaluate_predictions and compare_predictions."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

WORD = "{0},{1},{2},{1},{2},{3},{0},{3}"


def line(x0, y0, x1, y1, *more):
    return ",".join([WORD.format(x0, y0, x1, y1), *map(str, more)]) + "\n"


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("compare_predictions")


@pytest.fixture
def evaluate(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("evaluate_predictions")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Twenty images of two words: A finds both, B the first one and something else."""
    for folder in ("gt", "a", "b", "photos"):
        (tmp_path / folder).mkdir()
    for number in range(20):
        first, second = (10, 10, 60, 30), (10, 40, 60, 60)
        truth = line(*first, "ab") + line(*second, "cd")
        (tmp_path / "gt" / f"gt_img_{number}.txt").write_text(truth)
        (tmp_path / "a" / f"res_img_{number}.txt").write_text(line(*first) + line(*second))
        wrong = line(80, 10, 120, 30) if number else line(*second)
        (tmp_path / "b" / f"res_img_{number}.txt").write_text(line(*first) + wrong)
        photo = np.full((80, 160, 3), 200, np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"img_{number}.png"), photo)
    return tmp_path


def test_the_better_one_is_told_and_differences_are_drawn(tool, files, capsys):
    arguments = [str(files / name) for name in ("gt", "a", "b")]
    arguments += ["--images", str(files / "photos"), "--out", str(files / "out")]
    tool.main([*arguments, "--number", "2", "--samples", "300"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "hmean: A is better" in printed
    assert "fewer errors: A in 19, B in 0, as many in 1 images" in printed
    content = json.loads((files / "out" / "compare.json").read_text())
    assert content["a"]["hmean"] == [1, 1, 1]
    value, low, high = content["b"]["hmean"]
    assert value == pytest.approx(21 / 40)
    assert 0.5 <= low <= value <= high < 0.7
    value, low, high = content["difference"]["recall"]
    assert value == pytest.approx(21 / 40 - 1)
    assert -0.5 <= low < high < 0
    assert content["images"]["img_0"] == {"a": [2, 2, 2], "b": [2, 2, 2]}
    assert content["images"]["img_7"] == {"a": [2, 2, 2], "b": [1, 2, 2]}
    picture = cv2.imread(str(files / "out" / "differences.png"))
    pages = importlib.import_module("error_pages")
    middle = picture.shape[1] // 2
    for colour, left, right in (
        (pages.RIGHT, True, True),
        (pages.WRONG, False, True),
        (pages.MISSED, False, True),
    ):
        near = (np.abs(picture.astype(int) - colour) < 70).all(2)
        assert (near[:, :middle].sum() > 100, near[:, middle:].sum() > 100) == (left, right)


def test_errors_are_missed_and_wrong_words(tool):
    def box(x):
        return np.array([[x, 0], [x + 9, 0], [x + 9, 9], [x, 9]], dtype=float)

    args = tool.parse_args(["gt", "a", "b", "--out", "out", "--score-thr", "0.5"])
    truth = tool.Truth([box(0), box(20)], np.zeros(2, bool), [None, None])
    found = tool.Predictions([box(0), box(40), box(60), box(80)], np.array([0.9, 0.9, 0.5, 0.4]))
    side = tool.judge(truth, found, args)
    assert side.errors == 3  # one is missed, two are wrong, one has too low a score
    assert (side.rows.tolist(), side.cols.tolist()) == ([0], [0])


def test_alike(tool, files, capsys):
    arguments = [str(files / name) for name in ("gt", "a", "a")]
    tool.main([*arguments, "--out", str(files / "out"), "--images", str(files / "photos")])
    printed = capsys.readouterr().out
    assert "hmean: neither is better" in printed
    assert "no picture: no image differs" in printed
    assert not (files / "out" / "differences.png").exists()
    tool.main([*map(str, (files / "gt", files / "a", files / "b")), "--out", str(files / "out")])
    assert "no picture: no --images" in capsys.readouterr().out


def test_checkpoints(tool, files, monkeypatch, capsys):
    """A checkpoint predicts the photos; what it predicts is kept and read back."""
    from mmtextplug.inference import Detection, TextDetector

    seen = []

    class Fixed:
        def __init__(self, words):
            self.words = words

        def detect(self, images):
            assert images[0].shape == (80, 160, 3)
            outline = np.array([[10, 10], [60, 10], [60, 30], [10, 30]], np.float32)
            words = [outline, outline + np.float32([0, 30])][: self.words]
            return [Detection(words, np.full(len(words), 0.8, np.float32))]

    def official(**settings):
        seen.append(settings)
        return Fixed(2 if settings["checkpoint"].stem == "good" else 1)

    monkeypatch.setattr(TextDetector, "official", official)
    arguments = [str(files / name) for name in ("gt", "good.pth", "bad.pth")]
    tool.main([*arguments, "--images", str(files / "photos"), "--out", str(files / "out")])
    assert [one["checkpoint"].name for one in seen] == ["good.pth", "bad.pth"]
    content = json.loads((files / "out" / "compare.json").read_text())
    assert content["images"]["img_3"] == {"a": [2, 2, 2], "b": [1, 2, 1]}
    entries = json.loads((files / "out" / "b.json").read_text())["data_list"]
    assert len(entries) == 20
    assert entries[0]["instances"] == [
        {"polygon": [10, 10, 60, 10, 60, 30, 10, 30], "score": pytest.approx(0.8)}
    ]
    with pytest.raises(ValueError, match=r"good\.pth: a checkpoint needs the photos: img_0"):
        tool.main([*arguments, "--out", str(files / "out")])


# --- evaluate_predictions ------------------------------------------------------------------------


def test_evaluation(evaluate, files, capsys):
    out = files / "result.json"
    evaluate.main([str(files / "gt"), str(files / "b"), "--out", str(out), "--breakdown"])
    result = json.loads(out.read_text())
    assert result["hmean"]["hmean"] == pytest.approx(21 / 40)
    printed = capsys.readouterr().out
    assert "20 images, 40 words (x1,y1,x2,y2,x3,y3,x4,y4,text)" in printed
    evaluate.main([str(files / "gt"), str(files / "b"), "--iou-thr", "0.999"])
    assert "hmean                   0.525" in capsys.readouterr().out


def test_faults_are_named_counted_left_out_or_refused(evaluate, files, capsys):
    with (files / "b" / "res_img_3.txt").open("a") as found:
        found.write("1,2,3,4,5\n")
    (files / "b" / "res_img_99.txt").write_text(line(0, 0, 9, 9))
    (files / "b" / "res_img_5.txt").unlink()
    arguments = [str(files / "gt"), str(files / "b")]
    evaluate.main(arguments)
    told = capsys.readouterr()
    assert f"{files}/b/res_img_3.txt:3: too few numbers; write x1,y1" in told.err
    assert "img_99: predictions for an unknown image" in told.err
    assert "img_5: no predictions for the image" in told.err
    assert "1 x too few numbers" in told.out
    assert "precision               0.5263157894736842" in told.out  # 20 of 38
    with pytest.raises(ValueError, match=r"2 faults, the first: .*res_img_3.txt:3: too few"):
        evaluate.main([*arguments, "--strict"])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--score-thr", "7"], "--score-thr must be in"),
        (["--iou-thr", "1"], "--iou-thr in"),
        (["--images", "nowhere"], "nowhere: no such folder"),
        (["--samples", "0"], "must be 1 or more"),
        (["--config-b", "b.py"], "go with --config"),
    ],
)
def test_misuse(tool, capsys, arguments, fault):
    with pytest.raises(SystemExit):
        tool.parse_args(["gt", "a", "b", "--out", "out", *arguments])
    assert fault in capsys.readouterr().err


def test_nothing_counts(evaluate, files):
    for path in (files / "gt").iterdir():
        path.write_text(line(0, 0, 9, 9, "###"))
    with pytest.raises(ValueError, match="gt: no annotated word counts"):
        evaluate.main([str(files / "gt"), str(files / "a")])


def test_cleval_of_outlines_with_more_points_is_refused_at_once(evaluate, files, capsys):
    with (files / "a" / "res_img_3.txt").open("a") as found:
        found.write("0,0,9,0,9,4,5,5,0,4\n" * 9)
    arguments = [str(files / "gt"), str(files / "a"), "--metric", "hmean", "cleval"]
    with pytest.raises(ValueError, match=r"img_3: an outline has 5 points: .* with --polygons"):
        evaluate.main(arguments)
    assert "\nhmean\n" not in capsys.readouterr().out
    evaluate.main([*arguments, "--polygons"])
    assert "\ncleval\n" in capsys.readouterr().out


def test_photos_of_two_folders_on_one_side_only(evaluate, tmp_path, capsys):
    square = [0, 0, 10, 0, 10, 10, 0, 10]

    def write(name, *photos):
        entries = [{"img_path": p, "instances": [{"polygon": square}]} for p in photos]
        (tmp_path / name).write_text(json.dumps({"data_list": entries}))
        return str(tmp_path / name)

    evaluate.main([write("gt.json", "a/1.jpg"), write("found.json", "a/1.jpg", "b/1.jpg")])
    assert "hmean                   1.0" in capsys.readouterr().out


def test_only_faults_of_the_format_name_the_options(evaluate, files):
    (files / "b" / "deep").mkdir()
    (files / "b" / "deep" / "res_img_3.txt").write_text(line(0, 0, 9, 9))
    with pytest.raises(ValueError, match=r"are of one image; remove one$"):
        evaluate.main([str(files / "gt"), str(files / "b")])
    with pytest.raises(ValueError, match="--truth-format says which"):
        evaluate.main([str(files / "gt"), str(files / "a"), "--truth-format", "icdar2013"])
    with pytest.raises(ValueError, match="--layout and --scores say which"):
        evaluate.main([str(files / "gt"), str(files / "a"), "--scores"])


def test_images_of_another_set(evaluate, files):
    (files / "c").mkdir()
    (files / "c" / "photo_1.txt").write_text(line(0, 0, 9, 9))
    with pytest.raises(ValueError, match=r"no prediction is for an image of .*gt: found photo_1"):
        evaluate.main([str(files / "gt"), str(files / "c")])


def test_the_benchmark_says_whether_results_are_equal(repository, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    benchmark = importlib.import_module("benchmark_hmean")
    assert benchmark.main(["--images", "3", "--words", "12", "--points", "6"]) == 0
    assert "equal results" in capsys.readouterr().out
