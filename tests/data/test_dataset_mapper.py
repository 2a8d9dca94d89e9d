"""The dataset mapper: its outputs and its errors."""

import copy

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segvit.config.defaults import get_segvit_cfg
from segvit.data import SegViTSemanticDatasetMapper
from segvit.errors import UserError

NUM_CLASSES, IGNORED = 5, 255
HEIGHT, WIDTH = 37, 53


def small_cfg(**keys) -> CfgNode:
    cfg = get_segvit_cfg()
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = NUM_CLASSES
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 64
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [31, 45]
    for key, value in keys.items():
        node, _, leaf = key.rpartition("__")
        setattr(cfg.INPUT[node] if node else cfg.INPUT, leaf, value)
    return cfg


def plain_cfg() -> CfgNode:
    """No augmentation except a resize that keeps 37 x 53 images as they are."""
    return small_cfg(
        MIN_SIZE_TRAIN=(HEIGHT,),
        MAX_SIZE_TRAIN=WIDTH,
        RESIZE_RATIO_RANGE=[1.0, 1.0],
        CROP__ENABLED=False,
        RANDOM_FLIP="none",
        PHOTOMETRIC_STRENGTH=0.0,
    )


def write_pair(folder, labels, image_size=(HEIGHT, WIDTH)) -> dict[str, str]:
    pixels = np.random.default_rng(0).integers(0, 256, (*image_size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    Image.fromarray(labels).save(folder / "labels.png")
    return {"file_name": str(folder / "image.png"), "sem_seg_file_name": str(folder / "labels.png")}


def random_labels(seed=0) -> np.ndarray:
    ids = np.array([0, 1, 3, 4, IGNORED], np.uint8)
    return np.random.default_rng(seed).choice(ids, (HEIGHT, WIDTH))


@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
def test_training_outputs_image_and_labels(tmp_path, image_format):
    mapper = SegViTSemanticDatasetMapper(small_cfg(FORMAT=image_format), is_train=True)
    for _ in range(20):
        mapped = mapper(write_pair(tmp_path, random_labels()))
        height, width = mapped["sem_seg"].shape
        assert height <= 31 and width <= 45
        assert mapped["image"].shape == (3, height, width) and mapped["image"].dtype == torch.uint8
        assert mapped["image"].is_contiguous() and mapped["sem_seg"].is_contiguous()
        assert mapped["sem_seg"].dtype == torch.uint8
        assert torch.equal(mapped["sem_seg_ids"], mapped["sem_seg"].long().unique())
        assert (mapped["height"], mapped["width"]) == (HEIGHT, WIDTH)
        assert "sem_seg_file_name" not in mapped


def test_without_augmentation_the_files_are_unchanged(tmp_path):
    labels = random_labels()
    pair = write_pair(tmp_path, labels)
    mapped = SegViTSemanticDatasetMapper(plain_cfg(), is_train=True)(pair)
    assert np.array_equal(mapped["sem_seg"].numpy(), labels)
    bgr = mapped["image"].numpy().transpose(1, 2, 0)
    assert np.array_equal(bgr[..., ::-1], np.asarray(Image.open(pair["file_name"])))


def test_the_record_is_not_modified(tmp_path):
    pair = write_pair(tmp_path, random_labels()) | {"nested": {"list": [1]}}
    before = copy.deepcopy(pair)
    for is_train in (True, False):
        SegViTSemanticDatasetMapper(small_cfg(), is_train=is_train)(pair)
        assert pair == before


def test_the_output_has_no_class_masks(tmp_path):
    """Workers would have to send a mask per class."""
    pair = write_pair(tmp_path, random_labels())
    mapped = SegViTSemanticDatasetMapper(small_cfg(), is_train=True)(pair)
    assert set(mapped) == {"file_name", "height", "width", "image", "sem_seg", "sem_seg_ids"}


def test_all_pixels_may_be_ignored(tmp_path):
    mapped = SegViTSemanticDatasetMapper(small_cfg(), is_train=True)(
        write_pair(tmp_path, np.full((HEIGHT, WIDTH), IGNORED, np.uint8))
    )
    assert (mapped["sem_seg"] == IGNORED).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_wrong_ids_name_the_file_and_the_remedy(tmp_path, dtype):
    labels = random_labels().astype(dtype)
    labels[0, :2] = 77, NUM_CLASSES
    with pytest.raises(ValueError, match=r"labels\.png.*ids 5, 77 are.*0\.\.4.*255.*NUM_CLASSES"):
        SegViTSemanticDatasetMapper(small_cfg(), is_train=True)(write_pair(tmp_path, labels))


def test_sixteen_bit_label_maps_are_read(tmp_path):
    labels = random_labels().astype(np.uint16)
    mapped = SegViTSemanticDatasetMapper(plain_cfg(), is_train=True)(write_pair(tmp_path, labels))
    assert np.array_equal(mapped["sem_seg"].numpy(), labels)


def test_palette_label_maps_are_read_as_ids(tmp_path):
    labels = random_labels()
    pair = write_pair(tmp_path, labels)
    palette = Image.fromarray(labels)
    palette.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    palette.save(pair["sem_seg_file_name"])
    mapped = SegViTSemanticDatasetMapper(plain_cfg(), is_train=True)(pair)
    assert np.array_equal(mapped["sem_seg"].numpy(), labels)


def test_colour_label_map_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"labels\.png.*3 channels"):
        SegViTSemanticDatasetMapper(small_cfg(), is_train=True)(
            write_pair(tmp_path, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        )


def test_different_sizes_are_refused(tmp_path):
    pair = write_pair(tmp_path, random_labels(), image_size=(WIDTH, HEIGHT))
    with pytest.raises(UserError, match=r"labels\.png.*53 x 37.*image\.png is 37 x 53"):
        SegViTSemanticDatasetMapper(small_cfg(), is_train=True)(pair)
    with pytest.raises(UserError, match=r"image\.png: .*37 x 53.* 53 x 37"):
        SegViTSemanticDatasetMapper(small_cfg(), is_train=False)(pair | {"height": HEIGHT, "width": WIDTH})


def test_training_needs_a_label_map(tmp_path):
    pair = write_pair(tmp_path, random_labels())
    del pair["sem_seg_file_name"]
    with pytest.raises(ValueError, match="no sem_seg_file_name"):
        SegViTSemanticDatasetMapper(small_cfg(), is_train=True)(pair)


@pytest.mark.parametrize("min_size, expected", [(0, (HEIGHT, WIDTH)), (74, (74, 106))])
def test_inference_resizes_the_image_and_reads_no_labels(tmp_path, min_size, expected):
    pair = write_pair(tmp_path, random_labels()) | {"sem_seg_file_name": "nowhere.png"}
    mapped = SegViTSemanticDatasetMapper(small_cfg(MIN_SIZE_TEST=min_size), is_train=False)(pair)
    assert mapped["image"].shape == (3, *expected)
    assert (mapped["height"], mapped["width"]) == (HEIGHT, WIDTH)
    assert mapped["sem_seg_file_name"] == "nowhere.png"
    assert "sem_seg" not in mapped


def test_the_seed_determines_the_augmentation(tmp_path):
    mapper = SegViTSemanticDatasetMapper(small_cfg(), is_train=True)
    pair = write_pair(tmp_path, random_labels())
    outputs = []
    for _ in range(2):
        np.random.seed(7)
        outputs.append([mapper(pair) for _ in range(5)])
    for first, second in zip(*outputs, strict=True):
        assert torch.equal(first["image"], second["image"])
        assert torch.equal(first["sem_seg"], second["sem_seg"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    ids=st.sets(st.sampled_from([*range(NUM_CLASSES), IGNORED]), min_size=1),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_label_map_is_mapped(tmp_path, height, width, ids, seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array(sorted(ids), np.uint8), (height, width))
    np.random.seed(seed)
    mapped = SegViTSemanticDatasetMapper(small_cfg(), is_train=True)(write_pair(tmp_path, labels, (height, width)))
    assert set(mapped["sem_seg"].unique().tolist()) <= ids
    assert mapped["image"].shape[1:] == mapped["sem_seg"].shape
