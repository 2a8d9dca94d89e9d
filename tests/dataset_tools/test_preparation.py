"""`prepare`, which all prepare scripts share, on a replica of ADE20K: repeated and interrupted runs, damaged files."""

import argparse
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.dataset_replicas import write_ade20k
from segvit.dataset_tools.preparation import prepare
from segvit.dataset_tools.preparation.benchmarks import ade20k
from segvit.dataset_tools.preparation.command import run_command
from segvit.dataset_tools.preparation.distribution import LabelTable
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


def test_a_complete_benchmark_is_prepared(root, capfd):
    assert main(root) == 0
    output, _ = capfd.readouterr()
    assert "training: 4 of 4 images (4 written, 0 kept)" in output
    assert "validation: 2 of 2 images" in output
    assert "missing" not in output and "wrong" not in output
    stems = [f"ADE_train_{number:08d}" for number in (1, 2, 3, 4)] + [f"ADE_val_{number:08d}" for number in (1, 2)]
    assert sorted(Path(name).stem for name in written(root)) == [*stems, "prepared"]


def test_sha256sum_reads_the_checksums(root):
    run(root)
    command = ["sha256sum", "--check", "--strict", "prepared.sha256"]
    shutil.which(command[0]) or pytest.skip("no sha256sum")
    folder = root / "ADEChallengeData2016" / "annotations_detectron2"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK\n") == 6
    (folder / "training" / "ADE_train_00000001.png").write_bytes(b"")
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 1


def test_a_second_run_writes_nothing(root):
    first = run(root)
    before, stamps = written(root), times(root)
    second = run(root)
    assert written(root) == before and times(root) == stamps
    assert [(split.written, split.kept) for split in second.splits] == [(0, 4), (0, 2)]
    assert np.array_equal(first.pixels, second.pixels) and second.is_complete()


def test_force_writes_every_file_again(root):
    run(root)
    before = written(root)
    report = run(root, force=True)
    assert [(split.written, split.kept) for split in report.splits] == [(4, 0), (2, 0)]
    assert written(root) == before


@pytest.mark.parametrize("damage", ["altered", "deleted", "newer source", "no checksums", "other version"])
def test_changed_or_outdated_files_are_written_again(root, damage):
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
    """Reads `after` label maps, then raises KeyboardInterrupt."""

    def __init__(self, after):
        self.left = after

    def __call__(self, path):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return read_index_png(path)


def test_an_interrupted_run_continues_to_the_same_result(root, tmp_path_factory, capsys):
    complete = tmp_path_factory.mktemp("complete")
    write_ade20k(complete)
    run(complete)

    def find(options):
        return replace(ade20k.find_ade20k(options.root), read=Interrupted(after=3))

    assert main(root, find=find) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert sum(name.endswith(".png") for name in written(root)) == 3
    assert "prepared.sha256" not in written(root)
    # What a killed process leaves: a partial file, and a partial line in the journal.
    folder = root / "ADEChallengeData2016" / "annotations_detectron2"
    (folder / "training" / ".ADE_train_00000004.png.1234.unfinished").write_bytes(b"\x89PNG")
    with (folder / ".prepared.sha256.journal").open("a") as journal:
        journal.write("0123456789abcdef")
    report = run(root)
    assert [(split.written, split.kept) for split in report.splits] == [(1, 3), (2, 0)]
    assert written(root) == written(complete)


def test_several_processes_write_the_same_files(root, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    write_ade20k(alone)
    run(alone)
    assert run(root, workers=2).is_complete()
    assert written(root) == written(alone)


def exit_at_once(_):
    os._exit(1)


def test_a_killed_worker_is_named(root, capsys):
    def find(options):
        return replace(ade20k.find_ade20k(options.root), read=exit_at_once)

    with pytest.raises(SystemExit, match="2"):
        main(root, "--workers", "2", find=find)
    assert "a worker process was killed" in capsys.readouterr().err


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save_in_colour(path):
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(path)


def enlarge(path):
    Image.fromarray(np.zeros((25, 32), np.uint8)).save(path)


def use_an_unknown_id(path):
    Image.fromarray(np.full((24, 32), 151, np.uint8)).save(path)


DAMAGES = {
    "truncated image": ("images", "jpg", truncate, r"not a readable image \(.*[Tt]runcated"),
    "empty image": ("images", "jpg", lambda path: path.write_bytes(b""), "not a readable image"),
    "truncated labels": ("annotations", "png", truncate, "not a readable image"),
    "coloured labels": ("annotations", "png", save_in_colour, "has 3 channels"),
    "labels of another size": ("annotations", "png", enlarge, "labels of 32 x 25 pixels for an image of 32 x 24"),
    "unknown id": ("annotations", "png", use_an_unknown_id, "label ids 151 do not occur in this dataset"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_named_and_all_others_prepared(root, capfd, damage):
    kind, extension, damage_file, message = DAMAGES[damage]
    path = root / "ADEChallengeData2016" / kind / "training" / f"ADE_train_00000003.{extension}"
    sound = path.read_bytes()
    damage_file(path)
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


def test_a_missing_dataset_lists_the_downloads(tmp_path, capfd):
    assert main(tmp_path / "nowhere") == 1
    output, errors = capfd.readouterr()
    assert "missing: 6" in output and "unpack http://data.csail.mit.edu" in output
    assert "Traceback" not in errors and "not complete" in errors
    assert not (tmp_path / "nowhere").exists()
    assert main(tmp_path / "nowhere", "--partial") == 1


def test_partial_accepts_an_incomplete_dataset(tmp_path, capfd):
    write_ade20k(tmp_path, training=0, validation=1)
    assert main(tmp_path) == 1
    assert "1 images are prepared, the benchmark's validation split has 2" in capfd.readouterr().out
    assert main(tmp_path, "--partial") == 0


@pytest.mark.parametrize("kind, extension", [("images", "jpg"), ("annotations", "png")])
def test_files_without_a_partner_are_named(root, kind, extension):
    (root / "ADEChallengeData2016" / kind / "training" / f"ADE_train_00000003.{extension}").unlink()
    report = run(root)
    other = {"jpg": "png", "png": "jpg"}[extension]
    assert problems(report)[0][0] == f"ADE_train_00000003.{other}"
    assert not report.is_complete(allow_missing=True)


def test_an_unknown_file_among_the_results_is_named(root):
    stray = root / "ADEChallengeData2016" / "annotations_detectron2" / "validation" / "old.png"
    stray.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(stray)
    ((name, what),) = problems(run(root))
    assert name == "validation" and "without an image" in what and ": old; the two must" in what


def test_a_long_list_is_shortened_and_complete_in_its_file(root):
    for path in (root / "ADEChallengeData2016" / "annotations").glob("*/*.png"):
        path.write_bytes(b"")
    for number in range(20):
        (root / "ADEChallengeData2016" / "images" / "training" / f"x{number}.jpg").touch()
    report = run(root)
    report.write_problems()
    assert "and 16 more, all in" in report.text()
    listing = root / "ADEChallengeData2016" / "annotations_detectron2" / "preparation_problems.txt"
    assert len(listing.read_text().splitlines()) == len(report.problems) == 28


def test_sizes_are_compared_after_exif_rotation(root):
    path = root / "ADEChallengeData2016" / "images" / "training" / "ADE_train_00000001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    ((name, what),) = [problem for problem in problems(run(root)) if problem[0].startswith("ADE")]
    assert name == "ADE_train_00000001.png" and what.endswith("labels of 32 x 24 pixels for an image of 24 x 32")


def test_an_unwritable_folder_is_named(root, capsys):
    (root / "ADEChallengeData2016" / "annotations_detectron2").write_text("a file")
    with pytest.raises(SystemExit, match="2"):
        main(root)
    assert "annotations_detectron2" in capsys.readouterr().err


@pytest.mark.parametrize("raw", [[[7]], [[-1]], [[0.5]], [[3]]])
def test_a_label_table_refuses_unknown_ids(raw):
    table = LabelTable({0: 255, 4: 0, 5: 1}, colors=[(1, 2, 3), (4, 5, 6)])
    assert table.apply(np.array([[0, 4.0, 5]])).tolist() == [[255, 0, 1]]
    with pytest.raises(ValueError, match=rf"label ids {raw[0][0]} do not occur"):
        table.apply(np.array(raw))


@pytest.mark.parametrize("workers", ["0", "-2"])
def test_the_number_of_workers_must_be_positive(root, workers, capsys):
    with pytest.raises(SystemExit):
        main(root, "--workers", workers)
    assert "is not a positive number" in capsys.readouterr().err


def test_the_progress_bar_shows_the_remaining_time(root, capfd):
    assert main(root, "--partial") == 0
    errors = capfd.readouterr().err
    assert "ADE20K: 100%" in errors and re.search(r"6/6 \[00:0\d<00:00", errors)
