"""Every documented command works.

Every command line in a bash block of the documents must match an entry of COVERAGE, which says how it is tested. The
smoke runs execute the command in a subprocess, in a folder that links to the repository's own and holds tiny data sets;
what is changed about a command (sizes, iterations, a GPU count) is in this file.
"""

import re
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from documents import ROOT, commands
from PIL import Image
from workspace import Workspace

from helpers.dataset_replicas import (
    write_ade20k,
    write_coco_stuff_10k,
    write_pascal_json,
    write_pascal_mats,
    write_voc2010,
)
from helpers.folders import block_image, write_folder
from peers import PEERS
from segvit.analysis.from_config import build_random_model
from segvit.d2 import load_config
from segvit.inference.video import VideoWriter
from segvit.modeling.weights.official_checkpoint import to_official

COMMANDS = commands()

TINY_INPUT = {
    "MODEL.VIT.IMG_SIZE": "(32,48)",
    "INPUT.MIN_SIZE_TRAIN": "(32,)",
    "INPUT.MAX_SIZE_TRAIN": "48",
    "INPUT.MIN_SIZE_TEST": "32",
    "INPUT.MAX_SIZE_TEST": "48",
    "INPUT.CROP.SIZE": "[32,48]",
    "DATALOADER.NUM_WORKERS": "0",
}
TWO_STEPS = {
    "SOLVER.MAX_ITER": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.REFERENCE_WORLD_SIZE": "0",
    "SOLVER.WARMUP_ITERS": "1",
    "SOLVER.CHECKPOINT_PERIOD": "1",
    "TEST.EVAL_PERIOD": "2",
}
TINY_VIT = {
    "MODEL.DEVICE": "cpu",
    "MODEL.VIT.PRETRAINED": "",
    "MODEL.VIT.EMBED_DIM": "24",
    "MODEL.VIT.DEPTH": "2",
    "MODEL.VIT.NUM_HEADS": "2",
    "MODEL.VIT.OUT_INDICES": "(0,1)",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "('block1','block0')",
    "MODEL.SEGVIT.HIDDEN_DIM": "16",
    "MODEL.SEGVIT.NUM_HEADS": "2",
    "MODEL.SEGVIT.NUM_LAYERS": "1",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder for DETECTRON2_DATASETS with tiny CamVid and ADE20K: 4 training and 2 validation images each."""
    root = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    layouts = {
        "camvid": ("annotations", "train", "val", 11),
        "ADEChallengeData2016": ("annotations_detectron2", "training", "validation", 150),
    }
    for folder, (annotations, train, val, num_classes) in layouts.items():
        for split, count in ((train, 4), (val, 2)):
            for kind in ("images", annotations):
                (root / folder / kind / split).mkdir(parents=True)
            for index in range(count):
                picture = draw.integers(0, 256, (64, 96, 3), dtype=np.uint8)
                labels = draw.integers(0, num_classes, (4, 6), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
                labels[:4] = 255
                Image.fromarray(picture).save(root / folder / "images" / split / f"{index:04d}.jpg")
                Image.fromarray(labels).save(root / folder / annotations / split / f"{index:04d}.png")
    return root


def runs(command, workspace):
    return workspace.shell(command)


def runs_with_a_folder(command, workspace):
    return workspace.shell(re.sub(r"/path/to/\w+", str(workspace.folder), command))


def is_a_make_target(command, workspace):
    """`.ci/run` calls make; here only the target is checked."""
    target = command.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def is_in_the_makefile(command, workspace):
    """`make setup` runs it, with the environment's own Python, less output and the torch that is there."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = recipe.replace("$(PIP)", "python -m pip").replace("$(BIN)/", "")
    recipe = re.sub(r" --(quiet|constraint \S+)", "", recipe)
    assert command in recipe, f"{command!r} is not a step of `make setup`"


def needs_a_gpu(command, workspace):
    """`tests/benchmarks/test_gpu_proof.py` runs what it can without one; here only the file is checked."""
    assert (ROOT / command.split()[1]).is_file()


def names_the_virtual_environment(command, workspace):
    assert re.search(rf"^VENV := {re.escape(command.split()[1].split('/')[0])}$", (ROOT / "Makefile").read_text(), re.M)
    return workspace.shell(f"source {shlex.quote(sys.prefix)}/bin/activate") if sys.prefix != sys.base_prefix else None


def generates_toy_scenes(command, workspace):
    return workspace.once(command, lambda: workspace.shell(f"{command} --num-train 4 --num-val 2"))


def prepares_a_benchmark(command, workspace):
    """On a replica, which is only a part of the benchmark."""
    root = workspace.folder / re.sub(r"\W+", "_", command)
    if "ade20k" in command:
        write_ade20k(root)
    elif "coco" in command:
        write_coco_stuff_10k(root)
    else:
        voc = write_voc2010(root)
        write_pascal_mats(voc)
        write_pascal_json(voc)
    output = workspace.shell(f"{command} --root {shlex.quote(str(root))} --partial --workers 1")
    assert re.search(r"^  train\w*: 4 of \d+ images \(4 written", output, re.MULTILINE)
    assert ("from trainval_merged.json" in output) == ("--source json" in command)


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


CAMVID_RUN = (
    "OMP_NUM_THREADS=1 python projects/SegViT/train_net.py --num-gpus 2 "
    "--config-file projects/SegViT/configs/camvid/segvit_scratch_480x360.yaml"
)
RUN_FILES = [
    "config.yaml",
    "log.txt",
    "log.txt.rank1",
    "metrics.json",
    "model_0000000.pth",
    "last_checkpoint",
    "model_best.pth",
    "model_final.pth",
    "sem_seg_evaluation.json",
]


def trains_on_camvid(command, workspace):
    workspace.once(command, lambda: workspace.shell(command, {**TINY_INPUT, **TWO_STEPS}))
    written = {path.name for path in (workspace.folder / "output" / "camvid").iterdir()}
    assert written >= set(RUN_FILES)
    assert any(name.startswith("events.out.tfevents.") for name in written)


def reads_the_camvid_run(command, workspace):
    trains_on_camvid(CAMVID_RUN, workspace)
    return workspace.shell(command, TINY_INPUT)


def evaluates_camvid(command, workspace):
    assert "mIoU" in reads_the_camvid_run(command, workspace)


def evaluates_camvid_otherwise(command, workspace):
    """By windows, at several scales (fewer here), or with more to report."""
    trains_on_camvid(CAMVID_RUN, workspace)
    scales = {"TEST.AUG.MIN_SIZES": "(24,32)"} if "TEST.AUG" in command else {}
    folder = workspace.own_output()
    workspace.shell(command, {**TINY_INPUT, **scales, **folder})
    # Results of several scales have a folder of their own; the log holds both.
    assert workspace.log_of(folder["OUTPUT_DIR"]).count("copypaste: mIoU") == (2 if scales else 1)


def draws_camvid(command, workspace):
    output = re.search(r"--output (\S+\.png)", command)[1]
    if "--config-file" in command:
        reads_the_camvid_run(command, workspace)
    else:
        trains_on_camvid(CAMVID_RUN, workspace)
        workspace.shell(command)
    with Image.open(workspace.folder / output) as picture:
        assert min(picture.size) > 50


SHRUNK_PP_CONFIG = "projects/SegViT/configs/camvid/segvit_scratch_320x240_shrunk_pp.yaml"
SHRUNK_PP_RUN = f"OMP_NUM_THREADS=1 python projects/SegViT/train_net.py --config-file {SHRUNK_PP_CONFIG}"


def trains_small_on_camvid(command, workspace):
    narrow = {"MODEL.VIT.EMBED_DIM": "24", "MODEL.SEGVIT.HIDDEN_DIM": "12"}
    workspace.once(command, lambda: workspace.shell(command, {**TINY_INPUT, **TWO_STEPS, **narrow}))
    output = "camvid_320x240_shrunk_pp" if "shrunk_pp" in command else "camvid_320x240"
    assert (workspace.folder / "output" / output / "model_final.pth").is_file()


def looks_at_shrunk_pp(command, workspace):
    trains_small_on_camvid(SHRUNK_PP_RUN, workspace)
    images = re.sub(
        r"--input \S+", f"--input {workspace.environment['DETECTRON2_DATASETS']}/camvid/images/val/*.jpg", command
    )
    narrow = {"MODEL.VIT.EMBED_DIM": "24", "MODEL.SEGVIT.HIDDEN_DIM": "12"}
    output = workspace.shell(images, {**TINY_INPUT, **narrow})
    if "evaluate_edges" in command:
        assert "average_precision" in output
    else:
        assert len(list((workspace.folder / re.search(r"--output (\S+)", command)[1]).glob("*.png"))) == 2


def inspects_the_camvid_run(command, workspace):
    """The server would not end; `--inspect` reads the same folder and does."""
    trains_on_camvid(CAMVID_RUN, workspace)
    assert "sem_seg/mIoU" in workspace.shell(command.replace("tensorboard", "tensorboard --inspect"))


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


def times_a_tiny_model(command, workspace):
    """Not compiled, which takes a C++ compiler; tests/analysis holds that there is one graph."""
    command = re.sub(r" --image \S+| MODEL.WEIGHTS \S+| --compile", "", command)
    command = re.sub(rf" ({'|'.join(PEERS)})\b", "", command)  # of full size, from a package that users may not have
    shorter = re.sub(r"--rounds \d+", "--rounds 2", re.sub(r"--input-size \d+ \d+", "--input-size 64 64", command))
    output = workspace.shell(shorter, {**TINY_VIT, "MODEL.VIT.IMG_SIZE": "(64,64)", "MODEL.VIT.REDUCTION_BLOCK": "1"})
    names = re.search(r"--against ((?:(?!--)\S+ )+)", command)[1].split()
    assert names and all(Path(name).stem in output for name in names)


def times_what_surrounds_a_tiny_model(command, workspace):
    shorter = re.sub(r"--rounds \d+", "--rounds 1", command).replace(" mapper ", " mapper --rounds 1 --images 2 ")
    shorter = re.sub(r"--present [\d ]+(--classes [\d ]+)?", "--present 10 ", shorter)
    output = workspace.shell(shorter, {**TINY_VIT, **TINY_INPUT})
    assert re.search(r"^(one worker|(pruned, )?\d+ of 150 classes|evaluator, of labels) +[\d.]+", output, re.MULTILINE)


def times_a_trained_model(command, workspace):
    """A trained model's documented command, with that of the demo; one on random weights as it is, but small."""
    workspace.once("the demo's model", lambda: prepare_the_demo(workspace))
    shorter = re.sub(r"--rounds \d+", "--rounds 1", command).replace("image.jpg", "photo.jpg")
    shorter = re.sub(r"--images \S+", "--images photo.jpg", shorter)
    if "MODEL.WEIGHTS" in command:
        shorter = re.sub(r"(--config-file) \S+(.*MODEL\.WEIGHTS) \S+", rf"\1 {DEMO_CONFIG}\2 {DEMO_MODEL}", shorter)
        output = workspace.shell(shorter)
    else:
        output = workspace.shell(shorter, {**TINY_VIT, **TINY_INPUT})
    assert re.search(r"^(bf16|predictor, stream) +[\d.]+", output, re.MULTILINE)


CONTINUAL_RUN = (
    "python projects/SegViT/train_continual.py --config-file projects/SegViT/configs/continual/camvid_7-4.yaml "
    "--method continual finetune joint"
)


def trains_all_steps(command, workspace):
    steps = {"MODEL.SEGVIT.CONTINUAL.ITERATIONS": "[1,1]", "MODEL.SEGVIT.HIDDEN_DIM": "12"}
    workspace.once(command, lambda: workspace.shell(command, {**TINY_INPUT, **TWO_STEPS, **steps}))
    output = workspace.folder / "output" / "continual" / "camvid_7-4"
    assert (output / "report.png").is_file() and (output / "joint" / "step_1.pth").is_file()


def evaluates_a_step(command, workspace):
    trains_all_steps(CONTINUAL_RUN, workspace)
    workspace.shell(command)
    folder = Path(re.search(r"--config-file (\S+)", command)[1]).parent
    assert "mIoU_base" in workspace.log_of(folder)


def compares_backbones(command, workspace):
    generates_toy_scenes("python datasets/generate_toy_scenes.py", workspace)
    output = workspace.shell(command, TWO_STEPS)
    names = re.search(r"--backbones ([a-z_\d ]+)", command)[1].split()
    assert names and all(re.search(rf"^{name} +[\d.]+", output, re.MULTILINE) for name in names)


def runs_ablations(command, workspace):
    """Two of them; that every one trains is tested in tests/engine."""
    generates_toy_scenes("python datasets/generate_toy_scenes.py", workspace)
    if "--run" not in command:
        command = command.replace("run_ablations.py", "run_ablations.py --run atm_mask eqd_qu")
    narrow = {"MODEL.VIT.EMBED_DIM": "24", "MODEL.SEGVIT.HIDDEN_DIM": "12"}
    command = re.sub(r"--run decoder qd --seeds 1 2 3", "--run atm_mask qd --seeds 1 2", command)
    output = workspace.shell(command, {**TINY_INPUT, **TWO_STEPS, **narrow})
    names = re.search(r"--run ([a-z_ ]+)", command)[1].split()
    assert names and all(re.search(rf"^{name} +[\d.]+", output, re.MULTILINE) for name in names)


def converts_a_tiny_official_checkpoint(command, workspace):
    """The commands on a model of two narrow blocks, whose official checkpoint is made first."""
    config = "projects/SegViT/configs/ade20k/segvit_vit_large_640.yaml"
    tiny = workspace.folder / "tiny.yaml"

    def make_official_checkpoint():
        cfg = load_config(ROOT / config, [item for pair in {**TINY_INPUT, **TINY_VIT}.items() for item in pair])
        tiny.write_text(cfg.dump(), encoding="utf-8")
        torch.save(to_official({"model": build_random_model(cfg).state_dict()}), workspace.folder / "official.pth")
        (workspace.folder / "output" / "official").mkdir(parents=True, exist_ok=True)
        workspace.shell(f"{CONVERT}official.pth output/official/model.pth --config-file {tiny}")

    workspace.once("official checkpoint", make_official_checkpoint)
    if command.startswith(CONVERT):
        overwrite = "" if "--overwrite" in command else " --overwrite"
        assert "150 classes" in workspace.shell(command.replace(config, str(tiny)) + overwrite)
    else:
        assert "mIoU" in workspace.shell(command.replace(config, str(tiny)), workspace.own_output())


def with_a_folder(command, workspace):
    """The command on a small folder of a user's own, with a third split."""

    def write():
        folder = write_folder(workspace.folder / "mine")
        for kind in ("images", "annotations"):
            shutil.copytree(folder / kind / "val", folder / kind / "test")
        for path in (folder / "images" / "test").iterdir():  # the same images as in val would be an error
            Image.fromarray(block_image(ord(path.stem) + 100)).save(path)
        return folder

    folder = workspace.once("own folder", write)
    new_annotations = workspace.folder / "new_annotations"
    new_folder = workspace.folder / "new_folder"
    command = command.replace("/path/to/new_folder", str(new_folder))
    return command.replace("/path/to/folder", str(folder)).replace("/path/to/new_annotations", str(new_annotations))


def checks_data(command, workspace):
    output = workspace.shell(with_a_folder(command, workspace))
    assert "contact_sheet.png" in output and ("nothing found" in output or "errors: 0" in output)
    if "--convert-colors" in command:
        assert sorted(path.name for path in (workspace.folder / "new_annotations").iterdir()) == [
            "test",
            "train",
            "val",
        ]


def trains_on_a_folder(command, workspace):
    overrides = {**TINY_INPUT, **TWO_STEPS, **({} if "scratch" in command else TINY_VIT)}
    command = on_one_cpu(with_a_folder(command, workspace))
    workspace.once(command, lambda: workspace.shell(command, overrides))


CUSTOM_RUN = (
    "OMP_NUM_THREADS=1 python projects/SegViT/train_net.py --num-gpus 2 "
    "--config-file projects/SegViT/configs/custom/segvit_scratch.yaml DATASETS.FOLDER /path/to/folder"
)


def predicts_for_a_folder(command, workspace):
    trains_on_a_folder(CUSTOM_RUN, workspace)
    workspace.shell(command)
    written = re.search(r"OUTPUT_DIR (\S+)|--output (\S+)", command)
    run = Path(workspace.folder, (written and (written[1] or written[2])) or "output/custom_scratch")
    pictures = [run] if run.suffix == ".png" else list(run.glob("predictions/colors/*.png"))
    assert len(pictures) == (1 if run.suffix == ".png" else 2)


DEMO_CONFIG = "projects/SegViT/configs/quick_schedules/toy_scenes.yaml"
DEMO_MODEL = "output/demo/model_best.pth"


def prepare_the_demo(workspace):
    """A model of random weights in place of the trained one, and pictures and a video for it."""
    cfg = load_config(ROOT / DEMO_CONFIG)
    images = workspace.folder / "output/demo/datasets/toy_scenes/images/val"
    images.mkdir(parents=True, exist_ok=True)
    torch.save({"model": build_random_model(cfg).state_dict()}, workspace.folder / DEMO_MODEL)
    for path in (images / "00000.jpg", workspace.folder / "photo.jpg"):
        Image.fromarray(block_image(0)).save(path)
    with VideoWriter(workspace.folder / "drive.mp4", fps=25) as writer:
        for seed in range(3):
            writer.write(block_image(seed))


def runs_the_demo(command, workspace):
    """With a video file in place of the camera."""
    workspace.once("the demo's model", lambda: prepare_the_demo(workspace))
    output = workspace.folder / "segmented" / f"{zlib.crc32(command.encode()):x}"
    workspace.shell(command.replace("--webcam", "--webcam drive.mp4").replace("output/segmented", str(output)))
    written = {path.relative_to(output).as_posix() for path in output.rglob("*.*")}
    if "--webcam" in command:
        assert written == {"overlays/webcam.mp4"}
    elif "drive.mp4" in command:
        assert {"overlays/drive.mp4", "overlays/photo.png", "labels/photo.png"} <= written
    else:
        assert {f"{kind}/00000.png" for kind in ("labels", "colors", "overlays")} <= written


def serves_the_page(command, workspace):
    """On a free port; the page is asked for once."""
    workspace.once("the demo's model", lambda: prepare_the_demo(workspace))
    server = subprocess.Popen(
        ["bash", "-c", f"exec {command} --port 0"],
        cwd=workspace.folder,
        env=workspace.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            address = server.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=200) as page:
                assert b"SegViT" in page.read()
        finally:
            server.terminate()
            server.wait(200)


EXPORT_DEMO = next(command for command in COMMANDS if "tools/export_model.py" in command)


def exports_the_demo(command, workspace):
    workspace.once("the demo's model", lambda: prepare_the_demo(workspace))
    exported = workspace.once(EXPORT_DEMO, lambda: workspace.shell(EXPORT_DEMO))
    assert "labels agree on" in exported
    if command != EXPORT_DEMO:
        workspace.shell(command)
        assert Image.open(workspace.folder / "output/demo/labels.png").mode == "P"


def compares_an_export(command, workspace):
    trains_small_on_camvid(SHRUNK_PP_RUN.replace("_shrunk_pp", ""), workspace)
    pictures = f"{workspace.environment['DETECTRON2_DATASETS']}/camvid/images/val"
    narrow = {"MODEL.VIT.EMBED_DIM": "24", "MODEL.SEGVIT.HIDDEN_DIM": "12"}
    narrow |= {"INPUT.MIN_SIZE_TEST": "48", "INPUT.MAX_SIZE_TEST": "72"}  # more than two patches in both directions
    output = workspace.shell(re.sub(r"--images \S+", f"--images {pictures}", command), {**TINY_INPUT, **narrow})
    assert re.search(r"^2 images: labels agree on .* ratio [\d.]+", output, re.MULTILINE)


CONVERT = "python projects/SegViT/tools/convert_official_checkpoint.py "
TRAIN = r"python projects/SegViT/train_net\.py "
ADE20K = r"--config-file projects/SegViT/configs/ade20k/\S+\.yaml"
# The first pattern that matches a whole command says how it is covered.
COVERAGE = {
    r"python projects/SegViT/train_continual\.py .*": trains_all_steps,
    r"python projects/SegViT/train_net\.py --eval-only --config-file output/continual/.*": evaluates_a_step,
    r"make (demo|test|setup|lint)": is_a_make_target,
    r"source \S+/bin/activate": names_the_virtual_environment,
    r"export DETECTRON2_DATASETS=\S+": runs_with_a_folder,
    r"python -m pip install .*": is_in_the_makefile,
    r"python scripts/install_detectron2\.py": runs,
    r"DETECTRON2_SOURCE=\S+ python scripts/install_detectron2\.py": runs_with_a_folder,
    r'python -c "import torch, detectron2.*"': runs,
    r"python datasets/generate_toy_scenes\.py": generates_toy_scenes,
    r"python datasets/prepare_\w+\.py( --source json)?": prepares_a_benchmark,
    TRAIN
    + r"(--resume )?--config-file \S+/toy_scenes\.yaml( SOLVER\.ACCUM_STEPS 2 OUTPUT_DIR \S+)?": trains_on_toy_scenes,
    r"torchrun .*/toy_scenes\.yaml OUTPUT_DIR \S+": trains_under_torchrun,
    r"sbatch .*": trains_on_slurm,
    re.escape(CAMVID_RUN): trains_on_camvid,
    r"OMP_NUM_THREADS=1 " + TRAIN + r"--config-file \S+/camvid/segvit_scratch_320x240\S*\.yaml": trains_small_on_camvid,
    r"python projects/SegViT/tools/(draw_tokens|evaluate_edges)\.py .*": looks_at_shrunk_pp,
    TRAIN + r"--eval-only --config-file \S+/camvid/\S+ MODEL\.WEIGHTS \S+": evaluates_camvid,
    TRAIN + r"--eval-only --config-file \S+/camvid/\S+ MODEL\.WEIGHTS \S+ TEST\..*": evaluates_camvid_otherwise,
    r"tensorboard --logdir \S+": inspects_the_camvid_run,
    r"python projects/SegViT/demo/demo\.py .*": runs_the_demo,
    r"python projects/SegViT/demo/app\.py .*": serves_the_page,
    r"python projects/SegViT/tools/export_model\.py .* --images .*": compares_an_export,
    r"python projects/SegViT/(tools/export_model|demo/onnx_example)\.py .*": exports_the_demo,
    r"python projects/SegViT/tools/check_dataset\.py .*": checks_data,
    r"(OMP_NUM_THREADS=1 )?" + TRAIN + r".* DATASETS\.FOLDER .*": trains_on_a_folder,
    r"python .*--config-file output/custom_scratch/config\.yaml .*": predicts_for_a_folder,
    r"python projects/SegViT/tools/(plot_training|draw_predictions)\.py .*": draws_camvid,
    TRAIN + r"--resume .*" + ADE20K + ".*": resumes_on_ade20k,
    TRAIN + r".*--machine-rank \d .*" + ADE20K + r" OUTPUT_DIR \S+": trains_on_two_machines,
    TRAIN + r"(--num-gpus \d )?" + ADE20K + ".*": trains_on_ade20k,
    r"python projects/SegViT/tools/analyze_model\.py .*": runs,
    r"(GLIBC_TUNABLES=\S+ )?python projects/SegViT/benchmarks/benchmark\.py .*": times_a_tiny_model,
    r"python projects/SegViT/benchmarks/benchmark_parts\.py (predictor|precision) .*": times_a_trained_model,
    r"python projects/SegViT/benchmarks/benchmark_parts\.py .*": times_what_surrounds_a_tiny_model,
    r"python projects/SegViT/benchmarks/gpu_proof\.py .*": needs_a_gpu,
    r"python projects/SegViT/tools/compare_backbones\.py .*": compares_backbones,
    r"python projects/SegViT/tools/run_ablations\.py.*": runs_ablations,
    r"python projects/SegViT/tools/convert_official_checkpoint\.py .*": converts_a_tiny_official_checkpoint,
    TRAIN + r"--eval-only " + ADE20K + r"\s+MODEL\.WEIGHTS output/official/\S+": converts_a_tiny_official_checkpoint,
}


def coverage(command):
    return next((check for pattern, check in COVERAGE.items() if re.fullmatch(pattern, command)), None)


def test_commands_that_follow_each_other_train_into_different_folders():
    """A folder belongs to one run: the second command would be refused."""
    users = {}
    for command in COMMANDS:
        words = shlex.split(command.partition("train_net.py")[2] or command.partition("train.sbatch")[2])
        if not words or {"--resume", "--eval-only"} & set(words) or "--config-file" not in words:
            continue
        given = dict(pairwise(words))
        shipped = yaml.safe_load((ROOT / given["--config-file"]).read_text(encoding="utf-8"))
        folder = given.get("OUTPUT_DIR") or shipped.get("OUTPUT_DIR", "./output")
        # The machines of one run have one command each.
        users.setdefault(folder, set()).add(re.sub(r"--machine-rank \d", "", command))
    assert len(users) > 8
    assert {folder: commands for folder, commands in users.items() if len(commands) > 1} == {}


def test_every_command_is_covered():
    uncovered = {command: doc for command, doc in COMMANDS.items() if coverage(command) is None}
    assert not uncovered, "add an entry to COVERAGE that tests these"


def test_no_coverage_is_idle():
    used = {coverage(command) for command in COMMANDS}
    assert set(COVERAGE.values()) <= used


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory, data):
    """Command -> future of its smoke run. All that were selected start at once, two at a time."""
    if shutil.which("bash") is None:
        pytest.skip("the commands are written for bash")
    workspace = Workspace(tmp_path_factory.mktemp("workspace"), data)
    selected = [item.callspec.params["command"] for item in request.session.items if "outcomes" in item.fixturenames]
    with ThreadPoolExecutor(2) as pool:
        yield {command: pool.submit(coverage(command), command, workspace) for command in selected if coverage(command)}
        pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if coverage(command)])
def test_command(command, outcomes):
    outcomes[command].result()
