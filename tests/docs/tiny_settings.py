"""Config overrides that make documented commands cheap, and the beginnings of commands that several checks match."""

TINY_INPUT = {
    "MODEL.VIT.IMG_SIZE": "(32,48)",
    "INPUT.MIN_SIZE_TRAIN": "(32,)",
    "INPUT.MAX_SIZE_TRAIN": "48",
    "INPUT.MIN_SIZE_TEST": "32",
    "INPUT.MAX_SIZE_TEST": "48",
    "INPUT.CROP.SIZE": "[32,48]",
    "DATALOADER.NUM_WORKERS": "0",
}
TWO_STEPS = {
    "SOLVER.MAX_ITER": "2",
    "SOLVER.IMS_PER_BATCH": "2",
    "SOLVER.REFERENCE_WORLD_SIZE": "0",
    "SOLVER.WARMUP_ITERS": "1",
    "SOLVER.CHECKPOINT_PERIOD": "1",
    "TEST.EVAL_PERIOD": "2",
}
TINY_VIT = {
    "MODEL.DEVICE": "cpu",
    "MODEL.VIT.PRETRAINED": "",
    "MODEL.VIT.EMBED_DIM": "24",
    "MODEL.VIT.DEPTH": "2",
    "MODEL.VIT.NUM_HEADS": "2",
    "MODEL.VIT.OUT_INDICES": "(0,1)",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "('block1','block0')",
    "MODEL.SEGVIT.HIDDEN_DIM": "16",
    "MODEL.SEGVIT.NUM_HEADS": "2",
    "MODEL.SEGVIT.NUM_LAYERS": "1",
}
# For models that are exported: a graph of every operation, in fewer copies.
SHALLOW = {
    "MODEL.VIT.DEPTH": "1",
    "MODEL.VIT.OUT_INDICES": "[0]",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "['block0']",
}
# For models that keep the depth of their config.
NARROW = {"MODEL.VIT.EMBED_DIM": "24", "MODEL.SEGVIT.HIDDEN_DIM": "12"}

TRAIN = r"python projects/SegViT/train_net\.py "
ADE20K = r"--config-file projects/SegViT/configs/ade20k/\S+\.yaml"
