"""`require_all_weights_for_inference`: a model that predicts must have got every tensor from its checkpoint."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from segvit.errors import UserError
from segvit.modeling.losses.encoder_loss import TENSOR as TRAINING_TENSOR
from segvit.modeling.weights.weight_files import require_finite


def require_all_weights_for_inference(model: nn.Module, incompatible_keys: _IncompatibleKeys) -> None:
    """A `load_state_dict` post hook: a state dict loaded in evaluation mode must contain every tensor that predicts.

    Needed for Detectron2's `DefaultPredictor`, whose checkpointer skips tensors of another shape and goes on with
    random ones.

    Raises:
        UserError: the model is in evaluation mode, and some of its tensors were not loaded, or are NaN or infinite.
    """
    if model.training:
        return
    state = model.state_dict()
    require_finite(state, "the weights")
    names = [name for name in incompatible_keys.missing_keys if name in state and not TRAINING_TENSOR.search(name)]
    if not names:
        return
    missing = [f"{name} {tuple(state[name].shape)}" for name in names]
    raise UserError(
        f"{len(missing)} of {len(state)} tensors of the model are missing in the checkpoint, or have another shape, "
        f"and would stay untrained: {', '.join(missing[:20])}. Use the config of the training (first compare "
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES)"
    )
