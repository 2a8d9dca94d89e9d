"""Resuming compares the checkpoint with the config: a changed key takes effect, or is refused with both values."""

import shutil

import pytest
import torch
from detectron2.data import MetadataCatalog

from helpers.toy_run import run, toy_run_cfg
from segvit.engine import Trainer
from segvit.errors import UserError

SHORT = {"SOLVER__MAX_ITER": 2, "SOLVER__WARMUP_ITERS": 0, "TEST__EVAL_PERIOD": 0}


@pytest.fixture(scope="module")
def finished(toy_scenes_root, tmp_path_factory):
    """The folder of a run of two iterations."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
        run(toy_run_cfg(folder, **SHORT), resume=False)
    return folder


@pytest.fixture
def folder(finished, toy_scenes_root, tmp_path, monkeypatch):
    """A copy of it."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    return shutil.copytree(finished, tmp_path / "run")


def resumed(folder, **changes):
    trainer = Trainer(toy_run_cfg(folder, **SHORT | {"SOLVER__MAX_ITER": 4} | changes))
    trainer.resume_or_load(resume=True)
    return trainer


def groups_by_name(trainer):
    """Parameter name -> (initial learning rate, current learning rate, weight decay)."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {
        names[id(parameter)]: (group["initial_lr"], group["lr"], group["weight_decay"])
        for group in trainer.optimizer.param_groups
        for parameter in group["params"]
    }


def moments_by_name(trainer):
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {names[id(parameter)]: state["exp_avg"] for parameter, state in trainer.optimizer.state.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"SOLVER__BASE_LR": 5e-4},
        {"SOLVER__WEIGHT_DECAY": 0.3},
        {"SOLVER__WEIGHT_DECAY": 0.0},  # one group less: none is exempt
        {"SOLVER__DECODER_LR_MULTIPLIER": 1.0},  # likewise: encoder and decoder have one rate
        {"SOLVER__LAYER_DECAY": 0.5},
        {"SOLVER__NO_WEIGHT_DECAY": ["backbone.*norm*", "*.bias"]},
        {"SOLVER__POLY_POWER": 0.5},
    ],
    ids=lambda changes: "-".join(map(str, changes.items())),
)
def test_a_changed_solver_key_takes_effect(folder, changes):
    trainer = resumed(folder, **changes)
    assert trainer.start_iter == 2
    fresh = Trainer(toy_run_cfg(folder / "other", **SHORT | {"SOLVER__MAX_ITER": 4} | changes))
    expected = {name: (initial, decay) for name, (initial, _, decay) in groups_by_name(fresh).items()}
    found = groups_by_name(trainer)
    assert {name: (initial, decay) for name, (initial, _, decay) in found.items()} == expected
    factor = trainer.scheduler._multiplier(2 / 4)
    assert all(lr == pytest.approx(initial * factor) for initial, lr, _ in found.values())
    assert moments_by_name(trainer).keys() == expected.keys()


def test_each_parameter_keeps_its_own_moments_when_groups_change(folder):
    before = moments_by_name(resumed(folder))
    after = moments_by_name(resumed(folder, SOLVER__LAYER_DECAY=0.5))
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(
    ("changes", "key", "values"),
    [
        ({"MODEL__VIT__FROZEN": True}, "MODEL.VIT.FROZEN", ("False", "True")),
        ({"SEED": 8}, "SEED", ("-1", "8")),
        ({"SOLVER__IMS_PER_BATCH": 1}, "SOLVER.IMS_PER_BATCH", ("2", "1")),
        ({"SOLVER__EMA__ENABLED": True}, "SOLVER.EMA.ENABLED", ("False", "True")),
        ({"SOLVER__MAX_ITER": 1}, "SOLVER.MAX_ITER", ("1", "2")),
        ({"MODEL__WEIGHTS": "other.pth"}, "MODEL.WEIGHTS", ("''", "'other.pth'")),
        ({"MODEL__SEGVIT__NUM_LAYERS": 2}, "MODEL.SEGVIT.NUM_LAYERS", ("1", "2")),
        ({"MODEL__SEM_SEG_HEAD__IGNORE_VALUE": 254}, "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", ("255", "254")),
        ({"MODEL__PIXEL_MEAN": [1.0, 2.0, 3.0]}, "MODEL.PIXEL_MEAN", ("103.53", "[1.0, 2.0, 3.0]")),
        ({"INPUT__FORMAT": "BGR"}, "INPUT.FORMAT", ("'RGB'", "'BGR'")),
        ({"MODEL__SEGVIT__ENCODER_WEIGHT": 0.4}, "MODEL.SEGVIT.ENCODER_WEIGHT", ("0.0", "0.4")),
        ({"DATASETS__TEST": ("toy_scenes_sem_seg_train",)}, "DATASETS.TEST", ("_val", "_train")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_that_cannot_change_is_refused_with_both_values(folder, changes, key, values):
    with pytest.raises(UserError) as refused:
        resumed(folder, **changes)
    message = str(refused.value)
    assert key in message and all(value in message for value in values)
    assert "--resume" in message or "OUTPUT_DIR" in message  # the remedy


def test_every_refused_key_is_listed_at_once(folder):
    with pytest.raises(UserError, match=r"(?s)MODEL\.SEGVIT\.NUM_LAYERS.*SEED"):
        resumed(folder, MODEL__SEGVIT__NUM_LAYERS=2, SEED=8)


@pytest.mark.parametrize(
    ("changes", "key", "values"),
    [
        ({"SOLVER__BASE_LR": 5e-4}, "SOLVER.BASE_LR", ("0.001", "0.0005")),
        ({"SOLVER__AMP__ENABLED": False}, "SOLVER.AMP.ENABLED", ("True", "False")),
        ({"SOLVER__AMP__PRECISION": "bfloat16"}, "SOLVER.AMP.PRECISION", ("'auto'", "'bfloat16'")),
        ({"MODEL__COMPILE": True}, "MODEL.COMPILE", ("False", "True")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_changed_keys_that_take_effect_are_logged(folder, caplog, changes, key, values):
    with caplog.at_level("WARNING"):
        resumed(folder, **changes)
    (line,) = [line for line in caplog.messages if key in line and "Resuming" in line]
    assert all(value in line for value in values)


def test_classes_in_another_order_are_refused(folder, monkeypatch):
    metadata = MetadataCatalog.get("toy_scenes_sem_seg_train")
    swapped = [metadata.stuff_classes[1], metadata.stuff_classes[0], *metadata.stuff_classes[2:]]
    monkeypatch.setitem(metadata.__dict__, "stuff_classes", swapped)
    with pytest.raises(UserError, match=f"{swapped[1]}.*{swapped[0]}"):
        resumed(folder)


def edit(folder, change):
    path = folder / "model_final.pth"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


@pytest.mark.parametrize("part", ["trainer", "optimizer", "moments"])
def test_a_checkpoint_without_the_optimizer_state_is_refused(folder, part):
    def strip(content):
        if part == "trainer":
            del content["trainer"]
        elif part == "optimizer":
            del content["trainer"]["_trainer"]["optimizer"]
        else:
            content["trainer"]["_trainer"]["optimizer"]["state"] = {}

    edit(folder, strip)
    with pytest.raises(UserError, match=r"model_final\.pth.*optimizer.*MODEL\.WEIGHTS"):
        resumed(folder)


def test_a_checkpoint_of_an_older_version_resumes(folder, caplog):
    """It holds neither the config nor names of parameters: what the config says takes effect."""

    def strip(content):
        content.pop("config", None)
        content.pop("classes", None)
        content["trainer"]["_trainer"].pop("parameter_names", None)

    edit(folder, strip)
    trainer = resumed(folder, SOLVER__BASE_LR=5e-4)
    assert trainer.start_iter == 2
    assert {initial for initial, _, _ in groups_by_name(trainer).values()} == {5e-4, 5e-3}
    assert "older version" in caplog.text


def test_an_older_checkpoint_with_other_groups_is_refused(folder):
    edit(folder, lambda content: content["trainer"]["_trainer"].pop("parameter_names", None))
    with pytest.raises(UserError, match=r"SOLVER\.LAYER_DECAY"):
        resumed(folder, SOLVER__LAYER_DECAY=0.5)


def test_a_flipped_byte_gives_way_to_the_checkpoint_before(folder, caplog):
    path = folder / "model_final.pth"
    shutil.copy(path, folder / "model_0000001.pth")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert resumed(folder).start_iter == 2
    assert "model_final.pth is corrupt" in caplog.text and "model_0000001.pth instead" in caplog.text


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00\x01", b"", b"\n", b"model_final.pth\x00"], ids=["binary", "empty", "blank", "zero byte"]
)
def test_an_unreadable_last_checkpoint_file_gives_way_to_the_newest_checkpoint(folder, content, caplog):
    shutil.copy(folder / "model_final.pth", folder / "model_0000001.pth")
    (folder / "last_checkpoint").write_bytes(content)
    assert resumed(folder).start_iter == 2
    assert "last_checkpoint" in caplog.text


def test_checkpoints_without_the_last_checkpoint_file_are_resumed(folder):
    (folder / "last_checkpoint").unlink()
    assert resumed(folder).start_iter == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_nan_or_infinite_are_refused(folder, value):
    edit(folder, lambda content: next(iter(content["model"].values())).view(-1)[0].fill_(value))
    with pytest.raises(UserError, match=r"model_final\.pth.*NaN or infinite"):
        resumed(folder)
    cfg = toy_run_cfg(folder / "fine-tuned", **SHORT, MODEL__WEIGHTS=str(folder / "model_final.pth"))
    with pytest.raises(UserError, match=r"model_final\.pth.*NaN or infinite"):
        Trainer(cfg).resume_or_load(resume=False)
