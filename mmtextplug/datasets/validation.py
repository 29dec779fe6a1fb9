"""Validation of a dataset: every problem of its images and words that training would meet.

Batches of images are checked by some processes and added up as they come; nothing is kept of an
image but a hash of its path, so that the size of a dataset does not matter.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace

import numpy as np

from mmtextplug.datasets.annotation_files import Source, read_batches
from mmtextplug.datasets.findings import (
    BINS,
    FILE_BROKEN,
    IMAGE_TWICE,
    MEASURES,
    NOTES,
    SHARED,
    Finding,
    Part,
    Task,
    check_batch,
    printable,
)

_SPLITS = {"train": 1, "val": 2, "test": 4}


@dataclass
class Summary:
    """What came out of a dataset: ``examples`` are the first findings of each kind."""

    source: Source
    counts: Counter[str] = field(default_factory=Counter)
    bins: dict[str, Counter[int]] = field(default_factory=lambda: {m: Counter() for m in MEASURES})
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Finding]] = field(default_factory=dict)

    @property
    def errors(self) -> int:
        return sum(count for kind, count in self.kinds.items() if kind not in NOTES)

    def quantiles(self, measure: str, at: Sequence[float]) -> list[float] | None:
        """Quantiles of one of `MEASURES`, to about a thousandth; None if there is no value."""
        bins = sorted(self.bins[measure].items())
        if not bins:
            return None
        ends = np.cumsum([count for _, count in bins])
        places = np.searchsorted(ends, np.asarray(at) * (ends[-1] - 1), side="right")
        return [_value(measure, bins[place][0]) for place in places]


def _value(measure: str, number: int) -> float:
    return float(number if measure == MEASURES[0] else np.exp(number / BINS))


class Validation:
    """Validates datasets that belong together: those of one config.

    Args:
        decode (bool): Whether every image is decoded.
        workers (int): Processes; 1 or less: this one.
        examples (int): How many findings of each kind a summary keeps.
        drawings (int): How many of them get a `Drawing`.
        log (Callable, optional): Is given every finding, with its source.
    """

    def __init__(
        self,
        *,
        decode: bool = False,
        workers: int = 1,
        examples: int = 3,
        drawings: int = 0,
        log: Callable[[Source, Finding], None] | None = None,
    ) -> None:
        self.decode = decode
        self.workers = workers
        self.examples = examples
        self.drawings = drawings
        self.log = log
        self._splits: dict[int, int] = {}

    def run(self, source: Source, progress: Callable[[int, float], None] | None = None) -> Summary:
        """Validate a dataset; after others, images are compared with theirs.

        Args:
            source (Source): The dataset.
            progress (Callable, optional): Is told how many more images were checked, and about how
                many there are in all.

        Raises:
            OSError: If the annotation file cannot be read, or memory is short.
        """
        summary = Summary(source)
        first: dict[int, int] = {}
        tail: list[Finding] = []
        sent = 0

        def tasks() -> Iterator[tuple[Task, float]]:
            nonlocal sent
            # What the processes need not know would be sent with every task.
            bare = replace(source, indices=None, where=())
            try:
                for batch in read_batches(source):
                    sent += len(batch.images)
                    total = sent / max(batch.share, 1e-9)
                    yield Task(bare, batch, self.decode, self.drawings), total
            except ValueError as error:
                tail.append(Finding(FILE_BROKEN, source.path.name, "", printable(str(error))))

        for part, total in _in_order(tasks(), self.workers):
            summary.counts.update(part.counts)
            for measure, bins in part.bins.items():
                summary.bins[measure].update(bins)
            self._add(summary, part.findings)
            self._add(summary, self._compare(part.paths, source, first))
            if progress is not None:
                progress(part.counts["images"], total)
        self._add(summary, tail)
        return summary

    def _compare(
        self, paths: Iterable[tuple[int, int, str, str]], source: Source, first: dict[int, int]
    ) -> Iterator[Finding]:
        own = sum(_SPLITS.get(split, 0) for split in source.splits)
        for number, path, where, name in paths:
            before = first.setdefault(path, number)
            if before != number:
                yield Finding(IMAGE_TWICE, where, name, f"also number {before}")
                continue
            splits = own
            if own:
                splits = self._splits[path] = self._splits.get(path, 0) | own
            if splits & _SPLITS["train"] and splits != _SPLITS["train"]:
                names = [split for split, bit in _SPLITS.items() if splits & bit]
                yield Finding(SHARED, where, name, " and ".join(names))

    def _add(self, summary: Summary, findings: Iterable[Finding]) -> None:
        for finding in findings:
            summary.kinds[finding.kind] += 1
            examples = summary.examples.setdefault(finding.kind, [])
            if len(examples) < max(self.examples, self.drawings):
                examples.append(finding)
            if self.log is not None:
                self.log(summary.source, finding)


def _in_order(tasks: Iterator[tuple[Task, float]], workers: int) -> Iterator[tuple[Part, float]]:
    """Results in the order of the tasks, of which few are in memory at any time."""
    if workers <= 1:
        for task, total in tasks:
            yield check_batch(task), total
        return
    waiting: deque[tuple[Future[Part], float]] = deque()
    with ProcessPoolExecutor(workers) as pool:
        try:
            for task, total in tasks:
                waiting.append((pool.submit(check_batch, task), total))
                if len(waiting) > 4 * workers:
                    future, total = waiting.popleft()
                    yield future.result(), total
            while waiting:
                future, total = waiting.popleft()
                yield future.result(), total
        except BrokenProcessPool:
            raise OSError(
                "a process was killed, perhaps for its memory: try fewer --workers"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
