"""Protocols such as "100-50", and groups of class ids."""

import pytest

from segvit.modeling.continual.class_groups import class_ids, protocol_sizes, require_disjoint, split_into_groups


@pytest.mark.parametrize(
    ("protocol", "num_classes", "sizes"),
    [
        ("100-50", 150, [100, 50]),
        ("100-10", 150, [100] + 5 * [10]),
        ("100-5", 150, [100] + 10 * [5]),
        ("50-50", 150, [50, 50, 50]),
        ("30-29", 59, [30, 29]),
        ("7-4", 11, [7, 4]),
        ("5-2-2-2", 11, [5, 2, 2, 2]),
        ("5-3", 10, [5, 3, 2]),
        ("11", 11, [11]),
    ],
)
def test_a_protocol_is_split_into_group_sizes(protocol, num_classes, sizes):
    assert protocol_sizes(protocol, num_classes) == sizes


@pytest.mark.parametrize("protocol", ["", "7-", "a-b", "7-0", "-7", "7 - 4"])
def test_malformed_protocols_are_refused(protocol):
    with pytest.raises(ValueError, match=r"^protocol .* must be numbers of classes"):
        protocol_sizes(protocol, 11)


def test_a_protocol_with_too_many_classes_is_refused():
    with pytest.raises(ValueError, match=r"^protocol '7-5' has 12 classes"):
        protocol_sizes("7-5", 11)


def test_groups_follow_the_order():
    assert split_into_groups([4, 2, 0, 1, 3], [2, 3]) == ((4, 2), (0, 1, 3))


def test_classes_are_given_by_id_or_name():
    assert class_ids(["b", 0], ["a", "b"], 2) == [1, 0]


@pytest.mark.parametrize("entry", ["c", 2, -1, 0.5, True])
def test_unknown_classes_are_refused(entry):
    with pytest.raises(ValueError, match=r"^classes \[.*\] are neither ids below 2"):
        class_ids([entry], ["a", "b"], 2)


def test_a_class_in_two_groups_is_refused():
    with pytest.raises(ValueError, match=r"^groups .*\[1\] more than once"):
        require_disjoint(((0, 1), (1,)))


def test_an_empty_group_is_refused():
    with pytest.raises(ValueError, match=r"^groups has no class in group 1"):
        require_disjoint(((0, 1), ()))
