"""The layout of the code: no import cycles between packages; limits on folders, files and functions."""

import ast
from collections import Counter
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


REPOSITORY = PACKAGE.parents[2]


def python_files():
    return [path for folder in ("projects", "datasets", "scripts") for path in (REPOSITORY / folder).rglob("*.py")]


def test_no_folder_holds_more_than_twelve_python_files():
    folders = Counter(path.parent for path in python_files() if path.name != "__init__.py")
    assert {str(folder): count for folder, count in folders.items() if count > 12} == {}


def test_files_have_at_most_300_lines_and_functions_60():
    too_long = {}
    for path in python_files():
        code = path.read_text(encoding="utf-8")
        too_long[path.name] = len(code.splitlines()) - 300
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef):
                too_long[f"{path.name}: {node.name}"] = node.end_lineno - node.lineno + 1 - 60
    assert {name: excess for name, excess in too_long.items() if excess > 0} == {}
