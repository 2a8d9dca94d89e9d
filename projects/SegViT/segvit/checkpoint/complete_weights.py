"""`require_all_weights_for_inference`: a model that predicts must have got every tensor from its checkpoint."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.module import _IncompatibleKeys

from segvit.errors import UserError
from segvit.modeling.losses.encoder_loss import TENSOR as TRAINING_TENSOR
from segvit.modeling.weights.weight_files import require_finite


def require_all_weights_for_inference(model: nn.Module, incompatible_keys: _IncompatibleKeys) -> None:
    """A `load_state_dict` post hook: in evaluation mode, a state dict must have the model's tensors and no others.

    Needed for Detectron2's `DefaultPredictor`, whose checkpointer only logs what does not fit: it would go on with
    random tensors, or without a part of the trained model.

    Raises:
        UserError: the model is in evaluation mode, and some of its tensors were not loaded, or are NaN or infinite, or
            the state dict has tensors of a part that the model lacks.
    """
    if model.training:
        return
    state = model.state_dict()
    require_finite(state, "the weights")
    missing = [name for name in incompatible_keys.missing_keys if name in state and not TRAINING_TENSOR.search(name)]
    if missing:
        described = [f"{name} {tuple(state[name].shape)}" for name in missing]
        raise UserError(
            f"{len(missing)} of {len(state)} tensors of the model are missing in the checkpoint, or have another "
            f"shape, and would stay untrained: {', '.join(described[:20])}. Use the config of the training (first "
            "compare MODEL.SEM_SEG_HEAD.NUM_CLASSES)"
        )
    unused = [name for name in incompatible_keys.unexpected_keys if not TRAINING_TENSOR.search(name)]
    if unused:
        raise UserError(
            f"{len(unused)} tensors of the checkpoint are of a part that the model lacks: {', '.join(unused[:20])}. "
            "Use the config of the training (first compare MODEL.VIT.REDUCTION and MODEL.SEGVIT.DETAIL.SOURCE)"
        )
