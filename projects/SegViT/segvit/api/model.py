"""`Model`: SegViT for PyTorch loops and prediction, which saves itself as a model folder.

Shape shorthand: B images, H x W pixels, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn
from yacs.config import CfgNode

from segvit.api.batch_images import model_images, require_labels
from segvit.api.encoder_features import encoder_features
from segvit.api.options import keys_of_options
from segvit.api.provenance import Provenance, checksum
from segvit.api.validation_mode import validation_mode
from segvit.assembly.meta_arch import SegViT
from segvit.classes.class_list import ClassList
from segvit.errors import ArgumentError, UserError
from segvit.images import ImageFormat, image_format_of
from segvit.images.given_images import ImageLike
from segvit.inference.loaded_model import LABELS_ONLY, LoadedModel
from segvit.inference.predictor import SegViTPredictor
from segvit.inference.segmentation import Segmentation
from segvit.model_folder.card import TrainingRecord, with_name
from segvit.model_folder.files import read_model_folder, write_model_folder
from segvit.model_folder.finding import find_model
from segvit.model_folder.loading import folder_config, load_model


class Model(nn.Module, PyTorchModelHubMixin, library_name="segvit", pipeline_tag="image-segmentation"):
    """SegViT in a training loop and in prediction; `segvit.create_model` and `segvit.from_pretrained` make one.

    In training mode `model(images, labels)` gives losses, in evaluation mode `model(images)` gives scores. `predict`
    segments files, Pillow images and arrays in either mode.

    Attributes:
        cfg: the config; `segvit.config` describes its keys.
        classes: K names and colours.
        network: the model that `cfg` describes. Its state dict has the names of Detectron2's checkpoints.
    """

    def __init__(
        self,
        *,
        cfg: CfgNode,
        network: SegViT,
        classes: ClassList,
        metrics: Mapping[str, float] = MappingProxyType({}),
        card: str = "",
    ) -> None:
        super().__init__()
        self._hub_mixin_config = None  # config.yaml has it
        self.cfg = cfg
        self.network = network
        self.classes = classes
        self._provenance = Provenance(dict(metrics), card, checksum(network.state_dict())) if metrics or card else None
        self._hub_name = ""

    @property
    def device(self) -> torch.device:
        return self.network.device

    @property
    def image_format(self) -> ImageFormat:
        """How files become images (C, H, W) of this model."""
        return image_format_of(self.cfg)

    @property
    def metrics(self) -> dict[str, float]:
        """Of these weights, in percent; empty if they were not evaluated, or were trained further since."""
        known = self._known
        return dict(known.metrics) if known else {}

    @property
    def _known(self) -> Provenance | None:
        """What is known of the weights; None once they have changed."""
        known = self._provenance
        return known if known and known.holds(self.network.state_dict()) else None

    @property
    def num_classes(self) -> int:
        return len(self.classes.names)

    def forward(
        self, images: torch.Tensor, labels: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor] | torch.Tensor:
        """Losses of a batch with labels, its scores without them.

        In evaluation mode losses are those of validation: without dropout and drop path, and batch statistics stay.

        Args:
            images: (B, 3, H, W) RGB levels from 0 to 255, uint8 or floating-point; they are normalized here. A model
                of other images takes them as its `image_format` reads them: (B, C, H, W).
            labels: (B, H, W) int64 class ids; needed in training mode. `ignore_value` (255) marks pixels without a
                label, and other ids from K on are background.

        Returns:
            With labels, weighted losses by name, whose sum is to be minimized; else scores (B, K, H, W), whose argmax
            over the classes are labels.

        Raises:
            ArgumentError: the tensors have other shapes, or do not fit the mode.
        """
        images = model_images(images, self.image_format)
        if labels is None and not self.training:
            return torch.stack(self.network.network.scores(images))
        if labels is None:
            raise ArgumentError("labels", "are needed in training mode: pass them, or call model.eval() first")
        require_labels(labels, images, ignore_value=self.cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)
        with validation_mode(self.network) if not self.training else nullcontext():
            losses = self.network([{"image": image, "sem_seg": one} for image, one in zip(images, labels, strict=True)])
        assert isinstance(losses, dict)
        return losses

    def features(self, images: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Outputs of encoder blocks, in the mode of the model, with gradients unless they are turned off.

        Args:
            images: as in `forward`.
            names: such as ["block3", "block11"]; blocks after the last stage do not exist.

        Returns:
            Maps (B, C, h, w) on the grid of patches by name. Shrunk has half the grid from its reducing block on;
            tokens that Shrunk++ drops have the value of the nearest kept one.

        Raises:
            ArgumentError: for a name that is no block, or images of another shape.
        """
        return encoder_features(self.network, model_images(images, self.image_format), names)

    def predict(self, images: ImageLike | Sequence[ImageLike]) -> Segmentation | list[Segmentation]:
        """Segment one image or a list of images, of any sizes.

        Args:
            images: a path, a Pillow image or an RGB array (H, W, 3) of uint8 or uint16, or (H, W, C) for a model of
                other images; or a list of these.

        Raises:
            OSError, UserError: for an image that cannot be read.
        """
        predictor = SegViTPredictor.of(LoadedModel(self.cfg, self.network, self.classes), array_format="RGB")
        return predictor.predict(images)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write the model folder; called by the hub's `save_pretrained` and `push_to_hub`."""
        if Path.cwd().is_relative_to(save_directory.resolve()):
            raise UserError(f"{save_directory} is the working directory, which a save would replace: name another one")
        known = self._known
        name = self._hub_name or save_directory.name
        write_model_folder(
            save_directory,
            cfg=self.cfg,
            weights=self.network.state_dict(),
            classes=self.classes,
            metrics=known.metrics if known else {},
            record=TrainingRecord(in_python=True, further=self._provenance is not None),
            name=name,
            card=with_name(known.card, name) if known and known.card else "",
        )

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model folder to the repository "user/name"; see `huggingface_hub.PyTorchModelHubMixin`."""
        self._hub_name = repo_id
        try:
            return super().push_to_hub(repo_id, **options)
        finally:
            self._hub_name = ""

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **options: Any,
    ) -> Model:
        """The model of a folder or of a hub repository, in evaluation mode, on a GPU if there is one.

        Args:
            pretrained_model_name_or_path: a model folder, the OUTPUT_DIR of a run, or "user/name" on a hub.
            revision, cache_dir, force_download, local_files_only, token: see `huggingface_hub.snapshot_download`.
            **options: other values of config options, see `segvit.create_model`.

        Raises:
            UserError: the folder is incomplete or its files do not fit each other.
        """
        folder = find_model(
            pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        read = read_model_folder(folder)
        cfg = folder_config(read, {**keys_of_options(options), **LABELS_ONLY})
        return cls(
            cfg=cfg, network=load_model(cfg), classes=read.classes, metrics=read.metrics_with(cfg), card=read.card
        ).eval()
