"""Segment an image with an exported ONNX file, without torch.

python onnx_example.py model.onnx photo.jpg labels.png

Needs numpy, onnxruntime and Pillow. Writes a palette PNG whose pixel values are class ids.
"""

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def segment(model: str, image_file: str) -> Image.Image:
    """Class ids of an image file's pixels, as a palette image in the dataset's colours."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}

    # Resize as in training: to the fixed size of the graph, or to the short side, limited by the long side.
    image = ImageOps.exif_transpose(Image.open(image_file)).convert("RGB")
    width, height = image.size
    input_height, input_width = session.get_inputs()[0].shape[2:]
    if isinstance(input_height, str):  # A dynamic size has names in place of numbers.
        scale = min(metadata["short_side"] / min(image.size), metadata["max_long_side"] / max(image.size)) or 1.0
        input_height, input_width = int(height * scale + 0.5), int(width * scale + 0.5)
    pixels = np.asarray(image.resize((input_width, input_height), Image.Resampling.BILINEAR))
    if metadata["pixel_format"] == "BGR":
        pixels = pixels[:, :, ::-1]

    # The graph takes (1, 3, H, W) uint8 and returns labels (1, H, W) or scores (1, K, H, W).
    (result,) = session.run(None, {"images": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})
    labels = result[0] if metadata["result"] == "labels" else result[0].argmax(axis=0)
    palette_image = Image.fromarray(labels.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    palette_image.putpalette(np.asarray(metadata["palette"], dtype=np.uint8).tobytes())
    return palette_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="The ONNX file that tools/export_model.py wrote.")
    parser.add_argument("image", help="The image to segment.")
    parser.add_argument("output", help="The PNG to write.")
    args = parser.parse_args()
    segment(args.model, args.image).save(args.output)


if __name__ == "__main__":
    main()
