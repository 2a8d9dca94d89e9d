"""`SlidingWindow`: window positions, averaged scores, batches and memory.

Shape shorthand: H x W pixels, h x w of a window, B windows of a batch, K classes.
"""

import itertools
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.processes import run_program
from segvit.errors import ArgumentError
from segvit.modeling.postprocessing.sliding_window import SlidingWindow, window_starts


@given(length=st.integers(1, 300), size=st.integers(1, 300), step=st.floats(0.01, 1))
def test_windows_cover_everything_and_stay_inside(length, size, step):
    size = min(size, length)
    stride = max(1, int(size * step))
    starts = window_starts(length, size, stride)
    assert starts[0] == 0 and starts[-1] == length - size
    assert starts == sorted(set(starts))
    assert all(later - earlier <= stride for earlier, later in itertools.pairwise(starts))
    assert all(start % stride == 0 for start in starts[:-1])


def test_windows_of_published_settings_are_reproduced():
    """ViT-L at 640 with stride 608 on an ADE20K image of 640 x 853: two windows, the second shifted back."""
    assert window_starts(853, 640, 608) == [0, 213]
    assert window_starts(1024, 512, 341) == [0, 341, 512]


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    step=st.floats(0.2, 1),
    batch_size=st.integers(1, 5),
)
def test_a_per_pixel_scorer_gives_the_same_by_windows(size, window, step, batch_size):
    """Scores that depend on the pixel alone are those of the whole image."""
    stride = [max(1, int(edge * step)) for edge in window]
    windows = SlidingWindow(size=window, stride=stride, batch_size=batch_size, accumulate_on_cpu=False)
    image = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    bands = windows.bands(image, lambda batch: batch.square() + 1)
    torch.testing.assert_close(torch.cat(list(bands), dim=1), image.square() + 1)


def test_all_batches_but_the_last_are_full():
    shapes = []

    def scorer(batch):
        shapes.append(tuple(batch.shape))
        return batch

    windows = SlidingWindow(size=(4, 4), stride=(4, 4), batch_size=4, accumulate_on_cpu=False)
    list(windows.bands(torch.zeros(1, 12, 8), scorer))
    assert shapes == [(4, 1, 4, 4), (2, 1, 4, 4)]


def test_bands_are_yielded_as_soon_as_they_are_finished():
    """The first band comes before the last row of windows is scored, so not all scores exist at a time."""
    calls = []
    windows = SlidingWindow(size=(8, 8), stride=(5, 8), batch_size=1, accumulate_on_cpu=False)
    bands = windows.bands(torch.zeros(3, 40, 8), lambda batch: calls.append(1) or batch)
    assert next(bands).shape == (3, 5, 8)
    assert len(calls) == 2 < len(window_starts(40, 8, 5))


def test_scores_are_accumulated_in_main_memory():
    windows = SlidingWindow(size=(8, 8), stride=(5, 5), batch_size=2, accumulate_on_cpu=True)
    image = torch.rand(1, 13, 9)
    result = torch.cat(list(windows.bands(image, lambda batch: batch)), dim=1)
    assert result.device.type == "cpu"
    torch.testing.assert_close(result, image)


def test_windows_run_on_the_meta_device():
    windows = SlidingWindow(size=(8, 8), stride=(5, 5), batch_size=2, accumulate_on_cpu=False)
    bands = windows.bands(torch.zeros(1, 13, 9, device="meta"), lambda batch: batch)
    assert sum(band.shape[1] for band in bands) == 13


@pytest.mark.parametrize(
    ("size", "stride", "batch_size"), [((8, 8), (9, 8), 1), ((8, 8), (8, 0), 1), ((8,), (8,), 1), ((8, 8), (8, 8), 0)]
)
def test_windows_that_cannot_cover_an_image_are_refused(size, stride, batch_size):
    with pytest.raises(ArgumentError, match=r"^(size|stride|batch_size) "):
        SlidingWindow(size=size, stride=stride, batch_size=batch_size, accumulate_on_cpu=False)


# Prints the growth of the process's peak memory in bytes while it segments a large image: 150 classes at 750 x 1200
# pixels, 540 MB of scores, by windows whose strip of sums holds 46 MB.
MEASURE = """
import pathlib, torch
from segvit.modeling.postprocessing.score_bands import labels_of_bands, resize_bands
from segvit.modeling.postprocessing.sliding_window import SlidingWindow

def scorer(windows):
    return windows * torch.linspace(0, 1, 150)[:, None, None]

def peak():
    # Of this process alone: getrusage would start from the peak of its parent.
    return 1024 * int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

image = torch.rand(1, 375, 600)
windows = SlidingWindow(size=(128, 128), stride=(85, 85), batch_size=1, accumulate_on_cpu=False)
scorer(image[None, :, :128, :128])
before = peak()
labels = labels_of_bands(resize_bands(windows.bands(image, scorer), (375, 600), (750, 1200)), (750, 1200))
assert labels.shape == (750, 1200) and (labels == 149).all()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_below_all_scores_of_a_large_image(tmp_path):
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)
    done = run_program(script)
    assert done.returncode == 0, done.stderr
    strip, all_scores = 150 * 128 * 600 * 4, 150 * 750 * 1200 * 4
    # At least half of the strip is new memory; the rest may reuse what was freed before.
    assert strip / 2 < int(done.stdout) < all_scores / 2
