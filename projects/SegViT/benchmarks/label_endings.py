"""Models that end in labels, to be timed: all that follows a head, up to the class of every pixel.

Shape shorthand: B images, H x W pixels, K classes, h x w grid.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.postprocessing.image_sizes import ImageSizes
from segvit.modeling.postprocessing.pruned_argmax import pruned_argmax
from segvit.modeling.postprocessing.score_bands import labels_of_bands, resize_bands
from segvit.modeling.postprocessing.semantic_inference import SemanticInference, class_probabilities

Outputs = dict[str, torch.Tensor]


class ArgmaxOfScores(nn.Module):
    """All scores at once, resized where another size is wanted, and their `argmax`: what most code does.

    Args:
        scores, wanted: as `WinnersOfScores` has them.
    """

    def __init__(self, scores: nn.Module, wanted: tuple[int, int] | None) -> None:
        super().__init__()
        self.scores = scores
        self.wanted = wanted

    def forward(self, outputs: object, size: tuple[int, int]) -> torch.Tensor:
        """(B, *wanted) int64."""
        scores = self.scores(outputs, size)
        if self.wanted not in (None, size):
            scores = F.interpolate(scores, size=self.wanted, mode="bilinear", align_corners=False)
        return scores.argmax(dim=1)


class WinnersOfScores(nn.Module):
    """All scores, resized band by band, and the highest at each pixel by a running maximum: the same labels, faster.

    Args:
        scores: a head's output and the size (H, W) of the images to scores (B, K, H, W).
        wanted: the size of the labels; None for that of the images.
    """

    def __init__(self, scores: nn.Module, wanted: tuple[int, int] | None) -> None:
        super().__init__()
        self.scores = scores
        self.wanted = wanted

    def forward(self, outputs: object, size: tuple[int, int]) -> torch.Tensor:
        """(B, *wanted) int64."""
        wanted = self.wanted or size
        bands = (resize_bands([scores], size, wanted) for scores in self.scores(outputs, size))
        return torch.stack([labels_of_bands(image, wanted) for image in bands])


class PrunedLabels(nn.Module):
    """Scores of those classes alone that can win, as `SegViT` does with TEST.LABELS_ONLY."""

    def __init__(self, wanted: tuple[int, int] | None) -> None:
        super().__init__()
        self.wanted = wanted

    def forward(self, outputs: Outputs, size: tuple[int, int]) -> torch.Tensor:
        """(B, *wanted) int64."""
        pairs = zip(outputs["pred_masks"], class_probabilities(outputs), strict=True)
        return torch.stack(
            [pruned_argmax(*pair, ImageSizes(padded=size, image=size, output=self.wanted or size)) for pair in pairs]
        )


class MadeScene(nn.Module):
    """A head that works as always and then answers as if it saw a scene of some classes.

    A head with random weights is sure of nothing, so that every class may win everywhere. Here the classes present have
    a probability of about 0.9 and a region each, around random points, with noise of one logit; all others have 0.001
    to 0.05, and noise for masks.

    Args:
        head: a head of SegViT.
        num_present: classes in the scene.
    """

    def __init__(self, head: Callable[[object], Outputs], num_present: int) -> None:
        super().__init__()
        self.head = head
        self.num_present = num_present

    def forward(self, features: object) -> Outputs:
        """The head's output with "pred_masks" and the class probabilities of the scene."""
        outputs = self.head(features)
        masks = outputs["pred_masks"]
        (height, width), num_classes = masks.shape[-2:], masks.shape[1]
        generator = torch.Generator().manual_seed(0)
        present = torch.randperm(num_classes, generator=generator)[: self.num_present]
        centers = torch.rand(self.num_present, 2, generator=generator) * torch.tensor([height, width])
        points = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
        nearest = torch.cdist(points, centers).argmin(dim=1).view(height, width)
        scene = torch.randn(num_classes, height, width, generator=generator)
        scene[present] += torch.where(nearest == torch.arange(self.num_present)[:, None, None], 6.0, -6.0)
        probabilities = 0.001 + 0.049 * torch.rand(num_classes, generator=generator)
        probabilities[present] = 0.9 + 0.05 * torch.rand(self.num_present, generator=generator)
        return {
            "class_probabilities": probabilities.to(masks).expand(len(masks), -1),
            "pred_masks": scene.to(masks).expand(len(masks), -1, -1, -1),
        }


class LabelsOfScene:
    """From what a head says of a made scene to the labels of an image, built where its memory is measured.

    Args:
        grid: (h, w) of the head's masks.
        size: (H, W) of the image and of its labels.
        pruned: score classes that can win; else all of them, for an `argmax`.
    """

    def __init__(
        self, *, num_classes: int, num_present: int, grid: tuple[int, int], size: tuple[int, int], pruned: bool
    ) -> None:
        self.outputs = MadeScene(lambda masks: {"pred_masks": masks}, num_present)(torch.empty(1, num_classes, *grid))
        self.size = size
        self.labels = PrunedLabels(None) if pruned else ArgmaxOfScores(SemanticInference("diagonal"), None)

    @torch.inference_mode()
    def __call__(self) -> torch.Tensor:
        return self.labels(self.outputs, self.size)
