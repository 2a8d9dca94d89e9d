"""`expiring_files`: deletes old files of a folder while a `with` block runs.

Gradio itself deletes complete uploads and its own images, but not what is left of an upload that breaks off.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def expiring_files(folder: Path, *, age: float, interval: float) -> Iterator[None]:
    """Every `interval` seconds delete the files below `folder` that were written more than `age` seconds ago."""
    end = threading.Event()

    def clean_up() -> None:
        while not end.wait(interval):
            delete_expired(folder, age=age)

    thread = threading.Thread(target=clean_up, name="expiring files", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def delete_expired(folder: Path, *, age: float) -> None:
    """Delete files and links below `folder` older than `age` seconds, and empty folders of that age."""
    latest = time.time() - age
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            path = os.path.join(parent, name)
            # Another thread may delete a file, too; a folder may not be empty.
            with suppress(OSError):
                if os.lstat(path).st_mtime < latest:
                    if name in files or os.path.islink(path):
                        os.unlink(path)
                    else:
                        os.rmdir(path)
