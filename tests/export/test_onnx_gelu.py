"""GELU in exported ONNX files: its values, and that onnxruntime makes one kernel of the exact one."""

import numpy as np
import pytest
import torch
from torch import nn

from segvit.export.onnx_gelu import TRANSLATIONS

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_has_its_values_and_one_kernel(tmp_path, approximate):
    import onnx

    module = nn.Sequential(nn.Linear(8, 4), nn.GELU(approximate)).eval()
    features = torch.linspace(-6, 6, 24).view(3, 8)
    exported = torch.export.export(module, (features,), strict=False)
    table = dict(TRANSLATIONS)
    program = torch.onnx.export(
        exported, (), input_names=["x"], opset_version=18, dynamo=True, verbose=False, custom_translation_table=table
    )
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (results,) = session.run(None, {"x": features.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(results, module(features).numpy(), atol=1e-6)
    kernels = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert "Erf" not in kernels and ("Gelu" in kernels) == (approximate == "none")
