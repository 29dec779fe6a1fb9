"""What of a pipeline's sample reaches the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope

QUADS = [[2, 3, 7, 3, 7, 9, 2, 9], [7, 3, 12, 3, 12, 9, 7, 9]]
INSTANCES = [
    {"polygon": [2, 3, 12, 3, 12, 9, 2, 9], "text": "ab", "chars": QUADS},
    {"bbox": [20, 5, 30, 15], "ignore": True, "text": "xyz"},
    {"bbox": [14, 5, 19, 15]},
]


@pytest.fixture(autouse=True)
def mmocr_scope():
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


def loaded(instances=INSTANCES, shape=(24, 40), **more) -> dict:
    image = np.arange(shape[0] * shape[1] * 3, dtype=np.uint8).reshape(*shape, 3)
    results = dict(img=image, img_shape=shape, ori_shape=shape, img_path="a.png",
                   scale_factor=(1.0, 1.0), instances=list(instances), **more)  # fmt: skip
    return TRANSFORMS.build({"type": "LoadCharAnnotations"}).transform(results)


def pack(results, **settings) -> dict:
    return TRANSFORMS.build(dict(type="PackCharInputs", **settings)).transform(results)


def test_every_field_by_hand():
    results = loaded()
    packed = pack(results)
    assert packed["inputs"].shape == (3, 24, 40)
    assert packed["inputs"].dtype == torch.uint8
    np.testing.assert_array_equal(packed["inputs"].permute(1, 2, 0).numpy(), results["img"])
    sample = packed["data_samples"]
    assert (sample.img_path, sample.img_shape, sample.ori_shape) == ("a.png", (24, 40), (24, 40))
    assert sample.scale_factor == (1.0, 1.0)
    words = sample.gt_instances
    assert len(words) == 3
    assert words.bboxes.tolist() == [[2, 3, 12, 9], [20, 5, 30, 15], [14, 5, 19, 15]]
    assert words.labels.tolist() == [0, 0, 0]
    assert words.ignored.tolist() == [False, True, False]
    assert words.texts == ["ab", "xyz", None]
    assert [p.tolist() for p in words.polygons] == [p.tolist() for p in results["gt_polygons"]]
    np.testing.assert_array_equal(words.chars[0], np.reshape(QUADS, (2, 4, 2)))
    assert words.chars[1:] == [None, None]
    assert words.char_confidence.tolist() == [1, 0, 0]
    assert words.char_confidence.dtype == np.float32
    assert isinstance(words.host_ignored, np.ndarray)
    assert words.host_ignored.tolist() == words.ignored.tolist()
    assert "gt_score_maps" not in sample


def test_what_a_labeller_thinks_of_the_characters():
    confidence = np.array([0.625, 0.5, 0.5])
    sample = pack({**loaded(), "gt_char_confidence": confidence})["data_samples"]
    assert sample.gt_instances.char_confidence.tolist() == [0.625, 0, 0]


def test_words_can_be_filtered_with_their_characters():
    words = pack(loaded())["data_samples"].gt_instances
    kept = words[~words.ignored]
    assert len(kept.chars) == 2
    assert kept.chars[0].shape == (2, 4, 2)
    assert kept.char_confidence.tolist() == [1, 0]


def test_no_word():
    words = pack(loaded([]))["data_samples"].gt_instances
    assert len(words) == 0
    assert words.chars == []
    assert words.char_confidence.shape == (0,)


def test_maps_drawn_already_go_along():
    results = TRANSFORMS.build({"type": "GaussianCharLabels"}).transform(loaded())
    maps = pack(results)["data_samples"].gt_score_maps.data
    assert maps.shape == (3, 12, 20)
    np.testing.assert_array_equal(maps.numpy(), results["gt_score_maps"])


def test_meta_information_that_a_sample_has_not_is_left_out():
    results = loaded()
    del results["scale_factor"]
    sample = pack(results, meta_keys=("img_shape", "scale_factor", "flip"))["data_samples"]
    assert set(sample.metainfo_keys()) == {"img_shape"}


def test_the_valid_polygon_is_kept_whenever_there_is_one():
    polygon = np.array([[0, 0], [9, 0], [9, 9]], np.float32)
    sample = pack(loaded(valid_polygon=polygon), meta_keys=("img_shape",))["data_samples"]
    np.testing.assert_array_equal(sample.valid_polygon, polygon)
    assert "valid_polygon" not in pack(loaded())["data_samples"]


def test_one_transform_serves_samples_with_and_without_it():
    transform = TRANSFORMS.build({"type": "PackCharInputs"})
    polygon = np.zeros((3, 2), np.float32)
    kept = [
        "valid_polygon" in transform.transform(results)["data_samples"]
        for results in (loaded(), loaded(valid_polygon=polygon), loaded())
    ]
    assert kept == [False, True, False]


def test_test_images_without_words():
    image = np.zeros((8, 8, 3), np.uint8)
    packed = pack({"img": image, "img_shape": (8, 8), "ori_shape": (8, 8), "img_path": "a.png"})
    assert "chars" not in packed["data_samples"].gt_instances
    assert packed["inputs"].shape == (3, 8, 8)


def test_the_preprocessor_leaves_the_characters_on_the_host_and_whole():
    batch = pseudo_collate([pack(loaded()), pack(loaded(shape=(30, 50)))])
    preprocessor = MODELS.build(
        {"type": "TextDetDataPreprocessor", "mean": [0] * 3, "std": [1] * 3, "pad_size_divisor": 32}
    )
    data = preprocessor(batch, training=True)
    assert data["inputs"].shape == (2, 3, 32, 64)
    for sample, shape in zip(data["data_samples"], ((24, 40), (30, 50)), strict=False):
        assert isinstance(sample.gt_instances.chars[0], np.ndarray)
        assert isinstance(sample.gt_instances.char_confidence, np.ndarray)
        assert sample.batch_input_shape == (32, 64)
        assert sample.img_shape == shape
