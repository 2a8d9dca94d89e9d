"""Untrusted files: no code in weights, configs or datasets is run, and no file is written outside its folder."""

import ast
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import CODE, pickled
from PIL import Image
from user_world import FOLDERS, ROOT

import segvit
from helpers.dataset_replicas import write_ade20k, write_coco_stuff_10k, write_pascal_json, write_voc2010
from segvit.evaluation.prediction_writer import PredictionWriter
from segvit.image_reading import read_image
from segvit.inference import SegViTPredictor

CODE_IN_YAML = "SEED: !!python/object/apply:os.system ['touch ran']\n"
PREPARE_ADE20K = ("prepare_ade20k_sem_seg", "--workers", "1", "--partial")


def test_the_payload_runs_when_it_is_unpickled(tmp_path, monkeypatch):
    """Without this, the tests below could pass because of a harmless payload."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(CODE))
    assert Path("ran").exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.pyth", "model.pth", "model"])
def test_the_predictor_refuses_weights_with_code(name, world):
    pickled(name)(world)
    with pytest.raises(ValueError, match="contains code"):
        SegViTPredictor(world.config, world.home / name)
    assert not Path("ran").exists()


@pytest.mark.parametrize("location", ["config file", "base of a config file", "config file of the ablations"])
def test_configs_with_code_are_refused(location, world):
    in_base = location == "base of a config file"
    (world.home / "own.yaml").write_text("_BASE_: base.yaml\n" if in_base else CODE_IN_YAML)
    (world.home / "base.yaml").write_text(CODE_IN_YAML)
    if location == "config file of the ablations":
        ended = world.run("run_ablations", "--run", "qd", "--on", "HOME/own.yaml", "--output", "HOME/output")
    else:
        ended = world.train("--config-file", "HOME/own.yaml")
    assert ended.code == 2
    assert ended.error.startswith(f"config file HOME/{'base' if in_base else 'own'}.yaml is not plain YAML")
    assert not Path("ran").exists() and world.written() == set()


def test_overrides_with_code_are_refused(world):
    ended = world.train("SOLVER.MAX_ITER", "__import__('os').system('touch ran')")
    assert ended.code == 2 and not Path("ran").exists()


SOURCES = sorted(
    {*Path(segvit.__file__).parent.rglob("*.py"), *(path for folder in FOLDERS for path in folder.glob("*.py"))}
)
# Calls that run code, or may load it.
FORBIDDEN = {
    *("eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "DefaultPredictor", "shelve.open"),
}
# An exported model is a program; this file loads those that it has just written, to compare them with the model.
EXCEPTIONS = {"formats.py": {"torch.jit.load"}}
# Calls that are safe with this argument only.
REQUIRED_ARGUMENTS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "cfg.merge_from_file": ("allow_unsafe", False),
}


def calls(path):
    """The name of each call in a file, as it is written, and its keyword arguments that are constants."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            constants = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            yield ast.unparse(node.func), constants


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_calls_what_may_run_code(path):
    for name, constants in calls(path):
        assert name not in FORBIDDEN - EXCEPTIONS.get(path.name, set()), name
        assert not constants.get("shell"), f"{name} through a shell"
        if name in REQUIRED_ARGUMENTS:
            argument, value = REQUIRED_ARGUMENTS[name]
            assert constants.get(argument) is value, f"{name} without {argument}={value}"


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"a\.png: too large .*1200 pixels"):
        read_image(tmp_path / "a.png", format="RGB")


def make_outside_folder(world):
    """A folder with one file, which no command may change."""
    folder = world.home / "outside"
    folder.mkdir()
    (folder / "precious.png").write_text("precious")
    return folder


def is_unchanged(folder):
    names = [path.name for path in folder.iterdir()]
    return names == ["precious.png"] and (folder / "precious.png").read_text() == "precious"


@pytest.mark.parametrize("link", ["annotations_detectron2", "annotations_detectron2/training"])
def test_preparation_does_not_write_through_a_link_out_of_the_dataset(link, world):
    dataset = write_ade20k(world.home / "datasets")
    outside = make_outside_folder(world)
    (dataset / link).parent.mkdir(exist_ok=True)
    (dataset / link).symlink_to(outside)
    ended = world.run(*PREPARE_ADE20K)
    assert ended.code == 2
    assert ended.error.startswith(f"HOME/datasets/ADEChallengeData2016/{link} is a link to HOME/outside")
    assert is_unchanged(outside)


def test_the_folder_of_a_dataset_may_be_a_link(world):
    """So that a dataset can be on another disk."""
    write_ade20k(world.home / "disk")
    (world.home / "datasets").mkdir()
    (world.home / "datasets/ADEChallengeData2016").symlink_to(world.home / "disk/ADEChallengeData2016")
    assert world.run(*PREPARE_ADE20K).code == 0


def test_paths_in_an_image_list_are_confined_to_the_dataset(world):
    folder = write_coco_stuff_10k(world.home / "datasets")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(world.home / "outside.jpg")
    before = world.files()
    (folder / "imageLists" / "train.txt").write_text("../../../../outside\n/etc/passwd\n..\n")
    ended = world.run("prepare_coco_stuff_10k", "--workers", "1")
    assert ended.code == 1 and "imageLists" not in ended.error
    assert "outside.jpg: listed in train.txt" in ended.stdout and "passwd.jpg: listed in train.txt" in ended.stdout
    new = world.files() - before
    assert new and all(name.startswith("datasets/coco/coco_stuff_10k/") for name in new)


def test_paths_in_a_json_are_confined_to_the_dataset(world):
    def rename(content):
        for image in content["images"]:
            image["file_name"] = f"../../../../{image['file_name']}"

    write_pascal_json(write_voc2010(world.home / "datasets"), change=rename)
    before = world.files()
    assert world.run("prepare_pascal_context", "--workers", "1", "--partial").code == 0
    assert all(name.startswith("datasets/pascal_context/") for name in world.files() - before)


def test_paths_in_a_list_of_checksums_are_confined_to_the_dataset(world):
    folder = write_ade20k(world.home / "datasets")
    outside = make_outside_folder(world)
    assert world.run(*PREPARE_ADE20K).code == 0
    checksums = folder / "annotations_detectron2" / "prepared.sha256"
    original = checksums.read_text()
    checksums.write_text(f"{original}{'0' * 64}  ../../../outside/precious.png\n{'0' * 64}  /etc/passwd\n")
    assert world.run(*PREPARE_ADE20K).code == 0
    assert checksums.read_text() == original and is_unchanged(outside)


def test_a_conversion_in_place_replaces_a_link_and_not_its_target(world):
    labels = world.data / "annotations/train/b.png"
    target = make_outside_folder(world) / "precious.png"
    Image.fromarray(np.full((24, 32, 3), (20, 200, 30), np.uint8)).save(target)
    before = target.read_bytes()
    labels.unlink()
    labels.symlink_to(target)
    ended = world.run("check_dataset", "HOME/data", "--output", "HOME/output", "--convert-in-place")
    assert ended.code == 0, ended.stderr
    assert not labels.is_symlink() and np.asarray(Image.open(labels)).max() == 0
    assert target.read_bytes() == before


def test_predictions_are_written_inside_their_folder(tmp_path):
    images = [str(tmp_path / "data" / ".." / "data" / "a" / "1.jpg"), str(tmp_path / "data" / "b" / "1.jpg")]
    writer = PredictionWriter(tmp_path / "output", images=images, colors=[(1, 2, 3)])
    for image in images:
        writer.write(image, np.zeros((2, 2), np.uint8))
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert written == {f"output/{kind}/{folder}/1.png" for kind in ("labels", "colors") for folder in "ab"}
    with pytest.raises(ValueError):
        writer.write(str(tmp_path / "elsewhere.jpg"), np.zeros((2, 2), np.uint8))
    assert not os.path.exists(tmp_path / "elsewhere.png")
