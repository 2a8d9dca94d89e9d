"""`SegViT`, the model of a config: dicts of Detectron2's form in, losses or results out.

The network itself is `segvit.modeling.segvit.SegViT`.

Shape shorthand: B images, I their channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from segvit.assembly.compilation import compile_network
from segvit.assembly.components import build_backbone, build_head, build_windows
from segvit.assembly.configurable import configurable
from segvit.assembly.heads.loss_keys import build_edge_loss, build_encoder_loss, build_semantic_inference
from segvit.assembly.model_types import ModelInput, ModelOutput, requested_size
from segvit.checkpoint.complete_weights import require_all_weights_for_inference
from segvit.config.device import number_format
from segvit.modeling import segvit as core
from segvit.modeling.cast_weights import CastWeights
from segvit.modeling.losses.edge_loss import EdgeLoss, EdgeTargets
from segvit.modeling.losses.encoder_loss import EncoderLoss
from segvit.modeling.losses.targets import (
    LossCounts,
    LossNormalizers,
    MaskTargets,
    classes_in,
    mean_over_processes,
    targets_of_labels,
)
from segvit.modeling.postprocessing.image_sizes import Size
from segvit.modeling.postprocessing.score_bands import join_bands, labels_of_bands, resize_bands
from segvit.modeling.postprocessing.semantic_inference import SemanticInference
from segvit.modeling.postprocessing.sliding_window import SlidingWindow
from segvit.modeling.tokens import pad_to_size, send
from segvit.modeling.training_outputs import ReturnsMoreInTraining


class SegViT(ReturnsMoreInTraining, nn.Module):
    """Semantic segmentation with a plain ViT and an Attention-to-Mask decoder.

    Args:
        backbone: normalized images to stages by name.
        sem_seg_head: stages to losses (training) or class and mask logits (inference).
        semantic_inference: class and mask logits to per-pixel class scores.
        edge_loss: of the edge head; None for a backbone without one (all but Shrunk++) or with frozen weights.
        encoder_loss: of a linear classifier of a stage, in training; None for none.
        num_classes: K; in training, labels from K on are background, unless they are `ignore_value`.
        pixel_mean, pixel_std: per channel, in the order of INPUT.FORMAT.
        ignore_value: the label of pixels without a class, padded ones included.
        windows: segment overlapping windows of an image in inference; None segments it as a whole.
        labels_only: return labels in place of scores, which are then never held for a whole image.
        label_dtype: of these labels; it must hold K - 1.
        inference_dtype: autocast type of encoder and decoder in inference; float32 for none.
        compile_mode: compile the network at its first call (see `compile_network`); None for not.
    """

    # Of any class: Detectron2's registries promise no type.
    backbone: Any
    sem_seg_head: Any
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Any,
        sem_seg_head: nn.Module,
        semantic_inference: SemanticInference,
        edge_loss: EdgeLoss | None,
        num_classes: int,
        pixel_mean: list[float],
        pixel_std: list[float],
        ignore_value: int,
        windows: SlidingWindow | None = None,
        labels_only: bool = False,
        label_dtype: torch.dtype = torch.int64,
        inference_dtype: torch.dtype = torch.float32,
        compile_mode: str | None = None,
        encoder_loss: EncoderLoss | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.semantic_inference = semantic_inference
        self.edge_loss = edge_loss
        self.encoder_loss = encoder_loss
        self.num_classes = num_classes
        self.ignore_value = ignore_value
        self.windows = windows
        self.labels_only = labels_only
        self.label_dtype = label_dtype
        self.inference_dtype = inference_dtype
        if compile_mode is not None:
            compile_network(backbone, sem_seg_head, compile_mode)
        self._cast_backbone, self._cast_head = CastWeights(backbone), CastWeights(sem_seg_head)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        # Detectron2's DefaultPredictor loads its checkpoint into a model in eval mode and skips tensors that do not
        # fit; its only call into our code is `load_state_dict`, so that is where untrained weights can be refused.
        self.register_load_state_dict_post_hook(require_all_weights_for_inference)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        sem_seg_head = build_head(cfg, backbone.output_shape())
        if sem_seg_head.needs_frozen_backbone:
            backbone.freeze()
        return {
            "backbone": backbone,
            "sem_seg_head": sem_seg_head,
            "semantic_inference": build_semantic_inference(cfg, sem_seg_head.output_modes),
            "edge_loss": build_edge_loss(cfg) if backbone.trains_edge_head else None,
            "encoder_loss": None if backbone.frozen else build_encoder_loss(cfg, backbone.output_shape()),
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "pixel_mean": list(cfg.MODEL.PIXEL_MEAN),
            "pixel_std": list(cfg.MODEL.PIXEL_STD),
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "windows": build_windows(cfg),
            "labels_only": cfg.TEST.LABELS_ONLY,
            "inference_dtype": number_format(
                cfg.TEST.PRECISION, torch.device(cfg.MODEL.DEVICE).type, key="TEST.PRECISION"
            ),
            "compile_mode": cfg.MODEL.COMPILE_MODE if cfg.MODEL.COMPILE else None,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    @property
    def built_size(self) -> Size:
        """Height and width of the images that the model was built for."""
        return self.backbone.img_size

    @property
    def network(self) -> core.SegViT:
        """The same modules without Detectron2: whole images to outputs, scores or labels.

        Built on each access: as an attribute, its modules would be saved under two names.
        """
        return core.SegViT(
            encoder=self.backbone,
            head=self.sem_seg_head,
            inference=self.semantic_inference,
            patch_size=self.backbone.size_divisibility,
            pixel_mean=self.pixel_mean,
            pixel_std=self.pixel_std,
            dtype=self.inference_dtype,
        )

    def forward(
        self, batched_inputs: list[ModelInput], normalizers: LossNormalizers | None = None
    ) -> dict[str, torch.Tensor] | list[ModelOutput]:
        """Train on or segment a batch of images of any sizes.

        Args:
            batched_inputs: one dict per image.
            normalizers: in training on a part of a batch, the `loss_normalizers` of the whole batch.

        Returns:
            In training the weighted losses by name; in inference the result of each image.
        """
        return self._losses(batched_inputs, normalizers) if self.training else self._segment(batched_inputs)

    def _losses(self, batched_inputs: list[ModelInput], normalizers: LossNormalizers | None) -> dict[str, torch.Tensor]:
        # Targets and normalizers come first: all processes join the all-reduce, also one without any label.
        padded, targets, edges = self._targets(batched_inputs)
        if normalizers is None:
            normalizers = mean_over_processes(self._loss_counts(targets, edges), self.device)
        # Encode all images at the size of the labels.
        preprocess = self.network.preprocess
        backbone, head = self._with_cast_weights()
        features = backbone(torch.stack([preprocess(inputs["image"], padded) for inputs in batched_inputs]))
        # Decode, and compare with the targets; the encoder and the edge head of Shrunk++ may have losses of their own.
        losses = head(features, targets, normalizers)
        if self.edge_loss is not None and edges is not None:
            losses["loss_edge"] = self.edge_loss(features["edge_logits"], edges, normalizers)
        if self.encoder_loss is not None:
            losses["loss_encoder"] = self.encoder_loss(features, targets, normalizers)
        return losses

    def _with_cast_weights(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Backbone and head; under autocast on a GPU, with all their weights cast at once."""
        if self.device.type != "cuda" or not torch.is_autocast_enabled("cuda"):
            return self.backbone, self.sem_seg_head
        # A block that is computed again in the backward pass must find its weights as they are, and a frozen backbone
        # may hold cast weights for good.
        as_it_is = self.backbone.gradient_checkpointing or not self.backbone.holds_float32
        return self.backbone if as_it_is else self._cast_backbone, self._cast_head

    def loss_normalizers(self, batched_inputs: list[ModelInput]) -> LossNormalizers:
        """The divisors of the losses of a whole batch, for `forward` on each of its parts.

        Every process must call it: counts are averaged over all of them.
        """
        _, targets, edges = self._targets(batched_inputs)
        return mean_over_processes(self._loss_counts(targets, edges), self.device)

    def _loss_counts(self, targets: list[MaskTargets], edges: EdgeTargets | None) -> LossCounts:
        counts = self.sem_seg_head.loss_counts(targets)
        if self.edge_loss is not None and edges is not None:
            counts |= self.edge_loss.loss_counts(edges)
        if self.encoder_loss is not None:
            counts |= self.encoder_loss.loss_counts(targets)
        return counts

    def _targets(self, batched_inputs: list[ModelInput]) -> tuple[Size, list[MaskTargets], EdgeTargets | None]:
        """The size that all labels are padded to, the targets of each image, and those of an edge loss."""
        sizes = [self.backbone.img_size, *(inputs["image"].shape[-2:] for inputs in batched_inputs)]
        size = self.network.padded_size((max(size[0] for size in sizes), max(size[1] for size in sizes)))
        label_maps = [send(inputs["sem_seg"], self.device).long() for inputs in batched_inputs]
        labels = torch.stack([pad_to_size(label_map, size, value=self.ignore_value) for label_map in label_maps])
        ids = [classes_in(one["sem_seg"], self.num_classes, one.get("sem_seg_ids")) for one in batched_inputs]
        targets = targets_of_labels(labels, num_classes=self.num_classes, ignore_value=self.ignore_value, ids=ids)
        grid = (size[0] // self.backbone.size_divisibility, size[1] // self.backbone.size_divisibility)
        return size, targets, None if self.edge_loss is None else self.edge_loss.targets(labels, grid)

    def _segment(self, batched_inputs: list[ModelInput]) -> list[ModelOutput]:
        images = [inputs["image"] for inputs in batched_inputs]
        output_sizes = [requested_size(inputs) for inputs in batched_inputs]
        if self.windows is not None:
            sized = zip(images, output_sizes, strict=True)
            return [self.result(self.score_bands(image, size), size) for image, size in sized]
        if self.labels_only:
            per_image = self.network.labels(images, output_sizes, dtype=self.label_dtype)
            return [{"sem_seg_labels": labels} for labels in per_image]
        return [{"sem_seg": scores} for scores in self.network.scores(images, output_sizes)]

    def score_bands(self, image: torch.Tensor, output_size: Size) -> Iterator[torch.Tensor]:
        """Scores of one image (I, H, W) at the output size, as bands of rows (K, rows, width) from top to bottom."""
        model = self.network
        if self.windows is None:
            bands: Iterable[torch.Tensor] = model.scores([image])
        else:
            bands = self.windows.bands(send(image, self.device), model.scores)
        return resize_bands(bands, core.size_of(image), output_size)

    def result(self, bands: Iterable[torch.Tensor], output_size: Size) -> ModelOutput:
        """The result of an image from the bands of its scores at the output size."""
        if self.labels_only:
            return {"sem_seg_labels": labels_of_bands(bands, output_size, self.label_dtype)}
        return {"sem_seg": join_bands(bands, output_size)}
