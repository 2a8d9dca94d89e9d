"""A training step of a config's model on random images, for timing and for measuring memory.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import torch
from detectron2.config import CfgNode

from segvit.analysis.from_config import build_random_model
from segvit.d2.solver import build_optimizer


class TrainingStep:
    """Forward, losses, backward and optimiser step: what one iteration costs without loading data.

    Args:
        cfg: names the model, the losses and the optimiser.
        batch_size: B.
        size: (H, W) of the images.
        num_present: classes in each label map, at most K; they lie in squares of an eighth of the image.
    """

    def __init__(self, cfg: CfgNode, *, batch_size: int, size: tuple[int, int], num_present: int = 10) -> None:
        self.model = build_random_model(cfg, device=cfg.MODEL.DEVICE).train()
        self.optimizer = build_optimizer(cfg, self.model)
        num_present = min(num_present, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
        self.inputs = [random_input(size, num_present, seed) for seed in range(batch_size)]

    def __call__(self) -> float:
        """Run one step. Returns the sum of the losses."""
        loss = sum(self.model(self.inputs).values())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def with_linear_head(cfg: CfgNode) -> CfgNode:
    """The config's encoder and solver with a linear classifier of the deepest tokens and pixel cross-entropy."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PerPixelHead"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = list(cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES)[:1]
    cfg.MODEL.SEGVIT.LOSS, cfg.MODEL.SEGVIT.OUTPUT = "pixel", "softmax"
    cfg.SOLVER.NO_WEIGHT_DECAY = []  # patterns may name class queries, and costs do not depend on them
    return cfg


def random_input(size: tuple[int, int], num_present: int, seed: int) -> dict[str, object]:
    """One image of noise as the mapper gives it; its label map holds all of so many classes, at most 64, in squares."""
    generator = torch.Generator().manual_seed(seed)
    squares = (torch.randperm(64, generator=generator) % num_present).view(8, 8)
    rows, columns = (torch.arange(length) * 8 // length for length in size)
    image = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "sem_seg": squares[rows][:, columns]}
