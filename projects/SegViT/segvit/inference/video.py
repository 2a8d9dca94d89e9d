"""`VideoReader` and `VideoWriter`: frames of videos and cameras through OpenCV, without sound.

Shape shorthand: H x W pixels of a frame.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from segvit.errors import UserError
from segvit.output_files import atomic_write

VIDEO_EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
# The frame rate of a camera that does not report one.
DEFAULT_FPS = 25.0


class VideoError(UserError):
    """A video or camera that cannot be read."""


class VideoReader:
    """The frames of a video file, or of a camera until it ends; iterate over it once, inside `with`.

    Args:
        source: a file, a device, the address of a stream, or the number of a camera (0 is the first).

    Attributes:
        fps: frames per second.
        frame_count: according to the file's header; 0 for cameras and for files without this entry.
        missing_frames: set after the last frame: how many fewer there were than the header says. Differences below one
            second (or half of a shorter video) count as 0, since the header may be an estimate. A truncated file cannot
            be told from one that was trimmed, or whose sound is longer.

    Raises:
        VideoError: if OpenCV cannot open the source.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        self._source = source
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else os.fspath(source))
        if not self._capture.isOpened():
            name = f"camera {source}" if isinstance(source, int) else os.fspath(source)
            raise VideoError(f"{name}: missing, or not a video that OpenCV can read")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else DEFAULT_FPS
        self.frame_count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.missing_frames = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames, (H, W, 3) uint8 RGB. Raises VideoError if there is not a single one."""
        count = 0
        while True:
            success, frame = self._capture.read()
            if not success:
                break
            count += 1
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        if not count:
            raise VideoError(f"{self._source}: no frame could be decoded")
        missing = self.frame_count - count
        if missing > min(self.fps, self.frame_count / 2):
            self.missing_frames = missing

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()


class VideoWriter:
    """Writes an MP4 file (MPEG-4) atomically: it appears when `with` ends, and not at all after an error.

    Args:
        path: ends in .mp4; an existing file is replaced.
        fps: frames per second.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float) -> None:
        self._path = Path(path)
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._unfinished_file = ExitStack()

    def write(self, frame: np.ndarray) -> None:
        """Append (H, W, 3) uint8 RGB of the first frame's size. Raises OSError if no video can be written there.

        The encoder needs even sizes: the last row or column of an odd one is repeated.
        """
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._writer is None:
            self._writer = self._open(even.shape[1], even.shape[0])
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        unfinished = self._unfinished_file.enter_context(atomic_write(self._path))
        writer = cv2.VideoWriter(str(unfinished), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, (width, height))
        if not writer.isOpened():
            raise OSError(f"{self._path}: OpenCV cannot write an MP4 video of {width} x {height} pixels here")
        return writer

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        self._unfinished_file.__exit__(kind, error, traceback)
