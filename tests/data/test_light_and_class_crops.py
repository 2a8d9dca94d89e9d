"""Changes of light, and crops around a class: what they do to pixels, how often, and that they follow their seed."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from segvit.config.defaults import get_segvit_cfg
from segvit.data.augmentation import build_train_augmentations
from segvit.data.light_augmentation import LightChange, LightTransform

IGNORED = 255


def random_image(height=24, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def light_cfg(**keys):
    cfg = get_segvit_cfg()
    cfg.INPUT.RANDOM_FLIP, cfg.INPUT.PHOTOMETRIC_STRENGTH, cfg.INPUT.CROP.ENABLED = "none", 0.0, False
    for key, value in keys.items():
        cfg.INPUT[key] = value
    return cfg


def test_gamma_gains_and_blur_equal_a_computation_in_floating_point():
    image = random_image()
    changed = LightTransform(gamma=2.0, gains=(1.0, 0.5, 1.5), sigma=0.0).apply_image(image)
    expected = 255 * (image / 255.0) ** 2 * [1.0, 0.5, 1.5]
    assert np.abs(changed - expected.clip(0, 255)).max() <= 0.5 + 1e-6
    spot = np.zeros((9, 9, 3), np.uint8)
    spot[4, 4] = 255
    blurred = LightTransform(gamma=1.0, gains=(1.0, 1.0, 1.0), sigma=1.0).apply_image(spot)
    assert blurred[4, 4, 0] == pytest.approx(255 / (2 * np.pi), abs=3)
    assert blurred.sum() == pytest.approx(3 * 255, rel=0.1)


@pytest.mark.parametrize("keys", [{"GAMMA_RANGE": [0.5, 2.0]}, {"WHITE_BALANCE": 0.5}, {"BLUR_SIGMA": 2.0}])
def test_each_key_alone_changes_about_half_of_the_images_and_no_label(keys):
    built = build_train_augmentations(light_cfg(**keys))
    assert len(built) == 2
    image, labels = random_image(), np.arange(24 * 40, dtype=np.uint8).reshape(24, 40)
    np.random.seed(0)
    changed = []
    for _ in range(200):
        transform = built[-1].get_transform(image)
        assert np.array_equal(transform.apply_segmentation(labels), labels)
        changed.append(not np.array_equal(transform.apply_image(image), image))
    assert 0.35 < np.mean(changed) < 0.65


def test_gamma_darkens_as_often_as_it_brightens():
    np.random.seed(0)
    change = LightChange(gamma_range=(0.4, 2.5), white_balance=0.0, blur_sigma=0.0)
    grey = np.full((2, 2, 3), 128, np.uint8)
    levels = np.array([change.get_transform(grey).apply_image(grey)[0, 0, 0] for _ in range(400)])
    assert levels.min() < 55 and levels.max() > 180
    assert np.mean(levels < 128) == pytest.approx(np.mean(levels > 128), abs=0.08)


def test_the_default_adds_nothing():
    assert len(build_train_augmentations(light_cfg())) == 1


def test_the_same_seed_gives_the_same_image():
    cfg = light_cfg(GAMMA_RANGE=[0.4, 2.5], WHITE_BALANCE=0.3, BLUR_SIGMA=1.0)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.CLASS_PROBABILITY = True, 0.5
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "absolute", [16, 16]
    results = []
    for _ in range(2):
        np.random.seed(3)
        inputs = T.AugInput(random_image(), sem_seg=random_image()[..., 0] % 5)
        T.AugmentationList(build_train_augmentations(cfg))(inputs)
        results.append((inputs.image, inputs.sem_seg))
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))


def crops(probability, labels, count=80):
    cfg = light_cfg(MIN_SIZE_TRAIN=(64,), MAX_SIZE_TRAIN=64, RESIZE_RATIO_RANGE=[1.0, 1.0])
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [16, 16]
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    cfg.INPUT.CROP.CLASS_PROBABILITY = probability
    augmentations = T.AugmentationList(build_train_augmentations(cfg))
    np.random.seed(0)
    cut = []
    for _ in range(count):
        inputs = T.AugInput(random_image(64, 64), sem_seg=labels)
        augmentations(inputs)
        assert inputs.image.shape[:2] == inputs.sem_seg.shape == (16, 16)
        cut.append(inputs.sem_seg)
    return cut


def test_a_class_of_one_pixel_is_in_as_many_crops_as_the_probability_says():
    """Of two classes, half of the crops around a class show the rare one, anywhere in the crop."""
    labels = np.zeros((64, 64), np.uint8)
    labels[63, 5] = 2
    assert np.mean([(cut == 2).any() for cut in crops(0.0, labels)]) < 0.2
    shown = [cut for cut in crops(1.0, labels) if (cut == 2).any()]
    assert 30 <= len(shown) <= 55
    assert len({tuple(np.argwhere(cut == 2)[0]) for cut in shown}) > 3


def test_labels_of_no_class_are_not_drawn():
    """Background (3) and ignored pixels: with nothing else, the crop is an ordinary one."""
    labels = np.full((64, 64), IGNORED, np.uint8)
    labels[:2, :2] = 3
    assert len(crops(1.0, labels)) == 80
    labels[60, 60] = 1
    assert all((cut == 1).any() for cut in crops(1.0, labels))
