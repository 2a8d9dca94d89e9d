"""`ATMDecoder`: outputs of every stage, the order of stages, initial weights; and its layer against PyTorch's.

Shape shorthand: B images, h x w grid, C encoder width, D decoder width, K classes = queries, S stages.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.decoder.atm_decoder import ATMDecoder, ATMDecoderLayer
from segvit.modeling.decoder.attention_to_mask import project_for_all
from segvit.modeling.token_reduction.cell_tokens import CellTokens, are_kept_patches, corner_indices
from segvit.modeling.token_reduction.downsampling import kept_indices
from segvit.modeling.token_reduction.token_set import CellMap

K, D, C = 5, 12, 8


def make_decoder(in_dims=(C, C, C), **options):
    torch.manual_seed(0)
    options = {"num_classes": K, "hidden_dim": D, "num_layers": 2, "num_heads": 3, "init_std": 0.3} | options
    return ATMDecoder(in_dims=list(in_dims), **options).eval()


def make_maps(in_dims=(C, C, C), batch=2, grid=(3, 4)):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, dim, *grid, generator=generator) for dim in in_dims]


@pytest.mark.parametrize("grid", [(4, 4), (2, 7), (5, 1)])
@pytest.mark.parametrize("in_dims", [(C,), (C, 6, 10)])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_of_every_stage_have_the_documented_keys_and_shapes(training, in_dims, grid):
    outputs = make_decoder(in_dims).train(training)(make_maps(in_dims, grid=grid))
    assert set(outputs) == {"pred_logits", "pred_masks", "aux_outputs"}
    assert len(outputs["aux_outputs"]) == (len(in_dims) - 1 if training else 0)
    for stage in (outputs, *outputs["aux_outputs"]):
        assert stage["pred_logits"].shape == (2, K, K + 1)
        assert stage["pred_masks"].shape == (2, K, *grid)
    assert all(set(stage) == {"pred_logits", "pred_masks"} for stage in outputs["aux_outputs"])


def test_masks_are_summed_up_to_each_stage():
    decoder, logits, masks = make_decoder().train(), [], []
    for stage in decoder.stages:
        stage.register_forward_hook(lambda module, args, out: logits.append(decoder.class_embed(out[0])))
        stage.register_forward_hook(lambda module, args, out: masks.append(out[1]))
    outputs = decoder(make_maps())
    stages = [*outputs["aux_outputs"], outputs]
    assert len(masks) == len(stages) == 3
    for index, stage in enumerate(stages):
        torch.testing.assert_close(stage["pred_masks"], sum(masks[: index + 1]))
        torch.testing.assert_close(stage["pred_logits"], logits[index])
        assert index == 0 or not torch.allclose(stage["pred_masks"], masks[index])


def test_masks_of_coarser_stages_are_interpolated_to_the_finest_grid():
    decoder, masks = make_decoder(), []
    for stage in decoder.stages:
        stage.register_forward_hook(lambda module, args, out: masks.append(out[1]))
    maps = [make_maps(grid=grid)[index] for index, grid in enumerate([(2, 3), (4, 6), (3, 3)])]
    total = decoder(maps)["pred_masks"]
    expected = sum(F.interpolate(mask, (4, 6), mode="bilinear", align_corners=False) for mask in masks)
    torch.testing.assert_close(total, expected)


def test_evaluation_equals_the_last_stage_of_training():
    decoder = make_decoder()
    evaluated, trained = decoder(make_maps()), decoder.train()(make_maps())
    for name in ("pred_logits", "pred_masks"):
        torch.testing.assert_close(evaluated[name], trained[name])


def test_the_first_stage_reads_the_first_map():
    decoder, maps = make_decoder((C, C)), make_maps((C, C))
    first = decoder.train()(maps)["aux_outputs"][0]
    swapped = decoder(maps[::-1])
    assert not torch.allclose(decoder(maps)["pred_logits"], swapped["pred_logits"], atol=1e-3)
    # The first stage has not seen the second map yet.
    maps[1] = maps[1] + 1
    assert torch.equal(decoder(maps)["aux_outputs"][0]["pred_masks"], first["pred_masks"])


def test_fewer_maps_than_stages_are_refused():
    with pytest.raises(ValueError, match="zip"):
        make_decoder()(make_maps()[:2])


def test_batched_equals_single():
    decoder, maps = make_decoder(), make_maps(batch=3)
    batched = decoder(maps)
    for image in range(3):
        single = decoder([feature_map[image : image + 1] for feature_map in maps])
        for name in ("pred_logits", "pred_masks"):
            torch.testing.assert_close(batched[name][image], single[name][0], rtol=1e-5, atol=1e-5)


def test_transposed_maps_give_transposed_masks():
    """The decoder adds no positions. The logits stay the same."""
    decoder, maps = make_decoder(), make_maps(grid=(2, 5))
    outputs = decoder(maps)
    transposed = decoder([feature_map.mT for feature_map in maps])
    torch.testing.assert_close(transposed["pred_masks"], outputs["pred_masks"].mT, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(transposed["pred_logits"], outputs["pred_logits"], rtol=1e-4, atol=1e-5)


def test_initial_weights_have_the_given_deviation():
    decoder = make_decoder(hidden_dim=96, in_dims=(64, 64), init_std=0.05)
    layers = [module for module in decoder.modules() if isinstance(module, nn.Linear)]
    assert len(layers) == 2 * (1 + 2 * 8) + 1
    for layer in layers:
        assert layer.bias is not None and not layer.bias.any()
        tolerance = 5 / layer.weight.numel() ** 0.5  # seven standard errors of the estimate
        assert layer.weight.std().item() == pytest.approx(0.05, rel=tolerance)
        assert abs(layer.weight.mean()) < 0.05 * tolerance
    assert decoder.class_queries.weight.std().item() == pytest.approx(1.0, rel=0.2)


def test_dropout_is_off_in_evaluation():
    decoder, maps = make_decoder(dropout=0.5), make_maps()
    plain = make_decoder(dropout=0.0)(maps)
    torch.testing.assert_close(decoder(maps)["pred_logits"], plain["pred_logits"])
    first, second = (decoder.train()(maps)["pred_logits"] for _ in range(2))
    assert not torch.allclose(first, second)


def test_a_layer_equals_the_post_norm_layer_of_torch():
    """`torch.nn.TransformerDecoderLayer` with the same weights updates the queries alike."""
    torch.manual_seed(0)
    layer = ATMDecoderLayer(dim=D, num_heads=3, dropout=0.0).eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    torch_layer = nn.TransformerDecoderLayer(D, 3, dim_feedforward=4 * D, dropout=0.0, batch_first=True).eval()
    cross = layer.cross_attn
    state = {
        "self_attn.in_proj_weight": layer.self_attn.qkv.weight,
        "self_attn.in_proj_bias": layer.self_attn.qkv.bias,
        "multihead_attn.in_proj_weight": torch.cat([cross.q.weight, cross.k.weight, cross.v.weight]),
        "multihead_attn.in_proj_bias": torch.cat([cross.q.bias, cross.k.bias, cross.v.bias]),
    }
    parts = {
        "self_attn.out_proj": layer.self_attn.proj,
        "multihead_attn.out_proj": cross.proj,
        "linear1": layer.mlp.fc1,
        "linear2": layer.mlp.fc2,
        **{f"norm{index}": getattr(layer, f"norm{index}") for index in (1, 2, 3)},
    }
    for name, part in parts.items():
        state |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    torch_layer.load_state_dict(state)
    queries, tokens = torch.randn(2, K, D), torch.randn(2, 7, D)
    updated, _ = layer(queries, *project_for_all([layer.cross_attn], tokens), return_masks=True)
    torch.testing.assert_close(updated, torch_layer(queries, tokens), rtol=1e-4, atol=1e-5)


def test_decoding_the_tokens_of_cells_equals_decoding_their_map():
    """Tokens that cells share are read once, with the weight of four, and padding is not read."""
    torch.manual_seed(0)
    is_fine = torch.tensor([[True, False, False, True], [False, False, True, False]])
    corners = corner_indices((5, 4), torch.device("cpu"))
    is_kept = torch.cat([are_kept_patches(is_fine, corners, (5, 4)), ~is_fine], dim=1)
    indices, valid = kept_indices(is_kept)
    cells = CellTokens(
        keep_indices=indices,
        valid=valid,
        is_fine=is_fine,
        corners=corners,
        grid=(5, 4),
        num_prefix_tokens=0,
        size_dtype=None,
    )
    stages = [CellMap(torch.randn(*indices.shape, 16), cells) for _ in range(2)]
    decoder = ATMDecoder(num_classes=3, in_dims=[16, 16], hidden_dim=8, num_layers=2, num_heads=2).eval()
    outputs, expected = decoder(stages), decoder([stage.to_map() for stage in stages])
    for name in ("pred_logits", "pred_masks"):
        torch.testing.assert_close(outputs[name], expected[name])
