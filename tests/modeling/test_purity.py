"""`segvit.modeling` imports torch, timm and the standard library only, and names no config keys.

`segvit.assembly`, which reads them, imports no Detectron2 either.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import segvit.modeling

FOLDER = Path(segvit.modeling.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
ALLOWED = {"torch", "timm"} | sys.stdlib_module_names

# Imports every module of the package while Detectron2 and the libraries it brings cannot be found.
SCRIPT = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
package = importlib.import_module(PACKAGE)
names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}.")]
for name in names:
    importlib.import_module(name)
try:
    import detectron2
except ImportError:
    print(len(names))
"""


BROUGHT = ("detectron2", "fvcore", "iopath", "omegaconf")
# yacs holds the config of a model.
BLOCKED = {"modeling": (*BROUGHT, "yacs", "cv2", "matplotlib"), "assembly": (*BROUGHT, "cv2", "matplotlib")}


@pytest.mark.parametrize("package", BLOCKED)
def test_a_package_imports_without_detectron2(package):
    script = f"PACKAGE, BLOCKED = 'segvit.{package}', {BLOCKED[package]}\n{SCRIPT}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = list((FOLDER.parent / package).rglob("*.py"))
    assert int(done.stdout) == len(files) - 1  # walk_packages does not list the package itself


def imported_modules(path):
    """Absolute names of the modules that a file imports, anywhere in it."""
    package = ["segvit", "modeling", *path.relative_to(FOLDER).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*base, node.module] if node.module else base)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_imports_torch_timm_and_segvit_modeling_only(path):
    for name in imported_modules(path):
        assert name.partition(".")[0] in ALLOWED or name.startswith("segvit.modeling") or name == "segvit.errors", name


def test_no_file_names_a_config_key():
    """Errors name arguments; `segvit.errors.renamed_arguments` replaces them by keys."""
    assert [path.name for path in FILES if re.search(r"\bMODEL\.[A-Z]", path.read_text())] == []
