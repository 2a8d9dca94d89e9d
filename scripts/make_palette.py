"""Choose the colours of `segvit/classes/palette.py`: 256 that people with and without colour blindness can tell apart.

make_palette.py [--count N]

Prints one hexadecimal string. Each colour is the candidate that is farthest from all before it: the distance is
Euclidean in OKLab (Ottosson, 2020), and the smallest of those that viewers with full colour vision, protanopia and
deuteranopia see (simulated as in Machado, Oliveira and Fernandes, 2009, severity 1).

Shape shorthand: N colours.
"""

from __future__ import annotations

import argparse

import numpy as np

# What a viewer sees of a linear RGB colour.
VISIONS = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
# Distances that colour-blind viewers see count this much, because they have fewer colours to choose from.
COLOR_BLIND_WEIGHT = 2.5
# The first colour, and those that no class may resemble: ignored pixels, the paper, and the grey of shadows.
FIRST = (0, 114, 178)
RESERVED = ((0, 0, 0), (255, 255, 255), (110, 110, 110))
# Candidates: colours on a grid that are neither darker nor lighter (OKLab).
GRID_STEP = 15
LIGHTNESS = (0.35, 0.93)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=256, metavar="N", help="how many colours (default: 256)")
    args = parser.parse_args()
    print(choose_colors(args.count).tobytes().hex())


def choose_colors(count: int) -> np.ndarray:
    """(count, 3) uint8 RGB."""
    levels = np.arange(0, 256, GRID_STEP)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness = to_oklab(candidates, "full")[:, 0]
    candidates = candidates[(lightness >= LIGHTNESS[0]) & (lightness <= LIGHTNESS[1])]
    seen = {vision: to_oklab(candidates, vision) for vision in VISIONS}
    nearest = np.full(len(candidates), np.inf)
    chosen = [np.array(FIRST)]
    for color in RESERVED:
        nearest = np.minimum(nearest, _weighted_distances(np.array(color), seen))
    while len(chosen) < count:
        nearest = np.minimum(nearest, _weighted_distances(chosen[-1], seen))
        # Rounded, so that the choice between equal candidates is the same on every processor.
        chosen.append(candidates[int(nearest.round(9).argmax())])
    return np.array(chosen, dtype=np.uint8)


def _weighted_distances(color: np.ndarray, seen: dict[str, np.ndarray]) -> np.ndarray:
    """(N,) distances of a colour (3,) to the candidates, the smallest over all visions."""
    distances = [
        np.linalg.norm(values - to_oklab(color[None], vision), axis=1)
        * (1.0 if vision == "full" else COLOR_BLIND_WEIGHT)
        for vision, values in seen.items()
    ]
    return np.minimum.reduce(distances)


def to_oklab(colors: np.ndarray, vision: str) -> np.ndarray:
    """(N, 3) RGB from 0 to 255 -> (N, 3) OKLab of what a viewer sees."""
    encoded = np.asarray(colors) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = (linear @ VISIONS[vision].T).clip(0, 1)
    cones = linear @ np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
         [0.0883024619, 0.2817188376, 0.6299787005]]
    ).T  # fmt: skip
    return np.cbrt(cones) @ np.array(
        [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
         [0.0259040371, 0.7827717662, -0.8086757660]]
    ).T  # fmt: skip


def smallest_distance(colors: np.ndarray, vision: str) -> float:
    """The OKLab distance of the two colours (N, 3) that a viewer tells apart worst."""
    lab = to_oklab(colors, vision)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(distances[np.triu_indices(len(lab), 1)].min())


if __name__ == "__main__":
    main()
