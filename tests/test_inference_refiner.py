"""Lines instead of words: a link refiner beside a CRAFT, from its own file or one checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmtextplug.craft.link_refiner import LinkRefiner
from mmtextplug.inference import OFFICIAL, TextDetector

ROOT = Path(__file__).resolve().parents[1]
HEAD = dict(
    type="CRAFTHead",
    in_channels=8,
    module_loss=dict(type="CRAFTModuleLoss"),
    postprocessor=dict(type="CRAFTPostprocessor", text_threshold=0.7),
)
MODEL = dict(
    type="CRAFT",
    data_preprocessor=OFFICIAL["model"]["data_preprocessor"],
    backbone=dict(
        type="mmdet.ResNet", depth=18, base_channels=4, num_stages=2, strides=(1, 2),
        dilations=(1, 1), out_indices=(0, 1),
    ),
    neck=dict(type="CRAFTDecoder", in_channels=[4, 8], out_channels=[8, 8]),
)  # fmt: skip


def config(refiner: dict | None = None) -> Config:
    head = dict(HEAD) if refiner is None else dict(HEAD, link_refiner=refiner)
    return Config(
        dict(
            default_scope="mmocr",
            model=dict(MODEL, det_head=head),
            test_pipeline=[
                dict(type="ResizeLongSide", long_side=96, magnification=1.0),
                dict(type="PackCharInputs"),
            ],
        )
    )


def built(cfg: Config) -> torch.nn.Module:
    with DefaultScope.overwrite_default_scope("mmocr"):
        return MODELS.build(cfg.model)


@pytest.fixture
def craft(tmp_path) -> Path:
    """A CRAFT without refiner."""
    torch.manual_seed(1)
    torch.save(built(config()).state_dict(), tmp_path / "craft.pth")
    return tmp_path / "craft.pth"


@pytest.fixture
def refiner(tmp_path) -> Path:
    """A refiner as published ones are saved."""
    torch.manual_seed(2)
    module = LinkRefiner(in_channels=8)
    names = {k: k.replace("aspp.", "") for k in module.state_dict()}
    state = {
        "module." + (f"aspp{int(n[0]) + 1}{n[1:]}" if k != n else k): module.state_dict()[k]
        for k, n in names.items()
    }
    assert "module.aspp4.6.bias" in state
    torch.save(state, tmp_path / "refiner.pth")
    return tmp_path / "refiner.pth"


def test_a_refiner_is_put_into_a_craft_that_has_none(craft, refiner):
    plain = TextDetector.from_config(config(), craft)
    detector = TextDetector.from_config(config(), craft, refiner=refiner)
    state, saved = detector.model.state_dict(), torch.load(refiner, weights_only=True)
    own = plain.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in own.items())
    assert torch.equal(
        state["det_head.link_refiner.aspp.1.0.weight"], saved["module.aspp2.0.weight"]
    )
    assert len(state) == len(own) + len(saved)
    assert plain.model.det_head.postprocessor.text_repr_type == "quad"
    assert detector.model.det_head.postprocessor.text_repr_type == "poly"
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    found = detector.detect([image])[0]
    assert list(found.score_maps) == ["region", "affinity", "refined link"]
    assert all(score.shape == (30, 40) for score in found.score_maps.values())
    assert list(plain.detect([image])[0].score_maps) == ["region", "affinity"]


def test_boxes_remain_possible(craft, refiner):
    detector = TextDetector.from_config(config(), craft, refiner=refiner, polygons=False)
    assert detector.model.det_head.postprocessor.text_repr_type == "quad"


def test_a_checkpoint_with_both_needs_no_other_file(tmp_path, craft, refiner):
    cfg = config(dict(type="LinkRefiner", in_channels=8))
    both = TextDetector.from_config(config(), craft, refiner=refiner).model.state_dict()
    torch.save({"state_dict": both}, tmp_path / "both.pth")
    detector = TextDetector.from_config(cfg, tmp_path / "both.pth")
    assert all(torch.equal(detector.model.state_dict()[k], v) for k, v in both.items())
    # Only the refiner is taken from it where CRAFT comes from elsewhere.
    torch.manual_seed(3)
    other = built(config()).state_dict()
    torch.save(other, tmp_path / "other.pth")
    found = TextDetector.from_config(
        cfg, tmp_path / "other.pth", refiner=tmp_path / "both.pth"
    ).model.state_dict()
    assert all(torch.equal(found[k], v) for k, v in other.items())
    assert all(torch.equal(found[k], both[k]) for k in both.keys() - other.keys())


def test_what_does_not_go_together_is_named(tmp_path, craft, refiner):
    cfg = config(dict(type="LinkRefiner", in_channels=8))
    with pytest.raises(ValueError, match=r"craft\.pth: has no link refiner, which this model"):
        TextDetector.from_config(cfg, craft)
    with pytest.raises(ValueError, match="official weights have no link refiner"):
        TextDetector.from_config(cfg)
    with pytest.raises(ValueError, match=r"craft\.pth: holds no link refiner"):
        TextDetector.from_config(config(), craft, refiner=craft)
    with pytest.raises(ValueError, match=r"refiner\.pth: holds a link refiner without its CRAFT"):
        TextDetector.from_config(cfg, refiner)
    with pytest.raises(ValueError, match=r"refiner\.pth: holds a link refiner without its CRAFT"):
        TextDetector.from_config(config(), refiner, refiner=refiner)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        TextDetector.from_config(config(), craft, refiner=tmp_path / "none.pth")
    wide = config(dict(type="LinkRefiner", in_channels=8, channels=16))
    with pytest.raises(ValueError, match=r"refiner\.pth: does not fit this model: .*shape"):
        TextDetector.from_config(wide, craft, refiner=refiner)
    db = Config.fromfile(ROOT / "configs/dbnet/dbnet_resnet18_generated-text.py")
    with pytest.raises(ValueError, match="refiner: this config has no CRAFTHead"):
        TextDetector.from_config(db, craft, refiner=refiner)


def test_the_tool(tmp_path, craft, refiner):
    path = tmp_path / "tiny.py"
    config().dump(path)
    cv2.imwrite(str(tmp_path / "a.png"), np.full((60, 80, 3), 90, np.uint8))
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(ROOT / "tools/infer.py"),
        str(tmp_path / "a.png"),
    ]
    options = ["--config", str(path), "--checkpoint", str(craft), "--refine"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), "--score-maps", *options, str(refiner)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert isinstance(json.loads((tmp_path / "out/a.json").read_text())["words"], list)
    picture = cv2.imread(str(tmp_path / "out/a_scores.jpg"))
    assert picture.shape[1] > 3 * 400  # one panel for each of three maps
    wrong = subprocess.run(
        [*command, "--out", str(tmp_path / "out"), *options, str(craft)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert wrong.returncode == 1
    assert "craft.pth: holds no link refiner" in wrong.stderr
    assert "Traceback" not in wrong.stderr
