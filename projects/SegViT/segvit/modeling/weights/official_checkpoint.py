"""Checkpoints of the official SegViT v1 release as ours, and back, bit by bit.

A checkpoint of ours is what Detectron2's checkpointer reads: {"model": the state dict of the meta-architecture}. What
only the official one has, the buffers of its loss and the entries beside its weights, is kept under "official".

Shape shorthand: K classes, C encoder width, D decoder width, P patch size, N positions of the training grid.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from segvit.errors import UserError
from segvit.modeling.weights.official_names import (
    NOT_A_WEIGHT,
    decoder_name,
    encoder_name,
    official_decoder_name,
    official_encoder_name,
)

StateDict = dict[str, torch.Tensor]

# The parts in our names, and in theirs.
ENCODER, DECODER = "backbone.encoder.", "sem_seg_head.decoder."
BACKBONE, DECODE_HEAD = "backbone.", "decode_head."
LOSS_BUFFER = "loss_decode.criterion.empty_weight"
# Weight of "no object" in the official release, the last element of the buffers of its loss.
NO_OBJECT_WEIGHT = 0.1


@dataclass(frozen=True)
class CheckpointSizes:
    """What the tensors of a model say about it; 0 where it lacks the part.

    Attributes:
        parameters: their number.
        head: "ATM", or "Shrunk" with query up-sampling.
        classes: K.
        width: C.
        depth: blocks of the encoder.
        stages: that the decoder reads.
        decoder_width: D.
        decoder_layers: of a stage.
        patch: P.
        positions: N, without the class token's: (crop / P) squared.
    """

    parameters: int
    head: str
    classes: int
    width: int
    depth: int
    stages: int
    decoder_width: int
    decoder_layers: int
    patch: int
    positions: int

    def describe(self) -> str:
        """One line to print."""
        side = math.isqrt(self.positions)
        crop = f"{side} x {side} (crop {side * self.patch})" if side**2 == self.positions else f"{self.positions}"
        return (
            f"{self.head} head, {self.parameters:,} parameters, {self.classes} classes; encoder width {self.width}, "
            f"{self.depth} blocks, grid {crop}; decoder width {self.decoder_width}, {self.stages} stages of "
            f"{self.decoder_layers} layers"
        )


def from_official(content: dict[str, object]) -> dict[str, object]:
    """A checkpoint of ours from the content of an official file: a state dict, or one wrapped with its meta data.

    Raises:
        UserError: naming the keys that the official release does not have, or where there is no complete model.
    """
    weights, others = _unwrap(content)
    shrunk = any(name.startswith(f"{DECODE_HEAD}atm.") for name in weights)
    buffers = {name: tensor for name, tensor in weights.items() if NOT_A_WEIGHT.search(name)}
    expected = _loss_buffer_names(shrunk)
    unknown = [name for name in buffers if name not in expected]
    model = {}
    for name, tensor in weights.items():
        if name in buffers:
            continue
        try:
            model[_our_name(name, shrunk=shrunk)] = tensor
        except KeyError:
            unknown.append(name)
    if unknown:
        raise UserError(f"keys that no official SegViT v1 checkpoint has: {', '.join(sorted(unknown))}")
    _require_model(model)
    return {"model": model, "official": {"buffers": buffers, "beside": others}}


def to_official(checkpoint: dict[str, object]) -> dict[str, object]:
    """The official form of a checkpoint of ours: {"state_dict": ...} and what stood beside it.

    What Detectron2 saves beside the model, such as the optimizer, has no official form and is left out.

    Raises:
        UserError: naming the tensors that the official release has no place for, or where there is no model.
    """
    model = checkpoint.get("model")
    if not isinstance(model, dict):
        raise UserError(f"no 'model' in the checkpoint, which holds {sorted(map(str, checkpoint))}")
    _require_tensors(model)
    _require_model(model)
    shrunk = _is_shrunk(model)
    weights, unknown = {}, []
    for name, tensor in model.items():
        try:
            weights[_official_name(name, shrunk=shrunk)] = tensor
        except KeyError:
            unknown.append(name)
    if unknown:
        raise UserError(f"tensors that the official SegViT v1 release has no place for: {', '.join(sorted(unknown))}")
    kept = checkpoint.get("official", {})
    buffers = kept.get("buffers", _loss_buffers(sizes_of(model).classes, shrunk=shrunk))
    return {**kept.get("beside", {}), "state_dict": {**weights, **buffers}}


def sizes_of(model: StateDict) -> CheckpointSizes:
    """The sizes of a model from its state dict in our names; the tensors may be on the meta device."""

    def size(name: str, dim: int) -> int:
        return model[name].shape[dim] if name in model else 0

    upsampling = "upsampling." if _is_shrunk(model) else ""
    layers = f"{DECODER}layers." if upsampling else f"{DECODER}stages.0.layers."
    return CheckpointSizes(
        parameters=sum(tensor.numel() for tensor in model.values()),
        head="Shrunk" if upsampling else "ATM",
        classes=size(f"{DECODER}class_queries.weight", 0),
        width=size(f"{ENCODER}embedding.patch_embed.proj.weight", 0),
        depth=_count(model, f"{ENCODER}blocks."),
        stages=_count(model, f"{DECODER}{upsampling}stages."),
        decoder_width=size(f"{DECODER}class_queries.weight", 1),
        decoder_layers=_count(model, layers),
        patch=size(f"{ENCODER}embedding.patch_embed.proj.weight", 3),
        positions=max(size(f"{ENCODER}embedding.pos_embed", 1) - 1, 0),
    )


def require_fit(checkpoint: StateDict, config: StateDict) -> None:
    """Refuse a checkpoint that the config's model would not load tensor by tensor; both in our names.

    Raises:
        UserError: with the numbers of both sides.
    """
    theirs, ours = asdict(sizes_of(checkpoint)), asdict(sizes_of(config))
    wrong = [
        f"{name.replace('_', ' ')}: {value} in the checkpoint, {ours[name]} in the config"
        for name, value in theirs.items()
        if value != ours[name] and name != "parameters"
    ]
    if not wrong:
        wrong = [
            f"{name}: {_shape(checkpoint, name)} in the checkpoint, {_shape(config, name)} in the config"
            for name in sorted({*checkpoint, *config})
            if _shape(checkpoint, name) != _shape(config, name)
        ]
    if wrong:
        raise UserError("the checkpoint does not fit the config:\n  " + "\n  ".join(wrong))


def save_atomically(content: dict[str, object], path: str | Path, *, overwrite: bool = False) -> None:
    """Write a checkpoint under its name only once it is complete.

    Raises:
        FileExistsError: where there is such a file, without `overwrite`.
        FileNotFoundError: where there is no such folder.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        partial = Path(folder) / path.name
        torch.save(content, partial)
        os.replace(partial, path)


def _unwrap(content: dict[str, object]) -> tuple[StateDict, dict[str, object]]:
    """The official weights without "module.", and the entries beside them."""
    is_wrapped = isinstance(content.get("state_dict"), dict)
    weights = content["state_dict"] if is_wrapped else content
    others = {name: value for name, value in content.items() if name != "state_dict"} if is_wrapped else {}
    _require_tensors(weights)
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return weights, others


def _require_tensors(weights: dict[str, object]) -> None:
    others = [str(name) for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise UserError(f"no state dict: these entries are no tensors: {', '.join(others[:20])}")


def _require_model(model: StateDict) -> None:
    for name in (f"{ENCODER}embedding.patch_embed.proj.weight", f"{DECODER}class_queries.weight"):
        if name not in model:
            raise UserError(f"no whole SegViT model in it: {name} is missing")


def _our_name(official: str, *, shrunk: bool) -> str:
    if official.startswith(BACKBONE):
        return ENCODER + encoder_name(official.removeprefix(BACKBONE))
    if official.startswith(DECODE_HEAD):
        return DECODER + decoder_name(official.removeprefix(DECODE_HEAD), shrunk=shrunk)
    raise KeyError(official)


def _official_name(ours: str, *, shrunk: bool) -> str:
    if ours.startswith(ENCODER):
        return BACKBONE + official_encoder_name(ours.removeprefix(ENCODER))
    if ours.startswith(DECODER):
        return DECODE_HEAD + official_decoder_name(ours.removeprefix(DECODER), shrunk=shrunk)
    raise KeyError(ours)


def _is_shrunk(model: StateDict) -> bool:
    return f"{DECODER}upsampling.queries.weight" in model


def _loss_buffer_names(shrunk: bool) -> list[str]:
    names = [f"{DECODE_HEAD}{LOSS_BUFFER}"]
    return [*names, f"{DECODE_HEAD}atm.{LOSS_BUFFER}"] if shrunk else names


def _loss_buffers(num_classes: int, *, shrunk: bool) -> StateDict:
    weight = torch.ones(num_classes + 1)
    weight[-1] = NO_OBJECT_WEIGHT
    return {name: weight.clone() for name in _loss_buffer_names(shrunk)}


def _count(model: StateDict, prefix: str) -> int:
    """How many numbers follow the prefix."""
    return len({match[1] for name in model if (match := re.match(re.escape(prefix) + r"(\d+)\.", name))})


def _shape(state: StateDict, name: str) -> str:
    return str(tuple(state[name].shape)) if name in state else "missing"
