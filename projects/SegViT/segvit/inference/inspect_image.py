"""What a model sees in one image: edge scores, the tokens that it keeps, and the mask of each class.

Shape shorthand: H x W pixels, P patch, h x w grid, N = h*w cells, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.data import transforms as T

from segvit.data.augmentation import build_test_augmentations
from segvit.errors import UserError
from segvit.inference import SegViTPredictor
from segvit.modeling.postprocessing.semantic_inference import class_probabilities
from segvit.modeling.token_reduction.edge_head import edge_scores
from segvit.modeling.token_reduction.token_set import Stage, TokenSet


@dataclass(frozen=True)
class Inspection:
    """One image seen through the model.

    Attributes:
        image: (H, W, 3) uint8 RGB, at the size that the model read.
        edge_scores: (h, w) probabilities of an edge; None without an edge head.
        kept: (h, w) bool, the tokens that reach the last block.
        masks: (K, h, w) in 0 to 1, each class query's similarity map behind the sigmoid.
        probabilities: (K,) in 0 to 1, each class query's probability of its own class.
        patch_size: P.
        labels: class ids at the size of the image that was given, as the predictor returns them.
    """

    image: np.ndarray
    edge_scores: np.ndarray | None
    kept: np.ndarray
    masks: np.ndarray
    probabilities: np.ndarray
    patch_size: int
    labels: np.ndarray


def inspect_image(predictor: SegViTPredictor, image: np.ndarray) -> Inspection:
    """Segment one image (H, W, 3) uint8 BGR as a whole, and keep what the predictor does not return.

    Hooks hang in the model meanwhile: one thread at a time.

    Raises:
        UserError: where the model has no class queries.
    """
    model, resized = predictor.model, T.AugInput(image)
    T.AugmentationList(build_test_augmentations(predictor.cfg))(resized)
    resized = resized.image
    features: dict[str, Stage] = {}
    outputs: dict[str, torch.Tensor] = {}
    hooks = [
        model.backbone.register_forward_hook(lambda module, inputs, result: features.update(result)),
        model.sem_seg_head.register_forward_hook(lambda module, inputs, result: outputs.update(result)),
    ]
    try:
        labels = predictor(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not outputs.keys() & {"pred_logits", "class_probabilities"}:
        raise UserError("there are no class queries to look at: MODEL.SEM_SEG_HEAD.NAME must be AttentionToMaskHead")
    patch_size = model.backbone.size_divisibility
    grid = (-(-resized.shape[0] // patch_size), -(-resized.shape[1] // patch_size))
    edge_logits = features.get("edge_logits")
    return Inspection(
        image=np.ascontiguousarray(resized[:, :, ::-1]),
        edge_scores=None if edge_logits is None else edge_scores(edge_logits)[0].cpu().numpy(),
        kept=kept_cells(features[model.sem_seg_head.in_features[0]], grid),
        masks=outputs["pred_masks"][0].float().sigmoid().cpu().numpy(),
        probabilities=class_probabilities(outputs)[0].float().cpu().numpy(),
        patch_size=patch_size,
        labels=labels,
    )


def kept_cells(stage: Stage, grid: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: the cells whose tokens the stage of one image holds."""
    kept = np.zeros(grid, dtype=bool)
    if isinstance(stage, TokenSet):
        kept.flat[stage.cells[0].cpu().numpy()] = True
    else:
        step = 1 if tuple(stage.shape[-2:]) == grid else 2
        kept[::step, ::step] = True
    return kept
