"""The link refiner's loss, on samples as the pipeline packs them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

from mmtextplug.craft import link_loss
from mmtextplug.craft.link_loss import LinkRefinerModuleLoss
from mmtextplug.craft.link_targets import draw_link_maps
from mmtextplug.craft.loss import CRAFTModuleLoss
from mmtextplug.craft.targets import WordLabels

LINE = [8, 10, 88, 10, 88, 26, 8, 26]
CROSSED = [8, 40, 88, 56, 88, 40, 8, 56]


def sample(polygons: list[list[float]], ignored=None, shape=(64, 96), **meta) -> TextDetDataSample:
    found = TextDetDataSample(metainfo=dict(img_shape=shape, img_path="page.jpg", **meta))
    found.gt_instances = InstanceData(
        polygons=[np.array(p, np.float32) for p in polygons],
        ignored=torch.tensor(ignored or [False] * len(polygons), dtype=torch.bool),
    )
    return found


def test_by_hand():
    """One image, its score a constant: positives err by 1 - s, negatives by s."""
    torch.manual_seed(0)
    prediction = torch.full((1, 3, 32, 48), 0.25)
    prediction[:, :2] = torch.rand(1, 2, 32, 48)  # no part of it
    losses = LinkRefinerModuleLoss()(prediction, [sample([LINE])])
    assert losses.keys() == {"loss_link", "unpaired_lines"}
    assert float(losses["loss_link"]) == pytest.approx(0.75**2 + 0.25**2)
    assert float(losses["unpaired_lines"]) == 0


def test_hard_negatives_are_mined_three_for_each_positive():
    maps = LinkRefinerModuleLoss().get_targets([sample([LINE])], (32, 48))
    positives = int(maps.link.sum())
    prediction = torch.zeros(1, 3, 32, 48)
    prediction[:, 2] = maps.link
    prediction[0, 2, 20:22, 2:42] = 1.0  # 80 wrong pixels
    loss = LinkRefinerModuleLoss(min_negatives=1)(prediction, [sample([LINE])])["loss_link"]
    assert float(loss) == pytest.approx(80 / (3 * positives))
    loss = LinkRefinerModuleLoss(min_negatives=1, negative_ratio=1)(prediction, [sample([LINE])])
    assert float(loss["loss_link"]) == pytest.approx(1.0)


def test_targets_are_drawn_at_the_maps_scale_with_the_batches_padding():
    padded = sample([LINE], batch_input_shape=(64, 128))
    maps = LinkRefinerModuleLoss().get_targets([padded], (32, 64))
    half = np.array(LINE, np.float32).reshape(-1, 2) / 2
    frame = np.array([[0, 0], [96, 0], [96, 64], [0, 64]], np.float32) / 2 - 0.25
    wanted = draw_link_maps([WordLabels([half], [None], np.ones(1), frame)], (32, 64))
    assert torch.equal(maps.link, wanted.link)
    assert maps.link.sum() > 0
    assert torch.equal(maps.confidence, wanted.confidence)
    assert maps.confidence[0, :, 48:].max() == 0
    assert maps.confidence[0, :, :48].min() == 1


def test_ignored_lines_teach_nothing():
    prediction = torch.zeros(1, 3, 32, 48)
    prediction[:, 2, 4:14, 3:45] = 5.0  # on the ignored line
    loss = LinkRefinerModuleLoss()(prediction, [sample([LINE], [True])])["loss_link"]
    shielded = LinkRefinerModuleLoss().get_targets([sample([LINE], [True])], (32, 48)).confidence
    outside = (5.0**2 * shielded[0, 4:14, 3:45]).sum() / 1000
    assert float(loss) == pytest.approx(float(outside))
    assert float(loss) < 5


def test_what_is_ignored_is_read_on_the_host():
    """As on a GPU, where reading a tensor would make the host wait: this one cannot be read."""
    packed = sample([LINE, [8, 40, 88, 40, 88, 56, 8, 56]])
    packed.gt_instances.host_ignored = np.array([False, True])
    packed.gt_instances.ignored = torch.empty(2, dtype=torch.bool, device="meta")
    maps = LinkRefinerModuleLoss().get_targets([packed], (32, 48))
    wanted = LinkRefinerModuleLoss().get_targets(
        [sample([LINE, [8, 40, 88, 40, 88, 56, 8, 56]], [False, True])], (32, 48)
    )
    assert torch.equal(maps.link, wanted.link)
    assert torch.equal(maps.confidence, wanted.confidence)
    assert wanted.confidence.min() == 0


def test_a_batch_without_text_is_finite_and_differentiable():
    prediction = torch.rand(2, 3, 8, 12, requires_grad=True)
    losses = LinkRefinerModuleLoss()(prediction, [sample([], shape=(16, 24))] * 2)
    losses["loss_link"].backward()
    assert float(losses["loss_link"]) == pytest.approx(
        float((prediction[:, 2] ** 2).flatten(1).mean(1).mean())
    )
    assert prediction.grad[:, 2].abs().min() > 0
    assert prediction.grad[:, :2].abs().max() == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(value):
    prediction = torch.zeros(1, 3, 32, 48)
    prediction[0, 2, 0, 0] = value
    assert torch.isnan(LinkRefinerModuleLoss()(prediction, [sample([LINE])])["loss_link"])


def test_half_precision_is_compared_in_full():
    prediction = torch.rand(1, 3, 32, 48).bfloat16()
    exact = LinkRefinerModuleLoss()(prediction.float(), [sample([LINE])])["loss_link"]
    found = LinkRefinerModuleLoss()(prediction, [sample([LINE])])["loss_link"]
    assert found.dtype == torch.float32
    assert float(found) == float(exact)


def test_lines_that_cannot_be_paired_are_counted_and_named_once(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(link_loss, "print_log", lambda text, **_: lines.append(text))
    loss = LinkRefinerModuleLoss()
    prediction = torch.zeros(2, 3, 32, 48)
    found = [loss(prediction, [sample([LINE]), sample([LINE, CROSSED])]) for _ in range(2)]
    assert [float(losses["unpaired_lines"]) for losses in found] == [1, 1]
    assert len(lines) == 1
    assert "page.jpg: the points of line 1 cannot be paired" in lines[0]


def test_with_craft_both_learn():
    whole = sample([LINE])
    whole.gt_instances.chars = [np.array([[[8, 10], [40, 10], [40, 26], [8, 26]]], np.float32)]
    whole.gt_instances.char_confidence = np.ones(1, np.float32)
    prediction = torch.rand(1, 3, 32, 48)
    both = LinkRefinerModuleLoss(craft_loss=dict(type="CRAFTModuleLoss"))
    losses = both(prediction, [whole])
    alone = CRAFTModuleLoss()(prediction[:, :2], [whole])
    link = LinkRefinerModuleLoss()(prediction, [whole])
    assert losses.keys() == alone.keys() | link.keys()
    assert all(torch.equal(losses[k], value) for k, value in {**alone, **link}.items())


def test_a_head_without_refiner_is_named():
    with pytest.raises(ValueError, match=r"set det_head\.link_refiner=dict"):
        LinkRefinerModuleLoss()(torch.zeros(1, 2, 8, 8), [sample([])])
