"""Groups of class ids that continual segmentation learns one after the other (SegViTv2, continual learning)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from segvit.errors import ArgumentError

ClassGroups = tuple[tuple[int, ...], ...]


def protocol_sizes(protocol: str, num_classes: int) -> list[int]:
    """Group sizes of a protocol such as "100-50".

    Of 150 classes, "100-50" learns 100, then 50. The last number repeats until every class is in a group, as usual in
    continual segmentation: "100-10" is 100 and five times 10. The last group may be smaller.

    Raises:
        ArgumentError: for a protocol that is not positive numbers joined by dashes, or with more than `num_classes`.
    """
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)*", protocol):
        raise ArgumentError("protocol", f"{protocol!r} must be numbers of classes, such as '100-50'")
    sizes = [int(size) for size in protocol.split("-")]
    if sum(sizes) > num_classes:
        raise ArgumentError("protocol", f"{protocol!r} has {sum(sizes)} classes, but the model has {num_classes}")
    while (left := num_classes - sum(sizes)) > 0:
        sizes.append(min(sizes[-1], left))
    return sizes


def split_into_groups(order: Sequence[int], sizes: Sequence[int]) -> ClassGroups:
    """Cut a sequence of class ids into groups of these sizes."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return tuple(tuple(order[end - size : end]) for size, end in zip(sizes, ends, strict=True))


def class_ids(classes: Sequence[int | str], names: Sequence[str], num_classes: int) -> list[int]:
    """Ids of classes that are given by id or by name.

    Raises:
        ArgumentError: for an unknown name or id.
    """
    ids: list[int] = []
    unknown: list[int | str] = []
    for class_ in classes:
        class_id = names.index(class_) if isinstance(class_, str) and class_ in names else class_
        # `type` and not `isinstance`: True is not a class id.
        if type(class_id) is int and 0 <= class_id < num_classes:
            ids.append(class_id)
        else:
            unknown.append(class_)
    if unknown:
        examples = f" ({', '.join(names[:12])}, ...)" if names else ""
        raise ArgumentError("classes", f"{unknown} are neither ids below {num_classes} nor names of classes{examples}")
    return ids


def require_disjoint(groups: ClassGroups) -> None:
    """Raise ArgumentError if a group is empty or a class is in two groups."""
    counts = Counter(class_id for group in groups for class_id in group)
    repeated = sorted(class_id for class_id, count in counts.items() if count > 1)
    if repeated:
        raise ArgumentError("groups", f"has classes {repeated} more than once")
    if not all(groups):
        raise ArgumentError("groups", f"has no class in group {groups.index(())}")
