"""Images of any number of channels: files and arrays decoded in the format that a config describes."""

from segvit.images.image_format import ImageFormat, image_format_of

__all__ = ["ImageFormat", "image_format_of"]
