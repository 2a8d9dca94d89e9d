"""The backdrop of a toy scene: sky, hills, ground and water."""

from __future__ import annotations

import numpy as np

from segvit.dataset_tools.toy_scenes.canvas import IMAGE_HEIGHT, IMAGE_WIDTH, Canvas, pick_color
from segvit.datasets.benchmarks.toy_scenes import CLASS_IDS

# (zenith, horizon) colours: noon, evening, dusk, overcast, dawn.
SKIES = (
    ((74, 138, 214), (196, 222, 240)),
    ((84, 84, 150), (250, 176, 112)),
    ((52, 58, 112), (206, 130, 158)),
    ((142, 154, 170), (216, 222, 226)),
    ((112, 160, 208), (248, 214, 186)),
)
HILLS = ((84, 108, 118), (92, 100, 132), (72, 104, 96), (110, 100, 116))
GROUNDS = ((124, 152, 72), (190, 168, 104), (158, 122, 86), (150, 160, 110), (204, 188, 150))
WATERS = ((40, 98, 150), (36, 120, 140), (60, 110, 168))
# Maximum deviation of the ground's edge from the horizon, in pixels.
EDGE = 2


def paint_sky(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """A gradient with clouds and, in one scene of two, a sun."""
    canvas = canvas.window(0, 0, IMAGE_WIDTH, horizon + EDGE)
    zenith_color, horizon_color = (pick_color(rng, [color], 8.0) for color in SKIES[rng.integers(len(SKIES))])
    height = np.clip(canvas.y / (0.55 * IMAGE_HEIGHT), 0.0, 1.0)[..., None]
    sky = np.ones_like(canvas.labels, dtype=bool)
    canvas.paint(sky, zenith_color * (1.0 - height) + horizon_color * height, CLASS_IDS["sky"])
    if rng.random() < 0.5:
        sun_x, sun_y = rng.uniform(10, IMAGE_WIDTH - 10), rng.uniform(6, 40)
        distance = np.hypot(canvas.x - sun_x, canvas.y - sun_y)
        canvas.shade(0.6 * np.exp(-distance / 22.0), (255, 240, 200))
        canvas.shade(np.clip(rng.uniform(5, 8) - distance, 0.0, 1.0), (255, 250, 228))
    clouds = canvas.noise(rng, rng.uniform(40, 80), rng.uniform(10, 22), octaves=4)
    canvas.shade(np.clip((clouds - rng.uniform(0.1, 0.8)) * 1.1, 0.0, 0.75), (250, 246, 244))


def paint_hills(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """One to three ridges, the farther the paler."""
    canvas = canvas.window(0, horizon - 40, IMAGE_WIDTH, horizon + EDGE)
    count = int(rng.integers(1, 4))
    color = pick_color(rng, HILLS, 7.0)
    for layer in range(count):
        nearness = (layer + 1) / count
        height = rng.uniform(9, 20) + 12.0 * (1.0 - nearness)
        ridge = horizon - height * (
            1.0 + 0.5 * _wave(canvas.x[0], rng, (40, 110)) + 0.15 * _wave(canvas.x[0], rng, (10, 30))
        )
        mask = canvas.y >= ridge
        hazy = color * (0.45 + 0.4 * nearness) + np.array([196, 208, 224], np.float32) * (0.5 - 0.4 * nearness)
        relief = canvas.noise(rng, 7.0, 20.0)
        canvas.paint(mask, canvas.textured(hazy, relief, 0.13), CLASS_IDS["hill"])
        canvas.shade(0.25 * mask * np.clip(1.0 - (canvas.y - ridge) / 3.0, 0.0, 1.0), (236, 236, 240))


def paint_ground(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """A plain with grains that grow towards the viewer."""
    canvas = canvas.window(0, horizon - EDGE, IMAGE_WIDTH, IMAGE_HEIGHT)
    edge = horizon + 1.5 * _wave(canvas.x[0], rng, (30, 80))
    near = np.clip((canvas.y - horizon) / (IMAGE_HEIGHT - horizon), 0.0, 1.0)
    texture = (1.0 - near) * canvas.noise(rng, 12.0, 2.5) + near * canvas.noise(rng, 8.0, 5.0)
    speckles = canvas.noise(rng, 2.5, 2.0, octaves=2)
    ground = canvas.textured(pick_color(rng, GROUNDS, 9.0), texture + speckles, 0.13)
    canvas.paint(canvas.y >= edge, ground * (0.88 + 0.2 * near)[..., None], CLASS_IDS["ground"])


def paint_water(canvas: Canvas, rng: np.random.Generator, horizon: float) -> None:
    """A lake with ripples, a pale shore and the glitter of the sky."""
    x, y = rng.uniform(10, IMAGE_WIDTH - 10), rng.uniform(horizon + 16, IMAGE_HEIGHT - 6)
    radius_x, radius_y = rng.uniform(40, 80), rng.uniform(9, 17)
    canvas = canvas.window(x - 1.2 * radius_x, y - 1.2 * radius_y, x + 1.2 * radius_x, y + 1.2 * radius_y)
    angles = np.linspace(0.0, 2.0 * np.pi, 60, endpoint=False)
    wobble = 1.0 + 0.12 * _wave(angles * 20.0, rng, (25, 50))
    outline = np.stack([x + radius_x * wobble * np.cos(angles), y + radius_y * wobble * np.sin(angles)], axis=-1)
    outline[:, 1] = np.maximum(outline[:, 1], horizon + 3)
    shore = canvas.polygon((outline - (x, y)) * 1.06 + (x, y))
    canvas.paint(shore & (canvas.labels == CLASS_IDS["ground"]), (206, 192, 156))
    ripples = np.sin(canvas.y * rng.uniform(1.4, 2.2) + 2.0 * canvas.noise(rng, 24.0, 6.0))
    glitter = np.clip(canvas.noise(rng, 14.0, 1.6, octaves=2) - 0.5, 0.0, 0.8)
    mask = canvas.polygon(outline)
    canvas.paint(mask, canvas.textured(pick_color(rng, WATERS, 10.0), ripples, 0.13), CLASS_IDS["water"])
    canvas.shade(mask * glitter, (224, 236, 244))


def _wave(position: np.ndarray, rng: np.random.Generator, lengths: tuple[float, float]) -> np.ndarray:
    """Two sines of random length and phase over `position`, within -1..1."""
    total = np.zeros_like(position)
    for share in (0.6, 0.4):
        frequency = 2.0 * np.pi / rng.uniform(*lengths)
        total += share * np.sin(position * frequency + rng.uniform(0.0, 2.0 * np.pi))
    return total
