"""Pictures and label maps of any kind that a data set may hold, drawn by hypothesis.

Shape shorthand: H x W pixels.
"""

import numpy as np
from hypothesis import strategies as st

IGNORED = 255
MODERATE, NARROW, LONG = st.integers(1, 60), st.integers(1, 3), st.integers(100, 300)


def sizes():
    """(H, W): below a patch, odd grids of patches, strips up to three hundred times as long as wide."""
    return st.one_of(st.tuples(MODERATE, MODERATE), st.tuples(NARROW, LONG), st.tuples(LONG, NARROW))


@st.composite
def label_maps(draw, num_classes, size=None):
    """(H, W) uint8: ids below `num_classes` and the ignored one, as noise, halves, one area, or one pixel in it."""
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


def picture(size, seed=0):
    """(H, W, 3) uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
