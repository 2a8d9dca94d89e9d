"""`build_sampler`: which training images are drawn, and how often (DATALOADER.SAMPLER_TRAIN)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data.samplers import RandomSubsetTrainingSampler, RepeatFactorTrainingSampler, TrainingSampler
from torch.utils.data import Sampler

from segvit.data.step_records import Records, classes_present, learnt_ids
from segvit.errors import UserError


def require_sampler(cfg: CfgNode) -> None:
    """Check the keys of DATALOADER.SAMPLER_TRAIN without reading images. Raises UserError as `build_sampler` does."""
    if cfg.DATALOADER.SAMPLER_TRAIN == "WeightedTrainingSampler":
        _factor_by_dataset(cfg, cfg.DATASETS.TRAIN)
    elif cfg.DATALOADER.SAMPLER_TRAIN == "RepeatFactorTrainingSampler":
        _repeat_threshold(cfg)


def build_sampler(cfg: CfgNode, records: Mapping[str, Records]) -> Callable[[int], Sampler[int]]:
    """The sampler of the training records, as a function of its seed.

    Args:
        cfg: DATALOADER.SAMPLER_TRAIN is one of Detectron2's samplers.
        records: of each dataset of DATASETS.TRAIN, in order; the sampler yields indices into all of them.

    Raises:
        UserError: DATASETS.TRAIN_REPEAT_FACTOR or DATALOADER.REPEAT_THRESHOLD does not fit the sampler.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    size = sum(map(len, records.values()))
    if name == "TrainingSampler":
        return lambda seed: TrainingSampler(size, seed=seed)
    if name == "RandomSubsetTrainingSampler":
        # At least one image: Detectron2's sampler would search for ever without any.
        ratio = min(max(cfg.DATALOADER.RANDOM_SUBSET_RATIO, 1.5 / size), 1.0)
        return lambda seed: RandomSubsetTrainingSampler(size, ratio, seed_shuffle=seed, seed_subset=seed)
    factors = _dataset_factors(cfg, records) if name == "WeightedTrainingSampler" else _class_factors(cfg, records)
    return lambda seed: RepeatFactorTrainingSampler(factors, seed=seed)


def _dataset_factors(cfg: CfgNode, records: Mapping[str, Records]) -> torch.Tensor:
    """(N,) how often each record is drawn per epoch: the factor of its dataset, 1 by default."""
    factors = _factor_by_dataset(cfg, list(records))
    return torch.tensor([factors.get(name, 1.0) for name, of_name in records.items() for _ in of_name])


def _factor_by_dataset(cfg: CfgNode, datasets: Sequence[str]) -> dict[str, float]:
    """DATASETS.TRAIN_REPEAT_FACTOR as a mapping. Raises UserError."""
    key = "DATASETS.TRAIN_REPEAT_FACTOR"
    pairs = cfg.DATASETS.TRAIN_REPEAT_FACTOR
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise UserError(f"{key} {pairs!r} must be pairs of a dataset and its factor, such as [['folder_train', 2.0]]")
    factors = dict(pairs)
    unknown = sorted(factors.keys() - set(datasets))
    if unknown:
        raise UserError(f"{key} names {unknown}, which DATASETS.TRAIN {list(datasets)} does not")
    if not factors or not all(isinstance(factor, int | float) and factor > 0 for factor in factors.values()):
        raise UserError(f"{key} {pairs!r} must give WeightedTrainingSampler factors above 0")
    return {name: float(factor) for name, factor in factors.items()}


def _class_factors(cfg: CfgNode, records: Mapping[str, Records]) -> torch.Tensor:
    """(N,) how often each record is drawn per epoch: max over its classes c of max(1, sqrt(t / f(c))).

    t is DATALOADER.REPEAT_THRESHOLD, and f(c) the fraction of the records with a pixel of class c (LVIS, Gupta et al.
    2019, appendix B.2). In a continual step, only its new classes count.
    """
    threshold = _repeat_threshold(cfg)
    annotated = []
    for name, of_name in records.items():
        learnt = learnt_ids(cfg, name)
        for present in classes_present(of_name):
            ids = learnt[present[present < len(learnt)]]
            annotated.append({"annotations": [{"category_id": id} for id in np.unique(ids[ids >= 0]).tolist()]})
    return RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(annotated, threshold)


def _repeat_threshold(cfg: CfgNode) -> float:
    """DATALOADER.REPEAT_THRESHOLD. Raises UserError for 0."""
    threshold: float = cfg.DATALOADER.REPEAT_THRESHOLD
    if threshold <= 0:
        raise UserError(
            f"DATALOADER.REPEAT_THRESHOLD {threshold} repeats no image: set the share of images below which a class is "
            "rare, such as 0.1, or DATALOADER.SAMPLER_TRAIN 'TrainingSampler'"
        )
    return threshold
