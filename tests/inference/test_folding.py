"""Folding leaves the outputs as they were, or does not happen."""

from __future__ import annotations

import copy

import pytest
import torch
from small_craft import CRAFT, build, lived_in, maps
from torch import nn

from mmtextplug.inference import folding
from mmtextplug.inference.folding import fold_batch_norms


@pytest.mark.parametrize(
    ("layers", "folded"),
    [
        ([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()], 1),
        ([nn.Conv2d(3, 4, 3, bias=False, groups=1), nn.BatchNorm2d(4, affine=True)], 1),
        ([nn.ConvTranspose2d(3, 4, 2, 2), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)], 1),
        ([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)], 2),
        # Not right behind a convolution, or without statistics: nothing that can be folded.
        ([nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)], 0),
        ([nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)], 0),
        ([nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)], 0),
        ([nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)], 0),
    ],
)
def test_folding_leaves_the_outputs(layers, folded):
    torch.manual_seed(1)
    model = lived_in(nn.Sequential(*copy.deepcopy(layers))).double()
    inputs = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    expected = model(inputs)
    assert fold_batch_norms(model, model) == folded
    torch.testing.assert_close(model(inputs), expected)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in model) == (
        sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) - folded
    )


@pytest.mark.parametrize(
    "order", [("conv", "norm", "act"), ("norm", "act", "conv"), ("conv", "act", "norm")]
)
def test_modules_that_apply_their_layers_in_another_order_stay_right(order):
    from mmcv.cnn import ConvModule

    torch.manual_seed(1)
    model = lived_in(ConvModule(3, 3, 3, norm_cfg=dict(type="BN"), order=order)).double()
    inputs = torch.randn(1, 3, 9, 9, dtype=torch.float64)
    expected = model(inputs)
    assert fold_batch_norms(nn.Sequential(model), model) == (order[1] == "norm")
    torch.testing.assert_close(model(inputs), expected)


class Branches(nn.Module):
    """They are listed one after the other, and see the same."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.norm(x)


def test_what_is_applied_otherwise_than_listed_is_not_folded(monkeypatch):
    said = []
    monkeypatch.setattr(folding, "print_log", lambda text, **_: said.append(text))
    torch.manual_seed(1)
    model = lived_in(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), Branches()))
    inputs, state = torch.randn(1, 3, 9, 9), copy.deepcopy(model.state_dict())
    expected = model(inputs)
    assert fold_batch_norms(model, model) == 0
    assert torch.equal(model(inputs), expected)
    assert model.state_dict().keys() == state.keys()
    (line,) = said
    assert "batch normalisation is not folded" in line


def test_a_normalisation_in_training_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert fold_batch_norms(model.train(), model) == 0
    assert model[1].num_batches_tracked == 0


def test_all_of_a_craft_on_a_residual_network_with_a_refiner_is_folded():
    model = build(CRAFT).double()
    inputs = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    expected = maps(model, inputs)
    normalisations = sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert fold_batch_norms(model, lambda x: maps(model, x)) == normalisations > 20
    torch.testing.assert_close(maps(model, inputs), expected)
