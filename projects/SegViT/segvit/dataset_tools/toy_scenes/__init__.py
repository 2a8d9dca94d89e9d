"""Generate toy scenes: the dataset of the demo, the tests and the quick schedules."""

from segvit.dataset_tools.toy_scenes.scene import draw_scene
from segvit.dataset_tools.toy_scenes.writer import generate_toy_scenes
from segvit.datasets.benchmarks.toy_scenes import TOY_SCENES_CATEGORIES

__all__ = ["TOY_SCENES_CATEGORIES", "draw_scene", "generate_toy_scenes"]
