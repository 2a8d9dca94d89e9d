"""demo.py: results of images, videos and cameras, skipped files, interruptions and invalid arguments.

Shape shorthand: H x W pixels.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

import segvit
from segvit.inference import SegViTPredictor
from segvit.inference.results import ResultFolder
from segvit.inference.video import VideoReader, VideoWriter

DEMO = Path(segvit.__file__).parents[1] / "demo" / "demo.py"
HEIGHT, WIDTH = 30, 44


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def write_video(path, count=7, fps=12.5):
    with VideoWriter(path, fps=fps) as writer:
        for seed in range(count):
            writer.write(noise(seed))


@pytest.fixture
def demo(tiny_cfg, tmp_path, monkeypatch, capsys):
    """Runs the command with a tiny model, writing to tmp_path/results; returns exit code, stdout and stderr."""
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        model = ["--config-file", tmp_path / "config.yaml", "--weights", tmp_path / "model.pth"]
        command = ["demo.py", *model, "--output", tmp_path / "results", *arguments]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in command])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(DEMO), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, handler)


def results(tmp_path):
    folder = tmp_path / "results"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_readable_files_of_a_folder_are_segmented_and_the_others_skipped(demo, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    Image.fromarray(noise(0)).save(inputs / "a.png")
    Image.fromarray(noise(1)).save(inputs / "a.jpg")
    write_video(inputs / "clip.mp4")
    (inputs / "text.png").write_text("not an image")
    (inputs / "text.mp4").write_text("not a video")
    (inputs / "notes.txt").write_text("ignored")
    code, out, err = demo("--input", inputs, tmp_path / "missing.jpg", "--batch-size", 3)
    assert code == 1 and out == f"{tmp_path / 'results'}\n"
    skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert [Path(line.removeprefix("skipped: ").split(": ")[0]).name for line in skipped] == [
        "text.mp4",
        "text.png",
        "missing.jpg",
    ]
    images = [f"{kind}/{name}.png" for kind in ("colors", "labels", "overlays") for name in ("a.jpg", "a.png")]
    assert results(tmp_path) == sorted([*images, "overlays/clip.mp4"])
    with VideoReader(tmp_path / "results" / "overlays" / "clip.mp4") as video:
        assert video.fps == 12.5 and video.frame_count == 7
        (frame, *others) = video
    assert len(others) == 6 and frame.shape[0] > HEIGHT and frame.shape[1] >= WIDTH


def test_a_truncated_video_is_noted_and_the_exit_code_is_0(demo, tmp_path):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for seed in range(30):
        writer.write(noise(seed))
    writer.release()
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 3])
    code, _, err = demo("--input", clip)
    with VideoReader(tmp_path / "results" / "overlays" / "clip.mp4") as video:
        num_frames = len(list(video))
    assert code == 0 and 0 < num_frames < 15
    assert f"note: {clip} has {30 - num_frames} fewer frames" in err


def test_labels_colors_and_overlay_of_an_image_are_written(demo, tmp_path):
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    assert demo("--input", tmp_path / "a.png")[0] == 0
    predictor = SegViTPredictor(tmp_path / "config.yaml", tmp_path / "model.pth")
    expected = predictor(tmp_path / "a.png")
    folder = tmp_path / "results"
    labels = np.asarray(Image.open(folder / "labels" / "a.png"))
    assert labels.dtype == np.uint8 and np.array_equal(labels, expected)
    colors = np.asarray(Image.open(folder / "colors" / "a.png"))
    assert np.array_equal(colors, np.asarray(predictor.class_colors)[expected])
    overlay = np.asarray(Image.open(folder / "overlays" / "a.png"))
    assert overlay.shape[0] > HEIGHT and overlay.shape[1] >= WIDTH and overlay.shape[2] == 3


def test_kinds_and_opacity_select_and_blend_the_results(demo, tmp_path):
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    assert demo("--input", tmp_path / "a.png", "--kinds", "overlays", "--opacity", 0)[0] == 0
    assert results(tmp_path) == ["overlays/a.png"]
    overlay = np.asarray(Image.open(tmp_path / "results" / "overlays" / "a.png"))
    assert np.array_equal(overlay[:HEIGHT, :WIDTH], noise(0))


def test_frames_option_writes_labels_of_each_frame(demo, tmp_path):
    write_video(tmp_path / "clip.mp4", count=3)
    assert demo("--input", tmp_path / "clip.mp4", "--frames", "--kinds", "labels")[0] == 0
    assert results(tmp_path) == [*(f"labels/clip/00000{index}.png" for index in range(3)), "overlays/clip.mp4"]


def test_an_empty_folder_is_skipped(demo, tmp_path):
    (tmp_path / "empty").mkdir()
    Image.fromarray(noise(0)).save(tmp_path / "a.png")
    code, _, err = demo("--input", tmp_path / "empty", tmp_path / "a.png", "--kinds", "labels")
    assert code == 1 and f"skipped: {tmp_path / 'empty'}: " in err
    assert results(tmp_path) == ["labels/a.png"]


def test_sigterm_leaves_no_unfinished_video(demo, tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", count=2)
    unfinished = []

    def terminated(self):
        yield from (noise(seed) for seed in range(4))
        unfinished.extend(results(tmp_path))
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(VideoReader, "__iter__", terminated)
    assert demo("--input", tmp_path / "clip.mp4")[0] == 130
    assert len(unfinished) == 1 and results(tmp_path) == []


def test_max_frames_stops_a_camera(demo, tmp_path):
    """A video file stands in for the camera's device path."""
    write_video(tmp_path / "camera.mp4", count=7)
    assert demo("--webcam", tmp_path / "camera.mp4", "--max-frames", 4)[0] == 0
    with VideoReader(tmp_path / "results" / "overlays" / "webcam.mp4") as video:
        assert len(list(video)) == 4


def test_ctrl_c_stops_a_camera_and_keeps_its_video(demo, tmp_path, monkeypatch):
    write_video(tmp_path / "camera.mp4", count=2)

    def interrupted(self):
        yield noise(0)
        yield noise(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoReader, "__iter__", interrupted)
    code, _, err = demo("--webcam", tmp_path / "camera.mp4")
    assert code == 0 and "stopped" in err
    monkeypatch.undo()
    with VideoReader(tmp_path / "results" / "overlays" / "webcam.mp4") as video:
        assert len(list(video)) == 1  # The second frame was only read ahead.


def test_a_missing_camera_is_an_error(demo):
    code, _, err = demo("--webcam", "97")
    assert code == 2 and "camera 97" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--input --webcam"),
        (("--input", "a.png", "--opacity", 2), "--opacity 2.0"),
        (("--input", "http://127.0.0.1:1/a.mp4"), "http://127.0.0.1:1/a.mp4: URLs are not read"),
        (("--input", "a.png", "--batch-size", 0), "--batch-size"),
        (("--input", "a.png", "--max-frames", 3), "--max-frames"),
        (("--input", "a.png", "--config-file", "nowhere"), "'nowhere'"),
        (("--input", "a.png", "--weights", "nowhere.pth"), "nowhere.pth"),
        (("--input", "a.png", "--output", DEMO), "--output"),
        (("--input", "a.png", "--opts", "MODEL.NOTHING", 1), "MODEL.NOTHING"),
    ],
)
def test_invalid_arguments_are_named(demo, arguments, message):
    code, _, err = demo(*arguments)
    assert code == 2 and message in err and "Traceback" not in err


def test_a_video_is_not_finished_before_the_frames_that_are_asked_for(tmp_path):
    """It was segmented without --frames, or a second run with --frames was broken off."""
    results = ResultFolder(tmp_path, names=["a", "b"], colors=[(0, 0, 0), (255, 255, 255)], kinds=("labels",))

    def write(*, frames):
        with results.video("clip", fps=5) as writer:
            for index in range(frames or 1):
                writer.write(np.zeros((32, 48, 3), np.uint8))
                if frames:
                    results.write_labels(f"clip/{index:06d}", np.zeros((32, 48), np.uint8))

    write(frames=0)
    assert results.are_complete("clip", is_video=True)
    assert not results.are_complete("clip", is_video=True, with_frames=True)
    write(frames=2)
    assert results.are_complete("clip", is_video=True, with_frames=True)
    os.utime(tmp_path / "labels" / "clip" / "000001.png")
    assert not results.are_complete("clip", is_video=True, with_frames=True)
