"""Weights that cannot be loaded, and those that should not be."""

import os
import pickle

import numpy as np
import torch
from cases import EVALUATION, STARTED, Case, both, checkpoint

# What resuming leaves: nothing new but the log.
RESUMED = (*STARTED, "last_checkpoint", "metrics.json")
CODE = (
    "which SegViT does not run. If you trust the file, load it once in the program that wrote it and re-save its "
    "tensors: safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
)
FETCH = "Compare its size or checksum with the source's and fetch it again"
NOT_OURS = "tools/convert_official_checkpoint.py converts those of the official release"


class Code:
    """Unpickled, it makes the file `ran` in the working directory."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def pickled(name):
    """A file of one plain pickle."""
    return lambda world: (world.home / name).write_bytes(pickle.dumps({"model": Code()}))


def stored(content, name="model.pth"):
    """What `torch.save` makes of it."""
    return lambda world: torch.save(content, world.home / name)


def object_array(world):
    """An archive of NumPy's, whose array is a pickle."""
    np.savez(world.home / "model.npz", **{"embedding/kernel": np.array([Code()], dtype=object)})


def halved(name="model.pth"):
    def given(world):
        path = world.home / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return given


def of_other_classes(world):
    """A checkpoint of a folder with four classes."""
    three = (world.data / "classes.json").read_text()
    (world.data / "classes.json").unlink()
    (world.data / "classes.txt").write_text("a\nb\nc\nd\n")
    world.save_checkpoint()
    (world.data / "classes.txt").unlink()
    (world.data / "classes.json").write_text(three)


def last_checkpoint(text):
    """The output folder of a run that ended with this checkpoint."""

    def given(world):
        world.output.mkdir()
        (world.output / "last_checkpoint").write_text(text)

    return given


def weights(name, message, given, file="model.pth", leaves=STARTED):
    return Case(name, message, ("--eval-only", "MODEL.WEIGHTS", f"HOME/{file}"), given, leaves=leaves)


def encoder(name, message, given, source):
    return Case(name, message, ("MODEL.VIT.PRETRAINED", source), given, leaves=STARTED)


CHECKPOINT_CASES = [
    Case(
        "evaluation without weights",
        "MODEL.WEIGHTS is empty: there are no weights to evaluate; name a checkpoint",
        ("--eval-only",),
    ),
    weights("no file", "MODEL.WEIGHTS: HOME/model.pth does not exist", lambda world: None, leaves=()),
    weights(
        "a folder",
        "MODEL.WEIGHTS: HOME/model.pth is a folder, not a file",
        lambda world: (world.home / "model.pth").mkdir(),
        leaves=(),
    ),
    weights(
        "no byte",
        "MODEL.WEIGHTS: HOME/model.pth is empty (0 bytes)",
        lambda world: (world.home / "model.pth").touch(),
        leaves=(),
    ),
    weights(
        "a text",
        f"HOME/model.pth is corrupt or truncated (5 bytes; KeyError: 101). {FETCH}",
        lambda world: (world.home / "model.pth").write_text("hello"),
    ),
    weights(
        "half a safetensors file",
        "HOME/model.safetensors is corrupt or truncated (3 bytes; SafetensorError: Error while deserializing header: "
        f"header too small). {FETCH}",
        lambda world: (world.home / "model.safetensors").write_bytes(b"abc"),
        file="model.safetensors",
    ),
    weights("a list", "HOME/model.pth holds a list, not a dict of tensors", stored([1])),
    weights(
        "no model",
        f"HOME/model.pth is no checkpoint of this project: where tensors should be, it has ['lr']. {NOT_OURS}",
        stored({"lr": 1}),
    ),
    weights(
        "an empty model",
        f"HOME/model.pth is no checkpoint of this project: where tensors should be, it has nothing. {NOT_OURS}",
        stored({"model": {}}),
    ),
    weights(
        "other classes",
        "HOME/model.pth does not fit the model: NUM_CLASSES 4 in the file, 3 in the config\n"
        "  80 of 83 tensors of the model matched (96.4%)\n"
        "  missing in the weights: none\n"
        "  of another shape: 3 (sem_seg_head.decoder.class_queries.weight (4, 16) in the weights, (3, 16) in the "
        "model, sem_seg_head.decoder.class_embed.weight (5, 16) in the weights, (4, 16) in the model, "
        "sem_seg_head.decoder.class_embed.bias (5,) in the weights, (4,) in the model)\n"
        "  unexpected in the weights: none",
        of_other_classes,
    ),
    weights(
        "of an encoder alone",
        "HOME/model.pth fits no tensor of the model (encoders alone: MODEL.VIT.PRETRAINED)",
        stored({"model": {"blocks.0.norm1.weight": torch.zeros(24)}}),
    ),
    weights("code", f"HOME/model.pth contains code (posix.system), {CODE}", stored({"model": Code()})),
    weights("code in a plain pickle", f"HOME/model.pth contains code, {CODE}", pickled("model.pth")),
    weights("code in a .pkl", f"HOME/model.pkl contains code, {CODE}", pickled("model.pkl"), file="model.pkl"),
    weights("code in a .pyth", f"HOME/model.pyth contains code, {CODE}", pickled("model.pyth"), file="model.pyth"),
    encoder(
        "an encoder's file that is not there",
        "MODEL.VIT.PRETRAINED 'HOME/model.pth' does not exist (current folder: HOME)",
        lambda world: None,
        "HOME/model.pth",
    ),
    encoder(
        "an unknown tag",
        "MODEL.VIT.PRETRAINED 'laion' is neither a file nor a tag that timm knows; tags of vit_tiny_patch16_224 are "
        "augreg_in21k, augreg_in21k_ft_in1k",
        lambda world: None,
        "laion",
    ),
    encoder("an array of objects", f"HOME/model.npz contains code, {CODE}", object_array, "HOME/model.npz"),
    encoder("an encoder as code", f"HOME/model.pkl contains code, {CODE}", pickled("model.pkl"), "HOME/model.pkl"),
]

# Of these messages a part may change: what torch says, and what else resuming has tried.
LIBRARY_CASES = [
    weights("half a checkpoint", f"HOME/model.pth is corrupt or truncated (…). {FETCH}", both(checkpoint(), halved())),
    Case(
        "another architecture",
        "HOME/model.pth does not fit the model: 53 of 83 tensors of the model matched (63.9%)…",
        EVALUATION,
        checkpoint("MODEL.VIT.EMBED_DIM", "48"),
        leaves=STARTED,
    ),
    Case(
        "resuming from a checkpoint that is gone",
        "…HOME/output/model_0.pth does not exist…",
        ("--resume",),
        last_checkpoint("model_0.pth"),
        leaves=RESUMED,
    ),
    Case(
        "resuming from code",
        f"…HOME/output/../model.pkl contains code, {CODE}…",
        ("--resume",),
        both(last_checkpoint("../model.pkl"), pickled("model.pkl")),
        leaves=RESUMED,
    ),
]
