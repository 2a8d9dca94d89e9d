"""Sliding windows against the official release: window placement, averaging, and the resize to the original size.

SEGVIT_PARITY_FIXTURES names the folder of the recordings, as in `test_official_parity.py`.
"""

import pytest
import torch
import torch.nn.functional as F
from test_official_parity import FIXTURES, build_model, decode

from segvit.modeling.postprocessing.score_bands import join_bands, resize_bands
from segvit.modeling.postprocessing.semantic_inference import SemanticInference
from segvit.modeling.postprocessing.sliding_window import SlidingWindow

SLIDES = [pytest.param(fixture, id=name) for name, fixture in FIXTURES.items() if "slide" in fixture]

pytestmark = pytest.mark.skipif(
    not SLIDES, reason="NO PARITY CHECK: SEGVIT_PARITY_FIXTURES names no folder with recorded sliding windows"
)


def make_scorer(fixture):
    encoder, decoder = build_model(fixture)
    inference = SemanticInference("mix")
    return lambda windows: inference(decode(decoder, encoder(windows)), windows.shape[-2:])


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("fixture", SLIDES)
@torch.no_grad()
def test_parity_of_sliding_windows(assert_parity, fixture, batch_size):
    slide = fixture["slide"]
    (image,) = slide["input"]
    output_size = tuple(slide["ori_shape"])
    windows = SlidingWindow(size=slide["crop"], stride=slide["stride"], batch_size=batch_size, accumulate_on_cpu=False)
    bands = windows.bands(image, make_scorer(fixture))
    scores = join_bands(resize_bands(bands, image.shape[-2:], output_size), output_size)
    assert_parity(scores[None], slide["seg_logit"], "seg_logit")
    assert torch.equal(scores.argmax(0), slide["inference_argmax"][0].long())


@pytest.mark.parametrize("fixture", SLIDES)
@torch.no_grad()
def test_scores_without_windows_differ_from_the_recording(fixture):
    """So the recording does test windows."""
    slide = fixture["slide"]
    scores = F.interpolate(make_scorer(fixture)(slide["input"]), tuple(slide["ori_shape"]), mode="bilinear")
    error = (scores - slide["seg_logit"]).abs().max() / slide["seg_logit"].abs().max()
    assert error > 1e-3
