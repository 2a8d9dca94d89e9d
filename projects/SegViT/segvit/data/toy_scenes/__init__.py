"""Toy scenes: the generated data set of the demo, the tests and the quick schedules."""

from segvit.datasets.toy_scenes import TOY_SCENES_CATEGORIES
from segvit.data.toy_scenes.scene import draw_scene
from segvit.data.toy_scenes.writer import generate_toy_scenes

__all__ = ["TOY_SCENES_CATEGORIES", "draw_scene", "generate_toy_scenes"]
