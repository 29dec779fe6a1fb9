"""Pictures of words and score maps: what is read from a sample, where it is drawn, how large."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mmtextplug  # noqa: F401 - before MMOCR, whose version ceilings it lifts

# isort: split
from mmengine.registry import HOOKS, VISUALIZERS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmocr.structures import TextDetDataSample

from mmtextplug.craft.link_targets import centre_line, draw_centre_lines
from mmtextplug.craft.loss import CRAFTModuleLoss
from mmtextplug.craft.targets import REFINED_KINDS
from mmtextplug.db.targets import db_targets
from mmtextplug.visualization.draw import overlay_score
from mmtextplug.visualization.scene import Scene, _stride, generate_maps, read_scene
from mmtextplug.visualization.score_maps import (
    ANNOTATED_COLOUR,
    FOUND_COLOUR,
    IGNORED_COLOUR,
    ScoreMapVisualizer,
    draw_scene,
)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def annotation(words: list, ignored: list[bool] | None = None, chars: bool = True) -> InstanceData:
    """Instances of words, each an outline and its characters."""
    instances = InstanceData()
    instances.polygons = [outline.reshape(-1) for outline, _ in words]
    instances.ignored = torch.tensor(ignored or [False] * len(words), dtype=torch.bool)
    if chars:
        instances.chars = [known for _, known in words]
        known = [c is not None for c in instances.chars]
        confidence = np.array(known, np.float32) * ~instances.ignored.numpy()
        instances.char_confidence = confidence.astype(np.float32)
    return instances


def sample_of(shape: tuple[int, int] = (40, 60), **parts: object) -> TextDetDataSample:
    sample = TextDetDataSample(metainfo={"img_shape": shape, "ori_shape": shape})
    for name, part in parts.items():
        setattr(sample, name, part)
    return sample


def prediction(polygons: list[np.ndarray], scores: list[float]) -> InstanceData:
    instances = InstanceData()
    instances.polygons = [polygon.reshape(-1) for polygon in polygons]
    instances.scores = torch.tensor(scores, dtype=torch.float32)
    return instances


PAIR = (box(10, 10, 50, 30), np.stack([box(10, 10, 30, 30), box(30, 10, 50, 30)]))


def test_generated_maps_peak_at_scaled_centres():
    maps = generate_maps(annotation([PAIR]), (24, 40), np.array([0.5, 1.0], np.float32))
    region, affinity = maps
    assert maps.dtype == np.float32
    # Characters centred at (20, 20) and (40, 20), their link at (30, 20); x halved.
    assert region[20, 10] == pytest.approx(1, abs=1e-5)
    assert region[20, 20] == pytest.approx(1, abs=1e-5)
    assert affinity[20, 15] == pytest.approx(1, abs=1e-5)
    assert region[20, 15] < 0.5
    assert np.unravel_index(affinity.argmax(), affinity.shape) == (20, 15)
    assert region[0].max() == 0


def test_ignored_and_unknown_words_leave_no_trace():
    words = [PAIR, (box(0, 0, 9, 9), None)]
    maps = generate_maps(annotation(words, [True, False]), (40, 60), np.ones(2, np.float32))
    assert maps.max() == 0
    # The same without confidences: the flags decide.
    instances = annotation(words, [True, False])
    del instances.char_confidence
    assert generate_maps(instances, (40, 60), np.ones(2, np.float32)).max() == 0


def test_no_words_are_empty_maps():
    maps = generate_maps(annotation([]), (4, 6), np.ones(2, np.float32))
    assert maps.shape == (2, 4, 6)
    assert maps.max() == 0


@pytest.mark.parametrize(
    ("side", "cells", "expected"),
    [(256, 128, 2), (257, 129, 2), (255, 128, 2), (100, 100, 1), (1, 1, 1), (10, 7, 10 / 7)],
)
def test_stride(side, cells, expected):
    assert _stride(side, cells) == expected


@given(st.integers(1, 3000), st.integers(1, 8))
def test_stride_is_found_again(side, stride):
    cells = math.ceil(side / stride)
    found = _stride(side, cells)
    assert abs(side / found - cells) < 1
    if cells > 2 * stride:
        assert found == stride


def test_generated_maps_follow_the_resize_of_the_test_pipeline():
    # 60x40 enlarged to 119x80, padded to 128x96 afterwards; maps of stride 2 cut to the image.
    sample = sample_of(
        gt_instances=annotation([PAIR]), pred_score_maps=PixelData(data=torch.zeros(2, 40, 60))
    )
    sample.set_metainfo({"img_shape": (80, 119), "batch_input_shape": (96, 128)})
    scene = read_scene(sample, (40, 60))
    # The training's way to the same maps: characters in pixels of the padded input.
    scale = np.array([119 / 60, 2], np.float32)
    outline, chars = PAIR
    trained = sample_of((80, 119), gt_instances=annotation([(outline * scale, chars * scale)]))
    trained.set_metainfo({"batch_input_shape": (96, 128)})
    maps = CRAFTModuleLoss().get_targets([trained], (48, 64))
    np.testing.assert_allclose(scene.generated[0], maps.region[0, :40, :60], atol=1e-5)
    np.testing.assert_allclose(scene.generated[1], maps.affinity[0, :40, :60], atol=1e-5)


def test_maps_drawn_by_the_pipeline_lose_their_padding():
    stored = torch.arange(3 * 16 * 16, dtype=torch.float32).reshape(3, 16, 16)
    sample = sample_of((20, 30), gt_score_maps=PixelData(data=stored))
    sample.set_metainfo({"batch_input_shape": (32, 32)})
    generated = read_scene(sample, (20, 30)).generated
    np.testing.assert_array_equal(generated, stored[:2, :10, :15].numpy())


def test_scene_holds_what_was_asked_for():
    sample = sample_of(
        gt_instances=annotation([PAIR, (box(0, 0, 9, 9), None)], [False, True]),
        pred_instances=prediction([box(1, 1, 5, 5), box(2, 2, 6, 6)], [0.9, 0.2]),
    )
    scene = read_scene(sample, (40, 60), score_thr=0.3)
    np.testing.assert_array_equal(scene.found, [box(1, 1, 5, 5)])
    np.testing.assert_array_equal(scene.annotated, [PAIR[0]])
    np.testing.assert_array_equal(scene.ignored, [box(0, 0, 9, 9)])
    assert scene.predicted is None
    assert scene.generated.shape == (2, 20, 30)
    only_pred = read_scene(sample, (40, 60), gt=False)
    assert only_pred.annotated is None
    assert only_pred.generated is None
    assert len(only_pred.found) == 2
    assert read_scene(sample, (40, 60), pred=False).found is None
    assert read_scene(sample_of(), (40, 60)) == Scene()


def test_boxes_serve_where_there_are_no_polygons():
    instances = InstanceData(bboxes=torch.tensor([[1.0, 2.0, 5.0, 8.0]]))
    scene = read_scene(sample_of(gt_instances=instances), (40, 60))
    np.testing.assert_array_equal(scene.annotated, [box(1, 2, 5, 8)])
    assert scene.generated is None


DB_KINDS = ("probability", "threshold", "binary")


def test_db_maps_are_shown_beside_their_targets():
    # A word of 60 x 20 in an image of 80 x 100, seen by the network at twice the size, with maps
    # at half of that: at the image's own size.
    word = box(10, 20, 70, 40)
    maps = PixelData(data=torch.rand(3, 80, 100), metainfo=dict(kinds=DB_KINDS))
    sample = sample_of(
        (160, 200), gt_instances=annotation([(word, None), (word + 30, None)], [False, True]),
        pred_score_maps=maps,
    )  # fmt: skip
    scene = read_scene(sample, (80, 100))
    assert scene.kinds == DB_KINDS
    np.testing.assert_array_equal(scene.predicted, maps.data.numpy())
    targets = db_targets([word], [False], (80, 100))
    for map_, target in zip(scene.generated, (targets.kernel, targets.threshold, targets.kernel)):
        np.testing.assert_array_equal(map_, target[0].numpy())
    assert scene.generated[0].sum() > 100
    # Words lower than 8 pixels of the network's input have no targets: here 4 of the image.
    low = sample_of(
        (160, 200), gt_instances=annotation([(box(10, 20, 70, 23.9), None)]), pred_score_maps=maps
    )
    assert not read_scene(low, (80, 100)).generated[0].any()
    low.gt_instances = annotation([(box(10, 20, 70, 24.1), None)])
    assert read_scene(low, (80, 100)).generated[0].any()


def test_a_refined_link_is_shown_beside_centre_lines():
    line = box(10, 20, 70, 36)
    chars = np.stack([box(10, 20, 30, 36), box(50, 20, 70, 36)])
    maps = PixelData(data=torch.rand(3, 40, 50), metainfo=dict(kinds=REFINED_KINDS))
    sample = sample_of(
        (80, 100), gt_instances=annotation([(line, chars), (line + 30, chars)], [False, True]),
        pred_score_maps=maps,
    )  # fmt: skip
    scene = read_scene(sample, (80, 100))
    assert scene.kinds == REFINED_KINDS
    assert scene.predicted.shape == scene.generated.shape == (3, 40, 50)
    plain = sample_of((80, 100), gt_instances=sample.gt_instances, pred_score_maps=maps.clone())
    plain.pred_score_maps.data = maps.data[:2]
    plain.pred_score_maps.set_metainfo(dict(kinds=REFINED_KINDS[:2]))
    np.testing.assert_array_equal(scene.generated[:2], read_scene(plain, (80, 100)).generated)
    expected = draw_centre_lines([centre_line(line / 2)], (40, 50))[0].numpy()
    np.testing.assert_array_equal(scene.generated[2], expected)
    assert expected[14, 5:36].all()
    assert draw_scene(np.zeros((80, 100, 3), np.uint8), scene).shape[0] > 4 * 80


def test_only_the_db_maps_that_were_predicted_are_shown():
    maps = PixelData(data=torch.rand(1, 40, 60), metainfo=dict(kinds=("probability",)))
    sample = sample_of(gt_instances=annotation([PAIR]), pred_score_maps=maps)
    scene = read_scene(sample, (40, 60))
    assert scene.predicted.shape == scene.generated.shape == (1, 40, 60)
    drawn = draw_scene(np.zeros((400, 600, 3), np.uint8), scene, captions=False)
    assert drawn.shape == (400 * 2 + 4, 600 * 2 + 4, 3)
    # The left panel of the second row is the probability.
    expected = overlay_score(np.zeros((400, 600), np.uint8), scene.predicted[0])
    np.testing.assert_array_equal(drawn[404:, :600], expected)
    assert read_scene(sample, (40, 60), gt=False).generated is None
    assert read_scene(sample_of(pred_score_maps=maps), (40, 60)).generated is None


FULL = Scene(
    found=[box(4, 4, 20, 12)],
    annotated=[box(4, 4, 22, 12)],
    ignored=[],
    predicted=np.ones((2, 10, 15), np.float32),
    generated=np.zeros((2, 10, 15), np.float32),
)
WORDS = Scene(found=[], annotated=[box(4, 4, 22, 12)], ignored=[])
PREDICTED = Scene(found=[], predicted=np.full((2, 1, 1), np.nan, np.float32))


@pytest.mark.parametrize("scene", [FULL, WORDS, PREDICTED, Scene()])
@pytest.mark.parametrize(
    "shape", [(1, 1), (40, 60), (900, 1600), (2500, 900), (2, 4000), (3000, 1)]
)
def test_picture_is_never_larger_than_asked_for(shape, scene):
    image = np.full((*shape, 3), 90, np.uint8)
    picture = draw_scene(image, scene)
    assert picture.dtype == np.uint8
    assert min(picture.shape[:2]) >= 1
    assert max(picture.shape[:2]) <= 2000
    assert image.min() == image.max() == 90


def test_predicted_stands_left_of_generated():
    picture = draw_scene(np.full((400, 600, 3), 128, np.uint8), FULL, captions=False)
    # Two columns and three rows of 600x400 with gaps of 4.
    assert picture.shape == (3 * 400 + 8, 2 * 600 + 4, 3)
    for row in (1, 2):
        top = row * 404
        left = picture[top : top + 400, :600].mean((0, 1))
        right = picture[top : top + 400, 604:].mean((0, 1))
        # Half grey, half the colour of 1 (dark red) or of 0 (dark blue).
        np.testing.assert_allclose(left, [64, 64, 128], atol=1.5)
        np.testing.assert_allclose(right, [128, 64, 64], atol=1.5)


def test_upright_images_stand_in_columns():
    picture = draw_scene(np.zeros((600, 500, 3), np.uint8), FULL, captions=False)
    assert picture.shape == (2 * 600 + 4, 3 * 500 + 8, 3)


def test_what_is_missing_leaves_white():
    scene = Scene(found=[], annotated=[], predicted=FULL.predicted)
    picture = draw_scene(np.zeros((400, 600, 3), np.uint8), scene, captions=False)
    assert picture.shape == (3 * 400 + 8, 2 * 600 + 4, 3)
    assert picture[404:, 604:].min() == 255
    assert picture[404:804, :600].max() < 255


def test_a_single_column_lies_down():
    scene = Scene(found=[], predicted=FULL.predicted)
    picture = draw_scene(np.zeros((400, 500, 3), np.uint8), scene, captions=False)
    assert picture.shape == (400, 3 * 500 + 8, 3)


@pytest.fixture
def visualizer() -> ScoreMapVisualizer:
    return ScoreMapVisualizer("test")


def test_colours_of_words_are_those_of_mmocr(visualizer):
    image = np.zeros((500, 600, 3), np.uint8)
    sample = sample_of(
        (500, 600),
        gt_instances=annotation(
            [(box(100, 100, 300, 200), None), (box(100, 300, 300, 400), None)],
            [False, True],
            chars=False,
        ),
        pred_instances=prediction([box(50, 50, 150, 150)], [1.0]),
    )
    picture = visualizer.add_datasample("x", image, sample)
    strip = picture.shape[0] - 500
    assert picture.shape == (500 + strip, 2 * 600 + 4, 3)
    assert strip > 0
    left, right = picture[strip:, :600], picture[strip:, 604:]
    # RGB in, RGB out.
    for pixel, colour in (
        (left[50, 100], FOUND_COLOUR),
        (right[100, 200], ANNOTATED_COLOUR),
        (right[300, 200], IGNORED_COLOUR),
    ):
        # Smoothed lines are a little darker.
        np.testing.assert_allclose(pixel, colour[::-1], atol=30)
    assert left[200:].max() == 0
    assert image.max() == 0


def test_without_anything_to_draw_the_image_stays(visualizer):
    image = np.random.default_rng(0).integers(0, 256, (450, 500, 3), dtype=np.uint8)
    for sample in (None, sample_of()):
        np.testing.assert_array_equal(visualizer.add_datasample("x", image, sample), image)


def test_it_writes_what_it_returns(tmp_path):
    init_default_scope("mmocr")
    visualizer = VISUALIZERS.build(
        {
            "type": "ScoreMapVisualizer",
            "name": f"backend-{tmp_path}",
            "save_dir": str(tmp_path),
            "vis_backends": [{"type": "LocalVisBackend"}],
        }
    )
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = 200
    sample = sample_of(
        gt_instances=annotation([PAIR]), pred_score_maps=PixelData(data=torch.rand(2, 20, 30))
    )
    sample.pred_instances = prediction([], [])
    target = tmp_path / "deep" / "own.png"
    picture = visualizer.add_datasample("name", image, sample, out_file=str(target), step=7)
    assert max(picture.shape) <= 2000
    (stored,) = tmp_path.rglob("name_7.png")
    for path in (target, stored):
        np.testing.assert_array_equal(cv2.imread(str(path))[..., ::-1], picture)


def test_mmocrs_hook_drives_it(tmp_path):
    init_default_scope("mmocr")
    ScoreMapVisualizer.get_instance(
        f"hook-{tmp_path}",
        save_dir=str(tmp_path),
        vis_backends=[{"type": "LocalVisBackend"}],
    )
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((400, 600, 3), (200, 0, 0), np.uint8))
    sample = sample_of((400, 600), gt_instances=annotation([PAIR]))
    sample.pred_instances = prediction([PAIR[0]], [0.9])
    sample.pred_score_maps = PixelData(data=torch.ones(2, 200, 300))
    sample.set_metainfo({"img_path": str(photo)})
    hook = HOOKS.build(
        {"type": "VisualizationHook", "enable": True, "draw_gt": True, "draw_pred": True}
    )
    hook.after_test_iter(None, 3, [{}], [sample])
    (written,) = tmp_path.rglob("photo_3.png")
    picture = cv2.imread(str(written))
    strip = (picture.shape[0] - 3 * 400 - 8) // 3
    assert picture.shape == (3 * (400 + strip) + 8, 2 * 600 + 4, 3)
    # Blue in the file is blue in the picture: channels were not swapped on the way.
    np.testing.assert_array_equal(picture[strip + 390, 590], (200, 0, 0))
