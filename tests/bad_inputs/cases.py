"""What a case of the table says, and the steps that several cases set up alike."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

# What training writes before it reads the first batch, and evaluation before the first image.
STARTED = ("config.yaml", "log.txt")
TRAINING = (*STARTED, "metrics.json")

WEIGHTS = ("MODEL.WEIGHTS", "HOME/model.pth")
EVALUATION = ("--eval-only", *WEIGHTS)


def nothing(world):
    """Everything is as it should be; the command line is not."""


@dataclass(frozen=True)
class Case:
    """One thing that can be wrong.

    message: all that the error line says, with HOME for the user's folder.
    arguments: of the command, behind its config file where it takes one.
    given: makes the user's folder (see `World`) what it should not be.
    leaves: the names of all files that the output folder holds afterwards.
    """

    name: str
    message: str
    arguments: tuple[str, ...] = ()
    given: Callable = field(default=nothing)
    command: str = "train_net"
    leaves: tuple[str, ...] = ()


def cut(name, size=None):
    """Keep the first half of a file of the data set, or so many bytes of it."""

    def given(world):
        path = world.data / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2 if size is None else size])

    return given


def changed(name, change):
    """Replace a picture of the data set by what `change` makes of it."""
    return lambda world: world.replace(name, change)


def with_ids(name, change):
    """Change the ids of a label map."""
    return changed(name, lambda image: Image.fromarray(change(np.asarray(image))))


def saved(name, array, **options):
    """Save an array as a picture of the data set, in the place of one that is there."""
    return lambda world: Image.fromarray(array).save(world.data / name, **options)


def written(name, text):
    """Write a text file into the user's folder."""

    def given(world):
        (world.home / name).parent.mkdir(parents=True, exist_ok=True)
        (world.home / name).write_text(text)

    return given


def classes(text, name="classes.txt"):
    """Replace the file of classes."""

    def given(world):
        (world.data / "classes.json").unlink()
        (world.data / name).write_text(text)

    return given


def checkpoint(*opts):
    """A checkpoint of a model with those overrides."""
    return lambda world: world.save_checkpoint(opts=opts)


def both(*steps):
    """One after the other."""

    def given(world):
        for step in steps:
            step(world)

    return given
