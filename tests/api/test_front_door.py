"""`import segvit`: creating, training, predicting, saving and loading a model, where Detectron2 is not installed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

import segvit
from helpers.processes import run_program
from helpers.repository import PROJECT
from segvit.api.options import KEYS, key_of, keys_of_options, names_of
from segvit.d2 import load_config
from segvit.errors import ArgumentError, UserError
from segvit.inference import SegViTPredictor

TINY = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 48, "depth": 3, "vit_num_heads": 3, "output": "diagonal"}
NAMES = ("road", "sky", "car", "tree")

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("detectron2", "fvcore", "iopath", "omegaconf", "cv2", "matplotlib"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
"""
# A training loop, and then what its user does with the model.
LOOP = (
    BLOCK
    + """
import segvit
import torch

torch.manual_seed(0)
options = dict(img_size=(32, 48), patch_size=8, embed_dim=48, depth=3, vit_num_heads=3, output="diagonal")
model = segvit.create_model("vit_tiny_patch16_224", classes=["road", "sky", "car", "tree"], **options)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
labels = torch.arange(4).repeat_interleave(torch.tensor([8, 16, 16, 8])).expand(2, 32, 48)
images = (labels[:, None] * 60 + torch.tensor([0, 20, 40])[:, None, None]).to(torch.uint8)
for _ in range(60):
    losses = model(images, labels)
    loss = sum(losses.values())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    first = first if _ else loss.item()
assert loss.item() < 0.5 * first, (first, loss.item())
result = model.predict(images[0].permute(1, 2, 0).numpy())
assert (result.labels == labels[0].numpy()).mean() > 0.9, result
assert model.training
result.overlay().save(sys.argv[2])
result.colorize()
model.save_pretrained(sys.argv[1])
import numpy
numpy.save(sys.argv[3], result.labels)
"""
)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = segvit.create_model("vit_tiny_patch16_224", classes=NAMES, vit_init_std=0.15, segvit_init_std=0.2, **TINY)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "class_embed" in name:
                value.zero_()  # masks decide, and several classes win
    return model.eval()


def test_a_loop_without_detectron2_trains_predicts_and_saves(tmp_path):
    arguments = [tmp_path / "model", tmp_path / "overlay.png", tmp_path / "labels.npy"]
    done = subprocess.run([sys.executable, "-c", LOOP, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    moved = shutil.move(tmp_path / "model", tmp_path / "elsewhere")
    loaded = segvit.from_pretrained(moved)
    assert not loaded.training and loaded.classes.names == NAMES
    assert Image.open(tmp_path / "overlay.png").size == (48, 32)
    stripes = torch.arange(4).repeat_interleave(torch.tensor([8, 16, 16, 8])).expand(32, 48)
    image = (stripes[..., None] * 60 + torch.tensor([0, 20, 40])).byte()
    assert (loaded.predict(image.numpy()).labels == np.load(tmp_path / "labels.npy")).mean() >= 0.9999
    # The same folder, by the other door.
    bgr = np.ascontiguousarray(image.numpy()[:, :, ::-1])
    assert (SegViTPredictor(moved)(bgr) == np.load(tmp_path / "labels.npy")).mean() >= 0.9999


def test_import_is_cheap_and_lazy():
    script = "import sys, segvit; print(sorted({'torch', 'timm', 'detectron2'} & set(sys.modules)), dir(segvit))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.startswith("[]") and "create_model" in done.stdout and "from_pretrained" in done.stdout
    assert segvit.__version__
    with pytest.raises(AttributeError, match="no_such_name"):
        segvit.no_such_name  # noqa: B018


def test_a_config_gives_the_model_of_detectron2(image):
    """One set of weights: the same losses by both doors, and the same labels."""
    overrides = ["MODEL.VIT.DROP_PATH_RATE", 0.0, "MODEL.SEGVIT.DROPOUT", 0.0, "MODEL.DEVICE", "cpu"]
    cfg = load_config(PROJECT / "configs/quick_schedules/toy_scenes.yaml", overrides)
    reference = build_model(cfg)
    model = segvit.create_model("quick_schedules/toy_scenes", drop_path_rate=0.0, dropout=0.0)
    model.network.load_state_dict(reference.state_dict())
    images = torch.randint(256, (2, 3, 128, 160), dtype=torch.uint8)
    labels = torch.randint(10, (2, 128, 160))
    expected = reference.train()([{"image": one, "sem_seg": ids} for one, ids in zip(images, labels)])
    losses = model(images, labels)
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    scores = model.eval()(images)
    (first, _) = reference.eval()([{"image": one} for one in images])
    torch.testing.assert_close(scores[0], first["sem_seg"])


def test_predictions_of_paths_images_arrays_and_lists_agree(model, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "image.png")
    result = model.predict(image)
    assert result.labels.shape == image.shape[:2] and len(np.unique(result.labels)) > 1
    for other in (tmp_path / "image.png", str(tmp_path / "image.png"), Image.fromarray(image)):
        assert np.array_equal(model.predict(other).labels, result.labels)
    several = model.predict([image, image[:20]])
    assert np.array_equal(several[0].labels, result.labels) and several[1].labels.shape == (20, 70)
    assert np.array_equal(result.scores.argmax(0), result.labels)
    assert result.confidence.shape == result.labels.shape and 1 / 4 <= result.confidence.min() <= 1
    assert sum(result.areas.values()) == pytest.approx(1) and set(result.areas) <= set(NAMES)
    assert result.overlay(legend=True).size[1] > result.overlay().size[1] == 45
    pixel = result.colorize().getpixel((3, 5))
    assert pixel == model.classes.colors[result.labels[5, 3]]
    assert np.array_equal(np.asarray(result.overlay(0.0)), image)


def test_options_of_a_loaded_model(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    loaded = segvit.from_pretrained(
        tmp_path / "model", window_enabled=True, window_size=[32, 48], window_stride=[16, 24]
    )
    assert loaded.network.windows is not None
    assert json.loads((tmp_path / "model" / "classes.json").read_text())["classes"][1]["name"] == "sky"


def test_every_option_has_a_keyword():
    for key in KEYS:
        assert any(key_of(name) == key for name in names_of(key)), key
    assert key_of("detail_source") == "MODEL.SEGVIT.DETAIL.SOURCE" == key_of("MODEL.SEGVIT.DETAIL.SOURCE")


WRONG = [
    ({"name": "vit_tiny_patch16_224"}, ArgumentError, "num_classes"),
    ({"name": "vit_tiny_patch16_224", "num_classes": 2, "classes": ["a"]}, ArgumentError, "num_classes"),
    ({"name": "no_such_thing", "num_classes": 2}, UserError, "no_such_thing"),
    ({"name": "vit_tiny_patch16_224", "num_classes": 2, "stems": "conv"}, TypeError, "stem"),
    ({"name": "vit_tiny_patch16_224", "num_classes": 2, "num_heads": 3}, TypeError, "vit_num_heads"),
    ({"name": "vit_tiny_patch16_224", "num_classes": 2, "hidden_dim": "wide"}, UserError, "HIDDEN_DIM"),
    ({"name": "resnet50", "num_classes": 2}, UserError, "ResNet"),
    ({"name": "vit_tiny_patch16_225", "num_classes": 2}, ArgumentError, "near: vit_tiny_patch16_224"),
    ({"name": "vit_tiny_patch16_224.none", "num_classes": 2}, ArgumentError, "augreg_in21k"),
    ({"name": str(PROJECT), "num_classes": 2}, ArgumentError, "from_pretrained"),
    ({"name": "vit_tiny_patch16_224", "num_classes": 0}, ArgumentError, "at least 1"),
    ({"name": "vit_tiny_patch16_224", "num_classes": 2, "img_size": 64.5}, UserError, "IMG_SIZE"),
    ({"name": "vit_tiny_patch16_224", "num_classes": 2, "img_size": (64, 64, 3)}, UserError, "IMG_SIZE"),
    ({"name": "vit_tiny_patch16_224", "classes": ["a", 1]}, ArgumentError, "classes"),
    ({"name": "vit_tiny_patch16_224", "classes": ["a", " "]}, ArgumentError, "classes"),
    ({"name": "vit_tiny_patch16_224", "classes": ["a", "b", "a"]}, ArgumentError, "0 and 2"),
    ({"name": "camvid/segvit_scratch_320x240", "pretrained": True}, ArgumentError, "pretrained"),
]


@pytest.mark.parametrize("arguments, error, named", WRONG)
def test_wrong_arguments_are_named(arguments, error, named):
    with pytest.raises(error, match=named):
        segvit.create_model(**arguments)


def test_wrong_tensors_and_folders_are_named(model, tmp_path):
    images, labels = torch.zeros(2, 3, 32, 48), torch.zeros(2, 32, 48, dtype=torch.int64)
    model.train()
    normalized = torch.randn(images.shape)
    for wrong in (images + 0.5, normalized, images.bool(), images[0], images[:, :, :0], images.numpy()):
        with pytest.raises(ArgumentError, match="images"):
            model(wrong, labels)
    for wrong in (None, labels[:1], labels.float(), labels.bool(), labels - 1, labels.numpy()):
        with pytest.raises(ArgumentError, match="labels"):
            model(images, wrong)
    assert model(images.double(), labels).keys() == model(images, labels).keys()
    with pytest.raises(UserError, match="nowhere"):
        segvit.from_pretrained(tmp_path / "nowhere")


def test_a_save_does_not_replace_the_working_directory(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="working directory"):
        model.save_pretrained(".")
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_trained_model(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="v1"):
        segvit.from_pretrained(tmp_path / "model", revision="v1")
    with pytest.raises(UserError, match="config without trained weights"):
        segvit.from_pretrained("camvid/segvit_scratch_320x240")
    assert keys_of_options({"img_size": 64}) == {"MODEL.VIT.IMG_SIZE": [64, 64]}


def test_class_ids_are_written_as_png_only(model, image, tmp_path):
    with pytest.raises(UserError, match="written as PNG"):
        model.predict(image).save_labels(tmp_path / "labels.jpg")


def test_names_of_encoders():
    assert "vit_base_patch16_384" in segvit.list_models()
    assert all("dinov2" in name for name in segvit.list_models("*dinov2*"))
    assert "vit_base_patch16_384.augreg_in21k_ft_in1k" in segvit.list_models(pretrained=True)


def test_the_demo_takes_a_model_folder(model, image, tmp_path):
    model.save_pretrained(tmp_path / "model")
    Image.fromarray(image).save(tmp_path / "image.png")
    arguments = ["--model", tmp_path / "model", "--input", tmp_path / "image.png", "--output", tmp_path / "out"]
    done = run_program(PROJECT / "demo" / "demo.py", *arguments)
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(tmp_path / "out" / "labels" / "image.png"))
    assert np.array_equal(labels, model.predict(image).labels)
