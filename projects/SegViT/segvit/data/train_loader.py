"""`build_train_loader`: the training loader, with batches in the order of a `BatchStream`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import DataLoader

from segvit.data.sample_stream import BatchStream, SeededSamples
from segvit.data.samplers import build_sampler
from segvit.data.step_records import training_records


def build_train_loader(cfg: CfgNode, mapper: Callable[[dict[str, Any]], Any]) -> DataLoader:
    """Endless batches of DATASETS.TRAIN, of SOLVER.IMS_PER_BATCH samples over all processes.

    Differs from `build_detection_train_loader` in three ways: the loader's `batch_sampler`, a `BatchStream`, can start
    at any batch; the seed of a sample depends on its position in the stream; and images are not grouped by orientation
    (DATALOADER.ASPECT_RATIO_GROUPING), since all batches are padded to the crop.

    Raises:
        UserError: see `build_sampler`.
    """
    by_dataset = training_records(cfg)
    records = [record for records in by_dataset.values() for record in records]
    seed = comm.shared_random_seed()
    stream = BatchStream(
        build_sampler(cfg, by_dataset),
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
        # A GPU copies from page-locked memory while the host goes on.
        pin_memory=torch.device(cfg.MODEL.DEVICE).type == "cuda",
        generator=torch.Generator(),  # the default would draw from the global generator
    )


def survive_one_sigterm(worker_id: int) -> None:
    """In a worker: ignore the first SIGTERM, which a scheduler sends to all processes: the trainer needs a last batch.

    The second one ends the worker: torch and Python send SIGTERM to their workers at exit.
    """

    def ignore_once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, ignore_once)
