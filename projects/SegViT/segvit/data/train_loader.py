"""`build_train_loader`: the training loader, with batches in the order of a `BatchStream`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, get_detection_dataset_dicts
from detectron2.data.build import trivial_batch_collator
from detectron2.data.samplers import RandomSubsetTrainingSampler, RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Sampler

from segvit.data.sample_stream import BatchStream, SeededSamples
from segvit.data.step_records import step_records
from segvit.errors import UserError

Records = list[dict[str, Any]]


def build_train_loader(cfg: CfgNode, mapper: Callable[[dict[str, Any]], Any]) -> DataLoader:
    """Endless batches of DATASETS.TRAIN, of SOLVER.IMS_PER_BATCH samples over all processes.

    Differs from `build_detection_train_loader` in three ways: the loader's `batch_sampler`, a `BatchStream`, can start
    at any batch; the seed of a sample depends on its position in the stream; and images are not grouped by orientation
    (DATALOADER.ASPECT_RATIO_GROUPING), since all batches are padded to the crop.

    Raises:
        UserError: DATALOADER.SAMPLER_TRAIN is not supported.
    """
    records = _records(cfg)
    seed = comm.shared_random_seed()
    stream = BatchStream(
        lambda seed: _sampler(cfg, records, seed),
        batch_size=cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
        seed=seed,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
    )
    return DataLoader(
        SeededSamples(DatasetFromList(records, copy=False), mapper),
        batch_sampler=stream,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=trivial_batch_collator,
        worker_init_fn=survive_one_sigterm,
        generator=torch.Generator(),  # the default would draw from the global generator
    )


def survive_one_sigterm(worker_id: int) -> None:
    """In a worker: ignore the first SIGTERM, which a scheduler sends to all processes: the trainer needs a last batch.

    The second one ends the worker: torch and Python send SIGTERM to their workers at exit.
    """

    def ignore_once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, ignore_once)


def _records(cfg: CfgNode) -> Records:
    records = step_records(cfg)
    if records is not None:
        return records
    return get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)


def _sampler(cfg: CfgNode, records: Records, seed: int) -> Sampler[int]:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name == "TrainingSampler":
        return TrainingSampler(len(records), seed=seed)
    if name == "RandomSubsetTrainingSampler":
        ratio = cfg.DATALOADER.RANDOM_SUBSET_RATIO
        return RandomSubsetTrainingSampler(len(records), ratio, seed_shuffle=seed, seed_subset=seed)
    if name == "WeightedTrainingSampler":
        factors = _repeat_factors(cfg)
        if len(factors) != len(records):
            raise UserError("DATALOADER.SAMPLER_TRAIN WeightedTrainingSampler does not support continual steps")
        return RepeatFactorTrainingSampler(torch.tensor(factors), seed=seed)
    raise UserError(
        f"DATALOADER.SAMPLER_TRAIN {name!r} must be 'TrainingSampler', 'RandomSubsetTrainingSampler' or "
        "'WeightedTrainingSampler': others need boxes, which label maps do not have"
    )


def _repeat_factors(cfg: CfgNode) -> list[float]:
    """The factor of each record: that of its dataset in DATASETS.TRAIN_REPEAT_FACTOR, 1 by default."""
    factors = dict(cfg.DATASETS.TRAIN_REPEAT_FACTOR)
    sizes = {name: len(get_detection_dataset_dicts(name, filter_empty=False)) for name in cfg.DATASETS.TRAIN}
    return [float(factors.get(name, 1.0)) for name, size in sizes.items() for _ in range(size)]
