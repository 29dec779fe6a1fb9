"""The n-th sample of a training is the same, however the training got there."""

from __future__ import annotations

import itertools
import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from mmengine.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader

from mmtextplug.datasets.seeded import SeededDataset, SeededInfiniteSampler


@DATASETS.register_module(force=True)
class DiceForTests:
    """Each item: its index, and what every source of randomness gives."""

    metainfo: ClassVar[dict] = {"name": "dice"}

    def __init__(self, length: int = 7) -> None:
        self.length, self.initialised = length, False

    def full_init(self) -> None:
        self.initialised = True

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[float]:
        return [index, np.random.random(), random.random(), float(torch.rand(()))]


def dice(seed: int = 0, length: int = 7) -> SeededDataset:
    return DATASETS.build(
        {
            "type": "SeededDataset",
            "dataset": {"type": "DiceForTests", "length": length},
            "seed": seed,
        }
    )


def sampler(data, **kwargs) -> SeededInfiniteSampler:
    cfg = {"type": "SeededInfiniteSampler", "seed": 3}
    return DATA_SAMPLERS.build({**cfg, **kwargs}, default_args={"dataset": data})


def draw(count: int, *, start: int = 0, workers: int = 0, batch: int = 2, seed: int = 0) -> list:
    """Samples `start` to `start + count` of a training, resumed at `start`."""
    data = dice(seed)
    indices = sampler(data)
    if start and hasattr(indices, "skip"):
        indices.skip(start)
        start = 0
    loader = DataLoader(
        data, batch_size=batch, sampler=indices, num_workers=workers, collate_fn=list,
        multiprocessing_context="fork" if workers else None,
    )  # fmt: skip
    samples = itertools.chain.from_iterable(loader)
    return list(itertools.islice(samples, start, start + count))


def test_indices_carry_the_count_of_the_draw():
    data = dice()
    keys = list(itertools.islice(sampler(data), 30))
    assert [key // 7 for key in keys] == list(range(30))
    indices = [key % 7 for key in keys]
    # Each pass visits all, in another order.
    assert all(sorted(indices[i : i + 7]) == list(range(7)) for i in (0, 7, 14))
    assert indices[:7] != indices[7:14]
    plain = list(itertools.islice(sampler(data, shuffle=False), 15))
    assert [key % 7 for key in plain] == [*range(7), *range(7), 0]
    assert len(sampler(data)) == 7


def test_the_order_is_that_of_mmengines_sampler():
    from mmengine.dataset import InfiniteSampler

    theirs = list(itertools.islice(InfiniteSampler(range(7), seed=3), 30))
    assert [key % 7 for key in itertools.islice(sampler(dice()), 30)] == theirs


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_draws_without_overlap(world, monkeypatch):
    data = dice()
    whole = list(itertools.islice(sampler(data), 12))
    parts = []
    for rank in range(world):
        monkeypatch.setattr(
            "mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, world)
        )
        parts.append(list(itertools.islice(sampler(data), 12 // world)))
    assert [key for group in zip(*parts, strict=False) for key in group] == whole


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("start", [0, 6, 13 * 2])
def test_resumed_samples_equal_uninterrupted_ones(start, workers):
    whole = draw(36)
    assert draw(10, start=start, workers=workers) == whole[start : start + 10]


def test_the_random_state_before_does_not_matter():
    np.random.seed(5)
    first = draw(8)
    np.random.seed(6)
    torch.manual_seed(7)
    random.seed(8)
    assert draw(8) == first


def test_draws_of_one_image_differ_and_seeds_differ():
    samples = draw(70)
    for index in range(7):
        mine = [tuple(s[1:]) for s in samples if s[0] == index]
        assert len(mine) == 10
        assert len(set(mine)) == 10
    values = np.array([s[1:] for s in samples])
    assert len(np.unique(values)) == values.size  # nor do the three sources repeat each other
    other = draw(70, seed=1)
    assert [s[0] for s in other] == [s[0] for s in samples]
    assert all(a[1:] != b[1:] for a, b in zip(samples, other, strict=False))


def test_it_stands_for_the_dataset_it_wraps():
    data = dice(length=5)
    assert len(data) == 5
    assert data.metainfo == {"name": "dice"}
    data.full_init()
    assert data.dataset.initialised
    # Plain indices, from any other sampler, are draw 0.
    assert [data[i][0] for i in range(5)] == list(range(5))
    assert data[3] == data[3]
