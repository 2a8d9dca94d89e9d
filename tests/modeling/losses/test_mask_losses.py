"""Focal and dice loss against autograd through their formulas; their cost and memory.

Shape shorthand: M masks, H x W pixels, h x w grid.
"""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from segvit.modeling.losses import mask_losses
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.losses.targets import MaskTargets

M, GRID, SIZE = 5, (3, 4), (11, 16)


def by_autograd(logits, masks, valid=None, boundaries=None, boundary_weight=0.0):
    """The formulas, mask by mask."""
    pixels = F.interpolate(logits[None], size=masks.shape[1:], mode="bilinear", align_corners=False)[0]
    focal, dice = [], []
    for index in range(len(logits)):
        counted = torch.ones_like(masks[index]) if valid is None else valid[index]
        logit, target = pixels[index][counted], masks[index][counted].to(pixels)
        p = logit.sigmoid()
        true_side = torch.where(target > 0, p, 1 - p)
        alpha = torch.where(target > 0, 0.25, 0.75)
        weight = torch.ones_like(logit) if boundaries is None else 1 + boundary_weight * boundaries[index][counted]
        loss = -weight * alpha * (1 - true_side) ** 2 * true_side.log()
        focal.append(loss.sum() / weight.sum().clamp(min=1))
        dice.append(1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1))
    return torch.stack(focal), torch.stack(dice)


def make_case(with_valid, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = (2 * torch.randn(M, *GRID, dtype=dtype, generator=generator)).requires_grad_()
    masks, valid = torch.rand(2, M, *SIZE, generator=generator) < 0.6
    valid[1] = False  # nothing counts
    masks[2] = False
    return logits, masks, valid if with_valid else None


@pytest.mark.parametrize("pixels_at_a_time", [1, 2 * SIZE[0] * SIZE[1], 10**6])
@pytest.mark.parametrize("boundary_weight", [0.0, 3.0])
@pytest.mark.parametrize("with_valid", [False, True])
def test_losses_and_gradients_are_those_of_the_formulas(monkeypatch, with_valid, boundary_weight, pixels_at_a_time):
    monkeypatch.setattr(mask_losses, "CPU_PIXELS", pixels_at_a_time)
    logits, masks, valid = make_case(with_valid)
    weights = torch.rand(2, M, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    boundaries = torch.rand(M, *SIZE, generator=torch.Generator().manual_seed(2)) < 0.3 if boundary_weight else None
    options = {"boundaries": boundaries, "boundary_weight": boundary_weight}
    gradients = []
    for loss in (mask_losses.focal_and_dice_loss, by_autograd):
        losses = loss(logits, masks, valid, **options)
        (gradient,) = torch.autograd.grad((torch.stack([*losses]) * weights).sum(), logits)
        gradients.append((*losses, gradient))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)


def test_losses_of_shapes_alone_leave_nothing_for_later_ones():
    mask_losses._upsampling.cache_clear()
    logits, masks, _ = make_case(False, torch.float32)
    mode = FakeTensorMode()
    fakes = [mode.from_tensor(tensor) for tensor in (logits.detach(), masks)]
    with mode:
        fake = mask_losses.focal_and_dice_loss(*fakes)
    assert fake.shape == (2, M)
    assert mask_losses.focal_and_dice_loss(logits, masks).isfinite().all()


def test_very_large_logits_do_not_overflow():
    """exp(logit) would be infinite. The focal loss is 0 for a right mask and the logit for a wrong one."""
    masks = torch.tensor([[[True, False]]])
    right = torch.tensor([[[1e4, -1e4]]], requires_grad=True)
    focal, dice = mask_losses.focal_and_dice_loss(right, masks)
    assert focal == 0 and dice == 0
    wrong = torch.tensor([[[-1e4, 1e4]]], requires_grad=True)
    focal, dice = mask_losses.focal_and_dice_loss(wrong, masks)
    assert focal.item() == pytest.approx(1e4 / 2) and dice.item() == pytest.approx(1 - 1 / 3)
    (gradient,) = torch.autograd.grad((focal + dice).sum(), wrong)
    torch.testing.assert_close(gradient, torch.tensor([[[-0.125, 0.375]]]))


class Work(TorchDispatchMode):
    """Counts the elements of all operator outputs, and the bytes of the largest one."""

    def __init__(self):
        super().__init__()
        self.elements = self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements += tensor.numel()
                self.largest = max(self.largest, tensor.numel() * tensor.element_size())
        return result


def work_and_kept_bytes(num_classes, num_present, size=(256, 256)):
    """Work of the criterion, forward and backward, and bytes kept in between; one image, grid of 1/16."""
    labels = torch.arange(size[0]) * num_present // size[0]
    labels = labels[:, None].expand(size)
    classes = torch.arange(num_present)
    target = MaskTargets(classes, labels)
    outputs = {
        "pred_logits": torch.zeros(1, num_classes, num_classes + 1, requires_grad=True),
        "pred_masks": torch.zeros(1, num_classes, size[0] // 16, size[1] // 16, requires_grad=True),
        "aux_outputs": [],
    }
    kept = 0

    def pack(tensor):
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with Work() as work, saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = SegViTCriterion(num_classes=num_classes)(outputs, [target])
        sum(losses.values()).backward()
    return work, kept


def test_cost_follows_the_classes_present_and_not_all_classes():
    base, _ = work_and_kept_bytes(num_classes=20, num_present=10)
    twice_present, _ = work_and_kept_bytes(num_classes=20, num_present=20)
    many_classes, _ = work_and_kept_bytes(num_classes=150, num_present=10)
    assert 1.9 < twice_present.elements / base.elements < 2.1
    assert many_classes.elements / base.elements < 1.1


def test_no_pixel_map_is_kept_for_the_backward_pass(monkeypatch):
    """All tensors kept, masks included, take less than one float map of a single mask; temporary tensors take more."""
    size = (256, 256)
    monkeypatch.setattr(mask_losses, "CPU_PIXELS", 1)
    work, kept = work_and_kept_bytes(num_classes=20, num_present=20, size=size)
    one_float_map = 4 * size[0] * size[1]
    assert kept < one_float_map
    assert work.largest <= 20 * size[0] * size[1]  # the bool masks of all classes
