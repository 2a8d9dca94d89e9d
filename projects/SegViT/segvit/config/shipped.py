"""Configs by name: the YAML files that come with the project."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from segvit.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def find_config(name: str | Path) -> Path:
    """The file that a path or a name stands for.

    Args:
        name: a path to a YAML file; or the name of a shipped config, such as "camvid/segvit_scratch_320x240", with or
            without its folder and its extension.

    Raises:
        UserError: where there is no such file, or several shipped configs have that name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    wanted = path.as_posix().removesuffix(".yaml")
    shipped = {file.relative_to(CONFIGS).with_suffix("").as_posix(): file for file in CONFIGS.rglob("*.yaml")}
    found = [key for key in shipped if key == wanted] or [key for key in shipped if key.endswith(f"/{wanted}")]
    if len(found) == 1:
        return shipped[found[0]]
    if found:
        raise UserError(f"config {str(name)!r} is ambiguous: {' or '.join(sorted(found))}")
    leaves = [key for key in shipped if "Base-" not in key]
    near = get_close_matches(wanted, leaves, n=2, cutoff=0.4)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise UserError(f"config {str(name)!r} is neither a file nor the name of a config in {CONFIGS}{hint}")
