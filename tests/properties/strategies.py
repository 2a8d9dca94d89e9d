"""Hypothesis strategies for image sizes and label maps, from single pixels to long strips.

Shape shorthand: H x W pixels.
"""

import numpy as np
from hypothesis import strategies as st

IGNORED = 255
MODERATE, NARROW, LONG = st.integers(1, 60), st.integers(1, 3), st.integers(100, 300)


def sizes():
    """(H, W): smaller than a patch, odd grids of patches, and strips up to 300 times as long as wide."""
    return st.one_of(st.tuples(MODERATE, MODERATE), st.tuples(NARROW, LONG), st.tuples(LONG, NARROW))


@st.composite
def label_maps(draw, num_classes, size=None):
    """(H, W) uint8: class ids and the ignored label, as noise, a quarter, one area, or one pixel in an area."""
    height, width = draw(sizes()) if size is None else size
    ids = draw(st.lists(st.sampled_from([*range(num_classes), IGNORED]), min_size=2, max_size=4, unique=True))
    labels = np.full((height, width), ids[0], np.uint8)
    kind = draw(st.sampled_from(["noise", "halves", "area", "pixel"]))
    if kind == "noise":
        seed = draw(st.integers(0, 2**31 - 1))
        labels = np.random.default_rng(seed).choice(np.array(ids, np.uint8), (height, width))
    elif kind == "halves":
        labels[height // 2 :, width // 2 :] = ids[1]
    elif kind == "pixel":
        labels[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = ids[1]
    return labels


def noise_image(size, seed=0):
    """(H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
