"""Parameter groups, full-model clipping and schedules, each against its formula."""

import copy

import pytest
import torch
from detectron2.solver import build_lr_scheduler as build_detectron2_lr_scheduler
from torch import nn

from segvit.d2 import get_segvit_cfg
from segvit.d2.solver import add_full_model_clipping, build_lr_scheduler, build_optimizer, parameter_groups

BASE_LR, DECAY = 1e-3, 0.05


def make_model():
    torch.manual_seed(0)
    backbone = nn.ModuleDict({"proj": nn.Linear(3, 4), "norm": nn.LayerNorm(4)})
    head = nn.ModuleDict({"class_embed": nn.Linear(4, 2), "norm": nn.LayerNorm(2)})
    return nn.ModuleDict({"backbone": backbone, "sem_seg_head": head})


def make_cfg(**solver):
    cfg = get_segvit_cfg()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = BASE_LR, DECAY
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR = 100, 10, 0.01
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    return cfg


def make_gradients(model, scale=1.0):
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale
    return model


def settings_by_name(model, groups):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]
    }


@pytest.mark.parametrize("multiplier", [1.0, 10.0])
def test_parameter_groups_have_the_learning_rate_and_decay_of_their_module(multiplier):
    model = make_model()
    groups = parameter_groups(
        model,
        base_lr=BASE_LR,
        decoder_lr_multiplier=multiplier,
        layer_decay=1.0,
        weight_decay=DECAY,
        no_weight_decay=["backbone.*norm*", "*class_embed.bias"],
    )
    head = BASE_LR * multiplier
    assert settings_by_name(model, groups) == {
        "backbone.proj.weight": (BASE_LR, DECAY),
        "backbone.proj.bias": (BASE_LR, DECAY),
        "backbone.norm.weight": (BASE_LR, 0.0),
        "backbone.norm.bias": (BASE_LR, 0.0),
        "sem_seg_head.class_embed.weight": (head, DECAY),
        "sem_seg_head.class_embed.bias": (head, 0.0),
        "sem_seg_head.norm.weight": (head, DECAY),
        "sem_seg_head.norm.bias": (head, DECAY),
    }
    assert len(groups) == (2 if multiplier == 1.0 else 4)


def test_optimizer_reads_the_config():
    cfg, model = make_cfg(DECODER_LR_MULTIPLIER=4.0, NO_WEIGHT_DECAY=["*.bias"]), make_model()
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.AdamW)
    settings = settings_by_name(model, optimizer.param_groups)
    assert settings["backbone.proj.weight"] == (BASE_LR, DECAY)
    assert settings["sem_seg_head.norm.weight"] == (4 * BASE_LR, DECAY)
    assert settings["sem_seg_head.norm.bias"] == (4 * BASE_LR, 0.0)


def test_layer_decay_lowers_the_rate_of_earlier_blocks():
    """The last block and the norm after it learn at the base rate, each earlier layer at a fraction of it."""
    blocks = nn.ModuleList(nn.Linear(2, 2, bias=False) for _ in range(3))
    encoder = nn.ModuleDict({"embedding": nn.Linear(2, 2, bias=False), "blocks": blocks, "norm": nn.LayerNorm(2)})
    backbone = nn.ModuleDict({"encoder": encoder})
    model = nn.ModuleDict({"backbone": backbone, "sem_seg_head": nn.Linear(2, 2, bias=False)})
    cfg = make_cfg(LAYER_DECAY=0.5, DECODER_LR_MULTIPLIER=10.0, NO_WEIGHT_DECAY=[])
    settings = settings_by_name(model, build_optimizer(cfg, model).param_groups)
    factors = {"embedding": 0.125, "blocks.0": 0.25, "blocks.1": 0.5, "blocks.2": 1.0, "norm": 1.0}
    for layer, factor in factors.items():
        assert settings[f"backbone.encoder.{layer}.weight"][0] == pytest.approx(factor * BASE_LR)
    assert settings["sem_seg_head.weight"][0] == pytest.approx(10 * BASE_LR)


def test_layer_decay_needs_a_plain_vit():
    stages = nn.ModuleDict({"encoder": nn.ModuleDict({"swin": nn.Linear(2, 2)})})
    with pytest.raises(ValueError, match=r"SOLVER\.LAYER_DECAY 0\.5 needs a plain ViT"):
        build_optimizer(make_cfg(LAYER_DECAY=0.5, NO_WEIGHT_DECAY=[]), nn.ModuleDict({"backbone": stages}))


def test_frozen_parameters_are_left_out():
    model = make_model()
    model["backbone"].requires_grad_(False)
    groups = build_optimizer(make_cfg(), model).param_groups
    assert {name.partition(".")[0] for name in settings_by_name(model, groups)} == {"sem_seg_head"}


def test_patterns_that_match_nothing_are_refused():
    cfg = make_cfg(NO_WEIGHT_DECAY=["backbone.*norm*", "*.pos_embd"])
    with pytest.raises(ValueError, match=r"NO_WEIGHT_DECAY: .*\['\*\.pos_embd'\]"):
        build_optimizer(cfg, make_model())


def clip_cfg(enabled=True, clip_type="full_model", value=0.5, norm_type=2.0):
    cfg = make_cfg()
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE = enabled, clip_type, value, norm_type
    return cfg


def assert_equal_gradients(model, expected, **tolerances):
    for parameter, reference in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad, **tolerances)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_full_model_clipping_equals_clip_grad_norm(scale, norm_type):
    model = make_gradients(make_model(), scale)
    expected = copy.deepcopy(model)
    for parameter, clone in zip(model.parameters(), expected.parameters(), strict=True):
        clone.grad = parameter.grad.clone()
    nn.utils.clip_grad_norm_(expected.parameters(), 0.5, norm_type)
    build_optimizer(clip_cfg(norm_type=norm_type), model).step()
    assert_equal_gradients(model, expected)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("known", [False, True], ids=["own norms", "known norms"])
def test_a_fused_optimizer_steps_by_clipped_gradients(scale, norm_type, known):
    model = make_gradients(make_model(), scale)
    expected = copy.deepcopy(model)
    for parameter, clone in zip(model.parameters(), expected.parameters(), strict=True):
        clone.grad = parameter.grad.clone()
    optimizer, reference = (torch.optim.SGD(net.parameters(), lr=1.0, fused=True) for net in (model, expected))
    add_full_model_clipping(optimizer, max_norm=0.5, norm_type=norm_type)
    if known:
        optimizer.gradient_norms = torch.stack([parameter.grad.norm() for parameter in model.parameters()])
    optimizer.step()
    nn.utils.clip_grad_norm_(expected.parameters(), 0.5, norm_type)
    reference.step()
    for parameter, clipped in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter, clipped)


def test_gradients_are_clipped_after_unscaling():
    model, expected = make_model(), make_model()
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    losses = [(net["backbone"]["norm"](net["backbone"]["proj"](inputs)) ** 3).sum() for net in (model, expected)]
    scaler.scale(losses[0]).backward()
    losses[1].backward()
    norm = nn.utils.clip_grad_norm_(expected.parameters(), 0.5)
    assert norm > 0.5
    scaler.step(build_optimizer(clip_cfg(), model))
    assert_equal_gradients(model["backbone"], expected["backbone"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("clip_type", ["value", "norm"])
def test_clipping_of_single_parameters_equals_detectron2s(clip_type):
    model, expected = make_gradients(make_model()), make_gradients(make_model())
    for parameter in expected.parameters():
        if clip_type == "value":
            nn.utils.clip_grad_value_(parameter, 0.5)
        else:
            nn.utils.clip_grad_norm_(parameter, 0.5)
    build_optimizer(clip_cfg(clip_type=clip_type), model).step()
    assert_equal_gradients(model, expected)


def test_clipping_can_be_off():
    model, expected = make_gradients(make_model(), 1e3), make_gradients(make_model(), 1e3)
    build_optimizer(clip_cfg(enabled=False), model).step()
    assert_equal_gradients(model, expected)


def learning_rates(cfg, build=build_lr_scheduler):
    """The learning rates of encoder and decoder at every iteration, and after the last."""
    optimizer = build_optimizer(cfg, make_model())
    scheduler = build(cfg, optimizer)
    rates = [scheduler.get_last_lr()]
    for _ in range(cfg.SOLVER.MAX_ITER):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr())
    return [(min(step), max(step)) for step in rates]


@pytest.mark.parametrize(("power", "end"), [(1.0, 0.0), (0.9, 1e-5), (2.0, 1e-4)])
def test_learning_rates_follow_warmup_and_polynomial_decay(power, end):
    def poly(iteration):
        return end + (BASE_LR - end) * (1 - iteration / 100) ** power

    rates = learning_rates(make_cfg(POLY_POWER=power, BASE_LR_END=end, DECODER_LR_MULTIPLIER=10.0))
    start = 0.01 * BASE_LR
    expected = {0: start, 5: (start + poly(10)) / 2, 10: poly(10), 55: poly(55), 99: poly(99), 100: end}
    for iteration, rate in expected.items():
        encoder, decoder = rates[iteration]
        assert encoder == pytest.approx(rate, rel=1e-6, abs=1e-12)
        assert decoder == pytest.approx(10 * rate, rel=1e-6, abs=1e-12)


def test_learning_rates_stay_valid_if_training_ends_during_the_warmup():
    rates = learning_rates(make_cfg(MAX_ITER=4, WARMUP_ITERS=10))
    assert all(0 <= encoder <= BASE_LR for encoder, _ in rates)


@pytest.mark.parametrize("name", ["WarmupCosineLR", "WarmupMultiStepLR"])
def test_detectron2s_schedules_are_unchanged(name):
    cfg = make_cfg(LR_SCHEDULER_NAME=name, BASE_LR_END=1e-5, STEPS=(50,))
    assert learning_rates(cfg) == learning_rates(cfg, build_detectron2_lr_scheduler)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="Unknown LR scheduler: Poly"):
        learning_rates(make_cfg(LR_SCHEDULER_NAME="Poly"))


def test_biases_have_a_learning_rate_of_their_own():
    model = make_model()
    settings = settings_by_name(model, build_optimizer(make_cfg(BIAS_LR_FACTOR=2.0), model).param_groups)
    assert settings["backbone.proj.weight"][0] == pytest.approx(BASE_LR)
    assert settings["backbone.proj.bias"][0] == pytest.approx(2 * BASE_LR)
    assert settings["sem_seg_head.class_embed.bias"][0] == pytest.approx(20 * BASE_LR)


def test_the_schedule_starts_after_the_warm_up_if_its_interval_is_rescaled():
    """WarmupPolyLR has decayed by a tenth after a warm-up of 10 of 100 iterations, unless it starts there."""
    rates = {}
    for rescaled in (False, True):
        cfg = make_cfg(RESCALE_INTERVAL=rescaled)
        optimizer = build_optimizer(cfg, make_model())
        scheduler = build_lr_scheduler(cfg, optimizer)
        for _ in range(10):
            optimizer.step()
            scheduler.step()
        rates[rescaled] = optimizer.param_groups[0]["lr"] / optimizer.param_groups[0]["initial_lr"]
    assert rates == pytest.approx({False: 0.9, True: 1.0})
