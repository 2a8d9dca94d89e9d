"""The encoder in every family of plain ViTs: its stages equal timm's features.

All weights are random, position tables and layer scales included, so that each affects the output. Everything is
computed in float64.

Shape shorthand: B images, P patch, h x w grid, T prefix tokens, C width.
"""

import re

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import Beit, VisionTransformer
from torch import nn

from segvit.assembly.backbone import PlainViT
from segvit.d2.solver import parameter_groups
from segvit.errors import ArgumentError
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.modeling.token_reduction.reduction_builder import ReductionConfig

C, DEPTH = 48, 4
TINY = {"embed_dim": C, "depth": DEPTH, "num_heads": 3}
SHARED_TABLE = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "use_abs_pos_emb": True}
# Family: timm name, overrides, P, T.
FAMILIES = {
    "ViT": ("vit_base_patch16_384", {}, 16, 1),
    # Also AugReg B, MAE and DINO, which differ from it by their weights only.
    "AugReg S": ("vit_small_patch16_224", {}, 16, 1),
    "DeiT": ("deit_small_patch16_224", {}, 16, 1),
    "DeiT distilled": ("deit_tiny_distilled_patch16_224", {}, 16, 2),
    "DeiT III": ("deit3_small_patch16_224", {}, 16, 1),
    "CLIP": ("vit_base_patch16_clip_224", {}, 16, 1),
    "SigLIP": ("vit_base_patch16_siglip_224", {}, 16, 0),
    "DINOv2": ("vit_small_patch14_dinov2", {}, 14, 1),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", {}, 14, 5),
    "BEiT": ("beit_base_patch16_224", {}, 16, 1),
    "BEiTv2": ("beitv2_base_patch16_224", {}, 16, 1),
    "BEiT, one table for all": ("beit_base_patch16_224", SHARED_TABLE, 16, 1),
    "EVA": ("eva_large_patch14_196", {}, 14, 1),
    "EVA-02": ("eva02_tiny_patch14_224", {}, 14, 1),
    "EVA-02 B": ("eva02_base_patch14_224", {}, 14, 1),
    "DINOv3": ("vit_small_patch16_dinov3", {}, 16, 5),
    "DINOv3 plus": ("vit_small_plus_patch16_dinov3", {}, 16, 5),
}
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES)


def randomize(module, seed=0):
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.double().eval()


def pixels(family, grid):
    patch = FAMILIES[family][2]
    return grid[0] * patch, grid[1] * patch


def build(family, grid=(3, 5), out_indices=(1, 3), **options):
    name, overrides, _, _ = FAMILIES[family]
    options = {"name": name, "img_size": pixels(family, grid), "out_indices": list(out_indices)} | options
    return randomize(build_vit_encoder(**options, **TINY, **overrides))


def draw_images(family, grid, batch=2):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, 3, *pixels(family, grid), generator=generator, dtype=torch.float64)


def resize_cells(cells, old, new):
    """(cells of the old grid, channels) -> (cells of the new grid, channels)."""
    cells = cells.unflatten(0, old).permute(2, 0, 1)[None]
    return F.interpolate(cells, new, mode="bicubic", align_corners=False)[0].flatten(1).T


def timm_weights(encoder, grid):
    """The encoder's weights under timm's names, positions resized to a grid."""
    old_grid = encoder.embedding.grid_size
    num_cells = old_grid[0] * old_grid[1]
    for name, weight in encoder.state_dict().items():
        table = re.fullmatch(r"positions\.(?:tables\.(\d+)|shared_table)", name)
        if table:
            module = f"blocks.{table[1]}.attn" if table[1] else "rel_pos_bias"
            pairs = [(2 * size[0] - 1, 2 * size[1] - 1) for size in (old_grid, grid)]
            weight = torch.cat([resize_cells(weight[:-3], *pairs), weight[-3:]])
            yield f"{module}.relative_position_bias_table", weight
        elif name == "embedding.pos_embed":
            prefix, cells = weight[0].split([weight.shape[1] - num_cells, num_cells])
            yield "pos_embed", torch.cat([prefix, resize_cells(cells, old_grid, grid)])[None]
        elif not name.startswith("reduction."):
            yield re.sub(r"^(embedding|positions)\.", "", name), weight


def timm_twin(encoder, family, grid):
    """timm's complete model, built for exactly this grid, with the encoder's weights."""
    name, overrides, _, _ = FAMILIES[family]
    twin = timm.create_model(name, num_classes=0, img_size=pixels(family, grid), **TINY, **overrides).double().eval()
    keys = twin.load_state_dict(dict(timm_weights(encoder, grid)), strict=False)
    assert keys.unexpected_keys == []
    assert all(key.startswith(("norm.", "fc_norm.", "attn_pool.")) for key in keys.missing_keys), keys.missing_keys
    return twin


def features(twin, images):
    return twin.forward_intermediates(images, indices=[1, 3], intermediates_only=True, norm=False)


def assert_stages(stages, expected):
    assert len(stages) == len(expected)
    for actual, feature_map in zip(stages.values(), expected, strict=True):
        torch.testing.assert_close(actual, feature_map, rtol=1e-6, atol=1e-6)


@EACH_FAMILY
@pytest.mark.parametrize("grid", [(4, 4), (3, 5)], ids=str)
@torch.no_grad()
def test_stages_equal_timms_intermediates(family, grid):
    encoder = build(family, grid, drop_path_rate=0.5)
    stages = encoder(draw_images(family, grid))
    assert {name: stage.shape for name, stage in stages.items()} == dict.fromkeys(["block1", "block3"], (2, C, *grid))
    assert encoder.embedding.num_prefix_tokens == FAMILIES[family][3]
    assert_stages(stages, features(timm_twin(encoder, family, grid), draw_images(family, grid)))


@EACH_FAMILY
@pytest.mark.parametrize("grid", [(5, 2), (4, 7)], ids=str)
@torch.no_grad()
def test_positions_are_resized_to_other_grids_than_that_of_training(family, grid):
    """Equal to timm's model built for that grid, with positions resized bicubically without antialiasing."""
    encoder = build(family, (3, 5))
    assert_stages(
        encoder(draw_images(family, grid)), features(timm_twin(encoder, family, grid), draw_images(family, grid))
    )


@EACH_FAMILY
@torch.no_grad()
def test_odd_sizes_are_padded(family):
    encoder, images = build(family), draw_images(family, (3, 5))
    stages = encoder(images[..., :-3, :-11])
    images[..., -3:, :] = 0
    images[..., -11:] = 0
    assert_stages(stages, list(encoder(images).values()))


@EACH_FAMILY
@torch.no_grad()
def test_attention_kernels_agree(family):
    images = draw_images(family, (3, 5))
    assert_stages(build(family, fused_attention=False)(images), list(build(family)(images).values()))


def block_inputs(twin, images):
    """The input tokens and keyword arguments of each block of timm's model."""
    captured = []

    def capture(block, args, kwargs):
        captured.append((args[0], kwargs))

    hooks = [block.register_forward_pre_hook(capture, with_kwargs=True) for block in twin.blocks]
    features(twin, images)
    for hook in hooks:
        hook.remove()
    return captured


@EACH_FAMILY
@torch.no_grad()
def test_prefix_tokens_can_be_dropped_or_must_be_kept(family):
    num_prefix_tokens = FAMILIES[family][3]
    twin = timm_twin(build(family), family, (3, 5))
    if not isinstance(twin, VisionTransformer):
        with pytest.raises(ArgumentError, match=r"^keep_prefix_tokens must be True"):
            build(family, keep_prefix_tokens=False, pretrained="/weights/that/are/never/read.pth")
        return
    tokens = block_inputs(twin, draw_images(family, (3, 5)))[0][0][:, num_prefix_tokens:]
    stages = build(family, keep_prefix_tokens=False, out_indices=[3])(draw_images(family, (3, 5)))
    assert_stages(stages, [twin.blocks(tokens).mT.unflatten(2, (3, 5))])


def gradients(encoder, images):
    """The encoder's gradients by name for a fixed loss, and how often its first block ran."""
    calls = []
    hook = encoder.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    encoder.zero_grad()
    torch.manual_seed(5)  # of drop path
    sum((stage * stage.detach().cos()).sum() for stage in encoder(images).values()).backward()
    hook.remove()
    return {name: parameter.grad for name, parameter in encoder.named_parameters()}, len(calls)


@EACH_FAMILY
def test_gradient_checkpointing_changes_no_gradient(family):
    encoder, images = build(family, drop_path_rate=0.2).train(), draw_images(family, (3, 5), batch=4)
    expected, calls = gradients(encoder, images)
    assert calls == 1
    idle = [name for name, gradient in expected.items() if gradient is None or not gradient.any()]
    assert idle == [], "every parameter must affect the output in these tests"
    encoder.gradient_checkpointing = True
    recomputed, calls = gradients(encoder, images)
    assert calls == 2
    torch.testing.assert_close(recomputed, expected, rtol=1e-9, atol=1e-9)


@EACH_FAMILY
def test_a_frozen_backbone_has_no_gradients_and_stays_in_evaluation_mode(family):
    backbone = PlainViT(encoder=build(family, drop_path_rate=0.5, gradient_checkpointing=True), frozen=True)
    head = nn.Conv2d(C, 3, 1).double()
    nn.ModuleList([backbone, head]).train()
    assert head.training and not any(module.training for module in backbone.modules())
    stages = backbone(draw_images(family, (3, 5)))
    head(stages["block3"]).square().sum().backward()
    assert head.weight.grad.any()
    assert all(not weight.requires_grad and weight.grad is None for weight in backbone.parameters())
    assert_stages(stages, list(backbone.encoder(draw_images(family, (3, 5))).values()))


@EACH_FAMILY
@pytest.mark.parametrize("grid", [(4, 6), (5, 3)], ids=str)
@torch.no_grad()
def test_shrunk_equals_running_all_tokens_and_masking_the_dropped_ones(family, grid):
    """Block 2 runs on all tokens; block 3 attends only to every second token of every second row."""
    encoder = build(family, grid, out_indices=(1, 2, 3), reduction=ReductionConfig(kind="shrunk", block_index=2))
    twin, images, prefix = timm_twin(encoder, family, grid), draw_images(family, grid), FAMILIES[family][3]
    inputs = block_inputs(twin, images)
    cells = torch.arange(grid[0] * grid[1]).unflatten(0, grid)[::2, ::2]
    kept = torch.cat([torch.arange(prefix), prefix + cells.flatten()])
    only_kept = torch.full([inputs[0][0].shape[1]] * 2, float("-inf"), dtype=torch.float64)
    only_kept[:, kept] = 0
    tokens, arguments = inputs[3]  # positions are those of the whole grid
    if isinstance(twin, Beit):
        shared = arguments["shared_rel_pos_bias"]
        masked = {"shared_rel_pos_bias": only_kept[None, None] if shared is None else shared + only_kept}
    else:
        masked = arguments | {"attn_mask": only_kept}
    expected = [
        inputs[2][0][:, prefix:].mT.unflatten(2, grid),
        tokens[:, prefix + cells.flatten()].mT.unflatten(2, cells.shape),
        twin.blocks[3](tokens, **masked)[:, prefix + cells.flatten()].mT.unflatten(2, cells.shape),
    ]
    assert_stages(encoder(images), expected)


@EACH_FAMILY
def test_layer_decay_halves_the_rate_of_each_earlier_block(family):
    """Each block trains at half the rate of the next one; the embedding at half the rate of the first block."""
    model = nn.ModuleDict({"backbone": PlainViT(encoder=build(family, final_norm=True)), "head": nn.Linear(2, 2)})
    groups = parameter_groups(
        model, base_lr=1.0, decoder_lr_multiplier=10.0, layer_decay=0.5, weight_decay=0.0, no_weight_decay=[]
    )
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        block = re.search(r"\.blocks\.(\d+)\.", name)
        table = re.search(r"\.tables\.(\d+)", name)
        if name.startswith("head."):
            expected = 10.0
        elif ".encoder.norm." in name:
            expected = 1.0
        else:
            layer = 1 + int((block or table)[1]) if block or table else 0
            expected = 0.5 ** (DEPTH - layer)
        assert rates.pop(id(parameter)) == expected, name
    assert not rates


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "vit_small_patch16_dinov3"])
def test_the_convolutional_stem_is_refused_if_timm_fixes_the_patch_embedding(name):
    with pytest.raises(ValueError, match=r"^stem 'conv' does not fit .* set 'linear'"):
        build_vit_encoder(name=name, img_size=(32, 32), out_indices=[1], stem="conv", **TINY)


def test_parallel_blocks_are_refused():
    with pytest.raises(ValueError, match="has several attentions per block"):
        build_vit_encoder(name="vit_small_patch16_18x2_224", img_size=(32, 32), out_indices=[1], **TINY)


@torch.no_grad()
def test_shrunk_runs_blocks_with_other_norms_whole():
    options = {"name": "vit_base_patch16_rpn_224", "img_size": (64, 64), "out_indices": [1, 3], **TINY}
    encoder = build_vit_encoder(**options, reduction=ReductionConfig(kind="shrunk", block_index=1)).eval()
    stages = encoder(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert stages["block3"].shape == (1, TINY["embed_dim"], 2, 2)
    assert stages["block3"].isfinite().all()
