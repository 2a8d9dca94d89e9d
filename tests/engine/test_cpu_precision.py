"""A CPU without bfloat16 instructions trains in float32, with one warning."""

import logging

import pytest
import torch

from segvit.config import device as devices
from segvit.config.device import cpu_computes_bfloat16
from segvit.engine.precision import make_precision


@pytest.mark.parametrize(("has_units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_on_a_cpu_needs_its_units(has_units, dtype, monkeypatch, caplog):
    monkeypatch.setattr(devices, "cpu_computes_bfloat16", lambda: has_units)
    with caplog.at_level(logging.WARNING):
        precision = make_precision("bfloat16", "cpu")
    assert precision.dtype is dtype
    with precision.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype is dtype
    assert len(caplog.records) == (0 if has_units else 1)
    assert has_units or "float32" in caplog.text


def test_a_gpu_is_not_asked(monkeypatch):
    monkeypatch.setattr(devices, "cpu_computes_bfloat16", lambda: False)
    assert make_precision("bfloat16", "cuda").dtype is torch.bfloat16


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "arm_bf16", ""])
def test_the_capabilities_of_the_cpu_decide(instructions, monkeypatch):
    capabilities = {"avx2": True, "avx512_bf16": False} | ({instructions: True} if instructions else {})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert cpu_computes_bfloat16() is bool(instructions)


@pytest.mark.parametrize(("capability", "variable"), [("AVX2", "ALL"), ("AVX512", "avx2"), ("AVX512", "AVX512_CORE")])
def test_limits_of_the_libraries_count(capability, variable, monkeypatch):
    """ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA forbid instructions that the CPU has."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", variable)
    assert not cpu_computes_bfloat16()
