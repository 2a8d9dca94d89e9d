"""What comes from elsewhere is data: no code of it is run, and it leads no writing out of its folder."""

import ast
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import Code, pickled
from PIL import Image
from user_world import FOLDERS, ROOT

import segvit
from helpers.dataset_replicas import write_ade20k, write_coco_stuff_10k, write_pascal_json, write_voc2010
from segvit.data.image_reading import read_image
from segvit.evaluation.prediction_writer import PredictionWriter
from segvit.inference import SegViTPredictor

TAG = "SEED: !!python/object/apply:os.system ['touch ran']\n"


def test_the_payload_would_run(tmp_path, monkeypatch):
    """Otherwise the tests that it did not run would say nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Code()))
    assert Path("ran").exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.pyth", "model.pth", "model"])
def test_the_predictor_runs_no_code_of_weights(name, world):
    pickled(name)(world)
    with pytest.raises(ValueError, match="contains code"):
        SegViTPredictor(world.config, world.home / name)
    assert not Path("ran").exists()


@pytest.mark.parametrize("place", ["file", "base", "on"])
def test_no_object_is_made_of_a_config(place, world):
    (world.home / "own.yaml").write_text(TAG if place != "base" else "_BASE_: base.yaml\n")
    (world.home / "base.yaml").write_text(TAG)
    if place == "on":
        ended = world.run("run_ablations", "--run", "qd", "--on", "HOME/own.yaml", "--output", "HOME/output")
    else:
        ended = world.train("--config-file", "HOME/own.yaml")
    file = "base.yaml" if place == "base" else "own.yaml"
    assert ended.code == 2
    assert ended.error.startswith(f"config file HOME/{file} is not plain YAML: could not determine a constructor")
    assert not Path("ran").exists() and world.written() == set()


def test_no_code_of_an_override_is_run(world):
    ended = world.train("SOLVER.MAX_ITER", "__import__('os').system('touch ran')")
    assert ended.code == 2 and not Path("ran").exists()


PYTHON = sorted(
    {*Path(segvit.__file__).parent.rglob("*.py"), *(path for folder in FOLDERS for path in folder.glob("*.py"))}
)
FORBIDDEN = {
    *("eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "DefaultPredictor", "shelve.open"),
}
# An exported model is a program; these load what they have just written, to compare it.
OF_THEIR_OWN = {"formats.py": {"torch.jit.load"}}
# What is safe with an argument alone.
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "cfg.merge_from_file": ("allow_unsafe", False),
}


def calls(path):
    """The name of each call in a file, as it is written, and its keywords that are constants."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            constants = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            yield ast.unparse(node.func), constants


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_calls_what_runs_code(path):
    for name, constants in calls(path):
        assert name not in FORBIDDEN - OF_THEIR_OWN.get(path.name, set()), name
        assert not constants.get("shell"), f"{name} through a shell"
        if name in NEEDED:
            key, value = NEEDED[name]
            assert constants.get(key) is value, f"{name} without {key}={value}"


def test_a_picture_that_would_fill_the_memory(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"a\.png: too large \(Image size \(1200 pixels\) .*\): cut it into tiles$"):
        read_image(tmp_path / "a.png", format="RGB")


def outside(world):
    """A folder that nothing may be written to, with a file."""
    folder = world.home / "outside"
    folder.mkdir()
    (folder / "precious.png").write_text("precious")
    return folder


def unchanged(folder):
    return [path.name for path in folder.iterdir()] == ["precious.png"] and (
        folder / "precious.png"
    ).read_text() == "precious"


@pytest.mark.parametrize("link", ["annotations_detectron2", "annotations_detectron2/training"])
def test_a_link_leads_no_preparation_out_of_the_data_set(link, world):
    data_set = write_ade20k(world.home / "datasets")
    (data_set / link).parent.mkdir(exist_ok=True)
    (data_set / link).symlink_to(outside(world))
    ended = world.run("prepare_ade20k_sem_seg", "--workers", "1", "--partial")
    path = f"HOME/datasets/ADEChallengeData2016/{link}"
    assert ended.code == 2
    assert ended.error == (
        f"{path} is a link to HOME/outside, outside the dataset's folder: remove it (to keep the dataset on another "
        "disk, make HOME/datasets/ADEChallengeData2016 as a whole a link)"
    )
    assert unchanged(world.home / "outside")


def test_a_data_set_on_another_disk_may_be_a_link(world):
    write_ade20k(world.home / "disk")
    (world.home / "datasets").mkdir()
    (world.home / "datasets/ADEChallengeData2016").symlink_to(world.home / "disk/ADEChallengeData2016")
    assert world.run("prepare_ade20k_sem_seg", "--workers", "1", "--partial").code == 0


def test_lists_of_pictures_name_nothing_elsewhere(world):
    folder = write_coco_stuff_10k(world.home / "datasets")
    outside(world)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(world.home / "outside.jpg")
    before = world.files()
    (folder / "imageLists" / "train.txt").write_text("../../../../outside\n/etc/passwd\n..\n")
    ended = world.run("prepare_coco_stuff_10k", "--workers", "1")
    assert ended.code == 1 and "imageLists" not in ended.error
    assert "outside.jpg: listed in train.txt" in ended.stdout and "passwd.jpg: listed in train.txt" in ended.stdout
    new = world.files() - before
    assert new and all(name.startswith("datasets/coco/coco_stuff_10k/") for name in new)


def test_names_in_a_json_name_nothing_elsewhere(world):
    def rename(content):
        for image in content["images"]:
            image["file_name"] = f"../../../../{image['file_name']}"

    write_pascal_json(write_voc2010(world.home / "datasets"), change=rename)
    before = world.files()
    assert world.run("prepare_pascal_context", "--workers", "1", "--partial").code == 0
    assert all(name.startswith("datasets/pascal_context/") for name in world.files() - before)


def test_a_list_of_checksums_names_nothing_elsewhere(world):
    folder = write_ade20k(world.home / "datasets")
    assert world.run("prepare_ade20k_sem_seg", "--workers", "1", "--partial").code == 0
    checksums = folder / "annotations_detectron2" / "prepared.sha256"
    whole = checksums.read_text()
    checksums.write_text(f"{whole}{'0' * 64}  ../../../outside/precious.png\n{'0' * 64}  /etc/passwd\n")
    place = outside(world)
    assert world.run("prepare_ade20k_sem_seg", "--workers", "1", "--partial").code == 0
    assert checksums.read_text() == whole and unchanged(place)


def test_labels_are_replaced_and_not_written_through_a_link(world):
    ids = world.data / "annotations/train/b.png"
    place = outside(world)
    colored = Image.fromarray(np.full((24, 32, 3), (20, 200, 30), np.uint8))
    colored.save(place / "precious.png")
    before = (place / "precious.png").read_bytes()
    ids.unlink()
    ids.symlink_to(place / "precious.png")
    ended = world.run("check_dataset", "HOME/data", "--output", "HOME/output", "--convert-in-place")
    assert ended.code == 0, ended.stderr  # as it was found
    assert not ids.is_symlink() and np.asarray(Image.open(ids)).max() == 0
    assert (place / "precious.png").read_bytes() == before


def test_predictions_stay_in_their_folder(tmp_path):
    images = [str(tmp_path / "data" / ".." / "data" / "a" / "1.jpg"), str(tmp_path / "data" / "b" / "1.jpg")]
    writer = PredictionWriter(tmp_path / "output", images=images, colors=[(1, 2, 3)])
    for image in images:
        writer.write(image, np.zeros((2, 2), np.uint8))
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert found == {f"output/{kind}/{folder}/1.png" for kind in ("labels", "colors") for folder in "ab"}
    with pytest.raises(ValueError):
        writer.write(str(tmp_path / "elsewhere.jpg"), np.zeros((2, 2), np.uint8))
    assert not os.path.exists(tmp_path / "elsewhere.png")
