"""Groups of classes, each learnt in a step of its own: continual segmentation (SegViTv2).

Shape shorthand: K classes of the whole model, k classes of one group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from segvit.config.continual_step import KEY, ContinualStep, continual_step
from segvit.d2.sem_seg_head import (
    build_added_queries,
    build_competition,
    build_criterion,
    build_head_decoder,
    head_stages,
    require_stages,
)
from segvit.errors import UserError
from segvit.modeling.continual.class_groups import ClassGroups
from segvit.modeling.continual.group_decoders import AddedDecoder, AddedQueries, Decoder, merge_groups
from segvit.modeling.losses.criterion import SegViTCriterion
from segvit.modeling.losses.cross_group_loss import CrossGroupLoss
from segvit.modeling.losses.loss_normalizers import LossCounts, LossNormalizers
from segvit.modeling.losses.mask_targets import MaskTargets
from segvit.modeling.token_reduction.token_set import Stage


@SEM_SEG_HEADS_REGISTRY.register()
class ContinualHead(nn.Module):
    """Train the newest group of classes; in inference, give all groups' classes at once.

    All that is older is frozen: its parameters get no gradient, and it stays in evaluation mode. The first group's
    decoder has the name that `AttentionToMaskHead` gives to its own: a checkpoint of an ordinary model with its classes
    is the first step.

    Args:
        in_features: stages in the order in which the first group's decoder visits them, deepest first.
        added_in_features: likewise of the later groups' decoders.
        decoder: of the first group.
        added: the later groups, oldest first.
        groups: the class ids of all of them.
        num_classes: K.
        criterion: of the newest group's k classes.
        competition: of the newest group with the older ones, in training; None for none.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        added_in_features: list[str],
        decoder: Decoder,
        added: list[AddedDecoder | AddedQueries],
        groups: ClassGroups,
        num_classes: int,
        criterion: SegViTCriterion,
        competition: CrossGroupLoss | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.added_in_features = added_in_features
        self.groups = groups
        self.num_classes = num_classes
        self.decoder = decoder
        self.added = nn.ModuleList(added)
        self.criterion = criterion
        self.competition = competition
        # Classes of one group must not vote for those of another, as "mix" would let them.
        self.output_modes = tuple(mode for mode in criterion.output_modes if mode == "diagonal")
        # The older groups were trained on the backbone as it is.
        self.needs_frozen_backbone = bool(added)
        positions = torch.full((num_classes,), -1)  # of each class in the newest group
        positions[list(groups[-1])] = torch.arange(len(groups[-1]))
        self.register_buffer("positions", positions, persistent=False)
        for older in self._older():
            older.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        step = continual_step(cfg)
        if step is None:
            raise UserError(f"MODEL.SEM_SEG_HEAD.NAME ContinualHead needs groups of classes: set {KEY}.PROTOCOL")
        first, *later = step.known_groups
        in_features = head_stages(cfg, input_shape)
        added_in_features = list(step.in_features) or in_features
        require_stages(added_in_features, input_shape, key=f"{KEY}.IN_FEATURES")
        return {
            "in_features": in_features,
            "added_in_features": added_in_features,
            "decoder": build_head_decoder(cfg, input_shape, in_features, num_classes=len(first)),
            "added": [
                build_added_group(cfg, input_shape, added_in_features, step, num_classes=len(group)) for group in later
            ],
            "groups": step.known_groups,
            "num_classes": step.num_classes,
            "criterion": build_criterion(cfg, num_classes=len(step.new_classes)),
            "competition": build_competition(cfg, weight=step.competition_weight),
        }

    def _older(self) -> list[nn.Module]:
        return [self.decoder, *self.added[:-1]] if self.added else []

    def train(self, mode: bool = True) -> ContinualHead:
        super().train(mode)
        for older in self._older():
            older.eval()
        return self

    def forward(
        self,
        features: dict[str, Stage],
        targets: list[MaskTargets] | None = None,
        normalizers: LossNormalizers | None = None,
    ) -> dict[str, torch.Tensor]:
        """Decode the stages.

        Args:
            features: stage name -> (B, C, h, w), or the `TokenSet` that Shrunk++ leaves.
            targets: one per image, in training, of the newest group's classes alone, by their ids in the model.
            normalizers: the divisors of the losses (see `SegViTCriterion.forward`).

        Returns:
            In training the weighted losses (see the criterion), else what `merge_groups` gives.
        """
        stages = [features[name] for name in self.in_features]
        added_stages = [features[name] for name in self.added_in_features]
        if self.training:
            outputs = self.added[-1](added_stages, self.decoder) if self.added else self.decoder(stages)
            targets = [self._within_group(target) for target in targets]
            losses = self.criterion(outputs, targets, normalizers)
            if self.competition is not None and self.added:
                older = self._predict(stages, added_stages, self.added[:-1])
                losses["loss_competition"] = self.competition(outputs, older, targets, normalizers)
            return losses
        return self._predict(stages, added_stages, self.added)

    def _predict(
        self, stages: list[Stage], added_stages: list[Stage], added: Sequence[AddedDecoder | AddedQueries]
    ) -> dict[str, torch.Tensor]:
        """The outputs of the first group and of some later ones, see `merge_groups`."""
        reading = self.decoder.read(stages)
        first = self.decoder.answer(reading, self.decoder.class_queries, self.decoder.class_embed, with_aux=False)
        return merge_groups(
            [first, *(group(added_stages, self.decoder, reading) for group in added)],
            self.groups[: 1 + len(added)],
            num_classes=self.num_classes,
            factors=[None, *(group.factor for group in added)],
        )

    def loss_counts(self, targets: list[MaskTargets]) -> LossCounts:
        """What the losses of a batch are divided by (see `loss_normalizers`)."""
        counts = self.criterion.loss_counts(targets)
        if self.competition is not None and self.added:
            counts |= self.competition.loss_counts(targets)
        return counts

    def _within_group(self, target: MaskTargets) -> MaskTargets:
        """Targets of the newest group, its classes as indices within the group."""
        labels = target.labels
        return MaskTargets(
            classes=self.positions[target.classes],
            labels=self.positions[labels.clamp(min=0)].where(labels >= 0, labels),
        )


def build_added_group(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec], in_features: list[str], step: ContinualStep, *, num_classes: int
) -> AddedDecoder | AddedQueries:
    """A later group with so many classes, and a decoder of its own unless it shares the first group's."""
    if step.shares_decoder:
        return build_added_queries(cfg, num_classes=num_classes)
    return AddedDecoder(
        build_head_decoder(
            cfg, input_shape, in_features, num_classes=num_classes, query_upsampling=step.query_upsampling
        )
    )
