"""The benchmark of labelling: what it times, and that its figures add up."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from mmtextplug.craft import word_labeller
from mmtextplug.craft.pseudo_labels import PseudoCharLabelHook
from mmtextplug.craft.teacher import Teacher

CONFIG = """
default_scope = "mmocr"
model = dict(
    type="CRAFT",
    data_preprocessor=dict(
        type="TextDetDataPreprocessor", mean=[120.0] * 3, std=[60.0] * 3, pad_size_divisor=32
    ),
    backbone=dict(
        type="mmdet.ResNet",
        depth=18,
        base_channels=8,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
    ),
    neck=dict(type="CRAFTDecoder", in_channels=[8, 16, 32], out_channels=[8, 8, 8]),
    det_head=dict(
        type="CRAFTHead",
        in_channels=8,
        module_loss=dict(type="CRAFTModuleLoss"),
        postprocessor=dict(type="CRAFTPostprocessor"),
    ),
)
"""


@pytest.fixture
def tool(repository: Path, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("benchmark_pseudo_labels")


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tiny.py"
    path.write_text(CONFIG)
    return str(path)


def test_a_batch_has_exactly_so_many_words(tool):
    batch = tool.make_batch(2, 40, 96, seed=0)
    for image, sample in zip(batch["inputs"], batch["data_samples"], strict=True):
        assert image.shape == (3, 96, 96)
        instances = sample.gt_instances
        assert len(instances) == 40
        assert all(len(c) == len(t) for c, t in zip(instances.chars, instances.texts))
    hidden = tool.without_characters(batch)
    for before, after in zip(batch["data_samples"], hidden["data_samples"], strict=True):
        assert after.gt_instances.chars == [None] * 40
        np.testing.assert_array_equal(after.gt_instances.char_confidence, 0)
        np.testing.assert_array_equal(before.gt_instances.char_confidence, 1)  # a copy


def test_a_picture_too_small_for_any_word_is_named(tool):
    with pytest.raises(ValueError, match="no word fits a picture of 30 pixels: raise --size"):
        tool.Repeat(3)({"instances": [], "height": 30})


def test_the_clock_adds_up_calls_and_hands_results_through(tool, monkeypatch):
    clock = tool.Clock(torch.device("cpu"))
    times = iter([0.0, 5.0, 10.0, 12.0])
    monkeypatch.setattr(clock, "now", lambda: next(times))
    double = clock.watch("double", lambda x: 2 * x)
    assert [double(1), double(4)] == [2, 8]
    assert clock.spent == {"double": 7.0}


def test_parts_are_the_time_inside_the_hook(tool, config, monkeypatch):
    """With a clock that only moves where it is told to, every part is known."""
    elapsed = [0.0]

    def slow(function, milliseconds: float):
        def call(*args, **kwargs):
            elapsed[0] += milliseconds
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(tool.Clock, "now", lambda self: elapsed[0])
    monkeypatch.setattr(word_labeller, "cut_out", slow(word_labeller.cut_out, 2))
    monkeypatch.setattr(Teacher, "region", slow(Teacher.region, 30))
    monkeypatch.setattr(Teacher, "follow", slow(Teacher.follow, 4))
    labeller = word_labeller.WordLabeller
    monkeypatch.setattr(labeller, "label", slow(labeller.label, 7))
    log = PseudoCharLabelHook._log
    monkeypatch.setattr(PseudoCharLabelHook, "_log", slow(log, 11))
    buckets = word_labeller.buckets
    sizes: list[int] = []
    monkeypatch.setattr(
        word_labeller, "buckets", lambda *a: [b for b in buckets(*a) if not sizes.append(len(b))]
    )
    args = tool.parse_args(
        ["--config", config, "--size", "128", "--words", "6", "--repeats", "1", "--device", "cpu"]
    )
    (times,) = tool.benchmark(args)
    # A warming run, one in a piece, one in parts: each with as many buckets.
    assert sum(sizes) == 3 * 6
    count = len(sizes) // 3
    assert times.words == 6
    assert times.labelling == 32 * count + 7 + 11 + 4
    assert times.parts == {
        "rectify": 2 * count, "teacher": 30 * count, "split": 7, "follow": 4, "rest": 11,
    }  # fmt: skip
    assert times.single == 30 * 6
    assert times.sampled == 6
    # What was put in place to watch is gone.
    assert word_labeller.cut_out.__name__ == "call"


def test_the_table_agrees_with_the_times(tool, config, capsys):
    arguments = ["--config", config, "--size", "128", "--words", "3", "12", "--repeats", "1"]
    tool.main(
        [*arguments, "--sample", "2", "--batch-size", "2", "--threads", "1", "--device", "cpu"]
    )
    printed = capsys.readouterr().out
    assert "2 x 128x128, CPU, 1 thread(s); milliseconds a batch" in printed
    rows: dict[str, list[str]] = {}
    for line in printed.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        if len(cells) == 3:
            rows.setdefault(cells[0], []).append(cells[1:])
    for column, words in enumerate((6, 24)):
        number = {name: float(found[0][column]) for name, found in rows.items() if name in NUMBERS}
        parts = sum(number[name] for name in PARTS)
        assert number["labelling, in parts"] == pytest.approx(parts, rel=0.01, abs=0.5)
        shares = [float(found[column].rstrip("%")) / 100 for found in rows["share of the step"]]
        step = number["training step"]
        # The table's numbers are rounded: the step's, too, which the others are divided by.
        single = number["one forward a word, 128 px"]
        assert shares[0] == pytest.approx(number["labelling"] / step, rel=0.03, abs=0.03)
        assert shares[1] == pytest.approx(single / step, rel=0.03, abs=0.03)
        assert rows["words timed"][0][column] == f"2 of {words}"
        assert min(number.values()) > 0


PARTS = ("rectifying", "teacher's forward", "splitting", "teacher's update", "the rest")
NUMBERS = (
    *PARTS, "training step", "labelling", "labelling, in parts", "one forward a word, 128 px",
)  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--words", "0"], "numbers must be 1 or more"),
        (["--size", "-1"], "numbers must be 1 or more"),
        (["--amp", "--device", "cpu"], "--amp needs a GPU"),
    ],
)
def test_wrong_options_are_refused(tool, capsys, flags, message):
    with pytest.raises(SystemExit):
        tool.parse_args(flags)
    assert message in capsys.readouterr().err
