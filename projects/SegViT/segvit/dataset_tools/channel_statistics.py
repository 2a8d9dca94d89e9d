"""`measure_channels`: mean, deviation and percentiles of each channel of images, and the config keys that they fill.

Shape shorthand: H x W pixels, C channels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tabulate import tabulate

from segvit.errors import UserError
from segvit.images import ImageFormat
from segvit.images.channel_files import stored_form
from segvit.output_files import atomic_write_text
from segvit.progress import progress_bar

# Pixels of each image that the percentiles are of, evenly spaced.
SAMPLED_PIXELS = 20_000
PERCENTILES = (1, 50, 99)


@dataclass(frozen=True)
class ChannelStatistics:
    """Of all pixels with data: (C,) each.

    Attributes:
        mean, std: of all pixels.
        lowest, highest: the extreme levels.
        percentiles: (3, C), those of `PERCENTILES`, of sampled pixels.
        missing: the fraction of pixels without data.
    """

    mean: np.ndarray
    std: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    percentiles: np.ndarray
    missing: np.ndarray

    def describe(self) -> str:
        """A table with a row per channel."""
        names = ("channel", "mean", "std", "lowest", *(f"{percent} %" for percent in PERCENTILES), "highest", "missing")
        columns = (self.mean, self.std, self.lowest, *self.percentiles, self.highest, self.missing)
        rows = [(channel, *values) for channel, values in enumerate(zip(*columns, strict=True))]
        return tabulate(rows, names, "simple", floatfmt=".6g")


def form_of(path: str | os.PathLike[str], channels: int | None, levels: str | None) -> ImageFormat:
    """The format of images like a file, where it is not given: its channels, and "raw" unless it has 8 bits."""
    found = stored_form(path)
    stored_levels = "8bit" if found.dtype == np.uint8 else "raw"
    return ImageFormat(channels=channels or found.channels, levels=levels or stored_levels)


def measure_channels(paths: Sequence[str | os.PathLike[str]], image_format: ImageFormat) -> ChannelStatistics:
    """Read all images, and measure their channels as the model gets them.

    Raises:
        OSError, UserError: a file cannot be read, or there is not one pixel with data.
    """
    channels = image_format.channels
    with_gaps = replace(image_format, fill=channels * (np.nan,))
    count, pixels = np.zeros(channels), 0
    mean, squares = np.zeros(channels), np.zeros(channels)
    lowest, highest = np.full(channels, np.inf), np.full(channels, -np.inf)
    samples = []
    for path in progress_bar(paths, title="measuring", unit="image"):
        levels = with_gaps.read(path).reshape(-1, channels).astype(np.float64)
        pixels += len(levels)
        known = ~np.isnan(levels)
        number = known.sum(axis=0)
        if not number.any():
            continue
        # Means and sums of squared deviations are merged as by Chan et al. (1979): no large sums cancel.
        own_mean = np.where(known, levels, 0).sum(axis=0) / np.maximum(number, 1)
        deviations = np.where(known, levels - own_mean, 0)
        delta, total = own_mean - mean, np.maximum(count + number, 1)
        squares += (deviations**2).sum(axis=0) + delta**2 * count * number / total
        mean += delta * number / total
        count += number
        lowest = np.minimum(lowest, np.where(known, levels, np.inf).min(axis=0))
        highest = np.maximum(highest, np.where(known, levels, -np.inf).max(axis=0))
        samples.append(levels[:: max(len(levels) // SAMPLED_PIXELS, 1)])
    if not count.all():
        raise UserError(
            f"channels {np.flatnonzero(count == 0).tolist()} have no pixel with data in {len(paths)} images"
        )
    return ChannelStatistics(
        mean=mean,
        std=np.sqrt(squares / count),
        lowest=lowest,
        highest=highest,
        percentiles=np.nanpercentile(np.concatenate(samples), PERCENTILES, axis=0),
        missing=1 - count / max(pixels, 1),
    )


def write_channel_config(
    path: Path, statistics: ChannelStatistics, image_format: ImageFormat, *, base: Path | None
) -> None:
    """Write the keys as a YAML config that is based on another one, or stands beside it.

    Raises:
        UserError: the file exists, or a channel has the same level everywhere.
    """
    if path.exists():
        raise UserError(f"{path} exists: name a new file, and name this one as _BASE_ in it, or as --base")
    flat = np.flatnonzero(statistics.std == 0)
    if flat.size:
        raise UserError(
            f"channels {flat.tolist()} have the same level everywhere, so that their deviation is 0: leave them out"
        )
    keys: dict[str, Any] = {"_BASE_": os.path.relpath(base, path.parent)} if base else {}
    keys["INPUT"] = {"CHANNELS": image_format.channels, "LEVELS": image_format.levels, "FORMAT": "RGB"}
    if image_format.max_level:
        keys["INPUT"]["MAX_LEVEL"] = image_format.max_level
    keys["MODEL"] = {
        "PIXEL_MEAN": [float(f"{value:.9g}") for value in statistics.mean],
        "PIXEL_STD": [float(f"{value:.6g}") for value in statistics.std],
    }
    atomic_write_text(path, yaml.safe_dump(keys, sort_keys=False, default_flow_style=None))
