"""`TrainingStep`: one optimization step of a config's model on random images, to time and to measure memory.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import torch
from detectron2.config import CfgNode

from segvit.analysis.from_config import build_random_model
from segvit.assembly.model_types import ModelInput
from segvit.d2.solver import build_optimizer


class TrainingStep:
    """A call that runs forward, losses, backward and optimizer step, without data loading.

    Args:
        cfg: of the model, the losses and the optimizer.
        batch_size: B.
        image_size: (H, W).
        num_present: classes in each label map; K if that is smaller.
    """

    def __init__(self, cfg: CfgNode, *, batch_size: int, image_size: tuple[int, int], num_present: int = 10) -> None:
        self.model = build_random_model(cfg, device=cfg.MODEL.DEVICE).train()
        self.optimizer = build_optimizer(cfg, self.model)
        num_present = min(num_present, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
        self.inputs = [random_input(image_size, num_present, seed) for seed in range(batch_size)]

    def __call__(self) -> float:
        """The sum of the losses."""
        # As in training: gradients of the step before are freed before the forward pass.
        self.optimizer.zero_grad()
        loss = sum(self.model(self.inputs).values())
        loss.backward()
        self.optimizer.step()
        return loss.item()


def with_linear_head(cfg: CfgNode) -> CfgNode:
    """The config with a linear classifier of the deepest stage, trained by pixel cross-entropy, as its head."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PerPixelHead"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = list(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES)[:1]
    cfg.MODEL.SEGVIT.LOSS = "pixel"
    cfg.MODEL.SEGVIT.OUTPUT = "softmax"
    # Its patterns may name class queries, and the time of a step does not depend on them.
    cfg.SOLVER.NO_WEIGHT_DECAY = []
    return cfg


def random_input(image_size: tuple[int, int], num_present: int, seed: int) -> ModelInput:
    """An image of noise, and labels in 8 x 8 rectangles that contain each of `num_present` (at most 64) classes.

    Types are those of the mapper.
    """
    generator = torch.Generator().manual_seed(seed)
    rectangles = (torch.randperm(64, generator=generator) % num_present).view(8, 8)
    rows, columns = (torch.arange(length) * 8 // length for length in image_size)
    image = torch.randint(256, (3, *image_size), generator=generator, dtype=torch.uint8)
    labels = rectangles[rows][:, columns].to(torch.uint8)
    return {"image": image, "sem_seg": labels, "sem_seg_ids": torch.arange(num_present)}
