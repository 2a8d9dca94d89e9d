"""Checkpoints and encoder weights that cannot be loaded, and files that contain code."""

import pickle

import numpy as np
import torch
from cases import EVALUATED, EVALUATION, STARTED, Case, both, checkpoint, nothing

from helpers.code_in_files import TouchFile

# A resumed run adds only the log to these.
RESUMED = (*EVALUATED, "last_checkpoint", "metrics.json")


# Unpickled, it creates the file `ran` in the working directory.
CODE = TouchFile("ran")


def pickled(name):
    """A plain pickle file with code in it."""
    return lambda world: (world.home / name).write_bytes(pickle.dumps({"model": CODE}))


def stored(content, name="model.pth"):
    """A file of `torch.save`."""
    return lambda world: torch.save(content, world.home / name)


def raw(content, name="model.pth"):
    return lambda world: (world.home / name).write_bytes(content)


def object_array(world):
    """An archive of NumPy's, whose array is a pickle."""
    np.savez(world.home / "model.npz", **{"embedding/kernel": np.array([CODE], dtype=object)})


def halved(world):
    path = world.home / "model.pth"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def of_four_classes(world):
    """A checkpoint of a model with one class more."""
    three = (world.data / "classes.json").read_text()
    (world.data / "classes.json").unlink()
    (world.data / "classes.txt").write_text("a\nb\nc\nd\n")
    world.save_checkpoint()
    (world.data / "classes.txt").unlink()
    (world.data / "classes.json").write_text(three)


def last_checkpoint(text):
    """The output folder of a run whose newest checkpoint has this name."""

    def given(world):
        world.output.mkdir()
        (world.output / "last_checkpoint").write_text(text)

    return given


def weights(name, mentions, given, file="model.pth", leaves=EVALUATED):
    return Case(name, f"HOME/{file} {mentions}", ("--eval-only", "MODEL.WEIGHTS", f"HOME/{file}"), given, leaves=leaves)


def encoder(name, mentions, given, source):
    return Case(name, mentions, ("MODEL.VIT.PRETRAINED", source), given, leaves=STARTED)


CHECKPOINT_CASES = [
    Case("evaluation without weights", "MODEL.WEIGHTS empty", ("--eval-only",)),
    weights("missing file", "MODEL.WEIGHTS", nothing, leaves=()),
    weights("folder", "MODEL.WEIGHTS folder", lambda world: (world.home / "model.pth").mkdir(), leaves=()),
    weights("empty file", "MODEL.WEIGHTS empty", raw(b""), leaves=()),
    weights("text file", "corrupt", raw(b"hello")),
    weights("half a safetensors file", "corrupt", raw(b"abc", "model.safetensors"), file="model.safetensors"),
    weights("half a checkpoint", "corrupt truncated", both(checkpoint(), halved)),
    weights("list", "list", stored([1])),
    weights("no model", "convert_official_checkpoint.py", stored({"lr": 1})),
    weights("empty model", "convert_official_checkpoint.py", stored({"model": {}})),
    weights("other classes", "NUM_CLASSES 4 3", of_four_classes),
    weights("encoder alone", "MODEL.VIT.PRETRAINED", stored({"model": {"blocks.0.norm1.weight": torch.zeros(24)}})),
    Case("other architecture", "53 83", EVALUATION, checkpoint("MODEL.VIT.EMBED_DIM", "48"), leaves=EVALUATED),
    weights("code", "code posix.system safetensors", stored({"model": CODE})),
    weights("code in a plain pickle", "code", pickled("model.pth")),
    weights("code in a .pkl", "code", pickled("model.pkl"), file="model.pkl"),
    weights("code in a .pyth", "code", pickled("model.pyth"), file="model.pyth"),
    encoder("missing encoder file", "MODEL.VIT.PRETRAINED HOME/model.pth", nothing, "HOME/model.pth"),
    encoder("unknown tag", "MODEL.VIT.PRETRAINED 'laion' augreg_in21k_ft_in1k", nothing, "laion"),
    encoder("array of objects", "HOME/model.npz code", object_array, "HOME/model.npz"),
    encoder("encoder with code", "HOME/model.pkl code", pickled("model.pkl"), "HOME/model.pkl"),
    Case(
        "resume from a deleted checkpoint",
        "HOME/output/model_0.pth --resume",
        ("--resume",),
        last_checkpoint("model_0.pth"),
        leaves=RESUMED,
    ),
    Case(
        "resume from code",
        "HOME/output/../model.pkl code",
        ("--resume",),
        both(last_checkpoint("../model.pkl"), pickled("model.pkl")),
        leaves=RESUMED,
    ),
]
