"""Checkpoint files read as data: no code from them is run, and every error names the file."""

from __future__ import annotations

import argparse
import pickle
import pickletools
import re
from pathlib import Path

import timm
import torch

from segvit.errors import UserError


class DamagedFile(UserError):
    """A file that cannot be read to its end."""


def read_weight_file(path: str | Path) -> dict[str, object]:
    """The content of a `.safetensors` file or of one that `torch.save` wrote, on the CPU.

    Raises:
        FileNotFoundError: where there is no such file.
        UserError: where the file is empty, damaged, no dict, or holds code.
    """
    require_content(path)
    try:
        content = _read(str(path))
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # a damaged file fails in any way
        if _asks_for_code(path, error):
            raise code_error(path, name=_code_name(error)) from error
        raise damage_error(path, error) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dict of tensors")
    return content


def require_content(path: str | Path, *, origin: str = "") -> None:
    """Raise FileNotFoundError where there is no file, DamagedFile for one without a byte; `origin` comes first."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{origin}{path} {'is a folder, not a file' if path.is_dir() else 'does not exist'}")
    if path.stat().st_size == 0:
        raise DamagedFile(f"{origin}{path} is empty (0 bytes)")


def code_error(path: str | Path, *, name: str = "") -> UserError:
    """The refusal of a file that only running code from it, such as the function `name`, would read."""
    named = f" ({name})" if name else ""
    return UserError(
        f"{path} contains code{named}, which SegViT does not run. If you trust the file, load it once in the program "
        "that wrote it and re-save its tensors: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
    )


def damage_error(path: str | Path, error: Exception) -> DamagedFile:
    """The refusal of a file that cannot be read to its end."""
    size = Path(path).stat().st_size
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"
    return DamagedFile(
        f"{path} is corrupt or truncated ({size} bytes; {reason}). Compare its size or checksum with the source's "
        "and fetch it again"
    )


def _read(path: str) -> dict[str, object]:
    if path.endswith(".safetensors"):
        return timm.models.load_state_dict(path)
    with torch.serialization.safe_globals([argparse.Namespace]):  # the options beside the weights of MAE, DeiT, timm
        return torch.load(path, map_location="cpu", weights_only=True)


def _asks_for_code(path: str | Path, error: Exception) -> bool:
    reason = str(error)
    if "TorchScript" in reason or "unsupported GLOBAL" in reason or "Unsupported global" in reason:
        return True
    return isinstance(error, pickle.UnpicklingError) and _is_whole_pickle(path)


def _is_whole_pickle(path: str | Path) -> bool:
    """Whether the file is one plain pickle from its first byte to its last; disassembled, not run."""
    content = Path(path).read_bytes()
    try:
        *_, (last, _, position) = pickletools.genops(content)
    except Exception:  # a damaged pickle fails in any way
        return False
    return last.name == "STOP" and position == len(content) - 1


def _code_name(error: Exception) -> str:
    """The function or class at which torch stopped; "" where it does not say."""
    found = re.search(r"GLOBAL (\S+) (was not an allowed|whose module)", str(error))
    return found[1] if found else ""
