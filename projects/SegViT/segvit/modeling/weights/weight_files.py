"""`read_weight_file`: checkpoint files are read without running code in them, and every error names the file."""

from __future__ import annotations

import argparse
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch

from segvit.errors import UserError, listed


class DamagedFile(UserError):
    """A file that is empty, truncated or corrupt."""


def read_weight_file(path: str | Path) -> dict[str, Any]:
    """Read a `.safetensors` file, or one that `torch.save` wrote, to the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFile: the file is empty, truncated or corrupt.
        UserError: the file contains code, or something else than a dict.
    """
    require_content(path)
    try:
        content = _read(str(path))
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # a damaged file can raise anything
        if _needs_code(path, error):
            raise code_error(path, name=_code_name(error)) from error
        raise damage_error(path, error) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dict of tensors")
    return content


def require_content(path: str | Path, *, origin: str = "") -> None:
    """Raise FileNotFoundError for a missing file, DamagedFile for an empty one; the message begins with `origin`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{origin}{path} {'is a folder, not a file' if path.is_dir() else 'does not exist'}")
    if path.stat().st_size == 0:
        raise DamagedFile(f"{origin}{path} is empty (0 bytes)")


def require_finite(weights: Mapping[str, torch.Tensor], path: str) -> None:
    """Raise UserError, naming tensors, if weights are NaN or infinite; `path` is the file that they come from."""
    bad = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if bad:
        raise UserError(
            f"{path}: {len(bad)} of {len(weights)} tensors hold values that are NaN or infinite: "
            f"{listed(bad)}. The training diverged, or the file is damaged: take another file"
        )


def code_error(path: str | Path, *, name: str = "") -> UserError:
    """The error for a file that can only be read by running code in it, such as the function `name`."""
    code = f"code ({name})" if name else "code"
    return UserError(
        f"{path} contains {code}, which SegViT does not run. If you trust the file, load it once in the program "
        "that wrote it and re-save its tensors: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
    )


def damage_error(path: str | Path, error: Exception) -> DamagedFile:
    """The error for a truncated or corrupt file, with its size and the last line of the reader's error."""
    size = Path(path).stat().st_size
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[-1] if lines else 'no reason given'}"
    return DamagedFile(
        f"{path} is corrupt or truncated ({size} bytes; {reason}). Compare its size or checksum with the original "
        "and download or copy it again"
    )


def _read(path: str) -> Any:
    if path.endswith(".safetensors"):
        return timm.models.load_state_dict(path)
    if zipfile.is_zipfile(path):
        _require_checksums(path)
    # The checkpoints of MAE, DeiT and timm hold their options as an argparse.Namespace.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _require_checksums(path: str) -> None:
    """Compare each record of an archive with its CRC-32, which `torch.load` does not do: 0.5 s per GB.

    A byte between records, which aligns them, has no checksum and is read by nobody: damage there is harmless.

    Raises:
        zipfile.BadZipFile: a record differs.
    """
    with zipfile.ZipFile(path) as archive:
        # All are 0 if `torch.serialization.set_crc32_options(False)` left them out.
        has_checksums = any(record.CRC for record in archive.infolist())
        damaged = archive.testzip() if has_checksums else None
    if damaged is not None:
        raise zipfile.BadZipFile(f"the checksum of its record {damaged} is wrong")


def _needs_code(path: str | Path, error: Exception) -> bool:
    """Whether reading failed because the file contains code, not because it is damaged."""
    reason = str(error)
    if "TorchScript" in reason or "unsupported GLOBAL" in reason or "Unsupported global" in reason:
        return True
    return isinstance(error, pickle.UnpicklingError) and _is_complete_pickle(path)


def _is_complete_pickle(path: str | Path) -> bool:
    """Whether the whole file is one plain pickle; it is disassembled, not run."""
    content = Path(path).read_bytes()
    try:
        *_, (last, _, position) = pickletools.genops(content)
    except Exception:  # a damaged pickle can raise anything
        return False
    return last.name == "STOP" and position == len(content) - 1


def _code_name(error: Exception) -> str:
    """The function or class that torch refused; "" if its message does not name one."""
    match = re.search(r"GLOBAL (\S+) (was not an allowed|whose module)", str(error))
    return match[1] if match else ""
