"""train_continual.py on a few toy scenes: checkpoints, reports, resuming, prediction, and classes of a folder."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultPredictor, HookBase

from helpers.folders import write_folder
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.config.continual_step import training_labels
from segvit.continual.report import forgetting, shares_of_joint
from segvit.continual.run import StepResult, load_step, run_or_load_step, step_configs, training_config
from segvit.d2 import load_config
from segvit.datasets.benchmarks.toy_scenes import CLASS_IDS
from segvit.engine import Trainer
from segvit.errors import UserError
from segvit.inference import SegViTPredictor

PROTOCOL = {"GROUPS": [["sky", "hill", "ground", "water"], ["building", "tree"], ["pole", "sign", "ball", "fence"]]}


def load_program():
    return load_script(PROJECT / "train_continual.py")


@pytest.fixture
def config_file(tiny_cfg, toy_scenes, tmp_path):
    """The tiny model on toy scenes of 32 x 48 pixels, 10 classes in three groups, two iterations each."""
    cfg = tiny_cfg
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.NAME = 10, "ContinualHead"
    cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS = PROTOCOL["GROUPS"]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("toy_scenes_sem_seg_train",), ("toy_scenes_sem_seg_val",)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 32, 48
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = 0, False
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH, solver.MAX_ITER, solver.BASE_LR, solver.WARMUP_ITERS = 2, 2, 1e-3, 0
    solver.CHECKPOINT_PERIOD = 1
    cfg.TEST.EVAL_PERIOD, cfg.SEED = 0, 3
    file = tmp_path / "config.yaml"
    file.write_text(cfg.dump())
    return file


def run(config_file, output, *arguments):
    program = load_program()
    program.main(program.parse_args(["--config-file", str(config_file), *arguments, "OUTPUT_DIR", str(output)]))


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("finished")


@pytest.fixture
def finished(config_file, finished_folder):
    """The output folder of a run of all steps. Tests share it and do not change it."""
    if not (finished_folder / "continual" / "step_2.pth").exists():
        run(config_file, finished_folder)
    return finished_folder


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_every_step_writes_a_checkpoint_and_the_report_covers_all_steps(config_file, tmp_path, monkeypatch):
    monkeypatch.setattr("segvit.continual.calibration.NUM_IMAGES", 4)
    output = tmp_path / "out"
    keys = ("MODEL.SEGVIT.CONTINUAL.CALIBRATION", "bias", "MODEL.SEGVIT.ENCODER_WEIGHT", "1.0")
    run(config_file, output, "--method", "continual", "finetune", "joint", *keys)
    assert weights(output / "continual" / "step_1.pth")["sem_seg_head.added.0.factor"] != 1
    names = {str(path.relative_to(output)) for path in output.rglob("*.pth")}
    steps = {f"{method}/step_{step}.pth" for method in ("continual", "finetune") for step in range(3)}
    assert steps | {"joint/step_2.pth"} <= names
    report = json.loads((output / "report.json").read_text())
    assert [len(report["steps"][method]) for method in ("continual", "finetune", "joint")] == [3, 3, 1]
    for step in report["steps"]["continual"]:
        metrics = step["metrics"]
        assert ("AUROC_score" in metrics) == ("AUROC_confidence" in metrics) == (step["step"] < 2)
        assert {"mIoU_base", "mIoU_new", "mIoU_all", f"mIoU_group{step['step']}_alone"} <= set(metrics)
        assert all(sum(row) == pytest.approx(100) for row in step["confusion"])
    lost = report["forgetting"]["continual"]
    assert all(value == 0 for step in lost for name, value in step.items() if name.endswith("_alone"))
    assert report["share_of_joint"]["joint"] == 1
    text = (output / "report.txt").read_text()
    assert text.count("continual ") >= 3 and "forgotten" in text and "AUROC confidence" in text
    assert (output / "report.png").stat().st_size > 5000


def test_a_second_call_trains_nothing_and_changes_no_file(config_file, finished, monkeypatch):
    before = {path: digest(path) for path in (finished / "continual").rglob("*") if path.is_file()}
    monkeypatch.setattr(Trainer, "train", lambda self: pytest.fail("trained again"))
    run(config_file, finished)
    assert {path: digest(path) for path in before} == before
    with pytest.raises(ValueError, match="belongs to a run with another config"):
        run(config_file, finished, "SEED", "4")


class InterruptFirstIteration(HookBase):
    """Raises KeyboardInterrupt after the first iteration."""

    def after_step(self):
        if self.trainer.iter == 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_is_resumed_to_the_same_weights(config_file, finished, tmp_path, monkeypatch):
    output = tmp_path / "resumed"
    with monkeypatch.context() as patch:
        build_hooks = Trainer.build_hooks

        def interrupted_hooks(trainer):
            is_last_step = "step_2" in trainer.cfg.OUTPUT_DIR
            return [*build_hooks(trainer), *([InterruptFirstIteration()] if is_last_step else [])]

        patch.setattr(Trainer, "build_hooks", interrupted_hooks)
        with pytest.raises(KeyboardInterrupt):
            run(config_file, output)
    assert not (output / "continual" / "step_2.pth").exists()
    run(config_file, output)
    for step in range(3):
        resumed, unbroken = (weights(folder / "continual" / f"step_{step}.pth") for folder in (output, finished))
        torch.testing.assert_close(resumed, unbroken, rtol=0, atol=0)


def test_a_model_whose_evaluations_have_labels_alone_is_calibrated(config_file, tmp_path, monkeypatch):
    monkeypatch.setattr("segvit.continual.calibration.NUM_IMAGES", 4)
    run(config_file, tmp_path / "out", "MODEL.SEGVIT.CONTINUAL.CALIBRATION", "bias", "TEST.LABELS_ONLY", "True")
    assert weights(tmp_path / "out" / "continual" / "step_1.pth")["sem_seg_head.added.0.factor"] != 1


def test_each_step_can_be_evaluated_and_used_by_its_own_config(finished, tmp_path, bgr_image):
    folder = finished / "continual"
    for step in range(3):
        cfg = load_config(folder / f"step_{step}" / "config.yaml", ["MODEL.WEIGHTS", str(folder / f"step_{step}.pth")])
        scores = DefaultPredictor(cfg)(bgr_image)["sem_seg"]
        assert scores.shape == (10, *bgr_image.shape[:2])
        known = [CLASS_IDS[name] for group in PROTOCOL["GROUPS"][: step + 1] for name in group]
        assert set(scores.argmax(0).unique().tolist()) <= set(known)
        cfg.OUTPUT_DIR = str(tmp_path / "evaluated")
        metrics = Trainer.test(cfg, load_step(cfg, Path(cfg.MODEL.WEIGHTS)))
        result = json.loads((folder / f"step_{step}" / "result.json").read_text())
        assert metrics["continual"]["mIoU_all"] == pytest.approx(result["metrics"]["mIoU_all"])


def test_a_protocol_is_split_into_groups_with_their_iterations(config_file, tmp_path):
    cfg = load_config(config_file)
    cfg.MODEL.SEGVIT.CONTINUAL.GROUPS, cfg.MODEL.SEGVIT.CONTINUAL.PROTOCOL = [], "5-3"
    cfg.MODEL.SEGVIT.CONTINUAL.ITERATIONS = [7, 5, 3]
    first, second, third = step_configs(cfg, "continual", tmp_path)
    assert [step.SOLVER.MAX_ITER for step in (first, second, third)] == [7, 5, 3]
    assert first.MODEL.SEGVIT.CONTINUAL.GROUPS == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    assert str(tmp_path / "step_1.pth") == third.MODEL.WEIGHTS and first.MODEL.WEIGHTS == ""
    (joint,) = step_configs(cfg, "joint", tmp_path)
    assert joint.SOLVER.MAX_ITER == 15
    cfg.MODEL.SEGVIT.CONTINUAL.ITERATIONS, cfg.SOLVER.MAX_ITER = [], 4
    (joint,) = step_configs(cfg, "joint", tmp_path)
    assert joint.SOLVER.MAX_ITER == 12  # as many as all three steps


def test_steps_of_0_iterations_are_taken_from_the_weights(config_file, tmp_path):
    cfg = load_config(config_file, ["MODEL.WEIGHTS", "two_groups.pth"])
    cfg.MODEL.SEGVIT.CONTINUAL.ITERATIONS = [0, 0, 3]
    given, added = step_configs(cfg, "continual", tmp_path)
    assert given.MODEL.SEGVIT.CONTINUAL.STEP == 1 and given.MODEL.WEIGHTS == "two_groups.pth"
    assert str(tmp_path / "step_1.pth") == added.MODEL.WEIGHTS
    cfg.MODEL.SEGVIT.CONTINUAL.ITERATIONS = [0, 3, 0]
    with pytest.raises(ValueError, match="only the first steps can be finished"):
        step_configs(cfg, "continual", tmp_path)
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(ValueError, match=r"0.*MODEL\.WEIGHTS"):
        step_configs(cfg, "continual", tmp_path)


def test_classes_of_a_folder_are_added_to_a_trained_model(config_file, tmp_path, bgr_image):
    """The folder labels grass, road and sky; the model has learnt sky from the toy scenes."""
    plain_cfg = load_config(config_file, ["OUTPUT_DIR", str(tmp_path / "plain")])
    plain_cfg.MODEL.SEM_SEG_HEAD.NAME, plain_cfg.MODEL.SEGVIT.CONTINUAL.GROUPS = "AttentionToMaskHead", []
    Trainer(plain_cfg).train()
    trained = tmp_path / "plain" / "model_final.pth"
    recipe = {
        "_BASE_": str(config_file),
        "MODEL": {
            "WEIGHTS": str(trained),
            "SEM_SEG_HEAD": {"NUM_CLASSES": 0},
            "SEGVIT": {
                "CONTINUAL": {
                    "CLASSES": ["dataset:toy_scenes_sem_seg_train", "grass", "road"],
                    "GROUPS": [],
                    "PROTOCOL": "10-2",
                    "ITERATIONS": [0, 2],
                }
            },
        },
        "DATASETS": {
            "FOLDER": str(write_folder(tmp_path / "folder")),
            "TRAIN": ["folder_train"],
            "TEST": ["folder_val"],
        },
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    run(file, tmp_path / "added")
    folder = tmp_path / "added" / "continual"
    old, new = weights(trained), weights(folder / "step_1.pth")
    assert all(torch.equal(new[name], value) for name, value in old.items())
    assert MetadataCatalog.get("toy_scenes_sem_seg_train").stuff_classes
    cfg = load_config(folder / "step_1" / "config.yaml", ["MODEL.WEIGHTS", str(folder / "step_1.pth")])
    scores = DefaultPredictor(cfg)(bgr_image)["sem_seg"]
    assert scores.shape[0] == 12
    metrics = json.loads((folder / "step_1" / "result.json").read_text())["metrics"]
    assert metrics["mIoU_new"] is not None and metrics["IoU-sky"] is not None and metrics["IoU-hill"] is None
    assert SegViTPredictor(tmp_path / "added").classes.names[10:] == ("grass", "road")


def test_a_step_refuses_weights_without_a_tensor_of_its_frozen_part(config_file, finished, tmp_path):
    state = weights(finished / "continual" / "step_0.pth")
    state.pop("backbone.encoder.blocks.0.norm1.weight")
    damaged = tmp_path / "damaged.pth"
    torch.save({"model": state}, damaged)
    cfg = step_configs(load_config(config_file, ["OUTPUT_DIR", str(tmp_path / "x")]), "continual", tmp_path)[1]
    cfg.MODEL.WEIGHTS = str(damaged)
    with pytest.raises(ValueError, match=r"(?s)missing in the weights: 1 \(backbone"):
        run_or_load_step(cfg, "continual")


def result(step, **metrics):
    return StepResult(method="m", step=step, groups=[["a"]], metrics=metrics, confusion=[[100.0]], checkpoint="")


def test_forgetting_is_measured_from_the_step_that_learnt_the_group():
    steps = [
        result(0, mIoU_group0=80.0, mIoU_all=80.0),
        result(1, mIoU_group0=70.0, mIoU_group1=50.0, mIoU_all=60.0),
        result(2, mIoU_group0=75.0, mIoU_group1=20.0, mIoU_group2=None, mIoU_all=45.0),
    ]
    assert forgetting(steps) == [{"group0": 0}, {"group0": 10, "group1": 0}, {"group0": 5, "group1": 30}]
    assert shares_of_joint({"continual": steps, "joint": [result(2, mIoU_all=90.0)]}) == {"continual": 0.5, "joint": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "naive"], "--method naive"),
        (["--eval-only"], "train_net.py --eval-only"),
        (["MODEL.SEGVIT.CONTINUAL.GROUPS", "[]"], "MODEL.SEGVIT.CONTINUAL.PROTOCOL"),
        (["DATASETS.TEST", "()"], "DATASETS.TEST []: every step is evaluated on one dataset"),
        (["DATASETS.TEST", "('toy_scenes_sem_seg_val','toy_scenes_sem_seg_train')"], "evaluated on one dataset"),
        (["--method", "joint", "continual", "MODEL.SEGVIT.OUTPUT", "mix"], "ContinualHead"),
        (["MODEL.SEGVIT.CONTINUAL.STEP", "1"], "CONTINUAL.STEP: this command trains all steps"),
        (["MODEL.SEGVIT.CONTINUAL.GROUPS", "[['sky'],['moon']]"], "'moon'"),
    ],
)
def test_invalid_configs_are_refused_before_anything_is_written(
    config_file, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        load_program().command(["--config-file", str(config_file), *arguments])
    assert ended.value.code == 2 and message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_checkpoint_of_a_step_records_its_classes_and_they_are_compared(finished):
    folder = finished / "continual"
    content = torch.load(folder / "step_1.pth", weights_only=True)
    assert content["classes"] == list(CLASS_IDS) and content["config"]["MODEL.SEGVIT.CONTINUAL.STEP"] == 1
    cfg = load_config(folder / "step_1" / "config.yaml")
    swapped = [*reversed(list(CLASS_IDS)[:2]), *list(CLASS_IDS)[2:]]
    cfg.MODEL.SEGVIT.CONTINUAL.CLASSES = swapped
    with pytest.raises(UserError, match=rf"step_1\.pth .*id 0 is '{swapped[1]}' there and '{swapped[0]}' here"):
        load_step(cfg, folder / "step_1.pth")


def test_joint_training_matches_labels_by_name_too(config_file, tmp_path):
    """The model's order of classes is not the dataset's: without groups, training would take the dataset's ids."""
    cfg = load_config(config_file)
    cfg.MODEL.SEGVIT.CONTINUAL.CLASSES = list(reversed(CLASS_IDS))
    (joint,) = step_configs(cfg, "joint", tmp_path)
    assert training_labels(training_config(joint, "joint")).tolist() == list(range(9, -1, -1))
