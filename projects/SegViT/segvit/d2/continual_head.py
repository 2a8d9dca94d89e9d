"""One decoder per group of classes, each learnt in a step of its own: continual segmentation (SegViTv2).

Shape shorthand: K classes of the whole model, G groups learnt so far, k classes of one of them.
"""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from segvit.d2.continual import KEY, continual_step
from segvit.d2.sem_seg_head import build_criterion, build_head_decoder, stage_names
from segvit.modeling.atm_decoder import ATMDecoder
from segvit.modeling.class_groups import ClassGroups
from segvit.modeling.continual_outputs import gather_groups
from segvit.modeling.criterion import MaskTargets, SegViTCriterion
from segvit.modeling.shrunk_decoder import ShrunkDecoder
from segvit.modeling.token_set import Stage


@SEM_SEG_HEADS_REGISTRY.register()
class ContinualHead(nn.Module):
    """Train the newest group's decoder; in inference, give all groups' classes at once.

    All that is older is frozen: its parameters get no gradient, and it stays in evaluation mode. The first group's
    decoder has the name that `AttentionToMaskHead` gives to its own: a checkpoint of an ordinary model with its classes
    is the first step.

    Args:
        in_features: stages in the order in which the decoders visit them, deepest first.
        decoders: one per group, oldest first.
        groups: the class ids of each.
        num_classes: K.
        criterion: of the newest group's k classes.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        decoders: list[ATMDecoder | ShrunkDecoder],
        groups: ClassGroups,
        num_classes: int,
        criterion: SegViTCriterion,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.groups = groups
        self.num_classes = num_classes
        self.decoder = decoders[0]
        self.later_decoders = nn.ModuleList(decoders[1:])
        self.criterion = criterion
        # What each group's scores are multiplied by; the first group sets the scale.
        self.register_buffer("later_factors", torch.ones(len(decoders) - 1))
        # Position of each class in the newest group.
        positions = torch.full((num_classes,), -1)
        positions[list(groups[-1])] = torch.arange(len(groups[-1]))
        self.register_buffer("positions", positions, persistent=False)
        for decoder in self.decoders[:-1]:
            decoder.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, object]:
        step = continual_step(cfg)
        if step is None:
            raise ValueError(f"MODEL.SEM_SEG_HEAD.NAME ContinualHead needs groups of classes: set {KEY}.PROTOCOL")
        return {
            "in_features": stage_names(cfg, input_shape),
            "decoders": [build_head_decoder(cfg, input_shape, num_classes=len(group)) for group in step.known_groups],
            "groups": step.known_groups,
            "num_classes": step.num_classes,
            "criterion": build_criterion(cfg, num_classes=len(step.new_classes)),
        }

    @property
    def decoders(self) -> list[ATMDecoder | ShrunkDecoder]:
        """One per group, oldest first."""
        return [self.decoder, *self.later_decoders]

    @property
    def factors(self) -> torch.Tensor:
        """(G,): what the scores of each group are multiplied by."""
        return torch.cat([self.later_factors.new_ones(1), self.later_factors])

    def train(self, mode: bool = True) -> ContinualHead:
        super().train(mode)
        for decoder in self.decoders[:-1]:
            decoder.eval()
        return self

    def forward(self, features: dict[str, Stage], targets: list[MaskTargets] | None = None) -> dict[str, torch.Tensor]:
        """Decode the stages.

        Args:
            features: stage name -> (B, C, h, w), or the `TokenSet` that Shrunk++ leaves.
            targets: one per image, in training, of the newest group's classes alone, by their ids in the model.

        Returns:
            In training the weighted losses (see the criterion), else what `gather_groups` gives.
        """
        stages = [features[name] for name in self.in_features]
        if self.training:
            return self.criterion(self.decoders[-1](stages), [self._in_group(target) for target in targets])
        outputs = [decoder(stages) for decoder in self.decoders]
        return gather_groups(outputs, self.groups, num_classes=self.num_classes, factors=self.factors)

    def _in_group(self, target: MaskTargets) -> MaskTargets:
        """Targets by the positions of their classes in the newest group."""
        return MaskTargets(classes=self.positions[target.classes], masks=target.masks, valid=target.valid)
