"""Calibration: the fitted temperature, the expected calibration error, and `tools/calibrate.py`'s parts.

Shape shorthand: N pixels, K classes.
"""

import numpy as np
import pytest
import torch

from segvit.errors import UserError
from segvit.evaluation.confidence import NUM_BINS, fit_temperature, reliability
from segvit.model_folder.files import read_model_folder, set_folder_keys
from segvit.visualization.reliability import draw_reliability


def pixels_of(temperature, count=40_000):
    """Scores (4, N) that are calibrated at a temperature: classes are drawn from the softmax of log(s) / T."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, count, generator=generator).mul(3).sigmoid() * 0.3
    probabilities = (scores.log() / temperature).softmax(dim=0)
    return scores, torch.multinomial(probabilities.T, 1, generator=generator)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    scores, truth = pixels_of(temperature)
    assert fit_temperature(scores, truth) == pytest.approx(temperature, rel=0.03)
    errors = {factor: reliability(scores, truth, factor).error for factor in (0.3, 0.5, 1.0, 3.0, 9.0)}
    assert errors[temperature] < 0.01 and min(errors, key=errors.get) == temperature


def test_the_error_is_the_mean_distance_of_accuracy_and_confidence():
    scores = torch.tensor([[0.6, 0.6, 0.9, 0.9], [0.4, 0.4, 0.1, 0.1]])
    result = reliability(scores, torch.tensor([0, 1, 0, 0]), 1.0)
    assert result.error == pytest.approx((0.1 + 0.1) / 2, abs=1e-6)  # half are right at 0.6, and all at 0.9
    assert result.pixels.sum() == 4 and len(result.pixels) == NUM_BINS and result.accuracy.isnan().sum() == NUM_BINS - 2
    assert reliability(torch.tensor([[1.0], [0.0]]), torch.tensor([7]), 1.0).error == pytest.approx(1)  # background


def test_the_diagram_is_drawn(tmp_path):
    result = reliability(*pixels_of(1.0, 500), 1.0)
    values = (result.confidence.numpy(), result.accuracy.numpy(), result.pixels.numpy())
    draw_reliability({"before": values, "after": values}, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 1000


def test_a_folder_keeps_everything_but_the_changed_key(tmp_path):
    import segvit

    options = {"patch_size": 8, "embed_dim": 48, "depth": 2, "vit_num_heads": 3}
    segvit.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32, **options).save_pretrained(
        tmp_path / "model"
    )
    before, image = read_model_folder(tmp_path / "model"), np.zeros((32, 32, 3), np.uint8)
    labels = segvit.from_pretrained(tmp_path / "model").predict(image).labels
    set_folder_keys(tmp_path / "model", {"TEST.CONFIDENCE_TEMPERATURE": 1.7})
    after = read_model_folder(tmp_path / "model")
    assert after.cfg.TEST.CONFIDENCE_TEMPERATURE == 1.7
    after.cfg.TEST.CONFIDENCE_TEMPERATURE = before.cfg.TEST.CONFIDENCE_TEMPERATURE
    assert after.cfg == before.cfg and after.classes == before.classes
    assert np.array_equal(segvit.from_pretrained(tmp_path / "model").predict(image).labels, labels)
    with pytest.raises(UserError, match=r"TEST\.CONFIDENCE_TEMPERATURE"):
        set_folder_keys(tmp_path / "model", {"TEST.CONFIDENCE_TEMPERATURE": -1.0})
