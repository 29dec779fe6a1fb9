from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmengine.registry import METRICS, MODELS
from mmengine.structures import InstanceData
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


# --- characters ----------------------------------------------------------------------------------


def letters(size: tuple[int, int], *words: tuple[float, float, int]) -> torch.Tensor:
    """Maps of words (x, y of the first character's centre, characters), 8 pixels a character."""
    y, x = np.mgrid[: size[0], : size[1]]

    def hills(centres):
        every = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 2 / 2.4**2) for a, b in centres]
        return np.max([np.zeros(size), *every], axis=0)

    region = hills([(a + 8 * i, b) for a, b, n in words for i in range(n)])
    affinity = hills([(a + 8 * i + 4, b) for a, b, n in words for i in range(n - 1)])
    return torch.from_numpy(np.stack([region, affinity]).astype(np.float32))


def check_chars(instances: InstanceData, counts: list[int], dtype=torch.int64) -> None:
    assert instances.char_counts.dtype == dtype
    assert instances.char_counts.tolist() == counts
    assert [quads.shape for quads in instances.chars] == [(n, 4, 2) for n in counts]
    assert all(quads.dtype == np.float32 for quads in instances.chars)


@pytest.mark.parametrize("kind", ["quad", "poly"])
def test_characters_come_back_in_pixels_of_the_photo(kind):
    score = letters((40, 64), (12, 10, 5), (20, 28, 3))
    data = sample((80, 128), (80, 128), 1.0)
    data.set_metainfo(dict(scale_factor=(2.0, 0.5)))
    (result,) = build(find_chars=True, text_repr_type=kind)(score[None], [data.clone()])
    check_chars(result.pred_instances, [5, 3])
    for quads, (x, y, n) in zip(result.pred_instances.chars, [(12, 10, 5), (20, 28, 3)]):
        # Twice as large as the map, then the scale factors taken back.
        expected = np.stack([x + 8.0 * np.arange(n), np.full(n, 4.0 * y)], axis=1)
        assert (np.abs(quads.mean(1) - expected) < (1.2, 4.0)).all()
    (raw,) = build(find_chars=True, text_repr_type=kind, rescale_fields=[])(
        score[None], [data.clone()]
    )
    np.testing.assert_allclose(
        raw.pred_instances.chars[0] / (2, 0.5), result.pred_instances.chars[0], rtol=1e-5
    )
    assert "chars" not in build()(score[None], [data])[0].pred_instances


def test_batches_of_pages_with_and_without_words_survive_all_that_is_done_to_samples(tmp_path):
    size = (40, 64)
    scores = torch.stack([letters(size, (12, 10, 5), (20, 28, 1)), torch.zeros(2, *size)])
    data = [sample((80, 128), (80, 128), 1.0) for _ in range(2)]
    full, empty = build(find_chars=True)(scores, data)
    for changed in (
        full,
        full.cpu(),
        full.numpy(),
        full.to("cpu"),
        pickle.loads(pickle.dumps(full)),
        full.clone(),
        full.new(),
    ):
        words = changed.pred_instances
        assert [len(quads) for quads in words.chars] == [5, 1]
        assert [int(n) for n in words.char_counts] == [5, 1]
    words = full.pred_instances
    words.scores[1] = 0.3
    check_chars(words[words.scores > 0.5], [5])
    check_chars(words[words.scores < 0.5], [1])
    check_chars(words[torch.tensor([1, 0])], [1, 5])
    check_chars(words[1:], [1])
    check_chars(words[words.scores > 2], [])
    check_chars(empty.pred_instances, [])
    check_chars(empty.pred_instances[empty.pred_instances.scores > 0.5], [])
    assert empty.to_dict()["pred_instances"]["chars"] == []

    for result in (full, empty):
        result.gt_instances = InstanceData(
            polygons=[words.polygons[0]], ignored=torch.zeros(1, dtype=torch.bool)
        )
    dumped = [result.to_dict() for result in (full, empty)]
    metric = METRICS.build(dict(type="mmocr.HmeanIOUMetric"))
    metric.process(None, dumped)
    # At the threshold of 0.3 the one word of the first page is found, that of the second is not.
    assert metric.evaluate(size=2)["icdar/recall"] == 0.5
    dump = METRICS.build(dict(type="DumpResults", out_file_path=str(tmp_path / "found.pkl")))
    dump.process(None, dumped)
    dump.evaluate(size=2)
    with open(tmp_path / "found.pkl", "rb") as file:
        first, second = pickle.load(file)
    assert [len(quads) for quads in first["pred_instances"]["chars"]] == [5, 1]
    assert second["pred_instances"]["char_counts"].tolist() == []


def test_a_weak_character_alone():
    score = letters((40, 64), (12, 10, 5), (20, 28, 1))
    score[:, 20:] *= 0.6
    data = [sample((80, 128), (80, 128), 1.0)]
    (result,) = build(find_chars=True)(score[None], data)
    check_chars(result.pred_instances, [5])
    (result,) = build(find_chars=True, isolated_threshold=0.55)(score[None], data)
    check_chars(result.pred_instances, [5, 1])
    assert result.pred_instances.scores.tolist() == pytest.approx([1.0, 0.6], abs=1e-3)
    with pytest.raises(ValueError, match=r"isolated_threshold=0\.9 must be .* text_threshold=0\.8"):
        build(isolated_threshold=0.9, text_threshold=0.8)


def test_the_shift_of_the_scores_reaches_the_characters():
    score = letters((40, 64), (12, 10, 5))
    found = [
        build(find_chars=True, char_shift=shift)(score[None], [sample((80, 128), (80, 128), 1.0)])
        for shift in (0, 0.125)
    ]
    plain, moved = (result.pred_instances.chars[0] for (result,) in found)
    # Characters are 16 pixels wide.
    np.testing.assert_allclose((plain - moved)[1:4, :, 0], 2, atol=0.3)
    with pytest.raises(ValueError, match=r"char_shift=0\.5 must be"):
        build(char_shift=0.5)


# --- a link refiner ------------------------------------------------------------------------------


def test_the_refined_link_takes_the_affinitys_place():
    score = letters((40, 64), (12, 10, 5))
    refined = torch.cat([score, torch.zeros(1, 40, 64)])
    data = [sample((80, 120), (80, 128), 1.0)]
    strict = dict(low_text=0.6, find_chars=True)  # nothing but links joins the characters
    (plain,) = build(**strict)(score[None], data)
    check_chars(plain.pred_instances, [5])
    (apart,) = build(**strict, keep_score_maps=True)(refined[None], data)
    check_chars(apart.pred_instances, [1] * 5)
    kept = apart.pred_score_maps
    assert kept.kinds == ("region", "affinity", "refined link")
    assert np.array_equal(kept.data.numpy(), refined[:, :, :60].numpy())
    refined[1:] = refined[1:].flip(0)  # no affinity, the same as a refined link
    (joined,) = build(**strict)(refined[None], data)
    check_chars(joined.pred_instances, [5])
    np.testing.assert_array_equal(
        joined.pred_instances.polygons[0], plain.pred_instances.polygons[0]
    )


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 8, 8), (8, 8), (2, 1, 8, 8)])
def test_other_numbers_of_maps_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(3, h, w\) with a refined link score, got \("):
        build()(torch.zeros(1, *shape), [sample((16, 16), (16, 16), 1.0)])
