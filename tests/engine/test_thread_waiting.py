"""Programs that train set OMP_WAIT_POLICY before torch is loaded, unless the user has set it."""

import ast
import os
import subprocess
import sys

import pytest

from helpers.repository import PROJECT

PROGRAMS = (
    "train_net.py",
    "train_continual.py",
    "cross_validate.py",
    "demo/toy_demo.py",
    "tools/run_ablations.py",
    "tools/compare_backbones.py",
    "tools/compare_heads.py",
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_segvit_is_the_first_import(program):
    tree = ast.parse((PROJECT / program).read_text())
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert imports[0].module == "__future__"
    assert isinstance(imports[1], ast.Import) and imports[1].names[0].name == "segvit"


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    code = "import segvit, os, sys; assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == expected, done.stderr
