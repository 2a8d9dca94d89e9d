"""On a CUDA device: mixed-precision steps train, and scores and losses equal those of the CPU."""

import copy

import pytest
import torch
from detectron2.utils.events import EventStorage

from helpers.tiny_models import build, use_windows
from segvit.d2.solver import build_optimizer
from segvit.engine.non_finite_guard import NonFiniteGuard
from segvit.engine.optimization_step import OptimizationStep
from segvit.engine.precision import make_precision

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def build_on(device, cfg):
    cfg = copy.deepcopy(cfg)
    cfg.MODEL.DEVICE = device
    return build(cfg)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_mixed_precision_steps_train_in_float32_weights(tiny_cfg, make_input, precision, tmp_path):
    model = build_on("cuda", tiny_cfg).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = [make_input(32, 48), make_input(24, 40, seed=1)]
    trainer = OptimizationStep(
        model,
        [batch] * 8,
        build_optimizer(tiny_cfg, model),
        precision=make_precision(precision, "cuda"),
        guard=NonFiniteGuard(action="stop", folder=tmp_path),
    )
    types = []
    model.backbone.encoder.blocks[0].mlp.fc1.register_forward_hook(lambda *call: types.append(call[2].dtype))
    with EventStorage() as storage:
        for trainer.iter in range(8):  # The loss scaler may skip the first few steps.
            trainer.run_step()
    assert set(types) == {getattr(torch, precision)}
    assert storage.latest()["total_loss"][0] > 0
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in model.state_dict().values())
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert len(changed) > len(before) / 2


def test_images_without_labels_give_finite_gradients(tiny_cfg, make_input):
    model = build_on("cuda", tiny_cfg).train()
    losses = model([make_input(32, 48, ids=(255,))])
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("output", ["mix", "diagonal"])
@torch.no_grad()
def test_scores_equal_those_of_the_cpu(tiny_cfg, make_input, output):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = output
    cpu, cuda = build_on("cpu", tiny_cfg), build_on("cuda", tiny_cfg)
    cuda.load_state_dict(cpu.state_dict())
    batch = [{"image": make_input(*size)["image"]} for size in [(32, 48), (29, 43)]]
    for result, expected in zip(cuda(batch), cpu(batch), strict=True):
        assert result["sem_seg"].device.type == "cuda"
        torch.testing.assert_close(result["sem_seg"].cpu(), expected["sem_seg"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("accumulate_on_cpu", [False, True])
@torch.no_grad()
def test_windows_equal_those_of_the_cpu(tiny_cfg, make_input, accumulate_on_cpu):
    use_windows(tiny_cfg, ACCUMULATE_ON_CPU=accumulate_on_cpu)
    cpu, cuda = build_on("cpu", tiny_cfg), build_on("cuda", tiny_cfg)
    cuda.load_state_dict(cpu.state_dict())
    inputs = [{"image": make_input(53, 90)["image"], "height": 70, "width": 100}]
    scores = cuda(inputs)[0]["sem_seg"]
    expected = cpu(inputs)[0]["sem_seg"]
    assert scores.device.type == ("cpu" if accumulate_on_cpu else "cuda")
    torch.testing.assert_close(scores.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_losses_equal_those_of_the_cpu(tiny_cfg, make_input):
    cpu, cuda = build_on("cpu", tiny_cfg).train(), build_on("cuda", tiny_cfg).train()
    cuda.load_state_dict(cpu.state_dict())
    batch = [make_input(32, 48), make_input(24, 40, seed=1)]
    expected = cpu(batch)
    for name, loss in cuda(batch).items():
        torch.testing.assert_close(loss.cpu(), expected[name], rtol=1e-3, atol=1e-3)
