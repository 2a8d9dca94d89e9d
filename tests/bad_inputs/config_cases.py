"""Configs and command lines that cannot run."""

from cases import EVALUATION, Case, both, checkpoint, written

OWN = ("--config-file", "HOME/own.yaml")


def own(text):
    """A config file that builds upon the user's."""
    return written("own.yaml", f"_BASE_: config.yaml\n{text}")


def override(key, value, message, name=None):
    return Case(f"{key.rpartition('.')[2]} {value}" if name is None else name, message, (key, value))


COMMAND_LINES = [
    Case("no config", "name a config by --config-file", ("--config-file", "")),
    Case("a config that is not there", "config file 'HOME/no.yaml' does not exist", ("--config-file", "HOME/no.yaml")),
    Case(
        "an unknown key",
        "there is no config key SOLVER.MAX_ITR (the nearest is SOLVER.MAX_ITER)",
        ("SOLVER.MAX_ITR", "3"),
    ),
    Case("a group for a key", "there is no config key MODEL.VIT (that is a group of keys)", ("MODEL.VIT", "3")),
    Case("a key without its value", "overrides are KEY VALUE pairs: SEED has no value", ("SEED",)),
    Case("KEY=VALUE", "overrides are KEY VALUE pairs: write 'SEED 3', not 'SEED=3'", ("SEED=3",)),
    Case(
        "a flag behind the pairs",
        "--resume must come before the KEY VALUE pairs, in front of SEED",
        ("SEED", "1", "--resume"),
    ),
    Case("a flag that does not exist", "unrecognized arguments: --evalonly", ("--evalonly",)),
]

FILES = [
    Case(name, message, OWN, given)
    for name, message, given in [
        (
            "an unknown key in the file",
            "config file HOME/own.yaml: there is no config key MODEL.VIT.NAMES (the nearest is MODEL.VIT.NAME)",
            own("MODEL: {VIT: {NAMES: a}}\n"),
        ),
        (
            "a wrong type in the file",
            "config file HOME/own.yaml: MODEL.VIT.FROZEN takes True or False, not 'maybe'",
            own("MODEL: {VIT: {FROZEN: maybe}}\n"),
        ),
        (
            "a null in the file",
            "config file HOME/own.yaml: SEED takes a whole number such as -1, not None",
            own("SEED:\n"),
        ),
        (
            "a list for a config",
            "config file HOME/own.yaml must hold keys and values, not ['a']",
            written("own.yaml", "- a\n"),
        ),
        ("an empty config", "config file HOME/own.yaml must hold keys and values, not None", written("own.yaml", "")),
        (
            "a base that is not there",
            "config file 'HOME/no.yaml' does not exist; HOME/own.yaml names it as _BASE_",
            written("own.yaml", "_BASE_: no.yaml\n"),
        ),
        (
            "a base of itself",
            "config file HOME/own.yaml names HOME/own.yaml as _BASE_, which builds upon HOME/own.yaml itself",
            written("own.yaml", "_BASE_: own.yaml\n"),
        ),
        (
            "a number for a base",
            "config file HOME/own.yaml: _BASE_ takes a file name or a list of them, not 3",
            written("own.yaml", "_BASE_: 3\n"),
        ),
        (
            "another version",
            "config file HOME/own.yaml: VERSION 1 is not that of SegViT's configs, 2",
            own("VERSION: 1\n"),
        ),
    ]
]

VALUES = [
    override("SOLVER.MAX_ITER", "many", "SOLVER.MAX_ITER takes a whole number such as 40000, not 'many'"),
    override("SOLVER.BASE_LR", "1", "SOLVER.BASE_LR takes a number with a decimal point such as 0.001, not '1'"),
    override("MODEL.VIT.IMG_SIZE", "512", "MODEL.VIT.IMG_SIZE takes a list such as [512, 512], not '512'"),
    override("MODEL.VIT.OUT_INDICES", "['a']", "MODEL.VIT.OUT_INDICES takes a list such as [5, 7, 11], not \"['a']\""),
    override("DATASETS.TRAIN", "('a')", "DATASETS.TRAIN takes a list such as ('name',), not \"('a')\""),
    override("MODEL.VIT.IMG_SIZE", "[512]", "MODEL.VIT.IMG_SIZE [512] must be 2 numbers above 0"),
    override("MODEL.PIXEL_STD", "[0.0,1.0,1.0]", "MODEL.PIXEL_STD [0.0, 1.0, 1.0] must be 3 numbers above 0"),
    override("SOLVER.MAX_ITER", "0", "SOLVER.MAX_ITER 0 must be at least 1"),
    override("SOLVER.BASE_LR", "-0.1", "SOLVER.BASE_LR -0.1 must be above 0"),
    override("SOLVER.IMS_PER_BATCH", "0", "SOLVER.IMS_PER_BATCH 0 must be at least 1"),
    override("DATALOADER.NUM_WORKERS", "-1", "DATALOADER.NUM_WORKERS -1 must be at least 0"),
    override("MODEL.SEGVIT.DROPOUT", "1.5", "MODEL.SEGVIT.DROPOUT 1.5 must be from 0 to 1"),
    override(
        "MODEL.SEGVIT.NUM_HEADS", "3", "MODEL.SEGVIT.HIDDEN_DIM 16 must be a multiple of MODEL.SEGVIT.NUM_HEADS 3"
    ),
    override("INPUT.RANDOM_FLIP", "both", "INPUT.RANDOM_FLIP 'both' must be 'horizontal', 'vertical' or 'none'"),
    override(
        "INPUT.CROP.TYPE",
        "fixed",
        "INPUT.CROP.TYPE 'fixed' must be 'absolute', 'absolute_range', 'relative' or 'relative_range'",
    ),
    override("INPUT.FORMAT", "L", "INPUT.FORMAT 'L' must be 'BGR' or 'RGB'"),
    override(
        "SOLVER.LR_SCHEDULER_NAME",
        "Poly",
        "SOLVER.LR_SCHEDULER_NAME 'Poly' must be 'WarmupPolyLR', 'WarmupCosineLR', 'WarmupMultiStepLR' or "
        "'WarmupStepWithFixedGammaLR'",
    ),
    override(
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
        "all",
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE 'all' must be 'full_model', 'norm' or 'value'",
    ),
    override("MODEL.SEGVIT.OUTPUT", "best", "MODEL.SEGVIT.OUTPUT 'best' must be 'mix', 'diagonal' or 'softmax'"),
    override(
        "MODEL.SEGVIT.OUTPUT",
        "softmax",
        "MODEL.SEGVIT.OUTPUT 'softmax' does not fit MODEL.SEGVIT.LOSS, which trains masks for 'mix' or 'diagonal'",
    ),
    override("MODEL.VIT.REDUCTION", "shrink", "MODEL.VIT.REDUCTION 'shrink' must be 'none', 'shrunk' or 'shrunk++'"),
    override(
        "INPUT.DATASET_MAPPER_NAME",
        "x",
        "INPUT.DATASET_MAPPER_NAME 'x' is unknown: the only mapper is 'segvit_semantic'",
    ),
    override(
        "MODEL.BACKBONE.NAME", "PlainVit", "MODEL.BACKBONE.NAME 'PlainVit' does not exist (the nearest is PlainViT)"
    ),
    override("MODEL.DEVICE", "gpu", "MODEL.DEVICE 'gpu' is no device: take cpu, cuda or, of several GPUs, cuda:1"),
]

FITS = [
    override(
        "MODEL.VIT.OUT_INDICES",
        "[0,5]",
        "MODEL.VIT.OUT_INDICES [0, 5] must name blocks 0 to 1",
        "a stage outside the depth",
    ),
    override(
        "MODEL.SEM_SEG_HEAD.IN_FEATURES",
        "['block5']",
        "MODEL.SEM_SEG_HEAD.IN_FEATURES names ['block5'], but the backbone has ['block0', 'block1']; make it "
        "agree with MODEL.VIT.OUT_INDICES",
        "a stage that is not given",
    ),
    override(
        "MODEL.SEM_SEG_HEAD.IN_FEATURES",
        "[]",
        "MODEL.SEM_SEG_HEAD.IN_FEATURES is empty: name the stages that the head reads, deepest first",
        "no stage",
    ),
    override(
        "MODEL.VIT.NAME",
        "resnet50",
        "MODEL.VIT.NAME 'resnet50' cannot be built with drop_path_rate 0.0, patch_size 8, embed_dim 24, depth 2, "
        "num_heads 2: ResNet.__init__() got an unexpected keyword argument 'patch_size'",
        "no ViT",
    ),
    override(
        "MODEL.VIT.NUM_HEADS",
        "5",
        "MODEL.VIT.NAME 'vit_tiny_patch16_224' cannot be built with drop_path_rate 0.0, patch_size 8, embed_dim 24, "
        "depth 2, num_heads 5: dim should be divisible by num_heads",
        "heads that do not share the width",
    ),
    override(
        "INPUT.CROP.SIZE",
        "[48,64]",
        "INPUT.CROP.SIZE [48, 64] exceeds the 24 x 32 pixels that the positions of the model, and the queries of "
        "Shrunk, are made for: set MODEL.VIT.IMG_SIZE to the crop",
        "a crop that the model is not made for",
    ),
    override(
        "SOLVER.NO_WEIGHT_DECAY",
        "['*.biass']",
        "SOLVER.NO_WEIGHT_DECAY: no parameter matches ['*.biass']; names look like "
        "'backbone.encoder.embedding.cls_token'",
        "a pattern of no parameter",
    ),
    Case(
        "a window that leaves gaps",
        "TEST.WINDOW.STRIDE [64, 65] must be two numbers from 1 to those of the window size [64, 64]: larger strides "
        "leave gaps between windows",
        ("TEST.WINDOW.SIZE", "[64,64]", "TEST.WINDOW.STRIDE", "[64,65]"),
    ),
    Case(
        "scales to test at without any",
        "TEST.AUG.MIN_SIZES is empty: set the short sides to test at, such as (384, 512, 640)",
        (*EVALUATION, "TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "()"),
        checkpoint(),
    ),
    Case(
        "a crop that does not fit Shrunk",
        "INPUT.CROP.SIZE [40, 32] exceeds the 24 x 32 pixels that the positions of the model, and the queries of "
        "Shrunk, are made for: set MODEL.VIT.IMG_SIZE to the crop",
        (
            "MODEL.VIT.REDUCTION",
            "shrunk",
            "MODEL.VIT.REDUCTION_BLOCK",
            "1",
            "MODEL.SEGVIT.QUERY_UPSAMPLING",
            "learned",
            "INPUT.CROP.SIZE",
            "[40,32]",
        ),
    ),
    Case(
        "Shrunk at a block that is not there",
        "MODEL.VIT.REDUCTION_BLOCK 7 must lie in 1 to 1",
        ("MODEL.VIT.REDUCTION", "shrunk", "MODEL.VIT.REDUCTION_BLOCK", "7"),
    ),
    Case(
        "classes of another data set",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 3, but that of data set 'toy_scenes_sem_seg_train' is 10: set it to 10",
        ("DATASETS.TRAIN", "('folder_train','toy_scenes_sem_seg_train')"),
        both(lambda world: world.toy_scenes()),
    ),
]

CONFIG_CASES = [*COMMAND_LINES, *FILES, *VALUES, *FITS]
