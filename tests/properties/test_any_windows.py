"""Property tests of sliding windows: any window and stride on images of any size, scored and resized in bands.

Shape shorthand: H x W pixels, h x w of a window, K classes.
"""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import sizes

from segvit.modeling.postprocessing import score_bands
from segvit.modeling.postprocessing.score_bands import join_bands, labels_of_bands, resize_bands
from segvit.modeling.postprocessing.sliding_window import SlidingWindow

NUM_CLASSES = 3
SIDE = st.integers(1, 40)


@st.composite
def windows(draw):
    size = (draw(SIDE), draw(SIDE))
    stride = tuple(draw(st.integers(max(1, edge // 4), edge)) for edge in size)
    return SlidingWindow(
        size=size, stride=stride, batch_size=draw(st.integers(1, 9)), accumulate_on_cpu=draw(st.booleans())
    )


def per_pixel_scores(images):
    """(B, 1, H, W) -> (B, K, H, W): the scores of a pixel do not depend on its window."""
    return torch.cat([images, 1 - images, images.square()], dim=1)


@settings(max_examples=60)
@given(window=windows(), size=sizes(), output_size=sizes(), rows=st.integers(1, 7), seed=st.integers(0, 2**31 - 1))
def test_windows_equal_the_whole_image(window, size, output_size, rows, seed):
    """If the scores of a pixel do not depend on its window, at any cut and output size."""
    image = torch.rand(1, *size, generator=torch.Generator().manual_seed(seed))
    whole = per_pixel_scores(image[None])
    expected = F.interpolate(whole, output_size, mode="bilinear", align_corners=False)[0]
    elements, score_bands.ELEMENTS_PER_BAND = score_bands.ELEMENTS_PER_BAND, rows * NUM_CLASSES * output_size[1]
    try:
        scores = join_bands(resize_bands(window.bands(image, per_pixel_scores), size, output_size), output_size)
        labels = labels_of_bands(resize_bands(window.bands(image, per_pixel_scores), size, output_size), output_size)
    finally:
        score_bands.ELEMENTS_PER_BAND = elements
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert labels.shape == output_size and torch.equal(labels, scores.argmax(0))
