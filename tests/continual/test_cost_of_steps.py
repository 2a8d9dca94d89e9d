"""What a later group of classes adds to the first step's model at ViT-B and 512 x 512: docs/continual.md."""

import pytest

from helpers.repository import CONFIGS
from segvit.analysis import count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.config.loading import load_config

CONTINUAL = "MODEL.SEGVIT.CONTINUAL"
ADAPTER = (f"{CONTINUAL}.ADAPTER_BLOCKS", "1")


def costs(name, steps, *opts):
    """(parameters, multiply-accumulates) of the model of each step."""
    for step in range(steps):
        cfg = load_config(CONFIGS / "continual" / f"{name}.yaml", [f"{CONTINUAL}.STEP", str(step), *opts])
        model = build_random_model(cfg, device="meta").network
        yield count_params(model)["total"], count_macs(model, (512, 512))["total"]


def test_each_step_of_the_light_setting_adds_the_same_less_than_three_percent():
    first, second, third = costs("ade20k_100-5_light", 3, *ADAPTER)
    for whole, then, now in zip(first, second, third, strict=True):
        assert 0 < (then - whole) / whole < 0.03
        assert now - then == pytest.approx(then - whole, rel=1e-3)


@pytest.mark.parametrize(("name", "opts"), [("ade20k_100-50", ADAPTER), ("ade20k_100-50_detail", ())])
def test_fifty_classes_with_an_adapter_add_at_most_six_percent_of_the_multiply_accumulates(name, opts):
    (_, first), (_, second) = costs(name, 2, *opts)
    assert (second - first) / first <= 0.06
