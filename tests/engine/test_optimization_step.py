"""`OptimizationStep`: accumulation equals the whole batch; loss scaling; NaN and infinite losses; EMA."""

import os
import re
import types

import pytest
import torch
from detectron2.engine import HookBase
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from torch import nn

from helpers.processes import run_in_two_processes
from helpers.toy_run import assert_same, final_state, run, toy_run_cfg
from segvit.d2.solver import build_optimizer
from segvit.engine.hooks.ema import EMAHook
from segvit.engine.non_finite_guard import MOST_SKIPPED, NonFiniteError, NonFiniteGuard
from segvit.engine.optimization_step import OptimizationStep
from segvit.engine.precision import Precision, make_precision
from segvit.errors import UserError


def make_step(model, batches, optimizer, folder, *, action="stop", precision=None, parts=1):
    return OptimizationStep(
        model,
        batches,
        optimizer,
        precision=precision or make_precision("float32", "cpu"),
        guard=NonFiniteGuard(action=action, folder=folder),
        parts=parts,
    )


def run_steps(step, count=1):
    with EventStorage() as storage:
        for step.iter in range(count):
            step.run_step()
    return storage


def variants(cfg, name):
    """Losses with different normalizers: queries and masks, pixels, or also edge patches."""
    if name == "pixel":
        cfg.MODEL.SEGVIT.LOSS, cfg.MODEL.SEGVIT.OUTPUT = "pixel", "softmax"
    elif name == "edge":
        cfg.MODEL.VIT.REDUCTION, cfg.MODEL.VIT.REDUCTION_BLOCK = "shrunk++", 2
        cfg.MODEL.VIT.EDGE.SELECTION, cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = "topk", "nearest"
        cfg.MODEL.SEGVIT.EDGE_CLASS_WEIGHT = 3.0
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = True, 0.1
    return cfg


def unequal_batch(make_input):
    """Four images of several sizes, with few, many or no classes."""
    ids = [(0,), (0, 1, 2, 3, 255), (255,), (1, 4)]
    sizes = [(32, 48), (30, 48), (32, 40), (32, 48)]
    return [make_input(*size, seed=seed, ids=own) for seed, (size, own) in enumerate(zip(sizes, ids))]


def stepped(cfg, batch, folder, parts, wrap=lambda model: model):
    """Gradients and losses of one step on the batch."""
    torch.manual_seed(0)
    model = wrap(build_model(cfg).train())
    step = make_step(model, [batch], build_optimizer(cfg, getattr(model, "module", model)), folder, parts=parts)
    storage = run_steps(step)
    gradients = {name.removeprefix("module."): value.grad for name, value in model.named_parameters()}
    losses = {name: value for name, (value, _) in storage.latest().items() if "loss" in name}
    return gradients, losses


def assert_close(first, second):
    assert first[0].keys() == second[0].keys()
    for name, gradient in first[0].items():
        torch.testing.assert_close(gradient, second[0][name], rtol=1e-5, atol=1e-6, msg=name)
    assert first[1] == pytest.approx(second[1], rel=1e-5)


@pytest.mark.parametrize("losses", ["mask", "pixel", "edge"])
def test_a_batch_in_parts_equals_the_whole(tiny_cfg, make_input, tmp_path, losses):
    cfg, batch = variants(tiny_cfg, losses), unequal_batch(make_input)
    whole = stepped(cfg, batch, tmp_path, parts=1)
    assert ("loss_edge" in whole[1]) == (losses == "edge")
    for parts in (2, 4):
        assert_close(stepped(cfg, batch, tmp_path, parts=parts), whole)


def test_a_model_without_normalizers_cannot_accumulate(tmp_path):
    _, step = breakable([1.0, 2.0], tmp_path, parts=2)
    with pytest.raises(UserError, match=r"SOLVER\.ACCUM_STEPS 2 .* Breakable"):
        run_steps(step)


def parts_in_process(rank, folder, cfg, batch):
    result = stepped(cfg, batch[2 * rank : 2 * rank + 2], folder, 2, wrap=nn.parallel.DistributedDataParallel)
    torch.save(result, folder / f"{rank}.pt")


def test_parts_of_two_processes_equal_the_whole(tiny_cfg, make_input, tmp_path):
    cfg, batch = variants(tiny_cfg, "mask"), unequal_batch(make_input)
    run_in_two_processes(parts_in_process, tmp_path, cfg, batch)
    whole = stepped(cfg, batch, tmp_path, parts=1)
    for rank in range(2):
        gradients, losses = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert_close((gradients, losses or whole[1]), whole)


def test_parts_must_be_equal(toy_scenes_root, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    with pytest.raises(ValueError, match=r"SOLVER\.ACCUM_STEPS 3 must divide the 2 images"):
        run(toy_run_cfg(tmp_path, SOLVER__ACCUM_STEPS=3), resume=False)


def test_all_options_together_resume(toy_scenes_root, monkeypatch, tmp_path):
    """Accumulation, EMA and bfloat16 together."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    changes = {
        "SOLVER__ACCUM_STEPS": 2,
        "SOLVER__EMA__ENABLED": True,
        "SOLVER__AMP__ENABLED": True,
        "SOLVER__AMP__PRECISION": "bfloat16",
    }
    for folder in ("whole", "parts"):
        seed_all_rng(1)
        trainer = run(toy_run_cfg(tmp_path / folder, **changes), resume=False)
    (tmp_path / "parts" / "last_checkpoint").write_text("model_0000003.pth")
    assert run(toy_run_cfg(tmp_path / "parts", **changes), resume=True).start_iter == 4
    whole = final_state(tmp_path / "whole")
    assert_same(final_state(tmp_path / "parts"), whole)
    trained = whole["model_final"]["trainer"]["hooks"]["EMAHook"]["trained_model"]
    assert_same(dict(trained), {name: tensor.cpu() for name, tensor in trainer.model.state_dict().items()})
    assert any(not torch.equal(trained[name], tensor) for name, tensor in whole["model_final"]["model"].items())


def test_ema_follows_its_formula():
    model = nn.Linear(2, 1)
    average = EMAHook(model, decay=0.5)
    average.trainer = types.SimpleNamespace(iter=0)
    average.before_train()
    expected = model.weight.detach().clone()
    for iteration in range(5):
        average.trainer.iter = iteration
        with torch.no_grad():
            model.weight.add_(1.0)
        average.after_step()
        decay = min(0.5, 1 - (1 + iteration) ** (-2 / 3))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        torch.testing.assert_close(average.averaged.weight.detach(), expected)


def test_ema_leaves_frozen_weights_as_they_are():
    """timm's average rounds bfloat16 weights at random, and the trained model shares the frozen ones."""
    model = nn.Sequential(nn.Linear(1024, 512, dtype=torch.bfloat16).requires_grad_(False), nn.Linear(2, 1))
    frozen = model[0].weight.clone()
    average = EMAHook(model, decay=0.9998)
    for iteration in range(1000, 1020):
        average.trainer = types.SimpleNamespace(iter=iteration)
        average.after_step()
    assert torch.equal(model[0].weight, frozen)
    assert average.averaged[0].weight is model[0].weight


def test_training_starts_from_weights_loaded_into_the_ema():
    model = nn.Linear(2, 1)
    average = EMAHook(model, decay=0.5)
    average.averaged.load_state_dict({"weight": torch.ones(1, 2), "bias": torch.ones(1)})
    average.before_train()
    assert model.weight.tolist() == [[1.0, 1.0]]


class Breakable(nn.Linear):
    """A model whose loss follows from the values in the batch."""

    device = torch.device("cpu")

    def forward(self, batch):
        values = torch.stack([image["image"] for image in batch])
        return {"loss_value": super().forward(values).square().mean()}


def batch_of(value):
    return [{"image": torch.tensor([value, 1.0]), "file_name": "a.png", "sem_seg": torch.zeros(2, 2), "odd": {1}}]


def breakable(values, folder, **options):
    torch.manual_seed(0)
    model = Breakable(2, 1)
    return model, make_step(
        model, [batch_of(value) for value in values], torch.optim.SGD(model.parameters(), lr=0.1), folder, **options
    )


def test_a_nan_loss_stops_the_run(tmp_path):
    model, step = breakable([1.0, float("nan")], tmp_path)
    run_steps(step)
    before = model.weight.detach().clone()
    path = tmp_path / "non_finite" / "iteration_0000001_rank0.pth"
    with EventStorage(), pytest.raises(NonFiniteError) as stopped:
        step.iter = 1
        step.run_step()
    message = str(stopped.value)
    assert message.startswith("iteration 1: ") and "'loss_value': nan" in message
    assert "gradients: weight" in message and "a.png" in message and str(path) in message
    assert "SOLVER.BASE_LR" in message
    assert torch.equal(model.weight, before)
    saved = torch.load(path, weights_only=True)
    assert saved["batch"][0]["file_name"] == "a.png" and saved["batch"][0]["image"].isnan().any()
    assert set(saved["batch"][0]) == {"image", "file_name", "sem_seg"}


def test_infinite_gradients_of_a_finite_loss_are_detected(tmp_path):
    model, step = breakable([1.0], tmp_path)
    model.bias.register_hook(lambda gradient: gradient * float("inf"))
    with EventStorage(), pytest.raises(NonFiniteError, match=r"infinite: none; parameters .*: bias;"):
        step.iter = 0
        step.run_step()


def test_only_some_steps_in_a_row_may_be_skipped(tmp_path, caplog):
    nan = float("nan")
    model, step = breakable([nan, 1.0, *[nan] * MOST_SKIPPED], tmp_path, action="skip")
    initial = model.weight.detach().clone()
    run_steps(step)
    assert torch.equal(model.weight, initial)
    assert "The step is skipped" in caplog.text
    run_steps(step)
    assert not torch.equal(model.weight, initial)
    with pytest.raises(NonFiniteError):
        run_steps(step, MOST_SKIPPED)
    assert model.weight.isfinite().all()


def test_scaled_gradients_may_overflow(tmp_path):
    """The scale is halved until the gradients are finite; checkpoints keep the scaler's state."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
    precision = Precision(device_type="cpu", dtype=torch.float32, grad_scaler=scaler)
    model, step = breakable([1e3] * 30, tmp_path, precision=precision)
    initial = model.weight.detach().clone()
    run_steps(step)
    assert torch.equal(model.weight, initial) and precision.grad_scaler.get_scale() == 2.0**126
    run_steps(step, 25)
    assert not torch.equal(model.weight, initial)
    assert not (tmp_path / "non_finite").exists()
    fresh = Precision(
        device_type="cpu", dtype=torch.float32, grad_scaler=torch.amp.GradScaler("cpu", growth_interval=1000)
    )
    _, restored = breakable([1.0], tmp_path, precision=fresh)
    restored.load_state_dict(step.state_dict())
    assert fresh.grad_scaler.state_dict() == scaler.state_dict()


def test_infinite_gradients_at_scale_one_are_an_error(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    model, step = breakable(
        [1.0] * 4, tmp_path, precision=Precision(device_type="cpu", dtype=torch.float32, grad_scaler=scaler)
    )
    model.bias.register_hook(lambda gradient: gradient * float("inf"))
    run_steps(step, 2)
    with pytest.raises(NonFiniteError, match="gradients: bias"):
        run_steps(step)


class MakeNaN(HookBase):
    """Makes the loss of one process NaN in one iteration."""

    def before_step(self):
        if self.trainer.iter == 1:
            with torch.no_grad():
                self.saved = self.trainer._trainer.model.module.pixel_mean.clone()
                self.trainer._trainer.model.module.pixel_mean.fill_(float("nan"))

    def after_step(self):
        if self.trainer.iter == 1:
            self.trainer._trainer.model.module.pixel_mean.copy_(self.saved)


def run_with_nan_in_one_process(rank, folder, root):
    os.environ["DETECTRON2_DATASETS"] = root
    seed_all_rng(1 + rank)
    cfg = toy_run_cfg(folder / "run", SOLVER__NON_FINITE="skip", MODEL__VIT__STEM="linear", TEST__EVAL_PERIOD=0)
    trainer = run(cfg, resume=False, hooks=[MakeNaN()] if rank == 1 else [])
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    torch.save(trainer.model.state_dict(), folder / f"{rank}.pt")


def test_all_processes_skip_a_step_that_is_nan_in_one(toy_scenes_root, tmp_path):
    run_in_two_processes(run_with_nan_in_one_process, tmp_path, str(toy_scenes_root))
    weights = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert_same(*map(dict, weights))
    assert len(list((tmp_path / "run" / "non_finite").glob("iteration_0000001_rank[01].pth"))) == 2


def test_an_unknown_action_is_refused(tmp_path):
    with pytest.raises(ValueError, match=re.escape("SOLVER.NON_FINITE 'ignore' must be 'stop' or 'skip'")):
        NonFiniteGuard(action="ignore", folder=tmp_path)
