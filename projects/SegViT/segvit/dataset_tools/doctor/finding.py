"""What the dataset doctor can find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
# Of a long list of files a message names these; the report file has all.
MAX_NAMED = 5


@dataclass(frozen=True)
class Finding:
    """One kind of problem in one split (or, with the split "", between them).

    An error stops training or makes its figures wrong; a warning may be meant that way. `kind` is a short constant
    name, `files` all that are concerned.
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
        return "\n".join([title, *(f"    {file}" for file in self._named())])

    def _named(self) -> Sequence[str]:
        more = len(self.files) - MAX_NAMED
        return [*self.files[:MAX_NAMED], *([f"... and {more} more"] if more > 0 else [])]
