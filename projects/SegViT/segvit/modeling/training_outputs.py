"""`ReturnsMoreInTraining`: marks the modules whose training mode asks for losses, or for what losses need."""


class ReturnsMoreInTraining:
    """A module that returns more in training and is otherwise the same: nothing in its own code is random.

    In training mode within a network in evaluation mode it gives the losses of validation, see `validation_mode`.
    """
