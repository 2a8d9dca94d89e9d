"""Segment pictures, folders of them, videos or a camera, and draw what was found. No window is opened.

demo.py --config-file FILE --weights FILE --input PATH [PATH ...] --output FOLDER [--opts KEY VALUE ...]
demo.py --config-file FILE --weights FILE --webcam [CAMERA] --output FOLDER [--max-frames N]

Per picture: labels/NAME.png (class ids), colors/NAME.png, overlays/NAME.png (with a legend). Per video and camera:
overlays/NAME.mp4, without sound. What cannot be read is skipped and named at the end; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from segvit.cli_errors import describe, user_errors
from segvit.inference import SegViTPredictor, read_picture
from segvit.inference.results import KINDS, ResultFolder
from segvit.inference.sources import Source, find_sources
from segvit.inference.video import VideoError, VideoReader, VideoWriter
from segvit.output_files import require_folder


@user_errors()
def main() -> None:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # tidies up as Ctrl-C does
    require_folder(args.output, origin="--output")
    skipped: list[str] = []
    sources = find_sources(args.input or [], on_error=lambda error: skipped.append(str(error)))
    predictor = SegViTPredictor(args.config_file, args.weights, opts=args.opts, array_format="RGB")
    results = ResultFolder(
        args.output,
        names=predictor.class_names,
        colors=predictor.class_colors,
        kinds=args.kinds,
        opacity=args.opacity,
    )
    demo = Demo(predictor, results, batch_size=args.batch_size, frames=args.frames, skipped=skipped)
    if args.webcam is None:
        demo.run(sources)
    else:
        demo.record(args.webcam, args.max_frames)
    print(args.output)
    for line in demo.remarks:
        print(f"note: {line}", file=sys.stderr)
    for line in demo.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    sys.exit(1 if demo.skipped else 0)


class Demo:
    """Runs a model over sources; `skipped` grows by what could not be read, and why, `remarks` by what looks odd."""

    def __init__(
        self, predictor: SegViTPredictor, results: ResultFolder, *, batch_size: int, frames: bool, skipped: list[str]
    ) -> None:
        self.predictor = predictor
        self.results = results
        self.batch_size = batch_size
        self.frames = frames
        self.skipped = skipped
        self.remarks: list[str] = []

    def run(self, sources: list[Source]) -> None:
        """Segment files one after the other."""
        for source in tqdm(sources, unit="file", dynamic_ncols=True):
            if source.is_video:
                self.segment_video(source)
            else:
                self.segment_picture(source)

    def segment_picture(self, source: Source) -> None:
        try:
            picture = read_picture(source.path)
        except (OSError, ValueError) as error:
            self.skipped.append(describe(error))
            return
        self.results.write(source.name, picture, self.predictor(picture))

    def segment_video(self, source: Source) -> None:
        try:
            with VideoReader(source.path) as video, self.results.video(source.name, fps=video.fps) as writer:
                self.segment_frames(source.name, video, writer, total=video.frame_count or None)
            if video.missing_frames:
                missing = f"{video.missing_frames} fewer frames than it says"
                self.remarks.append(f"{source.path} has {missing}: cut off or trimmed")
        except VideoError as error:
            self.skipped.append(str(error))

    def record(self, camera: str, max_frames: int | None) -> None:
        """Segment what a camera sees, until it ends, enough frames were seen, or Ctrl-C."""
        with (
            VideoReader(int(camera) if camera.isdecimal() else camera) as video,
            self.results.video("webcam", fps=video.fps) as writer,
        ):
            try:
                self.segment_frames("webcam", islice(video, max_frames), writer, total=max_frames)
            except KeyboardInterrupt:  # what was seen so far is a whole video
                sys.stderr.write("\nstopped\n")

    def segment_frames(
        self, name: str, frames: Iterable[np.ndarray], writer: VideoWriter, *, total: int | None
    ) -> None:
        segmented = self.predictor.stream(frames, batch_size=self.batch_size)
        for index, (frame, labels) in enumerate(tqdm(segmented, name, total, leave=False, unit="frame")):
            writer.write(self.results.overlay.of_frame(frame, labels))
            if self.frames:
                self.results.write_labels(f"{name}/{index:06d}", labels)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, help="a YAML file, or the name of a config of the project")
    parser.add_argument("--weights", type=Path, help="the checkpoint; by default MODEL.WEIGHTS")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", type=Path, nargs="+", metavar="PATH", help="pictures, videos and folders of them")
    source.add_argument(
        "--webcam",
        nargs="?",
        const="0",
        metavar="CAMERA",
        help="record a camera until Ctrl-C: its number (0 by default), or a device or address that OpenCV opens",
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder for the results")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="of results; by default all")
    parser.add_argument("--opacity", type=float, default=0.6, help="of the colours in overlays, 0 to 1")
    parser.add_argument("--frames", action="store_true", help="also write ids and colours of each frame of videos")
    parser.add_argument("--batch-size", type=int, default=1, help="frames of a video that are segmented together")
    parser.add_argument("--max-frames", type=int, help="of the camera")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs, last on the line")
    args = parser.parse_args()
    if not 0 <= args.opacity <= 1:
        parser.error(f"--opacity {args.opacity} must be from 0 to 1")
    if args.batch_size < 1:
        parser.error(f"--batch-size {args.batch_size} must be at least 1")
    if args.max_frames is not None and (args.webcam is None or args.max_frames < 1):
        parser.error("--max-frames goes with --webcam and must be at least 1")
    return args


if __name__ == "__main__":
    main()
