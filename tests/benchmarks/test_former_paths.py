"""The former paths tools/benchmark.py and tools/benchmark_parts.py: each warns and runs the moved script."""

import os
import runpy
import sys

import pytest

from helpers.repository import PROJECT


@pytest.mark.parametrize("name", ["benchmark.py", "benchmark_parts.py"])
def test_former_path_runs_the_moved_command(name, monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append((program, command)))
    monkeypatch.setattr(sys, "argv", [name, "--threads", "1"])
    runpy.run_path(str(PROJECT / "tools" / name), run_name="__main__")
    moved = PROJECT / "benchmarks" / name
    assert moved.is_file()
    assert commands == [(sys.executable, [sys.executable, str(moved), "--threads", "1"])]
    assert str(moved) in capsys.readouterr().err
