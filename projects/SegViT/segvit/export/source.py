"""`ExportSource`: the trained model of a config and the metadata that an exported file carries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.run_record import RunRecord
from segvit.config.validation import value_of
from segvit.d2 import SegViT
from segvit.datasets.dataset_classes import class_list_of
from segvit.errors import UserError
from segvit.export.exportable_segmenter import ExportableSegmenter
from segvit.images import image_format_of
from segvit.model_folder.files import WEIGHTS, is_model_folder, read_model_folder
from segvit.modeling.token_reduction.cell_reduction import CellReduction
from segvit.modeling.token_reduction.downsampling import EdgeAwareQueryDownsampling

# Keys that prediction reads besides those with an entry of their own.
CARRIED = (
    "MODEL.VIT.IMG_SIZE",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "INPUT.CHANNELS",
    "INPUT.LEVELS",
    "INPUT.PERCENTILES",
    "INPUT.SHOWN_CHANNELS",
    "TEST.CONFIDENCE_TEMPERATURE",
    "TEST.WINDOW.ENABLED",
    "TEST.WINDOW.SIZE",
    "TEST.WINDOW.STRIDE",
    "TEST.WINDOW.BATCH_SIZE",
)


@dataclass(frozen=True)
class ExportSource:
    """A model to export.

    Attributes:
        model: the meta-architecture in evaluation mode, on the CPU, without windows.
        metadata: name -> JSON, as every format stores it.
    """

    model: SegViT
    metadata: dict[str, str]

    @property
    def patch_size(self) -> int:
        return self.model.network.patch_size

    @property
    def has_cells(self) -> bool:
        """Whether the encoder makes tokens of cells."""
        return any(isinstance(module, CellReduction) for module in self.model.modules())

    def segmenter(self, *, gives_labels: bool) -> ExportableSegmenter:
        """The model as one graph; weights are shared."""
        return ExportableSegmenter(model=self.model.network, gives_labels=gives_labels).eval()


def load_source(cfg: CfgNode) -> ExportSource:
    """The config's model with the weights of MODEL.WEIGHTS. Sliding windows are left to the user of the file.

    Raises:
        UserError: if the weights are not set or do not fit, or the number of kept tokens depends on the image.
    """
    metadata = metadata_of(cfg)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    # A frozen encoder may hold bfloat16, in which onnxruntime has no convolution.
    cfg.MODEL.VIT.FROZEN_PRECISION = "float32"
    cfg.TEST.WINDOW.ENABLED = False
    cfg.TEST.LABELS_ONLY = False
    # Files are compared with the model in float32.
    cfg.TEST.PRECISION = "float32"
    cfg.MODEL.COMPILE = False
    model = build_model(cfg).eval()
    require_static_selection(model)
    SegViTCheckpointer(model, run=RunRecord.for_prediction(cfg)).load(cfg.MODEL.WEIGHTS)
    model.requires_grad_(False)
    return ExportSource(model, metadata)


def require_static_selection(model: nn.Module) -> None:
    """Raise UserError for a reduction by threshold, whose number of tokens depends on the image."""
    kinds = (EdgeAwareQueryDownsampling, CellReduction)
    dynamic = [one for one in model.modules() if isinstance(one, kinds) and one.selection != "topk"]
    if dynamic:
        node = "MODEL.VIT.MERGE" if dynamic[0].edge_head is None else "MODEL.VIT.EDGE"
        raise UserError(
            f"{node}.SELECTION 'threshold' keeps another number of tokens for every image, which no exported graph "
            f"can: append {node}.SELECTION topk (and {node}.SHARE, the share of tokens to keep); the weights stay the "
            "same"
        )


def metadata_of(cfg: CfgNode) -> dict[str, str]:
    """Name -> JSON: class names, RGB colours, ignored label, and the format and test size of images.

    "config" holds the keys that prediction reads besides these, and "metrics" those of a model folder.
    """
    classes = class_list_of(cfg)
    folder = Path(cfg.MODEL.WEIGHTS).parent
    is_of_folder = bool(cfg.MODEL.WEIGHTS) and is_model_folder(folder) and Path(cfg.MODEL.WEIGHTS).name == WEIGHTS
    images = image_format_of(cfg)
    values = {
        "class_names": list(classes.names),
        "palette": [[int(value) for value in color] for color in classes.colors],
        "pixel_format": images.order,
        "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        "max_level": images.max_level,
        "channels": images.channels,
        "levels": images.levels,
        "percentiles": list(images.percentiles),
        "short_side": cfg.INPUT.MIN_SIZE_TEST,
        "max_long_side": cfg.INPUT.MAX_SIZE_TEST,
        "config": {key: value_of(cfg, key) for key in CARRIED},
        "metrics": dict(read_model_folder(folder).metrics_with(cfg)) if is_of_folder else {},
        "torch": str(torch.__version__),
    }
    return {name: json.dumps(value) for name, value in values.items()}
