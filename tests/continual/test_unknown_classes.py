"""train_continual.py --eval-only --model FOLDER: how unsure a model is about classes that it does not know."""

import numpy as np

from helpers.added_classes import refusal, run
from helpers.folders import edit


def relabel(folder, split, change):
    for path in (folder / "annotations" / split).iterdir():
        edit(path, lambda labels: change(labels).astype(np.uint8))


def test_images_of_the_evaluation_are_counted(write_model, folder, tmp_path):
    """The training images lack the unknown classes, grass and road (0 and 1), and do not matter."""
    relabel(folder, "train", lambda labels: np.full_like(labels, 2))
    run(write_model(), tmp_path / "unsure", "--eval-only", "DATASETS.FOLDER", folder)
    log, report = ((tmp_path / "unsure" / name).read_text() for name in ("log.txt", "report.txt"))
    assert "Unknown classes: grass, road; 2 of 2 images of folder_val have a pixel of them" in log
    assert report.startswith("folder_val: a model that does not know grass, road\n")


def test_images_without_unknown_classes_are_refused(write_model, folder, tmp_path, capsys):
    relabel(folder, "val", lambda labels: np.full_like(labels, 2))
    answer = refusal(capsys, write_model(), tmp_path / "unsure", "--eval-only", "DATASETS.FOLDER", folder)
    assert "no pixel of a class that the model does not know (grass, road)" in answer
    assert not (tmp_path / "unsure").exists()


def test_images_without_known_classes_are_refused(write_model, folder, tmp_path, capsys):
    relabel(folder, "val", lambda labels: np.where(labels == 2, 0, labels))
    answer = refusal(capsys, write_model(), tmp_path / "unsure", "--eval-only", "DATASETS.FOLDER", folder)
    assert "no pixel of a class that the model knows (sky, tree, wall)" in answer


def test_labels_alone_are_refused(write_model, folder, tmp_path, capsys):
    arguments = ("--eval-only", "DATASETS.FOLDER", folder, "TEST.LABELS_ONLY", "True")
    answer = refusal(capsys, write_model(), tmp_path / "unsure", *arguments)
    assert "TEST.LABELS_ONLY False" in answer


def test_an_evaluation_keeps_the_report_of_a_finished_addition(write_model, folder, tmp_path):
    old, data = write_model(), ("DATASETS.FOLDER", folder)
    run(old, tmp_path / "more", *data)
    before = (tmp_path / "more" / "report.json").read_text().partition('"steps"')[2]
    run(old, tmp_path / "more", "--eval-only", *data)
    assert (tmp_path / "more" / "report.json").read_text().partition('"steps"')[2] == before


def test_the_remedy_for_another_folder_is_one_that_helps(write_model, folder, tmp_path, capsys):
    old = write_model()
    run(old, tmp_path / "unsure", "--eval-only", "DATASETS.FOLDER", folder)
    answer = refusal(capsys, old, tmp_path / "unsure", "--eval-only", "--classes", "road", "DATASETS.FOLDER", folder)
    assert "choose another --output" in answer and "--overwrite" not in answer
