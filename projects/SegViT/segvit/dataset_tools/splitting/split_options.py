"""`SplitOptions`: how images are divided, as the options of the command say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from segvit.errors import UserError

DEFAULT_SHARE = 0.2


@dataclass(frozen=True)
class SplitOptions:
    """Without any option, splits of the source are kept, and a source without them is divided at random.

    Attributes:
        lists: split -> a text file with one image name a line.
        val_share, test_share: fractions of the images; None for the default, which is 0.2 and 0.
        seed: of the random choice.
        groups: a regular expression on names; images of one group stay together.
        folds: the number of folds; 0 for none.
    """

    lists: Mapping[str, Path] = field(default_factory=dict)
    val_share: float | None = None
    test_share: float | None = None
    seed: int = 0
    groups: str = ""
    folds: int = 0

    def __post_init__(self) -> None:
        val_share, test_share = self.shares
        if not 0 <= val_share < 1 or not 0 <= test_share < 1 or val_share + test_share >= 1:
            raise UserError(f"--val-share {val_share} and --test-share {test_share} must leave images to train on")
        if self.folds == 1:
            raise UserError("--folds 1: one fold leaves no image to train on; use at least 2")
        if self.lists and self.divides_anew:
            raise UserError("--lists says where images belong: leave out --val-share, --test-share, --groups, --folds")
        if self.folds and (self.val_share is not None or self.test_share is not None):
            raise UserError("--folds sets the share of each fold: leave out --val-share and --test-share")

    @property
    def shares(self) -> tuple[float, float]:
        """The fractions of validation and test images."""
        return (
            DEFAULT_SHARE if self.val_share is None else self.val_share,
            0.0 if self.test_share is None else self.test_share,
        )

    @property
    def divides_anew(self) -> bool:
        """Whether an option asks for a division of all images, whatever the source says."""
        return bool(self.groups or self.folds or self.val_share is not None or self.test_share is not None)
