"""`Finding`: one kind of problem in a dataset, with the files concerned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
# How many files a message lists; report.json has all.
MAX_LISTED = 5


@dataclass(frozen=True)
class Finding:
    """One kind of problem in one split (or, with the split "", in the whole dataset).

    Attributes:
        kind: a short constant name, such as "shifted_ids".
        severity: an "error" stops training or invalidates its metrics; a "warning" may be intended.
        split: the name of the split.
        message: the problem and its remedy.
        files: all files concerned.
    """

    kind: str
    severity: Severity
    split: str
    message: str
    files: tuple[str, ...] = ()

    def describe(self) -> str:
        """Lines for the terminal."""
        where = f" in {self.split}" if self.split else ""
        count = f" ({len(self.files)})" if self.files else ""
        title = f"{self.severity.upper()} {self.kind}{where}{count}: {self.message}"
        return "\n".join([title, *(f"    {file}" for file in self._listed())])

    def _listed(self) -> Sequence[str]:
        more = len(self.files) - MAX_LISTED
        return [*self.files[:MAX_LISTED], *([f"... and {more} more"] if more > 0 else [])]
