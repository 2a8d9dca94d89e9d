"""INPUT.CROP.FROM_FILE: crops are read from the files, at their resolution, with the labels of their pixels.

Shape shorthand: H x W pixels.
"""

import numpy as np
import pytest
import tifffile
from PIL import Image

from segvit.data.dataset_mapper import SegViTSemanticDatasetMapper
from segvit.errors import UserError
from segvit.images import ImageFormat

HEIGHT, WIDTH = 200, 300


@pytest.fixture
def record(tmp_path):
    """Five channels that tell row, column and label of each pixel."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    labels = ((rows // 20 + columns // 20) % 5).astype(np.uint8)
    image = np.stack([rows, columns, labels, rows, columns], axis=2).astype(np.float32)
    options = {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)}
    tifffile.imwrite(tmp_path / "a.tif", image, **options)
    Image.fromarray(labels).save(tmp_path / "a.png")
    return {"file_name": str(tmp_path / "a.tif"), "sem_seg_file_name": str(tmp_path / "a.png")}


@pytest.fixture
def cfg(tiny_cfg):
    tiny_cfg.INPUT.CHANNELS, tiny_cfg.INPUT.LEVELS, tiny_cfg.INPUT.CROP.FROM_FILE = 5, "raw", True
    tiny_cfg.MODEL.PIXEL_MEAN, tiny_cfg.MODEL.PIXEL_STD = 5 * [100.0], 5 * [50.0]
    tiny_cfg.INPUT.PHOTOMETRIC_STRENGTH, tiny_cfg.INPUT.RANDOM_FLIP = 0.0, "none"
    tiny_cfg.INPUT.RESIZE_RATIO_RANGE = [1.0, 1.0]
    return tiny_cfg


def test_a_crop_holds_pixels_of_the_file_and_their_labels(cfg, record, monkeypatch):
    monkeypatch.setattr(ImageFormat, "read", lambda *args: pytest.fail("the whole image was read"))
    np.random.seed(0)
    mapper = SegViTSemanticDatasetMapper(cfg, is_train=True)
    tops = set()
    for _ in range(5):
        mapped = mapper(record)
        rows, columns, labels = mapped["image"][:3].numpy()
        assert mapped["image"].shape == (5, 32, 48) and (mapped["height"], mapped["width"]) == (HEIGHT, WIDTH)
        assert (np.diff(rows, axis=0) == 1).all() and (np.diff(columns, axis=1) == 1).all()
        assert np.array_equal(mapped["sem_seg"].numpy(), labels)
        tops.add(float(rows[0, 0]))
    assert len(tops) > 1


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_the_ratio_scales_the_file(cfg, record, ratio):
    cfg.INPUT.RESIZE_RATIO_RANGE = [ratio, ratio]
    rows = SegViTSemanticDatasetMapper(cfg, is_train=True)(record)["image"][0].numpy()
    assert rows.shape == (32, 48)
    np.testing.assert_allclose(np.diff(rows[4:-4], axis=0), 1 / ratio, atol=0.1)


@pytest.mark.parametrize(("max_area", "draws"), [(1.0, 1), (0.75, 10)])
def test_crops_of_one_class_are_drawn_again_unless_any_crop_will_do(cfg, record, monkeypatch, max_area, draws):
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(record["sem_seg_file_name"])
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = max_area
    mapper, draw, ends = SegViTSemanticDatasetMapper(cfg, is_train=True), np.random.randint, []
    monkeypatch.setattr(np.random, "randint", lambda end: ends.append(end) or draw(end))
    mapper(record)
    assert len(ends) == 2 * draws


def test_keys_that_need_the_whole_image_are_refused(cfg):
    cfg.INPUT.CROP.CLASS_PROBABILITY = 0.5
    with pytest.raises(UserError, match=r"INPUT\.CROP\.FROM_FILE"):
        SegViTSemanticDatasetMapper(cfg, is_train=True)


def test_a_label_map_of_another_size_is_named(cfg, record, tmp_path):
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png"):
        SegViTSemanticDatasetMapper(cfg, is_train=True)(record)
