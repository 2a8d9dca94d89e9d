"""`Case`, a row of the tables of bad inputs, and the steps that set the user's folder up for it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

# The files that training writes before it reads the first batch, and evaluation before the first image.
STARTED = ("config.yaml", "log.txt")
EVALUATED = ("log.txt",)
TRAINING = (*STARTED, "metrics.json")

CONFIG = ("--config-file", "HOME/config.yaml")
WEIGHTS = ("MODEL.WEIGHTS", "HOME/model.pth")
EVALUATION = ("--eval-only", *WEIGHTS)


def nothing(world):
    """Leave the user's folder as it is."""


@dataclass(frozen=True)
class Case:
    """One bad input.

    mentions: words that the error message must contain, separated by spaces: the key, option or file (below HOME, the
        user's folder) and what helps. tests/bad_inputs/messages.py has the whole message of a few cases.
    arguments: of the command, after its config file where it takes one.
    given: changes the user's folder (see `World`).
    leaves: names of all files that the output folder holds afterwards, beside its lock.
    """

    name: str
    mentions: str
    arguments: tuple[str, ...] = ()
    given: Callable = nothing
    command: str = "train_net"
    leaves: tuple[str, ...] = ()

    @property
    def title(self):
        return f"{self.command}: {self.name}"


def tool(command, name, mentions, arguments, given=nothing, leaves=()):
    """A case of another command than train_net."""
    return Case(name, mentions, tuple(arguments), given, command, leaves)


def cut(name, size=None):
    """Keep the first half of a file of the dataset, or its first `size` bytes."""

    def given(world):
        path = world.data / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2 if size is None else size])

    return given


def changed(name, change):
    """Apply `change` to an image of the dataset."""
    return lambda world: world.replace(name, change)


def with_ids(name, change):
    """Apply `change` to the ids of a label map."""
    return changed(name, lambda image: Image.fromarray(change(np.asarray(image))))


def saved(name, array, **options):
    """Save an array over an image of the dataset."""
    return lambda world: Image.fromarray(array).save(world.data / name, **options)


def written(name, text):
    """Write a text file into the user's folder."""

    def given(world):
        (world.home / name).parent.mkdir(parents=True, exist_ok=True)
        (world.home / name).write_text(text)

    return given


def classes(text, name="classes.txt"):
    """Replace the file of class names."""

    def given(world):
        (world.data / "classes.json").unlink()
        (world.data / name).write_text(text)

    return given


def checkpoint(*opts):
    """Save a checkpoint of a model with these overrides."""
    return lambda world: world.save_checkpoint(opts=opts)


def both(*steps):
    """Several steps in turn."""

    def given(world):
        for step in steps:
            step(world)

    return given
