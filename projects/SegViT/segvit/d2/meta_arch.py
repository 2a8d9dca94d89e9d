"""SegViT as a Detectron2 meta-architecture: normalise, pad, encode, decode, and bring scores back to image size.

Shape shorthand: B images, H x W pixels, K classes, m classes present in an image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from torch import nn

from segvit.checkpoint.checkpointer import require_all_weights_for_inference
from segvit.config.keys import config_keys
from segvit.errors import UserError
from segvit.modeling.losses.edge_loss import EdgeLoss
from segvit.modeling.losses.loss_normalizers import LossCounts, LossNormalizers, mean_over_processes
from segvit.modeling.losses.mask_targets import MaskTargets, targets_of_labels
from segvit.modeling.postprocessing.image_sizes import ImageSizes
from segvit.modeling.postprocessing.pruned_argmax import pruned_argmax
from segvit.modeling.postprocessing.score_bands import join_bands, labels_of_bands, resize_bands
from segvit.modeling.postprocessing.semantic_inference import SemanticInference, class_probabilities
from segvit.modeling.postprocessing.sliding_window import SlidingWindow
from segvit.modeling.tokens import pad_to_size, padded_size


@META_ARCH_REGISTRY.register()
class SegViT(nn.Module):
    """Semantic segmentation with a plain ViT and an Attention-to-Mask decoder.

    Args:
        backbone: normalised images to named stages.
        sem_seg_head: stages to losses (training) or class and mask logits (inference).
        semantic_inference: class and mask logits to per-pixel class scores.
        edge_loss: of the edge head; None for a backbone without one (all but Shrunk++) or with frozen weights.
        num_classes: K; in training, labels that are neither below nor ignored are background.
        pixel_mean, pixel_std: per channel, in the order of INPUT.FORMAT.
        ignore_value: the label without a class; also fills the labels of padded pixels.
        windows: how to cut an image into windows in inference; None segments it as a whole.
        labels_only: give the labels of an image in place of its scores, which never exist as a whole.

    Attributes:
        label_dtype: of those labels; int64 unless who holds the model sets a smaller one that holds K - 1.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        semantic_inference: SemanticInference,
        edge_loss: EdgeLoss | None,
        num_classes: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        ignore_value: int,
        windows: SlidingWindow | None = None,
        labels_only: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.semantic_inference = semantic_inference
        self.edge_loss = edge_loss
        self.num_classes = num_classes
        self.ignore_value = ignore_value
        self.windows = windows
        self.labels_only = labels_only
        self.label_dtype = torch.int64
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(require_all_weights_for_inference)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, object]:
        backbone, window = build_backbone(cfg), cfg.TEST.WINDOW
        with config_keys(size="TEST.WINDOW.SIZE", stride="TEST.WINDOW.STRIDE", batch_size="TEST.WINDOW.BATCH_SIZE"):
            windows = SlidingWindow(
                size=window.SIZE,
                stride=window.STRIDE,
                batch_size=window.BATCH_SIZE,
                accumulate_on_cpu=window.ACCUMULATE_ON_CPU,
            )
        with config_keys(mode="MODEL.SEGVIT.OUTPUT"):
            semantic_inference = SemanticInference(cfg.MODEL.SEGVIT.OUTPUT)
        sem_seg_head = build_sem_seg_head(cfg, backbone.output_shape())
        require_trained_for(semantic_inference.mode, sem_seg_head.output_modes)
        if sem_seg_head.needs_frozen_backbone:
            backbone.freeze()
        edge_loss = None
        if backbone.trains_edge_head:
            edge_loss = EdgeLoss(
                ignore_value=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
                weight=cfg.MODEL.SEGVIT.EDGE_WEIGHT,
                edge_weight=cfg.MODEL.SEGVIT.EDGE_CLASS_WEIGHT,
            )
        return {
            "backbone": backbone,
            "sem_seg_head": sem_seg_head,
            "semantic_inference": semantic_inference,
            "edge_loss": edge_loss,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
            "pixel_std": list(cfg.MODEL.PIXEL_STD),
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "windows": windows if window.ENABLED else None,
            "labels_only": cfg.TEST.LABELS_ONLY,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, object]], normalizers: LossNormalizers | None = None
    ) -> dict[str, torch.Tensor] | list[dict[str, torch.Tensor]]:
        """Train on or segment a batch of images of any sizes.

        Args:
            batched_inputs: one dict per image, with "image": (3, H, W) in the order and range of INPUT.FORMAT. In
                training also "sem_seg" (H, W) int64, as any of Detectron2's mappers of label maps gives it. In
                inference optionally "height" and "width", the size asked for; the size of "image" by default.
            normalizers: in training on a part of a batch, the `loss_normalizers` of the whole batch.

        Returns:
            In training the dict of weighted losses; in inference, per image, {"sem_seg": (K, height, width) float
            scores} (see `SemanticInference`), or with `labels_only` {"sem_seg_labels": (height, width) `label_dtype`}.
        """
        images = [self._normalize(inputs["image"]) for inputs in batched_inputs]
        if self.training:
            return self._losses(images, batched_inputs, normalizers)
        return self._segment(images, batched_inputs)

    def _normalize(self, image: torch.Tensor) -> torch.Tensor:
        return (image.to(self.device) - self.pixel_mean).div_(self.pixel_std)

    def _losses(
        self,
        images: list[torch.Tensor],
        batched_inputs: list[dict[str, object]],
        normalizers: LossNormalizers | None,
    ) -> dict[str, torch.Tensor]:
        # Targets come first: `nonzero` synchronizes with the GPU, and after the encoder it would wait for the encoder.
        labels, targets = self._labels_and_targets(batched_inputs)
        if normalizers is None:
            normalizers = mean_over_processes(self._loss_counts(labels, targets), self.device)
        size = (labels.shape[1], labels.shape[2])
        features = self.backbone(torch.stack([pad_to_size(image, size) for image in images]))
        losses = self.sem_seg_head(features, targets, normalizers)
        if self.edge_loss is not None:
            losses["loss_edge"] = self.edge_loss(features["edge_logits"], labels, normalizers)
        return losses

    def loss_normalizers(self, batched_inputs: list[dict[str, object]]) -> dict[str, torch.Tensor]:
        """The divisors of the losses of a whole batch, for `forward` on each of its parts.

        Every process must call it: counts are averaged over all of them.

        Args:
            batched_inputs: of training, see `forward`.
        """
        labels, targets = self._labels_and_targets(batched_inputs)
        return mean_over_processes(self._loss_counts(labels, targets), self.device)

    def _loss_counts(self, labels: torch.Tensor, targets: list[MaskTargets]) -> LossCounts:
        counts = self.sem_seg_head.loss_counts(targets)
        if self.edge_loss is not None:
            patch = self.backbone.size_divisibility
            counts |= self.edge_loss.loss_counts(labels, (labels.shape[1] // patch, labels.shape[2] // patch))
        return counts

    def _labels_and_targets(self, batched_inputs: list[dict[str, object]]) -> tuple[torch.Tensor, list[MaskTargets]]:
        """(B, H, W) labels, padded to one size, and the targets of each image."""
        sizes = [self.backbone.img_size, *(inputs["image"].shape[-2:] for inputs in batched_inputs)]
        size = self._whole_patches((max(size[0] for size in sizes), max(size[1] for size in sizes)))
        labels = torch.stack([self._padded_labels(inputs, size) for inputs in batched_inputs])
        return labels, targets_of_labels(labels, num_classes=self.num_classes, ignore_value=self.ignore_value)

    def _padded_labels(self, inputs: dict[str, object], size: tuple[int, int]) -> torch.Tensor:
        return pad_to_size(inputs["sem_seg"].to(self.device), size, value=self.ignore_value)

    def score_bands(self, image: torch.Tensor, size: tuple[int, int]) -> Iterator[torch.Tensor]:
        """The scores of one image (3, H, W) at another size, as bands of rows (K, rows, width) from top to bottom."""
        ((_, bands),) = self._score([self._normalize(image)])
        return resize_bands(bands, image.shape[-2:], size)

    def result(self, bands: Iterable[torch.Tensor], size: tuple[int, int]) -> dict[str, torch.Tensor]:
        """What inference returns for an image whose scores at `size` these bands are."""
        if self.labels_only:
            return {"sem_seg_labels": labels_of_bands(bands, size, self.label_dtype)}
        return {"sem_seg": join_bands(bands, size)}

    def _segment(
        self, images: list[torch.Tensor], batched_inputs: list[dict[str, object]]
    ) -> list[dict[str, torch.Tensor]]:
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        wanted = [
            (inputs.get("height", height), inputs.get("width", width))
            for inputs, (height, width) in zip(batched_inputs, sizes, strict=True)
        ]
        results: list[dict[str, torch.Tensor]] = [{} for _ in images]
        if self.labels_only and self.windows is None and self.semantic_inference.mode == "diagonal":
            for index, masks, probabilities, covered in self._masks(images):
                image_sizes = ImageSizes(covered, sizes[index], wanted[index])
                labels = pruned_argmax(masks, probabilities, image_sizes, dtype=self.label_dtype)
                results[index] = {"sem_seg_labels": labels}
            return results
        for index, bands in self._score(images):
            results[index] = self.result(resize_bands(bands, sizes[index], wanted[index]), wanted[index])
        return results

    def _masks(self, images: list[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor, torch.Tensor, tuple[int, int]]]:
        """Index, mask logits (K, h, w), the classes' own probabilities (K,) and the padded size of each image."""
        for size, indices in self._groups(images).items():
            batch = torch.stack([pad_to_size(images[index], size) for index in indices])
            outputs = self.sem_seg_head(self.backbone(batch))
            for place in zip(indices, outputs["pred_masks"], class_probabilities(outputs), strict=True):
                yield *place, size

    def _score(self, images: list[torch.Tensor]) -> Iterator[tuple[int, Iterable[torch.Tensor]]]:
        """Index and banded scores of each image, at its own size.

        Whole images of one padded size share a forward pass; none is padded further, so a batch equals one by one.
        """
        if self.windows is not None:
            yield from ((index, self.windows.bands(image, self._score_batch)) for index, image in enumerate(images))
            return
        for size, indices in self._groups(images).items():
            scores = self._score_batch(torch.stack([pad_to_size(images[index], size) for index in indices]))
            for index, image_scores in zip(indices, scores, strict=True):
                height, width = images[index].shape[-2:]
                yield index, [image_scores[:, :height, :width]]

    def _groups(self, images: list[torch.Tensor]) -> dict[tuple[int, int], list[int]]:
        """Padded size to the indices of its images."""
        groups = defaultdict(list)
        for index, image in enumerate(images):
            groups[self._whole_patches(image.shape[-2:])].append(index)
        return groups

    def _score_batch(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, K, H, W)."""
        height, width = images.shape[-2:]
        size = self._whole_patches((height, width))
        scores = self.semantic_inference(self.sem_seg_head(self.backbone(pad_to_size(images, size))), size)
        return scores[:, :, :height, :width]

    def _whole_patches(self, size: tuple[int, int]) -> tuple[int, int]:
        return padded_size(size, (self.backbone.size_divisibility, self.backbone.size_divisibility))


def require_trained_for(mode: str, output_modes: tuple[str, ...]) -> None:
    """Raise UserError where the head's masks are not trained to be read as `mode` reads them."""
    if mode not in output_modes:
        fitting = " or ".join(map(repr, output_modes)) or "no output"
        raise UserError(
            f"MODEL.SEGVIT.OUTPUT {mode!r} does not fit MODEL.SEGVIT.LOSS, which trains masks for {fitting}"
        )
