"""`ContinualHead`: one decoder per group of classes, each learnt in a step of its own (SegViTv2, continual learning).

Shape shorthand: K classes of the whole model, k classes of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from segvit.assembly.configurable import configurable
from segvit.assembly.detail_keys import pixel_stages
from segvit.assembly.heads.decoder_keys import (
    STAGE_KEYS,
    block_settings,
    build_head_decoder,
    head_stages,
    require_stages,
)
from segvit.assembly.heads.loss_keys import build_criterion
from segvit.config.continual_step import KEY, ContinualStep, continual_step
from segvit.errors import UserError, renamed_arguments
from segvit.modeling.continual.adapter import StageAdapter
from segvit.modeling.continual.class_groups import ClassGroups
from segvit.modeling.continual.group_decoders import AddedDecoder, Decoder, merge_groups
from segvit.modeling.decoder.outputs import DecoderOutputs, MergedOutputs
from segvit.modeling.encoder.stage_shape import StageShape
from segvit.modeling.losses.competition_loss import CompetitionLoss
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.losses.targets import LossCounts, LossNormalizers, MaskTargets
from segvit.modeling.segvit import decode
from segvit.modeling.token_reduction.token_set import Stage, stage_grid
from segvit.modeling.training_outputs import ReturnsMoreInTraining


class ContinualHead(ReturnsMoreInTraining, nn.Module):
    """Train the newest group of classes; in inference, predict the classes of all groups.

    Older groups are frozen: their parameters get no gradient, and they stay in evaluation mode. The first group's
    decoder has the same name as that of `AttentionToMaskHead`, so that a checkpoint of an ordinary model with these
    classes can serve as the first step.

    Args:
        in_features: names of the stages that the first group's decoder visits, deepest first.
        added_in_features: likewise for the later groups' decoders.
        pixel_stages: names of the maps that the detail branches of all groups read, finest first.
        decoder: of the first group.
        added: the later groups, oldest first.
        groups: the class ids of all of them.
        num_classes: K.
        size_stage, size_stride: name and pixels per cell of the backbone's finest map, which tells the padded size.
        criterion: of the newest group's k classes.
        competition: loss between the newest and the older groups, in training; None for none.
    """

    index_in_group: torch.Tensor

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        added_in_features: list[str],
        decoder: Decoder,
        added: list[AddedDecoder],
        groups: ClassGroups,
        num_classes: int,
        size_stage: str,
        size_stride: int,
        criterion: SegViTCriterion,
        pixel_stages: Sequence[str] = (),
        competition: CompetitionLoss | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.added_in_features = added_in_features
        self.pixel_stages = pixel_stages
        self.groups = groups
        self.num_classes = num_classes
        self.size_stage, self.size_stride = size_stage, size_stride
        self.decoder = decoder
        self.added = nn.ModuleList(added)
        self.criterion = criterion
        self.competition = competition
        # "mix" would let classes of one group vote for classes of another group.
        self.output_modes = tuple(mode for mode in criterion.output_modes if mode == "diagonal")
        # Older groups were trained on the backbone as it is.
        self.needs_frozen_backbone = bool(added)
        # The index of each class id within the newest group, -1 for classes of other groups.
        index_in_group = torch.full((num_classes,), -1)
        index_in_group[list(groups[-1])] = torch.arange(len(groups[-1]))
        self.register_buffer("index_in_group", index_in_group, persistent=False)
        self._position = {class_id: position for position, class_id in enumerate(groups[-1])}
        for older in self._older_groups():
            older.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, StageShape]) -> dict[str, Any]:
        step = continual_step(cfg)
        if step is None:
            raise UserError(f"MODEL.SEM_SEG_HEAD.NAME ContinualHead needs groups of classes: set {KEY}.PROTOCOL")
        first_group, *later_groups = step.known_groups
        in_features = head_stages(cfg, input_shape)
        added_in_features = list(step.in_features) or in_features
        require_stages(added_in_features, input_shape, key=f"{KEY}.IN_FEATURES")
        added = [
            AddedDecoder(
                build_head_decoder(
                    cfg,
                    input_shape,
                    added_in_features,
                    num_classes=len(group),
                    query_upsampling=step.query_upsampling,
                    num_layers=step.num_layers,
                    hidden_dim=step.hidden_dim,
                    keys=keys_of_later_groups(step),
                ),
                build_adapter(cfg, step, input_shape[added_in_features[0]]),
            )
            for group in later_groups
        ]
        criterion = build_criterion(cfg, classes=step.new_classes)
        if not isinstance(criterion, SegViTCriterion):
            raise UserError("MODEL.SEGVIT.LOSS 'pixel' does not fit ContinualHead, whose decoders predict masks")
        competition = None
        if step.competition_weight and added:
            competition = CompetitionLoss(weight=step.competition_weight, stride=criterion.mask_stride)
        strides = {name: shape.stride for name, shape in input_shape.items() if shape.stride is not None}
        size_stage = min(strides, key=strides.__getitem__)
        return {
            "in_features": in_features,
            "added_in_features": added_in_features,
            "decoder": build_head_decoder(cfg, input_shape, in_features, num_classes=len(first_group)),
            "added": added,
            "groups": step.known_groups,
            "num_classes": step.num_classes,
            "size_stage": size_stage,
            "size_stride": strides[size_stage],
            "pixel_stages": pixel_stages(input_shape),
            "criterion": criterion,
            "competition": competition,
        }

    def _older_groups(self) -> list[nn.Module]:
        return [self.decoder, *self.added[:-1]] if self.added else []

    def train(self, mode: bool = True) -> ContinualHead:
        super().train(mode)
        for older in self._older_groups():
            older.eval()
        return self

    def forward(
        self,
        features: dict[str, Stage],
        targets: list[MaskTargets] | None = None,
        normalizers: LossNormalizers | None = None,
    ) -> MergedOutputs | dict[str, torch.Tensor]:
        """Decode the stages.

        Args:
            features: stage name -> (B, C, h, w), or the `TokenSet` that Shrunk++ leaves.
            targets: one per image, in training, of the newest group's classes alone, by their ids in the model.
            normalizers: the divisors of the losses (see `SegViTCriterion.forward`).

        Returns:
            In training the weighted losses (see the criterion), else the outputs of all groups (see `merge_groups`).
        """
        if not self.training:
            return self._predict(features, len(self.groups))

        # Train the newest group by itself, on labels of its own classes.
        outputs = self._decode(len(self.added), features)
        targets = [self._within_group(target) for target in targets or []]
        losses = self.criterion(outputs, targets, normalizers)
        # Then let it compete with the frozen groups.
        if self.competition is not None:
            older_outputs = self._predict(features, len(self.added))
            losses["loss_competition"] = self.competition(outputs, older_outputs, targets, normalizers)
        return losses

    def _decode(self, group: int, features: dict[str, Stage]) -> DecoderOutputs:
        """The outputs of a group, counted from 0."""
        if group == 0:
            return decode(self.decoder, features, self.in_features, self.pixel_stages)
        return decode(self.added[group - 1], features, self.added_in_features, self.pixel_stages)

    def _predict(self, features: dict[str, Stage], num_groups: int) -> MergedOutputs:
        """The merged outputs of the first groups."""
        return merge_groups(
            [self._decode(group, features) for group in range(num_groups)],
            self.groups[:num_groups],
            num_classes=self.num_classes,
            factors=[None, *(added.get_buffer("factor") for added in self.added[: num_groups - 1])],
            padded_size=self._padded_size(features),
        )

    def _padded_size(self, features: dict[str, Stage]) -> tuple[int, int]:
        """(H, W) in pixels of the images; a map of half the patches, rounded up, would not tell it."""
        height, width = stage_grid(features[self.size_stage])
        return height * self.size_stride, width * self.size_stride

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """What the losses of a batch are divided by (see `loss_normalizers`)."""
        counts = self.criterion.loss_counts([self._within_group(target) for target in targets])
        return counts if self.competition is None else {**counts, **self.competition.loss_counts(targets)}

    def _within_group(self, target: MaskTargets) -> MaskTargets:
        """Targets of the newest group, with classes as indices within the group."""
        labels = target.labels
        return MaskTargets(
            classes=torch.tensor([self._position[class_id] for class_id in target.classes.tolist()], dtype=torch.int64),
            labels=self.index_in_group[labels.clamp(min=0)].where(labels >= 0, labels),
        )


def keys_of_later_groups(step: ContinualStep) -> dict[str, str]:
    """The config keys that decide which stages the decoders of later groups read, for error messages."""
    keys = dict(STAGE_KEYS)
    if step.in_features:
        keys |= dict.fromkeys(("in_features", "in_dims"), f"{KEY}.IN_FEATURES")
    if step.query_upsampling:
        keys["query_upsampling"] = f"{KEY}.QUERY_UPSAMPLING"
    return keys


def build_adapter(cfg: CfgNode, step: ContinualStep, stage: StageShape) -> StageAdapter | None:
    """Build the adapter of a later group on its deepest stage; None if the step has none."""
    if not step.adapter_blocks:
        return None
    with renamed_arguments(dim=f"{KEY}.ADAPTER_DIM"):
        return StageAdapter(
            in_dim=stage.channels, dim=step.adapter_dim, num_blocks=step.adapter_blocks, **block_settings(cfg)
        )
