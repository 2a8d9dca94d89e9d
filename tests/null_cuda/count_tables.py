"""Tables of launches and waits, which a test compares with what it counts: a new wait is then seen in review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from null_device import run_on_null_device

# The share by which the number of launches may differ: versions of PyTorch split work differently.
TOLERANCE = 0.05


def write_table(path: Path, counts: dict[str, dict[str, Any]]) -> None:
    """Write the launches and waits of each case, a line each."""
    lines = [
        f"{json.dumps(case)}: {json.dumps({'launches': count['launches'], 'waits': count['waits']})}"
        for case, count in counts.items()
    ]
    path.write_text("{\n " + ",\n ".join(lines) + "\n}\n", encoding="utf-8")


def differences(counts: dict[str, dict[str, Any]], table: Path) -> list[str]:
    """What differs from the table, in words: missing or new cases, launches beyond `TOLERANCE`, any number of waits."""
    expected = json.loads(table.read_text(encoding="utf-8"))
    found = [f"{case}: in the table, but not counted" for case in expected.keys() - counts.keys()]
    found += [f"{case}: counted, but not in the table" for case in counts.keys() - expected.keys()]
    for case in expected.keys() & counts.keys():
        old, new = expected[case], counts[case]
        if abs(new["launches"] - old["launches"]) > TOLERANCE * old["launches"]:
            found.append(f"{case}: {new['launches']} launches, in the table {old['launches']}")
        if new["waits"] != old["waits"]:
            found.append(f"{case}: {new['waits']} waits, in the table {old['waits']}: {new['wait_lines']}")
    return sorted(found)


def require_counts_of_table(folder: Path, script: Path, table: Path) -> None:
    """Run a script that counts on the null device built in `folder`. Raises AssertionError for `differences`."""
    found = differences(json.loads(run_on_null_device(folder, script)), table)
    command = f"python tests/null_cuda/null_device.py tests/null_cuda/{script.name} --write"
    assert not found, "\n".join([*found, f"if the change is meant: {command}"])
