"""The steps that all prepare scripts share, on a replica of ADE20K: kept, redone, interrupted, damaged, missing."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.dataset_replicas import write_ade20k
from helpers.repository import ROOT
from segvit.dataset_tools.preparation import ade20k, prepare
from segvit.dataset_tools.preparation.command import run_command
from segvit.dataset_tools.preparation.label_table import LabelTable
from segvit.dataset_tools.preparation.readers import read_index_png


@pytest.fixture(autouse=True)
def small_benchmark(monkeypatch):
    monkeypatch.setattr(ade20k, "SIZES", {"training": 4, "validation": 2})


@pytest.fixture
def root(tmp_path):
    write_ade20k(tmp_path)
    return tmp_path


def run(root, *, workers=1, force=False):
    return prepare(ade20k.find_ade20k(root), workers=workers, force=force)


def written(root):
    folder = root / "ADEChallengeData2016" / "annotations_detectron2"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times(root):
    folder = root / "ADEChallengeData2016" / "annotations_detectron2"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*.png")}


def problems(report):
    return [(problem.path.name, problem.what) for problem in report.problems]


def main(root, *options, find=None):
    find = find or (lambda parsed: ade20k.find_ade20k(parsed.root))
    return run_command(
        find, parser=argparse.ArgumentParser(), arguments=["--root", str(root), "--workers", "1", *options]
    )


def test_a_complete_benchmark(root, capfd):
    assert main(root) == 0
    output, _ = capfd.readouterr()
    assert "training: 4 of 4 images (4 written, 0 kept)" in output
    assert "validation: 2 of 2 images" in output
    assert "missing" not in output and "wrong" not in output
    stems = [f"ADE_train_{number:08d}" for number in (1, 2, 3, 4)] + [f"ADE_val_{number:08d}" for number in (1, 2)]
    assert sorted(Path(name).stem for name in written(root)) == [*stems, "prepared"]


def test_checksums_are_those_that_sha256sum_reads(root):
    run(root)
    command = ["sha256sum", "--check", "--strict", "prepared.sha256"]
    if shutil.which(command[0]) is None:
        pytest.skip("no sha256sum")
    folder = root / "ADEChallengeData2016" / "annotations_detectron2"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK\n") == 6
    (folder / "training" / "ADE_train_00000001.png").write_bytes(b"")
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 1


def test_a_second_run_touches_nothing(root):
    first = run(root)
    before, stamps = written(root), times(root)
    second = run(root)
    assert written(root) == before and times(root) == stamps
    assert [(split.written, split.kept) for split in second.splits] == [(0, 4), (0, 2)]
    assert np.array_equal(first.pixels, second.pixels) and second.is_complete()


def test_force_makes_every_file_anew(root):
    run(root)
    before = written(root)
    report = run(root, force=True)
    assert [(split.written, split.kept) for split in report.splits] == [(4, 0), (2, 0)]
    assert written(root) == before


@pytest.mark.parametrize("damage", ["altered", "deleted", "newer source", "no checksums", "other version"])
def test_what_is_not_as_it_was_made_is_made_again(root, damage):
    run(root)
    before = written(root)
    folder = root / "ADEChallengeData2016"
    target = folder / "annotations_detectron2" / "training" / "ADE_train_00000002.png"
    checksums = folder / "annotations_detectron2" / "prepared.sha256"
    if damage == "altered":
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(target)
    elif damage == "deleted":
        target.unlink()
    elif damage == "newer source":
        os.utime(folder / "annotations" / "training" / target.name, ns=(2**62, 2**62))
    elif damage == "no checksums":
        checksums.unlink()
    else:
        checksums.write_text(checksums.read_text().replace("segvit ade20k 1", "segvit ade20k 0"))
    report = run(root)
    redone = sum(split.written for split in report.splits)
    assert redone == (6 if damage in ("no checksums", "other version") else 1)
    assert written(root) == before


class Interrupted:
    """Reads a few label maps, and then behaves as if Ctrl-C were pressed."""

    def __init__(self, after):
        self.left = after

    def __call__(self, path):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return read_index_png(path)


def test_an_interrupted_run_goes_on_to_the_same_result(root, tmp_path_factory, capsys):
    undisturbed = tmp_path_factory.mktemp("undisturbed")
    write_ade20k(undisturbed)
    run(undisturbed)

    def find(options):
        return replace(ade20k.find_ade20k(options.root), read=Interrupted(after=3))

    assert main(root, find=find) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert sum(name.endswith(".png") for name in written(root)) == 3
    assert "prepared.sha256" not in written(root)
    # As a killed process would leave it: half a file, and half a line of what has been done.
    folder = root / "ADEChallengeData2016" / "annotations_detectron2"
    (folder / "training" / ".ADE_train_00000004.png.1234.unfinished").write_bytes(b"\x89PNG")
    with (folder / ".prepared.sha256.journal").open("a") as journal:
        journal.write("0123456789abcdef")
    report = run(root)
    assert [(split.written, split.kept) for split in report.splits] == [(1, 3), (2, 0)]
    assert written(root) == written(undisturbed)


def test_several_processes_write_the_same(root, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    write_ade20k(alone)
    run(alone)
    assert run(root, workers=2).is_complete()
    assert written(root) == written(alone)


def exit_at_once(_):
    os._exit(1)


def test_a_killed_process_is_explained(root, capsys):
    def find(options):
        return replace(ade20k.find_ade20k(options.root), read=exit_at_once)

    with pytest.raises(SystemExit, match="2"):
        main(root, "--workers", "2", find=find)
    assert "a worker process was killed" in capsys.readouterr().err


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def recolour(path):
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(path)


def enlarge(path):
    Image.fromarray(np.zeros((25, 32), np.uint8)).save(path)


def exceed(path):
    Image.fromarray(np.full((24, 32), 151, np.uint8)).save(path)


DAMAGES = {
    "truncated image": ("images", "jpg", truncate, r"not a readable image \(.*[Tt]runcated"),
    "empty image": ("images", "jpg", lambda path: path.write_bytes(b""), "not a readable image"),
    "truncated labels": ("annotations", "png", truncate, "not a readable image"),
    "coloured labels": ("annotations", "png", recolour, "has 3 channels"),
    "labels of another size": ("annotations", "png", enlarge, "labels of 32 x 25 pixels for an image of 32 x 24"),
    "unknown id": ("annotations", "png", exceed, "label ids 151 do not occur in this dataset"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named_and_the_others_prepared(root, capfd, damage):
    kind, extension, spoil, message = DAMAGES[damage]
    path = root / "ADEChallengeData2016" / kind / "training" / f"ADE_train_00000003.{extension}"
    sound = path.read_bytes()
    spoil(path)
    assert main(root, "--partial") == 1
    output, errors = capfd.readouterr()
    assert "Traceback" not in output + errors
    (line,) = [line for line in output.splitlines() if line.startswith(f"  {path}: ")]
    assert re.search(message, line)
    assert "training: 3 of 4 images" in output
    listing = root / "ADEChallengeData2016" / "annotations_detectron2" / "preparation_problems.txt"
    assert str(path) in listing.read_text()
    path.write_bytes(sound)
    assert main(root) == 0
    assert not listing.exists()


def test_nothing_there_is_a_list_of_what_to_get(tmp_path, capfd):
    assert main(tmp_path / "nowhere") == 1
    output, errors = capfd.readouterr()
    assert "missing: 6" in output and "unpack http://data.csail.mit.edu" in output
    assert "Traceback" not in errors and "not complete" in errors
    assert not (tmp_path / "nowhere").exists()
    assert main(tmp_path / "nowhere", "--partial") == 1


def test_a_part_is_enough_where_that_is_asked_for(tmp_path, capfd):
    write_ade20k(tmp_path, training=0, validation=1)
    assert main(tmp_path) == 1
    assert "1 images are prepared, the benchmark's validation split has 2" in capfd.readouterr().out
    assert main(tmp_path, "--partial") == 0


@pytest.mark.parametrize("kind, extension", [("images", "jpg"), ("annotations", "png")])
def test_unmatched_files_are_named(root, kind, extension):
    (root / "ADEChallengeData2016" / kind / "training" / f"ADE_train_00000003.{extension}").unlink()
    report = run(root)
    other = {"jpg": "png", "png": "jpg"}[extension]
    assert problems(report)[0][0] == f"ADE_train_00000003.{other}"
    assert not report.is_complete(allow_missing=True)


def test_a_stray_file_among_the_results_is_named(root):
    stray = root / "ADEChallengeData2016" / "annotations_detectron2" / "validation" / "old.png"
    stray.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(stray)
    ((name, what),) = problems(run(root))
    assert name == "validation" and "without an image" in what and ": old; the two must" in what


def test_long_lists_are_shortened_but_kept_whole_in_a_file(root):
    for path in (root / "ADEChallengeData2016" / "annotations").glob("*/*.png"):
        path.write_bytes(b"")
    for number in range(20):
        (root / "ADEChallengeData2016" / "images" / "training" / f"x{number}.jpg").touch()
    report = run(root)
    report.write_problems()
    assert "and 16 more, all in" in report.text()
    listing = root / "ADEChallengeData2016" / "annotations_detectron2" / "preparation_problems.txt"
    assert len(listing.read_text().splitlines()) == len(report.problems) == 28


def test_an_image_turned_by_its_exif_tag_has_the_turned_size(root):
    path = root / "ADEChallengeData2016" / "images" / "training" / "ADE_train_00000001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    ((name, what),) = [entry for entry in problems(run(root)) if entry[0].startswith("ADE")]
    assert name == "ADE_train_00000001.png" and what.endswith("labels of 32 x 24 pixels for an image of 24 x 32")


def test_a_folder_that_cannot_be_written_is_explained(root, capsys):
    (root / "ADEChallengeData2016" / "annotations_detectron2").write_text("a file")
    with pytest.raises(SystemExit, match="2"):
        main(root)
    assert "annotations_detectron2" in capsys.readouterr().err


@pytest.mark.parametrize("raw", [[[7]], [[-1]], [[0.5]], [[3]]])
def test_a_label_table_refuses_what_it_does_not_know(raw):
    table = LabelTable({0: 255, 4: 0, 5: 1}, num_classes=2)
    assert table.apply(np.array([[0, 4.0, 5]])).tolist() == [[255, 0, 1]]
    with pytest.raises(ValueError, match=rf"label ids {raw[0][0]} do not occur"):
        table.apply(np.array(raw))


@pytest.mark.parametrize("workers", ["0", "-2"])
def test_workers_are_positive(root, workers, capsys):
    with pytest.raises(SystemExit):
        main(root, "--workers", workers)
    assert "is not a positive number" in capsys.readouterr().err


@pytest.mark.slow
def test_the_progress_bar_tells_the_time_that_remains(root):
    script = ROOT / "datasets" / "prepare_ade20k_sem_seg.py"
    command = [sys.executable, str(script), "--root", str(root), "--workers", "1", "--partial"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ADE20K: 100%" in done.stderr and "6/6 [00:00<00:00" in done.stderr
