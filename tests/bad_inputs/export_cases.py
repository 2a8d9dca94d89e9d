"""Exports that fail, and images that a file cannot be compared on."""

from cases import WEIGHTS, both, checkpoint, cut, written
from tool_cases import CONFIG, tool

EXPORTED = (*CONFIG, "--format", "torchscript")
SMALL = (*WEIGHTS, "INPUT.MIN_SIZE_TEST", "8")

EXPORT_CASES = [
    tool(
        "export_model",
        "another format's extension",
        "--output HOME/output/m.pt: files of --format onnx end in .onnx",
        (*CONFIG, "--format", "onnx", "--output", "HOME/output/m.pt"),
    ),
    tool(
        "export_model",
        "over a file",
        "--output HOME/m.pt exists; --overwrite replaces it",
        (*EXPORTED, "--output", "HOME/m.pt"),
        written("m.pt", ""),
    ),
    tool(
        "export_model",
        "no weights",
        "MODEL.WEIGHTS is empty: there are no weights to evaluate; name a checkpoint",
        (*EXPORTED, "--output", "HOME/output/m.pt"),
    ),
    tool(
        "export_model",
        "no round",
        "argument --rounds: 0 is not a positive number",
        (*EXPORTED, "--rounds", "0", "--output", "HOME/output/m.pt"),
    ),
    tool(
        "export_model",
        "pairs after the images",
        "--images: no such file: MODEL.WEIGHTS (put KEY VALUE pairs after another option)",
        (*EXPORTED, "--output", "HOME/output/m.pt", "--images", "HOME/data/images/val", *WEIGHTS),
    ),
    tool(
        "export_model",
        "a video",
        "--images: HOME/a.mp4 is a video: name images",
        (*EXPORTED, "--images", "HOME/a.mp4", "--output", "HOME/output/m.pt"),
        written("a.mp4", ""),
    ),
    tool(
        "export_model",
        "a truncated image",
        "HOME/data/images/val/f.png: not an image, or damaged (image file is truncated): download it again, or remove "
        "it from the dataset",
        (*EXPORTED, "--images", "HOME/data/images/val", "--output", "HOME/output/m.pt", *WEIGHTS),
        both(checkpoint(), cut("images/val/f.png")),
    ),
    tool(
        "export_model",
        "an image that is too small",
        "HOME/data/images/val/e.JPEG: 8 x 11 pixels at the test size are too few: exported graphs take at least 17 in "
        "both directions",
        (*EXPORTED, "--images", "HOME/data/images/val", "--output", "HOME/output/m.pt", *SMALL),
        checkpoint(),
    ),
]
