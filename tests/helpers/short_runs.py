"""`SHORT_RUN`: keys that shorten a recipe to a few iterations of a tiny model on images of 32 x 48 pixels."""

SHORT_RUN = {
    "MODEL.VIT.IMG_SIZE": "(32,48)",
    "MODEL.VIT.EMBED_DIM": "24",
    "MODEL.SEGVIT.HIDDEN_DIM": "12",
    "INPUT.MIN_SIZE_TRAIN": "(32,)",
    "INPUT.MAX_SIZE_TRAIN": "48",
    "INPUT.MIN_SIZE_TEST": "32",
    "INPUT.MAX_SIZE_TEST": "48",
    "INPUT.CROP.SIZE": "[32,48]",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.WARMUP_ITERS": "0",
}


def overrides(keys):
    """KEY VALUE pairs of a command line."""
    return [word for pair in keys.items() for word in pair]
