"""`generate_toy_scenes`: the dataset of toy scenes, `toy_scenes/{images,annotations}/{train,val}` and `meta.json`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segvit.dataset_tools.toy_scenes.canvas import IGNORED, IMAGE_HEIGHT, IMAGE_WIDTH
from segvit.dataset_tools.toy_scenes.scene import draw_scene
from segvit.datasets.benchmarks.toy_scenes import TOY_SCENES_CATEGORIES
from segvit.label_png import write_label_png
from segvit.progress import progress_bar

# Increase it with every change of the scenes: folders of other versions are generated again.
VERSION = 1
JPEG_QUALITY = 95


def generate_toy_scenes(
    root: str | os.PathLike[str], *, seed: int = 0, num_train: int = 400, num_val: int = 80
) -> Path:
    """Generate `root/toy_scenes` and return it; a folder with the same seed, counts and version is kept.

    The folder is written atomically, and replaces other toy scenes. Raises FileExistsError if `root/toy_scenes` exists
    and was not written by this function.
    """
    folder = Path(root) / "toy_scenes"
    counts = {"train": num_train, "val": num_val}
    meta = _describe(seed, counts)
    if _read_meta(folder) == meta:
        return folder
    if folder.exists() and _read_meta(folder) is None:
        raise FileExistsError(f"{folder} exists and has no meta.json of the toy scenes: move it away first")
    unfinished = folder.with_name(f".toy_scenes-{os.getpid()}")
    try:
        _write(unfinished, seed, counts)
        (unfinished / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(folder: Path, seed: int, counts: dict[str, int]) -> None:
    colors = [color for _, color in TOY_SCENES_CATEGORIES]
    with progress_bar(total=sum(counts.values()), title="toy scenes", unit="image") as progress:
        for split, count in counts.items():
            images, annotations = folder / "images" / split, folder / "annotations" / split
            images.mkdir(parents=True)
            annotations.mkdir(parents=True)
            for index in range(count):
                image, labels = draw_scene(seed, split, index)
                _write_jpeg(images / f"{index:05d}.jpg", image)
                write_label_png(annotations / f"{index:05d}.png", labels, colors)
                progress.update()


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
        raise OSError(f"could not write {path}")


def _describe(seed: int, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "seed": seed,
        "counts": counts,
        "size": [IMAGE_HEIGHT, IMAGE_WIDTH],
        "classes": [name for name, _ in TOY_SCENES_CATEGORIES],
        "ignored": IGNORED,
    }


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        return json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
