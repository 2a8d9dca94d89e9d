"""INPUT.AUGMENTATION: pipelines of Albumentations, torchvision and functions, on images and label maps alike.

Shape shorthand: H x W pixels of an image.
"""

import numpy as np
import pytest
import torch
import yaml
from detectron2.data import transforms as T
from PIL import Image

from helpers.repository import CONFIGS
from segvit.config.loading import load_config
from segvit.data import SegViTSemanticDatasetMapper
from segvit.data.augmentation import build_train_augmentations
from segvit.data.pipelines.loading import load_pipeline
from segvit.data.pipelines.own_pipeline import OwnPipeline
from segvit.data.sample_stream import Sample, SeededSamples, temporary_seed
from segvit.errors import UserError

A = pytest.importorskip("albumentations")
HEIGHT, WIDTH = 40, 56
ROTATION = "- Rotate: {limit: [30, 30], p: 1.0}"
BOTH = {
    "albumentations": "- Rotate: {limit: [30, 30], p: 1.0}\n- RandomBrightnessContrast: {p: 1.0}",
    "torchvision": "- v2.RandomRotation: {degrees: [30, 30]}\n- v2.ColorJitter: {brightness: 0.5}",
}


def sample(channels=3, ids=(0, 2, 255)):
    """An image whose first channel is its label map times 50, and the label map, in blocks."""
    generator = np.random.default_rng(0)
    labels = generator.choice(np.array(ids, np.uint8), (HEIGHT // 8, WIDTH // 8)).repeat(8, 0).repeat(8, 1)
    image = np.repeat((labels % 5 * 50)[:, :, None], channels, axis=2)
    return image, labels


def run(pipeline, image, labels, *, seed=0, ignore_value=255):
    given = T.AugInput(image, sem_seg=labels)
    with temporary_seed(seed):
        T.AugmentationList([OwnPipeline(pipeline, ignore_value=ignore_value)])(given)
    return given.image, given.sem_seg


@pytest.mark.parametrize("text", ["- HorizontalFlip: {p: 1.0}", "- v2.RandomHorizontalFlip: {p: 1.0}"])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_image_and_label_map_change_alike(text, channels):
    image, labels = sample(channels)
    changed, mask = run(load_pipeline(text), image, labels)
    assert np.array_equal(changed, image[:, ::-1]) and np.array_equal(mask, labels[:, ::-1])
    assert changed.dtype == np.uint8 and mask.dtype == np.uint8


@pytest.mark.parametrize("text", BOTH.values(), ids=BOTH)
def test_what_a_rotation_fills_in_is_ignored_and_labels_stay(text):
    image, labels = sample(ids=(0, 2))
    changed, mask = run(load_pipeline(text), image, labels)
    assert changed.shape == image.shape and mask.shape == labels.shape
    assert set(np.unique(mask)) == {0, 2, 255}
    assert (mask[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all() and mask[HEIGHT // 2, WIDTH // 2] != 255


def test_the_ignore_value_as_fill_is_understood():
    _, mask = run(load_pipeline("- Rotate: {limit: [30, 30], p: 1.0, fill_mask: 255}"), *sample(ids=(0, 2)))
    assert set(np.unique(mask)) == {0, 2, 255}


def test_ids_above_255_stay():
    image, labels = sample(ids=(0, 2))
    wide = np.where(labels == 2, 300.0, labels).astype(np.float32)
    _, mask = run(load_pipeline(ROTATION), image, wide, ignore_value=65535)
    assert set(np.unique(mask)) == {0, 300, 65535}


@pytest.mark.parametrize("text", BOTH.values(), ids=BOTH)
def test_the_seed_of_a_sample_decides_its_images(text):
    random = text.replace("[30, 30]", "[-40, 40]")
    one, other = load_pipeline(random), load_pipeline(random)
    run(other, *sample(), seed=9)  # an earlier image, which a resumed run does not see
    results = [run(pipeline, *sample(), seed=seed) for pipeline, seed in ((one, 1), (other, 1), (one, 2))]
    assert np.array_equal(results[0][0], results[1][0]) and np.array_equal(results[0][1], results[1][1])
    assert not np.array_equal(results[0][1], results[2][1])


def test_a_serialized_pipeline_gives_the_same_images():
    pipeline = A.Compose([A.Rotate(limit=40, p=1.0), A.RandomGamma(p=0.5)])
    read = load_pipeline(yaml.safe_dump(pipeline.to_dict()))
    for one, other in zip(run(pipeline, *sample()), run(read, *sample())):
        assert np.array_equal(one, other)


def test_a_pipeline_is_imported_from_a_module_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_flips.py").write_text(
        "def flipped(image, mask):\n    return {'image': image[::-1], 'mask': mask[::-1]}\n\n\n"
        "def pipeline():\n    return flipped\n\n\nnothing = 3\n"
    )
    image, labels = sample()
    for name in ("my_flips:flipped", "my_flips:pipeline", "my_flips.py:pipeline"):
        changed, mask = run(load_pipeline(name), image, labels)
        assert np.array_equal(changed, image[::-1]) and np.array_equal(mask, labels[::-1])
    for name, message in (("my_flips:turned", "'turned'"), ("my_flips:nothing", "called"), ("nowhere:f", "nowhere")):
        with pytest.raises(UserError, match=f"INPUT.AUGMENTATION.*{message}"):
            load_pipeline(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flip", "must be an import path"),
        ("- Flop: {}", "no transform 'Flop'"),
        ("- os: {}", "no transform 'os'"),
        ("- Rotate: {limits: 3}", "no argument limits"),
        ("- Rotate: 3", "must be a name and its arguments"),
        ("- v2.Pad: {}", "v2.Pad"),
        ("- HorizontalFlip\n- v2.RandomHorizontalFlip", "mixes"),
        ("{transform: {__class_fullname__: os.system}}", "cannot read"),
        ("- [", "not plain YAML"),
    ],
)
def test_descriptions_that_name_nothing_are_refused(text, message):
    with pytest.raises(UserError, match=r"INPUT\.AUGMENTATION") as refused:
        load_pipeline(text)
    assert message in str(refused.value)


def blurred(image, mask):
    return {"image": image, "mask": (mask // 2 + np.roll(mask, 8, axis=1) // 2).astype(mask.dtype)}


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (lambda image, mask: {"image": image[::2], "mask": mask}, "56 x 20 .* 56 x 40"),
        (lambda image, mask: {"image": image, "mask": mask.astype(np.float32)}, "float32, not integers"),
        (lambda image, mask: {"image": image / 255.0, "mask": mask}, "remove Normalize"),
        (lambda image, mask: {"image": image[:, :, :1], "mask": mask}, "3 channels"),
        (lambda image, mask: {"image": torch.zeros(3, 4, 4), "mask": mask}, "ToTensorV2"),
        (lambda image, mask: image, "must return a dict"),
        (blurred, r"labels \[\d.*nearest"),
    ],
)
def test_results_that_do_not_fit_name_key_and_remedy(pipeline, message):
    with pytest.raises(UserError, match=rf"INPUT\.AUGMENTATION.*{message}"):
        run(pipeline, *sample(ids=(0, 3, 9)))


def test_a_config_holds_the_text_of_the_file_and_trains_with_it(tmp_path, tiny_cfg):
    file = tmp_path / "pipeline.yaml"
    file.write_text(ROTATION + "\n")
    cfg = load_config(CONFIGS / "camvid" / "segvit_scratch_320x240.yaml", ["INPUT.AUGMENTATION", str(file)])
    assert cfg.INPUT.AUGMENTATION == ROTATION + "\n"
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert load_config(tmp_path / "config.yaml").INPUT.AUGMENTATION == cfg.INPUT.AUGMENTATION
    with pytest.raises(UserError, match=r"INPUT\.AUGMENTATION .*nowhere\.yaml.* does not exist"):
        load_config(CONFIGS / "camvid" / "segvit_scratch_320x240.yaml", ["INPUT.AUGMENTATION", "nowhere.yaml"])
    assert isinstance(build_train_augmentations(cfg)[-1], OwnPipeline)


@pytest.mark.parametrize("given", ["file", "command line", "config file"])
@pytest.mark.parametrize("text", ['[{"HorizontalFlip": {"p": 1.0}}]', "[HorizontalFlip: {p: 1.0}]"])
def test_yaml_in_flow_style_stays_a_text(tmp_path, given, text):
    """yacs takes the first one for a list of Python's."""
    path, opts, file = (
        CONFIGS / "camvid" / "segvit_scratch_320x240.yaml",
        ["INPUT.AUGMENTATION", text],
        tmp_path / "a.yaml",
    )
    if given == "file":
        file.write_text(text)
        opts[1] = str(file)
    elif given == "config file":
        file.write_text(yaml.safe_dump({"_BASE_": str(path), "INPUT": {"AUGMENTATION": text}}))
        path, opts = file, []
    cfg = load_config(path, opts)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    assert load_config(tmp_path / "config.yaml").INPUT.AUGMENTATION == cfg.INPUT.AUGMENTATION
    image, labels = sample()
    assert np.array_equal(run(load_pipeline(cfg.INPUT.AUGMENTATION), image, labels)[1], labels[:, ::-1])


def test_the_mapper_applies_it_with_the_seed_of_the_sample(tmp_path, tiny_cfg):
    image, labels = sample(ids=(0, 2))
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(labels).save(tmp_path / "labels.png")
    tiny_cfg.INPUT.AUGMENTATION = ROTATION.replace("[30, 30]", "[20, 40]")
    record = {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}
    samples = [SeededSamples([record], SegViTSemanticDatasetMapper(tiny_cfg, is_train=True)) for _ in range(2)]
    samples[1][Sample(0, 1)]
    one, other = (these[Sample(0, 5)] for these in samples)
    assert torch.equal(one["image"], other["image"]) and torch.equal(one["sem_seg"], other["sem_seg"])
    assert one["sem_seg"].dtype == torch.uint8 and 255 in one["sem_seg_ids"].tolist()
