"""Counts launches and waits of every inference mode of every kind of model, in small size, on the null device.

    python tests/null_cuda/null_device.py tests/null_cuda/inference_modes.py [KIND | --write]

prints them as JSON by kind and mode; of one kind, by line; or writes them into inference_counts.json.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from count_tables import write_table
from gpu.kinds import KINDS, small_config
from null_gpu import Count, Values
from segvit.assembly.model_types import ModelInput
from segvit.d2 import SegViT, SemanticSegmentorWithTTA
from segvit.modeling.postprocessing.sliding_window import SlidingWindow

TABLE = Path(__file__).with_name("inference_counts.json")
# A mode of inference of the first image, or of the batch, to results that the host reads.
Mode = Callable[[SegViT, list[ModelInput]], list[torch.Tensor]]


def small_model(kind: str) -> SegViT:
    """A model of a kind, in eval mode on the null device."""
    torch.manual_seed(0)
    cfg = small_config(kind)
    cfg.defrost()
    cfg.MODEL.DEVICE = "cuda"
    return SegViT(cfg, label_dtype=torch.uint8).to("cuda").eval()


def whole(
    model: SegViT, batch: list[ModelInput], *, count: int, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    """Whole images, under TEST.PRECISION."""
    model.inference_dtype = dtype
    return results(model(batch[:count]))


def by_windows(model: SegViT, batch: list[ModelInput], *, on_cpu: bool) -> list[torch.Tensor]:
    """Windows of 128 pixels, four at a time."""
    model.windows = SlidingWindow(size=(128, 128), stride=(85, 85), batch_size=4, accumulate_on_cpu=on_cpu)
    return results(model(batch[:1]))


def by_views(model: SegViT, batch: list[ModelInput]) -> list[torch.Tensor]:
    """Two scales, each mirrored: TEST.AUG."""
    return results(SemanticSegmentorWithTTA(model, min_sizes=[112, 150], max_size=400, flip=True)(batch[:1]))


def autocast_around(model: SegViT, batch: list[ModelInput], *, dtype: torch.dtype) -> list[torch.Tensor]:
    """Under an autocast of the caller."""
    with torch.autocast("cuda", dtype=dtype):
        return results(model(batch[:1]))


def results(outputs: list[Any]) -> list[torch.Tensor]:
    return [value.cpu() for output in outputs for value in output.values()]


RESULTS = ("scores", "labels")
# The host reads every result.
MODES: dict[str, Mode] = {
    "one image": partial(whole, count=1),
    "batch of 2": partial(whole, count=2),
    "bfloat16": partial(whole, count=1, dtype=torch.bfloat16),
    "float16": partial(whole, count=1, dtype=torch.float16),
    "autocast bfloat16": partial(autocast_around, dtype=torch.bfloat16),
    "autocast float16": partial(autocast_around, dtype=torch.float16),
    "windows": partial(by_windows, on_cpu=False),
    "windows summed on the CPU": partial(by_windows, on_cpu=True),
    "views": by_views,
}


@torch.inference_mode()
def count_mode(model: SegViT, mode: str, *, labels: bool, warm: bool, by_line: bool = False) -> Count:
    """What a call asks of the device, after a first one in this mode unless the model is `warm`."""
    model.windows, model.inference_dtype, model.labels_only = None, torch.float32, labels
    pixels = torch.zeros(3, 150, 170, dtype=torch.uint8)
    batch: list[ModelInput] = [{"image": pixels, "height": 190, "width": 230} for _ in range(2)]
    # The reads are numbers of kept tokens of Shrunk++.
    with Values(integers=40):
        if not warm:
            MODES[mode](model, batch)
        with Count(by_line=by_line) as count:
            MODES[mode](model, batch)
    return count


def count_kind(kind: str, *, by_line: bool = False) -> dict[str, Count]:
    """The counts of a kind by "kind, mode, result"."""
    model = small_model(kind)
    return {
        f"{kind}, {mode}, {result}": count_mode(
            model, mode, labels=result == "labels", warm=result != RESULTS[0], by_line=by_line
        )
        for mode in MODES
        for result in RESULTS
    }


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        argument = sys.argv[1] if len(sys.argv) > 1 else ""
        if argument in KINDS:
            text = "\n".join(count.report(case) for case, count in count_kind(argument, by_line=True).items())
        else:
            counts: dict[str, dict[str, Any]] = {}
            for kind in KINDS:
                counts |= {case: count.as_dict() for case, count in count_kind(kind).items()}
            text = json.dumps(counts)
            if argument == "--write":
                write_table(TABLE, counts)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
