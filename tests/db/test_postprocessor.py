"""The adapter: pixels of the photo, padding, maps of thresholds; words beside MMOCR's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
import torch
from mmengine.registry import MODELS
from mmocr.models.textdet.postprocessors import DBPostprocessor
from mmocr.structures import TextDetDataSample


def sample(
    img_shape: tuple[int, int], padded: tuple[int, int] | None = None, scale: float = 1.0
) -> TextDetDataSample:
    data_sample = TextDetDataSample()
    data_sample.set_metainfo(
        dict(
            img_shape=img_shape,
            batch_input_shape=padded or img_shape,
            scale_factor=(scale, scale),
        )
    )
    return data_sample


def build(**kwargs) -> object:
    return MODELS.build(dict(type="DifferentiableBinarizationPostprocessor", **kwargs))


def maps(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Probability map with bright boxes (left, top, right, bottom exclusive)."""
    prob = torch.zeros(size)
    for left, top, right, bottom in boxes:
        prob[top:bottom, left:right] = 0.8
    return prob


def extent(polygon: np.ndarray) -> list[float]:
    points = polygon.reshape(-1, 2)
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def draw_words(seed: int, curved: bool) -> np.ndarray:
    """A (600, 800) map of rotated boxes or curved bands that do not touch, with soft borders."""
    rng = np.random.default_rng(seed)
    prob = np.zeros((600, 800), np.float32)
    for x, y in [(200, 150), (600, 150), (200, 450), (600, 450)]:
        value = float(rng.uniform(0.5, 1))
        if curved:
            radius, thick = rng.uniform(110, 160), rng.uniform(28, 45)
            turn = rng.uniform(-0.4, 0.4) + np.pi * rng.integers(2)
            angles = turn + np.linspace(0.6, np.pi - 0.6, 30)
            arc = np.stack([np.cos(angles), np.sin(angles)], 1)
            ring = np.concatenate([arc * radius, arc[::-1] * (radius - thick)])
            ring += (x, y) - ring.mean(axis=0)
        else:
            size = float(rng.uniform(150, 220)), float(rng.uniform(35, 55))
            ring = cv2.boxPoints(((x, y), size, float(rng.uniform(-60, 60))))
        cv2.fillPoly(prob, [ring.round().astype(np.int32)], value)
    prob = cv2.GaussianBlur(prob, (0, 0), 1.5)
    return np.clip(prob + rng.normal(0, 0.02, prob.shape), 0, 1).astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("kind", ["quad", "poly"])
def test_words_are_those_of_mmocr(kind, curved, seed):
    prob = torch.from_numpy(draw_words(seed, curved))[None]
    upstream = DBPostprocessor(text_repr_type=kind)
    (theirs,) = upstream(prob, [sample((600, 800), scale=1.25)])
    (ours,) = build(text_repr_type=kind)(prob, [sample((600, 800), scale=1.25)])
    theirs, ours = theirs.pred_instances, ours.pred_instances
    assert len(theirs.polygons) == len(ours.polygons) == 4
    assert all(polygon.dtype == np.float64 for polygon in ours.polygons)  # as MMOCR rescales
    found = [shapely.Polygon(p.reshape(-1, 2)) for p in ours.polygons]
    matched = []
    for polygon, score in zip(theirs.polygons, theirs.scores.tolist()):
        other = shapely.Polygon(polygon.reshape(-1, 2))
        overlap = shapely.area(shapely.intersection(other, found))
        overlap /= shapely.area(shapely.union(other, found))
        matched.append(int(overlap.argmax()))
        assert overlap.max() >= 0.97
        assert ours.scores[matched[-1]].item() == pytest.approx(score, abs=1e-7)
    assert sorted(matched) == [0, 1, 2, 3]
    assert ours.scores.tolist() == sorted(ours.scores.tolist(), reverse=True)


@pytest.mark.parametrize("kind", ["quad", "poly"])
def test_words_come_back_in_pixels_of_the_photo(kind):
    # A 160x320 input at stride 4; the photo was enlarged twofold. 21x6 pixels of the map: 20 x 5,
    # D' = 1.5 * 100 / 50 = 3, so 26 x 11 from (7, 17); times 4, divided by 2.
    prob = maps((40, 80), (10, 20, 31, 26))
    (result,) = build(text_repr_type=kind)(prob[None], [sample((160, 320), scale=2.0)])
    (polygon,) = result.pred_instances.polygons
    assert extent(polygon) == pytest.approx([14, 34, 66, 56], abs=1e-4)
    assert result.pred_instances.scores.dtype == torch.float32
    assert result.pred_instances.scores.tolist() == pytest.approx([0.8])
    plain = build(text_repr_type=kind, rescale_fields=())
    (result,) = plain(prob[None], [sample((160, 320), scale=2.0)])
    (polygon,) = result.pred_instances.polygons
    assert polygon.dtype == np.float32
    assert polygon.ndim == 1
    assert extent(polygon) == pytest.approx([28, 68, 132, 112], abs=1e-4)


def test_least_width_is_in_pixels_of_the_input():
    prob = maps((40, 80), (10, 20, 31, 26))[None]  # 11 map pixels, 44 of the input
    for width, count in {43.9: 1, 44.1: 0}.items():
        (result,) = build(min_text_width=width)(prob, [sample((160, 320))])
        assert len(result.pred_instances) == count


def test_padding_is_never_text():
    # A bright block across the border of the image and one wholly beyond it.
    prob = maps((40, 80), (10, 10, 60, 20), (60, 25, 76, 35))
    (result,) = build(text_repr_type="quad")(prob[None], [sample((80, 100), (80, 160))])
    (polygon,) = result.pred_instances.polygons
    # Cut to 50 columns: 40 x 10 pixels, 39 x 9, D' = 1.5 * 351 / 96.
    distance = 1.5 * 351 / 96
    expected = [10 - distance, 10 - distance, 49 + distance, 19 + distance]
    assert extent(polygon) == pytest.approx([2 * v for v in expected], abs=1e-4)


def test_a_batch_with_and_without_words():
    prob = torch.stack([maps((30, 60), (10, 10, 31, 16)), torch.zeros(30, 60)])
    results = build()(prob, [sample((30, 60)), sample((30, 60))])
    assert [len(r.pred_instances.polygons) for r in results] == [1, 0]
    assert results[1].pred_instances.polygons == []
    assert results[1].pred_instances.scores.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", ["quad", "poly"])
def test_other_float_types(dtype, kind):
    prob = maps((30, 60), (10, 10, 31, 16))[None]
    post = build(text_repr_type=kind)
    (expected,), (found,) = post(prob, [sample((30, 60))]), post(prob.to(dtype), [sample((30, 60))])
    assert np.array_equal(expected.pred_instances.polygons, found.pred_instances.polygons)
    assert found.pred_instances.scores.tolist() == pytest.approx([0.8], abs=2e-3)


def test_only_what_is_needed_leaves_the_device(monkeypatch):
    moved = []
    real = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda t: moved.append(tuple(t.shape)) or real(t))
    pair = torch.stack([maps((30, 60), (10, 10, 31, 16)), torch.full((30, 60), 0.3)])[None]
    for arguments, shape in [
        ({}, (25, 60)),
        (dict(binarize="binary"), (2, 25, 60)),
        (dict(keep_score_maps=True), (2, 25, 60)),
    ]:
        moved.clear()
        build(**arguments)(pair, [sample((25, 60), (30, 60))])
        on_device = [s for s in moved if s == shape]
        assert on_device
        # What follows on the host are views of the same map.
        assert {s[-2:] for s in moved} == {(25, 60)}
        assert len(moved[0]) == len(shape)


def test_binary_equals_prob_where_the_threshold_is_the_same():
    prob = torch.from_numpy(draw_words(0, True))
    pair = torch.stack([prob, torch.full_like(prob, 0.3)])[None]
    post, binary = build(), build(binarize="binary")
    results = [
        post(prob[None], [sample((600, 800))]),
        post(pair, [sample((600, 800))]),
        binary(pair, [sample((600, 800))]),
    ]
    first, *others = (result[0].pred_instances for result in results)
    assert len(first) == 4
    for other in others:
        assert other.scores.tolist() == first.scores.tolist()
        for a, b in zip(first.polygons, other.polygons):
            assert np.array_equal(a, b)
    # A threshold out of reach but for one word.
    pair[0, 1] = 1
    pair[0, 1, :300, :400] = 0.2
    (result,) = binary(pair, [sample((600, 800))])
    assert len(result.pred_instances) == 1
    assert extent(result.pred_instances.polygons[0])[2] < 400


def test_score_maps_are_kept_when_asked_for():
    prob = maps((32, 48), (10, 8, 31, 14)).half()
    threshold = torch.rand(32, 48).half()
    data = sample((64, 80), (64, 96))
    post = build(keep_score_maps=True)
    (result,) = post(prob[None], [data])
    kept = result.pred_score_maps
    assert kept.kinds == ("probability",)
    assert kept.data.dtype == torch.float32
    assert torch.equal(kept.data, prob[None, :, :40].float())
    (result,) = post(torch.stack([prob, threshold])[None], [data])
    kept = result.pred_score_maps
    assert kept.kinds == ("probability", "threshold", "binary")
    p, t = prob[:, :40].double(), threshold[:, :40].double()
    binary = 1 / (1 + torch.exp(-50 * (p - t)))
    assert kept.data.double().numpy() == pytest.approx(
        torch.stack([p, t, binary]).numpy(), abs=1e-5
    )
    (plain,) = build()(prob[None], [sample((64, 80), (64, 96))])
    assert "pred_score_maps" not in plain


def test_arguments_reach_the_words():
    prob = maps((60, 90), (10, 10, 31, 16), (50, 10, 71, 16), (10, 40, 31, 46))
    prob[:, 45:] *= 0.5  # the second: 0.4
    one = sample((60, 90))
    assert len(build()(prob[None], [one])[0].pred_instances) == 3
    for arguments, count in [
        (dict(mask_thr=0.5), 2),
        (dict(min_text_score=0.5), 2),
        (dict(max_candidates=1), 1),
        (dict(min_text_width=12), 0),
        (dict(min_text_width=12, unclip_ratio=2), 3),
        (dict(epsilon_ratio=1), 0),
    ]:
        (result,) = build(**arguments)(prob[None], [one])
        assert len(result.pred_instances) == count, arguments


def test_bad_input():
    with pytest.raises(ValueError, match="binarize must be 'prob' or 'binary', got 'b'"):
        build(binarize="b")
    with pytest.raises(ValueError, match="unclip_ratio must be a finite number"):
        build(unclip_ratio=-1)
    for value in (float("nan"), "0.3", None):
        with pytest.raises(ValueError, match="mask_thr must be a finite number"):
            build(mask_thr=value)
    with pytest.raises(ValueError, match="DifferentiableBinarizationHead for det_head"):
        build(binarize="binary")(torch.zeros(1, 9, 9), [sample((9, 9))])
    for shape in [(9,), (1, 9, 9), (3, 9, 9), (1, 2, 9, 9)]:
        with pytest.raises(ValueError, match=r"must be \(h, w\) probabilities, or \(2, h, w\)"):
            build()(torch.zeros(1, *shape), [sample((9, 9))])
