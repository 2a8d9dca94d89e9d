"""`VideoReader` and `VideoWriter`: what is written is read back.

Shape shorthand: H x W pixels of a frame.
"""

import cv2
import numpy as np
import pytest

from segvit.inference.video import VideoError, VideoReader, VideoWriter


def moving_square(count, size=(48, 64)):
    for index in range(count):
        frame = np.full((*size, 3), (200, 120, 40), dtype=np.uint8)
        frame[8:24, 2 * index : 2 * index + 16] = (20, 60, 220)
        yield frame


def write(path, frames, fps=25.0):
    with VideoWriter(path, fps=fps) as writer:
        for frame in frames:
            writer.write(frame)


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001, 7.5])
def test_frames_and_frame_rate_are_kept(tmp_path, fps):
    write(tmp_path / "clip.mp4", moving_square(20), fps)
    with VideoReader(tmp_path / "clip.mp4") as video:
        assert video.fps == pytest.approx(fps, rel=1e-3) and video.frame_count == 20
        frames = list(video)
    assert len(frames) == 20
    for frame, expected in zip(frames, moving_square(20), strict=True):
        assert np.abs(frame.astype(int) - expected).mean() < 12  # Lossy, but in the right order and colours.
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def write_motion_jpeg(path, count):
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for frame in moving_square(count):
        writer.write(frame[:, :, ::-1])
    writer.release()


def test_motion_jpeg_videos_are_read(tmp_path):
    write_motion_jpeg(tmp_path / "clip.avi", 5)
    with VideoReader(str(tmp_path / "clip.avi")) as video:
        assert video.fps == 10 and len(list(video)) == 5 and video.missing_frames == 0


def test_a_truncated_video_reports_missing_frames(tmp_path):
    write_motion_jpeg(tmp_path / "clip.avi", 60)
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(content[: len(content) // 3])
    with VideoReader(tmp_path / "clip.avi") as video:
        num_frames = len(list(video))
        assert 0 < num_frames < 30 and video.missing_frames == 60 - num_frames


def test_odd_frame_sizes_are_padded_to_even_ones(tmp_path):
    write(tmp_path / "clip.mp4", moving_square(3, size=(47, 63)))
    with VideoReader(tmp_path / "clip.mp4") as video:
        assert {frame.shape for frame in video} == {(48, 64, 3)}


def test_an_interrupted_video_leaves_no_file(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "sub" / "clip.mp4", fps=25) as writer:
        for frame in moving_square(3):
            writer.write(frame)
        raise KeyboardInterrupt
    assert list((tmp_path / "sub").iterdir()) == []


def test_a_video_without_frames_leaves_no_file(tmp_path):
    write(tmp_path / "clip.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_unreadable_videos_and_cameras_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    for source in (tmp_path / "text.mp4", tmp_path / "missing.mp4"):
        with pytest.raises(VideoError, match=rf"{source.name}: "):
            VideoReader(source)
    with pytest.raises(VideoError, match="camera 97"):
        VideoReader(97)
