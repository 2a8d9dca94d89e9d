"""`model_card`: README.md of a model folder, with the fields that model hubs read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segvit.classes.class_list import ClassList

# Metrics in the table of the card; all others are in metrics.json.
SHOWN = ("mIoU", "mACC", "pACC")
# The end of the name of the metric that counts new classes on pixels of classes that the model does not have.
ALL_LABELS = "_all_labels"

# The name of the model in the lines of Python.
LOADING = re.compile(r'(segvit\.from_pretrained\()"[^"]*"')

TEMPLATE = """---
library_name: segvit
pipeline_tag: image-segmentation
license: other
license_name: to-be-stated
tags:
- semantic-segmentation
- segvit
---

# {name}

Semantic segmentation of {num_classes} classes with SegViT (encoder `{encoder}`).

```python
import segvit
result = segvit.from_pretrained("{name}").predict("image.jpg")  # .labels, .scores, .confidence, .overlay()
```

{training}

## Metrics

{metrics}

## Classes

{classes}

## Licences

| | |
|---|---|
| code | Apache-2.0 |
| weights | to be stated by whoever publishes them |
{data}| pre-trained encoder | {pretrained} |
"""


@dataclass(frozen=True)
class TrainingRecord:
    """How a model came about, as far as it is known.

    Attributes:
        iterations: that were trained; None if unknown.
        command: without folders of a machine; "" if unknown.
        in_python: trained in a program, not by a config: its data, seed and iterations are not those of the config.
        further: after a training that has its own card.
    """

    iterations: int | None = None
    command: str = ""
    in_python: bool = False
    further: bool = False


def model_card(
    *,
    name: str,
    values: Mapping[str, Any],
    classes: ClassList,
    metrics: Mapping[str, float],
    record: TrainingRecord,
    later: Sequence[str] = (),
) -> str:
    """The text of the card.

    Args:
        name: of the model.
        values: its config, by dotted key.
        classes: names and colours.
        metrics: by name, in percent.
        record: how it was trained.
        later: the classes that later steps of continual segmentation learn.
    """
    learnt = [name for name in classes.names if name not in later]
    rows = [f"| {label} | {value:.2f} |" for label, value in shown_metrics(metrics, classes).items()]
    pretrained = values["MODEL.VIT.PRETRAINED"]
    facts = {} if record.in_python else training_facts(values, metrics, record)
    if record.in_python:
        facts["trained further" if record.further else "trained"] = "in Python"
    data = facts.get("trained on")
    return TEMPLATE.format(
        name=name,
        num_classes=len(learnt),
        encoder=values["MODEL.VIT.NAME"],
        training="\n".join(["| | |", "|---|---|", *(f"| {fact} | {value} |" for fact, value in facts.items())]),
        data=f"| data | that of {data} |\n" if data else "",
        metrics="\n".join(["| metric | % |", "|---|---|", *rows]) if rows else "These weights were not evaluated.",
        classes=", ".join(learnt) + (f"\n\nNot learnt yet, and never predicted: {', '.join(later)}" if later else ""),
        pretrained=f"that of timm's {values['MODEL.VIT.NAME']}, tag {pretrained}" if pretrained else "none known",
    )


def shown_metrics(metrics: Mapping[str, float], classes: ClassList) -> dict[str, float]:
    """The metrics of the card by their labels, which say so if they are of a part of the classes alone."""
    measured = sum(f"IoU-{name}" in metrics for name in classes.names)
    part = "" if measured in (0, len(classes.names)) else f", {measured} of {len(classes.names)} classes"
    shown = {f"{metric}{part}": metrics[metric] for metric in SHOWN if metric in metrics}
    of_newest = next((value for name, value in metrics.items() if name.endswith(ALL_LABELS)), None)
    return shown if of_newest is None else {**shown, "mIoU of the newest classes, all labels": of_newest}


def training_facts(values: Mapping[str, Any], metrics: Mapping[str, float], record: TrainingRecord) -> dict[str, str]:
    """What is known of a training: a row of the card each."""
    facts = {
        "trained on": ", ".join(values.get("DATASETS.TRAIN", ())),
        "evaluated on": ", ".join(values.get("DATASETS.TEST", ())) if metrics else "",
        "iterations": "" if record.iterations is None else str(record.iterations),
        "seed": str(values.get("SEED", "")),
        "command": f"`{record.command}`" if record.command else "",
    }
    return {fact: value for fact, value in facts.items() if value}


def with_name(card: str, name: str) -> str:
    """A card whose lines of Python load the model by another name."""
    return LOADING.sub(lambda found: f'{found[1]}"{name}"', card)
