"""`read_upload`: decodes an untrusted image file in a process of its own, which ends at a deadline."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import segvit
from segvit.errors import UserError
from segvit.images import ImageFormat
from segvit.web import decoding
from segvit.web.limits import Upload, UploadLimits

RGB = ImageFormat()
PACKAGE = Path(segvit.__file__).parent


def require_uploaded(path: object, folder: str | os.PathLike[str]) -> Path:
    """The real path of a file that visitors have uploaded.

    Raises:
        UserError: if it is not the path of a file below the upload folder, after links are followed.
    """
    if not isinstance(path, str) or "\0" in path:
        raise UserError("the file is not named by a path: upload it")
    # On the way through a link, `..` leads elsewhere: realpath follows links first, abspath does not.
    try:
        real, root = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
        is_upload = "://" not in path and real.is_relative_to(root) and real.is_file()
    except (OSError, ValueError):  # a name that no file can have, such as one that is not Unicode
        is_upload = False
    if not is_upload:
        raise UserError("the file has not been uploaded, or has expired: upload it again")
    return real


def read_upload(path: str | os.PathLike[str], limits: UploadLimits, image_format: ImageFormat = RGB) -> Upload:
    """Read an image file of a format.

    Decoders cannot be interrupted, and a small file may take them minutes and gigabytes, such as a progressive JPEG of
    thousands of scans. Here that is the loss of a child process.

    Raises:
        UserError: for a file that is too large, too slow, damaged or not an image; the message names the file without
            its folder.
    """
    name = Path(path).name
    command = [
        sys.executable,
        decoding.__file__,
        os.path.abspath(path),
        json.dumps(asdict(limits)),
        json.dumps(asdict(image_format)),
    ]
    # One thread: every thread of a library reserves memory, which is limited.
    variables = {"PYTHONPATH": _search_path(), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, **variables},
            timeout=limits.seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{name} takes more than {limits.seconds:g} seconds to decode: save it in another format, or smaller"
        ) from error
    if child.returncode < 0:  # a signal: the limits, or a crash of a decoder
        raise UserError(f"{name} cannot be decoded: save it in another format")
    if child.returncode > 0:
        raise RuntimeError(f"{decoding.__file__} ended with {child.returncode}")
    header, _, pixels = child.stdout.partition(b"\n")
    result = json.loads(header)
    if "refusal" in result:
        raise UserError(result["refusal"])
    height, width = result["size"]
    image = np.load(io.BytesIO(pixels), allow_pickle=False)
    return Upload(
        pixels=image,
        image=image_format.to_rgb(image),
        original_size=(height, width),
        notes=tuple(result["notes"]),
    )


def _search_path() -> str:
    """PYTHONPATH of the child, in which `segvit` is this package."""
    return os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
