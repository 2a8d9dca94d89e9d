"""Exported files of models that make tokens of cells take images of any size.

Shape shorthand: H x W pixels.
"""

import pytest
from test_export_model import export, one_graph, require_agreement_of_each, use_blocks

__all__ = ["one_graph"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "formats"), [("cells", ["onnx", "torch_export"]), ("merge", ["torchscript"])])
def test_files_with_tokens_of_cells_accept_any_size(tiny_cfg, tmp_path, one_graph, kind, formats):
    use_blocks(tiny_cfg, 2)
    vit = tiny_cfg.MODEL.VIT
    vit.REDUCTION, vit.EDGE.SELECTION, vit.EDGE.SHARE, vit.MERGE.SHARE = kind, "topk", 0.5, 0.5
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    require_agreement_of_each(*export(tiny_cfg, tmp_path, *formats))
