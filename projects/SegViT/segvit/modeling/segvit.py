"""SegViT, the model: an encoder, a decoder head and semantic inference, on PyTorch and timm alone.

SegViT: Semantic Segmentation with Plain Vision Transformers (Zhang et al., NeurIPS 2022, "v1") and SegViTv2 (Zhang et
al., 2023, "v2"). `build_segvit` shows the whole network with its sizes; `segvit.d2` is the same model for Detectron2.

Shape shorthand: B images, I their channels, H x W pixels, P patch, h x w grid of the decoder's masks, K classes =
queries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn

from segvit.modeling.decoder.outputs import DecoderOutputs, in_float32
from segvit.modeling.postprocessing.image_results import labels_of_masks, labels_of_scores, resized_scores
from segvit.modeling.postprocessing.image_sizes import ImageSizes, Size
from segvit.modeling.postprocessing.semantic_inference import SemanticInference, class_probabilities
from segvit.modeling.token_reduction.token_set import Stage
from segvit.modeling.tokens import pad_to_size, padded_size, send

# (B, I, H, W), or B images (I, H, W).
Images = torch.Tensor | Sequence[torch.Tensor]

# Turns the outputs of a batch of one padded size into a result per image.
Postprocess = Callable[[DecoderOutputs, Sequence[ImageSizes]], list[torch.Tensor]]


class SegViT(nn.Module):
    """Raw images to class and mask logits, scores or labels.

    Args:
        encoder: normalized images (B, I, H, W) to stages by name.
        head: these to `DecoderOutputs`, such as a `DecoderHead`.
        inference: class and mask logits to scores.
        patch_size: P; images are padded at the bottom and right to whole patches.
        pixel_mean, pixel_std: of each channel, in the order and range of the images.
        dtype: autocast type of encoder and head; float32 for none. Scores and labels come from float32 logits.
    """

    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self,
        *,
        encoder: nn.Module,
        head: nn.Module,
        inference: SemanticInference,
        patch_size: int,
        pixel_mean: Sequence[float] | torch.Tensor,
        pixel_std: Sequence[float] | torch.Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.inference = inference
        self.patch_size = patch_size
        self.dtype = dtype
        self.register_buffer("pixel_mean", torch.as_tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.as_tensor(pixel_std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Images) -> DecoderOutputs:
        """Encode and decode a batch.

        Args:
            images: (B, I, H, W), or B images (I, H, W) whose padded sizes are equal.

        Returns:
            "pred_logits": (B, K, K + 1), class logits of each query; index K is "no object".
            "pred_masks": (B, K, h, w), mask logits of each query on a grid that covers the padded image.
            "aux_outputs": in training, these two of each earlier decoder stage, and the masks that a detail branch
                refines; else empty.
        """
        # Normalize and pad each image.
        batch = torch.stack([self.preprocess(image) for image in images])
        with self._autocast():
            # A plain ViT: one map per chosen block, or the tokens that Shrunk++ keeps.
            stages = self.encoder(batch)
            # Class queries attend to the stages; their attention maps become the masks.
            outputs = self.head(stages)
        return outputs if self.dtype == torch.float32 else in_float32(outputs)

    def scores(self, images: Images, output_sizes: Sequence[Size] | None = None) -> list[torch.Tensor]:
        """Scores (K, height, width) of each image, see `SemanticInference`.

        Args:
            images: (I, H, W) each, of any sizes.
            output_sizes: height and width of each result; the image's own by default.
        """
        return self._per_image(self._batch_scores, images, output_sizes)

    def labels(
        self, images: Images, output_sizes: Sequence[Size] | None = None, *, dtype: torch.dtype = torch.int64
    ) -> list[torch.Tensor]:
        """Labels (height, width) of each image: the argmax of `scores`, which are never held at output size.

        Args:
            images, output_sizes: as in `scores`.
            dtype: of the labels; it must hold K - 1.
        """
        return self._per_image(partial(self._batch_labels, dtype=dtype), images, output_sizes)

    def preprocess(self, image: torch.Tensor, padded: Size | None = None) -> torch.Tensor:
        """Normalize an image (I, H, W) and pad it with zeros, to whole patches or to `padded`."""
        normalized = (send(image, self.pixel_mean.device) - self.pixel_mean) / self.pixel_std
        return pad_to_size(normalized, padded or self.padded_size(size_of(image)))

    def padded_size(self, size: Size) -> Size:
        """The smallest size of whole patches that holds an image of (H, W) pixels."""
        return padded_size(size, (self.patch_size, self.patch_size))

    def _autocast(self) -> AbstractContextManager[None]:
        """The context of encoder and head; with float32, an autocast around the model stays."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.pixel_mean.device.type, dtype=self.dtype)

    def _per_image(
        self, postprocess: Postprocess, images: Images, output_sizes: Sequence[Size] | None
    ) -> list[torch.Tensor]:
        """The results of images of any sizes, in their order.

        Images of one padded size share a forward pass; none is padded further, so that a batch equals one by one.
        """
        image_sizes = [size_of(image) for image in images]
        sizes = [
            ImageSizes(padded=self.padded_size(size), image=size, output=output)
            for size, output in zip(image_sizes, output_sizes or image_sizes, strict=True)
        ]
        results: dict[int, torch.Tensor] = {}
        for padded in dict.fromkeys(size.padded for size in sizes):
            indices = [index for index, size in enumerate(sizes) if size.padded == padded]
            outputs = self([images[index] for index in indices])
            results.update(zip(indices, postprocess(outputs, [sizes[index] for index in indices]), strict=True))
        return [results[index] for index in range(len(sizes))]

    def _batch_scores(self, outputs: DecoderOutputs, sizes: Sequence[ImageSizes]) -> list[torch.Tensor]:
        scores = self.inference(outputs, sizes[0].padded)
        return [resized_scores(one, size) for one, size in zip(scores, sizes, strict=True)]

    def _batch_labels(
        self, outputs: DecoderOutputs, sizes: Sequence[ImageSizes], *, dtype: torch.dtype
    ) -> list[torch.Tensor]:
        if self.inference.mode == "diagonal":  # here a class needs scores only where it can still win
            per_image = zip(outputs["pred_masks"], class_probabilities(outputs), sizes, strict=True)
            return [labels_of_masks(masks, probabilities, size, dtype) for masks, probabilities, size in per_image]
        scores = self.inference(outputs, sizes[0].padded)
        return [labels_of_scores(one, size, dtype) for one, size in zip(scores, sizes, strict=True)]


class DecoderHead(nn.Module):
    """A decoder and the stages that it reads.

    Args:
        in_features: names of the stages, in the order in which the decoder takes them: deepest first.
        decoder: a list of stages, and a list of the maps of its detail branch, to `DecoderOutputs`.
        pixel_stages: names of the maps that the decoder's detail branch reads, finest first.
    """

    def __init__(self, *, in_features: Sequence[str], decoder: nn.Module, pixel_stages: Sequence[str] = ()) -> None:
        super().__init__()
        self.in_features = list(in_features)
        self.decoder = decoder
        self.pixel_stages = list(pixel_stages)

    def forward(self, stages: Mapping[str, Stage]) -> DecoderOutputs:
        """Stages by name to the outputs of `SegViT.forward`."""
        return decode(self.decoder, stages, self.in_features, self.pixel_stages)


def decode(
    decoder: nn.Module, stages: Mapping[str, Stage], in_features: Sequence[str], pixel_stages: Sequence[str]
) -> DecoderOutputs:
    """The outputs of a decoder for the stages and the maps of pixels that it reads, see `DecoderHead`."""
    return decoder([stages[name] for name in in_features], [stages[name] for name in pixel_stages])


def size_of(image: torch.Tensor) -> Size:
    """(H, W) of an image (..., H, W)."""
    return image.shape[-2], image.shape[-1]
