"""Behind the page: what is accepted, how long it may take, and what is shown of it.

Shape shorthand: H x W pixels.
"""

import threading

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from segvit.inference import SegViTPredictor
from segvit.inference.inspect_image import inspect_image
from segvit.web.analysis import PictureAnalyst, class_areas
from segvit.web.time_limit import time_limit, watch
from segvit.web.uploads import UploadLimits, read_upload
from segvit.web.views import (
    areas_table,
    describe_analysis,
    describe_refusal,
    draw_kept_tokens,
    draw_mask,
    draw_overlay,
    mask_title,
)

NAMES = ("sky", "road & rail", "<b>tree</b>", "car", "person")
COLORS = ((9, 9, 9), (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 0, 90))


@pytest.fixture
def analyst(predictor):
    return PictureAnalyst(predictor, limits=UploadLimits(), seconds=1000)


@pytest.mark.parametrize("kind", ["plain", "palette", "alpha", "16-bit"])
def test_pictures_of_any_mode_are_read(send_me, kind):
    upload = read_upload(send_me(kind), UploadLimits())
    assert upload.picture.shape == (60, 88, 3) and upload.picture.dtype == np.uint8 and upload.size == (60, 88)
    assert 100 < upload.picture.mean() < 155, "the levels are kept"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "text.png is no picture in one of the formats PNG, JPEG"),
        ("cut off", "cut off.png is damaged"),
        ("empty", r"empty.png is empty \(0 bytes\)"),
        ("400-megapixel", "400-megapixel.png has too many megapixels: more than 179, where 50 are allowed"),
        ("100-megapixel", r"100-megapixel.png has too many megapixels: 100.0 \(10000 x 10000\), where 50 are allowed"),
    ],
)
def test_what_is_refused(send_me, tmp_path, kind, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read_upload(send_me(kind), UploadLimits())
    assert str(tmp_path) not in str(refusal.value), "visitors do not learn where files are"


def test_too_many_bytes(send_me):
    with pytest.raises(ValueError, match=r"plain.png is too large: at most 0.001 megabytes"):
        read_upload(send_me("plain"), UploadLimits(max_megabytes=0.001))


def test_programs_are_not_started_for_pictures(tmp_path):
    """Pillow hands PostScript over to Ghostscript."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match="is no picture in one of the formats"):
        read_upload(tmp_path / "a.png", UploadLimits())


def test_fractions_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"^a\.tif: a picture whose levels are not whole numbers"):
        read_upload(tmp_path / "a.tif", UploadLimits())


def test_large_pictures_are_scaled_down(tmp_path):
    Image.new("RGB", (400, 100), (10, 20, 30)).save(tmp_path / "a.png")
    upload = read_upload(tmp_path / "a.png", UploadLimits(work_megapixels=0.01))
    assert upload.picture.shape == (50, 200, 3) and upload.size == (100, 400)
    assert (upload.picture == (10, 20, 30)).all()


def test_thin_pictures_keep_a_pixel(tmp_path):
    Image.new("RGB", (4000, 1)).save(tmp_path / "a.png")
    assert read_upload(tmp_path / "a.png", UploadLimits(work_megapixels=0.0001)).picture.shape[0] == 1


def test_time_is_over_between_modules():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    watch(model)
    model(torch.zeros(1, 2))
    with time_limit(1000):
        model(torch.zeros(1, 2))
    with time_limit(0), pytest.raises(TimeoutError):
        model(torch.zeros(1, 2))
    model(torch.zeros(1, 2))


def test_time_is_over_for_one_thread_alone():
    model = torch.nn.Linear(2, 2)
    watch(model)
    outcome = []
    with time_limit(0):
        other = threading.Thread(target=lambda: outcome.append(model(torch.zeros(1, 2))))
        other.start()
        other.join()
    assert len(outcome) == 1


def test_a_picture_that_takes_too_long(predictor, send_me):
    slow = PictureAnalyst(predictor, limits=UploadLimits(), seconds=1e-9)
    with pytest.raises(ValueError, match="the model needs more than 1e-09 seconds"):
        slow(send_me("plain"))
    assert not predictor.model.backbone._forward_hooks, "the model is left as it was"


def test_analysis_is_what_predictor_and_inspection_say(analyst, predictor, send_me):
    path = send_me("plain")
    analysis = analyst(path)
    assert np.array_equal(analysis.labels, predictor(path))
    expected = inspect_image(predictor, analysis.upload.picture[:, :, ::-1])
    assert np.array_equal(analysis.inspection.masks, expected.masks)
    assert analysis.drops_tokens


def test_threads_do_not_mix_pictures(analyst, send_me, tmp_path):
    Image.new("RGB", (40, 50), (200, 10, 10)).save(tmp_path / "red.png")
    paths = [send_me("plain"), tmp_path / "red.png"]
    alone = [analyst(path).inspection for path in paths]
    together = {}
    threads = [
        threading.Thread(target=lambda index=index: together.update({index: analyst(paths[index % 2]).inspection}))
        for index in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(6):
        assert np.allclose(together[index].masks, alone[index % 2].masks, atol=1e-5)


def test_areas():
    labels = np.array([[3, 3, 1], [3, 2, 1]])
    assert [(area.index, area.share) for area in class_areas(labels)] == [(3, 1 / 2), (1, 1 / 3), (2, 1 / 6)]


def test_table_lists_what_was_found(analyst, send_me):
    analysis = analyst(send_me("plain"))
    table = areas_table(analysis, NAMES, COLORS)
    assert table.count("<tr>") == 1 + len(np.unique(analysis.labels))
    assert "<b>" not in table, "names are escaped"
    largest = class_areas(analysis.labels)[0]
    assert f"{largest.share:.2%}" in table


def test_pictures_of_an_analysis(analyst, send_me):
    analysis = analyst(send_me("plain"))
    overlay = draw_overlay(analysis, NAMES, COLORS, 0)
    assert np.array_equal(overlay[:60, :88], analysis.upload.picture) and overlay.shape[0] > 60, "a legend is below"
    full = draw_overlay(analysis, NAMES, COLORS, 1)[:60, :88]
    assert np.array_equal(full, np.asarray(COLORS)[analysis.labels])
    assert draw_mask(analysis, 2).shape == draw_kept_tokens(analysis).shape == analysis.inspection.image.shape
    assert not np.array_equal(draw_mask(analysis, 2), draw_mask(analysis, 3))
    assert mask_title(analysis, 0, NAMES).startswith("Mask of sky (p = ")
    kept = analysis.inspection.kept
    assert f"88 x 60 pixels; {kept.sum()} of {kept.size} tokens kept" in describe_analysis(analysis)


def test_refusals_are_escaped():
    assert "&lt;img" in describe_refusal(ValueError("<img src=x> is too large"))


def test_models_without_class_queries(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME, tiny_cfg.MODEL.SEGVIT.LOSS = "PerPixelHead", "pixel"
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "softmax"
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, tiny_cfg.MODEL.VIT.OUT_INDICES = ["block2"], [2]
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "linear.pth")
    analyst = PictureAnalyst(SegViTPredictor(tiny_cfg, tmp_path / "linear.pth"), limits=UploadLimits(), seconds=1000)
    with pytest.raises(ValueError, match="no class queries to look at"):
        analyst.rehearse()
