"""TIFFs that are georeferenced or larger than memory: read by windows, segmented in blocks, written as GeoTIFFs."""

from segvit.geo.raster_results import RasterResults
from segvit.geo.tiled_prediction import segment_raster
from segvit.images.raster_image import RasterImage, is_georeferenced

__all__ = ["RasterImage", "RasterResults", "is_georeferenced", "segment_raster"]
