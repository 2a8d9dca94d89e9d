"""EoMT's way as a head: shapes, matching, losses, masked attention and its end, and that the encoder is whole.

Shape shorthand: B images, h x w grid, N patches, Q queries, K classes, C width.
"""

import itertools

import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import nn

from helpers.targets import mask_targets
from helpers.tiny_models import build, segment
from segvit.errors import UserError
from segvit.experiments.encoder_only.decoder import EncoderOnlyDecoder, attention_mask, masked_shares
from segvit.experiments.encoder_only.head import NUM_QUERIES
from segvit.experiments.encoder_only.matched_criterion import MatchedCriterion
from segvit.experiments.encoder_only.matching import LossWeights, match, matching_costs

B, C, GRID, Q, K = 2, 24, (3, 4), 7, 5


@pytest.fixture
def head_cfg(tiny_cfg):
    """Two of the three blocks of `tiny_cfg` have queries."""
    tiny_cfg.MODEL.SEM_SEG_HEAD.NAME = "EncoderOnlyHead"
    tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES, tiny_cfg.MODEL.VIT.OUT_INDICES = ["block0"], [0]
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "mix"
    tiny_cfg.MODEL.VIT.KEEP_PREFIX_TOKENS = False
    tiny_cfg.SOLVER.MAX_ITER = 8
    return tiny_cfg


def make_decoder(num_iterations=8):
    torch.manual_seed(0)
    blocks = nn.ModuleList(Block(C, 2) for _ in range(2))
    return EncoderOnlyDecoder(
        blocks=blocks,
        norm=nn.LayerNorm(C),
        embed_dim=C,
        num_queries=Q,
        num_classes=K,
        num_upsamplings=1,
        num_iterations=num_iterations,
    )


def make_outputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, Q, K + 1, generator=generator)
    return {"pred_logits": logits, "pred_masks": torch.randn(B, Q, *GRID, generator=generator), "aux_outputs": []}


def test_every_query_has_classes_and_a_mask_and_in_training_before_each_block_too():
    decoder, stage = make_decoder(), torch.randn(B, C, *GRID)
    outputs = decoder.train()(stage)
    assert len(outputs["aux_outputs"]) == 2 and decoder.iteration == 1
    for stage_outputs in (outputs, *outputs["aux_outputs"]):
        assert stage_outputs["pred_logits"].shape == (B, Q, K + 1)
        assert stage_outputs["pred_masks"].shape == (B, Q, 6, 8)
    sum(o["pred_logits"].square().sum() + o["pred_masks"].square().sum() for o in outputs["aux_outputs"]).backward()
    assert decoder.queries.weight.grad.abs().sum() > 0
    assert decoder.eval()(stage)["aux_outputs"] == [] and decoder.iteration == 1


def test_a_masked_query_reads_the_patches_of_its_mask_alone():
    masks = torch.full((1, 2, 2, 2), -1.0)
    masks[0, 1, 0, 1] = 1.0
    allowed = attention_mask(masks, (2, 2), share=1.0)[0, 0]
    assert allowed[:4].all() and allowed[:, 4:].all()
    assert allowed[4:, :4].tolist() == [[False] * 4, [False, True, False, False]]
    assert attention_mask(masks, (2, 2), share=0.0) is None


def test_masks_end_block_after_block():
    assert masked_shares(0.0, 3) == [1, 1, 1] and masked_shares(1.0, 3) == [0, 0, 0]
    halfway = masked_shares(0.5, 3)
    assert halfway[0] == 0 < halfway[1] < halfway[2] == 1
    assert all(
        earlier >= later for earlier, later in itertools.pairwise(masked_shares(i / 20, 3)[1] for i in range(21))
    )


def test_after_the_masks_have_ended_training_predicts_as_inference_does():
    decoder, stage = make_decoder(), torch.randn(B, C, *GRID)
    masked = decoder.train()(stage)["pred_masks"]
    decoder.iteration.fill_(8)
    ended = decoder(stage)["pred_masks"]
    assert torch.equal(ended, decoder.eval()(stage)["pred_masks"]) and not torch.allclose(masked, ended)


def test_costs_are_those_of_each_pair_and_the_matching_is_the_cheapest():
    """All assignments of 3 masks to 4 queries are tried."""
    generator = torch.Generator().manual_seed(0)
    class_logits, mask_logits = torch.randn(4, K + 1, generator=generator), torch.randn(4, 12, generator=generator)
    classes, masks = torch.tensor([4, 0, 2]), (torch.rand(3, 12, generator=generator) < 0.4).float()
    costs = matching_costs(class_logits, mask_logits, classes, masks, LossWeights())
    for query, mask in itertools.product(range(4), range(3)):
        p = mask_logits[query].sigmoid()
        dice = 1 - (2 * (p * masks[mask]).sum() + 1) / (p.sum() + masks[mask].sum() + 1)
        bce = F.binary_cross_entropy_with_logits(mask_logits[query], masks[mask])
        expected = 5 * bce + 5 * dice - 2 * class_logits[query].softmax(-1)[classes[mask]]
        assert costs[query, mask].item() == pytest.approx(expected.item(), rel=1e-4)
    tried = {
        order: sum(costs[q, m].item() for m, q in enumerate(order)) for order in itertools.permutations(range(4), 3)
    }
    assert tuple(match(costs).tolist()) == min(tried, key=tried.get)


def test_a_known_case_is_matched():
    assert match(torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])).tolist() == [1, 0, 2]
    assert match(torch.zeros(3, 0)).tolist() == []


def test_a_perfect_prediction_by_any_queries_has_the_smallest_loss():
    labels = torch.zeros(1, 6, 8, dtype=torch.int64)
    labels[:, :, 4:] = 3
    targets, criterion = mask_targets(labels), MatchedCriterion(num_classes=K, num_queries=Q)
    outputs = {"pred_logits": torch.full((1, Q, K + 1), -20.0), "aux_outputs": []}
    outputs["pred_logits"][..., K] = 20
    outputs["pred_masks"] = torch.full((1, Q, 6, 8), -20.0)
    for query, class_ in ((6, 0), (2, 3)):  # not the queries of these ids
        outputs["pred_logits"][0, query, [K, class_]] = torch.tensor([-20.0, 20.0])
        outputs["pred_masks"][0, query] = torch.where(labels[0] == class_, 20.0, -20.0)
    assert sum(criterion(outputs, targets).values()) < 1e-3
    outputs["pred_masks"] = torch.full((1, Q, 6, 8), -20.0)
    assert criterion(outputs, targets)["loss_mask"] > 10


@pytest.mark.parametrize("exclude", [False, True])
def test_losses_of_a_batch_are_the_weighted_means_of_its_images(exclude):
    labels = torch.randint(3, (B, 9, 12), generator=torch.Generator().manual_seed(0))
    labels[1, :4], labels[1, 4:] = 255, 1  # one mask against three
    criterion = MatchedCriterion(num_classes=K, num_queries=Q, exclude_ignored_pixels=exclude, mask_stride=2)
    outputs, targets = make_outputs(), mask_targets(labels)
    both = criterion(outputs, targets)
    singles = [
        criterion({name: value[i : i + 1] for name, value in outputs.items()}, targets[i : i + 1]) for i in range(B)
    ]
    for name, loss in both.items():
        counts = [criterion.loss_counts([target])[name] for target in targets]
        mean = sum(single[name] * count for single, count in zip(singles, counts, strict=True)) / sum(counts)
        assert loss.item() == pytest.approx(mean.item(), rel=1e-5)


def test_ignored_pixels_have_no_loss_where_they_are_excluded():
    labels = torch.zeros(B, 9, 12, dtype=torch.int64)
    labels[:, 5:] = 255
    outputs, targets = make_outputs(), mask_targets(labels)
    masks = outputs["pred_masks"].requires_grad_()
    MatchedCriterion(num_classes=K, num_queries=Q, exclude_ignored_pixels=True)(outputs, targets)[
        "loss_mask"
    ].backward()
    assert masks.grad[:, :, 2].abs().sum() == 0 < masks.grad[:, :, 0].abs().sum()


def test_an_image_without_labels_has_the_loss_of_no_object():
    losses = MatchedCriterion(num_classes=K, num_queries=Q)(make_outputs(), mask_targets(torch.full((B, 9, 12), 255)))
    assert losses["loss_mask"] == losses["loss_dice"] == 0 < losses["loss_ce"]


def test_fewer_queries_than_classes_are_refused():
    with pytest.raises(ValueError, match="num_queries"):
        MatchedCriterion(num_classes=K, num_queries=K - 1)


def test_backbone_and_head_are_the_whole_encoder(head_cfg):
    model = build(head_cfg)
    assert len(model.backbone.encoder.blocks) == 1 and len(model.sem_seg_head.decoder.blocks) == 2
    assert model.sem_seg_head.decoder.queries.num_embeddings == NUM_QUERIES


def test_a_batch_gives_what_its_images_give_one_by_one(head_cfg, make_input):
    model = build(head_cfg)
    inputs = [make_input(32, 48), make_input(29, 41, seed=1)]
    for batched, image in zip(segment(model, *inputs), inputs, strict=True):
        torch.testing.assert_close(batched, segment(model, image)[0], rtol=1e-4, atol=1e-5)
        assert batched.shape[0] == K


def test_every_parameter_learns(head_cfg, make_input):
    model = build(head_cfg).train()
    losses = model([make_input(32, 48), make_input(30, 40, seed=1)])
    assert {"loss_ce", "loss_mask", "loss_dice", "loss_ce_0", "loss_dice_1"} < set(losses)
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("node", "key", "value"),
    [
        ("VIT", "KEEP_PREFIX_TOKENS", True),
        ("VIT", "FROZEN", True),
        ("SEGVIT", "CLASS_WEIGHTS", ["auto"]),
        ("SEM_SEG_HEAD", "IN_FEATURES", ["block0", "block0"]),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(head_cfg, node, key, value):
    head_cfg.MODEL[node][key] = value
    with pytest.raises(UserError, match=key):
        build(head_cfg)
