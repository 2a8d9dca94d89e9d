"""A recorded official checkpoint in the commands of this project: conversion, evaluation and prediction.

SEGVIT_PARITY_FIXTURES names the folder of the recordings, as in `test_official_parity.py`.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from PIL import Image
from test_official_parity import FIXTURES, FOLDER, IGNORED, build_model, decode

from helpers.processes import run_program
from helpers.repository import PROJECT
from segvit.d2 import load_config
from segvit.modeling.postprocessing.semantic_inference import SemanticInference

NAMES = ["vit_tiny_atm", "vit_tiny_shrunk_tpnatm"]
# The recorded inputs as 8-bit images: value = input * SCALE + OFFSET.
OFFSET, SCALE = 127.5, 32.0

pytestmark = pytest.mark.skipif(
    not set(NAMES) <= set(FIXTURES),
    reason="NO PARITY CHECK: SEGVIT_PARITY_FIXTURES names no folder with recordings of the official code",
)

CONFIG = """
MODEL:
  DEVICE: "cpu"
  META_ARCHITECTURE: "SegViT"
  WEIGHTS: "{weights}"
  VIT:
    NAME: "vit_tiny_patch16_224"
    IMG_SIZE: [{img_size}, {img_size}]
    PATCH_SIZE: {patch_size}
    EMBED_DIM: {embed_dims}
    DEPTH: {depth}
    NUM_HEADS: {heads}
    OUT_INDICES: {out_indices}
    KEEP_PREFIX_TOKENS: False
    {reduction}
  SEM_SEG_HEAD:
    NUM_CLASSES: {num_classes}
    IN_FEATURES: {in_features}
  SEGVIT:
    HIDDEN_DIM: {hidden_dim}
    NUM_HEADS: {decoder_heads}
    NUM_LAYERS: {decoder_layers}
    {upsampling}
  PIXEL_MEAN: [0.0, 0.0, 0.0]
  PIXEL_STD: [1.0, 1.0, 1.0]
INPUT:
  FORMAT: "RGB"
  MIN_SIZE_TEST: 0
DATASETS:
  TRAIN: ()
  TEST: ("parity_sem_seg",)
DATALOADER:
  NUM_WORKERS: 0
OUTPUT_DIR: "{output}"
"""
# train_net.py, with a dataset that the project does not register.
EVALUATE = """
import runpy, sys
from segvit.datasets.registration import register_sem_seg_split

classes = [str(index) for index in range({num_classes})]
register_sem_seg_split(
    "parity_sem_seg", folder={folder!r}, split="val", stuff_classes=classes, stuff_colors=[(0, 0, 0)] * len(classes)
)
sys.argv = ["train_net.py", *sys.argv[1:]]
runpy.run_path({train_net!r}, run_name="__main__")
"""


def run(*words):
    done = run_program(*words)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def convert(*arguments):
    return run(PROJECT / "tools" / "convert_official_checkpoint.py", *arguments)


def config_text(config, **paths):
    """Our config file for a recorded official config."""
    backbone, head = config["backbone"], config["decode_head"]
    shrunk = "shrink_idx" in backbone
    return CONFIG.format(
        img_size=backbone["img_size"][0],
        patch_size=backbone["patch_size"],
        embed_dims=backbone["embed_dims"],
        depth=backbone["num_layers"],
        heads=backbone["num_heads"],
        out_indices=list(backbone["out_indices"]),
        reduction=f'REDUCTION: "shrunk"\n    REDUCTION_BLOCK: {backbone["shrink_idx"]}' if shrunk else "",
        num_classes=head["num_classes"],
        in_features=[f"block{index}" for index in reversed(backbone["out_indices"])],
        hidden_dim=head["embed_dims"],
        decoder_heads=head["num_heads"],
        decoder_layers=head["num_layers"],
        upsampling=f'QUERY_UPSAMPLING: "learned"\n    UPSAMPLING_LAYERS: {head["num_layers"]}' if shrunk else "",
        **paths,
    )


@pytest.fixture(scope="module", params=NAMES)
def converted(request, tmp_path_factory):
    """The recording, a folder with the converted checkpoint `ours.pth`, and the config file of its model."""
    folder = tmp_path_factory.mktemp(request.param)
    fixture, config = FIXTURES[request.param], folder / "config.yaml"
    config.write_text(config_text(fixture["config"], weights=folder / "ours.pth", output=folder / "output"))
    printed = convert(Path(FOLDER) / f"{request.param}.pt", folder / "ours.pth", "--config-file", config)
    assert ("Shrunk head" if "shrunk" in request.param else "ATM head") in printed
    return fixture, folder, config


def test_parity_of_a_conversion_and_back(converted):
    fixture, folder, config = converted
    convert(folder / "ours.pth", folder / "official.pth", "--to-official", "--config-file", config)
    back = torch.load(folder / "official.pth", weights_only=True)
    assert back.keys() == fixture.keys()
    assert back["state_dict"].keys() == fixture["state_dict"].keys()
    for name, tensor in fixture["state_dict"].items():
        assert tensor.dtype == back["state_dict"][name].dtype and torch.equal(tensor, back["state_dict"][name]), name


def test_parity_of_default_predictor(converted, assert_parity):
    fixture, _, config = converted
    predictor = DefaultPredictor(load_config(config))
    for index, image in enumerate(fixture["input"]):
        bgr = image.permute(1, 2, 0).numpy()[:, :, ::-1]  # the recorded channels are RGB
        assert_parity(predictor(bgr)["sem_seg"], fixture["eval_pred"][index], f"image {index}")


@torch.no_grad()
def write_data(fixture, folder):
    """Write the inputs as PNGs and the model's predictions as labels; return the number of labelled pixels."""
    encoder, decoder = build_model(fixture)
    images = (fixture["input"] * SCALE + OFFSET).round().clamp(0, 255)
    scores = SemanticInference("mix")(decode(decoder, encoder((images - OFFSET) / SCALE)), images.shape[-2:])
    best, second = scores.topk(2, dim=1).values.unbind(1)
    labels = scores.argmax(1)
    labels[best - second < 1e-6] = IGNORED  # rounding decides these pixels
    for kind, arrays in (("images", images.permute(0, 2, 3, 1)), ("annotations", labels)):
        (folder / kind / "val").mkdir(parents=True)
        for index, array in enumerate(arrays):
            Image.fromarray(array.numpy().astype(np.uint8)).save(folder / kind / "val" / f"{index}.png")
    agreement = (labels == fixture["eval_argmax"]).float().mean()
    assert agreement > 0.95  # rounding the inputs to 8 bits changes few labels
    assert len(labels.unique()) > 2
    return int((labels != IGNORED).sum())


def test_parity_of_train_net_eval_only(converted):
    fixture, folder, config = converted
    num_pixels = write_data(fixture, folder / "data")
    script = folder / "evaluate.py"
    train_net, num_classes = str(PROJECT / "train_net.py"), fixture["config"]["decode_head"]["num_classes"]
    script.write_text(EVALUATE.format(num_classes=num_classes, folder=str(folder / "data"), train_net=train_net))
    pixels = ["MODEL.PIXEL_MEAN", str([OFFSET] * 3), "MODEL.PIXEL_STD", str([SCALE] * 3)]
    run(script, "--eval-only", "--config-file", config, *pixels)
    results = json.loads((folder / "output" / "sem_seg_evaluation.json").read_text())
    matrix = torch.tensor(results["confusion_matrix"])
    assert matrix.sum() == matrix.diagonal().sum() == num_pixels
    assert results["metrics"]["mIoU"] == 100
