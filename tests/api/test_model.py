"""`segvit.Model`: features of blocks, losses of validation, and metrics that hold for their weights alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import segvit
from segvit.errors import ArgumentError

TINY = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 48, "depth": 3, "vit_num_heads": 3, "output": "diagonal"}
NAMES = ("road", "sky", "car", "tree")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return segvit.create_model("vit_tiny_patch16_224", classes=NAMES, **TINY).eval()


def test_features_of_any_block(model):
    images = torch.randint(256, (2, 3, 30, 41), dtype=torch.uint8)
    features = model.features(images, ["block2", "block0"])
    assert list(features) == ["block2", "block0"]
    assert {maps.shape for maps in features.values()} == {(2, 48, 4, 6)}
    stages = model.network.backbone(torch.stack([model.network.network.preprocess(image) for image in images]))
    assert torch.equal(features["block2"], stages["block2"])
    with pytest.raises(ArgumentError, match="block2"):
        model.features(images, ["block3"])


def test_other_threads_can_use_a_model_whose_features_are_computed(model):
    images, seen = torch.randint(256, (1, 3, 32, 48), dtype=torch.uint8), []
    expected, encoder = model(images), model.network.backbone.encoder
    own = list(encoder.out_indices)
    hook = encoder.blocks[0].register_forward_hook(lambda *_: seen.append(list(encoder.out_indices)))
    model.features(images, ["block0"])
    hook.remove()
    assert seen == [own] != [[0]]
    assert torch.equal(model(images), expected)


def test_features_of_dropped_tokens_are_those_of_the_nearest_kept_one():
    model = segvit.create_model(
        "vit_tiny_patch16_224",
        num_classes=2,
        reduction="shrunk++",
        reduction_block=1,
        segvit_query_upsampling="nearest",
        vit_out_indices=[0, 2],
        sem_seg_head_in_features=["block2", "block0"],
        **TINY,
    )
    images = torch.randint(256, (1, 3, 32, 48), dtype=torch.uint8)
    assert model.eval().features(images, ["block0", "block2"])["block2"].shape == (1, 48, 4, 6)


def test_losses_in_evaluation_mode_have_nothing_random(model):
    """The same as in training mode without dropout and drop path; they leave mode and statistics as they were."""
    options = {**TINY, "stem": "conv", "drop_path_rate": 0.5, "dropout": 0.5}
    noisy = segvit.create_model("vit_tiny_patch16_224", classes=NAMES, **options).eval()
    images, labels = torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8), torch.randint(4, (2, 32, 48))
    before = {name: value.clone() for name, value in noisy.state_dict().items()}
    first, second = noisy(images, labels), noisy(images, labels)
    assert first.keys() == noisy.train()(images, labels).keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    noisy.eval()
    assert not any(module.training for module in noisy.modules())
    plain = segvit.create_model("vit_tiny_patch16_224", classes=NAMES, drop_path_rate=0.0, dropout=0.0, **TINY)
    expected = plain(images, labels)
    validated = plain.eval()(images, labels)
    assert all(torch.allclose(validated[name], expected[name], atol=1e-6) for name in expected)
    assert before.keys() == noisy.state_dict().keys()


class Noise(nn.Module):
    """A module with dropout of its own, of a type that no list names."""

    def forward(self, values):
        return F.dropout(values, p=0.5, training=self.training)


def test_losses_in_evaluation_mode_have_nothing_random_whatever_modules_a_head_has(model):
    decoder = model.network.sem_seg_head.decoder
    decoder.class_embed = nn.Sequential(decoder.class_embed, Noise())
    images, labels = torch.randint(256, (1, 3, 32, 48), dtype=torch.uint8), torch.randint(4, (1, 32, 48))
    first, second = model.eval()(images, labels), model(images, labels)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_metrics_and_card_hold_until_the_weights_change(model, tmp_path):
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    card = (folder / "README.md").read_text()
    assert "unknown |" not in card and "unknown`" not in card and "| trained | in Python |" in card
    (folder / "metrics.json").write_text('{"mIoU": 61.25}')
    (folder / "README.md").write_text(card.replace("to be stated by whoever", "CC-BY-4.0, by whoever"))
    loaded = segvit.from_pretrained(folder)
    assert loaded.metrics == {"mIoU": 61.25}
    loaded.save_pretrained(tmp_path / "copy")
    copied = segvit.from_pretrained(tmp_path / "copy")
    assert copied.metrics == {"mIoU": 61.25} and "CC-BY-4.0" in (tmp_path / "copy" / "README.md").read_text()
    with torch.no_grad():
        next(copied.parameters()).view(-1)[0].add_(1e-3)
    assert copied.metrics == {}
    copied.save_pretrained(tmp_path / "further")
    assert segvit.from_pretrained(tmp_path / "further").metrics == {}
    assert "| trained further | in Python |" in (tmp_path / "further" / "README.md").read_text()
