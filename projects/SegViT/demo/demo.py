"""Segment images, folders, videos or a camera with a trained model, and write the results to a folder.

demo.py --model FOLDER_OR_NAME --input PATH [PATH ...] --output FOLDER [KEY VALUE ...]
demo.py --model FOLDER_OR_NAME --webcam [CAMERA] --output FOLDER [--max-frames N]

--config-file FILE --weights FILE, a config and a checkpoint, can stand for --model.

An image gives labels/NAME.png (class ids), colors/NAME.png and overlays/NAME.png (with a legend); a video or camera
gives overlays/NAME.mp4, without sound, and with --frames the labels and colors of each frame. A TIFF that is
georeferenced or larger than --megapixels gives a GeoTIFF, labels/NAME.tif, and a reduced overlay. Unreadable files are
skipped and listed at the end; the exit code is then 1.
Processes of torchrun, srun and Slurm arrays share the files. No window is opened.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from segvit.cli_errors import describe, local_path, positive, user_errors
from segvit.command_line.model_arguments import add_trained_model, predictor_of
from segvit.command_line.parser import CommandParser
from segvit.geo import RasterResults
from segvit.inference import SegViTPredictor
from segvit.inference.results import KINDS, ResultFolder
from segvit.inference.sources import Source, Sources
from segvit.inference.video import VideoError, VideoReader, VideoWriter
from segvit.inference.work_share import WorkShare, chosen_share, wait_for_other_processes
from segvit.output_files import require_folder
from segvit.progress import progress_bar


@user_errors()
def main() -> None:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Clean up as after Ctrl-C.

    # The files of this process, the model and the folder of results.
    require_folder(args.output, origin="--output")
    share = WorkShare() if args.webcam is not None else chosen_share(args.share)
    skipped: list[str] = []
    sources = Sources(args.input or [], on_error=lambda error: skipped.append(str(error)), share=share)
    predictor = predictor_of(args, place=share.device, array_format="RGB")
    results = ResultFolder(
        args.output,
        names=predictor.class_names,
        colors=predictor.class_colors,
        kinds=args.kinds or KINDS,
        opacity=args.opacity,
    )

    # Segment.
    replaces = args.finished == "replace" if args.finished else share.count == 1
    demo = Demo(
        predictor,
        results,
        batch_size=args.batch_size,
        write_frames=args.frames,
        replaces=replaces,
        skipped=skipped,
        max_megapixels=args.megapixels,
    )
    if share.count > 1:
        sys.stderr.write(f"part {share.index} of 0 to {share.count - 1} ({share.source}): {len(sources)} files\n")
    if args.webcam is None:
        demo.segment_files(sources)
    else:
        demo.segment_camera(args.webcam, args.max_frames)

    # Report what was skipped.
    print(args.output)
    for line in demo.notes:
        print(f"note: {line}", file=sys.stderr)
    for line in demo.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    if args.share == "auto":
        wait_for_other_processes(os.environ)
    sys.exit(1 if demo.skipped else 0)


class Demo:
    """Segments files and cameras.

    Attributes:
        skipped: a line for each input that could not be read.
        notes: a line for each input that was read but looks incomplete.
    """

    def __init__(
        self,
        predictor: SegViTPredictor,
        results: ResultFolder,
        *,
        batch_size: int,
        write_frames: bool,
        replaces: bool,
        skipped: list[str],
        max_megapixels: float,
    ) -> None:
        self.predictor = predictor
        self.results = results
        self.batch_size = batch_size
        self.write_frames = write_frames
        self.replaces = replaces
        self.skipped = skipped
        self.notes: list[str] = []
        self.rasters = RasterResults(predictor, results, max_megapixels=max_megapixels)

    def segment_files(self, sources: Sources) -> None:
        """Segment each file, but for those that are finished, unless they are to be replaced."""
        num_finished = 0
        for source in progress_bar(sources, title="segmenting", unit="file"):
            if not self.replaces and self._is_finished(source):
                num_finished += 1
            elif source.is_video:
                self.segment_video(source)
            else:
                self.segment_image(source)
        if num_finished:
            self.notes.append(f"{num_finished} files were finished before; --finished replace does them again")

    def _is_finished(self, source: Source) -> bool:
        return self.rasters.is_complete(source.name) or self.results.are_complete(
            source.name, is_video=source.is_video, with_frames=self.write_frames
        )

    def segment_image(self, source: Source) -> None:
        try:
            if self.rasters.takes(source.path):
                self.notes += self.rasters.segment(source.path, source.name)
                return
            pixels = self.predictor.image_format.read(source.path)
            (labels,) = self.predictor.segment_pixels([pixels])
        except (OSError, ValueError) as error:
            self.skipped.append(describe(error))
        except torch.OutOfMemoryError:
            self.skipped.append(f"{source.path}: too large for the memory of {self.predictor.device}")
        else:
            self.results.write(source.name, self.predictor.image_format.to_rgb(pixels), labels)

    def segment_video(self, source: Source) -> None:
        try:
            with VideoReader(source.path) as video, self.results.video(source.name, fps=video.fps) as writer:
                self.segment_frames(source.name, video, writer, total=video.frame_count or None)
            if video.missing_frames:
                missing = f"{video.missing_frames} fewer frames than its header says"
                self.notes.append(f"{source.path} has {missing}: truncated or trimmed")
        except VideoError as error:
            self.skipped.append(str(error))

    def segment_camera(self, camera: str, max_frames: int | None) -> None:
        """Segment a camera's frames until it ends, `max_frames` were read, or Ctrl-C."""
        with (
            VideoReader(int(camera) if camera.isdecimal() else camera) as video,
            self.results.video("webcam", fps=video.fps) as writer,
        ):
            try:
                self.segment_frames("webcam", islice(video, max_frames), writer, total=max_frames)
            except KeyboardInterrupt:  # The frames so far make a complete video.
                sys.stderr.write("\nstopped\n")

    def segment_frames(
        self, name: str, frames: Iterable[np.ndarray], writer: VideoWriter, *, total: int | None
    ) -> None:
        segmented = self.predictor.stream(frames, batch_size=self.batch_size)
        bar = progress_bar(segmented, title=name, total=total, leave=False, unit="frame")
        for index, (frame, labels) in enumerate(bar):
            writer.write(self.results.overlay.draw_frame(np.asarray(frame), labels))
            if self.write_frames:
                self.results.write_labels(f"{name}/{index:06d}", labels)


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    add_trained_model(parser)
    add = parser.add_argument
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", type=local_path, nargs="+", metavar="PATH", help="images, videos, and folders of them"
    )
    source.add_argument(
        "--webcam",
        nargs="?",
        const="0",
        metavar="CAMERA",
        help="record a camera until Ctrl-C: its number, or a device or address that OpenCV can open (default: 0)",
    )
    add("--output", type=Path, required=True, metavar="FOLDER", help="the folder for the results")
    add(
        "--kinds",
        nargs="+",
        choices=KINDS,
        help="the results to write; labels and colors also of the frames of videos (default: all, without frames)",
    )
    add(
        "--finished",
        choices=("skip", "replace"),
        help="files whose results exist (default: replace, or skip where processes share the files)",
    )
    add(
        "--share",
        metavar="PART",
        help="the files that this process takes: INDEX/COUNT (0/8 to 7/8), all, or auto, by the variables of torchrun, "
        "srun and Slurm arrays (default: auto)",
    )
    add("--opacity", type=float, default=0.6, metavar="X", help="opacity of overlay colours, 0 to 1 (default: 0.6)")
    add(
        "--frames",
        action="store_true",
        help="also write the labels and colours of each video frame (default: if --kinds names them)",
    )
    add("--batch-size", type=positive, default=1, metavar="N", help="video frames per forward pass (default: 1)")
    add(
        "--megapixels",
        type=positive,
        metavar="N",
        help="segment larger TIFFs from file to file (default: 100)",
    )
    add("--max-frames", type=positive, metavar="N", help="stop the camera after this many frames (default: at Ctrl-C)")
    parser.add_overrides()
    return parser


def parse_arguments() -> argparse.Namespace:
    """The arguments, checked."""
    parser = build_parser()
    args = parser.parse_args()
    if not 0 <= args.opacity <= 1:
        parser.error(f"--opacity {args.opacity} must be from 0 to 1")
    if args.max_frames is not None and args.webcam is None:
        parser.error("--max-frames needs --webcam")
    of_files = [option for option in ("finished", "share", "megapixels") if getattr(args, option) is not None]
    if of_files and args.webcam is not None:
        parser.error(f"--{of_files[0]} is for files of --input: --webcam has none")
    args.share, args.megapixels = args.share or "auto", args.megapixels or 100
    args.frames = args.frames or bool({"labels", "colors"}.intersection(args.kinds or ()))
    return args


if __name__ == "__main__":
    main()
