"""The loss against a plain NumPy reading of it, and on every kind of extreme batch."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from mmocr.structures import TextDetDataSample

from mmtextplug.craft.loss import CRAFTModuleLoss, score_map_loss, word_labels


def literal_loss(prediction, target, confidence, ratio, floor, threshold):
    """Image by image, with a sort; sums in float64."""
    losses, positives, negatives = [], 0, 0
    for p, t, c in zip(prediction, target, confidence, strict=False):
        error = c.astype(np.float64) * (p.astype(np.float64) - t) ** 2
        is_positive = (t > threshold) & (c > 0)
        positive = error[is_positive]
        others = np.sort(error[~is_positive & (c > 0)])[::-1]
        quota = max(int(np.floor(ratio * len(positive) + 1e-6)), floor)
        hardest = others[:quota]
        losses.append(
            (positive.mean() if len(positive) else 0.0) + (hardest.mean() if len(hardest) else 0.0)
        )
        positives += len(positive)
        negatives += len(hardest)
    return np.mean(losses), positives, negatives


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    ratio=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    floor=st.sampled_from([0, 1, 5, 1000]),
    text=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equals_the_plain_reading(seed, shape, ratio, floor, text, ignored):
    rng = np.random.default_rng(seed)
    prediction = rng.normal(0.3, 0.5, shape).astype(np.float32)
    target = np.where(rng.random(shape) < text, rng.random(shape), 0).astype(np.float32)
    confidence = rng.choice([1.0, 0.5], shape) * (rng.random(shape) >= ignored)
    confidence = confidence.astype(np.float32)
    found = score_map_loss(
        *(torch.from_numpy(a) for a in (prediction, target, confidence)),
        negative_ratio=ratio,
        min_negatives=floor,
    )
    loss, positives, negatives = literal_loss(prediction, target, confidence, ratio, floor, 0.1)
    assert found.loss.item() == pytest.approx(loss, rel=1e-5, abs=1e-7)
    assert found.positives.item() == positives
    assert found.negatives.item() == negatives


def test_by_hand():
    # One positive off by 0.5; negatives predicted 0.4 0.3 0.2 0.1; the fifth is ignored.
    target = torch.tensor([[[1.0, 0, 0, 0, 0, 0]]])
    prediction = torch.tensor([[[0.5, 0.4, 0.3, 0.2, 0.1, 9.0]]])
    confidence = torch.tensor([[[1.0, 1, 1, 1, 1, 0]]])
    found = score_map_loss(prediction, target, confidence, min_negatives=0)
    assert found.loss.item() == pytest.approx(0.25 + (0.16 + 0.09 + 0.04) / 3)
    assert (found.positives.item(), found.negatives.item()) == (1, 3)
    # A doubtful word counts half, and competes for the quota with what is left of its error.
    confidence = torch.tensor([[[0.5, 0.1, 1, 1, 1, 0]]])
    found = score_map_loss(prediction, target, confidence, min_negatives=0)
    assert found.loss.item() == pytest.approx(0.125 + (0.09 + 0.04 + 0.016) / 3)


def test_targets_right_at_the_threshold_are_negatives():
    target = torch.tensor([[[0.1, 0.11, 0.25]]])
    found = score_map_loss(torch.zeros_like(target), target, torch.ones_like(target))
    assert (found.positives.item(), found.negatives.item()) == (2, 1)


def test_gradient_reaches_the_selected_pixels_only_and_has_the_right_size():
    target = torch.tensor([[[1.0, 0, 0, 0, 0, 0]]])
    prediction = torch.tensor([[[0.5, 0.4, 0.3, 0.2, 0.1, 9.0]]], requires_grad=True)
    confidence = torch.tensor([[[1.0, 1, 1, 1, 1, 0]]])
    score_map_loss(prediction, target, confidence, min_negatives=0).loss.backward()
    expected = torch.tensor([[[-1.0, 0.8 / 3, 0.6 / 3, 0.4 / 3, 0.0, 0.0]]])
    torch.testing.assert_close(prediction.grad, expected)


def test_each_image_has_a_quota_of_its_own():
    target = torch.zeros(2, 1, 10)
    target[0, 0, :2] = 1
    prediction = torch.full((2, 1, 10), 0.1)
    prediction[1] = 0.9  # by far the harder, but it has no text
    found = score_map_loss(prediction, target, torch.ones_like(target), min_negatives=1)
    assert found.negatives.item() == 6 + 1
    assert found.loss.item() == pytest.approx(((0.81 + 0.01) + 0.81) / 2)


# --- extreme batches ---------------------------------------------------------------------------


def extreme(kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Target and confidence."""
    shape = {"single pixel": (1, 1, 1), "batch of one": (1, 6, 8)}.get(kind, (2, 6, 8))
    target, confidence = torch.zeros(shape), torch.ones(shape)
    if kind in ("all text", "single pixel"):
        target = torch.ones(shape)
    elif kind == "all ignored":
        confidence = torch.zeros(shape)
        target = torch.rand(shape)
    elif kind in ("batch of one", "mixed"):
        target[0, 2:4, 2:5] = 0.8
        confidence[-1, 4:] = 0
    elif kind == "text only where ignored":
        target[:, :2] = 1
        confidence[:, :2] = 0
    return target, confidence


KINDS = [
    "all background", "all ignored", "all text", "single pixel", "batch of one", "mixed",
    "text only where ignored",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("floor", [0, 1000])
def test_extremes_give_a_finite_loss_and_gradient(kind, dtype, floor):
    target, confidence = extreme(kind)
    prediction = (torch.rand(target.shape) - 0.2).to(dtype).requires_grad_()
    found = score_map_loss(prediction, target, confidence, min_negatives=floor)
    assert found.loss.dtype == torch.float32
    found.loss.backward()
    assert torch.isfinite(found.loss)
    assert torch.isfinite(prediction.grad).all()
    assert (prediction.grad[(confidence == 0).nonzero(as_tuple=True)] == 0).all()
    if kind == "all ignored":
        assert found.loss.item() == 0
        assert (found.positives.item(), found.negatives.item()) == (0, 0)
    expected = literal_loss(
        prediction.detach().float().numpy(), target.numpy(), confidence.numpy(), 3.0, floor, 0.1
    )
    assert found.loss.item() == pytest.approx(expected[0], rel=1e-4, abs=1e-7)


# --- the module --------------------------------------------------------------------------------


def box(left, top, right, bottom) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def data_sample(chars, *, shape=(48, 64), confidence=None, padded=None, valid=None):
    """A word for each entry of `chars`; its polygon is their bounding box."""
    instances = InstanceData()
    instances.polygons = [
        np.array([10, 10, 30, 10, 30, 20, 10, 20], np.float32)
        if c is None
        else box(*c.min((0, 1)), *c.max((0, 1))).reshape(-1)
        for c in chars
    ]
    instances.chars = list(chars)
    instances.char_confidence = np.array(
        [float(c is not None) for c in chars] if confidence is None else confidence, np.float32
    )
    meta = {"img_shape": shape, "img_path": "image.png"}
    if padded is not None:
        meta["batch_input_shape"] = padded
    if valid is not None:
        meta["valid_polygon"] = valid
    result = TextDetDataSample(metainfo=meta)
    result.gt_instances = instances
    return result


def word(*lefts, top=10, size=9) -> np.ndarray:
    return np.stack([box(x, top, x + size, top + size) for x in lefts])


def test_the_module_adds_up_what_its_parts_give():
    module = MODELS.build({"type": "CRAFTModuleLoss", "negative_ratio": 2.0, "min_negatives": 7})
    samples = [data_sample([word(6, 16, 26)]), data_sample([word(30), None])]
    prediction = torch.rand(2, 2, 24, 32)
    losses = module(prediction, samples)
    assert set(losses) == {"loss_region", "loss_affinity", "skipped_chars"}
    maps = module.get_targets(samples, (24, 32))
    for channel, name in enumerate(("region", "affinity")):
        expected = literal_loss(
            prediction[:, channel].numpy(),
            getattr(maps, name).numpy(),
            maps.confidence.numpy(),
            2.0,
            7,
            0.1,
        )
        assert losses[f"loss_{name}"].item() == pytest.approx(expected[0], rel=1e-5)
    assert maps.affinity[1].abs().sum() == 0  # one character, and a word without any
    assert (maps.confidence[1] == 0).sum() > 0


def test_a_perfect_prediction_has_no_loss():
    samples = [data_sample([word(6, 16, 26)]), data_sample([])]
    module = CRAFTModuleLoss()
    maps = module.get_targets(samples, (24, 32))
    losses = module(torch.stack([maps.region, maps.affinity], 1), samples)
    assert losses["loss_region"] == losses["loss_affinity"] == 0


def test_characters_lie_where_the_official_code_looks_for_them():
    # A score at (x, y) stands for the pixel (2x, 2y) of the image.
    maps = CRAFTModuleLoss().get_targets([data_sample([word(6, size=8)])], (24, 32))
    assert divmod(int(maps.region.argmax()), 32) == (7, 5)
    assert maps.region[0, 7, 5] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_under_autocast_everything_is_float32(dtype):
    samples = [data_sample([word(6, 16, 26)]), data_sample([])]
    prediction = torch.rand(2, 2, 24, 32).to(dtype).requires_grad_()
    module = CRAFTModuleLoss()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old releases have no float16 on the CPU and say so
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = module(prediction, samples)
    assert all(value.dtype == torch.float32 for value in losses.values())
    expected = module(prediction.detach().float(), samples)
    for name, value in losses.items():
        assert value.item() == expected[name].item()
    (losses["loss_region"] + losses["loss_affinity"]).backward()
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad.abs().sum() > 0


def test_small_errors_of_half_precision_do_not_vanish():
    # 1e-4 squared is less than the smallest float16.
    samples = [data_sample([])]
    prediction = torch.full((1, 2, 24, 32), 1e-4, dtype=torch.float16, requires_grad=True)
    loss = CRAFTModuleLoss()(prediction, samples)["loss_region"]
    assert loss.item() == pytest.approx(1e-8, rel=0.01)


@pytest.mark.parametrize(
    "samples",
    [
        [data_sample([])],
        [data_sample([None])],
        [data_sample([word(6, 16)], confidence=[0.0])],
        [data_sample([np.full((3, 4, 2), np.nan, np.float32)], confidence=[1.0])],
        [data_sample([word(6, 16)[:, ::-1]], confidence=[1.0])],
        [data_sample([box(-500, -500, 500, 500)[None]])],
        [data_sample([word(6)], valid=np.zeros((4, 2), np.float32))],
    ],
)
def test_extreme_samples_give_a_finite_loss_and_gradient(samples):
    prediction = torch.rand(1, 2, 24, 32, requires_grad=True)
    losses = CRAFTModuleLoss()(prediction, samples)
    (losses["loss_region"] + losses["loss_affinity"]).backward()
    assert torch.isfinite(losses["loss_region"])
    assert torch.isfinite(losses["loss_affinity"])
    assert torch.isfinite(prediction.grad).all()


def test_quads_not_drawn_are_counted_for_the_log():
    chars = word(6, 16, 26)
    chars[1] = chars[1, ::-1]
    losses = CRAFTModuleLoss()(torch.rand(2, 2, 24, 32), [data_sample([chars])] * 2)
    assert losses["skipped_chars"].item() == 2


def test_the_ground_truth_is_untouched():
    samples = [data_sample([word(6, 16, 26), None], valid=box(0, 0, 60, 40))]
    before = copy.deepcopy(samples)
    CRAFTModuleLoss()(torch.rand(1, 2, 24, 32, requires_grad=True), samples)
    for mine, theirs in zip(before, samples, strict=False):
        assert mine.metainfo.keys() == theirs.metainfo.keys()
        np.testing.assert_array_equal(mine.valid_polygon, theirs.valid_polygon)
        assert set(mine.gt_instances.keys()) == set(theirs.gt_instances.keys())
        for name in ("polygons", "chars"):
            for a, b in zip(mine.gt_instances[name], theirs.gt_instances[name], strict=False):
                np.testing.assert_array_equal(a, b)
                assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
        np.testing.assert_array_equal(
            mine.gt_instances.char_confidence, theirs.gt_instances.char_confidence
        )


def test_images_of_different_sizes_are_trained_within_their_own():
    samples = [
        data_sample([word(6, 16)], shape=(48, 64), padded=(64, 96)),
        data_sample([word(6, 16)], shape=(64, 96), padded=(64, 96)),
        data_sample([word(6, 16)], shape=(63, 95), padded=(64, 96)),
    ]
    maps = CRAFTModuleLoss().get_targets(samples, (32, 48))
    trained = maps.confidence.numpy()
    assert (trained[0, :24, :32] == 1).all()
    assert trained[0].sum() == 24 * 32
    assert trained[1].sum() == 32 * 48
    # The last row and column of the map stand for pixels 62 and 94.
    assert trained[2].sum() == 32 * 48
    assert torch.equal(maps.region[0], maps.region[1])


def test_maps_drawn_in_the_workers_are_used_as_they_are():
    sizes = ((24, 32), (32, 48))
    samples = []
    for height, width in sizes:
        sample = data_sample([], shape=(2 * height, 2 * width), padded=(64, 96))
        sample.gt_score_maps = PixelData(data=torch.rand(3, height, width))
        samples.append(sample)
    stored = [sample.gt_score_maps.data.clone() for sample in samples]
    module = CRAFTModuleLoss()
    maps = module.get_targets(samples, (32, 48))
    for index, (height, width) in enumerate(sizes):
        for channel, name in enumerate(("region", "affinity", "confidence")):
            found = getattr(maps, name)[index]
            assert torch.equal(found[:height, :width], stored[index][channel])
            assert found.sum() == pytest.approx(stored[index][channel].sum().item(), rel=1e-5)
        assert torch.equal(samples[index].gt_score_maps.data, stored[index])
    losses = module(torch.rand(2, 2, 32, 48), samples)
    assert losses["skipped_chars"].item() == 0
    assert losses["loss_region"].item() > 0


def test_a_sample_without_characters_says_what_to_do():
    sample = data_sample([])
    del sample.gt_instances.chars
    with pytest.raises(KeyError, match=r"image\.png.*LoadCharAnnotations.*PseudoCharLabelHook"):
        CRAFTModuleLoss()(torch.rand(1, 2, 24, 32), [sample])


def test_word_labels_scale_to_any_map_size():
    sample = data_sample([word(8, 16)], shape=(40, 60), padded=(64, 96))
    found = word_labels(sample, (16, 48))
    np.testing.assert_allclose(found.chars[0], word(8, 16) * [0.5, 0.25])
    np.testing.assert_allclose(found.valid, (box(0, 0, 60, 40) - 0.5) * [0.5, 0.25])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("confidence", [0.0, 1.0])
def test_a_prediction_that_is_not_finite_never_hides(value, confidence):
    """Mining passes over such scores, and yet their gradient would reach the weights."""
    prediction = torch.zeros(1, 8, 8)
    prediction[0, 2, 3] = value
    target = torch.zeros(1, 8, 8)
    target[0, 5, 5] = 1.0
    sure = torch.ones(1, 8, 8)
    sure[0, 2, 3] = confidence
    assert not torch.isfinite(score_map_loss(prediction, target, sure).loss)
