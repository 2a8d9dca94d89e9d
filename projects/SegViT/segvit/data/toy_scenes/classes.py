"""The classes of the toy scenes: id -> name and colour. 255 is ignored."""

from __future__ import annotations

TOY_SCENES_CATEGORIES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("sky", (112, 176, 232)),
    ("hill", (72, 112, 112)),
    ("ground", (176, 148, 104)),
    ("water", (32, 88, 168)),
    ("building", (168, 72, 64)),
    ("tree", (40, 152, 48)),
    ("pole", (232, 200, 48)),
    ("sign", (232, 96, 168)),
    ("ball", (240, 136, 40)),
    ("fence", (136, 96, 192)),
)
CLASS_IDS: dict[str, int] = {name: index for index, (name, _) in enumerate(TOY_SCENES_CATEGORIES)}
