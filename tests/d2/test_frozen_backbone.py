"""A frozen encoder: bfloat16 weights without gradients, optimizer state or saved activations, once in a checkpoint."""

import gc

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from helpers.tiny_models import build, use_shrunk_pp
from helpers.toy_run import assert_same, final_state, run, toy_run_cfg
from segvit.analysis import count_macs
from segvit.config import device as devices
from segvit.d2.solver import build_optimizer
from segvit.engine.hooks.ema import EMAHook
from segvit.errors import UserError
from segvit.export import load_source

FAMILIES = ["vit_tiny_patch16_224", "beit_base_patch16_224", "vit_small_patch16_dinov3"]


@pytest.fixture(autouse=True)
def bfloat16_on_any_cpu(monkeypatch):
    monkeypatch.setattr(devices, "cpu_computes_bfloat16", lambda: True)


def frozen(cfg, precision="bfloat16"):
    cfg = cfg.clone()
    cfg.MODEL.VIT.FROZEN, cfg.MODEL.VIT.FROZEN_PRECISION = True, precision
    return cfg


def configure_family(cfg, name):
    cfg.MODEL.VIT.NAME, cfg.MODEL.VIT.KEEP_PREFIX_TOKENS = name, True
    cfg.MODEL.VIT.EMBED_DIM, cfg.MODEL.VIT.NUM_HEADS = 48, 3


def saved_bytes(function, *arguments):
    """The function's result, and the bytes of the tensors that autograd saves for its backward pass."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.nbytes) or tensor, lambda x: x):
        return function(*arguments), sum(saved)


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_are_those_of_bfloat16_autocast(tiny_cfg, name):
    configure_family(tiny_cfg, name)
    images = torch.randn(2, 3, 32, 48)
    plain, held = build(tiny_cfg).backbone, build(frozen(tiny_cfg)).backbone
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        expected = {stage: features.float() for stage, features in plain(images).items()}
    assert_same(held(images), expected)
    matrices = [weight for weight in held.parameters() if weight.dtype == torch.bfloat16]
    assert sum(map(torch.numel, matrices)) > 0.8 * sum(map(torch.numel, held.parameters()))


@pytest.mark.parametrize("shrunk_pp", [False, True])
def test_losses_are_close_to_those_of_float32(tiny_cfg, make_input, shrunk_pp):
    if shrunk_pp:
        use_shrunk_pp(tiny_cfg, SELECTION="topk", SHARE=0.6)
    batch = [make_input(32, 48, seed=seed) for seed in range(2)]
    expected, losses = (build(cfg).train()(batch) for cfg in (tiny_cfg, frozen(tiny_cfg)))
    expected.pop("loss_edge", None)
    torch.testing.assert_close(losses, expected, rtol=0.02, atol=2e-3)


def test_a_step_leaves_the_encoder_without_gradients_states_and_saved_tensors(tiny_cfg, make_input):
    tiny_cfg.MODEL.VIT.GRADIENT_CHECKPOINTING = True
    tiny_cfg.SOLVER.NO_WEIGHT_DECAY = []
    model = build(frozen(tiny_cfg)).train()
    _, saved = saved_bytes(model.backbone, torch.randn(1, 3, 32, 48, requires_grad=True))
    assert saved == 0
    optimizer = build_optimizer(tiny_cfg, model)
    sum(model([make_input(32, 48)]).values()).backward()
    optimizer.step()
    trained = {id(parameter) for parameter in optimizer.state}
    assert trained
    for parameter in model.backbone.parameters():
        assert parameter.grad is None
        assert id(parameter) not in trained


@pytest.mark.parametrize("ema", [False, True])
def test_a_run_resumes_and_its_checkpoint_holds_the_encoder_once(toy_scenes, tmp_path, ema):
    """With accumulation and gradient checkpointing."""
    changes = {
        "MODEL__VIT__FROZEN": True,
        "MODEL__VIT__FROZEN_PRECISION": "bfloat16",
        "MODEL__VIT__GRADIENT_CHECKPOINTING": True,
        "SOLVER__ACCUM_STEPS": 2,
        "SOLVER__EMA__ENABLED": ema,
    }
    for folder in ("whole", "parts"):
        seed_all_rng(1)
        run(toy_run_cfg(tmp_path / folder, **changes), resume=False)
    (tmp_path / "parts" / "last_checkpoint").write_text("model_0000003.pth")
    assert run(toy_run_cfg(tmp_path / "parts", **changes), resume=True).start_iter == 4
    whole = final_state(tmp_path / "whole")
    assert_same(final_state(tmp_path / "parts"), whole)
    weights = whole["model_final"]["model"]
    assert weights["backbone.encoder.blocks.0.attn.qkv.weight"].dtype == torch.bfloat16
    if ema:
        trained = whole["model_final"]["trainer"]["hooks"]["EMAHook"]["trained_model"]
        shared = {name for name, weight in weights.items() if weight.data_ptr() == trained[name].data_ptr()}
        assert shared >= {name for name in weights if name.endswith(".weight") and "backbone.encoder.blocks" in name}
        assert not any(name.startswith("sem_seg_head") for name in shared)


def test_the_averaged_model_holds_no_frozen_parameter_of_its_own(tiny_cfg):
    def parameters_in_memory():
        gc.collect()
        return sum(type(one) is torch.nn.Parameter for one in gc.get_objects())

    model = build(frozen(tiny_cfg))
    before = parameters_in_memory()
    hook = EMAHook(model, decay=0.9)
    trained = [parameter for parameter in hook.averaged.parameters() if parameter.requires_grad]
    assert parameters_in_memory() - before == len(trained) > 0


def test_a_checkpoint_fits_a_float32_model(tiny_cfg):
    held, plain = build(frozen(tiny_cfg)), build_model(frozen(tiny_cfg, "float32"))
    plain.load_state_dict(held.state_dict())
    assert {weight.dtype for weight in plain.parameters()} == {torch.float32}
    assert_same({name: weight.float() for name, weight in held.state_dict().items()}, dict(plain.state_dict()))


def test_an_exported_model_is_float32(tiny_cfg, tmp_path):
    """onnxruntime has no bfloat16 convolution."""
    cfg = frozen(tiny_cfg, "bfloat16")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    torch.save({"model": build(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    dtypes = {tensor.dtype for tensor in load_source(cfg).model.state_dict().values() if tensor.is_floating_point()}
    assert dtypes == {torch.float32}


def test_macs_are_those_of_float32(tiny_cfg):
    counts = [count_macs(build(cfg).network, (32, 48)) for cfg in (tiny_cfg, frozen(tiny_cfg))]
    assert counts[0] == counts[1]


def test_a_second_freeze_changes_nothing(tiny_cfg):
    """Continual heads freeze the backbone, frozen or not."""
    model = build(frozen(tiny_cfg))
    expected = model.backbone(torch.ones(1, 3, 32, 48))
    model.backbone.freeze()
    assert not model.backbone.holds_float32
    assert_same(model.backbone(torch.ones(1, 3, 32, 48)), expected)


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_cpu_holds_float32_unless_asked(tiny_cfg, precision):
    model = build(frozen(tiny_cfg, precision))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_an_unknown_precision_is_refused(tiny_cfg):
    with pytest.raises(UserError, match=r"^MODEL\.VIT\.FROZEN_PRECISION"):
        build(frozen(tiny_cfg, "float64"))
