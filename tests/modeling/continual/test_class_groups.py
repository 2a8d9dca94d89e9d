"""Shorthands, orders and groups of classes."""

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
def test_protocols(protocol, num_classes, sizes):
    assert protocol_sizes(protocol, num_classes) == sizes


@pytest.mark.parametrize("protocol", ["", "7-", "a-b", "7-0", "-7", "7 - 4"])
def test_what_is_no_protocol(protocol):
    with pytest.raises(ValueError, match="must be numbers of classes, such as '100-50'"):
        protocol_sizes(protocol, 11)


def test_more_classes_than_there_are():
    with pytest.raises(ValueError, match="names 12 classes, but there are 11"):
        protocol_sizes("7-5", 11)


def test_groups_follow_the_order():
    assert split_into_groups([4, 2, 0, 1, 3], [2, 3]) == ((4, 2), (0, 1, 3))


def test_ids_and_names():
    assert class_ids(["b", 0], ["a", "b"], 2, key="KEY") == [1, 0]


@pytest.mark.parametrize("entry", ["c", 2, -1, 0.5, True])
def test_unknown_classes(entry):
    with pytest.raises(ValueError, match=r"KEY: .* are neither ids below 2 nor names of classes \(a, b"):
        class_ids([entry], ["a", "b"], 2, key="KEY")


def test_a_class_in_two_groups():
    with pytest.raises(ValueError, match=r"KEY: classes \[1\] are there more than once"):
        require_disjoint(((0, 1), (1,)), key="KEY")


def test_an_empty_group():
    with pytest.raises(ValueError, match="KEY: group 1 has no class"):
        require_disjoint(((0, 1), ()), key="KEY")
