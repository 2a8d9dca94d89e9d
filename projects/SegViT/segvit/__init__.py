"""SegViT: `create_model`, `from_pretrained`, `list_models` and `Model`, which are loaded when they are first used.

Import it before torch, so that CPU threads wait without spinning. `segvit.d2` is the same model for Detectron2.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segvit.api.creation import create_model, list_models
    from segvit.api.model import Model
    from segvit.inference.predictor import SegViTPredictor
    from segvit.inference.segmentation import Segmentation

    from_pretrained = Model.from_pretrained

__version__ = "0.1.0"

# The module of each name; `import segvit` itself imports neither torch nor timm.
PUBLIC = {
    "Model": "segvit.api.model",
    "Segmentation": "segvit.inference.segmentation",
    "SegViTPredictor": "segvit.inference.predictor",
    "create_model": "segvit.api.creation",
    "list_models": "segvit.api.creation",
}

__all__ = [
    "Model",
    "SegViTPredictor",
    "Segmentation",
    "__version__",
    "create_model",
    "from_pretrained",
    "list_models",
]

# OpenMP reads the variable when torch is loaded. Threads that spin take the cores that the threads they wait for need:
# with another busy process on two cores, two threads trained the toy scenes at 1.7 iterations/s with PASSIVE, 0.2
# without.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The compiler of extensions, which Detectron2 and torch.compile import, warns on a CPU with an installed CUDA toolkit.
logging.getLogger("torch.utils.cpp_extension").addFilter(
    lambda record: not str(record.msg).startswith("No CUDA runtime is found")
)


def __getattr__(name: str) -> Any:
    if name == "from_pretrained":
        return __getattr__("Model").from_pretrained
    if name not in PUBLIC:
        raise AttributeError(f"module 'segvit' has no attribute {name!r}")
    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
