"""Exports as people have them: ids as text, missing sizes, names of uploads, links in circles, other encodings."""

import json
import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from helpers.annotation_exports import EXPORTS, Scene
from helpers.folders import CLASSES, HEIGHT, WIDTH, block_image, label_map
from helpers.repository import PROJECT
from helpers.scripts import load_script

TOOL = load_script(PROJECT / "tools" / "import_dataset.py")
COCO = "annotations/instances_default.json"


@pytest.fixture
def export(tmp_path):
    """A writer of three scenes as a tool exports them."""

    def write(tool):
        scenes = [Scene(stem, block_image(ord(stem)), label_map(ord(stem))) for stem in "abc"]
        EXPORTS[tool][0](tmp_path / "export", scenes, CLASSES)
        return tmp_path / "export"

    return write


@pytest.fixture
def masks(tmp_path):
    """A writer of three images with equal masks, given as an array (H, W)."""

    def write(array, suffix=".png"):
        for name in "abc":
            image, mask = (tmp_path / "export" / kind / name for kind in ("images", "masks"))
            for path, pixels in (
                (image.with_suffix(".png"), block_image(ord(name))),
                (mask.with_suffix(suffix), array),
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        return tmp_path / "export"

    return write


def run(folder, *options):
    """Import into `new` beside the folder. Returns stem -> label map, and the lines of skipped.txt."""
    new = folder.parent / "new"
    assert TOOL.main([str(folder), str(new), "--workers", "1", *options]) == 0
    skipped = (new / "skipped.txt").read_text().splitlines() if (new / "skipped.txt").exists() else []
    return {path.stem: np.asarray(Image.open(path)) for path in new.glob("annotations/*/*")}, skipped


def refused(folder, *options):
    with pytest.raises(SystemExit, match="2"):
        run(folder, *options)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def change(path, edit):
    """Apply `edit` to the content of a JSON file."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_coco_may_have_ids_as_text_and_no_sizes(export):
    folder = export("coco")

    def edit(content):
        for it in content["images"]:
            it.update(id=str(it["id"]), width=None, height=None)
        for it in content["annotations"]:
            it["category_id"] = str(it["category_id"])

    change(folder / COCO, edit)
    labels, skipped = run(folder)
    assert not skipped and all(np.mean(labels[stem] == label_map(ord(stem))) > 0.995 for stem in "abc")


def test_annotations_of_unlisted_images_are_listed(export):
    folder = export("coco")
    change(folder / COCO, lambda content: content["annotations"][0].update(image_id=99))
    assert [line.startswith("instances_default.json: 1 annotation:") for line in run(folder)[1]] == [True]


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_coco_list_of_other_things_than_objects_is_refused(export, capsys, key):
    folder = export("coco")
    change(folder / COCO, lambda content: content[key].insert(0, None))
    refused(folder)
    assert "instances_default.json" in capsys.readouterr().err


def test_names_that_differ_in_case_are_found(export):
    folder = export("coco")
    (folder / "images" / "a.png").rename(folder / "images" / "A.PNG")
    assert set(run(folder)[0]) == {"A", "b", "c"}


def test_uploads_to_label_studio_are_found_by_their_own_names(export):
    folder = export("label_studio")
    (folder / "images" / "a.png").rename(folder / "images" / "a (1) b.png")
    address = "/data/upload/7/1a2b3c4d-a_1_b.png"
    change(folder / "export.json", lambda tasks: tasks[0]["data"].update(image=address))
    assert set(run(folder)[0]) == {"a (1) b", "b", "c"}


def test_an_export_whose_objects_are_all_skipped_is_refused(export, capsys):
    folder = export("yolo")
    for path in folder.rglob("labels/**/*.txt"):
        path.write_text("0 0.5 0.5 0.2 0.2\n")
    refused(folder)
    assert "--boxes fill" in capsys.readouterr().err
    assert run(folder, "--boxes", "fill")[0].keys() == {"a", "b", "c"}


def test_yolo_may_write_numbers_of_classes_with_a_point_and_a_byte_order_mark(export):
    folder = export("yolo")
    for path in folder.rglob("labels/**/*.txt"):
        lines = [f"{float(number)} {rest}" for number, rest in (line.split(" ", 1) for line in path.open())]
        path.write_text("".join(lines), encoding="utf-8-sig")
    labels, skipped = run(folder)
    assert not skipped and len(np.unique(labels["a"])) > 1


def test_texts_in_other_encodings_are_named(export, capsys):
    folder = export("yolo")
    next(folder.rglob("labels/**/a.txt")).write_bytes(b"\xff\xe4")
    labels, skipped = run(folder)
    assert set(labels) == {"b", "c"} and "a.txt" in skipped[0] and "UTF-8" in skipped[0]
    (folder / "data.yaml").write_bytes("names: [bl\u00e4tter]".encode("latin-1"))
    with pytest.raises(SystemExit, match="2"):
        TOOL.main([str(folder), str(folder.parent / "second")])
    assert "data.yaml" in capsys.readouterr().err


def test_a_link_to_its_own_folder_is_not_followed(export):
    folder = export("coco")
    os.symlink(folder, folder / "images" / "self")
    os.symlink(folder / "images", folder.parent / "elsewhere")
    assert set(run(folder)[0]) == {"a", "b", "c"}
    images = ["--images", str(folder.parent / "elsewhere"), "--workers", "1"]
    assert TOOL.main([str(folder / COCO), str(folder.parent / "by_link"), *images]) == 0


def test_of_more_than_255_classes_255_is_one_and_65535_is_ignored(masks):
    folder = masks(np.resize(np.array([0, 255, 299, 65535], np.uint16), (HEIGHT, WIDTH)))
    (folder / "classes.txt").write_text("".join(f"class {number}\n" for number in range(300)))
    labels, _ = run(folder)
    assert np.unique(labels["a"]).tolist() == [0, 255, 299, 65535]


def test_masks_that_none_can_be_read_of_are_refused_with_the_reason(masks, capsys):
    refused(masks(np.full((HEIGHT, WIDTH, 3), (200, 30, 0), np.uint8), ".jpg"))
    assert "JPEG" in capsys.readouterr().err


def test_a_missing_file_of_classes_is_no_name_of_a_class(masks, capsys):
    refused(masks(np.resize(np.array([0, 1, 2], np.uint8), (HEIGHT, WIDTH))), "--classes", "gone/classes.txt")
    assert "gone/classes.txt" in capsys.readouterr().err


def test_planes_of_16_bits_that_pillow_opens_and_cannot_decode(masks):
    folder = masks(np.resize(np.array([0, 1, 2], np.uint8), (HEIGHT, WIDTH)))
    (folder / "images" / "a.png").unlink()
    planes = np.random.default_rng(0).integers(0, 4000, (4, HEIGHT, WIDTH)).astype(np.uint16)
    tifffile.imwrite(folder / "images" / "a.tif", planes, photometric="minisblack", planarconfig="separate")
    labels, skipped = run(folder)
    assert set(labels) == {"a", "b", "c"} and not skipped


DAMAGED_ANNOTATIONS = {
    "coco": (
        COCO,
        lambda it: it["annotations"][0].update(segmentation={"size": [HEIGHT, WIDTH], "counts": [5, -5, 768]}),
    ),
    "coco_panoptic": ("annotations/panoptic_default.json", lambda it: it["annotations"][0].pop("file_name")),
    "labelme": ("a.json", lambda it: it["shapes"].__setitem__(0, None)),
    "label_studio": ("export.json", lambda it: it.__setitem__(0, None)),
}


@pytest.mark.parametrize("tool", DAMAGED_ANNOTATIONS)
def test_one_damaged_annotation_is_listed_and_the_rest_is_imported(export, tool):
    folder = export(tool)
    name, edit = DAMAGED_ANNOTATIONS[tool]
    change(next(folder.rglob(name.rpartition("/")[2])), edit)
    labels, skipped = run(folder)
    assert len(skipped) == 1 and set(labels) >= {"b", "c"}


def test_sizes_that_are_no_numbers_leave_out_their_image(export):
    folder = export("cvat")
    path = folder / "annotations.xml"
    path.write_text(
        path.read_text().replace(f'width="{WIDTH}"', 'width="wide"', 1).replace('z_order="0"', 'z_order=""', 1)
    )
    labels, skipped = run(folder)
    assert set(labels) == {"b", "c"} and len(skipped) == 1 and "wide" in skipped[0]


def test_texts_of_yolo_may_lie_beside_the_images_and_begin_with_empty_files(export):
    folder = export("yolo")
    for path in [*folder.rglob("labels/**/*.txt"), *folder.rglob("images/**/*.jpg")]:
        path.rename(folder / path.name)
    (folder / "a.txt").write_text("")
    (folder / "b.jpg").unlink()
    labels, skipped = run(folder)
    assert skipped == [f"b.txt: there is no such image in {folder}"]
    assert len(np.unique(labels["a"])) == 1 and len(np.unique(labels["c"])) > 1


def test_texts_of_other_numbers_are_no_labels(masks):
    folder = masks(np.resize(np.array([0, 1, 2], np.uint8), (HEIGHT, WIDTH)))
    (folder / "poses.txt").write_text("0 0.1 0.2 0.3 0.4 0.5 0.6\n")
    assert set(run(folder)[0]) == {"a", "b", "c"}


def test_the_name_of_a_mask_may_hold_the_images_extension(masks):
    folder = masks(np.resize(np.array([0, 1, 2], np.uint8), (HEIGHT, WIDTH)), ".png.tif")
    assert set(run(folder)[0]) == {"a", "b", "c"}


def test_masks_of_fractional_levels_are_refused(masks, capsys):
    refused(masks(np.resize(np.array([0, 1, 2], np.float32), (HEIGHT, WIDTH)), ".tif"))
    assert "fractional" in capsys.readouterr().err


def test_ids_below_0_are_ignored_and_listed(masks):
    labels, skipped = run(masks(np.resize(np.array([-1, 0, 1], np.int32), (HEIGHT, WIDTH)), ".tif"))
    assert np.unique(labels["a"]).tolist() == [0, 1, 255] and len(skipped) == 3 and "-1" in skipped[0]


def test_images_too_large_to_decode_name_the_remedy(masks, monkeypatch):
    folder = masks(np.resize(np.array([0, 1, 2], np.uint8), (HEIGHT, WIDTH)))
    Image.fromarray(block_image(0).repeat(4, 0).repeat(4, 1)).save(folder / "images" / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2 * HEIGHT * WIDTH)
    labels, skipped = run(folder)
    assert set(labels) == {"b", "c"} and "tiles" in skipped[0]


def test_an_archive_is_to_be_unpacked(tmp_path, capsys):
    (tmp_path / "export.zip").write_bytes(b"PK")
    refused(tmp_path / "export.zip")
    assert "unpack" in capsys.readouterr().err
