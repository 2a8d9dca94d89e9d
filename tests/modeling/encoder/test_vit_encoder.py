"""`PlainViTEncoder` against timm's intermediate features, with every kind of prefix token, position and norm.

Shape shorthand: B images, H x W pixels, P patch, h = H/P, w = W/P, T prefix tokens, C width.
"""

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.encoder.conv_stem import ConvStem
from segvit.modeling.encoder.vit_builder import build_vit_encoder

P, C = 8, 24
SIZES = {"patch_size": P, "embed_dim": C, "depth": 3, "num_heads": 2}
VIT = "vit_tiny_patch16_224"
# Kinds of prefix tokens and position embeddings; test_vit_families.py has the families of timm's plain ViTs.
FAMILIES = {
    "vit": (VIT, {}),
    "embedded register tokens": (VIT, {"reg_tokens": 4}),
    "no position embedding": (VIT, {"pos_embed": "none"}),
    "no class token": ("vit_base_patch16_gap_224", {}),
    "no class token, registers": ("vit_medium_patch16_reg4_gap_256", {}),
    "dinov2 with registers": ("vit_small_patch14_reg4_dinov2", {}),
}


def randomize(module, seed=0):
    """Weights so large that every part of the network affects its outputs."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module.eval()


def build(name=VIT, img_size=(32, 48), out_indices=(0, 2), **options):
    options = SIZES | options
    return randomize(build_vit_encoder(name=name, img_size=img_size, out_indices=list(out_indices), **options))


def build_timm(encoder, name=VIT, img_size=(32, 48), **overrides):
    """timm's model with the encoder's weights."""
    vit = timm.create_model(
        name, img_size=img_size, num_classes=0, global_pool="", dynamic_img_size=True, **(SIZES | overrides)
    )
    weights = {key.removeprefix("embedding."): tensor for key, tensor in encoder.state_dict().items()}
    left = randomize(vit, seed=1).load_state_dict(weights, strict=False)
    assert left.unexpected_keys == []
    return vit


def images(size=(32, 48), batch=2):
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("img_size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_stages_equal_timms_intermediates(family, img_size):
    name, overrides = FAMILIES[family]
    encoder = build(name, img_size, **overrides)
    vit = build_timm(encoder, name, img_size, **overrides)
    stages = encoder(images(img_size))
    expected = vit.forward_intermediates(images(img_size), indices=[0, 2], norm=False, intermediates_only=True)
    assert list(stages) == ["block0", "block2"]
    for actual, feature_map in zip(stages.values(), expected, strict=True):
        assert actual.shape == (2, C, img_size[0] // P, img_size[1] // P)
        torch.testing.assert_close(actual, feature_map, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_prefix_tokens_are_dropped_before_the_first_block():
    encoder = build(keep_prefix_tokens=False, out_indices=(1,), reg_tokens=4)
    embedding = encoder.embedding
    expected = nn.Sequential(*encoder.blocks)(
        embedding.patch_embed(images()).flatten(1, 2) + embedding.pos_embed[:, 5:]
    )
    stage = encoder(images())["block1"]
    torch.testing.assert_close(stage.flatten(2).mT, expected, rtol=1e-5, atol=1e-5)
    kept = build(keep_prefix_tokens=True, out_indices=(1,), reg_tokens=4)
    assert not torch.allclose(kept(images())["block1"], stage, atol=1e-2)


@pytest.mark.parametrize("size", [(40, 72), (16, 24), (32, 32)])
@pytest.mark.parametrize(("family", "prefix"), [("vit", 1), ("dinov2 with registers", 0), ("no class token", 0)])
@torch.no_grad()
def test_the_position_embedding_is_resized_to_the_grid_of_the_images(family, prefix, size):
    """Bicubic, without antialiasing, rows and columns by separate factors; prefix positions stay."""
    name, overrides = FAMILIES[family]
    encoder = build(name, out_indices=(0,), keep_prefix_tokens=False, **overrides)
    grid = (size[0] // P, size[1] // P)
    embedding = encoder.embedding
    positions = embedding.pos_embed[:, prefix:].mT.unflatten(2, (4, 6))
    positions = F.interpolate(positions, grid, mode="bicubic", align_corners=False).flatten(2).mT
    expected = encoder.blocks[0](embedding.patch_embed(images(size)).flatten(1, 2) + positions)
    stage = encoder(images(size))["block0"]
    assert stage.shape == (2, C, *grid)
    torch.testing.assert_close(stage.flatten(2).mT, expected, rtol=1e-4, atol=1e-5)


def test_the_grid_of_positions_is_rounded_up_to_whole_patches():
    assert build(img_size=(30, 41)).embedding.grid_size == (4, 6)


@pytest.mark.parametrize(("size", "padded"), [((29, 43), (32, 48)), ((32, 41), (32, 48)), ((1, 8), (8, 8))])
@torch.no_grad()
def test_other_sizes_are_padded_at_the_bottom_and_right(size, padded):
    encoder = build()
    stages = encoder(images(size))
    expected = encoder(F.pad(images(size), (0, padded[1] - size[1], 0, padded[0] - size[0])))
    for name, stage in stages.items():
        assert stage.shape[2:] == (padded[0] // P, padded[1] // P)
        assert torch.equal(stage, expected[name])


@pytest.mark.parametrize("stem", ["linear", "conv"])
@torch.no_grad()
def test_batched_equals_single(stem):
    encoder = build(stem=stem)
    batched = encoder(images(batch=3))
    for index in range(3):
        for name, stage in encoder(images(batch=3)[index : index + 1]).items():
            torch.testing.assert_close(batched[name][index], stage[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("out_indices", [(), (-1,), (3,), (0, 7)])
def test_indices_outside_the_depth_are_refused(out_indices):
    with pytest.raises(ValueError, match="must name blocks 0 to 2"):
        build(out_indices=out_indices)


def test_blocks_after_the_last_stage_are_dropped():
    encoder = build(out_indices=(1, 0))
    assert len(encoder.blocks) == 2
    assert not any(name.startswith(("blocks.2", "norm", "head", "fc_norm")) for name in encoder.state_dict())
    assert list(encoder(images())) == ["block0", "block1"]


@torch.no_grad()
def test_final_norm_is_applied_to_the_last_block_only():
    encoder = build(final_norm=True)
    vit = build_timm(encoder)
    plain = vit.forward_intermediates(images(), indices=[0, 2], norm=False, intermediates_only=True)
    stages = encoder(images())
    torch.testing.assert_close(stages["block0"], plain[0], rtol=1e-5, atol=1e-5)
    normed = encoder.norm(plain[1].movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(stages["block2"], normed, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(stages["block2"], plain[1], atol=1e-2)


@pytest.mark.parametrize("fused", [True, False])
def test_fused_attention_is_set_in_every_block(fused):
    assert {block.attn.fused_attn for block in build(fused_attention=fused).blocks} == {fused}


def test_drop_path_is_active_in_training_only():
    encoder, plain = build(drop_path_rate=0.5), build(drop_path_rate=0.0)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.blocks]
    assert rates == pytest.approx([0.0, 0.25, 0.5])
    with torch.no_grad():
        torch.testing.assert_close(encoder(images())["block2"], plain(images())["block2"])
        first, second = (encoder.train()(images(batch=8))["block2"] for _ in range(2))
    assert not torch.allclose(first, second)


def test_initial_weights_have_the_given_deviation():
    encoder = build_vit_encoder(
        name=VIT, img_size=(32, 32), out_indices=[3], init_std=0.1, embed_dim=96, depth=4, num_heads=2, patch_size=P
    )
    for name, module in encoder.blocks.named_modules():
        if isinstance(module, nn.Linear):
            std = 0.1 / 8**0.5 if name.endswith(("proj", "fc2")) else 0.1
            assert module.weight.std().item() == pytest.approx(std, rel=0.06)
            assert not module.bias.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vit_huge_patch3_17"}, "name 'vit_huge_patch3_17' is not a timm model; .*: vit_"),
        ({"name": "nothing"}, r"'nothing' is not a timm model.* vit_base_patch16_384"),
        ({"name": "resnet18"}, "timm's ResNet, which is not a plain ViT"),
        ({"name": "swin_tiny_patch4_window7_224"}, "timm's SwinTransformer, which is not a plain ViT"),
        ({"stem": "deep"}, "stem 'deep' must be 'linear' or 'conv'"),
    ],
)
def test_other_models_and_stems_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_vit_encoder(**({"name": VIT, "img_size": (32, 32), "out_indices": [1]} | options))


@pytest.mark.parametrize(("patch_size", "embed_dim"), [(2, 6), (8, 24), (16, 64)])
def test_the_convolutional_stem_has_patches_of_the_given_size(patch_size, embed_dim):
    stem = ConvStem(patch_size=patch_size, embed_dim=embed_dim).eval()
    assert stem(images((32, 48))).shape == (2, embed_dim, 32 // patch_size, 48 // patch_size)
    encoder = build(stem="conv", patch_size=patch_size, embed_dim=embed_dim)
    assert encoder.embedding.patch_size == (patch_size, patch_size)
    assert encoder.embedding.grid_size == (32 // patch_size, 48 // patch_size)
    assert encoder(images((17, 33)))["block2"].shape == (2, embed_dim, -(-17 // patch_size), -(-33 // patch_size))


@pytest.mark.parametrize(("patch_size", "embed_dim"), [(12, 24), (1, 24), (8, 30), (16, 36)])
def test_the_convolutional_stem_refuses_sizes_that_it_cannot_halve(patch_size, embed_dim):
    with pytest.raises(ValueError, match=f"patch_size {patch_size} and `embed_dim` {embed_dim}"):
        ConvStem(patch_size=patch_size, embed_dim=embed_dim)


def test_the_convolutional_stem_has_the_given_width():
    assert [stage.width for stage in ConvStem(patch_size=32, embed_dim=192)] == [12, 24, 48, 96, 192]
    stem = ConvStem(patch_size=32, embed_dim=192, stem_dim=16).eval()
    assert [stage.width for stage in stem] == [16, 32, 64, 128, 192]
    assert stem(images((64, 96))).shape == (2, 192, 2, 3)
    assert build(stem="conv", stem_dim=10, patch_size=16, embed_dim=24)(images((32, 48)))["block2"].shape == (
        2,
        24,
        2,
        3,
    )


@pytest.mark.parametrize("stem_dim", [11, 193])
def test_the_convolutional_stem_refuses_widths_that_end_elsewhere(stem_dim):
    with pytest.raises(ValueError, match=f"stem_dim {stem_dim} must be 12 to 192 with patches of 32 pixels"):
        ConvStem(patch_size=32, embed_dim=192, stem_dim=stem_dim)
