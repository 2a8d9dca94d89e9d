"""Convert label maps to PNGs of class ids: `tools/check_dataset.py --convert-to`."""

from segvit.dataset_tools.conversion.id_mapping import IdMapping, palette_of, parse_id_mapping, read_palette
from segvit.dataset_tools.conversion.label_conversion import (
    Converter,
    convert_in_place,
    convert_label_maps,
    convert_to_dataset,
)

__all__ = [
    "Converter",
    "IdMapping",
    "convert_in_place",
    "convert_label_maps",
    "convert_to_dataset",
    "palette_of",
    "parse_id_mapping",
    "read_palette",
]
