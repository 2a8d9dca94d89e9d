"""The format of a source is found by itself, and commands that expect a folder name the import."""

import pytest
from PIL import Image

from helpers.annotation_exports import EXPORTS, Scene
from helpers.folders import CLASSES, block_image, label_map, write_folder
from segvit.dataset_tools.doctor import open_dataset
from segvit.dataset_tools.importing import ReadOptions, read_source
from segvit.datasets.annotation_formats import detect_formats, import_hint
from segvit.errors import UserError

NAMES = {"coco_panoptic": "coco", "coco_roboflow": "coco", "index": "masks", "binary": "masks", "objects": "masks"}


@pytest.mark.parametrize("tool", sorted(set(EXPORTS) - {"colors"}))
def test_each_export_is_recognized_and_the_doctor_names_the_command(tool, tmp_path):
    EXPORTS[tool][0](tmp_path / "export", [Scene("a", block_image(0), label_map(0))], CLASSES)
    assert [it.name for it in detect_formats(tmp_path / "export")] == [NAMES.get(tool, tool)]
    with pytest.raises(UserError, match=rf"import_dataset\.py {tmp_path / 'export'} "):
        open_dataset(str(tmp_path / "export"))


def test_the_xml_of_the_web_labelme_is_refused_and_no_folder_of_masks(tmp_path):
    for name in ("Images/a.png", "Masks/a_mask_1.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(block_image(0)).save(tmp_path / name)
    xml = "<annotation><filename>a.png</filename><object><name>o</name><polygon><pt><x>1</x></pt></polygon></object>"
    (tmp_path / "a.xml").write_text(xml + "</annotation>")
    with pytest.raises(UserError, match=r"a\.xml"):
        read_source(tmp_path, ReadOptions())
    assert import_hint(tmp_path) == ""


def test_a_file_is_recognized_and_a_dataset_folder_is_none(tmp_path):
    EXPORTS["coco"][0](tmp_path / "export", [Scene("a", block_image(0), label_map(0))], CLASSES)
    assert "COCO" in import_hint(tmp_path / "export" / "annotations" / "instances_default.json")
    assert import_hint(tmp_path / "nothing") == ""
    open_dataset(str(write_folder(tmp_path / "mine")))
