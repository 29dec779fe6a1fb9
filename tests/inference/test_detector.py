"""From photos to words: with a detector whose score maps are painted on the photos themselves.

Blue is the region score, green the affinity score, and the network only halves the image: what
must be found is known to the pixel, whatever happens to the photo on its way.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from painted import CENTRES, HALF, PAGE, PAINTED, PaintedHead, centres, page

from mmtextplug.craft import weights
from mmtextplug.craft.grouping import group_words
from mmtextplug.inference import OFFICIAL, TextDetector, photo_pipeline
from mmtextplug.inference.settings import configure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def detector(checkpoint) -> TextDetector:
    PaintedHead.batches = ()
    return TextDetector.from_config(Config(PAINTED), checkpoint)


def test_the_official_settings_are_those_of_the_config():
    config = Config.fromfile(ROOT / "configs" / "craft" / "craft_vgg16bn_general.py")
    assert OFFICIAL["model"] == config.model.to_dict()
    assert [dict(step) for step in photo_pipeline(config)] == OFFICIAL["test_pipeline"]


def test_words_are_those_of_the_maps_in_pixels_of_the_photo(detector):
    found = detector.detect([PAGE])[0]
    halved = cv2.resize(PAGE, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) / np.float32(255)
    words = group_words(halved[..., 0], halved[..., 1])
    assert len(words) == 2
    np.testing.assert_allclose(np.array(found.polygons), words.boxes * 2, atol=1e-3)
    np.testing.assert_allclose(found.scores, words.scores, atol=0.01)
    np.testing.assert_allclose(centres(found.polygons), CENTRES, atol=1.5)
    assert found.score_maps["region"].shape == found.score_maps["affinity"].shape == (60, 100)
    np.testing.assert_allclose(found.score_maps["region"], halved[..., 0], atol=0.01)
    np.testing.assert_allclose(found.score_maps["affinity"], halved[..., 1], atol=0.01)
    assert found.chars is None


@pytest.mark.parametrize("factor", [2, 7])
def test_large_photos_are_shrunk_and_their_words_are_not(detector, factor):
    large = cv2.resize(PAGE, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    found = detector.detect([large])[0]
    assert max(found.score_maps["region"].shape) <= 320  # half of long_side
    np.testing.assert_allclose(centres(found.polygons) / factor, CENTRES, atol=1.5)


def test_characters_are_where_they_were_painted(checkpoint):
    detector = TextDetector.from_config(Config(PAINTED), checkpoint, chars=True)
    found = detector.detect([PAGE])[0]
    order = np.argsort([polygon[:, 1].mean() for polygon in found.polygons])
    assert [len(found.chars[i]) for i in order] == [4, 3]
    for i, (x, y, count) in zip(order, [(30, 30, 4), (110, 80, 3)], strict=True):
        expected = np.stack([x + 2 * HALF * np.arange(count), np.full(count, y)], 1)
        np.testing.assert_allclose(found.chars[i].mean(1), expected, atol=2.0)
        widths = found.chars[i][:, 1, 0] - found.chars[i][:, 0, 0]
        np.testing.assert_allclose(widths, 2 * HALF, atol=3.0)


def test_images_of_all_sizes_keep_their_order_and_share_batches(detector):
    other = page((64, 64), [(16, 30, 3)])
    empty = np.zeros((1, 1, 3), np.uint8)
    images = [PAGE, other, PAGE[:110], empty, PAGE[:, :195], np.zeros((5, 900), np.uint8)]
    single = detector.detect(images)
    PaintedHead.batches = ()
    batched = detector.detect(images, batch_size=2)
    # 120x200, 110x200 and 120x195 all become 128x224; the rest is alone.
    assert sorted(PaintedHead.batches) == [1, 1, 1, 1, 2]
    assert [len(found.polygons) for found in batched] == [2, 1, 2, 0, 2, 0]
    for one, many in zip(single, batched, strict=True):
        np.testing.assert_allclose(np.array(one.polygons), np.array(many.polygons), atol=1e-4)
        assert one.score_maps["region"].shape == many.score_maps["region"].shape


def test_no_images_no_results(detector):
    assert detector.detect([]) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((2, 5, 5, 3), np.uint8),
        "photo.jpg",
    ],
)
def test_what_is_no_image_is_refused(detector, image):
    with pytest.raises(ValueError, match="an image must be"):
        detector.detect([image])


def test_settings_override_the_config(checkpoint):
    detector = TextDetector.from_config(
        Config(PAINTED),
        checkpoint,
        text_threshold=1.0,
        link_threshold=0.1,
        low_text=0.2,
        isolated_threshold=0.5,
        long_side=100,
        magnification=3.0,
        polygons=True,
    )
    post = detector.model.det_head.postprocessor
    assert post.thresholds == dict(
        text_threshold=1.0, link_threshold=0.1, low_text=0.2, isolated_threshold=0.5
    )
    assert post.text_repr_type == "poly"
    assert not post.find_chars
    assert detector.detect([PAGE])[0].score_maps["region"].shape == (30, 50)
    assert PAINTED["model"]["det_head"]["postprocessor"] == dict(type="CRAFTPostprocessor")


def test_settings_that_a_config_has_no_place_for_are_refused(checkpoint):
    config = Config(PAINTED)
    config.test_dataloader.dataset.pipeline.pop(1)
    with pytest.raises(ValueError, match="long_side: this config has no ResizeLongSide"):
        TextDetector.from_config(config, checkpoint, long_side=100)


def test_the_long_side_is_set_however_a_config_resizes():
    resize = dict(type="mmocr.Resize", scale=(4068, 736), keep_ratio=True)
    steps = [dict(type="LoadImageFromFile"), resize, dict(type="PackTextDetInputs")]
    dataset = dict(dataset=dict(pipeline=steps))
    config = Config(dict(model=dict(type="X"), test_dataloader=dataset))
    _, (found, _) = configure(config, long_side=640)
    assert found == dict(type="mmocr.Resize", scale=(640, 640), keep_ratio=True)
    assert configure(config)[1][0]["scale"] == (4068, 736)
    with pytest.raises(ValueError, match="magnification: this config has no ResizeLongSide"):
        configure(config, long_side=640, magnification=2.0)


def test_unusable_device_and_config_are_named(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="device nonsense: not usable"):
        TextDetector.from_config(Config(PAINTED), checkpoint, device="nonsense")
    with pytest.raises(FileNotFoundError, match=r"none\.py: no such config"):
        TextDetector.from_config(tmp_path / "none.py", checkpoint)


def test_official_weights_do_not_load_into_another_model(monkeypatch, tmp_path):
    path = tmp_path / "craft.pth"
    torch.save({"module.conv_cls.0.weight": torch.zeros(1)}, path)
    monkeypatch.setattr("mmtextplug.inference.detector.official_weights", lambda: path)
    with pytest.raises(ValueError, match=r"craft\.pth: does not fit this model"):
        TextDetector.from_config(Config(PAINTED))


def test_pipeline_is_looked_for_inside_wrappers():
    steps = [dict(type="mmocr.LoadImageFromFile"), dict(type="PackCharInputs")]
    wrapped = dict(type="SeededDataset", dataset=dict(type="X", pipeline=steps))
    concatenated = dict(type="ConcatDataset", datasets=[dict(type="X", pipeline=steps)])
    for dataset in (wrapped, concatenated, dict(type="X", pipeline=steps)):
        config = Config(dict(test_dataloader=dict(dataset=dataset), test_pipeline=[]))
        assert photo_pipeline(config) == [dict(type="PackCharInputs")]
    with pytest.raises(ValueError, match=r"test_dataloader\.dataset\.pipeline"):
        photo_pipeline(Config(dict(model=dict())))


@pytest.mark.skipif(
    importlib.util.find_spec(weights.PACKAGE) is None, reason="extra 'weights' not installed"
)
def test_the_official_detector_reads_a_word():
    image = np.full((90, 260, 3), 230, np.uint8)
    cv2.putText(image, "HOUSE", (40, 60), cv2.FONT_HERSHEY_DUPLEX, 1.5, (40, 30, 20), 3)
    rows, columns = np.nonzero(image[..., 0] < 150)
    found = TextDetector.official(magnification=1.0, chars=True).detect([image])[0]
    assert len(found.polygons) == 1
    low, high = found.polygons[0].min(0), found.polygons[0].max(0)
    np.testing.assert_allclose(low, [columns.min(), rows.min()], atol=8)
    np.testing.assert_allclose(high, [columns.max(), rows.max()], atol=8)
    assert len(found.chars[0]) == 5
    assert found.scores[0] > 0.8
