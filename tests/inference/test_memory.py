"""The memory that a network takes for a pixel, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmtextplug.inference import memory

CPU = torch.device("cpu")


def test_inputs_and_features_that_live_together():
    # 12 bytes of input; 8 channels in and 4 channels out of the second convolution: 32 + 16.
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 1, 1))
    with torch.inference_mode():
        found = memory.bytes_per_pixel(net, CPU)
    assert found == pytest.approx(memory.SCRATCH * (12 + 32 + 16))


def test_what_does_not_grow_with_the_image_does_not_count():
    def net(inputs):
        constant = torch.zeros(10_000_000)
        return inputs * 2 + constant[0]

    # The product, and the sum of it.
    assert memory.bytes_per_pixel(net, CPU) == pytest.approx(memory.SCRATCH * (12 + 12 + 12))


def test_views_and_what_happens_in_place_take_nothing():
    def net(inputs):
        return inputs.mul(2).relu_().transpose(2, 3)[:, :2]

    assert memory.bytes_per_pixel(net, CPU) == pytest.approx(memory.SCRATCH * (12 + 12))


@pytest.mark.skipif(not hasattr(torch, "compile"), reason="PyTorch 1 keeps floats beside halves")
def test_lower_precision_takes_less():
    net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1))
    with torch.inference_mode():
        full = memory.bytes_per_pixel(net, CPU)
        with torch.autocast("cpu", torch.bfloat16):
            half = memory.bytes_per_pixel(net, CPU)
    assert full == pytest.approx(memory.SCRATCH * (12 + 512))
    # The input stays, and is there in bfloat16 beside the first features only.
    assert half == pytest.approx(memory.SCRATCH * (12 + 256 + 6), rel=0.03)


def test_tiles_under_a_cap():
    # 100 MiB at 100 bytes a pixel: a square of 1,024 px.
    assert memory.pixels_within(100, 100.0) == 1 << 20
    assert memory.tile_within(100, 100.0, halo=256, step=32) == 1024
    assert memory.tile_within(101, 100.0, halo=256, step=32) == 1024


def test_a_cap_too_low_for_any_tile():
    with pytest.raises(ValueError, match=r"max_memory 10 MiB.*at least 57 MiB"):
        memory.tile_within(10, 100.0, halo=256, step=32)
    # 768 px, of which a third is more than overlap: 56.25 MiB.
    assert memory.tile_within(57, 100.0, halo=256, step=32) == 3 * 256
