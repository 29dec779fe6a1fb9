"""A small link refiner learns, in seconds, to join the words of lines and to keep columns apart.

Its input is what a perfect CRAFT would give: region and affinity drawn from the characters.
"""

from __future__ import annotations

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


def lines_found(links: torch.Tensor, regions: torch.Tensor, samples: list, fates) -> Counter[str]:
    total: Counter[str] = Counter()
    for link, region, sample in zip(links, regions, samples, strict=True):
        truth = [np.reshape(p, (-1, 2)) / 2 for p in sample.gt_instances.polygons]
        total += fates(truth, list(group_words(region, link).boxes))
    return total


@pytest.fixture(scope="module")
def held_out() -> tuple[list, torch.Tensor]:
    return pages(60, seed=1_000_001)


def test_words_of_a_line_are_joined_and_columns_kept_apart(held_out):
    samples, scores = held_out
    refiner = train(200)
    with torch.inference_mode():
        links = refiner(scores, scores[:, :0])[:, 0]
    fates = __import__("importlib").import_module("evaluate_link_refiner").fates
    before = lines_found(scores[:, 1], scores[:, 0], samples, fates)
    after = lines_found(links, scores[:, 0], samples, fates)
    number = sum(before.values())
    assert sum(after.values()) == number == sum(len(s.gt_instances) for s in samples)
    print(before, after)
