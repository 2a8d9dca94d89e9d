"""`check_dataset.py`: exit codes, written files, and the conversion of label maps."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.folders import CLASSES, COLORS, write_folder
from helpers.repository import PROJECT
from helpers.scripts import load_script

TOOL = PROJECT / "tools" / "check_dataset.py"
VOID = (0, 0, 0)


@pytest.fixture(scope="module")
def tool():
    return load_script(TOOL)


@pytest.fixture
def check_with_figures(tool, tmp_path, monkeypatch):
    """Run the command in an empty folder -> its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: tool.main([str(argument) for argument in arguments])


@pytest.fixture
def check(check_with_figures, tool, monkeypatch):
    """The same, without the figures, which take most of the time."""
    monkeypatch.setattr(tool, "draw_histogram", lambda report, output: None)
    monkeypatch.setattr(tool, "draw_samples", lambda report, output, num_images, image_format: False)
    return check_with_figures


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "mine")


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def color(path):
    """Replace a label map by its colours -> its ids."""
    ids = read(path)
    palette = np.array([*COLORS, VOID], np.uint8)
    Image.fromarray(palette[np.where(ids == 255, 3, ids)]).save(path)
    return ids


@pytest.fixture
def colored(folder):
    """Replace two label maps by their colours -> their ids."""
    paths = (folder / "annotations/train/b.png", folder / "annotations/val/f.png")
    return {path.relative_to(folder / "annotations"): color(path) for path in paths}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_sound_folder_gives_a_report_and_figures(check_with_figures, folder, capsys):
    assert check_with_figures(folder) == 0
    assert "nothing found" in capsys.readouterr().out
    output = Path("output/check_dataset/mine")
    assert json.loads((output / "report.json").read_text())["findings"] == []
    for name in ("histogram.png", "contact_sheet.png"):
        with Image.open(output / name) as figure:
            assert min(figure.size) > 100 and len(np.unique(np.array(figure))) > 20


def test_errors_exit_with_1_and_warnings_with_0(check, folder, capsys):
    path = folder / "annotations/train/b.png"
    Image.fromarray(np.full_like(read(path), 255)).save(path)
    assert check(folder, "--output", "report") == 0
    assert "WARNING unlabelled in train" in capsys.readouterr().out
    path.unlink()
    assert check(folder, "--output", "report") == 1
    assert "ERROR image_without_label_map in train" in capsys.readouterr().out


def test_without_a_sound_pair_no_contact_sheet_remains(check_with_figures, folder):
    check = check_with_figures
    assert check(folder, "--output", "report") == 0 and Path("report", "contact_sheet.png").is_file()
    for path in folder.glob("annotations/*/*.png"):
        path.write_text("not an image")
    assert check(folder, "--output", "report") == 1
    assert (Path("report") / "histogram.png").is_file() and not (Path("report") / "contact_sheet.png").exists()


def test_an_unknown_folder_exits_with_2(check, capsys):
    with pytest.raises(SystemExit) as ended:
        check("nowhere")
    assert ended.value.code == 2
    assert "'nowhere' is neither a folder" in capsys.readouterr().err


def test_checking_changes_no_file(check, folder, colored):
    before = contents(folder)
    assert check(folder) == 1
    assert contents(folder) == before


def test_a_conversion_to_a_new_folder_keeps_the_dataset(check, folder, colored, tmp_path):
    before = contents(folder)
    assert check(folder, "--convert-colors", "new", "--unlisted-as-ignored") == 0
    assert contents(folder) == before
    converted = contents(tmp_path / "new")
    assert set(converted) == {path.relative_to("annotations") for path in before if path.parts[0] == "annotations"}
    for name, content in converted.items():
        if name in colored:
            assert read(tmp_path / "new" / name).tolist() == colored[name].tolist()
        else:
            assert content == before["annotations" / name]
    (folder / "annotations").rename(tmp_path / "old")
    (tmp_path / "new").rename(folder / "annotations")
    assert check(folder) == 0


def test_a_conversion_in_place_replaces_coloured_label_maps(check, folder, colored):
    names = set(contents(folder))
    assert check(folder, "--convert-in-place", "--unlisted-as-ignored") == 0
    for name, ids in colored.items():
        assert read(folder / "annotations" / name).tolist() == ids.tolist()
    assert set(contents(folder)) == names
    assert not list(folder.rglob(".*"))
    assert check(folder) == 0


@pytest.mark.parametrize("target", [["--convert-in-place"], ["--convert-colors", "new"]])
def test_an_unlisted_colour_converts_no_file(check, folder, colored, tmp_path, capsys, target):
    """No class is black. A label map without black is not converted, either."""
    path = folder / "annotations/train/a.png"
    Image.fromarray(np.full((*read(path).shape, 3), COLORS[0], np.uint8)).save(path)
    before = contents(folder)
    with pytest.raises(SystemExit):
        check(folder, *target)
    errors = capsys.readouterr().err
    assert "2 of 3 label maps" in errors and "(0, 0, 0): " in errors and "--unlisted-as-ignored" in errors
    assert errors.count("(0, 0, 0)") == 1 and ".png" not in errors
    assert contents(folder) == before
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*"))


def test_a_palette_file_can_merge_classes(check, folder, colored, tmp_path):
    """One class with two colours, and a colour for ignored pixels."""
    palette = [
        {"name": CLASSES[0], "color": COLORS[0]},
        {"name": CLASSES[0], "color": COLORS[1]},
        {"name": CLASSES[2], "color": COLORS[2]},
        {"name": None, "color": VOID},
    ]
    (tmp_path / "palette.json").write_text(json.dumps(palette))
    check(folder, "--convert-colors", "new", "--palette", "palette.json")
    for name, ids in colored.items():
        assert read(tmp_path / "new" / name).tolist() == np.where(ids == 1, 0, ids).tolist()


@pytest.mark.parametrize(
    "content, message",
    [
        ("[", r"palette.json: must be a JSON list of"),
        ('[{"name": "lawn", "color": [1, 2, 3]}]', "'lawn' is not one of the classes grass, road, sky"),
        ('[{"color": [1, 2, 3]}]', "must be a JSON list"),
        ('[{"name": "sky", "color": [1, 2]}]', "a colour is [red, green, blue]"),
        ('[{"name": "sky", "color": [1, 2, 3]}, {"name": "road", "color": [1, 2, 3]}]', "listed twice"),
    ],
)
def test_a_malformed_palette_is_named(check, folder, colored, tmp_path, capsys, content, message):
    (tmp_path / "palette.json").write_text(content)
    with pytest.raises(SystemExit):
        check(folder, "--convert-colors", "new", "--palette", "palette.json")
    assert message in capsys.readouterr().err


def test_classes_without_colours_need_a_palette(check, tmp_path, capsys):
    folder = write_folder(tmp_path / "plain", colors=False)
    color(folder / "annotations/train/b.png")
    with pytest.raises(SystemExit):
        check(folder, "--convert-in-place")
    errors = capsys.readouterr().err
    assert all(text in errors for text in (str(COLORS[0]), "classes.json", "--palette"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_ids_saved_as_greys_are_converted(check, folder, tmp_path, mode):
    path = folder / "annotations/train/b.png"
    ids = read(path)
    Image.fromarray(ids).convert(mode).save(path)
    assert check(folder, "--convert-in-place") == 0
    assert read(path).tolist() == ids.tolist()


def test_an_existing_folder_is_kept(check, folder, colored, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    with pytest.raises(SystemExit):
        check(folder, "--convert-colors", "new", "--unlisted-as-ignored")
    assert "new exists" in capsys.readouterr().err
    assert os.listdir(tmp_path / "new") == []
