"""The estimated memory of training steps equals what PyTorch's allocator measures on a CPU."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from torch.profiler import ProfilerActivity, profile

from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.short_runs import overrides
from helpers.tiny_models import use_channels, use_shrunk_pp
from segvit.analysis.training_memory import CLASSES_PER_IMAGE
from segvit.d2.solver import build_optimizer

IMAGES = 3
estimate_training_memory = load_script(PROJECT / "tools" / "analyze_model.py").training_memory


@pytest.fixture
def cfg(tiny_cfg):
    """A model small enough to run, whose activations are most of its memory."""
    vit = tiny_cfg.MODEL.VIT
    vit.IMG_SIZE = [96, 128]
    vit.EMBED_DIM, vit.NUM_HEADS = 96, 3
    vit.DROP_PATH_RATE = tiny_cfg.MODEL.SEGVIT.DROPOUT = 0.0
    tiny_cfg.SOLVER.IMS_PER_BATCH = IMAGES
    tiny_cfg.SOLVER.AMP.PRECISION = "float32"
    tiny_cfg.SOLVER.NO_WEIGHT_DECAY = []
    return tiny_cfg


def measured_peak(cfg, parts=1):
    """The most bytes that the CPU allocator holds in the second step, with the model and the optimizer's states."""
    model = build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    count = min(CLASSES_PER_IMAGE, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    height, width = cfg.MODEL.VIT.IMG_SIZE
    labels = (torch.arange(width) * count // width).to(torch.uint8).expand(height, width).contiguous()
    dtype = torch.uint8 if cfg.INPUT.LEVELS == "8bit" else torch.float32
    image = torch.zeros(cfg.INPUT.CHANNELS, height, width, dtype=dtype)
    batch = [{"image": image, "sem_seg": labels, "sem_seg_ids": torch.arange(count)}] * (IMAGES // parts)

    def step():
        for _ in range(parts):
            sum(model(batch).values()).backward()

    step()
    optimizer.step()
    optimizer.zero_grad()
    states = [value for state in optimizer.state.values() for value in state.values() if value.dim()]
    held = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers(), *states))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    live = peak = 0
    for event in events:
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return held + peak


@pytest.mark.parametrize("kind", ["plain", "frozen", "recomputed", "parts", "shrunk++", "channels"])
def test_the_peak_is_the_measured_one(cfg, kind):
    parts = 1
    if kind == "frozen":
        cfg.MODEL.VIT.FROZEN = True
    elif kind == "recomputed":
        cfg.MODEL.VIT.GRADIENT_CHECKPOINTING = True
    elif kind == "parts":
        parts = cfg.SOLVER.ACCUM_STEPS = IMAGES
    elif kind == "shrunk++":
        use_shrunk_pp(cfg, SELECTION="topk", SHARE=0.4)
    elif kind == "channels":
        use_channels(cfg, 5)
    estimate = estimate_training_memory(cfg)
    assert estimate.peak == pytest.approx(measured_peak(cfg, parts), rel=0.1)


def test_attention_with_a_learned_bias_keeps_no_probabilities_on_a_gpu(cfg):
    vit = cfg.MODEL.VIT
    vit.NAME, vit.KEEP_PREFIX_TOKENS, vit.IMG_SIZE = "beit_base_patch16_224", True, [256, 256]
    on_cpu = estimate_training_memory(cfg)
    cfg.MODEL.DEVICE = "cuda"
    on_gpu = estimate_training_memory(cfg)
    blocks, tokens = max(vit.OUT_INDICES) + 1, (256 // vit.PATCH_SIZE) ** 2 + 1
    pairs = 4 * blocks * vit.NUM_HEADS * tokens**2
    # A GPU keeps the bias, which all images share, and a CPU the probabilities of each image.
    assert on_cpu.activations - on_gpu.activations == pytest.approx((IMAGES - 1) * pairs, rel=0.05)
    assert on_gpu.peak < on_cpu.peak
    # No block holds an index of all pairs of tokens.
    assert on_gpu.weights - on_gpu.gradients < tokens**2


def test_parts_of_the_memory(cfg):
    """Of trained and frozen encoders, with and without EMA; a GPU holds frozen weights in bfloat16."""
    plain = estimate_training_memory(cfg)
    assert plain.optimizer == 2 * plain.gradients and plain.average == 0
    cfg.SOLVER.EMA.ENABLED = True
    averaged = estimate_training_memory(cfg)
    assert averaged.average == pytest.approx(averaged.weights, rel=0.01)
    assert averaged.peak - plain.peak == averaged.average
    cfg.MODEL.VIT.FROZEN = True
    frozen = estimate_training_memory(cfg)
    assert frozen.weights == plain.weights and frozen.gradients < plain.gradients
    assert frozen.activations < 0.7 * plain.activations
    cfg.MODEL.DEVICE = "cuda"
    assert estimate_training_memory(cfg).weights < 0.8 * frozen.weights


def test_more_images_and_higher_precision_need_more_memory(cfg):
    three, one = (estimate_training_memory(cfg, images) for images in (3, 1))
    assert three.activations == pytest.approx(3 * one.activations, rel=0.05)
    cfg.MODEL.DEVICE, cfg.SOLVER.AMP.PRECISION = "cuda", "bfloat16"
    assert estimate_training_memory(cfg).activations < 0.8 * three.activations


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_analyze_model_prints_the_estimate(capsys, flags):
    keys = {"MODEL.VIT.IMG_SIZE": "(32,48)", "MODEL.VIT.EMBED_DIM": "24", "MODEL.VIT.NUM_HEADS": "2"}
    config = str(PROJECT / "configs" / "ade20k" / "segvit_vit_base_512.yaml")
    tool = load_script(PROJECT / "tools" / "analyze_model.py")
    tool.main(["--config-file", config, "--train", "--images", "1", *flags, *overrides(keys)])
    printed = capsys.readouterr().out
    if flags:
        assert 0 < json.loads(printed)["weights"] < json.loads(printed)["peak"]
    else:
        assert "activations" in printed and "peak" in printed
