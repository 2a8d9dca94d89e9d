"""Where pre-trained weights come from: a local file, or a tag of timm's on the hub."""

from __future__ import annotations

import os
from pathlib import Path

import timm
import torch

from segvit.errors import UserError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".npz", ".pkl", ".ckpt", ".tar")
HUB_FILE = "model.safetensors"


def local_path(source: str) -> Path | None:
    """The file that `source` names; None where it reads like a tag.

    Raises:
        FileNotFoundError: where it reads like a path, by a separator or a known suffix, and there is no such file.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if "/" in source or os.sep in source or path.suffix in SUFFIXES:
        reason = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"MODEL.VIT.PRETRAINED: {path} {reason} (seen from {Path.cwd()})")
    return None


def hub_weights(name: str, source: str) -> tuple[dict[str, torch.Tensor], str]:
    """The weights that timm lists for the model `name` under the tag `source`, and where they came from.

    Raises:
        UserError: where timm knows no such tag.
        OSError: where the hub cannot be reached and its cache does not hold the file.
    """
    architecture, _ = timm.models.split_model_name_tag(name)
    model = f"{architecture}.{source.removeprefix(f'{architecture}.')}"
    known = timm.list_pretrained(architecture)
    if model not in known:
        tags = ", ".join(tagged.removeprefix(f"{architecture}.") for tagged in known)
        offer = f"tags of {architecture} are {tags}" if tags else f"timm lists none for {architecture}"
        raise UserError(f"MODEL.VIT.PRETRAINED {source!r} is neither a file nor a tag that timm knows; {offer}")
    listed = timm.get_pretrained_cfg(model)
    if not listed.hf_hub_id:
        raise OSError(
            f"MODEL.VIT.PRETRAINED {source!r} is not on the hub: fetch {listed.url} and set "
            "MODEL.VIT.PRETRAINED to the path of the file"
        )
    try:
        weights = timm.models.load_state_dict_from_hf(listed.hf_hub_id, weights_only=True)
    except Exception as error:  # the hub's client fails in many ways without a connection
        raise OSError(_offline_message(source, listed.hf_hub_id, error)) from error
    return weights, f"https://huggingface.co/{listed.hf_hub_id}"


def _offline_message(source: str, repository: str, error: Exception) -> str:
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()
    folder = cache / f"models--{repository.replace('/', '--')}"
    reason = str(error).partition("\n")[0]
    return (
        f"MODEL.VIT.PRETRAINED {source!r}: {HUB_FILE} of the hub repository {repository} could be neither found in the "
        f"cache nor fetched ({type(error).__name__}: {reason}). On a machine with a connection, fetch "
        f"https://huggingface.co/{repository}/resolve/main/{HUB_FILE} and set MODEL.VIT.PRETRAINED=/path/to/{HUB_FILE} "
        f"here; or run `hf download {repository}` there and copy the folder that it fills to {folder}"
    )
