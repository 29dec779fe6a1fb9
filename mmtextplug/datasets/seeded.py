"""Random transforms that resume exactly: every drawn sample has a seed of its own.

Data workers keep random states that no checkpoint holds. Here the sampler counts what it draws,
and the count seeds the transforms, so that the thousandth sample of a training is the same
whether it was reached in one go or by resuming, with any number of workers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, DATASETS


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """``InfiniteSampler`` whose n-th index also carries n, for a ``SeededDataset`` to take apart.

    It yields ``n * len(dataset) + index``.
    """

    def _infinite_indices(self) -> Iterator[int]:
        for draw, index in enumerate(super()._infinite_indices()):
            yield draw * self.size + index


@DATASETS.register_module()
class SeededDataset:
    """Seeds NumPy, Python and PyTorch for each sample that the wrapped dataset prepares.

    Args:
        dataset (dict): Config of the dataset.
        seed (int): With the count of the draw, it seeds the transforms.
    """

    def __init__(self, dataset: dict, seed: int = 0) -> None:
        self.dataset = DATASETS.build(dataset)
        self.seed = seed

    @property
    def metainfo(self) -> dict:
        return self.dataset.metainfo

    def full_init(self) -> None:
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int) -> dict:
        draw, index = divmod(int(key), len(self.dataset))
        state = np.random.SeedSequence([self.seed, draw, index]).generate_state(3)
        np.random.seed(state[0])
        random.seed(int(state[1]))
        torch.manual_seed(int(state[2]))
        return self.dataset[index]
