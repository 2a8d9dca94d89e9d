"""What SOLVER.AMP and SOLVER.TF32 compute in, by device; settings of the process are as before after a step."""

import pytest
import torch

from segvit.d2 import get_segvit_cfg
from segvit.engine.precision import build_precision, make_precision


@pytest.mark.parametrize(
    ("device", "supported", "dtype"),
    [("cuda", True, torch.bfloat16), ("cuda", False, torch.float32), ("cpu", True, torch.float32)],
)
def test_the_default_is_bfloat16_on_gpus_that_have_it(monkeypatch, device, supported, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    cfg = get_segvit_cfg()
    precision = build_precision(cfg, device)
    assert precision.dtype == dtype and precision.tf32 and not precision.grad_scaler.is_enabled()
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.TF32 = False, False
    full = build_precision(cfg, device)
    assert full.dtype == torch.float32 and not full.tf32


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_set_within_a_step_only(tf32):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with pytest.raises(KeyError), make_precision("float32", "cpu", tf32=tf32).float32_products():
        assert torch.backends.cuda.matmul.allow_tf32 is tf32 and torch.backends.cudnn.allow_tf32 is tf32
        raise KeyError("an error within the step")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
