"""Networks in ONNX files: the scores of PyTorch, and one clear error for any other file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnx_models as models
import onnxruntime

from mmtextplug.inference.onnx_export import export_onnx
from mmtextplug.inference.onnx_network import OnnxError, OnnxNetwork


def opened(path: Path, backend: str, precision: str = "float32") -> OnnxNetwork:
    pytest.importorskip(backend)
    return OnnxNetwork(path, backend=backend, precision=precision)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def exported(folder) -> dict:
    """Models and their files."""
    kinds = {
        "craft": models.craft(),
        "refiner": models.craft(refiner=True),
        "dbnet": models.dbnet(),
        "threshold": models.dbnet(binarize="binary"),
    }
    made = {}
    for kind, config in kinds.items():
        model = models.build(config)
        export_onnx(model, folder / f"{kind}.onnx", config)
        made[kind] = (config, model, folder / f"{kind}.onnx")
    return made


@pytest.fixture
def craft(exported) -> Path:
    return exported["craft"][2]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["craft", "refiner", "dbnet", "threshold"])
def test_scores_are_what_the_head_gives(exported, kind, backend):
    _, model, path = exported[kind]
    network = opened(path, backend)
    assert network.precision == "float32"
    kept = []
    for shape in ((3, 3, 32, 160), (1, 3, 96, 64), (1, 3, 96, 64)):
        inputs = torch.randn(*shape)
        expected = models.maps(model, inputs)
        found = network(inputs)
        assert found.dtype == torch.float32
        assert found.shape == expected.shape  # a probability alone has no channels
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)
        kept.append((found, expected))
    # The next call writes over none of them.
    for found, expected in kept:
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_inputs_may_lie_in_any_order_in_memory_and_need_a_gradient(exported):
    _, model, path = exported["craft"]
    inputs = torch.randn(2, 3, 64, 96).to(memory_format=torch.channels_last).requires_grad_()
    found = OnnxNetwork(path)(inputs)
    torch.testing.assert_close(found, models.maps(model, inputs), atol=2e-4, rtol=1e-3)


def test_openvino_computes_in_bfloat16_where_the_processor_does(exported):
    openvino = pytest.importorskip("openvino")
    _, model, path = exported["craft"]
    can = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    network = opened(path, "openvino", "auto")
    assert network.precision == ("bfloat16" if can else "float32")
    inputs = torch.randn(1, 3, 64, 96)
    expected = models.maps(model, inputs)
    difference = (network(inputs) - expected).abs().max() / expected.abs().max()
    assert difference < 0.05  # 8 bits of mantissa, layer after layer
    if can:
        assert difference > 1e-5


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_config_is_what_was_exported(exported, backend):
    config, _, path = exported["craft"]
    network = opened(path, backend)
    assert isinstance(network.config, Config)
    assert network.divisor == 32
    assert network.bytes_per_pixel > 12
    assert network.config.default_scope == "mmocr"
    assert network.config.model.type == "CRAFT"
    assert network.config.model.data_preprocessor == config.model.data_preprocessor
    assert network.config.model.det_head.postprocessor == config.model.det_head.postprocessor
    assert network.config.test_pipeline == config.test_pipeline
    assert network.config.test_pipeline[1].scale == (96, 64)
    assert isinstance(network.config.test_pipeline[1].scale, tuple)


def test_threads_are_passed_on(craft, monkeypatch):
    seen = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, path, options, **kwargs):
            seen.append(options.intra_op_num_threads)
            super().__init__(path, options, **kwargs)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    OnnxNetwork(craft, threads=3)
    OnnxNetwork(craft)
    assert seen == [3, torch.get_num_threads()]


# --- inputs and settings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(1, 3, 32, 40), r"multiples of 32, got \(1, 3, 32, 40\); pad"),
        (torch.zeros(1, 3, 33, 32), "multiples of 32"),
        (torch.zeros(1, 3, 0, 32), "multiples of 32"),
        (torch.zeros(0, 3, 32, 32), r"\(N, 3, H, W\) float32"),
        (torch.zeros(1, 1, 32, 32), r"\(N, 3, H, W\) float32"),
        (torch.zeros(3, 32, 32), r"\(N, 3, H, W\) float32"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8"),
    ],
)
def test_inputs_of_another_shape_are_refused(craft, inputs, message):
    with pytest.raises(ValueError, match=message):
        OnnxNetwork(craft)(inputs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(backend="tensorrt"), "backend must be one of onnxruntime, openvino, got 'tensorrt'"),
        (dict(precision="int8"), "precision must be one of"),
        (dict(precision="bfloat16"), "ONNX Runtime computes in float32"),
        (dict(device="meta"), "device meta: ONNX Runtime is used on cpu or cuda"),
        (dict(device="cuda", backend="openvino"), "device cuda: OpenVINO is used on the CPU"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(craft, settings, message):
    if settings.get("backend") == "openvino":
        pytest.importorskip("openvino")
    with pytest.raises(ValueError, match=message):
        OnnxNetwork(craft, **settings)


def test_a_runtime_without_cuda_says_so(craft, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match=r"device cuda:1: .* pip install onnxruntime-gpu"):
        OnnxNetwork(craft, device="cuda:1")


def test_cuda_that_does_not_start_is_no_silent_cpu(craft, monkeypatch):
    asked = []

    class Session:
        def __init__(self, path, options, providers):
            asked.append(providers)

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(ValueError, match="no CUDA that works here"):
        OnnxNetwork(craft, device="cuda:1")
    (name, options), cpu = asked[0]
    assert (name, cpu) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["device_id"] == 1


@pytest.mark.parametrize(("backend", "extra"), [("onnxruntime", "onnx"), ("openvino", "openvino")])
def test_a_backend_that_is_not_installed_is_named(craft, monkeypatch, backend, extra):
    monkeypatch.setitem(sys.modules, backend, None)
    with pytest.raises(ImportError, match=rf"^{backend} .*pip install 'mmtextplug\[{extra}\]'"):
        OnnxNetwork(craft, backend=backend)


def test_what_the_backend_raises_becomes_one_line(craft, monkeypatch):
    network = OnnxNetwork(craft)

    class Broken(Exception):
        pass

    def fail(inputs: np.ndarray) -> np.ndarray:
        raise Broken("Failed to allocate memory\nfor a tensor")

    monkeypatch.setattr(network, "_run", fail)
    with pytest.raises(OnnxError, match=r"craft.onnx: Failed to allocate memory$") as caught:
        network(torch.zeros(1, 3, 32, 32))
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value.__cause__, Broken)


# --- files of another kind ----------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "no.onnx", tmp_path):
        with pytest.raises(FileNotFoundError, match="no such ONNX file"):
            OnnxNetwork(path)


def garbage(content: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"hello, this is text\n" * 50,
        "checkpoint": b"PK\x03\x04" + bytes(500),
        "half": content[: len(content) // 2],
        "short": content[:-7],
    }


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", garbage(b""))
def test_no_onnx_file_or_half_of_one(tmp_path, craft, kind, backend, capfd):
    pytest.importorskip(backend)
    path = tmp_path / "bad.onnx"
    path.write_bytes(garbage(craft.read_bytes())[kind])
    # An empty file is a model that says nothing.
    message = r"bad.onnx: (no ONNX file, or a damaged one|an ONNX file without the metadata)"
    with pytest.raises(ValueError, match=message) as caught:
        OnnxNetwork(path, backend=backend)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def rewritten(craft: Path, path: Path, edit) -> Path:
    """The file after a change of its content."""
    model = onnx.load(craft)
    edit(model)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_onnx_file_of_something_else(tmp_path, craft, backend):
    pytest.importorskip(backend)
    path = rewritten(craft, tmp_path / "a.onnx", lambda model: model.ClearField("metadata_props"))
    with pytest.raises(ValueError, match=r"a.onnx: an ONNX file without the metadata"):
        OnnxNetwork(path, backend=backend)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_metadata_around_another_network(tmp_path, craft, backend):
    pytest.importorskip(backend)

    def rename(model) -> None:
        model.graph.output[0].name = "boxes"
        for node in model.graph.node:
            node.output[:] = ["boxes" if name == "score_maps" else name for name in node.output]

    path = rewritten(craft, tmp_path / "a.onnx", rename)
    with pytest.raises(ValueError, match=r"takes \['input'\] and gives \['boxes'\]"):
        OnnxNetwork(path, backend=backend)


def with_field(craft: Path, path: Path, key: str, value: str | None) -> Path:
    def edit(model) -> None:
        (item,) = [item for item in model.metadata_props if item.key == f"mmtextplug.{key}"]
        if value is None:
            model.metadata_props.remove(item)
        else:
            item.value = value

    return rewritten(craft, path, edit)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "2", r"format '2', this mmtextplug reads '1'"),
        ("divisor", None, "damaged"),
        ("divisor", "0", "damaged"),
        ("divisor", "x", "damaged"),
        ("bytes_per_pixel", "nan", "damaged"),
        ("bytes_per_pixel", "-1", "damaged"),
        ("config", None, "damaged"),
        ("config", "{", "damaged"),
        ("config", "[]", "damaged"),
        ("config", "null", "damaged"),
        ("config", "{}", "damaged"),
        ("config", "[" * 100_000, "damaged"),
        ("config", '{"__tuple__": 1}', "damaged"),
    ],
)
def test_damaged_metadata(tmp_path, craft, key, value, message):
    path = with_field(craft, tmp_path / "a.onnx", key, value)
    with pytest.raises(ValueError, match=rf"a.onnx: .*{message}"):
        OnnxNetwork(path)


@pytest.fixture
def hostile(tmp_path, monkeypatch) -> str:
    """The name of a package that must not be imported."""
    package = tmp_path / "hostile_package"
    package.mkdir()
    for name in ("__init__", "registry"):
        (package / f"{name}.py").write_text("def run(**kwargs): pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package.name


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("model.type", "{}.run"),
        ("model.data_preprocessor.type", "{}.registry.run"),
        # It unpickles the file that it is told.
        ("model.data_preprocessor.type", "mmdet.KnowledgeDistillationSingleStageDetector"),
        ("model.det_head.postprocessor.type", "{}"),
        ("model.det_head.postprocessor.rules", {"type": "{}.run"}),
        ("test_pipeline.0.type", "subprocess.Popen"),
        ("test_pipeline.0.type", "mmengine.load"),
        ("test_pipeline.0.type", "Popen"),
        ("test_pipeline.0.transforms", [{"type": "{}.run"}]),
        ("test_pipeline.0.type", "mmocr.NoSuchTransform"),
        ("test_pipeline.0._scope_", "{}"),
        ("test_pipeline.0._scope_", 7),
        ("model._scope_", "{}"),
        ("model.det_head.type", ".CRAFTHead"),
        ("model.det_head.nms", {"type": "exec(chr(105))"}),
        ("default_scope", "{}"),
        ("custom_imports", {"imports": ["{}"]}),
        ("filename", "x"),
    ],
)
def test_nothing_that_a_file_names_is_imported(tmp_path, craft, hostile, where, name):
    filled = json.loads(json.dumps(name).replace("{}", hostile))

    def edit(model) -> None:
        (item,) = [item for item in model.metadata_props if item.key == "mmtextplug.config"]
        config = json.loads(item.value)
        *parents, last = where.split(".")
        inner = config
        for key in parents:
            inner = inner[int(key) if key.isdigit() else key]
        inner[last] = filled
        item.value = json.dumps(config)

    path = rewritten(craft, tmp_path / "a.onnx", edit)
    refused = r"is refused: .* is (not registered|no (scope|part) .*);"
    with pytest.raises(ValueError, match=rf"a\.onnx: its metadata ({refused}|is damaged)"):
        OnnxNetwork(path)
    assert not any(module.startswith(hostile) for module in sys.modules)
