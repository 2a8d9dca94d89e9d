"""`from_official` and `to_official`: checkpoints of the official SegViT v1 release as ours and back, bit by bit.

Our checkpoints are what Detectron2's checkpointer reads: {"model": state dict of the meta-architecture}. What only
official files have, the buffers of the loss and the entries beside the weights, is kept under "official".

Shape shorthand: K classes, C encoder width, D decoder width, P patch size, N patches of the training crop.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from segvit.errors import UserError, listed
from segvit.modeling.weights.official_names import (
    NOT_A_WEIGHT,
    decoder_name,
    encoder_name,
    official_decoder_name,
    official_encoder_name,
)

StateDict = dict[str, torch.Tensor]

# Prefixes of the encoder's and the decoder's tensors: ours, then the official ones.
ENCODER = "backbone.encoder."
DECODER = "sem_seg_head.decoder."
OFFICIAL_ENCODER = "backbone."
OFFICIAL_DECODER = "decode_head."
LOSS_BUFFER = "loss_decode.criterion.empty_weight"
# A tensor of an encoder block: the block's number, and the tensor's name in it.
BLOCK = re.compile(r"backbone\.encoder\.blocks\.(\d+)\.(.+)")
# Weight of "no object" in the official loss, the last element of its buffer.
NO_OBJECT_WEIGHT = 0.1


@dataclass(frozen=True)
class CheckpointSizes:
    """Sizes of a model, read from the shapes of its tensors; 0 for a missing part.

    Attributes:
        parameters: number of parameters.
        head: "ATM", or "Shrunk" with query upsampling.
        classes: K.
        width: C.
        depth: number of encoder blocks.
        stages: number of stages that the decoder reads.
        decoder_width: D.
        decoder_layers: number of layers per stage.
        patch: P.
        positions: N = (crop / P) squared, without the class token.
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
        """The sizes in one line."""
        side = math.isqrt(self.positions)
        crop = f"{side} x {side} (crop {side * self.patch})" if side**2 == self.positions else f"{self.positions}"
        return (
            f"{self.head} head, {self.parameters:,} parameters, {self.classes} classes; encoder width {self.width}, "
            f"{self.depth} blocks, grid {crop}; decoder width {self.decoder_width}, {self.stages} stages of "
            f"{self.decoder_layers} layers"
        )


def from_official(content: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the content of an official file, a state dict or {"state_dict": ..., other entries}, to our checkpoint.

    Raises:
        UserError: the file has keys that the official release lacks, or no complete model.
    """
    weights, others = _unwrap(content)
    shrunk = any(name.startswith(f"{OFFICIAL_DECODER}atm.") for name in weights)
    buffers = {name: tensor for name, tensor in weights.items() if NOT_A_WEIGHT.search(name)}
    parameters = {name: tensor for name, tensor in weights.items() if name not in buffers}
    model, unknown = _rename(parameters, partial(_our_name, shrunk=shrunk))
    unknown += [name for name in buffers if name not in _loss_buffer_names(shrunk)]
    if unknown:
        raise UserError(f"keys that no official SegViT v1 checkpoint has: {', '.join(sorted(unknown))}")
    _require_model(model)
    return {"model": model, "official": {"buffers": buffers, "beside": others}}


def to_official(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Convert our checkpoint to the official form, {"state_dict": ..., other entries of the official file}.

    Entries of Detectron2 beside the model, such as the optimizer, have no official form and are left out.

    Raises:
        UserError: the model has tensors that the official release lacks, or there is no complete model.
    """
    model = checkpoint.get("model")
    if not isinstance(model, dict):
        raise UserError(f"no 'model' in the checkpoint, which holds {sorted(map(str, checkpoint))}")
    _require_tensors(model)
    shrunk = _is_shrunk(model)
    weights, unknown = _rename(model, partial(_official_name, shrunk=shrunk))
    if unknown:
        raise UserError(f"tensors that the official SegViT v1 release has no place for: {', '.join(sorted(unknown))}")
    _require_model(model)
    official = checkpoint.get("official", {})
    buffers = official.get("buffers", _loss_buffers(sizes_of(model).classes, shrunk=shrunk))
    return {**official.get("beside", {}), "state_dict": {**weights, **buffers}}


def sizes_of(model: StateDict) -> CheckpointSizes:
    """Sizes of a model from its state dict with our names; the tensors may be on the meta device."""

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
    """Check that a checkpoint has exactly the tensors of a config's model; both state dicts have our names.

    Raises:
        UserError: with the sizes of both, or with the shapes of the tensors that differ.
    """
    checkpoint_sizes = asdict(sizes_of(checkpoint))
    config_sizes = asdict(sizes_of(config))
    differences = [
        f"{name.replace('_', ' ')}: {value} in the checkpoint, {config_sizes[name]} in the config"
        for name, value in checkpoint_sizes.items()
        if value != config_sizes[name] and name != "parameters"
    ]
    if not differences:
        differences = [
            f"{name}: {_shape(checkpoint, name)} in the checkpoint, {_shape(config, name)} in the config"
            for name in sorted({*checkpoint, *config})
            if _shape(checkpoint, name) != _shape(config, name)
        ]
    if differences:
        raise UserError("the checkpoint does not fit the config:\n  " + "\n  ".join(differences))


def _unwrap(content: Mapping[str, Any]) -> tuple[StateDict, dict[str, Any]]:
    """The official weights without "module.", and the other entries of the file."""
    weights, others = dict(content), {}
    if isinstance(content.get("state_dict"), dict):
        weights = content["state_dict"]
        others = {name: value for name, value in content.items() if name != "state_dict"}
    _require_tensors(weights)
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return weights, others


def _require_tensors(weights: dict[str, Any]) -> None:
    others = [str(name) for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise UserError(f"not a state dict: these entries are not tensors: {', '.join(others[:20])}")


def _require_model(model: StateDict) -> None:
    for name, dimensions in ((f"{ENCODER}embedding.patch_embed.proj.weight", 4), (f"{DECODER}class_queries.weight", 2)):
        if name not in model:
            raise UserError(f"not a complete SegViT model: {name} is missing")
        if model[name].ndim != dimensions:
            raise UserError(f"not a SegViT model: {name} has the shape {tuple(model[name].shape)}")
    if integers := [name for name, tensor in model.items() if not tensor.is_floating_point()]:
        raise UserError(f"not a SegViT model: tensors of integers: {listed(integers)}")
    # Every block of the encoder has the tensors of every other.
    found = [match.groups() for name in model if (match := BLOCK.match(name))]
    blocks, names = range(max((int(index) + 1 for index, _ in found), default=0)), {name for _, name in found}
    missing = sorted({f"{ENCODER}blocks.{index}.{name}" for index in blocks for name in names} - model.keys())
    if missing:
        raise UserError(f"not a complete SegViT model: missing are {listed(missing)}")


def _rename(tensors: StateDict, new_name: Callable[[str], str]) -> tuple[StateDict, list[str]]:
    """The tensors under their new names, and the names for which `new_name` raises KeyError."""
    renamed: StateDict = {}
    unknown = []
    for name, tensor in tensors.items():
        try:
            renamed[new_name(name)] = tensor
        except KeyError:
            unknown.append(name)
    return renamed, unknown


def _our_name(name: str, *, shrunk: bool) -> str:
    if name.startswith(OFFICIAL_ENCODER):
        return ENCODER + encoder_name(name.removeprefix(OFFICIAL_ENCODER))
    if name.startswith(OFFICIAL_DECODER):
        return DECODER + decoder_name(name.removeprefix(OFFICIAL_DECODER), shrunk=shrunk)
    raise KeyError(name)


def _official_name(name: str, *, shrunk: bool) -> str:
    if name.startswith(ENCODER):
        return OFFICIAL_ENCODER + official_encoder_name(name.removeprefix(ENCODER))
    if name.startswith(DECODER):
        return OFFICIAL_DECODER + official_decoder_name(name.removeprefix(DECODER), shrunk=shrunk)
    raise KeyError(name)


def _is_shrunk(model: StateDict) -> bool:
    return f"{DECODER}upsampling.queries.weight" in model


def _loss_buffer_names(shrunk: bool) -> list[str]:
    names = [f"{OFFICIAL_DECODER}{LOSS_BUFFER}"]
    return [*names, f"{OFFICIAL_DECODER}atm.{LOSS_BUFFER}"] if shrunk else names


def _loss_buffers(num_classes: int, *, shrunk: bool) -> StateDict:
    weight = torch.ones(num_classes + 1)
    weight[-1] = NO_OBJECT_WEIGHT
    return {name: weight.clone() for name in _loss_buffer_names(shrunk)}


def _count(model: StateDict, prefix: str) -> int:
    """How many different numbers follow the prefix."""
    return len({match[1] for name in model if (match := re.match(re.escape(prefix) + r"(\d+)\.", name))})


def _shape(state: StateDict, name: str) -> str:
    return str(tuple(state[name].shape)) if name in state else "missing"
