"""Tiles cover an image once, and give the scores of the whole image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmtextplug.inference.network import TorchNetwork
from mmtextplug.inference.tiles import Span, reach, spans, tiled_maps


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


# --- how far they overlap -----------------------------------------------------------------------


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (nn.Conv2d(3, 1, 1), 0),
        (nn.Conv2d(3, 1, 7, padding=3), 3),
        # More to the right than to the left: pixels x - 2 to x + 10.
        (nn.Sequential(nn.ZeroPad2d((2, 10, 0, 0)), nn.Conv2d(3, 1, (1, 13))), 10),
        # Downwards only, and a score each 2 px: two scores, of 4 px, see the other side.
        (nn.Sequential(nn.ZeroPad2d((0, 0, 0, 4)), nn.Conv2d(3, 1, (5, 1), stride=2)), 4),
        (nn.Sequential(nn.MaxPool2d(2), nn.ReLU(), nn.Upsample(scale_factor=2)), 0),
        (lambda x: (x - x.mean((2, 3), keepdim=True)).sum(1), None),
    ],
)  # fmt: skip
def test_how_far_scores_look(network, expected):
    assert reach(network, CPU) == expected
    assert torch.backends.mkldnn.enabled == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("craft/craft_vgg16bn_general.py", 242),
        ("craft/craft_vgg16bn_refiner_10k_ctw1500.py", 296),
        ("dbnet/dbnet_resnet18_fpnc_1200e_totaltext.py", 260),
        ("dbnet/dbnetpp_resnet18_fpnc_1200e_totaltext.py", None),
    ],
)
def test_how_far_the_networks_look(repository, name, expected):
    config = Config.fromfile(repository / "configs" / name)
    with DefaultScope.overwrite_default_scope("mmocr"):
        network = TorchNetwork(MODELS.build(config.model), "float32")
    assert network.reach == expected


def test_no_less_overlap_would_do(repository):
    torch.manual_seed(0)
    config = Config.fromfile(repository / "configs/craft/craft_resnet18_demo.py")
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(config.model).double().eval()

    def maps(inputs: torch.Tensor) -> torch.Tensor:
        return model.det_head(model.extract_feat(inputs.double()), None)

    image = torch.randn(3, 64, 1600)

    def difference(halo: int) -> float:
        found = tiled_maps(maps, lambda part: part[None], image, tile=640, halo=halo, step=32)
        return float((found - whole).abs().max())

    with torch.inference_mode():
        whole = maps(image[None]).float()
        enough = -(-reach(maps, CPU) // 32) * 32
        assert enough == 160
        assert difference(enough) < 1e-8
        assert difference(32) > 1e-7
