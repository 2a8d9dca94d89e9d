"""The model folder: written from any checkpoint, copied elsewhere, read without Detectron2, data and paths."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image

from helpers.processes import run_program
from helpers.repository import PROJECT
from helpers.tiny_models import use_shrunk_pp
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.run_record import RunRecord
from segvit.config.loading import config_layers, find_config, load_config
from segvit.config.unread_keys import LOCAL, flat
from segvit.d2 import get_segvit_cfg
from segvit.errors import UserError
from segvit.export.source import load_source
from segvit.inference import SegViTPredictor
from segvit.model_folder.files import read_model_folder
from segvit.model_folder.packing import pack_checkpoint, portable_command
from segvit.model_folder.plain_config import INFERENCE_DEFAULTS

NAMES, COLORS = ("road", "sky", "car", "tree", "person"), [(10 * index, 7, 200) for index in range(5)]

# Two lines for each folder, in a program that cannot import Detectron2, nor what it brings.
SCRIPT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("detectron2", "fvcore", "iopath", "omegaconf", "cv2", "matplotlib"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
from segvit.inference import SegViTPredictor
import json, numpy
found = []
for folder in sys.argv[2:]:
    predictor = SegViTPredictor(folder, opts=["MODEL.DEVICE", "cpu"])
    numpy.save(folder + ".npy", predictor(sys.argv[1]))
    found.append([predictor.class_names, predictor.class_colors])
print(json.dumps(found))
"""


@pytest.fixture
def dataset(tmp_path):
    """A registered dataset of `NAMES` and `COLORS`."""
    name = f"{tmp_path.name}_train"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(stuff_classes=list(NAMES), stuff_colors=COLORS, ignore_label=255)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def use_detail(cfg):
    cfg.MODEL.SEGVIT.DETAIL.SOURCE, cfg.MODEL.SEGVIT.DETAIL.DIM = "image", 16


def use_groups(cfg):
    """The last step of a continual protocol; its groups are named, which only the dataset can tell."""
    cfg.MODEL.SEM_SEG_HEAD.NAME = "ContinualHead"
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS = [["sky", "road"], ["car", "person"], ["tree"]]


def use_pixels(cfg):
    cfg.MODEL.SEM_SEG_HEAD.NAME, cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = "PerPixelHead", ["block2"]
    cfg.MODEL.SEGVIT.LOSS, cfg.MODEL.SEGVIT.OUTPUT = "pixel", "softmax"


def use_resizing(cfg):
    cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = "BGR", 40, 50


def use_nothing_else(cfg):
    pass


CHANGES = [use_nothing_else, use_detail, use_groups, use_pixels, use_shrunk_pp, use_resizing]


def write_checkpoint(cfg, folder, dataset, *, with_record=True):
    """A checkpoint of the config's model with random weights, whose masks decide."""
    cfg.DATASETS.TRAIN, cfg.OUTPUT_DIR = (dataset,), str(folder)
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = build_model(cfg)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "class_embed" in name:
                value.zero_()  # several classes win
    record = RunRecord.of(cfg) if with_record else None
    SegViTCheckpointer(model, str(folder), run=record).save("checkpoint", iteration=41)
    return folder / "checkpoint.pth"


@pytest.fixture
def checkpoint(tiny_cfg, tmp_path, dataset):
    """A factory of checkpoints of the tiny model."""
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    return partial(write_checkpoint, tiny_cfg, tmp_path, dataset)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)).save(path)
    return path


def test_copied_folders_give_the_same_labels_names_and_colors_without_detectron2(dataset, tiny_cfg, image, tmp_path):
    """One program reads them all, because it takes seconds to import PyTorch."""
    (tmp_path / "another place").mkdir()
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    before = {}
    for change in CHANGES:
        cfg, name = tiny_cfg.clone(), change.__name__
        change(cfg)
        path = write_checkpoint(cfg, tmp_path / name, dataset)
        pack_checkpoint(path, tmp_path / name / "model", cfg=cfg)
        elsewhere = shutil.move(tmp_path / name / "model", tmp_path / "another place" / name)
        before[elsewhere] = SegViTPredictor(cfg, path)
    done = subprocess.run([sys.executable, "-c", SCRIPT, image, *before], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (folder, predictor), (names, colors) in zip(before.items(), json.loads(done.stdout), strict=True):
        labels, expected = np.load(f"{folder}.npy"), predictor(image)
        assert (labels == expected).mean() >= 0.9999 and len(np.unique(labels)) > 1, folder
        assert tuple(names) == predictor.class_names == NAMES, folder
        assert [tuple(color) for color in colors] == list(predictor.class_colors) == COLORS, folder


def test_a_folder_names_no_place_of_this_machine(checkpoint, tiny_cfg, tmp_path):
    path = checkpoint()
    tiny_cfg.DATASETS.FOLDER = tiny_cfg.MODEL.WEIGHTS = tiny_cfg.MODEL.VIT.PRETRAINED = str(tmp_path / "file.pth")
    folder = pack_checkpoint(path, tmp_path / "model", cfg=tiny_cfg, command=["train_net.py", str(tmp_path / "a.yaml")])
    for name in ("config.yaml", "classes.json", "metrics.json", "README.md"):
        assert str(tmp_path) not in (folder / name).read_text()
    written = dict(config_layers(folder / "config.yaml")[0][1])
    assert not set(LOCAL) & written.keys() and written["MODEL.VIT.PRETRAINED"] == ""
    assert "train_net.py a.yaml" in (folder / "README.md").read_text()
    assert portable_command(["train_net.py", "KEY", "/a/b c.yaml"]) == "train_net.py KEY 'b c.yaml'"
    words = ["train_net.py", "--config-file=/home/me/x.yaml", "DATASETS.TRAIN", "('hf:/home/me/data:train',)", "1/2"]
    assert "/home" not in portable_command(words) and "--config-file=x.yaml" in portable_command(words)
    assert "hf:data:train" in portable_command(words) and portable_command(words).endswith(" 1/2")


def test_a_folder_holds_metrics_iterations_and_the_ignored_label(checkpoint, tiny_cfg, tmp_path):
    folder = pack_checkpoint(checkpoint(), tmp_path / "model", metrics={"mIoU": 61.25})
    assert read_model_folder(folder).metrics == {"mIoU": 61.25}
    card = (folder / "README.md").read_text()
    assert "| mIoU | 61.25 |" in card and "| iterations | 42 |" in card and "license" in card
    classes = json.loads((folder / "classes.json").read_text())
    assert classes["ignore_value"] == 255 and classes["background"] == 5


def test_all_files_have_the_same_permissions(checkpoint, tmp_path):
    folder = pack_checkpoint(checkpoint(), tmp_path / "model")
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_checkpoint_without_a_config_needs_one(checkpoint, tiny_cfg, tmp_path):
    path = checkpoint(with_record=False)
    with pytest.raises(UserError, match="config"):
        pack_checkpoint(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert read_model_folder(pack_checkpoint(path, tmp_path / "model", cfg=tiny_cfg)).classes.names == NAMES


def test_an_interrupted_write_leaves_the_folder_as_it_was(checkpoint, tmp_path, monkeypatch):
    path = checkpoint()
    folder = pack_checkpoint(path, tmp_path / "model", metrics={"mIoU": 1.0})
    monkeypatch.setattr("segvit.model_folder.replacement.save_file", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        pack_checkpoint(path, folder, metrics={"mIoU": 2.0})
    assert read_model_folder(folder).metrics == {"mIoU": 1.0}
    assert not list(tmp_path.glob(".*"))


def test_other_folders_are_not_replaced(checkpoint, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "file.txt").write_text("mine")
    with pytest.raises(UserError, match="notes"):
        pack_checkpoint(checkpoint(), tmp_path / "notes")
    assert (tmp_path / "notes" / "file.txt").read_text() == "mine"


def damage_config(folder):
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["MODEL"]["SEGVIT"]["HIDEN_DIM"] = 3
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def other_width(folder):
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["MODEL"]["SEGVIT"]["HIDDEN_DIM"] = 12
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


def fewer_classes(folder):
    (folder / "classes.json").write_text(json.dumps({"classes": [{"name": "road", "color": [1, 2, 3]}]}))


DAMAGES = [
    (damage_config, "HIDEN_DIM"),
    (other_width, "model.safetensors"),
    (fewer_classes, "classes.json"),
    (lambda folder: (folder / "classes.json").write_text("[]"), "classes.json"),
    (lambda folder: (folder / "classes.json").unlink(), "classes.json"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b"none"), "model.safetensors"),
]


@pytest.mark.parametrize("damage, named", DAMAGES)
def test_a_damaged_folder_is_refused_by_name(checkpoint, tmp_path, damage, named):
    folder = pack_checkpoint(checkpoint(), tmp_path / "model")
    damage(folder)
    with pytest.raises(UserError, match=named):
        SegViTPredictor(folder)


def test_inference_defaults_are_those_of_detectron2():
    defaults = flat(get_segvit_cfg())
    own = {key: value if not isinstance(value, tuple) else list(value) for key, value in INFERENCE_DEFAULTS.items()}
    assert {key: defaults[key] for key in own if key != "MODEL.DEVICE"} == {
        key: value for key, value in own.items() if key != "MODEL.DEVICE"
    }


def test_the_command_packs_a_checkpoint(checkpoint, tmp_path):
    path = checkpoint()
    done = run_program(PROJECT / "pack_model.py", path, tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.split(":")[0]) == tmp_path / "packed" and NAMES[0] in done.stdout
    assert run_program(PROJECT / "pack_model.py", path, tmp_path / "packed").returncode == 2


def test_commands_take_a_folder_as_their_config(checkpoint, tiny_cfg, image, tmp_path):
    """Its classes and preprocessing reach an export, though its dataset is unknown."""
    tiny_cfg.INPUT.MIN_SIZE_TEST = 40
    folder = pack_checkpoint(checkpoint(), tmp_path / "model", cfg=tiny_cfg)
    expected = SegViTPredictor(folder)(image)
    DatasetCatalog.remove(tiny_cfg.DATASETS.TRAIN[0])
    MetadataCatalog.remove(tiny_cfg.DATASETS.TRAIN[0])
    cfg = load_config(find_config(folder))
    DatasetCatalog.register(tiny_cfg.DATASETS.TRAIN[0], list)
    MetadataCatalog.get(tiny_cfg.DATASETS.TRAIN[0])
    assert str(folder / "model.safetensors") == cfg.MODEL.WEIGHTS
    metadata = load_source(cfg).metadata
    assert json.loads(metadata["class_names"]) == list(NAMES)
    assert json.loads(metadata["palette"]) == [list(color) for color in COLORS]
    assert json.loads(metadata["short_side"]) == 40
    assert np.array_equal(SegViTPredictor(cfg)(image), expected)
