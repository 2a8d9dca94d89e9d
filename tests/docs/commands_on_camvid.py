"""Checks of the documented commands that train on CamVid, and of those that read such a run."""

import re
import shutil

from PIL import Image
from tiny_settings import NARROW, TINY_INPUT, TRAIN, TWO_STEPS

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
    with Image.open(workspace.folder / output) as image:
        assert min(image.size) > 50


def inspects_the_camvid_run(command, workspace):
    """The server would not end; `--inspect` reads the same folder and does."""
    trains_on_camvid(CAMVID_RUN, workspace)
    assert "sem_seg/mIoU" in workspace.shell(command.replace("tensorboard", "tensorboard --inspect"))


SHRUNK_PP_CONFIG = "projects/SegViT/configs/camvid/segvit_scratch_320x240_shrunk_pp.yaml"


SHRUNK_PP_RUN = f"OMP_NUM_THREADS=1 python projects/SegViT/train_net.py --config-file {SHRUNK_PP_CONFIG}"


def trains_small_on_camvid(command, workspace):
    workspace.once(command, lambda: workspace.shell(command, {**TINY_INPUT, **TWO_STEPS, **NARROW}))
    given = re.search(r"OUTPUT_DIR output/(\S+)", command)
    name = given[1] if given else "camvid_" + re.search(r"segvit_scratch_(\w+)\.yaml", command)[1]
    assert (workspace.folder / "output" / name / "model_final.pth").is_file()


def looks_at_shrunk_pp(command, workspace):
    trains_small_on_camvid(SHRUNK_PP_RUN, workspace)
    images = re.sub(
        r"--input \S+", f"--input {workspace.environment['DETECTRON2_DATASETS']}/camvid/images/val/*.jpg", command
    )
    output = workspace.shell(images, {**TINY_INPUT, **NARROW})
    if "evaluate_edges" in command:
        assert "average_precision" in output
    else:
        assert len(list((workspace.folder / re.search(r"--output (\S+)", command)[1]).glob("*.png"))) == 2


def merges_tokens_of_a_trained_model(command, workspace):
    config = re.search(r"--config-file \S+", command)[0]
    processes = "--num-gpus 2 " if "480x360" in config else ""
    trains_small_on_camvid(f"OMP_NUM_THREADS=1 {TRAIN}{processes}{config}".replace("\\", ""), workspace)
    assert "mIoU" in workspace.shell(command, {**TINY_INPUT, **NARROW, **workspace.own_output()})


def draws_accuracy_against_cost(command, workspace):
    """All rows are of copies of one short run."""
    config = "--config-file projects/SegViT/configs/camvid/segvit_scratch_320x240_detail.yaml"
    trains_small_on_camvid(f"OMP_NUM_THREADS=1 {TRAIN}{config}".replace("\\", ""), workspace)
    command = re.sub(r"(output/\S+)\.onnx", r"\1", command)  # as if the exported file were a run, too
    for name in {*re.findall(r" output/(?!pareto)(\S+)", command)}:
        shutil.copytree(workspace.folder / "output" / "camvid_320x240_detail", workspace.folder / "output" / name)
    output = workspace.shell(re.sub(r"--rounds \d+", "--rounds 1", command))
    names = re.findall(r'--row "(.+?)"', command)
    assert names and all(re.search(rf"^{re.escape(name)} +[\d-]", output, re.MULTILINE) for name in names)
    assert (workspace.folder / "output" / "pareto" / "pareto.png").is_file()


def leaves_out_each_group(command, workspace):
    """The tiny images have no drives: their last digit is the group."""
    command = re.sub(r"--groups \S+", r"--groups '\\d{3}(\\d)'", command)
    output = workspace.shell(command, {**TINY_INPUT, **TWO_STEPS, **NARROW})
    assert re.search(r"^mean +[\d.]+ +[\d.]+", output, re.MULTILINE)


# Regular expression of a whole command -> the check that runs it.
COVERAGE = {
    re.escape(CAMVID_RUN): trains_on_camvid,
    r"OMP_NUM_THREADS=1 "
    + TRAIN
    + r"(--num-gpus 2 )?--config-file \S+/camvid/segvit_scratch_\S+\.yaml( [A-Z].*)?": trains_small_on_camvid,
    r"python projects/SegViT/tools/tokens/(draw_tokens|evaluate_edges)\.py .*": looks_at_shrunk_pp,
    r"OMP_NUM_THREADS=1 python projects/SegViT/cross_validate\.py .*": leaves_out_each_group,
    TRAIN + r"--eval-only --config-file \S+/camvid/\S+ MODEL\.WEIGHTS \S+": evaluates_camvid,
    TRAIN + r"--eval-only --config-file \S+/camvid/\S+ MODEL\.WEIGHTS \S+ TEST\..*": evaluates_camvid_otherwise,
    TRAIN + r"--eval-only .* MODEL\.VIT\.REDUCTION merge.*": merges_tokens_of_a_trained_model,
    r"python projects/SegViT/tools/plot_pareto\.py .*": draws_accuracy_against_cost,
    r"tensorboard --logdir \S+": inspects_the_camvid_run,
    r"python projects/SegViT/tools/(plot_training|draw_predictions)\.py .*": draws_camvid,
}
