"""The former paths of commands in tools/: each warns and runs the moved script."""

import os
import runpy
import sys

import pytest

from helpers.repository import PROJECT

MOVED = {
    "benchmark.py": "benchmarks",
    "benchmark_parts.py": "benchmarks",
    "draw_tokens.py": "tools/tokens",
    "evaluate_edges.py": "tools/tokens",
}


@pytest.mark.parametrize("name", MOVED)
def test_former_path_runs_the_moved_command(name, monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append((program, command)))
    monkeypatch.setattr(sys, "argv", [name, "--threads", "1"])
    runpy.run_path(str(PROJECT / "tools" / name), run_name="__main__")
    moved = PROJECT / MOVED[name] / name
    assert moved.is_file()
    assert commands == [(sys.executable, [sys.executable, str(moved), "--threads", "1"])]
    assert str(moved) in capsys.readouterr().err
