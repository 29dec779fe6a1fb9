"""Labels, mining and loss on a GPU, where there is one: equal to those of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample

from mmtextplug.craft.link_loss import LinkRefinerModuleLoss
from mmtextplug.craft.loss import score_map_loss
from mmtextplug.craft.targets import WordLabels, draw_score_maps
from mmtextplug.db.loss import DifferentiableBinarizationLoss
from mmtextplug.db.targets import db_targets
from mmtextplug.mining.select import hard_select

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def images() -> list[WordLabels]:
    square = np.array([[0, 0], [9, 0], [9, 12], [0, 12]], dtype=np.float32)
    chars = np.stack([np.add(square, (10 + 11 * i, 20 + i)) for i in range(4)])
    outline = np.array([[10, 20], [52, 20], [52, 35], [10, 35]], dtype=np.float32)
    words = [outline, np.add(outline, (0, 20))]
    confidence = np.array([0.7, 0.0], np.float32)
    return [WordLabels(words, [chars, None], confidence), WordLabels([], [], np.zeros(0))]


def test_maps_and_loss_equal_those_of_the_cpu() -> None:
    here = draw_score_maps(images(), (64, 80))
    there = draw_score_maps(images(), (64, 80), device="cuda")
    prediction = torch.rand(2, 64, 80)
    for name in ("region", "affinity", "confidence"):
        drawn = getattr(there, name).cpu()
        torch.testing.assert_close(drawn, getattr(here, name), rtol=0, atol=1e-5)
    losses = [
        score_map_loss(p, maps.region, maps.confidence).loss.cpu()
        for p, maps in ((prediction, here), (prediction.cuda(), there))
    ]
    torch.testing.assert_close(*losses)


def words(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    box = np.array([[0, 0], [40, 3], [38, 18], [-2, 15]], np.float32)
    return [np.add(box, shift).astype(np.float32) for shift in rng.uniform(-10, 120, (count, 2))]


def test_db_targets_equal_those_of_the_cpu() -> None:
    ignored = np.arange(60) % 5 == 0
    options = dict(batch_index=np.arange(60) % 3, batch_size=3)
    here = db_targets(words(60), ignored, (128, 128), **options)
    for flags in (ignored, torch.from_numpy(ignored).cuda()):
        there = db_targets(words(60), flags, (128, 128), **options, device="cuda")
        for name in ("kernel", "mask", "threshold_mask"):
            assert torch.equal(getattr(there, name).cpu(), getattr(here, name)), name
        torch.testing.assert_close(there.threshold.cpu(), here.threshold, rtol=0, atol=1e-5)


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_db_loss_never_makes_the_host_wait(preset) -> None:
    loss = DifferentiableBinarizationLoss(preset)
    batch = []
    for seed in range(2):
        sample = TextDetDataSample(metainfo=dict(img_shape=(128, 128 - 32 * seed)))
        sample.set_metainfo(dict(batch_input_shape=(128, 128)))
        instances = InstanceData()
        instances.polygons = words(20, seed)
        instances.ignored = (torch.arange(20) % 5 == 0).cuda()
        sample.gt_instances = instances
        batch.append(sample)
    here = [torch.randn(2, 128, 128), torch.rand(2, 128, 128)]
    there = [p.cuda().requires_grad_() for p in here]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = loss(there, batch)
        sum(value for name, value in losses.items() if name.startswith("loss")).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, value in loss(here, batch).items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_selection_equals_that_of_the_cpu() -> None:
    score = torch.rand(4, 1000).round(decimals=2)
    forced = torch.rand(4, 1000) < 0.05
    selected = hard_select(score.cuda(), forced=forced.cuda(), ratio=3, min_k=10)
    assert torch.equal(selected.cpu(), hard_select(score, forced=forced, ratio=3, min_k=10))


def test_link_loss_never_makes_the_host_wait() -> None:
    loss = LinkRefinerModuleLoss()
    batch = []
    for seed in range(2):
        sample = TextDetDataSample(metainfo=dict(img_shape=(128, 128 - 32 * seed)))
        sample.set_metainfo(dict(batch_input_shape=(128, 128)))
        instances = InstanceData()
        instances.polygons = words(20, seed)
        instances.host_ignored = np.arange(20) % 5 == 0
        instances.ignored = torch.from_numpy(instances.host_ignored).cuda()
        sample.gt_instances = instances
        batch.append(sample)
    here = torch.rand(2, 3, 64, 64)
    there = here.cuda().requires_grad_()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses = loss(there, batch)
        losses["loss_link"].backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, value in loss(here, batch).items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-4), name
