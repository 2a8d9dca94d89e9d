"""Ways from a head's output to labels, to be timed: argmax of all scores, in bands, or as `SegViT` does.

Shape shorthand: B images, H x W pixels, K classes, h x w grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.postprocessing.image_results import labels_of_masks
from segvit.modeling.postprocessing.image_sizes import ImageSizes
from segvit.modeling.postprocessing.score_bands import labels_of_bands, resize_bands
from segvit.modeling.postprocessing.semantic_inference import SemanticInference, class_probabilities

Outputs = dict[str, torch.Tensor]
Size = tuple[int, int]


class Argmax(nn.Module):
    """The argmax of all scores at once, resized to another size if one is given: what most code does.

    Args:
        scores: maps a head's output and the size (H, W) of the images to scores (B, K, H, W).
        label_size: of the labels; None for that of the images.
    """

    def __init__(self, scores: nn.Module, label_size: Size | None) -> None:
        super().__init__()
        self.scores = scores
        self.label_size = label_size

    def forward(self, outputs: Any, image_size: Size) -> torch.Tensor:
        """(B, *label_size) int64."""
        scores = self.scores(outputs, image_size)
        if self.label_size not in (None, image_size):
            scores = F.interpolate(scores, size=self.label_size, mode="bilinear", align_corners=False)
        return scores.argmax(dim=1)


class BandedArgmax(nn.Module):
    """The same labels faster: bands of rows are resized one by one, with a running maximum over the classes.

    Args: as for `Argmax`.
    """

    def __init__(self, scores: nn.Module, label_size: Size | None) -> None:
        super().__init__()
        self.scores = scores
        self.label_size = label_size

    def forward(self, outputs: Any, image_size: Size) -> torch.Tensor:
        """(B, *label_size) int64."""
        label_size = self.label_size or image_size
        bands = (resize_bands([scores], image_size, label_size) for scores in self.scores(outputs, image_size))
        return torch.stack([labels_of_bands(image, label_size) for image in bands])


class MaskArgmax(nn.Module):
    """As `SegViT` does with TEST.LABELS_ONLY and the output "diagonal": on a CPU it scores candidate classes only."""

    def __init__(self, label_size: Size | None) -> None:
        super().__init__()
        self.label_size = label_size

    def forward(self, outputs: Outputs, image_size: Size) -> torch.Tensor:
        """(B, *label_size) int64."""
        sizes = ImageSizes(padded=image_size, image=image_size, output=self.label_size or image_size)
        images = zip(outputs["pred_masks"], class_probabilities(outputs), strict=True)
        labels = [labels_of_masks(masks, probabilities, sizes, torch.int64) for masks, probabilities in images]
        return torch.stack(labels)


class SyntheticScene(nn.Module):
    """Runs a head and replaces its output by that for a scene of a few classes.

    A head with random weights gives all classes similar probabilities, so that none can be pruned. In the scene the
    present classes have probabilities of about 0.9 and a region each, around random points, with noise of one logit;
    all others have 0.001 to 0.05 and masks of noise.

    Args:
        head: a head of SegViT.
        num_present: classes in the scene.
    """

    def __init__(self, head: Callable[[Any], Outputs], num_present: int) -> None:
        super().__init__()
        self.head = head
        self.num_present = num_present

    def forward(self, features: Any) -> Outputs:
        """The scene's "pred_masks" (B, K, h, w) and "class_probabilities" (B, K)."""
        # The head runs for its time and for the shape of its masks.
        masks = self.head(features)["pred_masks"]
        num_classes, height, width = masks.shape[1:]
        generator = torch.Generator().manual_seed(0)

        # Each grid cell belongs to the present class with the nearest centre.
        present = torch.randperm(num_classes, generator=generator)[: self.num_present]
        centers = torch.rand(self.num_present, 2, generator=generator) * torch.tensor([height, width])
        cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float()
        nearest = torch.cdist(cells, centers).argmin(dim=1).view(height, width)

        # Logits of +6 inside a class's region and -6 outside, with noise.
        logits = torch.randn(num_classes, height, width, generator=generator)
        logits[present] += torch.where(nearest == torch.arange(self.num_present)[:, None, None], 6.0, -6.0)
        probabilities = 0.001 + 0.049 * torch.rand(num_classes, generator=generator)
        probabilities[present] = 0.9 + 0.05 * torch.rand(self.num_present, generator=generator)
        return {
            "class_probabilities": probabilities.to(masks).expand(len(masks), -1),
            "pred_masks": logits.to(masks).expand(len(masks), -1, -1, -1),
        }


class LabelsOfScene:
    """A call from the head's output for a synthetic scene to labels; a process that measures its memory can build it.

    Args:
        num_classes: K.
        num_present: classes in the scene.
        grid: (h, w) of the masks.
        image_size: (H, W) of the image and its labels.
        pruned: whether only candidate classes are scored.
    """

    def __init__(self, *, num_classes: int, num_present: int, grid: Size, image_size: Size, pruned: bool) -> None:
        scene = SyntheticScene(lambda masks: {"pred_masks": masks}, num_present)
        self.outputs = scene(torch.empty(1, num_classes, *grid))
        self.image_size = image_size
        self.ending = MaskArgmax(None) if pruned else Argmax(SemanticInference("diagonal"), None)

    @torch.inference_mode()
    def __call__(self) -> torch.Tensor:
        return self.ending(self.outputs, self.image_size)
