"""ONNX files: the scores of PyTorch at any size, standard operators only, or no file at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnx_models as models
import onnxruntime

from mmtextplug.inference.onnx_export import export_onnx

KINDS = {
    "craft": (models.craft, 2, 2),
    "craft vgg": (models.craft_vgg, 2, 2),
    "refiner": (lambda: models.craft(refiner=True), 3, 2),
    "dbnet": (models.dbnet, 1, 1),
    "dbnet with threshold": (lambda: models.dbnet(binarize="binary"), 2, 1),
    "dbnet++": (lambda: models.dbnet("dbnetpp"), 1, 1),
    "mmocr dbnet": (models.mmocr_dbnet, 1, 1),
}


def run(path: Path, inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"input": inputs.numpy()})[0])


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_model_at_any_size(tmp_path, kind):
    make, channels, step = KINDS[kind]
    config = make()
    model = models.build(config)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = export_onnx(model, tmp_path / "a.onnx", config)
    # The model stays as it was, its batch normalisations included.
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    for shape in ((3, 3, 32, 224), (1, 3, 160, 32), (2, 3, 64, 96)):
        inputs = torch.randn(*shape)
        expected = models.maps(model, inputs).reshape(
            shape[0], channels, shape[2] // step, shape[3] // step
        )
        found = run(tmp_path / "a.onnx", inputs)
        assert found.shape == expected.shape
        assert expected.std() > 1e-3  # that it says something
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
    assert done.difference < 2e-4
    assert all(len(shape) == 4 for shape in done.shapes)
    assert max(shape[0] for shape in done.shapes) >= 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("opset", sorted({17, models.NEWEST_OPSET}))
def test_the_graph_is_plain_onnx_of_free_sizes(tmp_path, opset):
    config = models.craft(refiner=True)
    done = export_onnx(models.build(config), tmp_path / "a.onnx", config, opset=opset)
    found = onnx.load(tmp_path / "a.onnx")
    assert [(item.domain, item.version) for item in found.opset_import] == [("", opset)]
    assert len(found.graph.node) == done.nodes
    assert {node.domain for node in found.graph.node} == {""}
    # Folded into the convolutions.
    assert "BatchNormalization" not in {node.op_type for node in found.graph.node}
    for ends, name, channels in (
        (found.graph.input, "input", 3),
        (found.graph.output, "score_maps", 3),
    ):
        (end,) = ends
        sizes = [side.dim_param or side.dim_value for side in end.type.tensor_type.shape.dim]
        assert end.name == name
        assert sizes[1] == channels
        assert all(isinstance(sizes[axis], str) for axis in (0, 2, 3))
    assert not any(tensor.external_data for tensor in found.graph.initializer)


def test_the_file_says_how_to_use_it(tmp_path):
    config = models.craft()
    config.train_pipeline = [dict(type="LoadImageFromFile")]
    export_onnx(models.build(config), tmp_path / "a.onnx", config)
    props = {item.key: item.value for item in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert props["mmtextplug.format"] == "1"
    assert props["mmtextplug.divisor"] == "32"
    assert float(props["mmtextplug.bytes_per_pixel"]) > 12  # the image alone
    content = json.loads(props["mmtextplug.config"])
    assert set(content) == {"default_scope", "model", "test_pipeline"}
    assert set(content["model"]) == {"type", "data_preprocessor", "det_head"}
    assert content["model"]["data_preprocessor"] == config.model.data_preprocessor.to_dict()
    # What trains, and where the weights came from, is of no use there.
    assert set(content["model"]["det_head"]) == {"type", "in_channels", "postprocessor"}
    assert content["model"]["det_head"]["postprocessor"]["text_threshold"] == 0.6
    assert [step["type"] for step in content["test_pipeline"]] == [
        "ResizeLongSide", "mmdet.Resize", "PackCharInputs",
    ]  # fmt: skip


def test_the_same_model_gives_the_same_file(tmp_path):
    config = models.craft()
    for name in ("a", "b"):
        torch.randn(7)  # whatever the caller's random numbers are
        export_onnx(models.build(config), tmp_path / name, config)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_random_numbers_of_the_caller_are_left_alone(tmp_path):
    config = models.craft()
    model = models.build(config)
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    export_onnx(model, tmp_path / "a.onnx", config)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize(("pads_to", "divisor"), [(1, 32), (16, 32), (64, 64), (48, 96)])
def test_sizes_suit_the_strides_and_the_padding(tmp_path, pads_to, divisor):
    config = models.craft()
    config.model.data_preprocessor.pad_size_divisor = pads_to
    done = export_onnx(models.build(config), tmp_path / "a.onnx", config)
    assert done.divisor == divisor
    assert all(side % divisor == 0 for shape in done.shapes for side in shape[2:])
    props = {item.key: item.value for item in onnx.load(tmp_path / "a.onnx").metadata_props}
    content = json.loads(props["mmtextplug.config"])
    assert content["model"]["data_preprocessor"]["pad_size_divisor"] == divisor


# --- what cannot be exported --------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path):
    """A file that must stay as it is when an export fails."""
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    yield path
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.onnx"]


def test_deformable_convolutions_are_refused_by_name(kept):
    config = models.deformable()
    with pytest.raises(ValueError, match="deformable convolutions") as caught:
        export_onnx(models.build(config), kept, config)
    message = str(caught.value)
    assert message.startswith("4 deformable")
    assert "ModulatedDeformConv2dPack in backbone.layer3.0.conv2" in message
    assert "without dcn" in message
    assert "\n" not in message


class _Spoilt(nn.Module):
    """In the place of the neck: what it does to the first level."""

    def __init__(self, spoil) -> None:
        super().__init__()
        self.spoil = spoil

    def forward(self, levels: tuple[Tensor, ...]) -> Tensor:
        return self.spoil(levels[0].repeat(1, 2, 1, 1))


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def symbolic(g, x):
        return g.op("mine::Twice", x)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x * float(x.shape[2]), r"differs from PyTorch by .* not written"),
        (lambda x: x[:, :, : int(x.shape[2] / 2)], "sizes depend on the traced image"),
        (lambda x: x * float("nan"), "differs from PyTorch by nan"),
        (_Twice.apply, r"not of standard ONNX: Twice \(mine\)"),
        (lambda x: torch.linalg.qr(x)[0] @ torch.linalg.qr(x)[1], "PyTorch cannot export"),
    ],
)
def test_a_network_that_onnx_would_not_compute_alike_is_refused(kept, spoil, message):
    config = models.craft()
    model = models.build(config)
    model.neck = _Spoilt(spoil)
    with pytest.raises(ValueError, match=message) as caught:
        export_onnx(model, kept, config)
    assert "\n" not in str(caught.value)


def test_a_detector_without_maps_is_refused(kept):
    config = models.craft()
    model = models.build(config)
    model.det_head.forward = lambda x, data_samples=None: (x, x)
    with pytest.raises(ValueError, match="CRAFT: gives no score maps"):
        export_onnx(model, kept, config)


@pytest.mark.parametrize(("opset", "message"), [(16, "17 or later, got 16"), (999, "999")])
def test_operators_of_another_age_are_refused(kept, opset, message):
    config = models.craft()
    with pytest.raises(ValueError, match=message):
        export_onnx(models.build(config), kept, config, opset=opset)


def test_a_config_that_text_cannot_hold_is_refused(kept):
    config = models.craft()
    config.model.det_head.postprocessor.rescale_fields = {1, 2}
    with pytest.raises(
        ValueError, match=r"config.model.det_head.postprocessor.rescale_fields: a set"
    ):
        export_onnx(models.build(models.craft()), kept, config)


def test_a_config_without_test_transforms_is_refused(kept):
    config = models.craft()
    config.test_pipeline = []
    with pytest.raises(ValueError, match="test_pipeline"):
        export_onnx(models.build(config), kept, config)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_what_is_not_installed_is_named_with_its_remedy(kept, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"^{package} cannot .*pip install 'mmtextplug\[onnx\]'"):
        export_onnx(nn.Identity(), kept, Config())


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    config = models.craft()
    with pytest.raises(FileNotFoundError, match="missing"):
        export_onnx(models.build(config), tmp_path / "missing" / "a.onnx", config)
