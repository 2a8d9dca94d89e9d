"""TEST.PRECISION and MODEL.COMPILE: scores stay the same in another number format and with compiled parts."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from segvit.config import device as devices
from segvit.d2 import SegViT, load_config
from segvit.errors import UserError
from segvit.modeling.decoder.atm_decoder import ATMDecoder
from segvit.modeling.losses import criterion, mask_losses

IMAGE = torch.randint(0, 256, (3, 61, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

# Compilers take seconds for each block.
STAGES = ["MODEL.VIT.OUT_INDICES", "[0,1]", "MODEL.SEM_SEG_HEAD.IN_FEATURES", "['block1','block0']"]
TWO_BLOCKS = ["MODEL.VIT.DEPTH", "2", *STAGES]


def build(*options):
    options = ["MODEL.DEVICE", "cpu", *TWO_BLOCKS, *options]
    cfg = load_config("projects/SegViT/configs/quick_schedules/toy_scenes.yaml", options)
    torch.manual_seed(0)
    return SegViT(cfg, num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES).eval()


@torch.inference_mode()
def scores_of(model):
    return model([{"image": IMAGE}])[0]["sem_seg"]


@pytest.mark.parametrize("output", ["mix", "diagonal"])
def test_bfloat16_runs_the_decoder_and_leaves_scores_in_float32(output, monkeypatch):
    monkeypatch.setattr(devices, "cpu_computes_bfloat16", lambda: True)
    options = ["MODEL.SEGVIT.OUTPUT", output]
    exact, model = build(*options), build(*options, "TEST.PRECISION", "bfloat16")
    seen = []
    for module in model.modules():
        if isinstance(module, ATMDecoder):
            module.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs["pred_masks"].dtype))
    scores, expected = scores_of(model), scores_of(exact)
    assert seen == [torch.bfloat16]
    assert scores.dtype == expected.dtype == torch.float32
    assert not torch.equal(scores, expected)
    assert (scores - expected).abs().max() < 0.05 * expected.max()


def test_an_autocast_around_the_model_is_kept():
    model = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = scores_of(model)
    assert not torch.equal(scores, scores_of(model))


@pytest.mark.parametrize("value", ["float16", "half"])
def test_a_cpu_refuses_other_formats(value):
    with pytest.raises(UserError, match=r"TEST\.PRECISION"):
        build("TEST.PRECISION", value)


@pytest.fixture
def compiler(monkeypatch):
    """A backend that counts graphs and does not compile them, because the default one takes a minute."""
    counter = CompileCounter()
    counter.options = []
    compile_ = torch.compile

    def counting(function, **options):
        counter.options.append(options)
        return compile_(function, backend=counter)

    monkeypatch.setattr(torch, "compile", counting)
    caches = (mask_losses._compiled_losses, criterion._compiled_weighted_losses)
    for cache in caches:
        cache.cache_clear()
    yield counter
    for cache in caches:
        cache.cache_clear()


def test_compiled_parts_give_the_same_results_and_names(compiler):
    eager, compiled = build(), build("MODEL.COMPILE", True)
    assert list(compiled.state_dict()) == list(eager.state_dict())
    torch.testing.assert_close(scores_of(compiled), scores_of(eager))
    assert compiler.frame_count == 2  # one graph for the encoder, one for the decoder


def test_compiled_losses_are_the_same_for_any_number_of_masks(compiler, make_input):
    options = ["MODEL.VIT.DROP_PATH_RATE", "0.0", "MODEL.SEGVIT.DROPOUT", "0.0"]
    eager, compiled = (build(*options, "MODEL.COMPILE", compiles).train() for compiles in ("False", "True"))
    for ids in ((0, 1, 2), (0, 3), (1, 2, 3, 4)):
        batch = [make_input(96, 128, ids=ids), make_input(96, 128, seed=1, ids=ids)]
        expected, losses = eager(batch), compiled(batch)
        torch.testing.assert_close(losses, expected)
    gradients = [
        torch.autograd.grad(sum(values.values()), model.sem_seg_head.decoder.class_queries.weight)
        for values, model in ((expected, eager), (losses, compiled))
    ]
    torch.testing.assert_close(gradients[1], gradients[0])
    # Encoder, decoder, mask losses for one and for any number of masks, and the ending of all losses.
    assert compiler.frame_count <= 5


@pytest.mark.parametrize(("mode", "joins"), [("default", False), ("fewest-kernels", True)])
def test_a_mode_decides_whether_kernels_are_joined(compiler, mode, joins):
    build("MODEL.COMPILE", True, "MODEL.COMPILE_MODE", mode)
    assert [options.get("options", {}).get("combo_kernels", False) for options in compiler.options] == [joins] * 2
