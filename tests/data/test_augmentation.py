"""Augmentations: sizes after the resize, label ids, crops, flips and the photometric distortion."""

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from segvit.config.defaults import get_segvit_cfg
from segvit.data.augmentation import (
    PhotometricDistortion,
    PhotometricTransform,
    ResizeWithRatio,
    build_test_augmentations,
    build_train_augmentations,
)
from segvit.data.class_crop import MixedCrop


def random_image(height=24, width=40, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(deadline=None)
@given(height=st.integers(20, 3000), width=st.integers(20, 3000), ratio=st.floats(0.5, 2.0))
def test_ratio_resize_gives_the_largest_size_within_both_limits(height, width, ratio):
    resize = ResizeWithRatio(short=512, long=2048, ratio_range=(0.5, 2.0))
    new_height, new_width = resize.output_shape(height, width, ratio, short=512)
    short, long = sorted((new_height, new_width))
    assert short <= 512 * ratio + 0.5 and long <= 2048 * ratio + 0.5
    assert short >= 512 * ratio - 0.5 or long >= 2048 * ratio - 0.5
    scale = min(512 * ratio / min(height, width), 2048 * ratio / max(height, width))
    assert abs(new_height - height * scale) <= 0.5 + 1e-6 and abs(new_width - width * scale) <= 0.5 + 1e-6


@pytest.mark.parametrize(
    "size, expected", [((512, 683), (512, 683)), ((683, 512), (683, 512)), ((100, 800), (256, 2048))]
)
def test_ratio_resize_equals_hand_computed_sizes(size, expected):
    resize = ResizeWithRatio(short=512, long=2048, ratio_range=(1.0, 1.0))
    assert resize.output_shape(*size, 1.0, short=512) == expected
    assert (
        resize.get_transform(np.zeros((*size, 3), np.uint8)).apply_image(np.zeros((*size, 3), np.uint8)).shape[:2]
        == expected
    )


@pytest.mark.parametrize("sampling, median", [("uniform", 1.25), ("log", 1.0)])
def test_ratios_have_the_chosen_distribution(sampling, median):
    np.random.seed(0)
    resize = ResizeWithRatio(short=1000, long=1000, ratio_range=(0.5, 2.0), sampling=sampling)
    ratios = [resize.get_transform(np.zeros((10, 10, 3), np.uint8)).new_h / 1000 for _ in range(2000)]
    assert 0.5 <= min(ratios) < 0.52 and 1.97 < max(ratios) <= 2.0
    assert np.median(ratios) == pytest.approx(median, abs=0.05)


@pytest.mark.parametrize(
    ("shorts", "sampling", "expected"),
    [((64,), "choice", {64}), ((32, 48, 64), "choice", {32, 48, 64}), ((40, 43), "range", {40, 41, 42, 43})],
)
def test_several_short_sides(shorts, sampling, expected):
    """As Detectron2's ResizeShortestEdge draws them; the ratio applies to the drawn one."""
    cfg = get_segvit_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = shorts, sampling
    cfg.INPUT.RESIZE_RATIO_RANGE = [2.0, 2.0]
    np.random.seed(0)
    resize = build_train_augmentations(cfg)[0]
    drawn = [resize.get_transform(np.zeros((20, 30, 3), np.uint8)).new_h for _ in range(60)]
    assert set(drawn) == {2 * short for short in expected}


@pytest.mark.parametrize("shorts", [(64,), (64, 32), (32, 48, 64)])
def test_a_range_needs_two_short_sides(shorts):
    with pytest.raises(ValueError, match=r"INPUT\.MIN_SIZE_TRAIN .*'range'"):
        ResizeWithRatio(short=shorts, long=64, ratio_range=(1.0, 1.0), short_sampling="range")


@pytest.mark.parametrize("bad", [{"ratio_range": (0.0, 1.0)}, {"ratio_range": (2.0, 1.0)}, {"sampling": "normal"}])
def test_ratio_resize_refuses_wrong_arguments(bad):
    with pytest.raises(ValueError, match="RESIZE_RATIO"):
        ResizeWithRatio(**({"short": 8, "long": 8, "ratio_range": (0.5, 2.0)} | bad))


def test_all_training_augmentations_keep_label_ids():
    cfg = get_segvit_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 128
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [30, 30]
    augmentations = T.AugmentationList(build_train_augmentations(cfg))
    ids = np.array([2, 9, 140, 255], np.uint8)
    for seed in range(30):
        np.random.seed(seed)
        aug_input = T.AugInput(random_image(seed=seed), sem_seg=np.random.choice(ids, (24, 40)))
        augmentations(aug_input)
        assert set(np.unique(aug_input.sem_seg)) <= set(ids)
        assert aug_input.image.shape[:2] == aug_input.sem_seg.shape
        assert aug_input.image.dtype == np.uint8


@pytest.mark.parametrize("max_area", [0.6, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crops_are_those_of_detectron2(max_area, dtype):
    rng = np.random.default_rng(0)
    own = MixedCrop("absolute", (9, 12), max_area, ignored_category=3)
    theirs = T.RandomCrop_CategoryAreaConstraint("absolute", (9, 12), max_area, ignored_category=3)
    for seed in range(60):
        labels = rng.choice(4, (20, 30), p=[0.6, 0.2, 0.1, 0.1]).astype(dtype)
        labels[: seed // 3] = rng.choice(4)  # the rows above show one class, or are ignored
        crops = []
        for crop in (own, theirs):
            np.random.seed(seed)
            transform = crop.get_transform(labels, labels)
            crops.append((transform.x0, transform.y0, transform.w, transform.h, np.random.rand()))
        assert crops[0] == crops[1]


def test_crops_rarely_exceed_the_largest_area_of_a_class():
    cfg = get_segvit_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (64,), 64
    cfg.INPUT.RESIZE_RATIO_RANGE = [1.0, 1.0]
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [32, 32]
    labels = np.zeros((64, 64), np.uint8)
    labels[:, 32:] = 1
    fractions = []
    for limit in (0.75, 1.0):
        cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = limit
        np.random.seed(0)
        augmentations = T.AugmentationList(build_train_augmentations(cfg))
        inputs = [T.AugInput(random_image(64, 64), sem_seg=labels) for _ in range(60)]
        for aug_input in inputs:
            augmentations(aug_input)
        fractions.append(np.mean([max(np.mean(i.sem_seg == 0), np.mean(i.sem_seg == 1)) <= 0.75 for i in inputs]))
    assert fractions[0] > 0.95 > fractions[1]


@pytest.mark.parametrize("flip, kinds", [("none", 0), ("horizontal", 1), ("vertical", 1)])
def test_flip_and_photometric_distortion_can_be_disabled(flip, kinds):
    cfg = get_segvit_cfg()
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.PHOTOMETRIC_STRENGTH, cfg.INPUT.CROP.ENABLED = flip, 0.0, False
    built = build_train_augmentations(cfg)
    assert len(built) == 1 + kinds and isinstance(built[0], ResizeWithRatio)


def test_a_test_size_of_0_keeps_the_size():
    cfg = get_segvit_cfg()
    cfg.INPUT.MIN_SIZE_TEST = 0
    aug_input = T.AugInput(random_image())
    T.AugmentationList(build_test_augmentations(cfg))(aug_input)
    assert np.array_equal(aug_input.image, random_image())


def test_photometric_strength_zero_changes_nothing():
    image = random_image()
    transform = PhotometricDistortion(image_format="RGB", strength=0.0).get_transform(image)
    assert np.array_equal(transform.apply_image(image), image)


def test_photometric_transform_is_deterministic_and_independent_of_channel_order():
    image = random_image()
    parameters = {"brightness": 12.0, "contrast": 1.3, "saturation": 0.7, "hue": -9, "contrast_last": True}
    rgb = PhotometricTransform(image_format="RGB", **parameters)
    bgr = PhotometricTransform(image_format="BGR", **parameters)
    assert np.array_equal(rgb.apply_image(image), bgr.apply_image(image[..., ::-1])[..., ::-1])
    assert np.array_equal(rgb.apply_image(image), rgb.apply_image(image))
    assert np.array_equal(rgb.apply_segmentation(image[..., 0]), image[..., 0])


def test_brightness_contrast_saturation_and_hue_change_known_pixels():
    image = np.full((2, 2, 3), (100, 50, 50), np.uint8)
    brighter = PhotometricTransform(image_format="RGB", brightness=20.0).apply_image(image)
    assert brighter[0, 0].tolist() == [120, 70, 70]
    stronger = PhotometricTransform(image_format="RGB", contrast=1.5).apply_image(image)
    assert stronger[0, 0].tolist() == [150, 75, 75]
    grey = PhotometricTransform(image_format="RGB", saturation=0.0).apply_image(image)
    assert grey[0, 0].tolist() == [100, 100, 100]
    green = PhotometricTransform(image_format="RGB", hue=60).apply_image(image)
    assert green[0, 0].argmax() == 1


def test_photometric_strength_scales_the_changes():
    image, changes = random_image(), []
    for strength in (0.25, 1.0):
        np.random.seed(0)
        distort = PhotometricDistortion(image_format="BGR", strength=strength)
        outputs = [distort.get_transform(image).apply_image(image) for _ in range(50)]
        changes.append(np.mean([np.abs(out.astype(int) - image).mean() for out in outputs]))
    assert 2.0 * changes[0] < changes[1]


@pytest.mark.parametrize("bad", [{"image_format": "L"}, {"strength": -0.1}, {"strength": 3.0}])
def test_photometric_distortion_refuses_wrong_arguments(bad):
    with pytest.raises(ValueError, match="INPUT"):
        PhotometricDistortion(**({"image_format": "RGB", "strength": 1.0} | bad))
