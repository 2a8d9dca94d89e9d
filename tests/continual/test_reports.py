"""Reports of continual segmentation: methods of earlier calls stay, and nothing is counted that has no pixel."""

import json

from segvit.config.loading import find_config
from segvit.continual.report import write_report
from segvit.continual.run import finished_results, step_configs
from segvit.continual.step_result import RESULT, StepResult
from segvit.d2 import load_config


def result(method, step, **changes):
    metrics = {"mIoU_all": 50.0, "mIoU_group0_alone": 60.0}
    values = {"groups": [["sky"], ["tree"]], "metrics": metrics, "confusion": [[100.0, 0.0], [0.0, 0.0]]}
    return StepResult(method=method, step=step, checkpoint="step.pth", **{**values, **changes})


def test_a_group_without_a_pixel_has_no_confusion_and_joint_training_forgets_nothing(tmp_path):
    text = write_report({"continual": [result("continual", 1)], "joint": [result("joint", 1)]}, tmp_path, title="a")
    continual, joint = (line.split() for line in text.splitlines() if line.startswith(("continual  ", "joint  ")))
    assert "0.000" in continual and "0.000" not in joint
    assert [line.split()[2:] for line in text.splitlines() if line.startswith("group 1")] == [["-", "-"]] * 2


def test_methods_that_have_finished_are_reported_again(tmp_path):
    cfg = load_config(find_config("continual/camvid_7-4"))
    assert finished_results(cfg, "joint", tmp_path) == []
    (step,) = step_configs(cfg, "joint", tmp_path)
    (tmp_path / "step_1").mkdir()
    write_report({"joint": [result("joint", 1)]}, tmp_path, title="a")
    content = (tmp_path / "report.json").read_text()
    (tmp_path / "step_1" / RESULT).write_text(json_of_step(content))
    assert finished_results(cfg, "joint", tmp_path) == [result("joint", 1)]
    assert str(tmp_path / "step_1") == step.OUTPUT_DIR


def json_of_step(report):
    """The result of the only step in the text of a report."""
    return json.dumps(json.loads(report)["steps"]["joint"][0])
