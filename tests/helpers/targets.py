"""Targets as the model hands them to a criterion, from label maps."""

from segvit.modeling.losses.targets import MaskTargets, targets_of_labels


def mask_targets(labels, *, ignored=255) -> list[MaskTargets]:
    """(B, H, W) labels below 255 -> the targets of each image."""
    return targets_of_labels(labels, num_classes=255, ignore_value=ignored)
