from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmocr.structures import TextDetDataSample


def sample(img_shape: tuple[int, int], padded: tuple[int, int], scale: float) -> TextDetDataSample:
    data_sample = TextDetDataSample()
    data_sample.set_metainfo(
        dict(img_shape=img_shape, batch_input_shape=padded, scale_factor=(scale, scale))
    )
    return data_sample


def maps(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """Region map with bright boxes (left, top, right, bottom exclusive), no affinity."""
    scores = torch.zeros(2, *size)
    for left, top, right, bottom in boxes:
        scores[0, top:bottom, left:right] = 0.9
    return scores


def build(**kwargs) -> object:
    return MODELS.build(dict(type="CRAFTPostprocessor", **kwargs))


def test_words_come_back_in_pixels_of_the_photo() -> None:
    # 64x96 network input at stride 2 is a 32x48 map; the photo was enlarged twofold.
    score = maps((32, 48), (10, 8, 30, 16))
    (result,) = build()(score[None], [sample((64, 96), (64, 96), scale=2.0)])
    # Map coordinates times stride 2, divided by the enlargement of 2: those of the map itself.
    corners = result.pred_instances.polygons[0].reshape(4, 2)
    # 20x8 pixels dilate by int(2 * sqrt(area * min / (w * h))) = 5 in all, which a rectangle of
    # 6x6 spreads to 3 on one side and 2 on the other.
    assert corners.min(0) == pytest.approx([7.5, 5.5], abs=0.5)
    assert corners.max(0) == pytest.approx([31.5, 17.5], abs=0.5)
    assert result.pred_instances.scores.tolist() == pytest.approx([0.9])


def test_padding_is_never_text() -> None:
    # A bright block across the border of the image and one wholly beyond it.
    score = maps((32, 48), (10, 8, 40, 16), (36, 22, 46, 30))
    (result,) = build()(score[None], [sample((64, 40), (64, 96), scale=1.0)])
    assert len(result.pred_instances.polygons) == 1
    assert result.pred_instances.polygons[0].reshape(4, 2)[:, 0].max() <= 40


@pytest.mark.parametrize("kind", ["quad", "poly"])
def test_nothing_found(kind: str) -> None:
    (result,) = build(text_repr_type=kind)(
        torch.zeros(1, 2, 16, 16), [sample((32, 32), (32, 32), 1.0)]
    )
    assert result.pred_instances.polygons == []
    assert result.pred_instances.scores.shape == (0,)


def test_thresholds_reach_the_grouping() -> None:
    score = maps((32, 48), (10, 8, 30, 16))
    strict = build(text_threshold=0.95)
    (result,) = strict(score[None], [sample((64, 96), (64, 96), 1.0)])
    assert len(result.pred_instances) == 0


def test_score_maps_are_kept_when_asked_for() -> None:
    score = maps((32, 48), (10, 8, 30, 16)).to(torch.float16)
    (result,) = build(keep_score_maps=True)(score[None], [sample((64, 80), (64, 96), 1.0)])
    kept = result.pred_score_maps.data
    assert kept.dtype == torch.float32
    assert np.array_equal(kept.numpy(), score[:, :, :40].float().numpy())
    (plain,) = build()(score[None], [sample((64, 80), (64, 96), 1.0)])
    assert "pred_score_maps" not in plain
