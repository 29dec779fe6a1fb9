"""Random transforms that resume exactly: every drawn sample has a seed of its own.

Data workers keep random states that no checkpoint holds. Here the sampler counts what it draws,
and the count seeds the transforms, so that the thousandth sample of a training is the same
whether it was reached in one go or by resuming, with any number of workers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence, Sized

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATA_SAMPLERS, DATASETS


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """``InfiniteSampler`` whose n-th index also carries n, for a ``SeededDataset`` to take apart.

    It yields ``n * len(dataset) + index``.

    Args:
        dataset (Sized): A ``SeededDataset``; with ``ratio``, of a ``ConcatDataset``.
        shuffle (bool): Whether each pass goes through the dataset in another order.
        seed (int, optional): Decides the orders. Default: one that all processes agree on.
        ratio (Sequence[int], optional): How many samples of each concatenated dataset follow each
            other, however large the datasets are: with (1, 5) and batches of 6, or 12, every batch
            of every process holds one, or two, of the first and five, or ten, of the second.

    Raises:
        ValueError: If ``ratio`` does not fit the datasets.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        ratio: Sequence[int] | None = None,
    ) -> None:
        self.ends: list[int] = []
        self.pattern: list[int] = []
        if ratio is not None:
            self.ends = list(getattr(getattr(dataset, "dataset", None), "cumulative_sizes", []))
            if len(self.ends) != len(ratio) or min(ratio) < 0 or not sum(ratio):
                raise ValueError(
                    f"SeededInfiniteSampler: ratio={tuple(ratio)} needs a SeededDataset of a "
                    f"ConcatDataset of as many datasets (found {len(self.ends)}), and numbers of 0 "
                    "or more"
                )
            self.pattern = spread(ratio)
            for number in range(len(ratio)):
                if ratio[number] and self.ends[number] == ([0, *self.ends])[number]:
                    raise ValueError(
                        f"SeededInfiniteSampler: dataset {number} of {len(ratio)} is empty"
                    )
        super().__init__(dataset, shuffle, seed)

    def _infinite_indices(self) -> Iterator[int]:
        if not self.pattern:
            for draw, index in enumerate(super()._infinite_indices()):
                yield draw * self.size + index
        starts = [0, *self.ends[:-1]]
        sources = [
            self._pass_after_pass(start, end, self.seed + number)
            for number, (start, end) in enumerate(zip(starts, self.ends))
        ]
        for draw in itertools.count():
            # The draws of a process are those at its rank, one round of all processes apart.
            source = self.pattern[draw // self.world_size % len(self.pattern)]
            yield draw * self.size + next(sources[source])

    def _pass_after_pass(self, start: int, end: int, seed: int) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(seed)
        while True:
            size = end - start
            order = torch.randperm(size, generator=generator) if self.shuffle else range(size)
            for index in order:
                yield start + int(index)


def spread(ratio: Sequence[int]) -> list[int]:
    """Numbers 0, 1, ... as often as the ratio says, each spread as evenly as it can be."""
    given = [0] * len(ratio)
    pattern = []
    for place in range(1, sum(ratio) + 1):
        owed = [place * share / sum(ratio) - has for share, has in zip(ratio, given)]
        chosen = max(range(len(ratio)), key=owed.__getitem__)
        given[chosen] += 1
        pattern.append(chosen)
    return pattern


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
