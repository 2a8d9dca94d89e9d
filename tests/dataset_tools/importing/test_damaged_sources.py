"""Damaged and interrupted imports: nothing half-written, and a list of what was skipped and why."""

import errno
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile

from helpers.annotation_exports import EXPORTS, Scene
from helpers.folders import CLASSES, HEIGHT, WIDTH, block_image, label_map
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit import output_files
from segvit.dataset_tools.importing import import_run
from segvit.output_files import new_folder

TOOL = load_script(PROJECT / "tools" / "import_dataset.py")


@pytest.fixture
def export(tmp_path):
    """A writer of four scenes as a tool exports them."""

    def write(tool):
        scenes = [Scene(stem, block_image(ord(stem)), label_map(ord(stem))) for stem in "abcd"]
        EXPORTS[tool][0](tmp_path / "export", scenes, CLASSES)
        return tmp_path / "export"

    return write


def run(export, *options):
    return TOOL.main([str(export), str(export.parent / "new"), "--workers", "1", *options])


def test_a_damaged_image_and_a_missing_one_are_listed(export):
    folder = export("coco")
    image = folder / "images" / "b.png"
    image.write_bytes(image.read_bytes()[:-200])
    (folder / "images" / "c.png").unlink()
    assert run(folder) == 0
    skipped = (folder.parent / "new" / "skipped.txt").read_text().splitlines()
    assert len(skipped) == 2 and "c.png" in skipped[0] and "images/b.png: " in skipped[1]
    names = [path.stem for path in (folder.parent / "new").glob("images/*/*")]
    assert sorted(names) == ["a", "d"]


def test_a_damaged_mask_is_listed(export):
    folder = export("objects")
    mask = next((folder / "masks" / "a").iterdir())
    mask.write_bytes(mask.read_bytes()[:40])
    assert run(folder) == 0
    assert mask.name in (folder.parent / "new" / "skipped.txt").read_text()
    assert not list((folder.parent / "new").glob("images/*/a.*"))


@pytest.mark.parametrize(
    ("tool", "file", "content"),
    [
        ("coco", "annotations/instances_default.json", '{"images": [], "annotations": [], "categories": ['),
        ("cvat", "annotations.xml", "<annotations><meta><image></annotations>"),
        ("cvat", "annotations.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations><meta></meta></annotations>'),
        ("label_studio", "export.json", '[{"data": {}, "annotations": '),
        ("yolo", "data.yaml", "names: [a, {"),
        ("colors", "class_dict.csv", "name,r\nroad,1\n"),
    ],
)
def test_a_damaged_annotation_file_is_named_and_nothing_is_written(export, capsys, tool, file, content):
    folder = export(tool)
    (folder / file).write_text(content)
    with pytest.raises(SystemExit, match="2"):
        run(folder, *EXPORTS[tool][1])
    assert os.path.basename(file) in capsys.readouterr().err
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


def test_an_interruption_leaves_nothing(export, monkeypatch):
    folder = export("coco")

    def interrupt(images, options):
        raise KeyboardInterrupt

    monkeypatch.setattr(import_run, "make_splits", interrupt)
    with pytest.raises(SystemExit, match="130"):
        run(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


def test_a_full_disk_is_that_of_the_target(export, monkeypatch, capsys):
    folder = export("coco")

    def no_links(source, target):
        raise OSError(errno.EXDEV, "another disk", str(source), None, str(target))

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))  # as shutil does

    monkeypatch.setattr(output_files.os, "link", no_links)
    monkeypatch.setattr(output_files.shutil, "copyfile", full)
    with pytest.raises(SystemExit, match="2"):
        run(folder)
    error = capsys.readouterr().err.splitlines()[-1]
    assert str(folder.parent / ".new") in error and str(folder / "images") not in error
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    target = str(tmp_path / "new")
    code = f"import os; from segvit.output_files import new_folder\nwith new_folder({target!r}): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(list(tmp_path.iterdir())) == 1
    with new_folder(tmp_path / "new"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_an_existing_target_is_kept(export, capsys):
    folder = export("coco")
    (folder.parent / "new").mkdir()
    with pytest.raises(SystemExit, match="2"):
        run(folder)
    assert "exists" in capsys.readouterr().err and not list((folder.parent / "new").iterdir())


def test_an_image_annotated_twice_is_listed_and_equal_stems_are_kept_apart(export):
    folder = export("labelme")
    (folder / "b2.json").write_text((folder / "b.json").read_text())
    (folder / "more").mkdir()
    for suffix in (".png", ".json"):
        os.link(folder / f"c{suffix}", folder / "more" / f"c{suffix}")
    (folder / "more" / "c.png").unlink()
    (folder / "more" / "c.png").write_bytes((folder / "d.png").read_bytes())
    assert run(folder) == 0
    new = folder.parent / "new"
    assert sorted(path.stem for path in new.glob("images/*/*")) == ["a", "b", "c", "d", "more__c"]
    assert "b.png: is annotated more than once" in (new / "skipped.txt").read_text()
    assert json.loads((new / "import.json").read_text())["images"]["more__c.png"] == "more/c.png"


def test_the_same_name_in_two_splits_gets_folders_and_no_extension(export):
    folder = export("labelme")
    for split in ("train", "val"):
        (folder / split).mkdir()
        for suffix in (".png", ".json"):
            os.link(folder / f"{'c' if split == 'train' else 'd'}{suffix}", folder / split / f"a{suffix}")
        (folder / split / "a.json").unlink()
        (folder / split / "a.json").write_text((folder / "a.json").read_text())
    for path in [*folder.glob("*.png"), *folder.glob("*.json")]:
        path.unlink()
    assert run(folder) == 0
    names = sorted(path.name for path in (folder.parent / "new").glob("images/*/*"))
    assert names == ["train__a.png", "val__a.png"]


def test_a_split_of_which_nothing_can_be_imported_is_not_divided_anew(tmp_path, capsys):
    for split, names in (("train", "abc"), ("val", "d")):
        for kind, draw in (("images", block_image), ("masks", label_map)):
            folder = tmp_path / "export" / kind / split
            folder.mkdir(parents=True)
            for name in names:
                cv2.imwrite(str(folder / f"{name}.png"), draw(ord(name)))
    damaged = tmp_path / "export" / "images" / "val" / "d.png"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "export", "--classes", ",".join(CLASSES))
    message = capsys.readouterr().err
    assert ended.value.code == 2 and "val" in message and "d.png" in message and "--val-share" in message
    assert not (tmp_path / "new").exists()
    assert run(tmp_path / "export", "--classes", ",".join(CLASSES), "--val-share", "0.4") == 0


def test_images_without_annotation_are_skipped_or_background(export):
    folder = export("labelme")
    (folder / "d.json").unlink()
    assert run(folder) == 0
    assert "d.png: no annotation" in (folder.parent / "new" / "skipped.txt").read_text()
    assert TOOL.main([str(folder), str(folder.parent / "all"), "--workers", "1", "--unannotated", "background"]) == 0
    assert len(list((folder.parent / "all").glob("annotations/*/d.png"))) == 1


def test_an_export_without_its_images_names_them(export, capsys):
    folder = export("label_studio")
    for image in list(folder.glob("images/*")):
        image.rename(image.with_stem(f"renamed_{image.stem}"))
    with pytest.raises(SystemExit, match="2"):
        run(folder)
    error = capsys.readouterr().err
    assert "no such image" in error and "--classes" not in error


def test_an_export_of_which_no_object_can_be_drawn_is_refused(export, capsys):
    folder = export("yolo")
    for path in folder.rglob("labels/**/*.txt"):
        path.write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(SystemExit, match="2"):
        run(folder)
    assert "--boxes fill" in capsys.readouterr().err
    assert [path.name for path in folder.parent.iterdir()] == ["export"]
    assert run(folder, "--boxes", "fill") == 0


def test_ids_are_named_by_a_file(export, capsys):
    folder = export("index")
    names = folder.parent / "names.txt"
    (folder / "classes.txt").unlink()
    ids = range(1, 1 + len(CLASSES))
    assert run(folder) == 0 and "--ids FILE" in capsys.readouterr().out
    names.write_text("0 ignore\n" + "".join(f"{number}: my {name}\n" for number, name in zip(ids, CLASSES)))
    target = folder.parent / "named"
    assert TOOL.main([str(folder), str(target), "--workers", "1", "--ids", str(names)]) == 0
    assert [it["name"] for it in json.loads((target / "classes.json").read_text())] == [f"my {it}" for it in CLASSES]
    names.write_text("1 road\n")
    assert TOOL.main([str(folder), str(folder.parent / "partly"), "--workers", "1", "--ids", str(names)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "index value 2: has no class" in line]
    assert len(lines) == 1 and "3 alike" in lines[0]  # one line for four images
    names.write_text("1 road\nsky\n")
    with pytest.raises(SystemExit, match="2"):
        TOOL.main([str(folder), str(folder.parent / "other"), "--ids", str(names)])
    assert "names.txt: line 2" in capsys.readouterr().err


def test_colours_are_named_by_a_file(export, capsys):
    folder = export("colors")
    (folder / "class_dict.csv").unlink()
    assert run(folder, "--mask-suffix", "_L") == 0 and "--classes FILE" in capsys.readouterr().out
    colors = [it["color"] for it in json.loads((folder.parent / "new" / "classes.json").read_text())]
    names = folder.parent / "colors.txt"
    names.write_text("".join(f"{red} {green} {blue} my {index}\n" for index, (red, green, blue) in enumerate(colors)))
    options = ["--mask-suffix", "_L", "--classes", str(names)]
    assert TOOL.main([str(folder), str(folder.parent / "named"), "--workers", "1", *options]) == 0
    found = json.loads((folder.parent / "named" / "classes.json").read_text())
    assert [(it["name"], it["color"]) for it in found] == [(f"my {i}", color) for i, color in enumerate(colors)]


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_images_of_five_channels_are_imported(export, suffix):
    folder = export("coco")
    image = folder / "images" / "b.png"
    levels = np.random.default_rng(0).random((HEIGHT, WIDTH, 5), dtype=np.float32)
    if suffix == ".npy":
        np.save(image.with_suffix(suffix), levels)
    else:
        tifffile.imwrite(image.with_suffix(suffix), levels, photometric="minisblack", planarconfig="contig")
    image.unlink()
    listed = folder / "annotations" / "instances_default.json"
    listed.write_text(listed.read_text().replace("b.png", f"b{suffix}"))
    assert run(folder) == 0
    assert len(list((folder.parent / "new").glob(f"images/*/b{suffix}"))) == 1
    assert not (folder.parent / "new" / "skipped.txt").exists()
