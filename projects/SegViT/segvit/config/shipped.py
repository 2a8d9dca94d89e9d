"""`find_config`: the path of a shipped config from its name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from segvit.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


def find_config(name: str | Path) -> Path:
    """The path of a config.

    Args:
        name: a path to a YAML file; or the name of a shipped config, such as "camvid/segvit_scratch_320x240", with or
            without its folder and its extension.

    Raises:
        UserError: there is no such file, or several shipped configs have this name.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    key = path.as_posix().removesuffix(".yaml")
    shipped = {file.relative_to(CONFIGS).with_suffix("").as_posix(): file for file in CONFIGS.rglob("*.yaml")}
    matches = [key] if key in shipped else [candidate for candidate in shipped if candidate.endswith(f"/{key}")]
    if len(matches) == 1:
        return shipped[matches[0]]
    if matches:
        raise UserError(f"config {str(name)!r} is ambiguous: {' or '.join(sorted(matches))}")
    leaves = [candidate for candidate in shipped if "Base-" not in candidate]
    near = get_close_matches(key, leaves, n=2, cutoff=0.4)
    hint = f"; near: {', '.join(near)}" if near else ""
    raise UserError(f"config {str(name)!r} is neither a file nor the name of a config in {CONFIGS}{hint}")
