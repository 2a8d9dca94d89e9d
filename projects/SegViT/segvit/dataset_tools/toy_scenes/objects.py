"""Trees and balls of a toy scene. Each stands with its foot at (x, base)."""

from __future__ import annotations

import numpy as np

from segvit.dataset_tools.toy_scenes.canvas import Canvas, pick_color
from segvit.datasets.toy_scenes import CLASS_IDS

LEAVES = ((46, 104, 44), (70, 122, 40), (34, 86, 52), (148, 96, 30))
TRUNKS = ((88, 62, 44), (70, 54, 44))
BALLS = ((230, 60, 50), (250, 130, 20), (240, 70, 150), (150, 60, 200), (250, 210, 40))


def paint_tree(canvas: Canvas, rng: np.random.Generator, x: float, base: float) -> None:
    """A trunk under a crown of leaf clumps, or a conifer of stacked triangles."""
    height = rng.uniform(38, 66)
    canvas = canvas.window(x - 0.7 * height, base - 1.2 * height, x + 0.7 * height, base)
    trunk = canvas.box(x - rng.uniform(2.5, 4), base - height * 0.5, x + rng.uniform(2.5, 4), base)
    bark = canvas.textured(pick_color(rng, TRUNKS, 6.0), canvas.noise(rng, 1.5, 10.0, octaves=2), 0.15)
    canvas.paint(trunk, bark, CLASS_IDS["tree"])
    color = pick_color(rng, LEAVES, 9.0)
    leaves = canvas.noise(rng, 3.5, 3.0, octaves=2)
    if rng.random() < 0.35:
        for layer in range(3):
            half = height * (0.32 - 0.07 * layer)
            foot, top = base - height * (0.16 + 0.24 * layer), base - height * (0.6 + 0.2 * layer)
            mask = canvas.polygon([(x - half, foot), (x, top), (x + half, foot)])
            canvas.paint(mask, canvas.textured(color, leaves + 0.03 * (foot - canvas.y) - 0.5, 0.3), CLASS_IDS["tree"])
        return
    for _ in range(int(rng.integers(7, 11))):
        clump_x, clump_y = x + rng.normal(0, height * 0.16), base - height * rng.uniform(0.5, 0.88)
        radius = height * rng.uniform(0.15, 0.23)
        light = -((canvas.x - clump_x) + (canvas.y - clump_y)) / (1.4 * radius)
        mask = canvas.disc(clump_x, clump_y, radius)
        canvas.paint(mask, canvas.textured(color, leaves + 0.8 * light, 0.26), CLASS_IDS["tree"])


def paint_ball(canvas: Canvas, rng: np.random.Generator, x: float, base: float) -> None:
    """A shiny beach ball with sectors of two colours."""
    radius = rng.uniform(8.5, 15.0)
    y = base - radius
    canvas = canvas.window(x - radius, y - radius, x + radius, base + 1)
    mask = canvas.disc(x, y, radius)
    hub_x, hub_y = x + rng.uniform(-0.4, 0.4) * radius, y + rng.uniform(-0.4, 0.4) * radius
    angle = np.arctan2(canvas.y - hub_y, canvas.x - hub_x) + rng.uniform(0, 2 * np.pi)
    sectors = np.sin(angle * int(rng.integers(2, 4))) > 0
    color, other = pick_color(rng, BALLS), pick_color(rng, ((244, 240, 232), *BALLS))
    distance = np.hypot(canvas.x - (x - radius * 0.35), canvas.y - (y - radius * 0.4)) / radius
    shading = 1.12 - 0.34 * distance**2
    canvas.paint(mask, np.where(sectors[..., None], color, other) * shading[..., None], CLASS_IDS["ball"])
    canvas.shade(0.8 * mask * np.clip(1.0 - 4.0 * distance, 0.0, 1.0), (255, 255, 250))
