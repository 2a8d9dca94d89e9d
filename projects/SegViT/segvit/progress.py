"""`progress_bar`: the `tqdm` bar of every command, at any width of the terminal and in files."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# tqdm's own lock is also one of processes, whose semaphore leaks in a process that ends by `os._exit`. Each bar here is
# one process's.
tqdm.set_lock(threading.RLock())


def progress_bar(
    items: Iterable[Item] | None = None,
    *,
    title: str,
    unit: str,
    total: int | None = None,
    start: int = 0,
    leave: bool = True,
    shown: bool = True,
) -> tqdm[Item]:
    """A bar on standard error, which counts the items while they are iterated over, or by `update`.

    Args:
        items: to iterate over.
        title, unit: words on the bar.
        total: the number of items, if they have no length.
        start: the number of items that were done before.
        leave: keep the bar on the terminal at its end.
        shown: False for no bar.
    """
    return tqdm(
        items,
        total=total,
        desc=title,
        unit=unit,
        initial=start,
        leave=leave,
        disable=not shown,
        # A file gets a line every half minute, not ten per second.
        mininterval=0.1 if sys.stderr.isatty() else 30,
        **_size(),
    )


def _size() -> dict[str, int | bool]:
    """The size of a bar: that of the terminal or, where it reports 0 columns, as in containers, 80 or COLUMNS."""
    try:
        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):  # A file, or no stream of the system, has no width.
        known = True
    return {"dynamic_ncols": True} if known else {"ncols": shutil.get_terminal_size().columns, "nrows": 24}
