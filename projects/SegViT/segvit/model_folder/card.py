"""`model_card`: README.md of a model folder, with the fields that model hubs read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segvit.classes.class_list import ClassList

# Metrics in the table of the card; all others are in metrics.json.
SHOWN = ("mIoU", "mACC", "pACC")

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

| | |
|---|---|
| trained on | {train} |
| evaluated on | {test} |
| iterations | {iterations} |
| seed | {seed} |
| command | `{command}` |

## Metrics

{metrics}

## Classes

{classes}

## Licences

| | |
|---|---|
| code | Apache-2.0 |
| weights | to be stated by whoever publishes them |
| data | that of {train} |
| pre-trained encoder | {pretrained} |
"""


@dataclass(frozen=True)
class TrainingRecord:
    """How a model came about, as far as it is known.

    Attributes:
        iterations: that were trained; None if unknown.
        command: without folders of a machine; "" if unknown.
    """

    iterations: int | None = None
    command: str = ""


def model_card(
    *,
    name: str,
    values: Mapping[str, Any],
    classes: ClassList,
    metrics: Mapping[str, float],
    record: TrainingRecord,
) -> str:
    """The text of the card.

    Args:
        name: of the model.
        values: its config, by dotted key.
        classes: names and colours.
        metrics: by name, in percent.
        record: how it was trained.
    """
    rows = [f"| {metric} | {metrics[metric]:.2f} |" for metric in SHOWN if metric in metrics]
    pretrained = values["MODEL.VIT.PRETRAINED"]
    return TEMPLATE.format(
        name=name,
        num_classes=len(classes.names),
        encoder=values["MODEL.VIT.NAME"],
        train=", ".join(values.get("DATASETS.TRAIN", ())) or "unknown",
        test=", ".join(values.get("DATASETS.TEST", ())) or "not evaluated",
        iterations="unknown" if record.iterations is None else record.iterations,
        seed=values.get("SEED", "unknown"),
        command=record.command or "unknown",
        metrics="\n".join(["| metric | % |", "|---|---|", *rows]) if rows else "These weights were not evaluated.",
        classes=", ".join(classes.names),
        pretrained=f"that of timm's {values['MODEL.VIT.NAME']}, tag {pretrained}" if pretrained else "none, or unknown",
    )
