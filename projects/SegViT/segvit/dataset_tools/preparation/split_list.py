"""Text files that name the pictures of a split, one a line."""

from __future__ import annotations

from pathlib import Path

from segvit.dataset_tools.preparation.distribution import Problem


def read_split_list(path: Path, problems: list[Problem]) -> list[str]:
    """The names in a list, each once and in order; a list that is missing or empty is added to the problems."""
    try:
        stems = list(dict.fromkeys(path.read_text(encoding="utf-8").split()))
    except FileNotFoundError:
        problems.append(Problem(path, "the list of the split's pictures", is_missing=True))
        return []
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path, f"not a readable list of pictures ({error})"))
        return []
    if not stems:
        problems.append(Problem(path, "an empty list of pictures", is_missing=True))
    return stems
