"""Help texts of all commands: lower-case fragments with the default in brackets, and a name for each value."""

import ast
import re

import pytest

from helpers.repository import PROJECT, ROOT

COMMANDS = [
    path
    for folder in ("", "tools", "tools/tokens", "demo", "benchmarks", ROOT / "datasets")
    for path in sorted((PROJECT / folder).glob("*.py"))
] + [PROJECT / "segvit/engine/launch_options.py", PROJECT / "segvit/dataset_tools/preparation/command.py"]
# A config is always needed, or one of --input and --webcam; a dataset is converted only if asked for.
WITHOUT_DEFAULT = (
    "--config-file",
    "--input",
    "--convert-to",
    "--convert-colors",
    "--convert-in-place",
    "--map-ids",
)


def options(path):
    """Calls of `add_argument`, as (name of the option, its keywords)."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call) and node.args)
    for call in calls:
        name = call.args[0]
        if ast.unparse(call.func).rpartition(".")[2] in ("add", "add_argument") and isinstance(
            name, (ast.Constant, ast.Name)
        ):
            yield ast.unparse(name).strip("'"), {word.arg: word.value for word in call.keywords}


def help_text(keywords):
    """The text as it is in the code; values of an f-string stay names in braces."""
    value = keywords["help"]
    if isinstance(value, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else ast.unparse(part) for part in value.values)
    return value.value if isinstance(value, ast.Constant) else ast.unparse(value)


def faults(name, keywords):
    if "help" not in keywords:
        return ["no help"]
    text = help_text(keywords)
    found = []
    if not re.match(r"[a-z{(]|[A-Z]{2,}\b", text) or text.endswith("."):
        found.append("no lower-case fragment")
    is_option = name.startswith("-") or name == "option"
    is_remainder = "nargs" in keywords and ast.unparse(keywords["nargs"]) == "argparse.REMAINDER"
    takes_value = "action" not in keywords and not is_remainder
    may_be_left_out = is_option and not is_remainder and "required" not in keywords and name not in WITHOUT_DEFAULT
    if may_be_left_out and "default: " not in text and not text.endswith("(needed)"):
        found.append("no default")
    if is_option and takes_value and not {"metavar", "choices"} & set(keywords):
        found.append("no metavar")
    return found


@pytest.mark.parametrize("path", [path for path in COMMANDS if list(options(path))], ids=lambda path: path.name)
def test_help_is_a_fragment_with_its_default(path):
    assert {name: faults(name, keywords) for name, keywords in options(path) if faults(name, keywords)} == {}
