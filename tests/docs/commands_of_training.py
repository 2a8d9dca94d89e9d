"""Checks of the documented commands that train: on toy scenes, on ADE20K, on several machines, in steps."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands_of_setup import generates_toy_scenes
from tiny_settings import ADE20K, NARROW, TINY_INPUT, TINY_VIT, TRAIN, TWO_STEPS


def trains_on_toy_scenes(command, workspace):
    generates_toy_scenes("python datasets/generate_toy_scenes.py", workspace)
    return workspace.shell(command, {**TWO_STEPS, **workspace.own_output()})


def trains_under_torchrun(command, workspace):
    """With the module in place of its script, which an environment may lack."""
    generates_toy_scenes("python datasets/generate_toy_scenes.py", workspace)
    workspace.shell(command.replace("torchrun ", "python -m torch.distributed.run ", 1), trained_by("torchrun"))
    require_two_processes(workspace.folder / "output" / "torchrun")


def trains_on_slurm(command, workspace):
    """The script as it is, on one machine that stands in for the cluster: `scontrol` and `srun` are two lines here."""
    cluster = workspace.folder / "cluster"
    cluster.mkdir()
    programs = {"scontrol": "echo localhost", "srun": '"$@"', "torchrun": 'python -m torch.distributed.run "$@"'}
    for name, line in programs.items():
        (cluster / name).write_text(f"#!/bin/sh\n{line}\n")
        (cluster / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = f"SLURM_JOB_NODELIST=x SLURM_JOB_ID=7 SLURM_JOB_NUM_NODES=1 SLURM_GPUS_ON_NODE=2 MASTER_PORT={port}"
    script = re.sub(r"^sbatch (--\S+ \d+ )*", "bash ", command)
    overrides = {**TINY_INPUT, **TINY_VIT, **trained_by("slurm")}
    workspace.shell(f'PATH="{cluster}:$PATH" {job} {script}', overrides)
    require_two_processes(workspace.folder / "output" / "slurm")


def trained_by(name):
    return {**TWO_STEPS, "OUTPUT_DIR": f"output/{name}"}


def require_two_processes(folder):
    assert "World size: 2" in (folder / "log.txt").read_text(encoding="utf-8")
    assert (folder / "model_final.pth").is_file() and (folder / "log.txt.rank1").is_file()


def on_one_cpu(command):
    return re.sub(r"--num-gpus \d+", "--num-gpus 1", command)


# Batch, learning rate and iterations that the commands about batches come to: one iteration of 16 images, one process.
SCALED = {
    r"--num-gpus 1 .*512\.yaml": (2, 2.5e-6, 8),
    r".*_1gpu\.yaml .*REFERENCE_WORLD_SIZE 4": (4, 5e-6, 4),
    r".*REFERENCE_WORLD_SIZE 2": (8, 1e-5, 2),
}


def trains_on_ade20k(command, workspace):
    overrides = {**TINY_INPUT, **TINY_VIT, **TWO_STEPS}
    scaled = [outcome for pattern, outcome in SCALED.items() if re.search(rf"{pattern} OUTPUT_DIR \S+$", command)]
    if scaled:
        del overrides["SOLVER.REFERENCE_WORLD_SIZE"]
        overrides |= {"SOLVER.MAX_ITER": "1", "SOLVER.IMS_PER_BATCH": "16", "TEST.EVAL_PERIOD": "0"}
        folder = workspace.own_output()
        workspace.shell(on_one_cpu(command), {**overrides, **folder})
        log = workspace.log_of(folder["OUTPUT_DIR"])
        found = re.search(r"batch_size=(\d+), learning_rate=([\d.e-]+), max_iter=(\d+)", log)
        assert [float(number) for number in found.groups()] == pytest.approx(scaled[0])
    else:
        folder = {} if "OUTPUT_DIR" in command else workspace.own_output()
        workspace.once(command, lambda: workspace.shell(on_one_cpu(command), {**overrides, **folder}))


def resumes_on_ade20k(command, workspace):
    """As if the run had been interrupted after the first of its two iterations."""
    trains_on_ade20k(command.replace(" --resume", ""), workspace)
    (workspace.folder / "output" / "ade20k_vit_base" / "last_checkpoint").write_text("model_0000000.pth")
    workspace.shell(on_one_cpu(command), {**TINY_INPUT, **TINY_VIT, **TWO_STEPS})
    assert "Starting training from iteration 1" in workspace.log_of("output/ade20k_vit_base")


def trains_on_two_machines(command, workspace):
    """Both machines are this one; either command starts both."""
    ranks = [re.sub(r"--machine-rank \d", f"--machine-rank {rank}", on_one_cpu(command)) for rank in (0, 1)]

    def start_both():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        overrides = {**TINY_INPUT, **TINY_VIT, **TWO_STEPS}
        with ThreadPoolExecutor(2) as pool:
            calls = [re.sub(r"tcp://\S+", url, rank) for rank in ranks]
            folders = [{"OUTPUT_DIR": f"output/machine{rank}"} for rank in (0, 1)]
            list(pool.map(lambda call, folder: workspace.shell(call, {**overrides, **folder}), calls, folders))

    workspace.once(tuple(ranks), start_both)
    assert (workspace.folder / "output" / "machine0" / "model_best.pth").is_file()
    assert not (workspace.folder / "output" / "machine1" / "model_final.pth").exists()


CONTINUAL_RUN = (
    "python projects/SegViT/train_continual.py --config-file projects/SegViT/configs/continual/camvid_7-4.yaml "
    "--method continual finetune joint"
)


def trains_all_steps(command, workspace):
    steps = {"MODEL.SEGVIT.CONTINUAL.ITERATIONS": "[1,1]", **NARROW}
    workspace.once(command, lambda: workspace.shell(command, {**TINY_INPUT, **TWO_STEPS, **steps}))
    output = workspace.folder / "output" / "continual" / "camvid_7-4"
    assert (output / "report.png").is_file() and (output / "joint" / "step_1.pth").is_file()


def evaluates_a_step(command, workspace):
    trains_all_steps(CONTINUAL_RUN, workspace)
    workspace.shell(command)
    folder = Path(re.search(r"--config-file (\S+)", command)[1]).parent
    assert "mIoU_base" in workspace.log_of(folder)


# Regular expression of a whole command -> the check that runs it.
COVERAGE = {
    r"python projects/SegViT/train_continual\.py .*": trains_all_steps,
    r"python projects/SegViT/train_net\.py --eval-only --config-file output/continual/.*": evaluates_a_step,
    TRAIN
    + r"(--resume )?--config-file \S+/toy_scenes\.yaml( SOLVER\.ACCUM_STEPS 2 OUTPUT_DIR \S+)?": trains_on_toy_scenes,
    r"torchrun .*/toy_scenes\.yaml OUTPUT_DIR \S+": trains_under_torchrun,
    r"sbatch .*": trains_on_slurm,
    TRAIN + r"--resume .*" + ADE20K + ".*": resumes_on_ade20k,
    TRAIN + r".*--machine-rank \d .*" + ADE20K + r" OUTPUT_DIR \S+": trains_on_two_machines,
    TRAIN + r"(--num-gpus \d )?" + ADE20K + ".*": trains_on_ade20k,
}
