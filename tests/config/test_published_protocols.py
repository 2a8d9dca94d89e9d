"""Orders of classes and steps of the shipped continual configs, against those of MiB and PLOP (tasks.py of each)."""

import pytest

from helpers.repository import CONFIGS
from segvit.config.continual_step import continual_step, training_labels
from segvit.d2 import load_config

# MiB's ADE20K ids begin at 1; 0 is void, which is no class here. Its order b: the first groups of 50b, and 100-10b's.
ORDER_B = (
    {
        *(1, 9, 14, 18, 22, 24, 25, 27, 28, 29, 32, 38, 42, 45, 46, 47, 48, 49, 54, 56, 58, 61, 62, 63, 69, 74, 75, 76),
        *(77, 81, 82, 84, 90, 93, 96, 100, 103, 104, 109, 117, 119, 121, 123, 128, 129, 130, 134, 135, 136, 144),
    },
    {
        *(3, 5, 6, 8, 10, 12, 13, 19, 21, 23, 26, 31, 33, 34, 36, 39, 40, 43, 44, 53, 55, 57, 60, 70, 71, 80, 86, 87),
        *(91, 95, 99, 101, 105, 106, 107, 113, 116, 120, 125, 126, 131, 132, 133, 140, 142, 143, 147, 148, 149, 150),
    },
    (
        {11, 16, 50, 64, 66, 73, 89, 92, 145, 146},
        {30, 37, 51, 52, 72, 85, 98, 114, 115, 138},
        {2, 35, 65, 97, 110, 111, 112, 118, 124, 141},
        {4, 7, 15, 41, 67, 78, 79, 88, 108, 139},
        {17, 20, 59, 68, 83, 94, 102, 122, 127, 137},
    ),
)
ORDER_C = (
    {
        *(5, 10, 11, 12, 13, 16, 17, 19, 20, 23, 27, 28, 30, 31, 32, 33, 37, 43, 46, 52, 56, 57, 65, 66, 69, 70, 74),
        *(76, 77, 79, 82, 83, 86, 87, 105, 109, 110, 111, 119, 128, 129, 132, 133, 134, 138, 142, 143, 144, 146, 147),
    },
    {
        *(1, 6, 8, 9, 14, 24, 25, 26, 29, 34, 35, 36, 40, 41, 44, 45, 48, 50, 54, 61, 63, 67, 68, 71, 78, 81, 84, 85),
        *(90, 94, 95, 96, 97, 98, 99, 102, 106, 112, 114, 115, 118, 120, 121, 123, 124, 126, 135, 136, 139, 149),
    },
    (
        {3, 4, 7, 18, 39, 64, 73, 101, 113, 137},
        {47, 51, 55, 60, 62, 80, 116, 127, 140, 148},
        {22, 42, 49, 58, 59, 89, 91, 92, 108, 125},
        {2, 38, 53, 100, 104, 117, 130, 131, 141, 145},
        {15, 21, 72, 75, 88, 93, 103, 107, 122, 150},
    ),
)


def ranges(*ends):
    """Consecutive classes, each group up to one of the ends; ids from 1."""
    return [set(range(first + 1, last + 1)) for first, last in zip((0, *ends), ends)]


def in_order(order):
    """The published ADE20K tasks of an order: 100-50, 100-10 and 50 (-50-50)."""
    first, second, tens = order
    return {
        "100-50": [first | second, set().union(*tens)],
        "100-10": [first | second, *tens],
        "50-50": [first, second, set().union(*tens)],
    }


ADE20K = {
    "100-50": ranges(100, 150),
    "100-10": ranges(100, 110, 120, 130, 140, 150),
    "100-5": ranges(100, *range(105, 151, 5)),
    "50-50": ranges(50, 100, 150),
    **{f"{name}_b": groups for name, groups in in_order(ORDER_B).items()},
    **{f"{name}_c": groups for name, groups in in_order(ORDER_C).items()},
}
# With the background, 0, in the first group.
VOC = {
    "19-1": ranges(19, 20),
    "15-5": ranges(15, 20),
    "15-1": ranges(15, *range(16, 21)),
    "10-1": ranges(10, *range(11, 21)),
    "5-3": ranges(5, 8, 11, 14, 17, 20),
}


def step_of(name, index, *opts):
    cfg = load_config(CONFIGS / "continual" / f"{name}.yaml", ["MODEL.SEGVIT.CONTINUAL.STEP", index, *opts])
    return continual_step(cfg), cfg


@pytest.mark.parametrize("name", ADE20K)
def test_ade20k_groups_are_the_published_ones(name):
    step, _ = step_of(f"ade20k_{name}", 0)
    assert [{class_id + 1 for class_id in group} for group in step.groups] == ADE20K[name]
    assert len(step.iterations) == len(ADE20K[name]) and step.background_class == -1


@pytest.mark.parametrize("name", VOC)
def test_voc_groups_are_the_published_ones_with_the_background_first(name):
    step, _ = step_of(f"voc_{name}", 0)
    first, *later = VOC[name]
    assert [set(group) for group in step.groups] == [{0, *first}, *later]
    assert len(step.iterations) == len(VOC[name]) and step.background_class == 0


def test_voc_labels_of_other_classes_are_background_in_the_first_step_and_negatives_after_it():
    step, cfg = step_of("voc_15-5", 0)
    assert training_labels(cfg).tolist() == [*range(16), 0, 0, 0, 0, 0]
    assert step.selecting_classes == tuple(range(1, 16))
    step, cfg = step_of("voc_15-5", 1)
    assert training_labels(cfg).tolist() == [21] * 16 + [16, 17, 18, 19, 20]


def test_a_background_class_outside_the_first_group_is_refused():
    key = "MODEL.SEGVIT.CONTINUAL"
    groups = [f"{key}.PROTOCOL", "", f"{key}.ITERATIONS", "[]", f"{key}.GROUPS", "[[1, 2], [0, 3]]"]
    with pytest.raises(ValueError, match="BACKGROUND_CLASS 0 must be in the first group"):
        step_of("voc_15-5", 0, *groups)
    with pytest.raises(ValueError, match="BACKGROUND_CLASS"):
        step_of("voc_15-5", 0, f"{key}.BACKGROUND_CLASS", "void")
