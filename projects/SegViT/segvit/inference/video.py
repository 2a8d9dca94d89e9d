"""Videos and cameras read and written frame by frame, with OpenCV; sound is neither read nor written.

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
# Where a camera does not say how many frames it gives.
USUAL_FPS = 25.0


class VideoError(UserError):
    """A video or a camera that cannot be read."""


class VideoReader:
    """The frames of a video file, or of a camera until it ends; iterate over it once, inside `with`.

    Args:
        source: a file, a device or the address of a stream; or the number of a camera, 0 the first.

    Attributes:
        fps: frames per second.
        frame_count: as the file says; 0 for cameras and files that do not.
        missing_frames: known once all were read: how many fewer there were than the file says. 0 where less than a
            second is missing (or half of a shorter video), because what a file says may be an estimate. Files that were
            cut short, and whole ones that were trimmed or whose sound is longer, cannot be told apart.

    Raises:
        VideoError: where OpenCV cannot open it.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        self._source = source
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else os.fspath(source))
        if not self._capture.isOpened():
            what = f"camera {source}" if isinstance(source, int) else os.fspath(source)
            raise VideoError(f"{what}: not there, or no video that OpenCV can read")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else USUAL_FPS
        self.frame_count = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.missing_frames = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB each. Raises VideoError where there is not one frame."""
        count = 0
        while True:
            read, frame = self._capture.read()
            if not read:
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
    """Writes an MP4 file (MPEG-4) under another name, which is the wanted one once all frames are in it.

    What fails inside `with` leaves nothing behind.

    Args:
        path: of the file, which ends in .mp4; an existing one is replaced.
        fps: frames per second.
    """

    def __init__(self, path: str | os.PathLike[str], *, fps: float) -> None:
        self._path = Path(path)
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._file = ExitStack()

    def write(self, frame: np.ndarray) -> None:
        """Append (H, W, 3) uint8 RGB, of the first frame's size. Raises OSError where no video can be written there.

        The encoder needs even sides: an odd one is made longer by repeating its last row or column.
        """
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._writer is None:
            self._writer = self._opened(even.shape[1], even.shape[0])
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def _opened(self, width: int, height: int) -> cv2.VideoWriter:
        unfinished = self._file.enter_context(atomic_write(self._path))
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
        self._file.__exit__(kind, error, traceback)
