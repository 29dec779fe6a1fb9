"""Of settings of unknown origin only known parts of text detectors are built, and none imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

import mmtextplug  # noqa: F401  registers the components

# isort: split
import mmocr

from mmtextplug.inference import photo_pipeline
from mmtextplug.inference.untrusted import untrusted

OURS = Path(__file__).resolve().parents[2] / "configs"
TEXT = ("craft", "dbnet", "mask_rcnn")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        dict(type="CRAFT"),
        dict(type="mmengine.CRAFT"),
        dict(type="mmocr.DBNet", backbone=dict(type="mmdet.ResNet", norm_cfg=dict(type="BN"))),
        dict(default_scope="mmocr", model=dict(type="DBNet", _scope_="mmocr")),
        dict(default_scope=None, model=dict(type="DBNet", _scope_=None)),
        dict(rcnn=dict(nms=dict(type="soft_nms")), roi_layer=dict(type="RoIAlign")),
        [({"type": "Pad"},), 1, None, "subprocess.Popen"],
    ],
)
def test_what_is_registered(settings):
    assert list(untrusted(settings)) == []


@pytest.mark.parametrize(
    ("settings", "where", "reason"),
    [
        (dict(type="colorsys"), "type", "'colorsys' is not registered"),
        (dict(model=dict(neck=[1, dict(type="a.B")])), "model.neck[1].type", "'a.B' is not"),
        (({"type": "colorsys.hsv_to_rgb"},), "[0].type", "'colorsys.hsv_to_rgb' is not"),
        (dict(type="mmocr.models.DBNet"), "type", "'mmocr.models.DBNet' is not registered"),
        (dict(type="mmocr.CRAFT"), "type", "'mmocr.CRAFT' is not registered"),  # it is mmengine's
        (dict(type=".CRAFT"), "type", "'.CRAFT' is not registered"),
        (dict(type="CRAFT."), "type", "'CRAFT.' is not registered"),
        (dict(type=""), "type", "'' is not registered"),
        (dict(type=7), "type", "7 is not registered"),
        (dict(type=None), "type", "None is not registered"),
        (dict(type=["DBNet"]), "type", "['DBNet'] is not registered"),
        (dict(type="CRAFT", _scope_="colorsys"), "_scope_", "'colorsys' is no scope"),
        (dict(type="CRAFT", _scope_=""), "_scope_", "'' is no scope"),
        (dict(type="CRAFT", _scope_=7), "_scope_", "7 is no scope"),
        (dict(default_scope="colorsys"), "default_scope", "'colorsys' is no scope"),
        # MMCV evaluates this one as Python.
        (dict(nms=dict(type="exec('1')")), "nms.type", "\"exec('1')\" is not registered"),
        (dict(nms=dict(type="RoIAlign")), "nms.type", "'RoIAlign' is not registered"),
        (dict(backbone=dict(type="nms")), "backbone.type", "'nms' is not registered"),
        # Registered, but for other purposes than models and pipelines.
        (dict(type="CheckpointHook"), "type", "'CheckpointHook' is not registered"),
    ],
)
def test_what_nobody_registered(settings, where, reason):
    sys.modules.pop("colorsys", None)
    ((found, why),) = untrusted(settings)
    assert found == where
    assert why.startswith(reason)
    assert "colorsys" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        # They load a teacher's checkpoint, and run its config.
        *("KnowledgeDistillationSingleStageDetector", "mmdet.LAD"),
        # Evaluate text.
        *("mmocr.ConditionApply", "mmdet.CameraMotionCompensation"),
        # Load models by name, classes of other packages, files.
        *(
            "mmdet.BertModel",
            "mmocr.TorchVisionWrapper",
            "Albu",
            "ImgAugWrapper",
            "AppearanceFreeLink",
        ),
    ],
)
def test_registered_classes_that_may_do_harm(name):
    assert list(untrusted(dict(model=dict(neck=[dict(type=name)])))) == [
        ("model.neck[0].type", f"{name!r} is no part of a text detector")
    ]


@MODELS.register_module(force=True)
class NeckOfAUser(nn.Module):
    pass


def test_what_a_user_registered_is_trusted():
    assert list(untrusted(dict(model=dict(neck=dict(type="NeckOfAUser"))))) == []


def configs() -> list[Path]:
    """Of all text detectors here and in MMOCR."""
    mmocrs = Path(mmocr.__file__).parent / ".mim" / "configs" / "textdet"
    # Some of MMOCR's for SynthText name a variable that is not there.
    theirs = [path for path in mmocrs.glob("*/[!_]*.py") if "synthtext" not in path.name]
    paths = [path for kind in TEXT for path in OURS.glob(f"{kind}/[!_]*.py")] + theirs
    return sorted(path for path in paths if path.parent.name != "_base_")


def test_all_that_detectors_are_made_of_is_trusted():
    paths = configs()
    assert len(paths) > 40
    for path in paths:
        config = Config.fromfile(path)
        steps = [step.to_dict() for step in photo_pipeline(config)]
        named = dict(model=config.model.to_dict(), test_pipeline=steps)
        named["default_scope"] = config.get("default_scope")
        assert list(untrusted(named)) == [], path
