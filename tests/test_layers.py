"""The packages of `segvit` stand on floors: no two of them import each other, by however long a way."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import segvit

PACKAGE = Path(segvit.__file__).parent


def room_of(parts):
    """The package that a module is in; the rooms of `modeling` are packages of their own."""
    return ".".join(parts[: 2 if parts[0] == "modeling" else 1]) if parts else ""


def imports_of(path):
    """What a file imports from `segvit`, as parts of dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "segvit":
            base = node.module.split(".")[1:]
            yield from (
                [*base, name.name] if (PACKAGE.joinpath(*base, name.name)).is_dir() else base for name in node.names
            )


def test_no_two_packages_import_each_other():
    graph = {}
    for path in PACKAGE.rglob("*.py"):
        room = room_of(path.relative_to(PACKAGE).with_suffix("").parts)
        graph.setdefault(room, set()).update(room_of(parts) for parts in imports_of(path))
    for room, needs in graph.items():
        needs -= {room, ""}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the packages
    assert {"modeling.encoder", "d2", "engine"} <= set(order)
