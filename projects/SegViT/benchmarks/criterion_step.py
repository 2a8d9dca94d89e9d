"""The losses of a batch and their gradients alone, on random logits, for timing and for measuring memory.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import torch
from detectron2.config import CfgNode

from segvit.analysis.from_config import build_random_model
from segvit.d2.sem_seg_head import build_criterion
from segvit.modeling.losses.mask_targets import targets_of_labels
from training_step import random_input


class CriterionStep:
    """From label maps and the decoder's outputs to losses, and back to the gradients of these outputs.

    Args:
        cfg: names a model with an ATM decoder, and its losses.
        batch_size: B.
        size: (H, W) of the images.
        num_present: classes in each label map, at most K.
    """

    def __init__(self, cfg: CfgNode, *, batch_size: int, size: tuple[int, int], num_present: int) -> None:
        head = cfg.MODEL.SEM_SEG_HEAD
        device = torch.device(cfg.MODEL.DEVICE)
        self.criterion = build_criterion(cfg, num_classes=head.NUM_CLASSES).to(device)
        inputs = [random_input(size, min(num_present, head.NUM_CLASSES), seed) for seed in range(batch_size)]
        self.labels = torch.stack([image["sem_seg"] for image in inputs]).to(device)
        self.num_classes, self.ignore_value = head.NUM_CLASSES, head.IGNORE_VALUE
        self.stages = [
            {name: torch.randn(shape, device=device, requires_grad=True) for name, shape in shapes.items()}
            for shapes in _output_shapes(cfg, batch_size, size)
        ]

    def __call__(self) -> float:
        """Returns the sum of the losses."""
        for logits in (logits for stage in self.stages for logits in stage.values()):
            logits.grad = None
        targets = targets_of_labels(self.labels, num_classes=self.num_classes, ignore_value=self.ignore_value)
        loss = sum(self.criterion({**self.stages[-1], "aux_outputs": self.stages[:-1]}, targets).values())
        loss.backward()
        return loss.item()


def _output_shapes(cfg: CfgNode, batch_size: int, size: tuple[int, int]) -> list[dict[str, torch.Size]]:
    """Of "pred_logits" and "pred_masks" of each stage, the last one last; nothing is computed."""
    model = build_random_model(cfg, device="meta").train()
    with torch.no_grad():
        features = model.backbone(torch.empty(batch_size, 3, *size, device="meta"))
        outputs = model.sem_seg_head.decoder([features[name] for name in model.sem_seg_head.in_features])
    stages = [*outputs["aux_outputs"], outputs]
    return [{name: stage[name].shape for name in ("pred_logits", "pred_masks")} for stage in stages]
