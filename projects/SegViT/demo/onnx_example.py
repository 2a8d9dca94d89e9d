"""Segment an image with an exported ONNX file, without torch.

python onnx_example.py --model model.onnx --input photo.jpg --output labels.png

Needs numpy, onnxruntime and Pillow. Writes a palette PNG whose pixel values are class ids. Images are read as in
training, also those of more than 8 bits.
"""

import argparse
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def segment(model: str, image_file: str) -> Image.Image:
    """Class ids of an image file's pixels, with the dataset's colours as palette; without, in 16 bits, for over 256."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    if (metadata.get("channels", 3), metadata.get("levels", "8bit")) != (3, "8bit"):
        sys.exit(
            f"{model} takes {metadata['channels']} channels, {metadata['levels']}: this example reads RGB of 8 bits"
        )

    # Resize as in training: to the fixed size of the graph, or to the short side, limited by the long side.
    image = read_image(image_file, metadata.get("max_level", 0))
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
    has_palette = len(metadata["palette"]) <= 256
    ids = Image.fromarray(labels.astype(np.uint8 if has_palette else np.uint16))
    ids = ids.resize((width, height), Image.Resampling.NEAREST)
    if has_palette:
        ids.putpalette(np.asarray(metadata["palette"], dtype=np.uint8).tobytes())
    return ids


def read_image(image_file: str, max_level: int) -> Image.Image:
    """An upright RGB image; `max_level`, or the largest level of 16 bits, becomes white in grey images of 16 bits."""
    image = Image.open(image_file)
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        print(f"{image_file}: the file has several images, and only the first is segmented", file=sys.stderr)
    # Pillow keeps the upper 8 bits of colours of 16 bits. Their levels are lost when the image is loaded.
    layout = str(image.tile[0][3]) if image.tile else ""
    if max_level and ";16" in layout and not image.mode.startswith("I"):
        sys.exit(f"{image_file}: colours of 16 bits: convert them to 8 bits, so that level {max_level} becomes 255")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        white = max_level or 2**16 - 1
        levels = np.asarray(image).astype(np.int64) * 256 // (white + 1)
        image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="FILE", help="the ONNX file of export_model.py (needed)")
    parser.add_argument("--input", metavar="IMAGE", help="the image to segment (needed)")
    parser.add_argument("--output", metavar="PNG", help="the file to write (needed)")
    parser.add_argument("former", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if len(args.former) == 3:
        print("warning: write --model FILE --input IMAGE --output PNG", file=sys.stderr)
        args.model, args.input, args.output = args.former
    if not (args.model and args.input and args.output) or len(args.former) not in (0, 3):
        parser.error("name --model, --input and --output")
    segment(args.model, args.input).save(args.output)
    print(args.output)


if __name__ == "__main__":
    main()
