"""`ContinualHead`: outputs of older groups stay bit-identical while later groups are learnt.

Shape shorthand: H x W pixels, K classes.
"""

import re

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.config.continual_step import continual_step
from segvit.errors import UserError
from segvit.modeling.continual.group_decoders import merge_groups

ENCODERS = {
    "plain": {},
    "shrunk": {"REDUCTION": "shrunk", "REDUCTION_BLOCK": 1, "OUT_INDICES": [0, 2]},
    "shrunk++": {"REDUCTION": "shrunk++", "REDUCTION_BLOCK": 1, "OUT_INDICES": [0, 2]},
}
ADAPTER = {"ADAPTER_BLOCKS": 1, "ADAPTER_DIM": 24}


@pytest.fixture(params=[*ENCODERS, "plain, detail", "shrunk++, detail"])
def cfg(tiny_cfg, request):
    """Five classes as 2-2-1 on each kind of encoder, with dropout and drop path, and with a detail branch per group."""
    encoder, _, detail = request.param.partition(", ")
    tiny_cfg.MODEL.VIT.merge_from_other_cfg(CfgNode(ENCODERS[encoder]))
    tiny_cfg.MODEL.VIT.DROP_PATH_RATE, tiny_cfg.MODEL.SEGVIT.DROPOUT = 0.3, 0.3
    tiny_cfg.MODEL.SEGVIT.DETAIL.SOURCE = "image" if detail else "none"
    if encoder != "plain":
        tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
        tiny_cfg.MODEL.SEGVIT.QUERY_UPSAMPLING = "learned" if encoder == "shrunk" else "nearest"
        tiny_cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = 1
    return continual(tiny_cfg, step=-1)


def continual(cfg, *, step, **keys):
    cfg = cfg.clone()
    cfg.MODEL.SEM_SEG_HEAD.NAME = "ContinualHead"
    cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    group = cfg.MODEL.SEGVIT.CONTINUAL
    group.PROTOCOL, group.CLASS_ORDER, group.STEP = "2-2", [3, 0, 4, 1, 2], step
    group.merge_from_other_cfg(CfgNode(keys))
    return cfg


def next_step(model, cfg, *, step, **keys):
    """The model of a step, with the weights of the step before."""
    added = build_model(continual(cfg, step=step, **keys)).train()
    if model is not None:
        state = model.state_dict()
        assert not added.load_state_dict(state, strict=False).unexpected_keys
    return added


def train(model, make_input, ids):
    """Three steps of a large learning rate on labels of these classes, background (5) and ignored pixels."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, weight_decay=0.1)
    for seed in range(3):
        losses = model([make_input(32, 48, seed=seed, ids=(*ids, 5, 255)), make_input(30, 40, seed=seed + 9, ids=(5,))])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()


def scores(model, make_input):
    model.eval()
    with torch.no_grad():
        return torch.stack([model([make_input(40, 56, seed=seed)])[0]["sem_seg"] for seed in range(2)])


@pytest.mark.parametrize("keys", [{}, {"COMPETITION_WEIGHT": 2.0}, {"NUM_LAYERS": 2, "HIDDEN_DIM": 12, **ADAPTER}])
def test_outputs_of_older_groups_stay_bit_identical(cfg, make_input, keys):
    model = before = None
    groups = ((3, 0), (4, 1), (2,))
    for step, group in enumerate(groups):
        model = next_step(model, cfg, step=step, **keys)
        untrained = {name: value.clone() for name, value in model.state_dict().items()}
        train(model, make_input, group)
        after = scores(model, make_input)
        older = [class_id for group_ids in groups[:step] for class_id in group_ids]
        if before is not None:
            assert torch.equal(after[:, older], before[:, older])
        later = [class_id for group_ids in groups[step + 1 :] for class_id in group_ids]
        assert not after[:, later].any() and after[:, list(group)].any()
        prefix = continual_step(continual(cfg, step=step)).new_tensors
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, untrained[name])}
        assert changed and all(name.startswith(prefix) for name in changed)
        before = after


@torch.no_grad()
@pytest.mark.parametrize("learnt_first", [True, False])
@pytest.mark.parametrize("encoder", ["plain", "shrunk"])
def test_groups_of_which_one_has_learnt_detail(tiny_cfg, make_input, encoder, learnt_first):
    """The other has masks on the coarse grid, of 5 x 7 patches or 3 x 4; those of the older group stay, and labels."""
    tiny_cfg.MODEL.VIT.merge_from_other_cfg(CfgNode(ENCODERS[encoder]))
    if encoder == "shrunk":
        tiny_cfg.MODEL.VIT.OUT_INDICES, tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = [2], ["block2"]
    tiny_cfg.MODEL.SEGVIT.DETAIL.SOURCE = "image"
    first = build_model(continual(tiny_cfg, step=0))
    if learnt_first:
        torch.nn.init.normal_(first.sem_seg_head.decoder.detail.query_proj.weight, std=0.3)
    before = scores(first, make_input)
    second = next_step(first, tiny_cfg, step=1)
    if not learnt_first:
        torch.nn.init.normal_(second.sem_seg_head.added[0].decoder.detail.query_proj.weight, std=0.3)
    after = scores(second, make_input)
    assert torch.equal(after[:, [3, 0]], before[:, [3, 0]]) and after[:, [4, 1]].any()
    images = [make_input(40, 56, seed=seed)["image"] for seed in range(2)]
    assert torch.equal(torch.stack(second.network.labels(images)), after.argmax(dim=1))


@torch.no_grad()
def test_older_groups_may_read_a_coarser_stage_than_later_ones(tiny_cfg, make_input):
    """Masks of Swin's stages have grids of their own."""
    vit = tiny_cfg.MODEL.VIT
    vit.NAME, vit.OUT_INDICES, vit.IMG_SIZE = "swin_tiny_patch4_window7_224", [0, 1], [32, 64]
    vit.INIT_STD, vit.FINAL_NORM = 0.0, False
    vit.PATCH_SIZE = vit.EMBED_DIM = vit.DEPTH = vit.NUM_HEADS = 0
    tiny_cfg.MODEL.BACKBONE.NAME, tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = "HierarchicalViT", ["stage1"]
    first = build_model(continual(tiny_cfg, step=0))
    before = scores(first, make_input)
    after = scores(next_step(first, tiny_cfg, step=1, IN_FEATURES=["stage1", "stage0"]), make_input)
    assert torch.equal(after[:, [3, 0]], before[:, [3, 0]]) and after[:, [4, 1]].any()


def test_frozen_modules_have_neither_gradients_nor_dropout(cfg, make_input):
    model = next_step(None, cfg, step=1)
    trained = {name.split(".added.0.")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"sem_seg_head"}
    training = {name for name, module in model.named_modules() if module.training}
    assert training == {
        "",
        "sem_seg_head",
        "semantic_inference",
        "sem_seg_head.criterion",
        "sem_seg_head.added",
        *(f"sem_seg_head.added.0{name and '.' + name}" for name, _ in model.sem_seg_head.added[0].named_modules()),
    }
    assert "loss_edge" not in model([make_input(32, 48, ids=(4, 5))])


def test_a_checkpoint_without_a_protocol_loads_as_the_first_step(cfg, make_input):
    ordinary = cfg.clone()
    ordinary.MODEL.SEM_SEG_HEAD.NAME = "AttentionToMaskHead"
    ordinary.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    ordinary.MODEL.SEGVIT.CONTINUAL.PROTOCOL = ""
    ordinary = build_model(ordinary).eval()
    model = build_model(continual(cfg, step=0))
    model.load_state_dict(ordinary.state_dict(), strict=True)
    torch.testing.assert_close(scores(model, make_input)[:, [3, 0]], scores(ordinary, make_input))


def test_added_groups_may_read_other_stages(cfg, make_input):
    added = {"IN_FEATURES": ["block2", "block1", "block0"]}
    if cfg.MODEL.VIT.REDUCTION != "none":
        added = {"IN_FEATURES": cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES}
    cfg.MODEL.VIT.OUT_INDICES = sorted({*cfg.MODEL.VIT.OUT_INDICES, 0})
    model = build_model(continual(cfg, step=1, **added)).train()
    assert "loss_ce" in model([make_input(32, 48, ids=(4, 5))])
    assert scores(model, make_input).shape == (2, 5, 40, 56)
    with pytest.raises(ValueError, match=r"CONTINUAL.IN_FEATURES names \['block7'\]"):
        build_model(continual(cfg, step=1, IN_FEATURES=["block7"]))
    with pytest.raises(ValueError, match=r"^MODEL\.SEGVIT\.CONTINUAL\.QUERY_UPSAMPLING 'bilinear'"):
        build_model(continual(cfg, step=1, QUERY_UPSAMPLING="bilinear"))


def test_later_groups_may_have_decoders_of_their_own_size(cfg):
    head = build_model(continual(cfg, step=-1, NUM_LAYERS=2, HIDDEN_DIM=12)).sem_seg_head
    first, *later = head.decoder, *(group.decoder for group in head.added)
    assert first.class_queries.embedding_dim == 24 and len(first.class_embed.weight.T) == 24
    attentions = [module for module in first.modules() if hasattr(module, "num_heads")]
    assert {module.num_heads for module in attentions} == {2}
    for decoder in later:
        assert decoder.class_queries.embedding_dim == 12
        attentions = [module for module in decoder.modules() if hasattr(module, "num_heads")]
        assert {module.num_heads for module in attentions} == {1}
        assert {name.split("layers.")[1][0] for name, _ in decoder.named_modules() if "layers." in name} >= {"0", "1"}


def test_an_adapter_begins_with_the_stage_as_it_is_and_serves_its_group_alone(cfg, make_input):
    plain = build_model(continual(cfg, step=-1))
    adapted = next_step(plain, cfg, step=-1, **ADAPTER)
    before = scores(plain, make_input)
    torch.testing.assert_close(scores(adapted, make_input), before)
    torch.nn.init.normal_(adapted.sem_seg_head.added[0].adapter.up.weight)
    after = scores(adapted, make_input)
    assert torch.equal(after[:, [3, 0, 2]], before[:, [3, 0, 2]])
    assert not torch.allclose(after[:, [4, 1]], before[:, [4, 1]], atol=1e-3)
    with pytest.raises(ValueError, match=r"CONTINUAL\.ADAPTER_DIM 20 must be a multiple of 12"):
        build_model(continual(cfg, step=-1, ADAPTER_BLOCKS=1, ADAPTER_DIM=20))


def test_a_step_with_an_adapter_starts_from_the_step_before_and_is_resumed_whole(tiny_cfg, tmp_path):
    SegViTCheckpointer(build_model(continual(tiny_cfg, step=0)), str(tmp_path)).save("step_0")
    cfg = continual(tiny_cfg, step=1, **ADAPTER)
    new_tensors = continual_step(cfg).new_tensors
    model, resumed = build_model(cfg), build_model(cfg)
    loader = SegViTCheckpointer(model, str(tmp_path), strict=False, new_tensors=new_tensors)
    loader.load(str(tmp_path / "step_0.pth"), checkpointables=[])
    loader.save("step_1")
    SegViTCheckpointer(resumed).load(str(tmp_path / "step_1.pth"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)
    with pytest.raises(UserError, match=r"added\.0\.adapter\."):
        SegViTCheckpointer(build_model(continual(tiny_cfg, step=1))).load(str(tmp_path / "step_1.pth"))


@pytest.mark.parametrize("keys", [{}, ADAPTER])
def test_batched_equals_single(cfg, make_input, keys):
    model = build_model(continual(cfg, step=-1, **keys)).eval()
    for group in model.sem_seg_head.added if keys else []:
        torch.nn.init.normal_(group.adapter.up.weight)
    inputs = [make_input(32, 48, seed=1), make_input(40, 41, seed=2)]
    with torch.no_grad():
        together = model(inputs)
        for one, alone in zip(together, [model([single])[0] for single in inputs]):
            torch.testing.assert_close(one["sem_seg"], alone["sem_seg"], rtol=1e-4, atol=1e-5)


def test_losses_of_parts_add_up_to_those_of_the_batch(cfg, make_input):
    """SOLVER.ACCUM_STEPS needs this for every loss, the cross-group loss included."""
    cfg.MODEL.VIT.DROP_PATH_RATE = cfg.MODEL.SEGVIT.DROPOUT = 0.0
    model = next_step(None, cfg, step=1, COMPETITION_WEIGHT=2.0)
    inputs = [make_input(32, 48, seed=seed, ids=(4, 1, 5, 255)[seed:]) for seed in range(3)]
    normalizers = model.loss_normalizers(inputs)
    parts = [model(part, normalizers) for part in (inputs[:1], inputs[1:])]
    whole = model(inputs)
    assert {re.sub(r"_\d+$", "", name) for name in whole} == set(normalizers)
    for name, loss in whole.items():
        torch.testing.assert_close(sum(part[name] for part in parts), loss, rtol=1e-5, atol=1e-6)


def test_images_without_the_classes_have_finite_losses(cfg, make_input):
    model = next_step(None, cfg, step=1)
    losses = model([make_input(32, 48, ids=(5,)), make_input(32, 48, ids=(255,))])
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()


def test_the_factor_of_a_group_scales_its_scores_only(cfg, make_input):
    model = build_model(cfg)
    plain = scores(model, make_input)
    model.sem_seg_head.added[0].factor.fill_(0.5)
    scaled = scores(model, make_input)
    assert torch.equal(scaled[:, [3, 0, 2]], plain[:, [3, 0, 2]])
    torch.testing.assert_close(scaled[:, [4, 1]], 0.5 * plain[:, [4, 1]])


def test_merged_outputs_are_ordered_by_class_id():
    outputs = [
        {"pred_logits": torch.zeros(1, k, k + 1), "pred_masks": torch.full((1, k, 2, 2), float(k))} for k in (2, 1)
    ]
    merged = merge_groups(outputs, ((3, 0), (1,)), num_classes=5, factors=[None, torch.tensor(2.0)], padded_size=(4, 4))
    torch.testing.assert_close(merged["class_probabilities"], torch.tensor([[1 / 3, 1.0, 0, 1 / 3, 0]]))
    assert merged["pred_masks"][0, :, 0, 0].tolist() == [2, 1, 0, 2, 0]


@pytest.mark.parametrize("second", [torch.float16, torch.float32])
def test_groups_of_different_dtypes_are_merged(second):
    """Under CUDA autocast probabilities are float32, and masks are half unless they were interpolated."""
    outputs = [
        {"class_probabilities": torch.full((1, 1), 0.25), "pred_masks": torch.ones(1, 1, 2, 2, dtype=dtype)}
        for dtype in (torch.float16, second)
    ]
    merged = merge_groups(outputs, ((0,), (1,)), num_classes=2, factors=[None, torch.tensor(2.0)], padded_size=(4, 4))
    assert merged["class_probabilities"].tolist() == [[0.25, 0.5]]
    assert merged["pred_masks"].dtype == second and bool(merged["pred_masks"].eq(1).all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PROTOCOL": ""}, "ContinualHead needs groups of classes"),
        ({"GROUPS": [[0], [1]]}, "leave one of them empty"),
        ({"STEP": 3}, "there are steps 0 to 2, and -1 for the last"),
        ({"SELECTION": "all"}, "'all' must be 'overlapped' or 'disjoint'"),
        ({"CALIBRATION": "some"}, "'some' must be 'none' or 'bias'"),
        ({"ITERATIONS": [1, 2]}, "ITERATIONS has 2 entries for 3 steps"),
        ({"CLASS_ORDER": [0, 1, 1, 2]}, r"CLASS_ORDER has classes \[1\] more than once"),
        ({"CLASSES": ["a", "b"]}, "names 2 classes, but MODEL.SEM_SEG_HEAD.NUM_CLASSES is 5"),
        ({"CLASSES": ["a", "b", "a", "c", "d"]}, "names a more than once"),
        ({"CLASSES": ["dataset:nowhere"]}, "dataset 'nowhere' is unknown"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tiny_cfg, change, message):
    with pytest.raises(ValueError, match=message):
        build_model(continual(tiny_cfg, step=-1, **change))


@pytest.mark.parametrize(("key", "value"), [("OUTPUT", "mix"), ("LOSS", "pixel")])
def test_outputs_that_mix_groups_are_refused(tiny_cfg, key, value):
    cfg = continual(tiny_cfg, step=-1)
    cfg.MODEL.SEGVIT[key] = value
    with pytest.raises(ValueError, match=rf"MODEL\.SEGVIT\.{key} "):
        build_model(cfg)
