"""Networks made fast: in lower precision, compiled, and used by those who run the model."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from small_craft import CRAFT, build, maps
from torch import nn

from mmtextplug.inference import network
from mmtextplug.inference.network import (
    TorchNetwork,
    accelerate,
    check_finite,
    fastest_precision,
    gives_maps,
)

# --- the network --------------------------------------------------------------------------------


def test_in_float32_the_scores_stay():
    model = build(CRAFT)
    inputs = torch.randn(2, 3, 64, 96)
    expected = maps(model, inputs)
    found = TorchNetwork(model, "float32")(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_lower_precision_is_near_and_comes_back_as_float32():
    model = build(CRAFT)
    inputs = torch.randn(1, 3, 64, 96)
    expected = maps(model, inputs)
    found = TorchNetwork(model, "bfloat16")(inputs)
    assert found.dtype == torch.float32
    difference = (found - expected).abs().max()
    assert 0 < difference < 0.05 * expected.abs().max()
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("precision", ["half", "fp16", ""])
def test_an_unknown_precision(precision):
    with pytest.raises(ValueError, match=r"precision must be one of auto, float32"):
        TorchNetwork(build(CRAFT), precision)


def test_scores_that_are_no_numbers_are_told():
    check_finite(torch.zeros(1, 2, 3, 3))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"score maps are not finite: .* precision"):
            check_finite(torch.tensor([[[0.5, bad]]]))


@pytest.mark.parametrize("says", ["nothing", "an error"])
def test_a_precision_that_the_device_does_not_know_is_refused(monkeypatch, says):
    """Autocast warns and stays in float32, or raises, by device and version."""

    def none(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
        if says == "an error" and precision != "float32":
            raise RuntimeError("no such type")
        return contextlib.nullcontext()

    monkeypatch.setattr(network, "autocast", none)
    with pytest.raises(ValueError, match=r"precision float16: this PyTorch does not .* on cpu"):
        TorchNetwork(build(CRAFT), "float16")
    assert TorchNetwork(build(CRAFT), "float32").precision == "float32"


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="PyTorch 1 compiles nothing")
def test_nothing_that_spies_on_operators_sees_the_compiled_network(monkeypatch):
    """Under a mode that follows operators a network would never be compiled."""
    from torch.utils._python_dispatch import _get_current_dispatch_mode

    modes = []

    def compile(function, **options):
        def run(inputs):
            modes.append(_get_current_dispatch_mode())
            return function(inputs)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    network = TorchNetwork(build(CRAFT), "float32", compile=True)
    network(torch.randn(1, 3, 64, 96))
    assert modes == [None]
    assert network.bytes_per_pixel > 0


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="PyTorch 1 compiles nothing")
def test_a_network_is_compiled_for_any_size(monkeypatch):
    asked = []

    def compile(function, **options):
        asked.append(options)
        return lambda inputs: function(inputs) + 1

    monkeypatch.setattr(torch, "compile", compile)
    inputs = torch.randn(1, 3, 64, 96)
    plain, compiled = (TorchNetwork(build(CRAFT), "float32", compile=c) for c in (False, True))
    torch.testing.assert_close(compiled(inputs), plain(inputs) + 1)
    assert asked == [dict(dynamic=True)]


CPU = torch.device("cpu")


class Clock:
    """Time passes only in networks: ``costs`` seconds by precision."""

    def __init__(self, monkeypatch, **costs: float) -> None:
        self.now, self.costs, self.calls = 0.0, costs, []
        monkeypatch.setattr(network.time, "perf_counter", lambda: self.now)

    def __call__(self, precision: str, inputs: torch.Tensor) -> torch.Tensor:
        self.calls.append(precision)
        if precision not in self.costs:
            raise RuntimeError(f"not implemented for {precision}")
        self.now += self.costs[precision]
        return self.scores(precision, inputs)

    def scores(self, precision: str, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.to(getattr(torch, precision)).float()


@pytest.mark.parametrize(
    ("costs", "chosen", "tried"),
    [
        (dict(float32=1.0, bfloat16=0.2, float16=0.9), "bfloat16", 4),
        (dict(float32=1.0, bfloat16=0.5, float16=0.2), "float16", 4),
        # Not worth it; slower; not there.
        (dict(float32=1.0, bfloat16=0.85, float16=0.9), "float32", 4),
        (dict(float32=1.0, bfloat16=3.0, float16=30.0), "float32", 2),
        (dict(float32=1.0), "float32", 1),
    ],
)
def test_the_fastest_precision_is_measured(costs, chosen, tried, monkeypatch):
    clock = Clock(monkeypatch, **costs)
    assert fastest_precision(clock, torch.device("cpu")) == chosen
    # What is emulated is not tried again and again.
    assert clock.calls.count("float16") == tried


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1.0])
def test_a_precision_whose_scores_are_others_is_not_taken(bad, monkeypatch):
    class Wrong(Clock):
        def scores(self, precision, inputs):
            return inputs + (bad if precision == "float16" else 0)

    clock = Wrong(monkeypatch, float32=1.0, float16=0.1)
    assert fastest_precision(clock, torch.device("cpu")) == "float32"


def test_scores_of_nothing_do_not_pass_for_those_of_text(monkeypatch):
    """Small scores, as of most of a page, and a precision that loses them all."""

    class Lost(Clock):
        def scores(self, precision, inputs):
            return torch.zeros_like(inputs) if precision == "float16" else inputs * 1e-3

    assert fastest_precision(Lost(monkeypatch, float32=1.0, float16=0.1), CPU) == "float32"


def test_measuring_leaves_random_numbers_alone(monkeypatch):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fastest_precision(Clock(monkeypatch, float32=1.0), torch.device("cpu"))
    torch.testing.assert_close(torch.rand(4), expected)


# --- for those who run the model ----------------------------------------------------------------


def test_detectors_that_give_maps():
    assert gives_maps(build(CRAFT))
    assert not gives_maps(nn.Linear(2, 2))
    boxes = build(CRAFT)
    boxes.det_head.forward = lambda features, samples=None: [features]
    assert not gives_maps(boxes)


def packed(*sizes: tuple[int, int]) -> dict:
    from mmocr.structures import TextDetDataSample

    torch.manual_seed(2)
    samples = [
        TextDetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1, 1)))
        for size in sizes
    ]
    inputs = [torch.randint(0, 255, (3, *size), dtype=torch.uint8) for size in sizes]
    return dict(inputs=inputs, data_samples=samples)


def found_by(model: nn.Module) -> list:
    post = model.det_head.postprocessor
    post.keep_score_maps = True
    with torch.no_grad():
        return [s.pred_score_maps.data for s in model.test_step(packed((64, 96), (50, 90)))]


def test_an_accelerated_model_predicts_the_same_and_stays_as_it_was():
    model = build(CRAFT)
    expected, state = found_by(model), copy.deepcopy(model.state_dict())
    assert accelerate(model, "float32") is model
    for one, other in zip(found_by(model), expected):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_weights_that_are_put_in_place_before_the_first_prediction_count():
    model, other = accelerate(build(CRAFT), "float32"), build(CRAFT)
    with torch.no_grad():
        for mine, its in zip(model.parameters(), other.parameters()):
            mine.mul_(0.9)
            its.mul_(0.9)
    for one, two in zip(found_by(model), found_by(other)):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_training_goes_on_with_the_model_itself():
    model = build(CRAFT)
    own = model.predict
    accelerate(model, "float32")
    found_by(model)
    assert model.predict != own
    model.train()
    assert model.predict == own
    assert model.training
    assert model.det_head.training
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    other = build(CRAFT)
    other.load_state_dict(model.state_dict())
    for one, two in zip(found_by(accelerate(model.eval(), "float32")), found_by(other)):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_only_the_first_of_many_processes_measures(monkeypatch):
    measured = []

    def broadcast(chosen: list) -> None:
        chosen[0] = "bfloat16"

    monkeypatch.setattr(network, "get_world_size", lambda: 2)
    monkeypatch.setattr(network, "get_rank", lambda: 1)
    monkeypatch.setattr(network, "broadcast_object_list", broadcast)
    monkeypatch.setattr(network, "fastest_precision", lambda *_: measured.append(1) or "float32")
    log = []
    monkeypatch.setattr(network, "print_log", lambda text, **_: log.append(text))
    found_by(accelerate(build(CRAFT), "auto"))
    assert log == ["the network computes in bfloat16"]
    assert not measured
    monkeypatch.setattr(network, "get_rank", lambda: 0)
    found_by(accelerate(build(CRAFT), "auto"))
    assert log == ["the network computes in bfloat16"] * 2
    assert measured == [1]


def test_a_model_without_maps_stays_and_says_so():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    assert accelerate(model, "auto") is model
    assert isinstance(model[1], nn.BatchNorm2d)
    assert "predict" not in vars(model)
    with pytest.raises(ValueError, match="precision bfloat16: this detector has no score maps"):
        accelerate(model, "bfloat16")
    with pytest.raises(ValueError, match="compile: this detector has no score maps"):
        accelerate(model, compile=True)
