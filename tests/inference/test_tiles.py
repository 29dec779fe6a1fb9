"""Tiles cover an image once, and give the scores of the whole image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmtextplug.inference.tiles import Span, spans, tiled_maps


def test_one_tile_where_it_fits():
    assert spans(96, 96, 32, 32) == [Span(0, 96, 0, 96)]


def test_spans_by_hand():
    # 96 px are seen and 32 px taken in the middle; at the ends the overlap is on one side.
    assert spans(192, 96, 32, 32) == [
        Span(0, 96, 0, 64),
        Span(32, 128, 64, 96),
        Span(64, 160, 96, 128),
        Span(96, 192, 128, 192),
    ]


def test_a_tile_that_gives_nothing():
    with pytest.raises(ValueError, match=r"tiles of 95 px.*at least 96 px"):
        spans(200, 95, 32, 32)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 3), st.sampled_from([1, 4, 32]))
def test_what_is_taken_covers_the_length_once(length, inner, halo, step):
    length, halo = length * step, halo * step
    tile = 2 * halo + inner * step
    found = spans(length, tile, halo, step)
    assert [pixel for span in found for pixel in range(span.take_from, span.take_to)] == list(
        range(length)
    )
    for span in found:
        assert 0 <= span.start <= span.take_from < span.take_to <= span.stop <= length
        assert span.stop - span.start <= tile
        assert span.start % step == span.take_from % step == 0
        # The whole overlap, but for the ends of the image.
        assert span.start == 0 or span.take_from - span.start == halo
        assert span.stop == length or span.stop - span.take_to == halo


def network(stride: int) -> nn.Module:
    """A score depends on 3 px around those that it stands for."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 5, padding=2),
        nn.AvgPool2d(stride),
    ).double()  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 6), st.sampled_from([1, 2, 4]))
def test_tiles_give_the_maps_of_the_whole_image(height, width, inner, stride):
    step, halo = 4, 4
    image = torch.rand(3, height, width, dtype=torch.float64)
    net = network(stride)

    def prepare(part):
        rows, columns = (-side % step for side in part.shape[1:])
        return nn.functional.pad(part, (0, columns, 0, rows))[None]

    with torch.no_grad():
        expected = net(prepare(image)).float()
        found = tiled_maps(net, prepare, image, tile=2 * halo + step * inner, halo=halo, step=step)
    torch.testing.assert_close(found, expected)


def test_maps_without_channels_and_the_tiles_that_are_done():
    told = []
    found = tiled_maps(
        lambda part: part.mean(1),
        lambda part: part[None],
        torch.arange(3 * 8 * 16.0).reshape(3, 8, 16),
        tile=8, halo=0, step=8, progress=lambda *done: told.append(done),
    )  # fmt: skip
    torch.testing.assert_close(found[0], torch.arange(128.0, 256).reshape(8, 16))
    assert told == [(1, 2), (2, 2)]


def test_a_tile_is_all_that_the_network_sees():
    seen = []

    def net(part):
        seen.append(tuple(part.shape))
        return part[:, :1]

    tiled_maps(net, lambda part: part[None], torch.zeros(3, 320, 96), tile=160, halo=32, step=32)
    assert seen == [(1, 3, 160, 96), (1, 3, 160, 96), (1, 3, 128, 96)]
