"""Which classes a model learns in which step of continual segmentation (SegViTv2, continual experiments)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from segvit.errors import UserError

ClassGroups = tuple[tuple[int, ...], ...]


def protocol_sizes(protocol: str, num_classes: int) -> list[int]:
    """The sizes of the groups that a shorthand means.

    "100-50" of 150 classes is 100, then 50; the last number repeats until all classes have a group, as usual in
    continual segmentation: "100-10" is 100 and five times 10. What is left at the end is a smaller group.

    Raises:
        UserError: where the shorthand is no numbers with dashes between, or asks for more classes than there are.
    """
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)*", protocol):
        raise UserError(f"MODEL.SEGVIT.CONTINUAL.PROTOCOL {protocol!r} must be numbers of classes, such as '100-50'")
    sizes = [int(size) for size in protocol.split("-")]
    if sum(sizes) > num_classes:
        raise UserError(
            f"MODEL.SEGVIT.CONTINUAL.PROTOCOL {protocol!r} names {sum(sizes)} classes, but there are {num_classes}"
        )
    while (left := num_classes - sum(sizes)) > 0:
        sizes.append(min(sizes[-1], left))
    return sizes


def split_into_groups(order: Sequence[int], sizes: Sequence[int]) -> ClassGroups:
    """Cut a sequence of class ids into groups of these sizes."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return tuple(tuple(order[end - size : end]) for size, end in zip(sizes, ends, strict=True))


def class_ids(classes: Sequence[int | str], names: Sequence[str], num_classes: int, *, key: str) -> list[int]:
    """Ids of classes that are given by id or by name.

    Raises:
        UserError: naming the config key, for a name or an id that does not exist.
    """
    ids = [names.index(entry) if entry in names else entry for entry in classes]
    unknown = [entry for entry in ids if type(entry) is not int or not 0 <= entry < num_classes]
    if unknown:
        raise UserError(
            f"{key}: {unknown} are neither ids below {num_classes} nor names of classes"
            + (f" ({', '.join(names[:12])}, ...)" if names else "")
        )
    return ids


def require_disjoint(groups: ClassGroups, *, key: str) -> None:
    """Raise UserError, naming the config key, where a group is empty or a class is in two."""
    repeated = sorted(entry for entry, count in Counter(sum(groups, ())).items() if count > 1)
    if repeated:
        raise UserError(f"{key}: classes {repeated} are there more than once")
    if not all(groups):
        raise UserError(f"{key}: group {groups.index(())} has no class")
