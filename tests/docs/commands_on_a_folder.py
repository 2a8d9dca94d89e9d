"""Checks of the documented commands on a user's folder of images: check, train, predict."""

import re
import shutil
from pathlib import Path

import rasterio
import yaml
from commands_of_training import on_one_cpu
from PIL import Image
from rasterio.transform import from_origin
from tiny_settings import TINY_INPUT, TINY_VIT, TRAIN, TWO_STEPS

from helpers.annotation_exports import EXPORTS, Scene
from helpers.folders import CLASSES, block_image, label_map, write_folder


def with_a_folder(command, workspace):
    """The command on a small folder of a user's own, with a third split."""

    def write():
        folder = write_folder(workspace.folder / "mine")
        for kind in ("images", "annotations"):
            shutil.copytree(folder / kind / "val", folder / kind / "test")
        for path in (folder / "images" / "test").iterdir():  # the same images as in val would be an error
            Image.fromarray(block_image(ord(path.stem) + 100)).save(path)
        return folder

    folder = workspace.once("own folder", write)
    new_annotations = workspace.folder / "new_annotations"
    new_folder = workspace.folder / "new_folder"
    command = command.replace("/path/to/new_folder", str(new_folder))
    return command.replace("/path/to/folder", str(folder)).replace("/path/to/new_annotations", str(new_annotations))


def checks_data(command, workspace):
    output = workspace.shell(with_a_folder(command, workspace))
    assert "contact_sheet.png" in output and ("nothing found" in output or "errors: 0" in output)
    if "--convert-colors" in command:
        assert sorted(path.name for path in (workspace.folder / "new_annotations").iterdir()) == [
            "test",
            "train",
            "val",
        ]


def measures_channels(command, workspace):
    output = workspace.shell(with_a_folder(command, workspace))
    assert "mean" in output
    written = yaml.safe_load((workspace.folder / "own.yaml").read_text())
    assert written["INPUT"]["CHANNELS"] == 3 and len(written["MODEL"]["PIXEL_STD"]) == 3 and written["_BASE_"]


def segments_a_scene(command, workspace):
    trains_on_a_folder(CUSTOM_RUN, workspace)
    place = {"crs": "EPSG:32633", "transform": from_origin(400000, 5000000, 10, 10)}
    options = {"driver": "GTiff", "count": 3, "height": 40, "width": 60, "dtype": "uint8", **place}
    with rasterio.open(workspace.folder / "scene.tif", "w", **options) as file:
        file.write(block_image(7)[:40, :60].transpose(2, 0, 1))
    workspace.shell(command.replace("output/mine/model", "output/custom_scratch/model"))
    with rasterio.open(workspace.folder / "output/scene/labels/scene.tif") as file:
        assert file.crs.to_epsg() == 32633


def trains_on_a_folder(command, workspace):
    overrides = {**TINY_INPUT, **TWO_STEPS, **({} if "scratch" in command else TINY_VIT)}
    command = on_one_cpu(with_a_folder(command, workspace))
    workspace.once(command, lambda: workspace.shell(command, overrides))


CUSTOM_RUN = (
    "OMP_NUM_THREADS=1 python projects/SegViT/train_net.py --num-gpus 2 "
    "--config-file projects/SegViT/configs/custom/segvit_scratch.yaml DATASETS.FOLDER /path/to/folder"
)


def predicts_for_a_folder(command, workspace):
    trains_on_a_folder(CUSTOM_RUN, workspace)
    command = with_a_folder(command, workspace)
    workspace.shell(command)
    written = re.search(r"OUTPUT_DIR (\S+)|--output (\S+)", command)
    run = Path(workspace.folder, (written and (written[1] or written[2])) or "output/custom_scratch")
    images = [run] if run.suffix == ".png" else list(run.glob("predictions/colors/*.png"))
    assert len(images) == (1 if run.suffix == ".png" else 2)


def segments_other_images(command, workspace):
    trains_on_a_folder(CUSTOM_RUN, workspace)
    images = workspace.folder / "other"
    images.mkdir()
    Image.fromarray(block_image(7)).save(images / "a.png")
    workspace.shell(command.replace("/path/to/images", str(images)))
    assert (workspace.folder / "output/new_images/overlays/a.png").is_file()


def imports_an_export(command, workspace):
    """On an export of each tool, to a new folder of the test's own."""
    tool = re.search(r"/path/to/(\w+)_export", command)[1]
    export = workspace.folder / f"{tool}_export"

    def write():
        scenes = [Scene(stem, block_image(ord(stem)), label_map(ord(stem))) for stem in "abcd"]
        EXPORTS[tool][0](export, scenes, CLASSES)
        (export / "train.txt").write_text("a\nb\n")
        (export / "val.txt").write_text("c.png 1\nd\n")

    workspace.once(export, write)
    target = workspace.folder / re.sub(r"\W+", "_", command)[-100:]
    workspace.shell(command.replace("/path/to/folder", str(target)).replace("/path/to", str(workspace.folder)))
    folders = [target / f"fold{number}" for number in (1, 2, 3)] if "--folds" in command else [target]
    for folder in folders:
        images = [path.stem for path in folder.rglob("images/*/*")]
        assert sorted(images) == sorted(path.stem for path in folder.rglob("annotations/*/*")) == list("abcd")
        assert (folder / "classes.json").is_file() and (folder / "splits" / "val.txt").is_file()


# Regular expression of a whole command -> the check that runs it.
COVERAGE = {
    r"python projects/SegViT/tools/check_dataset\.py .* --measure-channels .*": measures_channels,
    r"python projects/SegViT/demo/demo\.py --model output/mine/model --input scene\.tif .*": segments_a_scene,
    r"python projects/SegViT/tools/import_dataset\.py .*": imports_an_export,
    r"python projects/SegViT/tools/check_dataset\.py .*": checks_data,
    r"(OMP_NUM_THREADS=1 )?" + TRAIN + r".* DATASETS\.FOLDER .*": trains_on_a_folder,
    r"python projects/SegViT/demo/demo\.py --model output/custom_scratch/.*": segments_other_images,
    r"python .*--(config-file|model) output/custom_scratch(/config\.yaml)? .*": predicts_for_a_folder,
}
