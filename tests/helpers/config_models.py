"""Models of shipped configs on the meta device, built once for all tests of a process: a large one takes a second."""

import functools

from helpers.repository import CONFIGS
from segvit.analysis import count_macs
from segvit.analysis.from_config import build_random_model
from segvit.d2 import load_config


@functools.cache
def meta_model(name):
    """The model of CONFIGS/`name`.yaml, without weights, in eval mode. Tests leave it unchanged."""
    return build_random_model(load_config(CONFIGS / f"{name}.yaml"), device="meta")


@functools.cache
def macs_of(name):
    """`count_macs` of one image of the training size."""
    model = meta_model(name)
    return count_macs(model.network, model.backbone.img_size)
