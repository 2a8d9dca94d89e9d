"""Checks of the documented commands that measure, compare and convert models."""

import re
from pathlib import Path

import torch
from commands_of_setup import generates_toy_scenes
from commands_of_the_demo import DEMO_CONFIG, DEMO_MODEL, prepare_the_demo
from documents import ROOT
from tiny_settings import ADE20K, NARROW, TINY_INPUT, TINY_VIT, TRAIN, TWO_STEPS

from peers import PEERS
from segvit.analysis.from_config import build_random_model
from segvit.d2 import load_config
from segvit.modeling.weights.official_checkpoint import to_official


def needs_a_gpu(command, workspace):
    """`tests/benchmarks/test_gpu_proof.py` runs what it can without one; here only the file is checked."""
    assert (ROOT / command.split()[1]).is_file()


def times_a_tiny_model(command, workspace):
    """Not compiled, which takes a C++ compiler; tests/analysis holds that there is one graph."""
    command = re.sub(r" --image \S+| MODEL.WEIGHTS \S+| --compile", "", command)
    command = re.sub(rf" ({'|'.join(PEERS)})\b", "", command)  # of full size, from a package that users may not have
    shorter = re.sub(r"--rounds \d+", "--rounds 2", re.sub(r"--input-size \d+ \d+", "--input-size 64 64", command))
    settings = {**TINY_VIT, "MODEL.VIT.IMG_SIZE": "(64,64)"}
    if "coarse" in command:
        settings["MODEL.VIT.EMBED_DIM"] = "32"  # a multiple of half the patch, for the convolutional stem
    if "shrunk" in command:
        settings["MODEL.VIT.REDUCTION_BLOCK"] = "1"  # a key that is refused without a reduction
    output = workspace.shell(shorter, settings)
    names = re.search(r"--against ((?:(?!--)\S+ )+)", command)[1].split()
    assert names and all(Path(name).stem in output for name in names)


def times_what_surrounds_a_tiny_model(command, workspace):
    shorter = re.sub(r"--rounds \d+", "--rounds 1", command).replace(" mapper ", " mapper --rounds 1 --images 2 ")
    shorter = re.sub(r"--present [\d ]+(--classes [\d ]+)?", "--present 10 ", shorter)
    shorter = re.sub(r"--threads \d+", "--threads 1", shorter)  # so that memory can be measured in forked processes
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
    command = re.sub(r"--run decoder qd --seeds 1 2 3", "--run atm_mask qd --seeds 1 2", command)
    output = workspace.shell(command, {**TINY_INPUT, **TWO_STEPS, **NARROW})
    names = re.search(r"--run ([a-z_ ]+)", command)[1].split()
    assert names and all(re.search(rf"^{name} +[\d.]+", output, re.MULTILINE) for name in names)


def compares_heads(command, workspace):
    """Two of them; that every one trains is tested in tests/experiments."""
    generates_toy_scenes("python datasets/generate_toy_scenes.py", workspace)
    shorter = re.sub(r" --seeds [\d ]+", " ", command).replace(
        "compare_heads.py", "compare_heads.py --heads eomt atm_detail"
    )
    output = workspace.shell(shorter, {**TINY_INPUT, **TWO_STEPS, **NARROW})
    assert all(re.search(rf"^{name} +[\d.]+", output, re.MULTILINE) for name in ("eomt", "atm_detail"))


CONVERT = "python projects/SegViT/tools/convert_official_checkpoint.py "


def converts_a_tiny_official_checkpoint(command, workspace):
    """The commands on a model of two narrow blocks, whose official checkpoint is made first."""
    config = "projects/SegViT/configs/ade20k/segvit_vit_large_640.yaml"
    tiny = workspace.folder / "tiny.yaml"

    def make_official_checkpoint():
        cfg = load_config(ROOT / config, [item for pair in {**TINY_INPUT, **TINY_VIT}.items() for item in pair])
        tiny.write_text(cfg.dump(), encoding="utf-8")
        torch.save(to_official({"model": build_random_model(cfg).state_dict()}), workspace.folder / "official.pth")
        workspace.shell(f"{CONVERT}official.pth output/official/model.pth --config-file {tiny}")

    workspace.once("official checkpoint", make_official_checkpoint)
    if command.startswith(CONVERT):
        overwrite = "" if "--overwrite" in command else " --overwrite"
        assert "150 classes" in workspace.shell(command.replace(config, str(tiny)) + overwrite)
    else:
        assert "mIoU" in workspace.shell(command.replace(config, str(tiny)), workspace.own_output())


# Regular expression of a whole command -> the check that runs it.
COVERAGE = {
    r"(GLIBC_TUNABLES=\S+ )?python projects/SegViT/benchmarks/benchmark\.py .*": times_a_tiny_model,
    r"python projects/SegViT/benchmarks/benchmark_parts\.py (predictor|precision) .*": times_a_trained_model,
    r"python projects/SegViT/benchmarks/benchmark_parts\.py .*": times_what_surrounds_a_tiny_model,
    r"python projects/SegViT/benchmarks/gpu_proof\.py .*": needs_a_gpu,
    r"python projects/SegViT/tools/compare_backbones\.py .*": compares_backbones,
    r"(OMP_NUM_THREADS=1 )?python projects/SegViT/tools/compare_heads\.py .*": compares_heads,
    r"python projects/SegViT/tools/run_ablations\.py.*": runs_ablations,
    r"python projects/SegViT/tools/convert_official_checkpoint\.py .*": converts_a_tiny_official_checkpoint,
    TRAIN + r"--eval-only " + ADE20K + r"\s+MODEL\.WEIGHTS output/official/\S+": converts_a_tiny_official_checkpoint,
}
