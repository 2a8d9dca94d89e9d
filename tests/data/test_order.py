"""The order of a dataset depends on its file names alone, not on the file system or creation times."""

import os
import random

import pytest

from segvit.datasets.folder import split_names
from segvit.datasets.pairs import load_sem_seg_pairs

STEMS = ["b", "a", "10", "9", "B", "ä"]


def write(folder, order):
    for kind in ("images", "annotations"):
        for split in ("val", "extra", "train"):
            (folder / kind / split).mkdir(parents=True)
        for stem in order:
            (folder / kind / "train" / f"{stem}.png").touch()


def listing(folder):
    pairs = load_sem_seg_pairs(folder / "images" / "train", folder / "annotations" / "train")
    return [{key: path.removeprefix(str(folder)) for key, path in pair.items()} for pair in pairs], split_names(folder)


@pytest.mark.parametrize("seed", range(3))
def test_creation_and_listing_order_have_no_effect(tmp_path, monkeypatch, seed):
    write(tmp_path / "one", STEMS)
    write(tmp_path / "two", random.Random(seed).sample(STEMS, len(STEMS)))
    expected = listing(tmp_path / "one")
    assert len(expected[0]) == len(STEMS)
    assert listing(tmp_path / "two") == expected

    listed, list_folder = [], os.listdir

    def shuffled(path="."):
        names = list_folder(path)
        random.Random(seed).shuffle(names)
        listed.append(names)
        return names

    monkeypatch.setattr(os, "listdir", shuffled)
    assert listing(tmp_path / "one") == expected
    assert listed
