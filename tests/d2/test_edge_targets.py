"""The edge targets of Shrunk++ are computed once per training step."""

from segvit.d2 import SegViT
from segvit.modeling.losses import edge_loss


def test_a_step_computes_edge_targets_once(tiny_cfg, make_input, monkeypatch):
    vit = tiny_cfg.MODEL.VIT
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES = "shrunk++", 1, [0, 2]
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = "nearest"
    calls = []
    compute = edge_loss.edge_patches
    monkeypatch.setattr(
        edge_loss, "edge_patches", lambda *args, **kwargs: (calls.append(1), compute(*args, **kwargs))[1]
    )
    losses = SegViT(tiny_cfg).train()([make_input(32, 48, ids=(0, 1))])
    assert losses["loss_edge"] > 0
    assert len(calls) == 1
