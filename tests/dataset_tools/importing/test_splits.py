"""Splits: shares, groups, folds, lists, rare classes in every part, near duplicates never apart."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segvit.dataset_tools.near_duplicates import fingerprint
from segvit.dataset_tools.splitting import PooledImage, SplitOptions, make_splits
from segvit.dataset_tools.splitting.stratification import stratify
from segvit.errors import UserError


def random_image(seed):
    """An image of blocks; the same seed gives the same image."""
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


def pool(count, classes=lambda number: [0], *, split="", seeds=None):
    """Images a_000.png, ... with these classes of three."""
    images = []
    for number in range(count):
        present = np.isin(np.arange(3), classes(number))
        name = f"{'abc'[number % 3]}_{number:03d}.png"
        shown = fingerprint(random_image(number if seeds is None else seeds[number]))
        images.append(PooledImage(f"folder/{name}", name, split, present, shown))
    return images


def test_shares_are_kept_and_equal_seeds_agree():
    images = pool(50)
    options = SplitOptions(val_share=0.2, test_share=0.1, seed=3)
    (splits,) = make_splits(images, options).assignments
    assert [splits.count(name) for name in ("train", "val", "test")] == [35, 10, 5]
    assert make_splits(images, options).assignments == [splits]
    assert make_splits(images, SplitOptions(val_share=0.2, test_share=0.1, seed=4)).assignments != [splits]


def test_rare_classes_are_in_both_splits():
    """Class 2 is in two of 60 images, which a random fifth would often miss or take both."""
    images = pool(60, lambda number: [0, 1, 2] if number in (7, 8) else [0, 1] if number % 6 == 0 else [0])
    for seed in range(5):
        (splits,) = make_splits(images, SplitOptions(seed=seed)).assignments
        assert {splits[7], splits[8]} == {"train", "val"} and splits.count("val") == 12
        assert {splits[number] for number in range(0, 60, 6)} == {"train", "val"}


def test_near_duplicates_stay_together():
    """Every image is there twice, once a little brighter."""
    images = pool(20, seeds=[number // 2 for number in range(20)])
    brighter = np.clip(random_image(0).astype(int) + 1, 0, 255).astype(np.uint8)
    images[1] = PooledImage("1", "b_001.png", "", images[1].classes, fingerprint(brighter))
    for seed in range(5):
        (splits,) = make_splits(images, SplitOptions(seed=seed)).assignments
        assert splits[::2] == splits[1::2] and splits.count("val") == 4


@pytest.mark.parametrize("split", ["", "given"])
def test_many_images_that_look_alike_take_little_memory(split):
    """As frames of a still camera: a list of all pairs would take 100 MB."""
    images = pool(1000, seeds=1000 * [0])
    if split:
        images = [replace(image, split="train" if number % 2 else "val") for number, image in enumerate(images)]
    tracemalloc.start()
    made = make_splits(images, SplitOptions())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6, f"{peak / 1e6:.0f} MB"
    assert "1000 images look like" in made.notes[1] if split else len(set(made.assignments[0])) == 1


def test_groups_stay_together():
    (splits,) = make_splits(pool(30), SplitOptions(groups=r"(\w)_", val_share=0.3)).assignments
    assert [len({splits[number] for number in range(start, 30, 3)}) for start in range(3)] == [1, 1, 1]
    assert set(splits) == {"train", "val"}
    (by_path,) = make_splits(pool(30), SplitOptions(groups=r"folder/(\w)_", val_share=0.3)).assignments
    assert by_path == splits


def test_each_image_is_validated_in_one_fold():
    made = make_splits(pool(30, lambda number: [0, 2] if number < 4 else [0]), SplitOptions(folds=4))
    assert len(made.assignments) == 4
    validated = np.array([[split == "val" for split in splits] for splits in made.assignments])
    assert (validated.sum(axis=0) == 1).all() and set(validated.sum(axis=1)) <= {7, 8}
    assert (validated[:, :4].sum(axis=1) == 1).all()


def test_splits_of_the_source_stay_and_shared_images_are_noted():
    images = pool(4, split="train", seeds=[0, 1, 2, 3]) + pool(2, split="val", seeds=[0, 9])
    made = make_splits(images, SplitOptions())
    assert made.assignments == [["train"] * 4 + ["val"] * 2]
    assert any("2 images look like" in note for note in made.notes)


def test_a_source_without_val_gets_one_and_keeps_test():
    images = pool(10, split="train") + pool(5, split="test", seeds=range(20, 25))
    (splits,) = make_splits(images, SplitOptions()).assignments
    assert splits[10:] == ["test"] * 5 and splits[:10].count("val") == 2


def test_lists_name_images_by_path_name_or_stem(tmp_path):
    images = pool(4)
    (tmp_path / "train.txt").write_text("folder/a_000.png\nb_001.png labels/b_001.png\n\n")
    (tmp_path / "val.txt").write_text("c_002\n")
    lists = {"train": tmp_path / "train.txt", "val": tmp_path / "val.txt"}
    assert make_splits(images, SplitOptions(lists=lists)).assignments == [["train", "train", "val", ""]]
    (tmp_path / "val.txt").write_text("c_002\nnobody\n")
    with pytest.raises(UserError, match=r"val\.txt.* nobody"):
        make_splits(images, SplitOptions(lists=lists))
    (tmp_path / "val.txt").write_text("a_000\n")
    with pytest.raises(UserError, match=r"val\.txt.*a_000.*train"):
        make_splits(images, SplitOptions(lists=lists))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"val_share": 1.0}, "--val-share"),
        ({"folds": 1}, "--folds 1"),
        ({"folds": 3, "val_share": 0.2}, "--folds"),
        ({"lists": {"train": "a"}, "groups": "a"}, "--lists"),
    ],
)
def test_contradictory_options_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        SplitOptions(**options)


def test_more_folds_than_images_are_refused():
    with pytest.raises(UserError, match="--folds 9"):
        make_splits(pool(4), SplitOptions(folds=9))


@given(st.data())
def test_every_part_gets_a_class_that_enough_units_have(data):
    """Any classes of single images: a class is missing in a part only if moving it there costs another class."""
    count, parts = data.draw(st.integers(4, 30)), data.draw(st.integers(2, 3))
    flags = data.draw(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=count, max_size=count))
    has_class = np.array(flags)
    chosen = stratify(
        has_class, np.ones(count, dtype=int), np.full(parts, 1 / parts), seed=data.draw(st.integers(0, 9))
    )
    assert ((chosen >= 0) & (chosen < parts)).all()
    counts = np.array([has_class[chosen == part].sum(axis=0) for part in range(parts)])
    missing = (counts == 0) & (has_class.sum(axis=0) >= parts)
    for part, class_index in zip(*np.nonzero(missing)):
        for unit in np.flatnonzero(has_class[:, class_index] & (chosen != part)):
            assert (counts[chosen[unit]][has_class[unit]] == 1).any()
