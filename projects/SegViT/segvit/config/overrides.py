"""`KEY VALUE` overrides of a config, as a command's last words: checks, and a config with them.

Keys are dotted, such as "SOLVER.BASE_LR".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import chain, pairwise
from typing import Any

from yacs.config import CfgNode

from segvit.config.validation import require_types, require_values
from segvit.errors import UserError

Layer = dict[str, Any]


def with_overrides(cfg: CfgNode, opts: Sequence[Any]) -> CfgNode:
    """A copy of the config, not frozen, with overrides.

    Raises:
        UserError: the overrides are not pairs of known keys and values, a value has the wrong type or is out of range.
    """
    require_pairs(opts, [key for key, _ in dotted(cfg)])
    require_types(((str(key), value) for key, value in zip(opts[::2], opts[1::2])), cfg)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(list(opts))
    require_values(cfg)
    return cfg


def pairs_of(opts: Sequence[Any]) -> Layer:
    """Overrides `KEY VALUE KEY VALUE ...` as {key: value}. Raises UserError for a last key without a value."""
    if len(opts) % 2:
        raise UserError(f"overrides are KEY VALUE pairs: {opts[-1]} has no value")
    return dict(zip(opts[::2], opts[1::2], strict=True))


def words_of(layer: Mapping[str, Any]) -> list[Any]:
    """{key: value} as overrides `KEY VALUE KEY VALUE ...`."""
    return [*chain.from_iterable(layer.items())]


def require_pairs(opts: Sequence[object], known: Collection[str]) -> None:
    """Raise UserError unless the overrides are pairs of known keys and values, without a `--flag`."""
    flags = [opt for opt in opts if isinstance(opt, str) and opt.startswith("--")]
    if flags:
        raise UserError(f"{', '.join(flags)} must come before the KEY VALUE pairs, in front of {opts[0]}")
    joined = [opt for opt in map(str, opts[::2]) if "=" in opt and opt.partition("=")[0] in known]
    if joined:
        raise UserError(f"overrides are KEY VALUE pairs: write {joined[0].replace('=', ' ', 1)!r}, not {joined[0]!r}")
    if len(opts) % 2:
        lone = next((key for key, value in pairwise(opts) if key in known and value in known), opts[-1])
        raise UserError(f"overrides are KEY VALUE pairs: {lone} has no value")
    require_known(map(str, opts[::2]), known)


def require_known(keys: Iterable[str], known: Collection[str], origin: str = "") -> None:
    """Raise UserError, which `origin` begins, if a key is not among the known ones."""
    unknown = [_describe(key, known) for key in keys if key not in known]
    if unknown:
        raise UserError(f"{origin}there is no config key {', nor '.join(unknown)}")


def dotted(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested groups of keys."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _describe(key: str, known: Collection[str]) -> str:
    if any(name.startswith(f"{key}.") for name in known):
        return f"{key} (that is a group of keys)"
    near = get_close_matches(key.upper(), known, n=1, cutoff=0.5)
    return f"{key} (the nearest is {near[0]})" if near else key
