"""`SegViTCriterion` against slow loops in float64; its keys, dtypes, and normalizers over processes.

Shape shorthand: B images, H x W pixels, h x w grid, K classes = queries, S stages.
"""

import math

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.processes import run_in_two_processes
from helpers.targets import mask_targets
from segvit.modeling.losses.criterion import SegViTCriterion

K, IGNORED = 4, 255
GRID, SIZE = (2, 3), (8, 12)
NAMES = ("loss_ce", "loss_mask", "loss_dice")


def make_labels(ids, batch=2, size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.tensor(ids)[torch.randint(len(ids), (batch, *size), generator=generator)]


def make_stage(batch=2, grid=GRID, scale=2.0, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {
        "pred_logits": (torch.randn(batch, K, K + 1, generator=generator) * scale).requires_grad_(),
        "pred_masks": (torch.randn(batch, K, *grid, generator=generator) * scale).requires_grad_(),
    }


def make_outputs(num_aux=1, **options):
    stages = [make_stage(seed=seed, **options) for seed in range(1, num_aux + 2)]
    return {**stages[-1], "aux_outputs": stages[:-1]}


def reference_class_loss(logits, labels, no_object_weight, weights_by_class):
    total = weights = 0.0
    for image, label in enumerate(labels):
        for query in range(K):
            target, weight = (query, weights_by_class[query]) if (label == query).any() else (K, no_object_weight)
            total -= weight * logits[image, query].double().log_softmax(dim=0)[target].item()
            weights += weight
    return total / weights


def reference_mask_loss(logits, targets):
    """Focal and dice loss of one mask, from lists of its pixels."""
    focal = intersection = predicted = 0.0
    for logit, target in zip(logits, targets, strict=True):
        probability = 1 / (1 + math.exp(-logit))
        right = probability if target else 1 - probability
        focal -= (0.25 if target else 0.75) * (1 - right) ** 2 * math.log(right)
        intersection += probability * target
        predicted += probability
    dice = 1 - (2 * intersection + 1) / (predicted + sum(targets) + 1)
    return focal / max(len(targets), 1), dice


def reference_losses(
    stage,
    labels,
    *,
    no_object_weight=0.1,
    exclude_ignored_pixels=False,
    mask_stride=1,
    weights_by_class=(1.0,) * K,
):
    """All labels decide which classes are present; masks are compared at the middle of every n x n cell."""
    middle = (mask_stride - 1) // 2
    losses, weights, kept = [], [], labels[:, middle::mask_stride, middle::mask_stride]
    masks = F.interpolate(stage["pred_masks"].double(), kept.shape[1:], mode="bilinear", align_corners=False)
    for image, label in enumerate(kept):
        counted = label != IGNORED if exclude_ignored_pixels else torch.ones_like(label, dtype=torch.bool)
        for class_id in sorted(set(labels[image].flatten().tolist()) - {IGNORED}):
            targets = (label[counted] == class_id).int().tolist()
            weights.append(weights_by_class[class_id])
            loss = reference_mask_loss(masks[image, class_id][counted].tolist(), targets)
            losses.append([weights[-1] * part for part in loss])
    focal, dice = (sum(column) / sum(weights) for column in zip(*losses, strict=True)) if losses else (0, 0)
    class_loss = reference_class_loss(stage["pred_logits"], labels, no_object_weight, weights_by_class)
    return class_loss, 20 * focal, dice


LABELS = {
    "all labelled": make_labels([0, 1, 2, 3]),
    "some ignored": make_labels([0, 2, IGNORED]),
    "one class": torch.full((2, *SIZE), 3),
    "one image ignored": torch.stack([make_labels([0, 3], batch=1)[0], torch.full(SIZE, IGNORED)]),
    "all ignored": torch.full((2, *SIZE), IGNORED),
}


@pytest.mark.parametrize("mask_stride", [1, 2, 3])
@pytest.mark.parametrize("exclude_ignored_pixels", [False, True])
@pytest.mark.parametrize("labels", LABELS)
def test_equals_slow_loops(labels, exclude_ignored_pixels, mask_stride):
    options = {"exclude_ignored_pixels": exclude_ignored_pixels, "mask_stride": mask_stride, "no_object_weight": 0.3}
    outputs = make_outputs()
    losses = SegViTCriterion(num_classes=K, **options)(outputs, mask_targets(LABELS[labels]))
    for suffix, stage in (("", outputs), ("_0", outputs["aux_outputs"][0])):
        expected = reference_losses(stage, LABELS[labels], **options)
        actual = [losses[f"{name}{suffix}"].item() for name in NAMES]
        assert actual == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("labels", LABELS)
def test_weights_of_classes_weight_their_queries_and_masks(labels):
    options = {"weights_by_class": [0.5, 3.0, 1.0, 2.0], "exclude_ignored_pixels": True}
    outputs = make_outputs()
    losses = SegViTCriterion(num_classes=K, **options)(outputs, mask_targets(LABELS[labels]))
    for suffix, stage in (("", outputs), ("_0", outputs["aux_outputs"][0])):
        actual = [losses[f"{name}{suffix}"].item() for name in NAMES]
        assert actual == pytest.approx(reference_losses(stage, LABELS[labels], **options), rel=1e-5, abs=1e-7)


def test_pixels_near_a_boundary_weigh_more_in_the_focal_loss_alone():
    """Logits are wrong in two columns beside the boundary, then in as many far from it."""
    labels = torch.zeros(1, 8, 12, dtype=torch.int64)
    labels[..., 6:] = 1
    targets, results = mask_targets(labels), {}
    for columns in (slice(4, 6), slice(0, 2)):
        masks = torch.where(labels == torch.arange(K)[:, None, None], 5.0, -5.0)
        masks[0, :, columns] = -5.0
        outputs = make_outputs(num_aux=0, batch=1) | {"pred_masks": masks[None]}
        for weight in (0.0, 4.0):
            losses = SegViTCriterion(num_classes=K, boundary_weight=weight)(outputs, targets)
            results[columns.start, weight] = losses["loss_mask"].item(), losses["loss_dice"].item()
    assert results[4, 0.0] == pytest.approx(results[0, 0.0])
    # Four of twelve columns have the weight 5: the mean is over a weight of 28 in place of 12.
    assert results[4, 4.0][0] / results[4, 0.0][0] == pytest.approx(5 * 12 / 28, rel=1e-3)
    assert results[0, 4.0][0] / results[0, 0.0][0] == pytest.approx(12 / 28, rel=1e-3)
    assert {dice for _, dice in results.values()} == {results[0, 0.0][1]}


@pytest.mark.parametrize("size", [(9, 7), (5, 13)])
def test_the_stride_need_not_divide_the_size(size):
    labels = make_labels([0, 1, IGNORED], size=size)
    outputs = make_outputs(num_aux=0)
    losses = SegViTCriterion(num_classes=K, mask_stride=2)(outputs, mask_targets(labels))
    expected = reference_losses(outputs, labels, mask_stride=2)
    assert [losses[name].item() for name in NAMES] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("num_aux", [0, 2])
@pytest.mark.parametrize("labels", LABELS)
def test_every_stage_has_its_losses_and_gradients_for_any_labels(labels, num_aux):
    outputs = make_outputs(num_aux)
    losses = SegViTCriterion(num_classes=K)(outputs, mask_targets(LABELS[labels]))
    suffixes = ["", *(f"_{index}" for index in range(num_aux))]
    assert set(losses) == {f"{name}{suffix}" for name in NAMES for suffix in suffixes}
    sum(losses.values()).backward()
    for stage in (outputs, *outputs["aux_outputs"]):
        assert stage["pred_masks"].grad.isfinite().all()
        assert stage["pred_logits"].grad.abs().sum() > 0


@pytest.mark.parametrize("exclude_ignored_pixels", [False, True])
def test_without_labels_mask_losses_are_zero_and_attached_to_the_graph(exclude_ignored_pixels):
    outputs = make_outputs(num_aux=0)
    criterion = SegViTCriterion(num_classes=K, exclude_ignored_pixels=exclude_ignored_pixels)
    losses = criterion(outputs, mask_targets(LABELS["all ignored"]))
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    assert losses["loss_ce"] > 0
    (losses["loss_mask"] + losses["loss_dice"]).backward()
    assert torch.equal(outputs["pred_masks"].grad, torch.zeros(2, K, *GRID))


def test_only_masks_of_present_classes_have_gradients():
    labels = torch.stack([make_labels([0, 2], batch=1)[0], make_labels([1], batch=1)[0]])
    outputs = make_outputs(num_aux=0)
    losses = SegViTCriterion(num_classes=K)(outputs, mask_targets(labels))
    (losses["loss_mask"] + losses["loss_dice"]).backward()
    has_gradient = outputs["pred_masks"].grad.abs().sum(dim=(2, 3)) > 0
    assert has_gradient.tolist() == [[True, False, True, False], [False, True, False, False]]


def losses_with_changed_ignored_pixels(criterion):
    """Losses before and after the logits of class 0 change at ignored pixels, and the gradient there."""
    labels = make_labels([0, 1, IGNORED], batch=1)
    ignored = labels[0] == IGNORED
    outputs = make_outputs(num_aux=0, batch=1, grid=SIZE)  # a grid cell per pixel: nothing is interpolated
    before = criterion(outputs, mask_targets(labels))
    before["loss_mask"].backward()
    gradient = outputs["pred_masks"].grad[0, 0][ignored]
    changed = outputs["pred_masks"].detach().clone()
    changed[0, 0][ignored] += 3
    return before, criterion(outputs | {"pred_masks": changed}, mask_targets(labels)), gradient


def test_ignored_pixels_are_excluded():
    criterion = SegViTCriterion(num_classes=K, exclude_ignored_pixels=True)
    before, after, gradient = losses_with_changed_ignored_pixels(criterion)
    assert all(torch.equal(before[name], after[name]) for name in NAMES)
    assert not gradient.any()


def test_ignored_pixels_are_negatives_by_default():
    before, after, gradient = losses_with_changed_ignored_pixels(SegViTCriterion(num_classes=K))
    assert after["loss_mask"] > before["loss_mask"]
    assert after["loss_dice"] > before["loss_dice"]
    assert (gradient > 0).all()


def test_weights_scale_the_losses():
    ones = {"class_weight": 1.0, "focal_weight": 1.0, "dice_weight": 1.0}
    weights = {"class_weight": 2.0, "focal_weight": 3.0, "dice_weight": 5.0}
    outputs, targets = make_outputs(), mask_targets(LABELS["some ignored"])
    plain = SegViTCriterion(num_classes=K, **ones)(outputs, targets)
    scaled = SegViTCriterion(num_classes=K, **weights)(outputs, targets)
    for suffix in ("", "_0"):
        for name, weight in zip(NAMES, weights.values(), strict=True):
            torch.testing.assert_close(scaled[name + suffix], weight * plain[name + suffix])


@pytest.mark.parametrize("labels", ["some ignored", "all ignored"])
def test_losses_are_float32_under_autocast(labels):
    outputs = make_outputs()
    stages = [
        {name: tensor.detach().bfloat16() for name, tensor in stage.items() if name != "aux_outputs"}
        for stage in (outputs, *outputs["aux_outputs"])
    ]
    half = {**stages[0], "aux_outputs": stages[1:]}
    full_stages = [{name: tensor.float() for name, tensor in stage.items()} for stage in stages]
    full = {**full_stages[0], "aux_outputs": full_stages[1:]}
    criterion, targets = SegViTCriterion(num_classes=K), mask_targets(LABELS[labels])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = criterion(half, targets)
    for name, expected in criterion(full, targets).items():
        assert losses[name].dtype == torch.float32
        assert torch.equal(losses[name], expected)


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(st.sampled_from([*range(K), IGNORED]), min_size=1, max_size=4),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    scale=st.sampled_from([0.0, 1.0, 1e4]),
    exclude_ignored_pixels=st.booleans(),
    mask_stride=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_losses_and_gradients_are_finite_for_any_labels(ids, size, scale, exclude_ignored_pixels, mask_stride, seed):
    options = {"exclude_ignored_pixels": exclude_ignored_pixels, "mask_stride": mask_stride}
    outputs = make_outputs(scale=scale)
    losses = SegViTCriterion(num_classes=K, **options)(outputs, mask_targets(make_labels(ids, size=size, seed=seed)))
    sum(losses.values()).backward()
    assert all(loss.isfinite() and loss >= 0 for loss in losses.values())
    assert outputs["pred_masks"].grad.isfinite().all() and outputs["pred_logits"].grad.isfinite().all()


# Two images, one per process; the second has no label in the second case.
SHARED_LABELS = {"both labelled": LABELS["some ignored"], "one without labels": LABELS["one image ignored"]}


def losses_of_one_process(rank, folder):
    """Process `rank` of two computes the losses of image `rank`."""
    whole, own = make_outputs(), slice(rank, rank + 1)
    stages = [
        {name: tensor.detach()[own] for name, tensor in stage.items() if name != "aux_outputs"}
        for stage in (whole, *whole["aux_outputs"])
    ]
    criterion, results = SegViTCriterion(num_classes=K), {}
    for case, labels in SHARED_LABELS.items():
        results[case] = criterion({**stages[0], "aux_outputs": stages[1:]}, mask_targets(labels[own]))
        dist.barrier()
    torch.save(results, folder / f"rank{rank}.pt")


@pytest.mark.slow
def test_masks_are_counted_over_processes(tmp_path):
    """The mean over processes is the loss of the whole batch, also if a process has no labels."""
    run_in_two_processes(losses_of_one_process, tmp_path)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for case, labels in SHARED_LABELS.items():
        whole = SegViTCriterion(num_classes=K)(make_outputs(), mask_targets(labels))
        assert ranks[0][case].keys() == ranks[1][case].keys() == whole.keys()
        for name in ("loss_mask", "loss_dice", "loss_mask_0", "loss_dice_0"):
            mean = (ranks[0][case][name] + ranks[1][case][name]) / 2
            torch.testing.assert_close(mean, whole[name].detach(), msg=f"{case}: {name}")
