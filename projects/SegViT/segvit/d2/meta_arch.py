"""SegViT as a Detectron2 meta-architecture: normalise, pad, encode, decode, and bring scores back to image size.

Shape shorthand: B images, H x W pixels, K classes, m classes present in an image.
"""

from __future__ import annotations

from collections import defaultdict

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from torch import nn

from segvit.d2.checkpoint import require_all_weights_for_inference
from segvit.modeling.criterion import MaskTargets
from segvit.modeling.semantic_inference import SemanticInference
from segvit.modeling.tokens import pad_to_size, padded_size


@META_ARCH_REGISTRY.register()
class SegViT(nn.Module):
    """Semantic segmentation with a plain ViT and an Attention-to-Mask decoder.

    Args:
        backbone: normalised images to named stages.
        sem_seg_head: stages to losses (training) or class and mask logits (inference).
        semantic_inference: class and mask logits to per-pixel class scores.
        pixel_mean, pixel_std: per channel, in the order of INPUT.FORMAT.
        ignore_value: the label without a class; also fills the labels of padded pixels.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        semantic_inference: SemanticInference,
        pixel_mean: list[float],
        pixel_std: list[float],
        ignore_value: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.semantic_inference = semantic_inference
        self.ignore_value = ignore_value
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(require_all_weights_for_inference)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        if cfg.TEST.AUG.ENABLED:
            raise ValueError("TEST.AUG.ENABLED True: multi-scale testing is not available yet, set it to False")
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "semantic_inference": SemanticInference(cfg.MODEL.SEGVIT.OUTPUT),
            "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
            "pixel_std": list(cfg.MODEL.PIXEL_STD),
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, object]]
    ) -> dict[str, torch.Tensor] | list[dict[str, torch.Tensor]]:
        """Train on or segment a batch of images of any sizes.

        Args:
            batched_inputs: one dict per image, with "image": (3, H, W) in the order and range of INPUT.FORMAT. In
                training also "instances" (gt_classes (m,), gt_masks (m, H, W) bool) and "sem_seg" (H, W) int64. In
                inference optionally "height" and "width", the size asked for; the size of "image" by default.

        Returns:
            In training the dict of weighted losses; in inference, per image, {"sem_seg": (K, height, width) float
            scores} (see `SemanticInference`).
        """
        images = [self._normalize(inputs["image"]) for inputs in batched_inputs]
        if self.training:
            return self._losses(images, batched_inputs)
        return self._segment(images, batched_inputs)

    def _normalize(self, image: torch.Tensor) -> torch.Tensor:
        return (image.to(self.device) - self.pixel_mean) / self.pixel_std

    def _losses(self, images: list[torch.Tensor], batched_inputs: list[dict[str, object]]) -> dict[str, torch.Tensor]:
        sizes = [self.backbone.img_size, *(image.shape[-2:] for image in images)]
        size = self._whole_patches((max(size[0] for size in sizes), max(size[1] for size in sizes)))
        features = self.backbone(torch.stack([pad_to_size(image, size) for image in images]))
        return self.sem_seg_head(features, [self._mask_targets(inputs, size) for inputs in batched_inputs])

    def _mask_targets(self, inputs: dict[str, object], size: tuple[int, int]) -> MaskTargets:
        instances = inputs["instances"].to(self.device)
        sem_seg = pad_to_size(inputs["sem_seg"].to(self.device), size, value=self.ignore_value)
        return MaskTargets(
            classes=instances.gt_classes,
            masks=pad_to_size(instances.gt_masks, size, value=False),
            valid=sem_seg != self.ignore_value,
        )

    def _segment(
        self, images: list[torch.Tensor], batched_inputs: list[dict[str, object]]
    ) -> list[dict[str, torch.Tensor]]:
        """Images of one padded size share a forward pass; none is padded further, so a batch equals one by one."""
        groups = defaultdict(list)
        for index, image in enumerate(images):
            groups[self._whole_patches(image.shape[-2:])].append(index)
        results: list[dict[str, torch.Tensor]] = [{} for _ in images]
        for size, indices in groups.items():
            batch = torch.stack([pad_to_size(images[index], size) for index in indices])
            scores = self.semantic_inference(self.sem_seg_head(self.backbone(batch)), size)
            for index, image_scores in zip(indices, scores, strict=True):
                height, width = images[index].shape[-2:]
                wanted = (batched_inputs[index].get("height", height), batched_inputs[index].get("width", width))
                results[index]["sem_seg"] = _resize(image_scores[:, :height, :width], wanted)
        return results

    def _whole_patches(self, size: tuple[int, int]) -> tuple[int, int]:
        return padded_size(size, (self.backbone.size_divisibility, self.backbone.size_divisibility))


def _resize(scores: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(K, H, W) scores at another size, bilinear; untouched where the size agrees."""
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores
    return F.interpolate(scores[None], size=size, mode="bilinear", align_corners=False)[0]
