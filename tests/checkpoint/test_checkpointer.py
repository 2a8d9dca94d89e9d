"""`SegViTCheckpointer`: fine-tuning on other classes, strict loading in evaluation and resuming, unreadable files."""

import logging
import os

import pytest
import safetensors.torch
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_backbone, build_model

from helpers.code_in_files import TouchFile
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.engine import Trainer

TRAIN_NET = PROJECT / "train_net.py"
# Tensors of the head whose shape depends on the number of classes.
CLASS_TENSORS = {
    f"sem_seg_head.decoder.{name}" for name in ("class_queries.weight", "class_embed.weight", "class_embed.bias")
}


def build(cfg, *, seed=0, **changes):
    """A model of `cfg` with other classes or decoder width."""
    cfg = cfg.clone()
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = changes.get("num_classes", 150)
    cfg.MODEL.SEGVIT.HIDDEN_DIM = changes.get("hidden_dim", 24)
    cfg.MODEL.SEGVIT.NUM_LAYERS = changes.get("num_layers", 1)
    cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = changes.get("query_upsampling", "none")
    torch.manual_seed(seed)
    return build_model(cfg)


def save(model, folder, name="model"):
    """The path of the model's checkpoint, as training writes it."""
    folder.mkdir(exist_ok=True)
    SegViTCheckpointer(model, str(folder)).save(name, iteration=7)
    return str(folder / f"{name}.pth")


@pytest.fixture
def ade(tiny_cfg, tmp_path):
    """A model of 150 classes and the path of its checkpoint."""
    model = build(tiny_cfg)
    return model, save(model, tmp_path / "ade")


@pytest.mark.parametrize("query_upsampling", ["none", "learned"])
def test_fine_tuning_loads_all_but_the_class_tensors(query_upsampling, tiny_cfg, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    source = build(tiny_cfg, query_upsampling=query_upsampling)
    path = save(source, tmp_path / "ade")
    model = build(tiny_cfg, seed=1, num_classes=11, query_upsampling=query_upsampling)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    SegViTCheckpointer(model, strict=False).load(path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in CLASS_TENSORS else source.state_dict()[name]), name
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (warning,) = warnings
    num_tensors = len(before)
    assert f"{path}: NUM_CLASSES 150 in the file, 11 in the config" in warning
    assert f"{num_tensors - 3} of {num_tensors} tensors" in warning
    assert "class_queries.weight (150, 24) in the weights, (11, 24) in the model" in warning
    assert "class_embed.bias (151,) in the weights, (12,) in the model" in warning


def test_evaluation_refuses_other_classes(ade, tiny_cfg):
    with pytest.raises(ValueError) as error:
        SegViTCheckpointer(build(tiny_cfg, num_classes=11)).load(ade[1])
    message = str(error.value)
    assert message.startswith(f"{ade[1]} does not fit the model: NUM_CLASSES 150 in the file, 11 in the config")
    assert all(f"{name} (15" in message for name in CLASS_TENSORS)


def test_evaluation_loads_every_tensor(ade, tiny_cfg):
    model = build(tiny_cfg, seed=1)
    content = SegViTCheckpointer(model).load(ade[1])
    assert content["iteration"] == 7
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, ade[0].state_dict()[name])


@pytest.mark.parametrize("num_layers", [1, 3])
def test_evaluation_refuses_another_depth(num_layers, tiny_cfg, tmp_path):
    path = save(build(tiny_cfg, num_layers=2), tmp_path / "two")
    kind = "missing" if num_layers > 2 else "unexpected"
    with pytest.raises(ValueError, match=rf"(?s){kind} in the weights: \d+ \(sem_seg_head"):
        SegViTCheckpointer(build(tiny_cfg, num_layers=num_layers)).load(path)


def test_evaluation_without_weights_is_refused(tiny_cfg):
    model = build(tiny_cfg)
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        SegViTCheckpointer(model).load("")
    assert SegViTCheckpointer(model, strict=False).load("") == {}


def test_fine_tuning_refuses_another_width(ade, tiny_cfg):
    """Only the class tensors may differ."""
    with pytest.raises(ValueError, match=r"(?s)input_proj\.weight \(24, 48\).*\(32, 48\)"):
        SegViTCheckpointer(build(tiny_cfg, hidden_dim=32), strict=False).load(ade[1])


def test_fine_tuning_refuses_another_crop_and_names_the_key(ade, tiny_cfg):
    tiny_cfg.MODEL.VIT.IMG_SIZE = [48, 48]
    with pytest.raises(ValueError, match=r"(?s)pos_embed \(1, 25, 48\).*\(1, 37, 48\).*MODEL\.VIT\.IMG_SIZE"):
        SegViTCheckpointer(build(tiny_cfg), strict=False).load(ade[1])


def test_another_patch_size_is_named(ade, tiny_cfg):
    tiny_cfg.MODEL.VIT.PATCH_SIZE, tiny_cfg.MODEL.VIT.IMG_SIZE = 16, [64, 96]
    for strict in (True, False):
        with pytest.raises(
            ValueError, match=r"(?s)patch_embed.*patch embedding is another one: MODEL\.VIT\.PATCH_SIZE"
        ):
            SegViTCheckpointer(build(tiny_cfg), strict=strict).load(ade[1])


def test_a_frozen_encoder_takes_no_reduction_that_was_not_trained(ade, tiny_cfg, tmp_path):
    tiny_cfg.MODEL.VIT.REDUCTION = "cells"
    model = build(tiny_cfg)
    SegViTCheckpointer(model, strict=False).load(ade[1])  # which is trained now
    DetectionCheckpointer(model, save_dir=str(tmp_path)).save("cells")
    tiny_cfg.MODEL.VIT.FROZEN = True
    with pytest.raises(ValueError, match="nothing of a token reduction, which a frozen encoder does not learn"):
        SegViTCheckpointer(build(tiny_cfg), strict=False).load(ade[1])
    SegViTCheckpointer(build(tiny_cfg), strict=False).load(str(tmp_path / "cells.pth"))


def test_fine_tuning_from_a_file_without_any_tensor_of_the_model_is_refused(tiny_cfg, tmp_path):
    torch.save({"blocks.0.norm1.weight": torch.ones(48)}, tmp_path / "timm.pth")
    with pytest.raises(ValueError, match=r"timm\.pth .*MODEL\.VIT\.PRETRAINED"):
        SegViTCheckpointer(build(tiny_cfg), strict=False).load(str(tmp_path / "timm.pth"))


def test_checkpoints_of_distributed_models_and_safetensors_are_read(ade, tiny_cfg, tmp_path):
    state = ade[0].state_dict()
    torch.save({"model": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "ddp.pth")
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    for name in ("ddp.pth", "model.safetensors"):
        model = build(tiny_cfg, seed=1)
        SegViTCheckpointer(model).load(str(tmp_path / name))
        assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


@pytest.fixture
def toy_cfg(tiny_cfg, toy_scenes, tmp_path):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 10
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = ("toy_scenes_sem_seg_train",), ()
    tiny_cfg.DATALOADER.NUM_WORKERS, tiny_cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = 0, False
    tiny_cfg.SOLVER.IMS_PER_BATCH, tiny_cfg.SOLVER.MAX_ITER, tiny_cfg.SOLVER.WARMUP_ITERS = 2, 1, 0
    tiny_cfg.OUTPUT_DIR = str(tmp_path / "output")
    os.makedirs(tiny_cfg.OUTPUT_DIR)
    return tiny_cfg


def test_the_trainer_fine_tunes_and_resumes_strictly(ade, toy_cfg, caplog):
    toy_cfg.MODEL.WEIGHTS = ade[1]
    trainer = Trainer(toy_cfg)
    trainer.resume_or_load(resume=False)
    assert "NUM_CLASSES 150 in the file, 10 in the config" in caplog.text
    name = "backbone.encoder.blocks.2.mlp.fc2.weight"
    assert torch.equal(trainer.model.state_dict()[name], ade[0].state_dict()[name])
    trainer.train()
    content = torch.load(os.path.join(toy_cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)
    assert content["trainer"]["_trainer"]["optimizer"]["state"]  # read as data, with all that resuming needs

    Trainer(toy_cfg).resume_or_load(resume=True)
    toy_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 4
    with pytest.raises(ValueError, match=r"NUM_CLASSES: 10 .* 4 "):
        Trainer(toy_cfg).resume_or_load(resume=True)


@pytest.fixture
def evaluate(toy_cfg, ade, tmp_path):
    """Runs `train_net.py --eval-only` in this process with a number of classes and weights."""
    program = load_script(TRAIN_NET)

    def run(num_classes, weights):
        toy_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = num_classes
        toy_cfg.MODEL.VIT.PRETRAINED = "/not/needed.pth"
        (tmp_path / "config.yaml").write_text(toy_cfg.dump())
        options = ["--config-file", str(tmp_path / "config.yaml"), "--eval-only", "MODEL.WEIGHTS", weights]
        return program.main(program.build_parser().parse_args(options))

    return run


def test_train_net_refuses_weights_of_other_classes_in_evaluation(evaluate, ade):
    evaluate(150, ade[1])
    with pytest.raises(ValueError, match="NUM_CLASSES 150 in the file, 11 in the config"):
        evaluate(11, ade[1])
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        evaluate(150, "")


def test_the_default_predictor_refuses_other_classes(ade, tiny_cfg):
    """Its own checkpointer, Detectron2's, skips tensors of another shape."""
    tiny_cfg.MODEL.WEIGHTS = ade[1]
    with pytest.raises(ValueError) as error:
        DefaultPredictor(tiny_cfg)
    message = str(error.value)
    assert message.startswith("3 of ") and "untrained" in message
    assert "MODEL.SEM_SEG_HEAD.NUM_CLASSES" in message
    assert "sem_seg_head.decoder.class_queries.weight (5, 24)" in message
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 150
    tiny_cfg.MODEL.VIT.PRETRAINED = "/not/needed.pth"
    DefaultPredictor(tiny_cfg)


def test_the_default_predictor_refuses_to_leave_out_a_part_of_the_model(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 150
    plain = tiny_cfg.clone()
    tiny_cfg.MODEL.SEGVIT.DETAIL.SOURCE = "image"
    torch.save({"model": build(tiny_cfg).state_dict()}, tmp_path / "detail.pth")
    tiny_cfg.MODEL.WEIGHTS = plain.MODEL.WEIGHTS = str(tmp_path / "detail.pth")
    DefaultPredictor(tiny_cfg)
    with pytest.raises(ValueError, match=r"tensors of the checkpoint are of a part .*MODEL\.SEGVIT\.DETAIL\.SOURCE"):
        DefaultPredictor(plain)


def test_detectron2s_checkpointer_may_load_some_tensors_in_training(ade, tiny_cfg):
    DetectionCheckpointer(build(tiny_cfg, num_classes=11)).load(ade[1])


def test_pretrained_min_match_limits_missing_tensors_of_the_encoder(tiny_cfg, tmp_path):
    torch.save({"cls_token": torch.zeros(1, 1, 48)}, tmp_path / "part.pth")
    tiny_cfg.MODEL.VIT.PRETRAINED = str(tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"1 of 42 tensors"):
        build_backbone(tiny_cfg)
    tiny_cfg.MODEL.VIT.PRETRAINED_MIN_MATCH = 0.0
    assert not build_backbone(tiny_cfg).encoder.embedding.cls_token.any()


@pytest.mark.parametrize("name", ["model.pth", "model.pkl"])
def test_a_checkpoint_with_code_is_refused(name, ade, tiny_cfg, tmp_path):
    path, trace = tmp_path / name, tmp_path / "trace"
    torch.save({"model": ade[0].state_dict(), "extra": TouchFile(trace)}, path)
    with pytest.raises(ValueError) as error:
        SegViTCheckpointer(build(tiny_cfg), strict=False).load(str(path))
    assert str(error.value).startswith(f"{path} contains code")
    assert not trace.exists()


@pytest.mark.parametrize("kept", [0, 9, 2000, -9])
def test_a_damaged_checkpoint_is_refused_and_another_can_be_loaded(kept, ade, tiny_cfg, tmp_path):
    path = tmp_path / "damaged.pth"
    with open(ade[1], "rb") as file:
        path.write_bytes(file.read()[:kept])
    checkpointer = SegViTCheckpointer(build(tiny_cfg), strict=False)
    with pytest.raises(ValueError, match=r"damaged\.pth is (empty \(0 bytes\)|corrupt or truncated)"):
        checkpointer.load(str(path))
    checkpointer.load(ade[1])


def test_a_checkpoint_of_another_program_is_refused(tiny_cfg, tmp_path):
    torch.save({"state_dict": {"decode_head.q.weight": torch.zeros(2)}, "meta": {"epoch": 1}}, tmp_path / "mm.pth")
    with pytest.raises(ValueError, match=r"mm\.pth .*\['state_dict', 'meta'\]"):
        SegViTCheckpointer(build(tiny_cfg)).load(str(tmp_path / "mm.pth"))


def test_fine_tuning_from_a_few_tensors_is_refused(tiny_cfg, tmp_path):
    """With MODEL.WEIGHTS set, nothing else initializes the encoder."""
    model = build(tiny_cfg)
    few = dict(list(model.state_dict().items())[:3])
    torch.save({"model": few}, tmp_path / "few.pth")
    with pytest.raises(ValueError, match=r"few\.pth .*MODEL\.VIT\.PRETRAINED"):
        SegViTCheckpointer(model, strict=False).load(str(tmp_path / "few.pth"))
