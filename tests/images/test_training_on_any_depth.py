"""12-bit grey, 16-bit RGB and 5-channel float images give the labels of the same images as 8-bit RGB, trained alike."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import segvit

SIZE, COUNT, STEPS = (32, 48), 16, 70
# Grey levels of the three classes.
LEVELS = np.array([40, 130, 220])


@pytest.fixture(scope="module")
def scenes():
    """Grey images (N, H, W) uint8 of noisy blocks, and their labels: the class is the brightness."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, (COUNT + 4, 2, 3)).repeat(16, 1).repeat(16, 2)
    return np.clip(LEVELS[labels] + draw.normal(0, 8, labels.shape), 0, 255).astype(np.uint8), labels


def write_8bit_rgb(path, grey):
    Image.fromarray(grey).convert("RGB").save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def write_12bit_grey(path, grey):
    Image.fromarray(grey.astype(np.uint16) * 16).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def write_16bit_rgb(path, grey):
    tifffile.imwrite(path.with_suffix(".tif"), grey[..., None].repeat(3, 2).astype(np.uint16) * 257, photometric="rgb")
    return path.with_suffix(".tif")


def write_5_channels(path, grey):
    levels = grey[..., None].astype(np.float32) / 255 * np.float32([1, 2, 3, 4, -5])
    tifffile.imwrite(path.with_suffix(".tif"), levels, photometric="minisblack", planarconfig="contig")
    return path.with_suffix(".tif")


FORMATS = {
    "8-bit RGB": (write_8bit_rgb, {}, 1),
    "12-bit grey": (write_12bit_grey, {"channels": 1, "max_level": 4095}, 1),
    "12-bit grey, raw": (write_12bit_grey, {"channels": 1, "levels": "raw"}, [16]),
    "16-bit RGB, raw": (write_16bit_rgb, {"levels": "raw"}, 257),
    "5 floats": (write_5_channels, {"channels": 5, "levels": "raw"}, np.array([1, 2, 3, 4, -5]) / 255),
}


def trained_labels(name, scenes, folder):
    """Train on the first images as files, and segment the last ones."""
    write, options, scale = FORMATS[name]
    grey, labels = scenes
    files = [write(folder / f"{index}", image) for index, image in enumerate(grey)]
    channels = options.get("channels", 3)
    mean, std = 127.5 * np.broadcast_to(scale, channels), 73 * np.abs(np.broadcast_to(scale, channels))
    torch.manual_seed(0)
    model = segvit.create_model(
        "vit_tiny_patch16_224",
        num_classes=3,
        img_size=SIZE,
        **{"patch_size": 8, "embed_dim": 24, "depth": 2, "vit_num_heads": 2, "out_indices": [0, 1]},
        **{
            "hidden_dim": 16,
            "segvit_num_heads": 2,
            "num_layers": 1,
            "vit_init_std": 0.15,
            "segvit_init_std": 0.2,
            "output": "diagonal",
        },
        **{"pixel_mean": mean.tolist(), "pixel_std": std.tolist(), "dropout": 0.0, "drop_path_rate": 0.0},
        **options,
    )
    read = [model.image_format.read(file) for file in files[:COUNT]]
    images = torch.from_numpy(np.stack(read).transpose(0, 3, 1, 2).copy())
    targets = torch.from_numpy(labels[:COUNT])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(STEPS):
        batch = slice(step % 2 * 8, step % 2 * 8 + 8)
        optimizer.zero_grad()
        sum(model(images[batch], targets[batch]).values()).backward()
        optimizer.step()
    model.eval()
    return np.stack([result.labels for result in model.predict(files[COUNT:])])


@pytest.fixture(scope="module")
def reference(scenes, tmp_path_factory):
    return trained_labels("8-bit RGB", scenes, tmp_path_factory.mktemp("rgb"))


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "8-bit RGB"])
def test_labels_are_those_of_8_bits(name, scenes, reference, tmp_path):
    assert (reference == scenes[1][COUNT:]).mean() > 0.98, "the task is learnt"
    same = (trained_labels(name, scenes, tmp_path) == reference).mean()
    assert same >= 0.99, f"{same:.2%} of the labels are the same"
