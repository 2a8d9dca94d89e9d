"""`group_names`: groups of images, such as those of one video, by a regular expression on their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from segvit.errors import UserError

# How many names an error message lists.
MAX_LISTED = 3


def group_names(names: Sequence[str], pattern: str) -> dict[str, list[int]]:
    """Group -> positions of its names, by the first group of an expression, or all that it matches, at their start.

    Raises:
        UserError: the expression is malformed, does not match a name, or gives less than two groups.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise UserError(f"--groups {pattern!r} is no regular expression: {error}") from error
    groups: dict[str, list[int]] = {}
    without: list[str] = []
    for position, name in enumerate(names):
        found = expression.match(name)
        group = found and found[min(expression.groups, 1)]
        if group:
            groups.setdefault(group, []).append(position)
        else:
            without.append(name)
    if without:
        listed = ", ".join(without[:MAX_LISTED])
        raise UserError(f"--groups {pattern!r} finds no group in the names of {len(without)} images, such as {listed}")
    if len(groups) < 2:
        raise UserError(f"--groups {pattern!r} puts all {len(names)} images into one group, {next(iter(groups))!r}")
    return dict(sorted(groups.items()))
