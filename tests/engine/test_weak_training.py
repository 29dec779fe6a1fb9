"""The real tools in the weak stage: half of the data has word boxes only."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from test_training import IN_BFLOAT16, MIXED, assert_same_run, kill_after, scalars
from whole_tools import ENV, ROOT, TRAIN, free_port, run, write_config

from mmtextplug.craft.pseudo_labels import SAVED_AS
from mmtextplug.safe_load import safe_load

WEAK = """
_base_ = ['{base}']
words_only = dict(
    type='CharTextDataset',
    data_root='{data}',
    ann_file='words.json',
    data_prefix=dict(img_path=''),
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadCharAnnotations'),
        dict(type='RandomTextWarp', size=64, scale=(0.8, 1.4)),
        dict(type='PackCharInputs'),
    ],
)
train_dataloader = dict(
    batch_size=3,
    sampler=dict(ratio=(1, 2)),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type='ConcatDataset',
            datasets=[{{{{_base_.train_dataloader.dataset.dataset}}}}, words_only],
        )
    ),
)
custom_hooks = [
    dict(type='PseudoCharLabelHook', momentum=0.2, start=2, foreground=0.1, crop_height=32),
    {hooks}
]
{more}
"""


def write_weak_config(folder: Path, data: Path, iters: int, hooks="", more="", **settings) -> Path:
    content = json.loads((data / "train.json").read_text())
    for entry in content["data_list"]:
        for instance in entry["instances"]:
            instance.pop("chars", None)
    words = folder / "words.json"
    words.write_text(json.dumps(content))
    base = write_config(folder, data, iters, **settings)
    path = folder / "weak.py"
    text = WEAK.format(base=base, data=data, hooks=hooks, more=more)
    path.write_text(text.replace("'words.json'", repr(str(words))))
    return path


def teacher(work_dir: Path, iters: int) -> dict[str, torch.Tensor]:
    return safe_load(work_dir / f"iter_{iters}.pth")[SAVED_AS]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_weak_stage_resumes_bit_for_bit(data: Path, tmp_path: Path, precision: str) -> None:
    config = write_weak_config(tmp_path, data, iters=20)
    train = TRAIN
    if precision == "bfloat16":
        config.write_text(config.read_text() + MIXED)
        train = [TRAIN[0], "-c", IN_BFLOAT16, *TRAIN[1:]]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = run([*train, str(config), "--work-dir", str(whole)])
    assert done.returncode == 0, done.stderr[-2000:]
    assert ("training in bfloat16" in done.stdout + done.stderr) is (precision == "bfloat16")
    command = [*train, str(config), "--work-dir", str(broken)]
    kill_after(command, broken, "iter_6.pth")
    done = run([*command, "--resume"])
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_run(whole, broken, 20)
    left, right = teacher(whole, 20), teacher(broken, 20)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    # It stood still for two steps, then followed the network, and has not reached it.
    start, early, student = teacher(whole, 2), teacher(whole, 4), safe_load(whole / "iter_20.pth")
    key = "det_head.conv_cls.8.weight"
    assert not torch.equal(start[key], early[key])
    assert not torch.equal(left[key], student["state_dict"][key])
    logged = [entry for entry in scalars(whole) if "pseudo_words" in entry]
    assert len(logged) == 20
    for entry in logged:
        assert entry["pseudo_words"] >= 1
        assert 0.0 <= entry["pseudo_confidence"] <= 1.0
        assert 0.0 <= entry["pseudo_equal_split"] <= 1.0
        assert entry["pseudo_length_error"] >= 0.0
    # What is logged under a name with "loss" in it MMEngine takes for one.
    assert all("loss" not in name for name in logged[0] if name.startswith("pseudo"))


DUMP = """
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class DumpTeacher(Hook):
    def after_train(self, runner):
        hook = next(h for h in runner.hooks if type(h).__name__ == 'PseudoCharLabelHook')
        torch.save(hook.teacher.module.state_dict(), f'{runner.work_dir}/rank{get_rank()}.pth')

    def after_train_iter(self, runner, *args, **kwargs):
        # Before MMEngine's hook averages the buffers, at the end.
        torch.save(runner.model.module.state_dict(), f'{runner.work_dir}/own{get_rank()}.pth')
"""


@pytest.mark.skipif(
    torch.__version__ < "2" and sys.version_info >= (3, 11),
    reason="torchrun of PyTorch 1.13 does not start on Python 3.11",
)
def test_two_processes_hold_the_same_teacher(data: Path, tmp_path: Path) -> None:
    (tmp_path / "dump_teacher.py").write_text(DUMP)
    config = write_weak_config(
        tmp_path, data, iters=20, workers=0, hooks="dict(type='DumpTeacher')",
        more="custom_imports = dict(imports=['mmtextplug', 'dump_teacher'])",
    )  # fmt: skip
    environment = {
        **ENV, "PORT": free_port(), "PYTHONPATH": f"{tmp_path}:{ENV['PYTHONPATH']}",
    }  # fmt: skip
    command = [str(ROOT / "tools/dist_train.sh"), str(config), "2", "--work-dir", str(tmp_path)]
    done = run(command, environment)
    assert done.returncode == 0, done.stderr[-2000:]
    left, right = (safe_load(tmp_path / f"rank{rank}.pth") for rank in (0, 1))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    # The networks' own BatchNorm statistics, from each process's batches, differ.
    own = [safe_load(tmp_path / f"own{rank}.pth") for rank in (0, 1)]
    assert not all(torch.equal(own[0][key], own[1][key]) for key in own[0])
