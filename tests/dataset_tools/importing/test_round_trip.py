"""Label maps that are written as each annotation tool exports them, and imported again, are the same."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.annotation_exports import EXPORTS, Scene
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.datasets.benchmarks.camvid import CAMVID_CATEGORIES
from segvit.datasets.benchmarks.toy_scenes import TOY_SCENES_CATEGORIES

TOOL = load_script(PROJECT / "tools" / "import_dataset.py")
NUM_SCENES = 3
CAMVID = os.environ.get("SEGVIT_CAMVID")


def read(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def scenes(toy_scenes_root):
    """Toy scenes, or frames of the CamVid that SEGVIT_CAMVID names; and the names of the classes."""
    folder, categories = toy_scenes_root / "toy_scenes", TOY_SCENES_CATEGORIES
    if CAMVID:
        folder, categories = Path(CAMVID), CAMVID_CATEGORIES
    stems = sorted(path.stem for path in (folder / "annotations" / "val").iterdir())[:: 30 if CAMVID else 1]
    images = {path.stem: path for path in (folder / "images" / "val").iterdir()}
    labels = {stem: folder / "annotations" / "val" / f"{stem}.png" for stem in stems[:NUM_SCENES]}
    return [Scene(stem, read(images[stem]), read(path)) for stem, path in labels.items()], [it for it, _ in categories]


@pytest.mark.parametrize("tool", EXPORTS)
def test_labels_come_back(tool, scenes, tmp_path):
    write, options = EXPORTS[tool]
    given, names = scenes
    write(tmp_path / "export", given, names)
    assert TOOL.main([str(tmp_path / "export"), str(tmp_path / "new"), "--workers", "1", *options]) == 0
    imported = [it["name"] for it in json.loads((tmp_path / "new" / "classes.json").read_text())]
    found = {path.stem: path for path in (tmp_path / "new" / "annotations").rglob("*.png")}
    assert {path.stem for path in (tmp_path / "new" / "images").rglob("*.*")} == set(found)
    assert set(found) == {scene.stem for scene in given}
    same = total = 0
    for scene in given:
        if tool == "binary":
            expected = np.where(scene.labels == 0, 0, 1)
        else:
            ids = np.array([imported.index(name) if name in imported else -1 for name in names] + [255] * 256)
            expected = ids[np.where(scene.labels == 255, len(names), scene.labels)]
        same += (read(found[scene.stem]) == expected).sum()
        total += expected.size
    assert same / total >= 0.995
