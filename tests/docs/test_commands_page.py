"""docs/commands.md: it shows every command of the project, and the parser of each accepts what is shown."""

import importlib.util
import re
import shlex

import pytest

from helpers.repository import PROJECT, ROOT

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SHOWN = [line for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
# These have no options, or are parts of another command.
MOVED = {"tools/benchmark.py", "tools/benchmark_parts.py"}
# Their subject is a checkpoint, data, a run, or configs of their own.
WITHOUT_MODEL = {
    "pack_model.py",
    "demo/toy_demo.py",
    "tools/check_dataset.py",
    "tools/import_dataset.py",
    "tools/convert_official_checkpoint.py",
    "tools/plot_pareto.py",
    "tools/plot_training.py",
    "tools/run_ablations.py",
    "benchmarks/gpu_proof.py",
}


def commands():
    """Every file of the project with a program in it."""
    paths = [
        path
        for folder in ("", "tools", "tools/tokens", "demo", "benchmarks")
        for path in (PROJECT / folder).glob("*.py")
    ]
    programs = [path.relative_to(PROJECT).as_posix() for path in paths if '"__main__"' in path.read_text("utf-8")]
    return sorted(set(programs) - MOVED)


def name_of(line):
    return re.search(r"projects/SegViT/(\S+)", line)[1]


def parser_of(name, monkeypatch):
    path = PROJECT / name
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"command_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build_parser()


def test_every_command_is_on_the_page():
    assert sorted({name_of(line) for line in SHOWN}) == commands()


def test_every_command_but_those_of_the_last_section_has_a_model():
    with_model = {name_of(line) for line in SHOWN if " --model " in line}
    assert with_model == set(commands()) - WITHOUT_MODEL


@pytest.mark.parametrize("line", [line for line in SHOWN if "onnx_example" not in line])
def test_the_parser_accepts_what_is_shown(line, monkeypatch):
    parser = parser_of(name_of(line), monkeypatch)
    words = shlex.split(line)[2:]
    args = vars(parser.parse_args(words))
    if "--model" in words:
        assert args["model"] == words[words.index("--model") + 1]
    assert "--output" not in words or str(args["output"]) == words[words.index("--output") + 1]
