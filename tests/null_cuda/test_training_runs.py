"""Runs of train_net.py on CUDA: one wait of the host per step, and collectives on the GPU alone."""

import json
from pathlib import Path

import pytest

from helpers.repository import PROJECT
from null_device import run_on_null_device

PROGRAM = Path(__file__).with_name("training_runs.py")
CONFIG = PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml"
OPTIONS = ("MODEL.DEVICE", "cuda", "SOLVER.MAX_ITER", "15", "TEST.EVAL_PERIOD", "0", "DATALOADER.NUM_WORKERS", "0")


def run(null_device, toy_scenes_root, folder, world, *options):
    environment = null_device | {"DETECTRON2_DATASETS": str(toy_scenes_root)}
    arguments = ["--config-file", str(CONFIG), *OPTIONS, "OUTPUT_DIR", str(folder / "run"), *options]
    result = json.loads(run_on_null_device(environment, PROGRAM, str(world), *arguments))
    assert (folder / "run" / "model_final.pth").is_file() and len(result["steps"]) == 2
    return result


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["1", "2"])
def test_one_process_waits_once_in_a_step(null_device, toy_scenes_root, tmp_path, parts):
    options = ("SOLVER.IMS_PER_BATCH", "4", "SOLVER.ACCUM_STEPS", parts)
    for step in run(null_device, toy_scenes_root, tmp_path, 1, *options)["steps"]:
        assert step["waits"] <= 1, step["wait_lines"]


@pytest.mark.slow
def test_one_of_eight_processes_waits_once_and_sends_from_the_gpu(null_device, toy_scenes_root, tmp_path):
    result = run(null_device, toy_scenes_root, tmp_path, 8, "SOLVER.IMS_PER_BATCH", "16")
    for step in result["steps"]:
        assert step["waits"] <= 1, step["wait_lines"]
    assert result["ddp"] == {"gradient_as_bucket_view": True, "static_graph": True}
    collectives = result["collectives"]
    assert collectives["bucket on cuda"] >= 15
    assert not [name for name in collectives if " on cpu" in name or " on list" in name], collectives
    # Objects are pickled and sent through main memory: at the start only.
    objects = {name: count for name, count in collectives.items() if "objects" in name}
    assert sum(objects.values()) <= 2, objects
