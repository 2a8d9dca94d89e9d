"""Exported files of models with tokens of cells or coarse patches take images of any size, in every kind of positions.

Shape shorthand: H x W pixels.
"""

import pytest
from test_export_model import export, one_graph, require_agreement_of_each, save_weights, use_blocks

from helpers.repository import PROJECT
from helpers.scripts import load_script

__all__ = ["one_graph"]

# Encoders with relative and with rotary positions; those of the other tests are absolute.
FAMILIES = {
    "BEiT": {"NAME": "beitv2_base_patch16_224", "KEEP_PREFIX_TOKENS": True},
    "EVA-02": {"NAME": "eva02_tiny_patch14_224", "KEEP_PREFIX_TOKENS": True},
    "DINOv3": {"NAME": "vit_small_patch16_dinov3", "KEEP_PREFIX_TOKENS": True},
}


def use_cells(cfg, kind):
    """In two blocks; "merge twice" merges cells before the first and similar tokens before the second."""
    use_blocks(cfg, 2)
    vit = cfg.MODEL.VIT
    vit.REDUCTION, vit.EDGE.SELECTION, vit.EDGE.SHARE, vit.MERGE.SHARE = kind.split()[0], "topk", 0.5, 0.5
    if kind == "merge twice":
        vit.MERGE.BLOCK, vit.MERGE.SHARE, vit.MERGE.GLOBAL_BLOCKS, vit.MERGE.GLOBAL_SHARE = 0, 0.6, [1], 0.4
    cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    return cfg


@pytest.mark.parametrize("kind", ["cells", "merge twice"])
@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_each_kind_of_positions_accept_any_size(tiny_cfg, tmp_path, family, kind):
    for key, value in FAMILIES[family].items():
        tiny_cfg.MODEL.VIT[key] = value
    require_agreement_of_each(*export(use_cells(tiny_cfg, kind), tmp_path, "torchscript"))


def test_files_of_coarse_patches_accept_any_size(tiny_cfg, tmp_path):
    """With detail from the stem's maps."""
    use_blocks(tiny_cfg, 1)
    vit, detail = tiny_cfg.MODEL.VIT, tiny_cfg.MODEL.SEGVIT.DETAIL
    vit.STEM, vit.PATCH_SIZE, vit.IMG_SIZE = "conv", 32, [64, 96]
    detail.SOURCE, detail.DIM, tiny_cfg.MODEL.SEGVIT.OUTPUT = "stem", 32, "diagonal"
    require_agreement_of_each(*export(tiny_cfg, tmp_path, "torchscript"))


@pytest.mark.slow
def test_onnx_files_with_tokens_of_cells_accept_any_size(tiny_cfg, tmp_path, one_graph):
    require_agreement_of_each(*export(use_cells(tiny_cfg, "cells"), tmp_path, "onnx"))


@pytest.mark.slow
def test_a_float16_file_with_tokens_merged_anywhere_runs(tiny_cfg, tmp_path, capsys):
    """onnxruntime sums no float16 by ScatterElements."""
    config, target = tmp_path / "c.yaml", tmp_path / "m.onnx"
    config.write_text(save_weights(use_cells(tiny_cfg, "merge twice"), tmp_path).dump())
    main = load_script(PROJECT / "tools" / "export_model.py").main
    main(["--config-file", str(config), "--format", "onnx", "--precision", "float16", "--output", str(target)])
    assert target.is_file() and "float16 was not compared with the model" in capsys.readouterr().out
