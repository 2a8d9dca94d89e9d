"""`metrics_at`: the metrics that a run's model folder holds are those of the checkpoint's own evaluation."""

import json

import pytest

from segvit.engine.run_model import metrics_at


@pytest.mark.parametrize(("iteration", "miou"), [(1, 40.0), (3, 50.0), (2, None)])
def test_metrics_are_those_of_the_checkpoint_despite_an_unfinished_line(tmp_path, tiny_cfg, iteration, miou):
    tiny_cfg.SOLVER.MAX_ITER, tiny_cfg.DATASETS.TEST = 4, ("one",)
    # The evaluation after the last iteration is logged under one more; a killed run left half a line at the start.
    lines = [
        {"iteration": 1, "sem_seg/mIoU": 40.0},
        {"iteration": 2, "lr": 0.1},
        {"iteration": 4, "sem_seg/mIoU": 50.0},
    ]
    text = '{"iteration": 0, "sem_s\n' + "\n".join(map(json.dumps, lines))
    (tmp_path / "metrics.json").write_text(text, encoding="utf-8")
    expected = {} if miou is None else {"mIoU": miou}
    assert metrics_at(iteration, tmp_path, tiny_cfg) == expected


@pytest.mark.parametrize(("period", "miou"), [(4, 50.0), (0, 50.0), (5, None)])
def test_a_run_that_was_extended_keeps_the_metrics_of_its_first_end(tmp_path, tiny_cfg, period, miou):
    """Under 4 is the evaluation after the last of 4 iterations or, with a period of 5, the one after the fifth."""
    tiny_cfg.SOLVER.MAX_ITER, tiny_cfg.TEST.EVAL_PERIOD, tiny_cfg.DATASETS.TEST = 8, period, ("one",)
    (tmp_path / "metrics.json").write_text(json.dumps({"iteration": 4, "sem_seg/mIoU": 50.0}), encoding="utf-8")
    assert metrics_at(3, tmp_path, tiny_cfg) == ({} if miou is None else {"mIoU": miou})
