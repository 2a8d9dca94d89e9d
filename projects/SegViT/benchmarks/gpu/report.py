"""The figures of all parts as JSON and as Markdown tables."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import timm
import torch

from gpu.checks import Values
from segvit.output_files import atomic_write_text

Results = dict[str, dict[str, Values]]

# Part: heading, and the columns of its table as (heading, key of the figures).
TABLES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "agreement": (
        "Against the CPU, float32 without TF32, small models",
        [
            ("losses", "loss_error"),
            ("gradients", "gradient_error"),
            ("scores", "score_error"),
            ("windows", "window_score_error"),
            ("equal labels", "labels_equal"),
            ("pruned", "pruned_labels_equal"),
            ("bfloat16 loss", "bfloat16_loss"),
            ("float16 loss", "float16_loss"),
        ],
    ),
    "processes": (
        "Training runs on the toy scenes",
        [
            ("mIoU", "mIoU"),
            ("iterations", "iterations"),
            ("two unbroken runs", "difference_of_two_unbroken_runs"),
            ("resumed run", "difference_of_the_resumed_run"),
            ("stopped at", "stopped_at"),
        ],
    ),
    "training": (
        "Training steps, batch 2, 150 classes: milliseconds (GiB)",
        [
            ("float32", "float32_ms float32_gib"),
            ("TF32", "tf32_ms tf32_gib"),
            ("bfloat16", "bfloat16_ms bfloat16_gib"),
        ],
    ),
    "inference": (
        "Inference to 150 score maps: images/s at batch 1 / 16",
        [
            ("float32", "float32_1 float32_16"),
            ("TF32", "tf32_1 tf32_16"),
            ("bfloat16", "bfloat16_1 bfloat16_16"),
            ("scores; and argmax; labels, ms", "scores_ms argmax_of_scores_ms labels_ms"),
        ],
    ),
    "profile": (
        "A step of the trainer, bfloat16",
        [
            ("ms", "step_ms"),
            ("kernels and copies", "kernels_and_copies"),
            ("GPU busy, ms", "busy_ms"),
            ("share", "busy_share"),
            ("host waits", "waits"),
        ],
    ),
    "compiled": (
        "torch.compile, bfloat16",
        [
            ("training step, ms (GiB)", "bfloat16_ms bfloat16_gib"),
            ("images/s", "bfloat16_1"),
            ("compiling, s", "compiling_s"),
        ],
    ),
}


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
        "driver": _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}",
        "timm": timm.__version__,
        "python": platform.python_version(),
        "commit": _output(["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]),
    }


def write_report(folder: Path, header: Mapping[str, str], results: Results) -> None:
    """Write gpu_proof.json and gpu_proof.md."""
    content = json.dumps({**header, "parts": results}, indent=1)
    atomic_write_text(folder / "gpu_proof.json", content + "\n")
    atomic_write_text(folder / "gpu_proof.md", markdown(header, results))


def markdown(header: Mapping[str, str], results: Results) -> str:
    """A line about the machine, a table for each part, and the failures."""
    lines = [", ".join(f"{name} {value}" for name, value in header.items()), ""]
    for part, checks in results.items():
        heading, columns = TABLES[part]
        lines += [f"| {heading} | {' | '.join(title for title, _ in columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name, values in checks.items():
            lines.append(f"| {name} | {' | '.join(_cell(values, keys) for _, keys in columns)} |")
        lines.append("")
    for part, checks in results.items():
        for name, values in checks.items():
            if not values["ok"]:
                reason = values.get("error") or values.get("skipped") or "not within the tolerance"
                lines.append(f"- {part}, {name}: {reason}")
    return "\n".join(lines).rstrip() + "\n"


def _cell(values: Values, keys: str) -> str:
    """The figures with slashes between, or GiB in brackets."""
    texts = [_figure(values[key]) for key in keys.split() if key in values]
    if keys.endswith("_gib") and len(texts) > 1:
        return f"{texts[0]} ({texts[1]})"
    return " / ".join(texts)


def _figure(value: object) -> str:
    if isinstance(value, float):
        if 0 < abs(value) < 1e-3:
            return f"{value:.0e}"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def _output(command: list[str]) -> str:
    """The first line that a command prints, or "unknown"."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip().split("\n")[0] or "unknown"
