"""The demo: whatever it is pointed at, results for what can be read, and the names of what cannot.

Shape shorthand: H x W pixels.
"""

import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

import segvit
from segvit.inference import SegViTPredictor
from segvit.inference.video import VideoReader, VideoWriter

DEMO = Path(segvit.__file__).parents[1] / "demo" / "demo.py"
HEIGHT, WIDTH = 30, 44


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def write_video(path, count=7, fps=12.5):
    with VideoWriter(path, fps=fps) as writer:
        for seed in range(count):
            writer.write(picture(seed))


@pytest.fixture
def demo(tiny_cfg, tmp_path, monkeypatch, capsys):
    """Runs the command with a tiny model -> exit code, standard output, standard error; writes to tmp_path/results."""
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())

    monkeypatch.setattr(signal, "signal", lambda *handler: None)  # the test's process keeps its own

    def run(*arguments):
        model = ["--config-file", tmp_path / "config.yaml", "--weights", tmp_path / "model.pth"]
        command = ["demo.py", *model, "--output", tmp_path / "results", *arguments]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in command])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(DEMO), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    return run


def results(tmp_path):
    folder = tmp_path / "results"
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_everything_at_once(demo, tmp_path):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    Image.fromarray(picture(0)).save(inputs / "a.png")
    Image.fromarray(picture(1)).save(inputs / "a.jpg")
    write_video(inputs / "clip.mp4")
    (inputs / "text.png").write_text("no picture")
    (inputs / "text.mp4").write_text("no video")
    (inputs / "notes.txt").write_text("not looked at")
    code, out, err = demo("--input", inputs, tmp_path / "missing.jpg", "--batch-size", 3)
    assert code == 1 and out == f"{tmp_path / 'results'}\n"
    skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert [Path(line.removeprefix("skipped: ").split(": ")[0]).name for line in skipped] == [
        "text.mp4",
        "text.png",
        "missing.jpg",
    ]
    pictures = [f"{kind}/{name}.png" for kind in ("colors", "labels", "overlays") for name in ("a.jpg", "a.png")]
    assert results(tmp_path) == sorted([*pictures, "overlays/clip.mp4"])
    with VideoReader(tmp_path / "results" / "overlays" / "clip.mp4") as video:
        assert video.fps == 12.5 and video.frame_count == 7
        (frame, *others) = video
    assert len(others) == 6 and frame.shape[0] > HEIGHT and frame.shape[1] >= WIDTH


def test_a_video_that_is_cut_short_is_no_failure(demo, tmp_path):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    for seed in range(30):
        writer.write(picture(seed))
    writer.release()
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 3])
    code, _, err = demo("--input", clip)
    with VideoReader(tmp_path / "results" / "overlays" / "clip.mp4") as video:
        shown = len(list(video))
    assert code == 0 and 0 < shown < 15
    assert f"note: {clip} has {30 - shown} fewer frames than it says: cut off or trimmed" in err


def test_what_is_written_for_a_picture(demo, tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
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


def test_kinds_of_results_and_opacity(demo, tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    assert demo("--input", tmp_path / "a.png", "--kinds", "overlays", "--opacity", 0)[0] == 0
    assert results(tmp_path) == ["overlays/a.png"]
    overlay = np.asarray(Image.open(tmp_path / "results" / "overlays" / "a.png"))
    assert np.array_equal(overlay[:HEIGHT, :WIDTH], picture(0))


def test_frames_of_a_video(demo, tmp_path):
    write_video(tmp_path / "clip.mp4", count=3)
    assert demo("--input", tmp_path / "clip.mp4", "--frames", "--kinds", "labels")[0] == 0
    assert results(tmp_path) == [*(f"labels/clip/00000{index}.png" for index in range(3)), "overlays/clip.mp4"]


def test_an_empty_folder_beside_a_picture(demo, tmp_path):
    (tmp_path / "empty").mkdir()
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    code, _, err = demo("--input", tmp_path / "empty", tmp_path / "a.png", "--kinds", "labels")
    assert code == 1 and f"skipped: {tmp_path / 'empty'}: the folder holds no file" in err
    assert results(tmp_path) == ["labels/a.png"]


def test_a_terminated_demo_leaves_nothing_unfinished(demo, tmp_path):
    """SIGTERM in the middle of a video: no video, and no file under another name."""
    write_video(tmp_path / "long.mp4", count=3000)
    model = ["--config-file", tmp_path / "config.yaml", "--weights", tmp_path / "model.pth"]
    command = [sys.executable, DEMO, *model, "--input", tmp_path / "long.mp4", "--output", tmp_path / "results"]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "results").exists() or not results(tmp_path):
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 130
    assert results(tmp_path) == []


def test_a_camera(demo, tmp_path):
    """A file stands for the device; a device is named by its path as well."""
    write_video(tmp_path / "camera.mp4", count=7)
    assert demo("--webcam", tmp_path / "camera.mp4", "--max-frames", 4)[0] == 0
    with VideoReader(tmp_path / "results" / "overlays" / "webcam.mp4") as video:
        assert len(list(video)) == 4


def test_a_camera_is_stopped_by_hand(demo, tmp_path, monkeypatch):
    write_video(tmp_path / "camera.mp4", count=2)

    def stopped(self):
        yield picture(0)
        yield picture(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoReader, "__iter__", stopped)
    code, _, err = demo("--webcam", tmp_path / "camera.mp4")
    assert code == 0 and "stopped" in err
    monkeypatch.undo()
    with VideoReader(tmp_path / "results" / "overlays" / "webcam.mp4") as video:
        assert len(list(video)) == 1  # the other was read ahead


def test_a_camera_that_is_not_there(demo):
    code, _, err = demo("--webcam", "97")
    assert code == 2 and "camera 97: not there" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "one of the arguments --input --webcam is required"),
        (("--input", "a.png", "--opacity", 2), "--opacity 2.0 must be from 0 to 1"),
        (("--input", "a.png", "--batch-size", 0), "--batch-size 0 must be at least 1"),
        (("--input", "a.png", "--max-frames", 3), "--max-frames goes with --webcam"),
        (("--input", "a.png", "--config-file", "nowhere"), "'nowhere' is neither a file nor the name"),
        (("--input", "a.png", "--weights", "nowhere.pth"), "nowhere.pth"),
        (("--input", "a.png", "--output", DEMO), "is a file, not a folder"),
        (("--input", "a.png", "--opts", "MODEL.NOTHING", 1), "there is no config key MODEL.NOTHING"),
    ],
)
def test_wrong_arguments(demo, arguments, message):
    code, _, err = demo(*arguments)
    assert code == 2 and message in err and "Traceback" not in err
