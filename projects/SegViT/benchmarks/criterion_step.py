"""`CriterionStep`: losses and gradients on random logits, without the model, to time and to measure memory.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import torch
from detectron2.config import CfgNode

from segvit.analysis.from_config import build_random_model
from segvit.assembly.heads.loss_keys import build_criterion
from segvit.modeling.losses.targets import targets_of_labels
from segvit.modeling.segvit import decode
from training_step import random_input


class CriterionStep:
    """A call from label maps and the decoder's outputs to the losses and the gradients of these outputs.

    Args:
        cfg: of a model with an ATM decoder.
        batch_size: B.
        image_size: (H, W).
        num_present: classes in each label map; K if that is smaller.
    """

    def __init__(self, cfg: CfgNode, *, batch_size: int, image_size: tuple[int, int], num_present: int) -> None:
        head = cfg.MODEL.SEM_SEG_HEAD
        device = torch.device(cfg.MODEL.DEVICE)
        self.criterion = build_criterion(cfg, classes=range(head.NUM_CLASSES)).to(device)
        inputs = [random_input(image_size, min(num_present, head.NUM_CLASSES), seed) for seed in range(batch_size)]
        self.labels = torch.stack([image["sem_seg"] for image in inputs]).long().to(device)
        self.ids = [image["sem_seg_ids"] for image in inputs]
        self.num_classes = head.NUM_CLASSES
        self.ignore_value = head.IGNORE_VALUE
        self.stages = [
            {name: torch.randn(shape, device=device, requires_grad=True) for name, shape in shapes.items()}
            for shapes in _output_shapes(cfg, batch_size, image_size)
        ]

    def __call__(self) -> float:
        """The sum of the losses."""
        for stage in self.stages:
            for logits in stage.values():
                logits.grad = None
        targets = targets_of_labels(
            self.labels, num_classes=self.num_classes, ignore_value=self.ignore_value, ids=self.ids
        )
        loss = sum(self.criterion({**self.stages[-1], "aux_outputs": self.stages[:-1]}, targets).values())
        loss.backward()
        return loss.item()


def _output_shapes(cfg: CfgNode, batch_size: int, image_size: tuple[int, int]) -> list[dict[str, torch.Size]]:
    """Shapes of the class and mask logits of each stage, in order, from a model on the "meta" device."""
    model = build_random_model(cfg, device="meta").train()
    with torch.no_grad():
        features = model.backbone(torch.empty(batch_size, 3, *image_size, device="meta"))
        head = model.sem_seg_head
        outputs = decode(head.decoder, features, head.in_features, head.pixel_stages)
    stages = [*outputs["aux_outputs"], outputs]
    return [{name: logits.shape for name, logits in stage.items() if name != "aux_outputs"} for stage in stages]
