"""A step begins with the model of the step before, whose groups are those of its own config, in their order."""

from dataclasses import replace

import pytest

from helpers.added_classes import refusal, run
from segvit.checkpoint.run_record import RunRecord
from segvit.errors import UserError
from segvit.model_folder.files import read_model_folder

CLASSES = ("sky", "tree", "wall", "road")


def record(*groups, classes=CLASSES):
    return RunRecord({}, classes, groups)


def test_a_step_after_that_of_the_checkpoint_fits():
    step_0, step_1 = record([2, 0]), record([2, 0], [1])
    step_1.require_class_order(step_0.content(), "a.pth", same=False)
    step_1.require_class_order(step_1.content(), "a.pth", same=True)


@pytest.mark.parametrize("group", [[0, 2], [2, 3]])
def test_other_classes_or_another_order_are_refused(group):
    with pytest.raises(UserError, match=r"a\.pth learnt wall, sky in step 0, in this order.*CLASS_ORDER or GROUPS"):
        record(group, [1]).require_class_order(record([2, 0]).content(), "a.pth", same=False)


def test_a_skipped_step_is_refused():
    with pytest.raises(UserError, match=r"a\.pth is the model of step 0, and step 2 begins with that of step 1"):
        record([2, 0], [1], [3]).require_class_order(record([2, 0]).content(), "a.pth", same=False)


def test_groups_are_compared_by_name_where_ids_differ():
    """The ids of classes that a finished model has not learnt are given to others."""
    finished = record([2, 0])
    renumbered = replace(record([1, 0], [2], classes=("sky", "wall", "moon")), compares_ids=False)
    renumbered.require_class_order(finished.content(), "a.pth", same=True)
    with pytest.raises(UserError, match="learnt wall, sky in step 0"):
        replace(renumbered, groups=([0, 1], [2])).require_class_order(finished.content(), "a.pth", same=True)


def test_models_without_groups_are_not_compared():
    record([2, 0]).require_class_order({"classes": CLASSES}, "a.pth", same=True)
    RunRecord({}, CLASSES).require_class_order(record([2, 0]).content(), "a.pth", same=True)


def first_step(cfg):
    cfg.MODEL.SEM_SEG_HEAD.NAME = "ContinualHead"
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS, cfg.MODEL.SEGVIT.CONTINUAL.STEP = [[2, 0], [1]], 0


def test_the_card_names_classes_of_later_steps_as_not_learnt(write_model):
    card = (read_model_folder(write_model(first_step)).path / "README.md").read_text()
    assert "segmentation of 2 classes" in card and "sky, wall\n\nNot learnt yet, and never predicted: tree" in card


def test_a_model_folder_of_another_origin_is_not_taken_for_the_result(write_model, folder, tmp_path, capsys):
    output = tmp_path / "more"
    output.mkdir()
    (output / "log.txt").write_text("of something else")
    write_model().rename(output / "model")
    old = write_model()
    for options in ((), ("--overwrite",)):
        answer = refusal(capsys, old, output, *options, "DATASETS.FOLDER", folder)
        assert str(output) in answer and "choose another --output" in answer
    assert (output / "model").is_dir()


def test_another_computation_of_old_scores_is_refused(write_model, folder, tmp_path, capsys):
    old = write_model()
    answer = refusal(capsys, old, tmp_path / "more", "DATASETS.FOLDER", folder, "MODEL.VIT.FUSED_ATTENTION", "False")
    assert "MODEL.VIT.FUSED_ATTENTION" in answer and "would change the outputs" in answer
    assert run(old, tmp_path / "more", "DATASETS.FOLDER", folder).is_dir()
