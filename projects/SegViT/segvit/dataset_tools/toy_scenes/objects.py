"""The objects of a toy scene: trees, balls, buildings, fences, poles and signs, with their foot at (x, base)."""

from __future__ import annotations

import numpy as np

from segvit.dataset_tools.toy_scenes.canvas import Canvas, pick_color
from segvit.datasets.benchmarks.toy_scenes import CLASS_IDS

LEAVES = ((46, 104, 44), (70, 122, 40), (34, 86, 52), (148, 96, 30))
TRUNKS = ((88, 62, 44), (70, 54, 44))
BALLS = ((230, 60, 50), (250, 130, 20), (240, 70, 150), (150, 60, 200), (250, 210, 40))
WALLS = ((176, 92, 74), (214, 190, 158), (186, 164, 142), (196, 120, 96), (222, 208, 186))
ROOFS = ((110, 58, 50), (86, 78, 84), (134, 82, 60))
PICKETS = ((236, 232, 224), (142, 100, 66), (120, 84, 60), (226, 220, 200))
POSTS = ((70, 72, 80), (92, 78, 68), (56, 62, 72))
BOARDS = ((206, 40, 44), (30, 84, 190), (240, 192, 24), (24, 140, 84))


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


def paint_building(canvas: Canvas, rng: np.random.Generator, x: float, base: float) -> None:
    """A house with a gable, or a block with a flat roof; brick courses, windows, a lit and a shaded wall."""
    width, height = rng.uniform(26, 48), rng.uniform(24, 52)
    left, right, top = x - width / 2, x + width / 2, base - height
    canvas = canvas.window(left - 4, top - width * 0.5, right + 4, base)
    wall = canvas.box(left, top, right, base)
    courses = np.where((canvas.y % 4.0) < 0.8, -0.8, 0.4) + canvas.noise(rng, 4.0, 4.0, octaves=1)
    brick = canvas.textured(pick_color(rng, WALLS), courses, 0.10)
    shaded = canvas.x > left + width * rng.uniform(0.6, 0.85)
    canvas.paint(wall, brick * np.where(shaded, 0.72, 1.0)[..., None], CLASS_IDS["building"])
    roof_color = pick_color(rng, ROOFS)
    if rng.random() < 0.6:
        roof = canvas.polygon([(left - 3, top), (x, top - width * rng.uniform(0.28, 0.5)), (right + 3, top)])
    else:
        roof = canvas.box(left - 2, top - 4, right + 2, top + 1)
    tiles = np.sin(canvas.y * 2.6) + canvas.noise(rng, 3.0, 3.0, octaves=1)
    canvas.paint(roof, canvas.textured(roof_color, tiles, 0.1), CLASS_IDS["building"])
    _paint_windows(canvas, rng, left, top, right, base)


def _paint_windows(
    canvas: Canvas, rng: np.random.Generator, left: float, top: float, right: float, base: float
) -> None:
    """A regular grid of windows, some of them lit."""
    columns, rows = max(int((right - left) / 10), 2), max(int((base - top) / 13), 1)
    step_x, step_y = (right - left) / columns, (base - top) / rows
    lit, dark = np.array([250, 218, 130], np.float32), np.array([58, 70, 92], np.float32)
    for row in range(rows):
        for column in range(columns):
            x, y = left + (column + 0.27) * step_x, top + (row + 0.25) * step_y
            frame = canvas.box(x - 0.7, y - 0.7, x + 0.46 * step_x + 0.7, y + 0.5 * step_y + 0.7)
            pane = canvas.box(x, y, x + 0.46 * step_x, y + 0.5 * step_y)
            canvas.paint(frame, (230, 224, 214))
            canvas.paint(pane, lit if rng.random() < 0.3 else dark * rng.uniform(0.8, 1.5))


def paint_fence(canvas: Canvas, rng: np.random.Generator, x: float, base: float) -> None:
    """Pickets and two rails; what shows through the gaps is labelled fence too, as in street datasets."""
    width, height = rng.uniform(60, 110), rng.uniform(17, 25)
    left, right, top = x - width / 2, x + width / 2, base - height
    canvas = canvas.window(left, top, right, base)
    pitch, share = rng.uniform(6.0, 8.0), rng.uniform(0.6, 0.72)
    within = np.mod(canvas.x - left, pitch) / pitch
    tip = top + 4.0 * np.abs(within / share - 0.5) if rng.random() < 0.6 else np.full_like(canvas.x, top)
    extent = canvas.box(left, top, right, base)
    pickets = extent & (within < share) & (canvas.y >= tip)
    rails = canvas.box(left, top + 5, right, top + 8) | canvas.box(left, base - 7, right, base - 4)
    wood = canvas.textured(pick_color(rng, PICKETS, 8.0), canvas.noise(rng, 2.0, 12.0, octaves=2), 0.08)
    canvas.labels[extent & (canvas.y >= top + 1)] = CLASS_IDS["fence"]
    canvas.shade(0.35 * extent, (40, 40, 44))
    canvas.paint(rails, wood * 0.78)
    canvas.paint(pickets, wood * (1.06 - 0.28 * within)[..., None], CLASS_IDS["fence"])


def paint_pole(canvas: Canvas, rng: np.random.Generator, x: float, base: float) -> None:
    """A post, plain or striped, that leans a little; often with a cross-bar."""
    height = rng.uniform(50, 92)
    canvas = canvas.window(x - 20, base - height, x + 20, base)
    radius = _paint_post(canvas, rng, x, base, height, striped=rng.random() < 0.3)
    top = base - height
    if rng.random() < 0.6:
        bar = canvas.box(x - rng.uniform(10, 16), top + 4, x + rng.uniform(10, 16), top + 4 + 1.7 * radius)
        canvas.paint(
            bar, canvas.textured(pick_color(rng, POSTS), np.cos((canvas.y - top) * 0.6), 0.15), CLASS_IDS["pole"]
        )


def paint_sign(canvas: Canvas, rng: np.random.Generator, x: float, base: float) -> None:
    """A road sign: a round, square, diamond or triangular board with a rim and a glyph, on a post of class pole."""
    size, height = rng.uniform(11, 16), rng.uniform(34, 60)
    canvas = canvas.window(x - 20, base - height - 20, x + 20, base)
    _paint_post(canvas, rng, x, base, height, striped=False)
    y = base - height
    shape = int(rng.integers(4))
    color, rim = pick_color(rng, BOARDS), np.array([244, 242, 236], np.float32)
    canvas.paint(_board(canvas, shape, x, y, size), rim, CLASS_IDS["sign"])
    canvas.paint(_board(canvas, shape, x, y, size * 0.78), color)
    glyph = size * 0.42
    if rng.random() < 0.5:
        canvas.paint(canvas.box(x - glyph, y - glyph * 0.3, x + glyph, y + glyph * 0.35), rim)
    else:
        canvas.paint(canvas.box(x - glyph * 0.3, y - glyph * 0.8, x + glyph * 0.35, y + glyph), rim)


def _board(canvas: Canvas, shape: int, x: float, y: float, size: float) -> np.ndarray:
    if shape == 0:
        return canvas.disc(x, y, size)
    if shape == 1:
        return canvas.box(x - size * 0.9, y - size * 0.9, x + size * 0.9, y + size * 0.9)
    if shape == 2:
        return canvas.polygon([(x - size * 1.2, y), (x, y - size * 1.2), (x + size * 1.2, y), (x, y + size * 1.2)])
    return canvas.polygon([(x - size * 1.2, y + size * 0.9), (x, y - size * 1.2), (x + size * 1.2, y + size * 0.9)])


def _paint_post(
    canvas: Canvas, rng: np.random.Generator, x: float, base: float, height: float, *, striped: bool
) -> float:
    """A cylinder of class pole, lit from one side; returns its radius."""
    radius = rng.uniform(3.4, 4.6)
    center = x + rng.normal(0.0, 0.02) * (base - canvas.y)
    across = (canvas.x - center) / radius
    mask = (np.abs(across) <= 1.0) & (canvas.y < base) & (canvas.y >= base - height)
    post = canvas.textured(pick_color(rng, POSTS, 8.0), np.cos((across - 0.3) * 1.4) - 0.5, 0.5)
    if striped:
        post = np.where((canvas.y % 16.0 < 8.0)[..., None], post, post * 0.4 + np.float32(140))
    canvas.paint(mask, post, CLASS_IDS["pole"])
    return float(radius)
