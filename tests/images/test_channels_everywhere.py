"""Five channels in the encoder, its pre-trained weights, the front door, augmentation, doctor, web page and export."""

import numpy as np
import pytest
import tifffile
import timm
import torch
from PIL import Image

import segvit
from helpers.folders import write_folder
from segvit.config.loading import load_config
from segvit.data.augmentation import build_train_augmentations
from segvit.data.channel_augmentation import ChannelDistortion, ResizeTransform
from segvit.dataset_tools.doctor import check_dataset, open_dataset
from segvit.errors import ArgumentError, UserError
from segvit.images import ImageFormat
from segvit.modeling.encoder.vit_builder import build_vit_encoder
from segvit.web.limits import EXTENSIONS, UploadLimits
from segvit.web.uploads import read_upload

RAW = ImageFormat(channels=5, levels="raw", fill=5 * (0.0,))
TINY = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def five_floats(path, seed=0, size=(32, 48)):
    levels = np.random.default_rng(seed).random((*size, 5), dtype=np.float32)
    tifffile.imwrite(path, levels, photometric="minisblack", planarconfig="contig")
    return levels


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_pretrained_patch_embeddings_are_adapted_as_by_timm(tmp_path, channels):
    rgb = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, **TINY)
    torch.save(rgb.state_dict(), tmp_path / "rgb.pth")
    encoder = build_vit_encoder(
        name="vit_tiny_patch16_224",
        img_size=(32, 32),
        out_indices=[1],
        pretrained=str(tmp_path / "rgb.pth"),
        in_chans=channels,
        **TINY,
    )
    kernel = encoder.embedding.patch_embed.proj.weight
    image = torch.rand(1, 1, 32, 32)
    expected = rgb.patch_embed.proj(image.expand(-1, 3, -1, -1))
    given = encoder.embedding.patch_embed.proj(image.expand(-1, channels, -1, -1))
    assert kernel.shape[1] == channels
    if channels in (1, 3):
        torch.testing.assert_close(given, expected)
    else:
        torch.testing.assert_close(kernel[:, 0], rgb.patch_embed.proj.weight[:, 0] * 3 / channels)


def test_the_front_door_makes_saves_and_reads_a_model_of_five_channels(tmp_path):
    model = segvit.create_model(
        "vit_tiny_patch16_224",
        num_classes=3,
        img_size=(32, 48),
        channels=5,
        levels="raw",
        detail_source="image",
        **{"patch_size": 8, "embed_dim": 24, "depth": 2, "vit_num_heads": 2},
    )
    losses = model(torch.rand(2, 5, 32, 48), torch.zeros(2, 32, 48, dtype=torch.int64))
    assert torch.isfinite(sum(losses.values()))
    with pytest.raises(ArgumentError, match="5"):
        model(torch.rand(2, 3, 32, 48), torch.zeros(2, 32, 48, dtype=torch.int64))
    five_floats(tmp_path / "a.tif")
    model.eval().save_pretrained(tmp_path / "model")
    read = segvit.from_pretrained(tmp_path / "model", device="cpu")
    expected = model.predict(tmp_path / "a.tif")
    assert np.array_equal(read.predict(tmp_path / "a.tif").labels, expected.labels)
    assert np.asarray(expected.overlay()).shape == (32, 48, 3)


def test_channels_are_resized_one_by_one_and_distorted_within_their_deviation(tiny_cfg):
    image = np.random.default_rng(0).random((20, 30, 4), dtype=np.float32)
    resized = ResizeTransform(20, 30, 10, 15).apply_image(image)
    alone = ResizeTransform(20, 30, 10, 15).apply_image(image[..., 3:])
    assert resized.shape == (10, 15, 4) and np.array_equal(resized[..., 3:], alone)
    assert abs(resized.mean() - image.mean()) < 0.01
    np.random.seed(0)
    distort = ChannelDistortion(mean=[0.5] * 4, std=[0.3] * 4, strength=1.0)
    changes = [np.abs(distort.get_transform(image).apply_image(image) - image).max() for _ in range(20)]
    assert 0 < max(changes) < 0.3 * 0.56 * 1.5 + 0.5 * 1.5 * 0.5 + 1e-6
    tiny_cfg.INPUT.CHANNELS, tiny_cfg.INPUT.LEVELS = 5, "raw"
    tiny_cfg.MODEL.PIXEL_MEAN, tiny_cfg.MODEL.PIXEL_STD = 5 * [0.5], 5 * [0.3]
    assert any(isinstance(one, ChannelDistortion) for one in build_train_augmentations(tiny_cfg))
    for key, value in (("GAMMA_RANGE", [0.5, 2.0]), ("WHITE_BALANCE", 0.2)):
        changed = tiny_cfg.clone()
        changed.INPUT[key] = value
        with pytest.raises(UserError, match=f"INPUT.{key}"):
            build_train_augmentations(changed)


def test_the_doctor_reads_five_channels_and_finds_flat_and_missing_ones(tmp_path):
    folder = write_folder(tmp_path / "mine")
    for split in ("train", "val"):
        for path in list((folder / "images" / split).iterdir()):
            with Image.open(path) as image:
                size = image.size[::-1]
            path.unlink()
            levels = five_floats(path.with_suffix(".tif"), seed=len(path.stem) + ord(path.stem[0]), size=size)
            levels[..., 3] = 7
            tifffile.imwrite(path.with_suffix(".tif"), levels, photometric="minisblack", planarconfig="contig")
    report = check_dataset(open_dataset(str(folder)), workers=1, image_format=RAW, progress=False)
    flat = [finding for finding in report.findings if finding.kind == "flat_channels"]
    assert [finding.files for finding in flat] == [("channel 3: level 7",)] * 2 and not report.has_errors
    as_rgb = check_dataset(open_dataset(str(folder)), workers=1, progress=False)
    assert any(finding.kind == "unreadable_image" for finding in as_rgb.findings)


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_an_upload_of_five_channels_is_decoded_and_shown(tmp_path, suffix):
    levels = five_floats(tmp_path / "a.tif")
    np.save(tmp_path / "a.npy", levels)
    assert suffix in EXTENSIONS
    upload = read_upload(tmp_path / f"a{suffix}", UploadLimits(seconds=60), RAW)
    assert np.array_equal(upload.pixels, levels) and upload.image.shape == (32, 48, 3)
    with pytest.raises(UserError, match=rf"^a\{suffix}.*INPUT\.CHANNELS"):
        read_upload(tmp_path / f"a{suffix}", UploadLimits(seconds=60), ImageFormat(channels=4, levels="raw"))


def test_an_array_of_colours_can_be_uploaded_and_a_large_one_is_refused_by_its_header(tmp_path):
    colors = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", colors)
    assert np.array_equal(read_upload(tmp_path / "a.npy", UploadLimits(seconds=60)).image, colors)
    with pytest.raises(UserError, match=r"^a\.npy.*megapixels"):
        read_upload(tmp_path / "a.npy", UploadLimits(seconds=60, max_megapixels=0.0005))
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00nothing")
    with pytest.raises(UserError, match=r"^a\.npy: not a NumPy array"):
        read_upload(tmp_path / "a.npy", UploadLimits(seconds=60))


def test_levels_that_only_some_images_have_are_refused_elsewhere():
    from helpers.repository import CONFIGS

    with pytest.raises(UserError, match=r"INPUT\.PERCENTILES.*INPUT\.LEVELS"):
        load_config(CONFIGS / "Base-SegViT.yaml", ["INPUT.PERCENTILES", "[5.0,95.0]"])
