"""What the tools share: checks of a config, and errors that become one line and a status."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmtextplug import launch

MODEL = """
default_scope = 'mmocr'
model = dict(
    type='CRAFT',
    backbone=dict(type='mmdet.ResNet', depth=18, norm_cfg=dict(type='BN')),
    neck=dict(type='CRAFTDecoder'),
    det_head=dict(
        type='CRAFTHead',
        module_loss=dict(type='CRAFTModuleLoss'),
        postprocessor=dict(type='CRAFTPostprocessor'),
    ),
)
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomTextWarp', size=64)]
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
"""


@pytest.fixture
def config(tmp_path):
    def write(text: str = MODEL, name: str = "config.py") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# --- configs -----------------------------------------------------------------------------------


def test_a_good_config_with_its_work_folder(config):
    path = config(name="my_craft.py")
    cfg = launch.load_config(path)
    assert cfg.work_dir == str(Path("work_dirs") / "my_craft")
    assert launch.load_config(path, work_dir="elsewhere").work_dir == "elsewhere"
    path = config(MODEL + "work_dir = 'here'\n")
    assert launch.load_config(path).work_dir == "here"
    assert launch.load_config(path, work_dir="elsewhere").work_dir == "elsewhere"


def test_options_are_merged_before_types_are_checked(config):
    cfg = launch.load_config(config(), {"model.backbone.depth": 34, "train_pipeline.1.size": 96})
    assert cfg.model.backbone.depth == 34
    assert cfg.train_pipeline[1].size == 96
    with pytest.raises(ValueError, match=r"model\.neck\.type 'CRAFTDecodr'"):
        launch.load_config(config(), {"model.neck.type": "CRAFTDecodr"})


def test_no_such_config(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.py: no such config file"):
        launch.load_config(str(tmp_path / "none.py"))
    with pytest.raises(FileNotFoundError, match="no such config file"):
        launch.load_config(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    ["model = dict(", "model = dict(type='CRAFT', type='X')", "a = undefined_name", "a = {}['b']"],
)
def test_a_config_that_python_cannot_read(config, text):
    path = config(text)
    with pytest.raises(ValueError, match="not a valid config") as caught:
        launch.load_config(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "right", "where"),
    [
        ("CRAFTHed", "CRAFTHead", "model.det_head.type"),
        ("RandomTextWrap", "RandomTextWarp", "train_pipeline[1].type"),
        ("CRAFTModulLoss", "CRAFTModuleLoss", "model.det_head.module_loss.type"),
    ],
)
def test_an_unknown_type_is_named_with_its_place_file_and_a_suggestion(config, wrong, right, where):
    path = config(MODEL.replace(f"'{right}'", f"'{wrong}'"))
    with pytest.raises(ValueError, match="not registered") as caught:
        launch.load_config(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert f"{where} '{wrong}' is not registered; did you mean '{right}'?" in message
    assert "custom_imports" in message
    assert message.count("not registered") == 1


def unknown(scope: str | None = None, **cfg) -> list[str]:
    return launch.unknown_types(Config(cfg if scope is None else dict(cfg, default_scope=scope)))


def test_every_unknown_type_is_listed_at_once():
    lines = unknown(
        model={"type": "Xyzzy1"},
        test_pipeline=({"type": "Resize"}, {"type": "mmdet.Xyzzy2"}),
        optim_wrapper={"type": "OptimWrapper", "optimizer": {"type": "Adam"}},
        val_dataloader={"dataset": {"type": "ConcatDataset", "datasets": []}},
        custom_hooks=[{"type": "Xyzzy3"}],
    )
    assert len(lines) == 3
    assert lines[0].startswith("model.type 'Xyzzy1'")
    assert lines[1].startswith("test_pipeline[1].type 'mmdet.Xyzzy2'")
    assert lines[2].startswith("custom_hooks[0].type 'Xyzzy3'")
    assert "did you mean" not in lines[0]


def test_types_resolve_in_the_scope_that_they_are_built_in():
    # DBHead is MMOCR's; RPNHead is MMDetection's.
    assert unknown("mmocr", bbox_head={"type": "DBHead"}) == []
    assert unknown("mmocr", bbox_head={"type": "RPNHead"}) != []
    assert unknown("mmdet", bbox_head={"type": "RPNHead"}) == []
    scoped = {"_scope_": "mmdet", "type": "FasterRCNN", "rpn_head": {"type": "RPNHead"}}
    assert unknown("mmocr", model=scoped) == []
    assert unknown(model={"type": "mmdet.FasterRCNN"}) == []
    # Names of this package resolve from everywhere.
    for scope in ("mmocr", "mmdet", "mmengine"):
        assert unknown(scope, det_head={"type": "CRAFTHead"}, optimizer={"type": "Adam"}) == []


def test_types_that_are_no_components_are_left_alone():
    backbone = {"type": "mmdet.ResNet", "norm_cfg": {"type": "Mystery"}, "init_cfg": {"type": "X"}}
    assert unknown("mmocr", model={"type": "CRAFT", "backbone": backbone}) == []


def test_values_called_type_that_are_no_names_are_left_alone():
    assert unknown(model={"type": 3}, neck={"type": None}, type="X") == []


def test_shipped_configs_hold_no_unknown_type(repository):
    configs = sorted((repository / "configs" / "craft").glob("*resnet18*.py"))
    assert configs
    for path in configs:
        assert launch.unknown_types(Config.fromfile(path)) == [], path


def test_a_config_of_mmocr_holds_no_unknown_type():
    import mmocr

    name = "textdet/dbnet/dbnet_resnet18_fpnc_1200e_icdar2015.py"
    path = Path(mmocr.__file__).parent / ".mim" / "configs" / name
    if not path.is_file():
        pytest.skip("this installation of MMOCR ships no configs")
    assert launch.unknown_types(Config.fromfile(path)) == []


# --- distributed training without a GPU --------------------------------------------------------


@pytest.fixture
def process_group(monkeypatch):
    """Whether, and with which backend, a process group was asked for."""
    asked = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: False)
    monkeypatch.setattr(
        "torch.distributed.init_process_group", lambda backend: asked.append(backend)
    )
    return asked


def test_one_process_is_left_alone(process_group):
    cfg = Config({"launcher": "none", "sync_bn": "torch"})
    launch.adapt_to_cpu(cfg)
    assert cfg.to_dict() == {"launcher": "none", "sync_bn": "torch"}
    assert process_group == []


def test_several_processes_get_gloo_and_no_gpu_settings(process_group):
    cfg = Config({"launcher": "pytorch", "sync_bn": "torch", "find_unused_parameters": True})
    launch.adapt_to_cpu(cfg)
    assert process_group == ["gloo"]
    assert "sync_bn" not in cfg
    assert cfg.model_wrapper_cfg == {
        "type": "MMDistributedDataParallel", "device_ids": None, "broadcast_buffers": False,
        "find_unused_parameters": True,
    }  # fmt: skip


def test_with_a_gpu_nothing_changes(process_group, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    cfg = Config({"launcher": "pytorch", "sync_bn": "torch"})
    launch.adapt_to_cpu(cfg)
    assert cfg.to_dict() == {"launcher": "pytorch", "sync_bn": "torch"}
    assert process_group == []


GIVEN = {
    "slurm": {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"},
    "mpi": {
        "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    },
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch):
    """No process of a launcher; all changes are undone."""
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "SLURM_NODELIST"]
    for name in [*names, *GIVEN["slurm"], *GIVEN["mpi"]]:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("launcher", ["slurm", "mpi"])
def test_other_launchers_name_their_processes(process_group, environment, launcher):
    for name, value in {**GIVEN[launcher], "MASTER_ADDR": "first", "LOCAL_RANK": "0"}.items():
        environment.setenv(name, value)
    launch.adapt_to_cpu(Config({"launcher": launcher, "model_wrapper_cfg": None}))
    assert process_group == ["gloo"]
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["3", "4", "1", "first", "29500"]


@pytest.mark.parametrize(
    ("launcher", "message"),
    [("slurm", "SLURM_PROCID is not set; start this with srun"),
     ("mpi", "OMPI_COMM_WORLD_RANK is not set; start this with mpirun")],
)  # fmt: skip
def test_a_launcher_that_did_not_start_this(process_group, environment, launcher, message):
    with pytest.raises(ValueError, match=f"--launcher {launcher}: {message}"):
        launch.adapt_to_cpu(Config({"launcher": launcher}))
    assert process_group == []


def test_the_first_machine_of_a_job_is_asked_of_slurm(process_group, environment, tmp_path):
    for name, value in GIVEN["slurm"].items():
        environment.setenv(name, value)
    environment.setenv("SLURM_NODELIST", "node[7-8]")
    scontrol = tmp_path / "scontrol"
    environment.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for output in ("", "node7\\nnode8\\n"):
        scontrol.write_text(
            f'#!/bin/sh\n[ "$*" = "show hostnames node[7-8]" ] && printf "{output}"\n'
        )
        scontrol.chmod(0o755)
        if not output:
            with pytest.raises(
                ValueError, match=r"no node found in 'node\[7-8\]'; set MASTER_ADDR"
            ):
                launch.adapt_to_cpu(Config({"launcher": "slurm"}))
    launch.adapt_to_cpu(Config({"launcher": "slurm"}))
    assert os.environ["MASTER_ADDR"] == "node7"


def test_mpi_does_not_tell_the_first_machine(process_group, environment):
    for name, value in GIVEN["mpi"].items():
        environment.setenv(name, value)
    with pytest.raises(ValueError, match="set MASTER_ADDR"):
        launch.adapt_to_cpu(Config({"launcher": "mpi"}))


# --- fields that a config lacks ----------------------------------------------------------------


def test_fields_that_are_there_are_enough(config):
    launch.demand(launch.load_config(config()), "model", "model.neck.type", use="a test")


@pytest.mark.parametrize("field", ["visualizer", "model.head", "model.neck.type.x", "a.b"])
def test_a_missing_field_is_named_with_its_file(config, field):
    path = config(MODEL + "visualizer = None\n")
    with pytest.raises(ValueError, match="needs") as caught:
        launch.demand(launch.load_config(path), "model", field, use="drawing")
    assert str(caught.value) == f"{path}: drawing needs {field}, which it lacks"


@pytest.mark.parametrize(
    ("tool", "lacks"),
    [
        ("train", "optim_wrapper"),
        ("test", "test_evaluator"),
        ("test", "default_hooks"),
        ("test", "visualizer"),
    ],
)
def test_tools_name_the_field_that_a_config_lacks(
    config, repository, tmp_path, monkeypatch, tool, lacks
):
    fields = dict(
        train_dataloader={}, train_cfg={}, test_dataloader={}, test_cfg={}, test_evaluator=[],
        default_hooks={"visualization": {}}, visualizer={},
    )  # fmt: skip
    text = MODEL + "\n".join(f"{key} = {value!r}" for key, value in fields.items())
    path = config(f"{text}\n{lacks} = None\n")
    (tmp_path / "x.pth").touch()
    arguments = {"train": ["--amp"], "test": [str(tmp_path / "x.pth"), "--show-dir", "x"]}
    monkeypatch.setattr(sys, "argv", [f"{tool}.py", path, *arguments[tool]])
    monkeypatch.setenv("LOCAL_RANK", "0")
    main = runpy.run_path(str(repository / "tools" / f"{tool}.py"))["main"]
    with pytest.raises(ValueError, match=f"needs {lacks}") as caught:
        main()
    assert str(caught.value).startswith(f"{path}: ")


def test_resuming_goes_on_in_the_work_folder_or_starts_from_what_the_config_names(config, tmp_path):
    cfg = launch.load_config(str(config()), {"load_from": "strong.pth"}, str(tmp_path / "run"))
    launch.go_on(cfg)
    assert (cfg.resume, cfg.load_from) == (False, "strong.pth")
    (tmp_path / "run").mkdir()
    here, elsewhere = tmp_path / "run" / "iter_4.pth", tmp_path / "elsewhere" / "iter_4.pth"
    last = here.with_name("last_checkpoint")
    last.write_text(str(here))
    with pytest.raises(FileNotFoundError, match=r"run/iter_4\.pth: .* gone: .*run/last_checkpoint"):
        launch.go_on(cfg)
    here.touch()
    for written in (here, elsewhere):  # where the folder was before it was moved
        last.write_text(str(written))
        launch.go_on(cfg)
        assert (cfg.resume, cfg.load_from) == (True, str(here))
    here.unlink()
    elsewhere.parent.mkdir()
    elsewhere.touch()  # checkpoints may be kept in another folder, or on a server
    for written in (str(elsewhere), "s3://bucket/iter_4.pth"):
        last.write_text(written)
        launch.go_on(cfg)
        assert (cfg.resume, cfg.load_from) == (True, written)


def test_the_launchers_rank_wins_over_the_argument(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")  # so that what is set below is undone
    monkeypatch.delenv("LOCAL_RANK")
    parser = argparse.ArgumentParser()
    launch.add_runner_arguments(parser)
    parser.parse_args([])
    assert "LOCAL_RANK" not in launch.os.environ
    parser.parse_args(["--local-rank", "3"])
    assert launch.os.environ["LOCAL_RANK"] == "3"
    parser.parse_args(["--local_rank=5"])
    assert launch.os.environ["LOCAL_RANK"] == "3"


# --- exit status -------------------------------------------------------------------------------


def status_of(main, monkeypatch, capsys) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["/somewhere/train.py"])
    with pytest.raises(SystemExit) as caught:
        launch.run(main)
    return caught.value.code, capsys.readouterr().err


def raising(error):
    def main():
        raise error

    return main


def test_success_and_a_status_of_ones_own(monkeypatch, capsys):
    assert status_of(lambda: None, monkeypatch, capsys) == (0, "")
    assert status_of(lambda: 0, monkeypatch, capsys) == (0, "")
    assert status_of(lambda: 3, monkeypatch, capsys) == (3, "")
    assert status_of(raising(SystemExit(2)), monkeypatch, capsys) == (2, "")


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        (lambda: None, ["done", "group left", "lock given up"]),
        (raising(ValueError("others may still wait for this process")), []),
    ],
)
def test_a_process_group_is_left_before_the_interpreter_ends(main, expected, monkeypatch, capsys):
    happened = []
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr(
        "torch.distributed.destroy_process_group", lambda: happened.append("group left")
    )
    monkeypatch.setattr(launch.time, "sleep", lambda seconds: happened.append("lock given up"))

    def tool():
        main()
        happened.append("done")

    status_of(tool, monkeypatch, capsys)
    assert happened == expected


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a.json: no usable image"), "a.json: no usable image"),
        (FileNotFoundError(2, "No such file", "a.py"), "[Errno 2] No such file: 'a.py'"),
        (KeyError("a sample: no character boxes"), "a sample: no character boxes"),
        (ImportError("No module named 'x'"), "No module named 'x'"),
        (ValueError("two\n   lines"), "two lines"),
        (ValueError(), "ValueError"),
        (KeyError(), "KeyError"),
    ],
)
def test_errors_that_the_user_can_mend_are_one_line(error, text, monkeypatch, capsys):
    monkeypatch.delenv("MMTEXTPLUG_DEBUG", raising=False)
    assert status_of(raising(error), monkeypatch, capsys) == (1, f"train.py: error: {text}\n")


class Broken(torch.utils.data.Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            return {}["gone"]
        except KeyError as cause:
            raise self.error from cause


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("a.json: no usable image: too dark"), "a.json: no usable image: too dark"),
        (ValueError("a.json: two\nlines: of text"), "a.json: two lines: of text"),
        (KeyError("a sample: no boxes"), "'a sample: no boxes'"),
        (FileNotFoundError("b.png: no such file"), "b.png: no such file"),
    ],
)
def test_errors_of_processes_that_load_data_are_one_line(error, text, monkeypatch, capsys):
    loader = torch.utils.data.DataLoader(Broken(error), num_workers=1)
    monkeypatch.delenv("MMTEXTPLUG_DEBUG", raising=False)
    status, message = status_of(lambda: list(loader) and None, monkeypatch, capsys)
    assert (status, message) == (1, f"train.py: error: {text}\n")


def test_an_interruption_has_the_status_shells_expect(monkeypatch, capsys):
    assert status_of(raising(KeyboardInterrupt()), monkeypatch, capsys) == (130, "interrupted\n")


def test_defects_keep_their_traceback(monkeypatch):
    monkeypatch.delenv("MMTEXTPLUG_DEBUG", raising=False)
    with pytest.raises(ZeroDivisionError):
        launch.run(raising(ZeroDivisionError()))
    monkeypatch.setenv("MMTEXTPLUG_DEBUG", "1")
    with pytest.raises(ValueError, match="wanted"):
        launch.run(raising(ValueError("wanted")))


def test_a_tool_on_a_missing_config_ends_with_status_one(tmp_path, monkeypatch, capsys):
    def main():
        launch.load_config(str(tmp_path / "none.py"))

    status, text = status_of(main, monkeypatch, capsys)
    assert status == 1
    assert text == f"train.py: error: {tmp_path / 'none.py'}: no such config file\n"
