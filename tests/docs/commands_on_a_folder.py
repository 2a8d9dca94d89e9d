"""Checks of the documented commands on a user's folder of images: check, train, predict."""

import re
import shutil
from pathlib import Path

import rasterio
import yaml
from commands_of_training import on_one_cpu
from PIL import Image
from rasterio.transform import from_origin
from tiny_settings import SHALLOW, TINY_INPUT, TINY_VIT, TRAIN, TWO_STEPS

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
    output = workspace.once("own.yaml", lambda: workspace.shell(with_a_folder(command, workspace)))
    assert "mean" in output
    written = yaml.safe_load((workspace.folder / "own.yaml").read_text())
    assert written["INPUT"]["CHANNELS"] == 3 and len(written["MODEL"]["PIXEL_STD"]) == 3 and written["_BASE_"]


def segments_a_scene(command, workspace):
    trains_on_a_folder(OWN_RUN, workspace)
    place = {"crs": "EPSG:32633", "transform": from_origin(400000, 5000000, 10, 10)}
    options = {"driver": "GTiff", "count": 3, "height": 40, "width": 60, "dtype": "uint8", **place}
    with rasterio.open(workspace.folder / "scene.tif", "w", **options) as file:
        file.write(block_image(7)[:40, :60].transpose(2, 0, 1))
    workspace.shell(command)
    with rasterio.open(workspace.folder / "output/scene/labels/scene.tif") as file:
        assert file.crs.to_epsg() == 32633


def trains_on_a_folder(command, workspace):
    overrides = {**TINY_INPUT, **TWO_STEPS, **(SHALLOW if "scratch" in command else TINY_VIT)}
    command = on_one_cpu(with_a_folder(command, workspace))
    workspace.once(command, lambda: workspace.shell(command, overrides))


OWN_RUN = (
    "python projects/SegViT/train_net.py --model custom/segvit_scratch_320x240 --output output/mine "
    "DATASETS.FOLDER /path/to/folder"
)
MEASURE = (
    "python projects/SegViT/tools/check_dataset.py /path/to/folder --measure-channels own.yaml "
    "--base projects/SegViT/configs/custom/segvit_scratch_320x240.yaml"
)
CHANNELS_RUN = (
    "python projects/SegViT/train_net.py --config-file own.yaml --output output/own_channels "
    "DATASETS.FOLDER /path/to/folder"
)


def trains_on_measured_channels(command, workspace):
    measures_channels(MEASURE, workspace)
    command = with_a_folder(command, workspace)
    workspace.once(command, lambda: workspace.shell(command, {**TINY_INPUT, **TWO_STEPS}))


def predicts_for_a_folder(command, workspace):
    trains_on_a_folder(OWN_RUN, workspace)
    command = with_a_folder(command, workspace)
    workspace.shell(command)
    written = re.search(r"--output (\S+)", command)
    run = Path(workspace.folder, written[1] if written else "output/evaluation/mine")
    images = [run] if run.suffix == ".png" else list(run.glob("predictions/colors/*.png"))
    assert len(images) == (1 if run.suffix == ".png" else 2)


def adds_classes_of_a_folder(command, workspace):
    """Two of the folder's three classes are new."""
    trains_on_a_folder(OWN_RUN, workspace)

    def write():
        folder = write_folder(workspace.folder / "new", colors=False)
        (folder / "classes.txt").write_text("grass\ncrack\nrust\n")
        return folder

    folder = workspace.once("new classes", write)
    output = workspace.shell(command.replace("/path/to/new", str(folder)), {**TWO_STEPS, "DATALOADER.NUM_WORKERS": "0"})
    if "--eval-only" in command:
        assert "AUROC score" in (workspace.folder / "output/unsure/report.txt").read_text(encoding="utf-8")
        return
    assert "demo.py --model output/more/model" in output
    assert '"rust"' in (workspace.folder / "output/more/model/classes.json").read_text(encoding="utf-8")


def segments_other_images(command, workspace):
    if "own_channels" in command:
        trains_on_measured_channels(CHANNELS_RUN, workspace)
    else:
        trains_on_a_folder(OWN_RUN, workspace)
    output = re.search(r"--output (\S+)", command)[1]
    images = workspace.folder / f"images_of_{Path(output).name}"
    images.mkdir()
    Image.fromarray(block_image(7)).save(images / "a.png")
    workspace.shell(command.replace("/path/to/images", str(images)))
    assert (workspace.folder / output / "overlays" / "a.png").is_file()


def exports_the_own_model(command, workspace):
    trains_on_a_folder(OWN_RUN, workspace)
    assert "labels agree" in workspace.shell(command)


def imports_an_export(command, workspace):
    """On an export of each tool, of LabelMe for "my", to a new folder of the test's own."""
    tool = re.search(r"/path/to/(\w+)_export", command)[1]
    writer = EXPORTS["labelme" if tool == "my" else tool][0]
    export = workspace.folder / f"{tool}_export"

    def write():
        scenes = [Scene(stem, block_image(ord(stem)), label_map(ord(stem))) for stem in "abcd"]
        writer(export, scenes, CLASSES)
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
    r"python projects/SegViT/train_continual\.py (--eval-only )?--model output/mine .*": adds_classes_of_a_folder,
    r"python projects/SegViT/tools/check_dataset\.py .*": checks_data,
    TRAIN + r"--config-file own\.yaml .*": trains_on_measured_channels,
    r"python .*(--eval-only|draw_predictions\.py) --model output/mine .*": predicts_for_a_folder,
    r"python projects/SegViT/tools/export_model\.py --model output/mine .*": exports_the_own_model,
    r"(OMP_NUM_THREADS=1 )?" + TRAIN + r".* DATASETS\.FOLDER .*": trains_on_a_folder,
    r"python projects/SegViT/demo/demo\.py --model output/(mine|own_channels) --input /path.*": segments_other_images,
}
