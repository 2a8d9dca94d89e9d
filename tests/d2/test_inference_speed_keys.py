"""TEST.PRECISION and MODEL.COMPILE: scores stay the same in another number format and with compiled parts."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from segvit.config import device as devices
from segvit.d2 import SegViT, load_config
from segvit.errors import UserError
from segvit.modeling.decoder.atm_decoder import ATMDecoder

IMAGE = torch.randint(0, 256, (3, 61, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def build(*options):
    cfg = load_config("projects/SegViT/configs/quick_schedules/toy_scenes.yaml", ["MODEL.DEVICE", "cpu", *options])
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


def test_compiled_parts_give_the_same_results_and_names(monkeypatch):
    """With a backend that counts graphs and does not compile them, because the default one takes a minute."""
    counter = CompileCounter()
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: compile_(function, backend=counter))
    eager, compiled = build(), build("MODEL.COMPILE", True)
    assert list(compiled.state_dict()) == list(eager.state_dict())
    torch.testing.assert_close(scores_of(compiled), scores_of(eager))
    assert counter.frame_count == 2  # one graph for the encoder, one for the decoder
