"""The endless stream of training samples as a function of one seed: it can be entered at any batch.

Neither the number of workers nor how far they prefetch has a part in it, and processes share one stream.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class Sample(NamedTuple):
    """One place of the stream.

    Attributes:
        index: of the record in the data set.
        seed: of the randomness with which it is mapped.
    """

    index: int
    seed: int


class BatchStream(Sampler[list[Sample]]):
    """This process's batches, without end, from batch `start` on.

    Args:
        make_sampler: a seed to the endless indices of this process, such as Detectron2's samplers give.
        batch_size: samples of this process in a batch.
        seed: of the whole stream; the same in all processes.
        rank, world_size: of this process, and the number of all.

    Attributes:
        seed: may be set until the stream is iterated.
        start: the first batch, likewise.
    """

    def __init__(
        self,
        make_sampler: Callable[[int], Sampler[int]],
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._make_sampler = make_sampler
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size
        self.seed = seed
        self.start = 0

    def __iter__(self) -> Iterator[list[Sample]]:
        indices = islice(self._make_sampler(self.seed), self.start * self._batch_size, None)
        # Where several processes take turns, each sample has the place, and the seed, that it has for one process.
        places = count(self.start * self._batch_size * self._world_size + self._rank, self._world_size)
        samples = (Sample(index, mixed_seed(self.seed, place)) for index, place in zip(indices, places))
        while True:
            yield list(islice(samples, self._batch_size))


class SeededSamples(Dataset[Any]):
    """A data set of `Sample`s: each is mapped with its own randomness, and leaves the process's as it was.

    Args:
        records: index to what `mapper` takes; the indices are those of the stream.
        mapper: of one record, random or not.
    """

    def __init__(self, records: Sequence[Any] | Dataset[Any], mapper: Callable[[Any], Any]) -> None:
        self._records = records
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, sample: Sample) -> Any:
        with own_randomness(sample.seed):
            return self._mapper(self._records[sample.index])


def mixed_seed(*parts: int) -> int:
    """A seed of 32 bits that follows from non-negative integers; near ones give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_randomness(seed: int) -> None:
    """Seed python, numpy and torch; of torch the CPU alone."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Inside, python, numpy and torch (on the CPU) draw from this seed; behind, they go on as if nothing had been."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_randomness(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
