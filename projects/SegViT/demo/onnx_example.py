"""Segment a picture with an exported ONNX file, without torch: python onnx_example.py model.onnx photo.jpg labels.png

Needs numpy, onnxruntime and Pillow. Writes an index PNG: the value of a pixel is its class, void is never predicted.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def segment(model: str, picture: str) -> Image.Image:
    """The classes of a picture's pixels, as an index image in the data set's colours."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    told = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")
    width, height = image.size
    size = session.get_inputs()[0].shape[2:]  # [H, W], or names where any size is taken
    if isinstance(size[0], str):  # as in training: the short side as told, the long side at most as told
        scale = min(told["short_side"] / min(image.size), told["max_long_side"] / max(image.size)) or 1.0
        size = [int(height * scale + 0.5), int(width * scale + 0.5)]
    pixels = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    pixels = pixels if told["pixel_format"] == "RGB" else pixels[:, :, ::-1]
    (result,) = session.run(None, {"images": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
    labels = result[0] if told["result"] == "labels" else result[0].argmax(axis=0)
    index = Image.fromarray(labels.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    index.putpalette(np.asarray(told["palette"], dtype=np.uint8).tobytes())
    return index


if __name__ == "__main__":
    segment(sys.argv[1], sys.argv[2]).save(sys.argv[3])
