"""Labels as the model hands them to a criterion."""

from segvit.modeling.losses.mask_targets import MaskTargets


def mask_targets(labels, *, ignored=255):
    """(B, H, W) labels -> the targets of each image."""
    targets = []
    for label in labels:
        classes = label.unique()
        classes = classes[classes != ignored]
        targets.append(MaskTargets(classes, label == classes[:, None, None], label != ignored))
    return targets
