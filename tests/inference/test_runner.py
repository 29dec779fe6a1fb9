"""From prepared images to words: batches, tiles, threads and limits."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmtextplug.inference import TextDetector, runner, tiles
from mmtextplug.inference.runner import BatchRunner, Limits


@MODELS.register_module(force=True)
class WideBackbone(nn.Module):
    """Colours at half the size, seen through a blur: a score depends on 64 px around it."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Sequential(
            nn.Conv2d(3, 3, (1, 33), padding=(0, 64), dilation=(1, 4), bias=False),
            nn.Conv2d(3, 3, (33, 1), padding=(64, 0), dilation=(4, 1), bias=False),
        )
        for layer in self.blur:
            layer.weight.data.fill_(2e-3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return nn.functional.avg_pool2d(x + self.norm(self.blur(x)), 2)


@MODELS.register_module(force=True)
class TwoColours(nn.Module):
    calls: tuple = ()

    def __init__(self, postprocessor) -> None:
        super().__init__()
        self.postprocessor = MODELS.build(postprocessor)

    def forward(self, x, data_samples=None):
        TwoColours.calls += (tuple(x.shape),)
        return x[:, :2]

    def predict(self, x, data_samples):
        return self.postprocessor(self(x), data_samples)


CONFIG = dict(
    default_scope="mmocr",
    model=dict(
        type="CRAFT",
        data_preprocessor=dict(
            type="TextDetDataPreprocessor", mean=[0, 0, 0], std=[255, 255, 255],
            bgr_to_rgb=False, pad_size_divisor=32,
        ),
        backbone=dict(type="WideBackbone"),
        det_head=dict(type="TwoColours", postprocessor=dict(type="CRAFTPostprocessor")),
    ),
    test_pipeline=[
        dict(type="ResizeLongSide", long_side=4000, magnification=1.0),
        dict(type="PackCharInputs"),
    ],
)  # fmt: skip


def detector(**limits) -> TextDetector:
    config = Config(copy.deepcopy(CONFIG))
    with DefaultScope.overwrite_default_scope("mmocr"):
        model = MODELS.build(config.model)
    model.det_head.postprocessor.keep_score_maps = True
    TwoColours.calls = ()
    return TextDetector(
        model, config.test_pipeline, limits=Limits(**{"precision": "float32", **limits})
    )


def page(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Words of blue characters that green joins, across the whole image."""
    image = np.zeros((height, width, 3), np.uint8)
    random = np.random.default_rng(seed)
    for top in range(20, height - 40, 60):
        left = int(random.integers(10, 60))
        while left < width - 200:
            length = int(random.integers(2, 8)) * 24
            cv2.rectangle(image, (left, top), (left + length, top + 16), (0, 255, 0), -1)
            for x in range(left, left + length + 1, 24):
                cv2.circle(image, (x, top + 8), 10, (255, 0, 0), -1)
            left += length + int(random.integers(40, 90))
    return image


def words(found) -> list[list[float]]:
    return sorted(np.round(polygon, 3).flatten().tolist() for polygon in found.polygons)


def test_words_on_seams_are_whole():
    image = page(1300, 1500)
    (whole,) = detector().detect([image])
    assert len(whole.polygons) > 100
    assert len(TwoColours.calls) > 0
    # 800 px at most, of which 64 px overlap on each side.
    small = detector()
    per_pixel = small.runner.network.bytes_per_pixel
    (tiled,) = (capped := detector(max_memory=int(800 * 800 * per_pixel / 2**20) + 1)).detect(
        [image]
    )
    assert capped.runner.max_pixels < 1300 * 1500
    assert max(shape[2] * shape[3] * 4 for shape in TwoColours.calls) <= capped.runner.max_pixels
    assert words(tiled) == words(whole)
    for kind, expected in whole.score_maps.items():
        np.testing.assert_allclose(tiled.score_maps[kind], expected, atol=1e-5)


# Caps at which tiles of any multiple of 32 px would be 1,024 and 1,056 px.
@pytest.mark.parametrize("max_memory", [64, 70])
@pytest.mark.parametrize("divisor", [1, 48, 64, 128])
def test_tiles_of_images_that_are_padded_otherwise(divisor, max_memory):
    image = page(1300, 1500)
    one, other = detector(), detector(max_memory=max_memory)
    for each in (one, other):
        each.model.data_preprocessor.pad_size_divisor = divisor
    (whole,), (tiled,) = one.detect([image]), other.detect([image])
    assert other.runner.max_pixels < 1300 * 1500
    assert words(tiled) == words(whole)
    for kind, expected in whole.score_maps.items():
        rows, columns = expected.shape  # of tiles there is more padding
        found = tiled.score_maps[kind][:rows, :columns]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_overlap_that_is_too_small_would_show(monkeypatch):
    """The comparison above can fail."""
    image = page(1300, 1500)
    (whole,) = detector().detect([image])
    monkeypatch.setattr(tiles, "reach", lambda *_: 32)
    capped = detector(max_memory=12)
    assert capped.runner.max_pixels < 1300 * 1500
    (tiled,) = capped.detect([image])
    assert any(
        np.abs(tiled.score_maps[kind] - expected).max() > 1e-4
        for kind, expected in whole.score_maps.items()
    )


def test_tiles_are_reported():
    told = []
    capped = detector(max_memory=60)
    futures = capped.start([page(1300, 1500)], progress=lambda *done: told.append(done))
    assert len(futures[0].result().pred_instances) > 100
    count = told[-1][1]
    assert count > 1
    assert told == [(index + 1, count) for index in range(count)]


def test_a_cap_that_no_tile_fits_under():
    with pytest.raises(ValueError, match=r"max_memory 2 MiB: this network needs at least \d+ MiB"):
        detector(max_memory=2).detect([page(1300, 1500)])


def test_a_cap_makes_batches_smaller():
    images = [page(320, 320, seed) for seed in range(5)]
    free = detector()
    expected = [words(found) for found in free.detect(images, batch_size=4)]
    assert [shape[0] for shape in TwoColours.calls][-2:] == [4, 1]
    per_pixel = free.runner.network.bytes_per_pixel
    capped = detector(max_memory=int(2.5 * 320 * 320 * per_pixel / 2**20))
    assert [words(found) for found in capped.detect(images, batch_size=4)] == expected
    assert [shape[0] for shape in TwoColours.calls][-3:] == [2, 2, 1]


def test_images_of_many_sizes_come_back_in_order_and_as_they_are_alone():
    images = [page(200 + 40 * n, 500 - 30 * n, n) for n in (3, 0, 4, 1, 2, 0, 3)]
    alone = [detector().detect([image])[0] for image in images]
    together = detector().detect(images, batch_size=3)
    assert [words(found) for found in together] == [words(found) for found in alone]
    # Those of one size shared a batch.
    assert sum(shape[0] == 2 for shape in TwoColours.calls) == 2


def test_words_are_found_while_the_next_batch_runs():
    """Post-processing of the first image waits for the network to see the second."""
    import threading

    second = threading.Event()
    found_first = []
    slow = detector()
    post = slow.model.det_head.postprocessor
    original = post.get_text_instances

    def wait(maps, sample, **kwargs):
        if not found_first:
            found_first.append(True)
            assert second.wait(30), "the network waits for the words"
        return original(maps, sample, **kwargs)

    post.get_text_instances = wait
    network = slow.runner.network
    calls = []

    def count(inputs):
        calls.append(1)
        if len(calls) == 2:
            second.set()
        return network(inputs)

    count.bytes_per_pixel = 1.0
    counted = BatchRunner(slow.model, Limits(), count)
    from mmtextplug.inference.detector import as_sample

    items = [slow.transforms(as_sample(page(200, 300, seed))) for seed in range(2)]
    assert all(len(future.result().pred_instances) for future in counted.start(items))


def test_what_goes_wrong_with_words_is_raised():
    broken = detector()

    def fail(maps, sample, **kwargs):
        raise ArithmeticError("as expected")

    broken.model.det_head.postprocessor.get_text_instances = fail
    with pytest.raises(ArithmeticError, match="as expected"):
        broken.detect([page(200, 300)])


def test_nothing_to_do():
    assert detector().detect([]) == []


def test_a_detector_without_maps_runs_as_it_is_and_takes_no_precision():
    plain = detector(precision="bfloat16")
    plain.model.det_head.forward = lambda x, data_samples=None: [x[:, :2]]
    with pytest.raises(ValueError, match="precision bfloat16: this detector has no score maps"):
        plain.detect([page(200, 300)])
    capped = detector(max_memory=100)
    capped.model.det_head.forward = lambda x, data_samples=None: [x[:, :2]]
    with pytest.raises(ValueError, match="max_memory 100: this detector has no score maps"):
        capped.detect([page(200, 300)])


def test_tiles_of_a_network_that_pools_over_the_image_are_warned_of_once(monkeypatch):
    said = []
    monkeypatch.setattr(runner, "print_log", lambda message, **kwargs: said.append(message))
    capped = detector(max_memory=60)
    capped.detect([page(1300, 1500)])
    assert said == []
    capped = detector(max_memory=60)
    forward = capped.model.backbone.forward
    capped.model.backbone.forward = lambda x: forward(x) + 0 * x.mean((2, 3), keepdim=True)
    capped.detect([page(1300, 1500)] * 2)
    assert len(said) == 1
    assert "averages over the whole image" in said[0]
    capped = detector(max_memory=60)
    capped.model.backbone.conv = type("ModulatedDeformConv2dPack", (nn.Identity,), {})()
    capped.detect([page(1300, 1500)] * 2)
    assert len(said) == 2
    assert "deformable" in said[1]


def test_scores_that_are_no_numbers_do_not_pass_for_no_words():
    broken = detector()
    broken.model.backbone.norm.bias.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="score maps are not finite"):
        broken.detect([page(200, 300)])


def test_the_networks_precision_is_told():
    assert detector(precision="bfloat16").precision == "bfloat16"
    assert torch.float32 is torch.get_default_dtype()
