"""The doctor's command: exit codes, what it writes, and the conversion of coloured label maps."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.folders import CLASSES, COLORS, write_folder
from helpers.repository import PROJECT

TOOL = PROJECT / "tools" / "check_dataset.py"
VOID = (0, 0, 0)


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("check_dataset", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check(tool, tmp_path, monkeypatch):
    """Run the command in an empty folder -> its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: tool.main([str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "mine")


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def color(path):
    """Save a label map as a colour picture; the ids it had."""
    ids = read(path)
    palette = np.array([*COLORS, VOID], np.uint8)
    Image.fromarray(palette[np.where(ids == 255, 3, ids)]).save(path)
    return ids


@pytest.fixture
def colored(folder):
    """Two coloured label maps -> the ids they had."""
    paths = (folder / "annotations/train/b.png", folder / "annotations/val/f.png")
    return {path.relative_to(folder / "annotations"): color(path) for path in paths}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_sound_data_and_what_is_written(check, folder, capsys):
    assert check(folder) == 0
    assert "nothing found" in capsys.readouterr().out
    output = Path("output/check_dataset/mine")
    assert json.loads((output / "report.json").read_text())["findings"] == []
    for name in ("histogram.png", "contact_sheet.png"):
        with Image.open(output / name) as picture:
            assert min(picture.size) > 100 and len(np.unique(np.array(picture))) > 20


def test_errors_end_with_one_and_warnings_with_zero(check, folder, capsys):
    path = folder / "annotations/train/b.png"
    Image.fromarray(np.full_like(read(path), 255)).save(path)
    assert check(folder, "--output", "report") == 0
    assert "WARNING unlabelled in train" in capsys.readouterr().out
    path.unlink()
    assert check(folder, "--output", "report") == 1
    assert "ERROR image_without_label_map in train" in capsys.readouterr().out


def test_a_report_without_a_sound_pair(check, folder):
    assert check(folder, "--output", "report") == 0 and Path("report", "contact_sheet.png").is_file()
    for path in folder.glob("annotations/*/*.png"):
        path.write_text("no picture")
    assert check(folder, "--output", "report") == 1
    assert (Path("report") / "histogram.png").is_file() and not (Path("report") / "contact_sheet.png").exists()


def test_a_wrong_call_is_no_finding(check, capsys):
    with pytest.raises(SystemExit) as ended:
        check("nowhere")
    assert ended.value.code == 2
    assert "'nowhere' is neither a folder" in capsys.readouterr().err


def test_nothing_is_converted_unasked(check, folder, colored):
    before = contents(folder)
    assert check(folder) == 1
    assert contents(folder) == before


def test_conversion_to_a_new_folder(check, folder, colored, tmp_path):
    before = contents(folder)
    assert check(folder, "--convert-colors", "new", "--unlisted-as-ignored") == 1  # the folder itself has errors still
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


def test_conversion_in_place(check, folder, colored):
    names = set(contents(folder))
    check(folder, "--convert-in-place", "--unlisted-as-ignored")
    for name, ids in colored.items():
        assert read(folder / "annotations" / name).tolist() == ids.tolist()
    assert set(contents(folder)) == names
    assert not list(folder.rglob(".*"))
    assert check(folder) == 0


@pytest.mark.parametrize("target", [["--convert-in-place"], ["--convert-colors", "new"]])
def test_a_colour_that_is_not_listed_stops_everything(check, folder, colored, tmp_path, capsys, target):
    """Black is the colour of no class; one label map without black could be converted, but is not."""
    path = folder / "annotations/train/a.png"
    Image.fromarray(np.full((*read(path).shape, 3), COLORS[0], np.uint8)).save(path)
    before = contents(folder)
    with pytest.raises(SystemExit):
        check(folder, *target)
    said = capsys.readouterr().err
    assert "b.png: the palette lacks 1 of its colours: (0, 0, 0)" in said and "f.png" in said and "a.png" not in said
    assert said.rstrip().endswith("or use --unlisted-as-ignored")
    assert contents(folder) == before
    assert not (tmp_path / "new").exists() and not list(tmp_path.glob(".new*"))


def test_a_palette_of_its_own(check, folder, colored, tmp_path):
    """A class of two colours, and a colour for what does not count."""
    entries = [
        {"name": CLASSES[0], "color": COLORS[0]},
        {"name": CLASSES[0], "color": COLORS[1]},
        {"name": CLASSES[2], "color": COLORS[2]},
        {"name": None, "color": VOID},
    ]
    (tmp_path / "palette.json").write_text(json.dumps(entries))
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
    assert "no palette for its colours" in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_ids_that_were_saved_as_greys_are_taken(check, folder, tmp_path, mode):
    path = folder / "annotations/train/b.png"
    ids = read(path)
    Image.fromarray(ids).convert(mode).save(path)
    assert check(folder, "--convert-in-place") == 1
    assert read(path).tolist() == ids.tolist()


def test_an_existing_folder_is_kept(check, folder, colored, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    with pytest.raises(SystemExit):
        check(folder, "--convert-colors", "new", "--unlisted-as-ignored")
    assert "new exists" in capsys.readouterr().err
    assert os.listdir(tmp_path / "new") == []
