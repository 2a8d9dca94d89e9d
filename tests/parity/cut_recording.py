"""Cut `recording.npz` out of a large recording of the official release: its decoder, without the encoder.

    python tests/parity/cut_recording.py FOLDER/vit_tiny_atm.pt

The small file ships with the tests. It holds numbers and parameter names alone: the random weights of the official
decoder, the encoder maps that it was given, its outputs, its losses, and the norms of its gradients.
"""

import sys
from pathlib import Path

import numpy as np
import torch

PREFIX = "decode_head."
STEP = 8  # Full-size maps are kept at every eighth pixel.


def cut(recording):
    """Arrays by name; the weights are flattened one after the other, in the order of `names`."""
    norms = {name: norm for name, norm in recording["grad_norm"].items() if name.startswith(PREFIX)}
    train, losses = recording["train"], recording["losses"]
    tensors = {
        "weights": torch.cat([recording["state_dict"][name].flatten() for name in norms]),
        "grad_norms": torch.tensor(list(norms.values())),
        "stages": torch.stack(recording["backbone_outs"]),
        "labels": recording["label"].byte(),
        "eval_pred": recording["eval_pred"][..., ::STEP, ::STEP],
        "pred_logits": torch.stack([output["pred_logits"] for output in (*train["aux_outputs"], train)]),
        "aux_masks": torch.stack([output["pred_masks"] for output in train["aux_outputs"]]),
        "pred_masks": train["pred_masks"][..., ::STEP, ::STEP],
        "losses": torch.stack([value.reshape(()) for name, value in losses.items() if name.startswith("loss")]),
    }
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    arrays["names"] = np.array([name.removeprefix(PREFIX) for name in norms], dtype=bytes)
    arrays["loss_names"] = np.array([name for name in losses if name.startswith("loss")], dtype=bytes)
    return arrays


if __name__ == "__main__":
    fixture = torch.load(sys.argv[1], map_location="cpu", weights_only=True)
    np.savez_compressed(Path(__file__).with_name("recording.npz"), **cut(fixture))
