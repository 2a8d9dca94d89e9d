"""`segment_raster`: a TIFF of any size to a GeoTIFF of class ids, by blended windows, with a bounded part in memory.

The image is segmented in blocks of columns, each from top to bottom. The windows of a block are those of the whole
image that meet it, so that no seam tells where blocks end.

Shape shorthand: C channels, K classes, h x w pixels of a window.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from segvit.classes.palette import Color
from segvit.images.raster_image import RasterImage, import_rasterio
from segvit.inference.predictor import SegViTPredictor
from segvit.modeling.postprocessing.score_bands import argmax_classes
from segvit.modeling.postprocessing.sliding_window import SlidingWindow
from segvit.output_files import atomic_write
from segvit.progress import progress_bar

# The side of a tile of the GeoTIFF.
TILE = 512
# The strip of scores that is held: as high as a window, and as wide as a block.
STRIP_BYTES = 512 * 2**20


def segment_raster(
    predictor: SegViTPredictor, source: str | os.PathLike[str], target: str | os.PathLike[str], *, progress: bool = True
) -> None:
    """Write the class ids of a TIFF, at its own resolution, as a GeoTIFF at the same place.

    The file is tiled and compressed, has the colours of the classes as its palette, and MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    as nodata, which pixels without data get. It appears complete or not at all.

    Raises:
        UserError: the file is no image of the model's format, or rasterio is not installed.
        OSError: a file cannot be opened or written.
    """
    windows = windows_of(predictor)
    with RasterImage(source, predictor.image_format) as image, atomic_write(target) as temporary:
        blocks = list(column_blocks(image.size[1], num_classes=predictor.num_classes, rows=windows.size[0]))
        bar = progress_bar(total=len(blocks) * image.size[0], title="segmenting", unit="row", shown=progress)
        with _open_label_file(temporary, image, predictor) as file, bar:
            for columns in blocks:
                for top, labels in _rows_of_tiles(_label_bands(predictor, image, windows, columns)):
                    has_data = image.has_data(top, columns[0], *labels.shape)
                    if has_data is not None:
                        labels[~has_data] = predictor.cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
                    place = import_rasterio(source).windows.Window(columns[0], top, labels.shape[1], labels.shape[0])
                    file.write(labels, 1, window=place)
                    bar.update(len(labels))


def windows_of(predictor: SegViTPredictor) -> SlidingWindow:
    """The windows of TEST.WINDOW; without them, those of the training size, every two thirds of it."""
    model = predictor.model
    if model.windows is not None:
        return model.windows
    size = list(model.built_size)
    return SlidingWindow(
        size=size, stride=[max(length * 2 // 3, 1) for length in size], batch_size=4, accumulate_on_cpu=True
    )


def column_blocks(width: int, *, num_classes: int, rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of columns, whole tiles wide, whose strip of scores takes about STRIP_BYTES."""
    columns = max(STRIP_BYTES // (4 * num_classes * rows) // TILE, 1) * TILE
    for start in range(0, width, columns):
        yield start, min(start + columns, width)


def _label_bands(
    predictor: SegViTPredictor, image: RasterImage, windows: SlidingWindow, columns: tuple[int, int]
) -> Iterator[np.ndarray]:
    """(rows, columns) labels of a block, from top to bottom."""
    dtype = np.uint8 if _fits_bytes(predictor) else np.uint16
    with torch.inference_mode():
        strips = _StripReader(image)
        model = predictor.model.network
        bands = windows.bands_of(strips.window, image.size, model.scores, columns=columns)
        for band in bands:
            yield argmax_classes(band).cpu().numpy().astype(dtype)


class _StripReader:
    """Windows of an image, cut from the strip of rows that they share; one strip is held."""

    def __init__(self, image: RasterImage) -> None:
        self._image = image
        self._place = (-1, 0, 0, 0)
        self._strip = torch.empty(0)

    def window(self, top: int, left: int, height: int, width: int, columns: tuple[int, int]) -> torch.Tensor:
        """(C, h, w); `columns` is the range of all windows in these rows."""
        place = (top, height, *columns)
        if place != self._place:
            pixels = self._image.read(top, columns[0], height, columns[1] - columns[0])
            self._strip = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
            self._place = place
        return self._strip[:, :, left - columns[0] : left - columns[0] + width]


def _rows_of_tiles(bands: Iterator[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Bands of any height as bands of whole tiles, each with its first row: no tile is written twice."""
    top = 0
    waiting: list[np.ndarray] = []
    for band in bands:
        waiting.append(band)
        while sum(map(len, waiting)) >= TILE:
            rows = np.concatenate(waiting)
            yield top, rows[:TILE]
            top, waiting = top + TILE, [rows[TILE:]]
    rest = np.concatenate(waiting)
    if len(rest):
        yield top, rest


def _open_label_file(path: os.PathLike[str], image: RasterImage, predictor: SegViTPredictor) -> Any:
    """The GeoTIFF, open for writing."""
    height, width = image.size
    ignored = predictor.cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    file = import_rasterio(path).open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="uint8" if _fits_bytes(predictor) else "uint16",
        nodata=ignored if 0 <= ignored < 2**16 else None,
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        compress="deflate",
        BIGTIFF="IF_SAFER",
        **image.place(),
    )
    file.write_colormap(1, _colormap(predictor.class_colors, ignored))
    file.update_tags(CLASSES=json.dumps(list(predictor.class_names)))
    return file


def _colormap(colors: Sequence[Color], ignored: int) -> dict[int, tuple[int, int, int, int]]:
    listed = {index: (int(red), int(green), int(blue), 255) for index, (red, green, blue) in enumerate(colors)}
    return listed | ({ignored: (0, 0, 0, 0)} if 0 <= ignored < 2**16 else {})


def _fits_bytes(predictor: SegViTPredictor) -> bool:
    """Whether class ids and the ignore value fit into one byte."""
    return predictor.num_classes <= 256 and predictor.cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE < 256
