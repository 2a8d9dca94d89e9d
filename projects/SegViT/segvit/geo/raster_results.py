"""`RasterResults`: georeferenced and large TIFFs of a command: their labels as GeoTIFFs, and a reduced overlay."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from segvit.errors import UserError
from segvit.geo.tiled_prediction import segment_raster
from segvit.images.channel_files import TIFF_EXTENSIONS, stored_form
from segvit.images.raster_image import RasterImage, import_rasterio, is_georeferenced, reduced_size
from segvit.inference.predictor import SegViTPredictor
from segvit.inference.results import ResultFolder

# Longest side of the overlay, in pixels.
OVERLAY_SIDE = 2048
MEGA = 1_000_000


class RasterResults:
    """Segments georeferenced and large TIFFs of a command.

    Args:
        predictor: with the model.
        results: where the results go: the labels as `labels/NAME.tif`, and a reduced `overlays/NAME.png`.
        max_megapixels: TIFFs of more pixels are segmented from file to file, georeferenced or not.
    """

    def __init__(self, predictor: SegViTPredictor, results: ResultFolder, *, max_megapixels: float) -> None:
        self.predictor = predictor
        self.results = results
        self.max_megapixels = max_megapixels

    def takes(self, path: Path) -> bool:
        """Whether a file is segmented here. Without rasterio only large files are, and `segment` names the extra."""
        if path.suffix.lower() not in TIFF_EXTENSIONS or not os.path.isfile(path):
            return False
        try:
            height, width = stored_form(path).size
        except (OSError, UserError):  # whoever reads it says what is wrong
            return False
        is_large = height * width > self.max_megapixels * MEGA
        return is_large or (find_spec("rasterio") is not None and is_georeferenced(path))

    def is_complete(self, name: str) -> bool:
        """Whether the results of a file exist."""
        return self.results.label_raster(name).exists()

    def segment(self, path: Path, name: str) -> list[str]:
        """Write the results of a file. Returns notes on keys that do not apply.

        Raises:
            OSError, UserError: see `segment_raster`.
        """
        labels = self.results.label_raster(name)
        segment_raster(self.predictor, path, labels)
        with (
            RasterImage(path, self.predictor.image_format) as image,
            import_rasterio(path).open(labels) as file,
        ):
            shown = self.predictor.image_format.to_rgb(image.reduced(OVERLAY_SIDE))
            self.results.write_overlay(name, shown, file.read(1, out_shape=reduced_size(image.size, OVERLAY_SIDE)))
        if self.predictor.cfg.INPUT.MIN_SIZE_TEST:
            return [f"{path} was segmented at its own resolution; INPUT.MIN_SIZE_TEST does not apply to it"]
        return []
