"""The layout of the code: no import cycles between packages; limits on folders, files and functions."""

import ast
import re
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


def test_the_documented_rooms_are_those_of_the_package():
    text = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    listing = text[text.index("  segvit/ ") : text.index("```", text.index("  segvit/ "))]
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^    (\w+)/", listing, re.MULTILINE)) == folders
    rooms = {path.name for path in (PACKAGE / "modeling").iterdir() if (path / "__init__.py").is_file()}
    assert set(re.findall(r"^      (\w+)/", listing, re.MULTILINE)) == rooms
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"\b(\w+\.py)\b", listing[listing.index("errors.py") :])) == modules


REPOSITORY = PACKAGE.parents[2]
PRODUCT = ("projects", "datasets", "scripts")


def python_files(*folders):
    return [path for folder in folders for path in (REPOSITORY / folder).rglob("*.py")]


def test_no_folder_holds_more_than_twelve_python_files():
    """Scripts that only run what has moved do not count."""
    files = [path for path in python_files(*PRODUCT) if not path.read_text("utf-8").startswith('"""The former path of')]
    folders = Counter(path.parent for path in files if path.name != "__init__.py")
    assert {str(folder): count for folder, count in folders.items() if count > 12} == {}


def longer_than(limit, files):
    lines = {str(path.relative_to(REPOSITORY)): len(path.read_text("utf-8").splitlines()) for path in files}
    return {name: count for name, count in lines.items() if count > limit}


def test_files_have_at_most_250_lines_and_those_of_tests_300():
    assert longer_than(250, python_files(*PRODUCT)) == {}
    assert longer_than(300, python_files("tests")) == {}


def test_functions_have_at_most_60_lines():
    too_long = {}
    for path in python_files(*PRODUCT):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60:
                too_long[f"{path.name}: {node.name}"] = node.end_lineno - node.lineno + 1
    assert too_long == {}
