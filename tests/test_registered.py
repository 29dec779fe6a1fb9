"""Names of types and scopes that nobody registered are found, and nothing is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mmengine.config import Config

import mmtextplug  # noqa: F401  registers the components
from mmtextplug.registered import unregistered

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


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
    assert list(unregistered(settings)) == []


@pytest.mark.parametrize(
    ("settings", "where", "name"),
    [
        (dict(type="colorsys"), "type", "colorsys"),
        (dict(model=dict(neck=[1, dict(type="a.B")])), "model.neck[1].type", "a.B"),
        (({"type": "colorsys.hsv_to_rgb"},), "[0].type", "colorsys.hsv_to_rgb"),
        (dict(type="mmocr.models.DBNet"), "type", "mmocr.models.DBNet"),
        (dict(type="mmocr.CRAFT"), "type", "mmocr.CRAFT"),  # it is mmengine's
        (dict(type=".CRAFT"), "type", ".CRAFT"),
        (dict(type="CRAFT."), "type", "CRAFT."),
        (dict(type=""), "type", ""),
        (dict(type=7), "type", 7),
        (dict(type=None), "type", None),
        (dict(type="CRAFT", _scope_="colorsys"), "_scope_", "colorsys"),
        (dict(type="CRAFT", _scope_=""), "_scope_", ""),
        (dict(type="CRAFT", _scope_=7), "_scope_", 7),
        (dict(default_scope="colorsys"), "default_scope", "colorsys"),
        # MMCV evaluates this one as Python.
        (dict(nms=dict(type="exec('1')")), "nms.type", "exec('1')"),
        (dict(nms=dict(type="RoIAlign")), "nms.type", "RoIAlign"),
        (dict(backbone=dict(type="nms")), "backbone.type", "nms"),
    ],
)
def test_what_nobody_registered(settings, where, name):
    sys.modules.pop("colorsys", None)
    assert list(unregistered(settings)) == [(where, name)]
    assert "colorsys" not in sys.modules


def test_all_that_our_detectors_are_made_of_is_registered():
    paths = [path for path in sorted(CONFIGS.glob("*/[!_]*.py")) if path.parent.name != "_base_"]
    assert len(paths) > 10
    for path in paths:
        config = Config.fromfile(path).to_dict()
        kept = ("default_scope", "model", "test_dataloader", "test_pipeline")
        named = {key: config[key] for key in kept if key in config}
        assert list(unregistered(named)) == [], path
