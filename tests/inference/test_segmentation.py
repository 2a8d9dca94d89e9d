"""`Segmentation`, the result of `predict`, and the confidence of pixels.

Shape shorthand: H x W pixels, K classes.
"""

import numpy as np
import pytest
import torch
from PIL import Image

import segvit
from segvit.inference import SegViTPredictor
from segvit.modeling.postprocessing.confidence import confidence_of_bands, confidence_of_scores

NAMES = ("road", "sky", "car")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    options = {"patch_size": 8, "embed_dim": 48, "depth": 3, "vit_num_heads": 3, "segvit_init_std": 0.2}
    model = segvit.create_model("vit_tiny_patch16_224", classes=NAMES, img_size=(32, 48), output="diagonal", **options)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "class_embed" in name:
                value.zero_()  # masks decide, and several classes win
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_confidence_is_the_softmax_of_the_logarithms_of_the_scores():
    torch.manual_seed(0)
    scores = torch.rand(4, 5, 6) * 0.2
    for temperature in (0.5, 1.0, 3.0):
        expected = (scores.log() / temperature).softmax(dim=0).amax(dim=0)
        torch.testing.assert_close(confidence_of_scores(scores, temperature), expected)
    torch.testing.assert_close(confidence_of_scores(scores), scores.amax(dim=0) / scores.sum(dim=0))
    assert (confidence_of_scores(torch.zeros(4, 2, 2), 0.1) == 1 / 4).all()
    bands = [scores[:, :2], scores[:, 2:]]
    assert torch.equal(confidence_of_bands(bands, (5, 6), 2.0), confidence_of_scores(scores, 2.0))


def test_model_and_predictor_give_the_same_result(folder, image, tmp_path):
    predictor = SegViTPredictor(folder, array_format="RGB")
    results = [predictor.predict(image), *predictor.predict([image]), segvit.from_pretrained(folder).predict(image)]
    for result in results:
        assert type(result) is segvit.Segmentation and result.classes.names == NAMES
        assert np.array_equal(result.labels, predictor(image)) and len(np.unique(result.labels)) > 1
        assert np.array_equal(result.scores, predictor(image, output="scores"))
        assert np.array_equal(result.confidence, predictor(image, output="confidence"))
        assert result.confidence.shape == image.shape[:2] and result.confidence.dtype == np.float32
    result.save_labels(tmp_path / "labels.png")
    with Image.open(tmp_path / "labels.png") as written:
        assert np.array_equal(np.asarray(written), result.labels)
        assert np.array_equal(np.asarray(written.convert("RGB")), np.asarray(result.colorize()))


@pytest.mark.parametrize("windows", [False, True])
def test_the_temperature_changes_the_confidence_alone(folder, image, windows):
    size = ["TEST.WINDOW.SIZE", [32, 48], "TEST.WINDOW.STRIDE", [21, 32]]
    opts = ["TEST.WINDOW.ENABLED", windows, *(size if windows else [])]
    cool, warm = (SegViTPredictor(folder, opts=[*opts, "TEST.CONFIDENCE_TEMPERATURE", value]) for value in (0.5, 2.0))
    assert np.array_equal(cool.predict(image).labels, warm.predict(image).labels)
    assert (cool.predict(image).confidence > warm.predict(image).confidence).all()
    np.testing.assert_allclose(
        warm(image, output="confidence"),
        confidence_of_scores(torch.from_numpy(warm(image, output="scores")), 2.0),
        rtol=1e-5,
    )
    (_, streamed), *_ = warm.stream([image], output="confidence")
    assert np.array_equal(streamed, warm(image, output="confidence"))


def test_a_model_in_training_predicts_in_evaluation_mode(image):
    model = segvit.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, depth=2, drop_path_rate=0.9)
    result = model.train().predict(image)
    assert np.array_equal(result.scores, model.eval().predict(image).scores) and model.train().training
    assert np.array_equal(result.labels, result.scores.argmax(0))
