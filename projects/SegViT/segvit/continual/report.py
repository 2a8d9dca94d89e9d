"""The report of continual segmentation: accuracy and forgetting per step, as a table, JSON and a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from segvit.continual.step_result import StepResult
from segvit.output_files import atomic_write_text
from segvit.visualization.curves import draw_continual_curves

# Method -> results of its steps, in order.
Results = Mapping[str, Sequence[StepResult]]


def write_report(results: Results, folder: Path, *, title: str) -> str:
    """Write report.{json,txt,png} into the folder and return its text.

    Args:
        results: method -> results of its steps.
        folder: the folder to write into.
        title: the first line of the text: dataset, protocol and seed.
    """
    text = "\n\n".join([title, steps_table(results), *_confusion_tables(results)]) + "\n"
    content = {
        "title": title,
        "steps": {method: [asdict(step) for step in steps] for method, steps in results.items()},
        "forgetting": {method: forgetting(steps) for method, steps in results.items()},
        "share_of_joint": shares_of_joint(results),
    }
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_text(folder / "report.json", json.dumps(content, indent=2) + "\n")
    atomic_write_text(folder / "report.txt", text)
    draw_continual_curves(results, folder / "report.png")
    return text


def steps_table(results: Results) -> str:
    """One row per method and step: mIoU of base, new and all classes and of each group, forgetting, and AUROC.

    The AUROC is that of confidence and best score between pixels of learnt classes and of those of later steps. Where
    the ground truth has classes that the model does not have, "new, all labels" is the mIoU of the newest group on
    their pixels, too.
    """
    num_groups = max(len(steps[-1].groups) for steps in results.values())
    has_all_labels = any(_all_labels(step) is not None for steps in results.values() for step in steps)
    header = ["method", "step", "all", "base", "new", *(["new, all labels"] if has_all_labels else [])]
    header += [f"group {index}" for index in range(num_groups)]
    header += ["base alone", "forgotten", "all / joint", "AUROC confidence", "AUROC score"]
    shares = shares_of_joint(results)
    rows = []
    for method, steps in results.items():
        lost = forgetting(steps)
        for position, step in enumerate(steps):
            is_last = position == len(steps) - 1
            figures = [step.metrics.get(f"mIoU_{name}") for name in ("all", "base", "new")]
            figures += [_all_labels(step)] if has_all_labels else []
            figures += [step.metrics.get(f"mIoU_group{index}") for index in range(num_groups)]
            row = [method, step.step, *map(_format, figures), _format(step.metrics.get("mIoU_group0_alone"))]
            # Joint training has no step before, of which it could forget anything.
            row.append(_format(None if method == "joint" else lost[position].get("group0_alone"), digits=3))
            row.append(_format(shares.get(method) if is_last else None, digits=3))
            row += [_format(step.metrics.get(f"AUROC_{name}")) for name in ("confidence", "score")]
            rows.append(row)
    return tabulate(rows, header, "simple", disable_numparse=True, colalign=["left", *["right"] * (len(header) - 1)])


def _all_labels(step: StepResult) -> float | None:
    return step.metrics.get(f"mIoU_group{len(step.groups) - 1}_all_labels")


def forgetting(steps: Sequence[StepResult]) -> list[dict[str, float]]:
    """For each step, by group, the mIoU lost since the step that trained the group (negative if it improved).

    "group<i>" is measured among all classes, where newer classes can win pixels of older ones; "group<i>_alone" among
    the classes of the group.
    """
    lost: list[dict[str, float]] = []
    first: dict[str, float] = {}
    for step in steps:
        current = {
            name.removeprefix("mIoU_"): value
            for name, value in step.metrics.items()
            if name.startswith("mIoU_group") and value is not None
        }
        first = {**current, **first}
        lost.append({name: first[name] - value for name, value in current.items()})
    return lost


def shares_of_joint(results: Results) -> dict[str, float]:
    """By method, the mIoU after the last step divided by that of joint training; empty without the latter."""
    joint = results["joint"][-1].metrics["mIoU_all"] if "joint" in results else None
    if not joint:
        return {}
    return {method: (steps[-1].metrics["mIoU_all"] or 0.0) / joint for method, steps in results.items()}


def _confusion_tables(results: Results) -> list[str]:
    """For the last model of each method: the percentage of each group's pixels predicted as each group."""
    tables = []
    for method, steps in results.items():
        if len(steps[-1].groups) < 2:
            continue
        names = [f"group {index}" for index in range(len(steps[-1].groups))]
        rows = [
            [name, *(_format(percent if any(row) else None) for percent in row)]  # no pixel, no percentage
            for name, row in zip(names, steps[-1].confusion, strict=True)
        ]
        title = f"{method}: pixels of each group (row) predicted as each group (column), in percent"
        tables.append(f"{title}\n\n{tabulate(rows, ['', *names], 'simple', disable_numparse=True)}")
    return tables


def _format(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
