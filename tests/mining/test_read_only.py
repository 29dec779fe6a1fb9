"""read_only: a forward pass that changes nothing, not even autocast's cache."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmtextplug.mining.roi_losses import _devices, read_only


def network(dropout: float = 0.5) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(dropout), nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3),
    )  # fmt: skip
    model[4].eval()  # somebody's own wish
    return model


INPUT = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dropout", [False, True])
def test_read_only_leaves_everything_as_it_was(dropout):
    model = network()
    modes = [part.training for part in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    with read_only([model], dropout):
        output = model(INPUT)
        assert not torch.is_grad_enabled()
        assert [part.training for part in model] == [False, False, dropout, False, False]
    assert not output.requires_grad
    assert torch.is_grad_enabled()
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    # In training it would have been otherwise.
    model(INPUT)
    assert not torch.equal(model[1].running_mean, state["1.running_mean"])
    assert not torch.equal(torch.get_rng_state(), random)


def test_dropout_is_off_unless_it_is_asked_for():
    model = network()
    with read_only([model]):
        first, second = model(INPUT), model(INPUT)
    assert torch.equal(first, second)
    model.eval()
    assert torch.equal(model(INPUT), first)
    model.train()
    with read_only([model], True):
        assert not torch.equal(model(INPUT), model(INPUT))


def test_read_only_restores_after_an_error():
    model = network()
    with pytest.raises(RuntimeError), read_only([model, model[0]]):
        model(INPUT[:, :1])
    assert torch.is_grad_enabled()
    assert [part.training for part in model] == [True] * 4 + [False]


@pytest.mark.parametrize("outer", [True, False])
def test_autocast_goes_on_but_remembers_no_weight(outer):
    model = network(0.0)
    with torch.autocast("cpu", torch.bfloat16, enabled=outer):
        with read_only([model]):
            inside = model(INPUT)
            assert inside.dtype == (torch.bfloat16 if outer else torch.float32)
            assert not torch.is_autocast_cache_enabled()
        assert torch.is_autocast_cache_enabled()
        outside = model(INPUT)
    outside.float().sum().backward()
    # What the pass had cast would carry no gradient.
    for index in (0, 4):
        assert model[index].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("enabled", [True, False])
def test_the_cache_is_for_all_devices_and_comes_back_as_it_was(enabled):
    # There is one switch for all devices, whichever of them autocast is on for.
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(enabled)
    try:
        with read_only([network()]):
            assert not torch.is_autocast_cache_enabled()
            with read_only([network()]):
                assert not torch.is_autocast_cache_enabled()
            assert not torch.is_autocast_cache_enabled()
        assert torch.is_autocast_cache_enabled() == enabled
        model = network()
        with pytest.raises(RuntimeError), read_only([model], True):
            model(INPUT[:, :1])
        assert torch.is_autocast_cache_enabled() == enabled
    finally:
        torch.set_autocast_cache_enabled(before)


def test_random_numbers_are_kept_of_the_gpus_that_the_modules_are_on(monkeypatch):
    first, second = torch.device("cuda", 1), torch.device("cuda", 3)

    def module(*devices):
        parts = [SimpleNamespace(device=d, is_cuda=d.type == "cuda") for d in devices]
        return SimpleNamespace(parameters=lambda: parts)

    assert _devices([module(torch.device("cpu"))]) == []
    own = _devices([module(first, first, torch.device("cpu")), module(second, first)])
    assert sorted(own, key=str) == [first, second]
    # Handed on; where dropout is off nothing is drawn, so nothing is kept.
    asked = []
    fork = torch.random.fork_rng
    monkeypatch.setattr(
        torch.random, "fork_rng", lambda devices=None: asked.append(devices) or fork(devices)
    )
    for dropout in (False, True):
        with read_only([network()], dropout):
            pass
    assert asked == [[]]
