"""`DetailBranch` in whole models: the start without detail, any encoder and size, labels, gradients, fine-tuning.

Shape shorthand: H x W pixels, K classes.
"""

import logging

import pytest
import torch
from detectron2.modeling import build_model

from helpers.labels import assert_labels_are_argmax
from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.modeling.decoder.detail import DetailBranch

SIZES = [(32, 48), (29, 43), (41, 24)]
# Keys of MODEL.VIT for each encoder; for Swin, the whole node.
ENCODERS = {
    "plain": {},
    "conv stem": {"STEM": "conv"},
    "coarse": {"PATCH_SIZE": 32, "IMG_SIZE": [32, 64]},
    "coarse, conv stem": {"STEM": "conv", "PATCH_SIZE": 32, "IMG_SIZE": [32, 64]},
    "patch 14": {"NAME": "vit_small_patch14_dinov2", "PATCH_SIZE": 14, "IMG_SIZE": [28, 42]},
    "rotary": {"NAME": "eva02_tiny_patch14_224"},
    "shrunk": {"REDUCTION": "shrunk", "REDUCTION_BLOCK": 1, "OUT_INDICES": [0, 2]},
    "shrunk++": {"REDUCTION": "shrunk++", "REDUCTION_BLOCK": 1, "OUT_INDICES": [0, 2]},
    "swin": {"NAME": "swin_tiny_patch4_window7_224", "PATCH_SIZE": 0, "EMBED_DIM": 0, "DEPTH": 0, "NUM_HEADS": 0},
}
UPSAMPLING = {"shrunk": ("learned", 1), "shrunk++": ("nearest", 0)}  # and their layers


def use_encoder(cfg, encoder):
    vit, head = cfg.MODEL.VIT, cfg.MODEL.SEM_SEG_HEAD
    for key, value in ENCODERS[encoder].items():
        vit[key] = value
    if encoder in UPSAMPLING:
        vit.EDGE.THRESHOLD = 0.5
        head.IN_FEATURES = ["block2", "block0"]
        cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = UPSAMPLING[encoder]
    if encoder == "swin":
        cfg.MODEL.BACKBONE.NAME, vit.INIT_STD, head.IN_FEATURES = "HierarchicalViT", 0.0, ["stage2", "stage1"]
    cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    return cfg


def build(cfg, source, *, stride=4, seed=0):
    cfg = cfg.clone()
    cfg.MODEL.SEGVIT.DETAIL.SOURCE, cfg.MODEL.SEGVIT.DETAIL.STRIDE = source, stride
    cfg.MODEL.SEGVIT.DETAIL.DIM = 16
    torch.manual_seed(seed)
    return build_model(cfg).eval()


def learnt(model):
    """Set random weights, with which the branch changes the masks."""
    for module in model.modules():
        if isinstance(module, DetailBranch):
            torch.nn.init.normal_(module.query_proj.weight, std=0.3)
    return model


def draw(make_input):
    return [{"image": make_input(*size, seed=seed)["image"]} for seed, size in enumerate(SIZES)]


CASES = [(encoder, "image", 4) for encoder in ENCODERS]
CASES += [("plain", "tokens", 4), ("plain", "image", 2), ("conv stem", "stem", 4), ("conv stem", "stem", 2)]
CASES += [("coarse, conv stem", "stem", 4)]
CASES += [("shrunk++", "tokens", 2), ("patch 14", "tokens", 4), ("swin", "tokens", 4), ("patch 14", "image", 2)]
EACH_CASE = pytest.mark.parametrize(("encoder", "source", "stride"), CASES)


@EACH_CASE
@torch.no_grad()
def test_a_model_starts_as_the_model_without_detail(tiny_cfg, make_input, tmp_path, caplog, encoder, source, stride):
    """Fine-tuning from its checkpoint gives bit-identical scores, and the log names the new tensors."""
    caplog.set_level(logging.INFO)
    cfg = use_encoder(tiny_cfg, encoder)
    plain = build(cfg, "none")
    SegViTCheckpointer(plain, str(tmp_path)).save("model")
    model = build(cfg, source, stride=stride, seed=1).train()
    SegViTCheckpointer(model, strict=False).load(str(tmp_path / "model.pth"))
    model.eval()
    for ours, theirs in zip(model(draw(make_input)), plain(draw(make_input)), strict=True):
        assert torch.equal(ours["sem_seg"], theirs["sem_seg"])
    lines = [record.getMessage() for record in caplog.records if "MODEL.SEGVIT.DETAIL" in record.getMessage()]
    assert len(lines) == 1
    assert not any(record.levelno > logging.INFO for record in caplog.records)


@EACH_CASE
@torch.no_grad()
def test_a_batch_equals_one_by_one_on_finer_masks(tiny_cfg, make_input, encoder, source, stride):
    cfg = use_encoder(tiny_cfg, encoder)
    model, plain = learnt(build(cfg, source, stride=stride)), build(cfg, "none")
    inputs = draw(make_input)
    for batched, one, without in zip(model(inputs), inputs, plain(inputs), strict=True):
        torch.testing.assert_close(batched["sem_seg"], model([one])[0]["sem_seg"], rtol=1e-5, atol=1e-5)
        assert batched["sem_seg"].shape == without["sem_seg"].shape == (5, *one["image"].shape[1:])
        assert not torch.allclose(batched["sem_seg"], without["sem_seg"], atol=1e-2)
    images = [one["image"] for one in inputs]
    padded, patch = model.network.padded_size(SIZES[1]), model.backbone.size_divisibility
    masks, coarse = (one.network(images[1:2])["pred_masks"] for one in (model, plain))
    # A whole number of cells per coarse cell: of 14 pixels, 4 by 3.5 or 7 by 2; Swin's finer stage has a stride of 8.
    cells = {"patch 14": 4 if stride == 4 else 7, "swin": 8 // stride}.get(encoder, patch // stride)
    assert masks.shape[2:] == (coarse.shape[2] * cells, coarse.shape[3] * cells)
    if patch % stride == 0:
        assert masks.shape[2:] == (padded[0] // stride, padded[1] // stride)


@EACH_CASE
def test_every_parameter_gets_a_gradient_with_detail(tiny_cfg, make_input, encoder, source, stride):
    model = learnt(build(use_encoder(tiny_cfg, encoder), source, stride=stride)).train()
    losses = model([make_input(32, 48), make_input(29, 41, seed=1)])
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    # The coarse masks keep their mask losses; their class logits are those of the last stage.
    last = max(int(name.rpartition("_")[2]) for name in losses if name.startswith("loss_mask_"))
    assert f"loss_dice_{last}" in losses and f"loss_ce_{last}" not in losses
    sum(losses.values()).backward()
    still = [name for name, one in model.named_parameters() if one.grad is None or not one.grad.any()]
    assert [name for name in still if "detail" in name] == []


@pytest.mark.parametrize("source", ["image", "stem", "tokens"])
def test_gradients_have_the_layout_of_their_parameters(tiny_cfg, make_input, source):
    """DDP copies and warns of others."""
    model = learnt(build(use_encoder(tiny_cfg, "conv stem"), source)).train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([make_input(32, 48), make_input(32, 48, seed=1)])
    sum(losses.values()).backward()
    detail = model.sem_seg_head.decoder.detail.named_parameters()
    assert [name for name, one in detail if one.grad.stride() != one.stride()] == []


def test_the_first_step_moves_the_queries_of_a_new_branch(tiny_cfg, make_input):
    model = build(tiny_cfg, "image").train()
    sum(model([make_input(32, 48)]).values()).backward()
    assert model.sem_seg_head.decoder.detail.query_proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("output", ["mix", "diagonal"])
@torch.no_grad()
def test_labels_are_the_argmax_of_the_scores(tiny_cfg, make_input, output):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = output
    model = learnt(build(tiny_cfg, "image")).network
    images, sizes = [one["image"] for one in draw(make_input)], [(64, 96), (29, 43), (7, 90)]
    for labels, scores in zip(model.labels(images, sizes), model.scores(images, sizes), strict=True):
        assert_labels_are_argmax(labels, scores)


@pytest.mark.parametrize("encoder", ["plain", "conv stem", "shrunk++"])
def test_without_detail_the_names_of_tensors_are_unchanged(tiny_cfg, encoder):
    """Tensors of the branch are in decoder.detail."""
    cfg = use_encoder(tiny_cfg, encoder)
    plain, model = build(cfg, "none"), build(cfg, "image")
    added = [name for name in model.state_dict() if name not in plain.state_dict()]
    assert added and all(name.startswith("sem_seg_head.decoder.detail.") for name in added)
    assert list(plain.state_dict()) == [name for name in model.state_dict() if name not in added]
    # The other weights are drawn as without detail.
    assert all(torch.equal(model.state_dict()[name], value) for name, value in plain.state_dict().items())


def test_evaluation_refuses_a_checkpoint_without_detail(tiny_cfg, tmp_path):
    SegViTCheckpointer(build(tiny_cfg, "none"), str(tmp_path)).save("model")
    with pytest.raises(ValueError, match="does not fit"):
        SegViTCheckpointer(build(tiny_cfg, "image")).load(str(tmp_path / "model.pth"))


def test_a_checkpoint_with_part_of_a_detail_branch_is_refused(tiny_cfg, tmp_path):
    """Only a checkpoint without any detail tensor may lack them."""
    model = build(tiny_cfg, "image")
    weights = {name: value for name, value in model.state_dict().items() if "detail" not in name}
    weights["sem_seg_head.decoder.detail.query_proj.weight"] = model.sem_seg_head.decoder.detail.query_proj.weight
    torch.save({"model": weights}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match="too little of the model"):
        SegViTCheckpointer(model, strict=False).load(str(tmp_path / "model.pth"))


@pytest.mark.parametrize(
    ("key", "value", "encoder"),
    [("SOURCE", "stem", "plain"), ("STRIDE", 3, "plain"), ("DIM", 12, "plain"), ("STRIDE", 16, "plain")],
)
def test_values_that_do_not_fit_are_refused(tiny_cfg, key, value, encoder):
    cfg = use_encoder(tiny_cfg, encoder)
    cfg.MODEL.SEGVIT.DETAIL.SOURCE = "image"
    cfg.MODEL.SEGVIT.DETAIL[key] = value
    with pytest.raises(ValueError, match=rf"MODEL\.SEGVIT\.DETAIL\.{key}"):
        build_model(cfg)


@torch.no_grad()
def test_the_host_asks_once_whether_a_branch_has_learnt(tiny_cfg, make_input, monkeypatch):
    """On a GPU the answer costs a wait; changed weights are asked about anew."""
    model = build(tiny_cfg, "image")
    weight, asked = model.sem_seg_head.decoder.detail.query_proj.weight, []
    ask = torch.Tensor.any
    monkeypatch.setattr(torch.Tensor, "any", lambda tensor, *dims: asked.append(tensor is weight) or ask(tensor, *dims))
    coarse, again = (model([make_input(32, 48)])[0]["sem_seg"] for _ in range(2))
    assert sum(asked) == 1 and torch.equal(coarse, again)
    model.load_state_dict(learnt(build(tiny_cfg, "image")).state_dict())
    fine, again = (model([make_input(32, 48)])[0]["sem_seg"] for _ in range(2))
    assert sum(asked) == 2 and torch.equal(fine, again) and not torch.equal(fine, coarse)


@torch.no_grad()
def test_detail_is_used_after_a_training_that_writes_through_data(tiny_cfg, make_input):
    """As DeepSpeed and some EMAs do; a validation before the training has seen that nothing was learnt."""
    model, trained = build(tiny_cfg, "image"), learnt(build(tiny_cfg, "image"))
    coarse = model([make_input(32, 48)])[0]["sem_seg"]
    model.train()
    for parameter, new in zip(model.parameters(), trained.parameters(), strict=True):
        parameter.data.copy_(new)
    fine = model.eval()([make_input(32, 48)])[0]["sem_seg"]
    assert torch.equal(fine, trained([make_input(32, 48)])[0]["sem_seg"]) and not torch.equal(fine, coarse)
