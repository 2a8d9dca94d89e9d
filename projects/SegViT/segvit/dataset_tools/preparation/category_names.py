"""Checks that a distribution numbers its labels as expected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from segvit.dataset_tools.preparation.damaged_file import DamagedFileError
from segvit.dataset_tools.preparation.distribution import Problem

LINE = re.compile(r"\s*(\d+)\s*:\s*(\S.*?)\s*")


def read_label_list(path: Path) -> dict[int, str]:
    """Id -> name, from lines such as `2: aeroplane`. Raises DamagedFileError where there are other lines."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(path, f"not a readable list of labels ({error})") from error
    matches = [LINE.fullmatch(line) for line in lines]
    if not matches or None in matches:
        raise DamagedFileError(path, "not a list of labels, with a line such as '2: aeroplane' for each")
    return {int(match[1]): match[2] for match in matches if match}


def check_category_names(
    path: Path,
    names: Mapping[int, str],
    expected: Sequence[tuple[int, str]],
    problems: list[Problem],
    notes: list[str],
) -> None:
    """Compare id -> name with what is expected. Another id for a name is a problem, another name for an id a note."""
    ids = {name: index for index, name in names.items()}
    for index, name in expected:
        if names.get(index) == name:
            continue
        if name in ids:
            problems.append(Problem(path, f"label {name} has id {ids[name]}, in PASCAL-Context {index}"))
        elif index in names:
            notes.append(f"{path}: label {index} is called {names[index]}, here {name}")
        else:
            problems.append(Problem(path, f"has no label {index}, {name}"))
