"""Samplers of training images: how often each image is drawn, and errors of their keys."""

from itertools import islice

import numpy as np
import pytest
from PIL import Image

from segvit.data.samplers import build_sampler
from segvit.errors import UserError

# Class 3 is in one of eight images.
IMAGES = {"common": [(0, 1)] * 5, "rare": [(0, 1), (1, 2), (0, 3)]}


@pytest.fixture
def records(tmp_path):
    by_dataset = {}
    for dataset, images in IMAGES.items():
        by_dataset[dataset] = []
        for index, ids in enumerate(images):
            path = tmp_path / f"{dataset}_{index}.png"
            Image.fromarray(np.array([[*ids, 255]], np.uint8)).save(path)
            by_dataset[dataset].append({"file_name": str(path), "sem_seg_file_name": str(path)})
    return by_dataset


def frequencies(cfg, records, draws=4000):
    """(8,) how often each image is drawn, relative to the first."""
    drawn = list(islice(build_sampler(cfg, records)(0), draws))
    counts = np.bincount(drawn, minlength=8)
    return counts / counts[0]


def test_every_image_is_drawn_equally_often_by_default(tiny_cfg, records):
    assert frequencies(tiny_cfg, records) == pytest.approx(np.ones(8), abs=0.01)


def test_datasets_are_weighted(tiny_cfg, records):
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = "WeightedTrainingSampler"
    tiny_cfg.DATASETS.TRAIN_REPEAT_FACTOR = [["rare", 2.5]]
    assert frequencies(tiny_cfg, records) == pytest.approx([1.0] * 5 + [2.5] * 3, abs=0.15)


def test_images_with_rare_classes_are_repeated(tiny_cfg, records):
    """Classes 2 and 3 are in 1 of 8 images: sqrt(0.5 / 0.125) = 2 times as often."""
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    tiny_cfg.DATALOADER.REPEAT_THRESHOLD = 0.5
    assert frequencies(tiny_cfg, records) == pytest.approx([1.0] * 6 + [2.0] * 2, abs=0.15)


def test_a_subset_is_the_same_in_every_epoch(tiny_cfg, records):
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    for ratio, count in ((0.5, 4), (0.01, 1)):
        tiny_cfg.DATALOADER.RANDOM_SUBSET_RATIO = ratio
        drawn = list(islice(build_sampler(tiny_cfg, records)(0), 100))
        assert len(set(drawn)) == count


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([], "above 0"),
        ([["rare", 0.0]], "above 0"),
        ([["unknown", 2.0]], "DATASETS.TRAIN "),
        (["rare", 2.0], "pairs"),
    ],
)
def test_invalid_weights_of_datasets_are_refused(factors, message, tiny_cfg, records):
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = "WeightedTrainingSampler"
    tiny_cfg.DATASETS.TRAIN_REPEAT_FACTOR = factors
    with pytest.raises(UserError, match=f"DATASETS.TRAIN_REPEAT_FACTOR .*{message}"):
        build_sampler(tiny_cfg, records)


def test_a_threshold_that_repeats_nothing_is_refused(tiny_cfg, records):
    tiny_cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    with pytest.raises(UserError, match=r"DATALOADER\.REPEAT_THRESHOLD"):
        build_sampler(tiny_cfg, records)
