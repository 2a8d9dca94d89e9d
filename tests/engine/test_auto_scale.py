"""A recipe on another number of processes, and a batch size that was changed without its learning rate."""

import pytest

from helpers.repository import CONFIGS
from segvit.d2 import load_config
from segvit.engine.auto_scale import scale_to_processes, unscaled_batch

BASE = CONFIGS / "Base-SegViT.yaml"
EIGHT = ["SOLVER.REFERENCE_WORLD_SIZE", "8"]


def warning(path, *opts):
    return unscaled_batch(path, opts, load_config(path, opts))


@pytest.mark.parametrize(("processes", "scale"), [(1, 1 / 8), (3, 3 / 8), (8, 1), (16, 2)])
def test_everything_follows_the_processes(processes, scale):
    solver = scale_to_processes(load_config(BASE, EIGHT), processes).SOLVER
    assert 16 * scale == solver.IMS_PER_BATCH
    assert pytest.approx(2e-5 * scale) == solver.BASE_LR
    assert (round(160_000 / scale), round(1500 / scale)) == (solver.MAX_ITER, solver.WARMUP_ITERS)


@pytest.mark.parametrize(("processes", "iterations"), [(1, [0, 48_000]), (8, [0, 6000]), (16, [0, 3000])])
def test_the_iterations_of_continual_steps_follow_the_processes(processes, iterations):
    opts = [*EIGHT, "MODEL.SEGVIT.CONTINUAL.PROTOCOL", "100-50", "MODEL.SEGVIT.CONTINUAL.ITERATIONS", "[0,6000]"]
    scaled = scale_to_processes(load_config(BASE, opts), processes)
    assert iterations == scaled.MODEL.SEGVIT.CONTINUAL.ITERATIONS
    assert "MODEL.SEGVIT.CONTINUAL.ITERATIONS [0,12000]" in warning(BASE, *opts, "SOLVER.IMS_PER_BATCH", "8")


def test_a_period_of_one_stays_one():
    """Scaled to 8 times as many processes, Detectron2 rounds it to 0, which means never."""
    opts = ["SOLVER.REFERENCE_WORLD_SIZE", "1", "TEST.EVAL_PERIOD", "2", "SOLVER.CHECKPOINT_PERIOD", "1"]
    scaled = scale_to_processes(load_config(BASE, opts), 8)
    assert (scaled.TEST.EVAL_PERIOD, scaled.SOLVER.CHECKPOINT_PERIOD) == (1, 1)
    assert scale_to_processes(load_config(BASE, [*opts, "TEST.EVAL_PERIOD", "0"]), 8).TEST.EVAL_PERIOD == 0


def test_a_scaled_config_is_read_again(tmp_path):
    """Its STEPS, which no schedule reads, must not count as changed."""
    (tmp_path / "config.yaml").write_text(scale_to_processes(load_config(BASE, EIGHT), 2).dump())
    assert load_config(tmp_path / "config.yaml").SOLVER.IMS_PER_BATCH == 4


def test_scaling_twice_changes_nothing():
    once = scale_to_processes(load_config(BASE, EIGHT), 2)
    assert scale_to_processes(once, 2) == once


def test_without_a_reference_nothing_is_scaled():
    cfg = load_config(BASE)
    assert scale_to_processes(cfg, 4) == cfg


@pytest.mark.parametrize(
    ("opts", "processes", "message"),
    [
        (
            [*EIGHT, "SOLVER.IMS_PER_BATCH", "4"],
            1,
            r"multiple of SOLVER\.REFERENCE_WORLD_SIZE 8.* for 4 images in all.*SOLVER\.REFERENCE_WORLD_SIZE 0",
        ),
        ([], 3, "multiple of the number of processes, 3"),
        (["SOLVER.IMS_PER_BATCH", "0"], 1, "0 must be at least 1"),
    ],
)
def test_a_batch_that_cannot_be_shared_out_is_refused(opts, processes, message):
    with pytest.raises(ValueError, match=message):
        scale_to_processes(load_config(BASE, opts), processes)


def test_a_batch_without_its_learning_rate_is_told_the_rest_of_the_recipe():
    text = warning(BASE, "SOLVER.IMS_PER_BATCH", "4")
    assert "SOLVER.IMS_PER_BATCH is 4, but SOLVER.BASE_LR 2e-05 was chosen for 16" in text
    assert text.endswith("add: SOLVER.BASE_LR 5e-06 SOLVER.MAX_ITER 640000 SOLVER.WARMUP_ITERS 6000")


def test_the_remedy_is_one():
    opts = ["SOLVER.IMS_PER_BATCH", "4", *EIGHT]
    remedy = warning(BASE, *opts).partition("add: ")[2].split()
    assert warning(BASE, *opts, *remedy) == ""
    cfg = load_config(BASE, [*opts, *remedy])
    assert scale_to_processes(cfg, 1) == cfg
    assert pytest.approx(2e-5 / 16) == cfg.SOLVER.BASE_LR / cfg.SOLVER.IMS_PER_BATCH
    assert cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH == 160_000 * 16


@pytest.mark.parametrize(
    "opts",
    [
        (),
        ("SOLVER.BASE_LR", "1e-4"),
        ("SOLVER.IMS_PER_BATCH", "16"),
        ("SOLVER.IMS_PER_BATCH", "4", "SOLVER.BASE_LR", "5e-6"),
        ("SOLVER.REFERENCE_WORLD_SIZE", "4"),
    ],
)
def test_a_recipe_and_a_chosen_learning_rate_are_left_alone(opts):
    assert warning(BASE, *opts) == ""


def test_files_on_top_of_a_recipe_count(tmp_path):
    smaller, own = tmp_path / "smaller.yaml", tmp_path / "own.yaml"
    smaller.write_text(f"_BASE_: {BASE}\nSOLVER:\n  IMS_PER_BATCH: 8\n")
    own.write_text("_BASE_: smaller.yaml\nSOLVER:\n  BASE_LR: 0.00001\n")
    assert "chosen for 16" in warning(smaller)
    assert warning(own) == ""
    assert "is 2, but SOLVER.BASE_LR 1e-05 was chosen for 8" in warning(own, "SOLVER.IMS_PER_BATCH", "2")
