"""Uploads, limits of decoding, analysis and views of the web page.

Shape shorthand: H x W pixels.
"""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from helpers.costly_images import png_of_size
from helpers.page_client import TIMEOUT
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import inspect_image
from segvit.web.analysis import ImageAnalyzer, class_areas
from segvit.web.limits import UploadLimits
from segvit.web.uploads import read_upload
from segvit.web.views import (
    areas_table,
    describe_analysis,
    describe_refusal,
    draw_kept_tokens,
    draw_mask,
    draw_overlay,
    mask_title,
)

# A busy machine takes its time.
LIMITS = UploadLimits(seconds=TIMEOUT)
NAMES = ("sky", "road & rail", "<b>tree</b>", "car", "person")
COLORS = ((9, 9, 9), (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 0, 90))


@pytest.fixture
def analyzer(predictor):
    return ImageAnalyzer(predictor, limits=UploadLimits(seconds=1000))


@pytest.mark.parametrize("kind", ["plain", "palette", "alpha", "16-bit"])
def test_images_of_any_mode_are_read(make_upload, kind):
    upload = read_upload(make_upload(kind), LIMITS)
    assert upload.image.shape == (60, 88, 3) and upload.image.dtype == np.uint8 and upload.original_size == (60, 88)
    assert 100 < upload.image.mean() < 155, "16-bit levels are scaled to 8 bits"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "^text.png .*PNG, JPEG"),
        ("truncated", "^truncated.png is damaged"),
        ("empty", "^empty.png is empty"),
        ("400-megapixel", "^400-megapixel.png .*more than 179"),
        ("100-megapixel", r"^100-megapixel.png .*\(10000 x 10000\)"),
    ],
)
def test_unusable_files_are_refused(make_upload, tmp_path, kind, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read_upload(make_upload(kind), LIMITS)
    assert str(tmp_path) not in str(refusal.value), "the folder stays private"


def test_a_file_of_too_many_bytes_is_refused(make_upload):
    with pytest.raises(ValueError, match=r"plain.png is too large.*0.001"):
        read_upload(make_upload("plain"), UploadLimits(max_megabytes=0.001, seconds=TIMEOUT))


def test_postscript_is_refused(tmp_path):
    """Pillow would start Ghostscript for it."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png .*formats"):
        read_upload(tmp_path / "a.png", LIMITS)


def test_float_images_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"^a\.tif: "):
        read_upload(tmp_path / "a.tif", LIMITS)


def test_large_images_are_scaled_down(tmp_path):
    Image.new("RGB", (400, 100), (10, 20, 30)).save(tmp_path / "a.png")
    upload = read_upload(tmp_path / "a.png", UploadLimits(work_megapixels=0.01, seconds=TIMEOUT))
    assert upload.image.shape == (50, 200, 3) and upload.original_size == (100, 400)
    assert (upload.image == (10, 20, 30)).all()


def test_thin_images_keep_at_least_one_row(tmp_path):
    Image.new("RGB", (4000, 1)).save(tmp_path / "a.png")
    assert read_upload(tmp_path / "a.png", UploadLimits(work_megapixels=0.0001, seconds=TIMEOUT)).image.shape[0] == 1


def test_decoding_over_the_time_limit_is_refused(make_upload):
    with pytest.raises(UserError, match=r"plain\.png takes more than 0\.001 seconds"):
        read_upload(make_upload("plain"), UploadLimits(seconds=0.001))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process")
def test_decoding_over_the_memory_limit_is_refused(tmp_path):
    """An image of 144 megapixels in a process with memory for one."""
    (tmp_path / "a.png").write_bytes(png_of_size(12_000, 12_000))
    code = (
        "import sys; from segvit.web import decoding; from segvit.web.limits import UploadLimits\n"
        "decoding.limit_resources(UploadLimits(max_megapixels=1, seconds=1000), 3)\n"
        "decoding.limit_resources = lambda limits, channels: None; decoding.BASE_MEMORY = 0; decoding.main()"
    )
    limits = json.dumps({"max_megapixels": 150, "seconds": 1000})
    command = [sys.executable, "-c", code, str(tmp_path / "a.png"), limits, "{}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    child = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=TIMEOUT)
    assert child.returncode == 0 and "a.png needs too much memory" in child.stdout, child.stderr


def test_the_decoding_process_imports_no_torch():
    code = "import sys, segvit.web.decoding; sys.exit('torch' in sys.modules or 'detectron2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_analysis_equals_predictor_and_inspect_image(analyzer, predictor, make_upload):
    path = make_upload("plain")
    analysis = analyzer(path)
    assert np.array_equal(analysis.labels, predictor(path))
    expected = inspect_image(predictor, analysis.upload.image[:, :, ::-1])
    assert np.array_equal(analysis.view.masks, expected.masks)
    assert analysis.drops_tokens


def test_threads_do_not_mix_up_images(analyzer, make_upload, tmp_path):
    Image.new("RGB", (40, 50), (200, 10, 10)).save(tmp_path / "red.png")
    paths = [make_upload("plain"), tmp_path / "red.png"]
    alone = [analyzer(path).view for path in paths]
    together = {}
    threads = [
        threading.Thread(target=lambda index=index: together.update({index: analyzer(paths[index % 2]).view}))
        for index in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(6):
        assert np.allclose(together[index].masks, alone[index % 2].masks, atol=1e-5)


def test_class_areas_are_sorted():
    labels = np.array([[3, 3, 1], [3, 2, 1]])
    assert [(area.index, area.fraction) for area in class_areas(labels)] == [(3, 1 / 2), (1, 1 / 3), (2, 1 / 6)]


def test_the_table_lists_the_classes_of_the_image(analyzer, make_upload):
    analysis = analyzer(make_upload("plain"))
    table = areas_table(analysis, NAMES, COLORS)
    assert table.count("<tr>") == 1 + len(np.unique(analysis.labels))
    assert "<b>" not in table, "names are escaped"
    largest = class_areas(analysis.labels)[0]
    assert f"{largest.fraction:.2%}" in table


def test_drawings_of_an_analysis(analyzer, make_upload):
    analysis = analyzer(make_upload("plain"))
    overlay = draw_overlay(analysis, NAMES, COLORS, 0)
    assert np.array_equal(overlay[:60, :88], analysis.upload.image) and overlay.shape[0] > 60, (
        "the legend is below the image"
    )
    full = draw_overlay(analysis, NAMES, COLORS, 1)[:60, :88]
    assert np.array_equal(full, np.asarray(COLORS)[analysis.labels])
    assert draw_mask(analysis, 2).shape == draw_kept_tokens(analysis).shape == analysis.view.image.shape
    assert not np.array_equal(draw_mask(analysis, 2), draw_mask(analysis, 3))
    assert mask_title(analysis, 0, NAMES).startswith("Mask of sky (p = ")
    kept = analysis.view.kept
    assert f"88 x 60 pixels; {kept.sum()} of {kept.size} tokens kept" in describe_analysis(analysis)


def test_refusals_are_escaped_for_html():
    assert "&lt;img" in describe_refusal(ValueError("<img src=x> is too large"))


def test_models_without_class_queries_are_refused(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME, tiny_cfg.MODEL.SEGVIT.LOSS = "PerPixelHead", "pixel"
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "softmax"
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, tiny_cfg.MODEL.VIT.OUT_INDICES = ["block2"], [2]
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "linear.pth")
    analyzer = ImageAnalyzer(SegViTPredictor(tiny_cfg, tmp_path / "linear.pth"), limits=UploadLimits(seconds=1000))
    with pytest.raises(ValueError, match=r"MODEL\.SEM_SEG_HEAD\.NAME"):
        analyzer.warm_up()
