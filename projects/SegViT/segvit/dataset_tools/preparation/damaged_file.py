"""The error of everything here that reads a file."""

from __future__ import annotations

import os
from pathlib import Path


class DamagedFileError(Exception):
    """A file that cannot be read, or holds what it should not."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        super().__init__(path, what)  # both, or it could not travel between processes
        self.path, self.what = Path(path), what
