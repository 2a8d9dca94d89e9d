"""`inspect_image`: labels of one image, with the model's edge scores, kept tokens and class masks.

Shape shorthand: H x W pixels, P patch, h x w grid, N = h*w patches, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import transforms as T

from segvit.assembly.meta_arch import SegViT
from segvit.data.augmentation import build_test_augmentations
from segvit.errors import UserError
from segvit.exported.exported_model import ExportedModel
from segvit.images.given_images import ImageLike
from segvit.inference import SegViTPredictor
from segvit.modeling.postprocessing.semantic_inference import class_probabilities
from segvit.modeling.token_reduction.edge_head import edge_scores
from segvit.modeling.token_reduction.token_set import CellMap, Stage, TokenSet


def whole_image_overrides(opts: Sequence[Any]) -> list[Any]:
    """Config overrides with windows and test scales off: masks and kept tokens are those of whole images.

    Raises:
        UserError: the given overrides ask for one of them.
    """
    switches = ("TEST.WINDOW.ENABLED", "TEST.AUG.ENABLED")
    for key, value in zip(opts[::2], opts[1::2]):
        if key in switches and str(value) == "True":
            raise UserError(f"{key} True: this command shows masks and tokens of whole images; leave the key out")
    return [*opts, *(item for switch in switches for item in (switch, False))]


@dataclass(frozen=True)
class ModelView:
    """Intermediate results of the model for one image.

    Attributes:
        image: (H, W, 3) uint8 RGB, at the size of the model's input.
        edge_scores: (h, w) edge probabilities; None for a model without an edge head.
        kept: (h, w) bool, True for patches whose tokens reach the last block.
        masks: (K, h, w) in 0 to 1, the mask of each class query after the sigmoid; with detail on a finer grid.
        probabilities: (K,) in 0 to 1, the probability that query c gives to class c.
        patch_size: P.
        labels: class ids at the size of the original image, as `SegViTPredictor` returns them.
    """

    image: np.ndarray
    edge_scores: np.ndarray | None
    kept: np.ndarray
    masks: np.ndarray
    probabilities: np.ndarray
    patch_size: int
    labels: np.ndarray


def inspect_image(predictor: SegViTPredictor, image: ImageLike) -> ModelView:
    """`inspect_pixels` of a path, a Pillow image or an array. Raises OSError and UserError for unreadable ones, too."""
    return inspect_pixels(predictor, predictor.image_format.load(image, array_format=predictor.array_format))


def inspect_pixels(predictor: SegViTPredictor, image: np.ndarray) -> ModelView:
    """Segment one image without windows, and record the intermediate results.

    Args:
        predictor: with the model.
        image: (H, W, C), as the predictor's `image_format` reads it.

    Not thread-safe: it registers forward hooks on the model while it runs.

    Raises:
        UserError: for a model without class queries or with windows, and for an exported file.
    """
    model = network_of(predictor)
    if model.windows is not None:
        raise UserError("TEST.WINDOW.ENABLED True: masks and tokens are those of whole images: set it to False")
    captured: dict[str, Any] = {}
    hooks = [
        model.backbone.register_forward_hook(lambda module, inputs, result: captured.update(features=result)),
        model.sem_seg_head.register_forward_hook(lambda module, inputs, result: captured.update(outputs=result)),
    ]
    try:
        (labels,) = predictor.segment_pixels([image])
    finally:
        for hook in hooks:
            hook.remove()
    features, outputs = captured["features"], captured["outputs"]
    if not outputs.keys() & {"pred_logits", "class_probabilities"}:
        raise UserError(
            "MODEL.SEM_SEG_HEAD.NAME must be AttentionToMaskHead or ContinualHead: this head has no class queries"
        )
    model_input = T.AugInput(image)
    T.AugmentationList(build_test_augmentations(predictor.cfg))(model_input)
    patch_size = model.backbone.size_divisibility
    height, width = model_input.image.shape[:2]
    grid = (-(-height // patch_size), -(-width // patch_size))
    edge_logits = features.get("edge_logits")
    return ModelView(
        image=np.ascontiguousarray(predictor.image_format.to_rgb(model_input.image)),
        edge_scores=None if edge_logits is None else edge_scores(edge_logits)[0].cpu().numpy(),
        kept=kept_patches(features[model.sem_seg_head.in_features[0]], grid),
        masks=outputs["pred_masks"][0].float().sigmoid().cpu().numpy(),
        probabilities=class_probabilities(outputs)[0].float().cpu().numpy(),
        patch_size=patch_size,
        labels=labels,
    )


def network_of(predictor: SegViTPredictor) -> SegViT:
    """The network of a predictor. Raises UserError for an exported file, whose intermediate results cannot be read."""
    if isinstance(predictor.model, ExportedModel):
        file = predictor.model.file.path
        raise UserError(
            f"{file} gives results alone, no masks and tokens: name the model folder that it was exported from"
        )
    return predictor.model


def kept_patches(stage: Stage, grid: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: the patches of one image that have a token of their own in a stage.

    A dense stage has either the whole grid or, after query downsampling, every other row and column of it.
    """
    if isinstance(stage, CellMap):
        return stage.cells.own_tokens[0].cpu().numpy()
    kept = np.zeros(grid, dtype=bool)
    if isinstance(stage, TokenSet):
        kept.flat[stage.indices[0].cpu().numpy()] = True
    else:
        step = 1 if tuple(stage.shape[-2:]) == grid else 2
        kept[::step, ::step] = True
    return kept
