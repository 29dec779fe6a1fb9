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

from mmtextplug.datasets.seeded import SeededDataset, SeededInfiniteSampler, spread


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


# --- several datasets in one loader -------------------------------------------------------------


def mixed(ratio, world=1, rank=0, monkeypatch=None, lengths=(3, 8), **kwargs):
    data = DATASETS.build(
        {
            "type": "SeededDataset",
            "dataset": {
                "type": "ConcatDataset",
                "datasets": [{"type": "DiceForTests", "length": n} for n in lengths],
            },
        }
    )
    if monkeypatch is not None:
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: (rank, world))
    return data, sampler(data, ratio=ratio, **kwargs)


@pytest.mark.parametrize(
    ("ratio", "pattern"),
    [((1, 1), [0, 1]), ((1, 5), [1, 1, 0, 1, 1, 1]), ((2, 3), [1, 0, 1, 0, 1]), ((0, 2), [1, 1])],
)
def test_a_ratio_is_spread_evenly(ratio, pattern):
    found = spread(ratio)
    assert [found.count(i) for i in range(2)] == list(ratio)
    # No stretch of the endless pattern is further than one sample from its due.
    for place in range(1, 3 * len(found)):
        taken = [found[k % len(found)] for k in range(place)]
        assert all(abs(taken.count(i) - place * r / sum(ratio)) <= 1 for i, r in enumerate(ratio))
    assert sorted(found) == sorted(pattern)


@pytest.mark.parametrize("world", [1, 2])
def test_every_batch_of_every_process_holds_the_ratio(world, monkeypatch):
    seen = []
    for rank in range(world):
        _, indices = mixed((1, 5), world, rank, monkeypatch)
        keys = list(itertools.islice(indices, 6 * 8))
        draws = [key // 11 for key in keys]
        assert draws == list(range(rank, rank + world * 48, world))
        sources = [int(key % 11 >= 3) for key in keys]
        assert all(sum(sources[i : i + 6]) == 5 for i in range(0, 48, 6))
        seen += [(key // 11, key % 11) for key in keys]
    # All samples of a dataset come up before any comes again, over all processes.
    second = [index for _, index in sorted(seen) if index >= 3]
    for i in range(0, len(second) - 7, 8):
        assert sorted(second[i : i + 8]) == list(range(3, 11))


def test_a_mixed_training_resumes_where_it_was():
    _, whole = mixed((1, 2))
    _, resumed = mixed((1, 2))
    keys = list(itertools.islice(whole, 40))
    if hasattr(resumed, "skip"):
        resumed.skip(25)
        assert list(itertools.islice(resumed, 15)) == keys[25:]
    assert list(itertools.islice(mixed((1, 2))[1], 40)) == keys


def test_without_shuffling_each_dataset_is_read_in_order():
    _, indices = mixed((1, 1), shuffle=False)
    keys = [key % 11 for key in itertools.islice(indices, 12)]
    assert sorted(keys[:6]) == [0, 1, 2, 3, 4, 5]
    assert [key for key in keys if key < 3] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("ratio", [(1,), (1, 2, 3), (0, 0), (-1, 2)])
def test_a_ratio_that_does_not_fit_is_named(ratio):
    with pytest.raises(ValueError, match="ratio="):
        mixed(ratio)
    with pytest.raises(ValueError, match="found 0"):
        sampler(dice(), ratio=ratio)


def test_an_empty_dataset_is_named():
    with pytest.raises(ValueError, match="dataset 1 of 2 is empty"):
        mixed((1, 2), lengths=(3, 0))
    mixed((1, 0), lengths=(3, 0))  # of which nothing is wanted
