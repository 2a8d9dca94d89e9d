"""`BatchStream`: an endless, reproducible stream of training samples that can start at any batch.

The samples depend only on one seed: not on the number of workers, their prefetching, or (together) the processes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class Records(Protocol):
    """A sequence of records, or Detectron2's `DatasetFromList`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Sample(NamedTuple):
    """One element of the stream.

    Attributes:
        record: index of the record in the dataset.
        seed: of the random numbers for its augmentations.
    """

    record: int
    seed: int


class BatchStream(Sampler[list[Sample]]):
    """The endless batches of this process, from batch `start` on.

    Args:
        make_sampler: seed -> the endless indices of this process, such as Detectron2's samplers.
        batch_size: samples per batch of this process.
        seed: of the whole stream; the same in all processes.
        rank, world_size: the index of this process and the number of processes.

    Attributes:
        seed: can be changed before the iteration starts.
        start: the first batch; can be changed before the iteration starts.
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
        # Processes take samples in turn: a sample has the same position, and seed, with any number of processes.
        positions = count(self.start * self._batch_size * self._world_size + self._rank, self._world_size)
        samples = (Sample(index, mixed_seed(self.seed, position)) for index, position in zip(indices, positions))
        while True:
            yield list(islice(samples, self._batch_size))


class SeededSamples(Dataset[Any]):
    """A map-style dataset indexed by `Sample`: maps the record with the sample's seed.

    Args:
        records: the dataset's records, by index.
        mapper: maps a record; may use the global random generators.
    """

    def __init__(self, records: Records, mapper: Callable[[Any], Any]) -> None:
        self._records = records
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, sample: Sample) -> Any:
        with temporary_seed(sample.seed):
            return self._mapper(self._records[sample.record])


def mixed_seed(*parts: int) -> int:
    """A 32-bit seed from non-negative integers; similar integers give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def seed_randomness(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch's CPU."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


@contextmanager
def temporary_seed(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch's CPU, and restore their states at the end."""
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state()
    seed_randomness(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
