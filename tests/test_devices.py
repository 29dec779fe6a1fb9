"""Labels, mining and loss on a GPU, where there is one: equal to those of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmtextplug.craft.loss import score_map_loss
from mmtextplug.craft.targets import WordLabels, draw_score_maps
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


def test_selection_equals_that_of_the_cpu() -> None:
    score = torch.rand(4, 1000).round(decimals=2)
    forced = torch.rand(4, 1000) < 0.05
    selected = hard_select(score.cuda(), forced=forced.cuda(), ratio=3, min_k=10)
    assert torch.equal(selected.cpu(), hard_select(score, forced=forced, ratio=3, min_k=10))
