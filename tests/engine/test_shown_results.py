"""Printed results of one and of several test sets: metrics and files at the end of a command, and the progress bar."""

import logging
from types import SimpleNamespace

import pytest

from segvit.config.defaults import get_segvit_cfg
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.run_setup import show_result

METRICS = {"mIoU": 41.5, "mACC": 50.0, "pACC": 60.0}
ONE = {"sem_seg": METRICS}
TWO = {"a_val": {"sem_seg": METRICS}, "b_val": {"sem_seg": METRICS | {"mIoU": 7.25}}}


@pytest.mark.parametrize("results, folders", [(ONE, [""]), (TWO, ["a_val", "b_val"])])
def test_the_metrics_and_files_of_each_test_set_are_shown(tmp_path, caplog, results, folders):
    cfg = get_segvit_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    files = [tmp_path / folder / "sem_seg_evaluation.json" for folder in folders]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    with caplog.at_level(logging.INFO):
        show_result(cfg, results, trained=False)
    assert "mIoU 41.50" in caplog.text and ("mIoU 7.25" in caplog.text) is (results is TWO)
    assert all(str(file) in caplog.text for file in files)


@pytest.mark.parametrize("names", [["sem_seg/mIoU"], ["a_val/sem_seg/mIoU", "b_val/sem_seg/mIoU"]])
def test_the_bar_shows_the_first_test_set(names):
    latest = {"total_loss": (2.0, 5), **{name: (40.0 + index, 5) for index, name in enumerate(names)}}
    bar = ProgressBar()
    bar.trainer = SimpleNamespace(max_iter=10, start_iter=0, storage=SimpleNamespace(latest=lambda: latest))
    bar.before_train()
    bar.after_step()
    assert "mIoU=40.00" in bar._bar.postfix and "loss=2.00" in bar._bar.postfix
    bar.after_train()
