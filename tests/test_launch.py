"""What the tools share: checks of a config, and errors that become one line and a status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
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


def test_the_launchers_rank_wins_over_the_argument(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")  # so that what is set below is undone
    monkeypatch.delenv("LOCAL_RANK")
    launch.local_rank_from(3)
    assert launch.os.environ["LOCAL_RANK"] == "3"
    launch.local_rank_from(5)
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
