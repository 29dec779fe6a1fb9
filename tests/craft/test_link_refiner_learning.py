"""A small link refiner learns, in seconds, to join the words of lines and to keep columns apart.

Its input is what a perfect CRAFT would give: region and affinity drawn from the characters.
"""

from __future__ import annotations

import importlib
from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope

from mmtextplug.craft.grouping import group_words
from mmtextplug.craft.link_loss import LinkRefinerModuleLoss
from mmtextplug.craft.link_refiner import LinkRefiner
from mmtextplug.craft.loss import CRAFTModuleLoss

PAGES = dict(
    type="GeneratedTextDataset",
    size=160,
    renderer=dict(
        unit="line",
        words_per_image=(2, 8),
        words_per_line=(2, 3),
        line_prob=0.9,
        char_height=(10, 16),
        styles=dict(straight=1, rotated=1, columns=2),
        max_rotation=30,
        effects=False,
        distractors=False,
    ),
    pipeline=[dict(type="LoadCharAnnotations"), dict(type="PackCharInputs")],
)
SIZE = (80, 80)


def pages(count: int, seed: int) -> tuple[list, torch.Tensor]:
    """Samples, and their region and affinity ``(count, 2, 80, 80)``, words kept apart."""
    with DefaultScope.overwrite_default_scope("mmocr"):
        dataset = DATASETS.build(dict(PAGES, num_samples=count, seed=seed))
    samples = [dataset[i]["data_samples"] for i in range(count)]
    maps = CRAFTModuleLoss().get_targets(samples, SIZE)
    return samples, torch.stack([maps.region, maps.affinity], 1)


def train(steps: int) -> LinkRefiner:
    torch.manual_seed(0)
    refiner = LinkRefiner(in_channels=0, channels=8)
    refiner.init_weights()
    samples, scores = pages(120, seed=1)
    loss = LinkRefinerModuleLoss(min_negatives=100)
    optimizer = torch.optim.AdamW(refiner.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randperm(len(samples), generator=generator)[:4].tolist()
        batch = scores[chosen]
        link = refiner(batch, batch[:, :0])
        losses = loss(torch.cat([batch, link], 1), [samples[i] for i in chosen])
        optimizer.zero_grad()
        losses["loss_link"].backward()
        optimizer.step()
        schedule.step()
    return refiner.eval()


@pytest.fixture
def fates(repository, monkeypatch):
    """Counts lines that are found whole, broken, merged or not at all."""
    monkeypatch.syspath_prepend(str(repository / "tools" / "analysis"))
    return importlib.import_module("evaluate_link_refiner").fates


def test_words_of_a_line_are_joined_and_columns_kept_apart(fates):
    samples, scores = pages(40, seed=1_000_001)
    refiner = train(200)
    with torch.inference_mode():
        refined = refiner(scores, scores[:, :0])[:, 0]
    before, after = Counter(), Counter()
    for sample, (region, affinity), link in zip(samples, scores, refined, strict=True):
        lines = [np.reshape(polygon, (-1, 2)) / 2 for polygon in sample.gt_instances.polygons]
        before += fates(lines, list(group_words(region, affinity).boxes))
        after += fates(lines, list(group_words(region, link).boxes))
    number = sum(len(sample.gt_instances) for sample in samples)
    assert number > 120
    # Half of the lines have several words, and perfect scores of words break these.
    assert before["broken"] > 0.4 * number
    assert after["whole"] > 0.8 * number
    assert after["broken"] < 0.2 * number
    assert before["merged"] == 0
    assert after["merged"] < 0.05 * number
