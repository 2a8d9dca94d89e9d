"""SHA-256 checksums of the prepared files, in a file that `sha256sum --check` reads.

During a run they are appended to a journal, so that an interrupted run can continue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from segvit.output_files import atomic_write_text

NAME = "prepared.sha256"
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class ChecksumFile:
    """`folder/prepared.sha256`. Its first line is a comment with the `version`; files of other versions are ignored."""

    def __init__(self, folder: Path, *, version: str) -> None:
        self.folder, self.path = folder, folder / NAME
        self._header = f"# {version}\n"
        self._journal = folder / f".{NAME}.journal"

    def read(self) -> dict[Path, str]:
        """File -> checksum, from the last complete run and from an interrupted run after it."""
        return {**self._parse(self.path), **self._parse(self._journal)}

    def begin(self) -> None:
        """Prepare for `append`; keeps the journal of an interrupted run of the same version."""
        if not (self._journal.is_file() and self._journal.read_bytes().startswith(self._header.encode())):
            atomic_write_text(self._journal, self._header)

    def append(self, checksums: Mapping[Path, str]) -> None:
        """Add files to the journal."""
        with self._journal.open("a", encoding="utf-8") as file:
            file.writelines(self._lines(checksums))

    def finish(self, checksums: Mapping[Path, str]) -> None:
        """Write the checksum file and remove the journal."""
        lines = sorted(self._lines(checksums), key=lambda line: line[66:])  # by file name, after 64 digits
        atomic_write_text(self.path, self._header + "".join(lines))
        self._journal.unlink(missing_ok=True)

    def _lines(self, checksums: Mapping[Path, str]) -> list[str]:
        return [f"{digest}  {path.relative_to(self.folder).as_posix()}\n" for path, digest in checksums.items()]

    def _parse(self, path: Path) -> dict[Path, str]:
        try:
            header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        except (FileNotFoundError, ValueError):
            return {}
        if header != self._header:
            return {}
        matches = [LINE.fullmatch(line.rstrip("\n")) for line in lines if line.endswith("\n")]
        return {self.folder / match[2]: match[1] for match in matches if match}
