"""Configs and command lines that cannot run."""

from cases import EVALUATION, Case, checkpoint, written

OWN = ("--config-file", "HOME/own.yaml")
FILE = "HOME/own.yaml"


def own(text):
    """A config file on top of the user's."""
    return written("own.yaml", f"_BASE_: config.yaml\n{text}")


COMMAND_LINES = [
    Case("no config", "--config-file", ("--config-file", "")),
    Case("missing config", "HOME/no.yaml", ("--config-file", "HOME/no.yaml")),
    Case("unknown key", "SOLVER.MAX_ITR SOLVER.MAX_ITER", ("SOLVER.MAX_ITR", "3")),
    Case("group of keys in place of a key", "MODEL.VIT", ("MODEL.VIT", "3")),
    Case("key without a value", "KEY VALUE SEED", ("SEED",)),
    Case("KEY=VALUE", "KEY VALUE SEED=3", ("SEED=3",)),
    Case("flag after the pairs", "--resume KEY VALUE SEED", ("SEED", "1", "--resume")),
    Case("unknown flag", "--evalonly", ("--evalonly",)),
]

FILES = [
    Case(name, mentions, OWN, given)
    for name, mentions, given in [
        ("unknown key in a file", f"{FILE} MODEL.VIT.NAMES MODEL.VIT.NAME", own("MODEL: {VIT: {NAMES: a}}\n")),
        ("wrong type in a file", f"{FILE} MODEL.VIT.FROZEN maybe", own("MODEL: {VIT: {FROZEN: maybe}}\n")),
        ("null in a file", f"{FILE} SEED None", own("SEED:\n")),
        ("list in place of a config", FILE, written("own.yaml", "- a\n")),
        ("empty config", FILE, written("own.yaml", "")),
        ("missing base", f"{FILE} HOME/no.yaml _BASE_", written("own.yaml", "_BASE_: no.yaml\n")),
        ("file that is its own base", f"{FILE} _BASE_", written("own.yaml", "_BASE_: own.yaml\n")),
        ("number in place of a base", f"{FILE} _BASE_ 3", written("own.yaml", "_BASE_: 3\n")),
        ("other version", f"{FILE} VERSION 1 2", own("VERSION: 1\n")),
    ]
]

# (key, value, what else the message mentions)
VALUES = [
    ("SOLVER.MAX_ITER", "many", "40000"),
    ("SOLVER.BASE_LR", "1", "decimal"),
    ("MODEL.VIT.IMG_SIZE", "512", "list"),
    ("MODEL.VIT.OUT_INDICES", "['a']", "list"),
    ("DATASETS.TRAIN", "('a')", "('name',)"),
    ("MODEL.VIT.IMG_SIZE", "[512]", "2"),
    ("MODEL.PIXEL_STD", "[0.0,1.0,1.0]", "3"),
    ("SOLVER.MAX_ITER", "0", "1"),
    ("SOLVER.BASE_LR", "-0.1", "above"),
    ("SOLVER.IMS_PER_BATCH", "0", "1"),
    ("DATALOADER.NUM_WORKERS", "-1", "0"),
    ("MODEL.SEGVIT.DROPOUT", "1.5", "0 1"),
    ("MODEL.SEGVIT.NUM_HEADS", "3", "MODEL.SEGVIT.HIDDEN_DIM"),
    ("MODEL.BACKBONE.FREEZE_AT", "3", "MODEL.VIT.FROZEN"),
    ("SOLVER.STEPS", "(5,)", "'WarmupMultiStepLR'"),
    ("SOLVER.EMA.DECAY", "0.9", "SOLVER.EMA.ENABLED"),
    ("MODEL.VIT.EDGE.SHARE", "0.5", "MODEL.VIT.REDUCTION 'shrunk++'"),
    ("MODEL.VIT.MERGE.SHARE", "0.4", "MODEL.VIT.REDUCTION 'merge'"),
    ("MODEL.SEGVIT.DETAIL.DIM", "32", "MODEL.SEGVIT.DETAIL.SOURCE 'image'"),
    ("MODEL.SEGVIT.DETAIL.STRIDE", "2", "MODEL.SEGVIT.DETAIL.SOURCE 'image'"),
    ("INPUT.MAX_SIZE_TEST", "64", "INPUT.MIN_SIZE_TEST"),
    ("TEST.PRECISION", "int8", "'float32' 'bfloat16' 'float16'"),
    ("TEST.PRECISION", "float16", "GPU bfloat16"),
    ("SOLVER.AMP.PRECISION", "half", "'bfloat16' 'float16'"),
    ("MODEL.VIT.NAME", "vit_tiny_patch16_224.augreg_in21k", "MODEL.VIT.PRETRAINED"),
    ("INPUT.GAMMA_RANGE", "[2.0,1.0]", "low high"),
    ("INPUT.GAMMA_RANGE", "[0.0,1.0]", "2 above"),
    ("INPUT.RANDOM_FLIP", "both", "'horizontal' 'none'"),
    ("INPUT.AUGMENTATION", "flip", "my_module:pipeline YAML"),
    ("INPUT.AUGMENTATION", "no.yaml", "exist"),
    ("DATASETS.TRAIN", "('hf:a',)", "hf:PATH_OR_NAME:SPLIT"),
    ("INPUT.CROP.TYPE", "fixed", "'absolute'"),
    ("SOLVER.LR_SCHEDULER_NAME", "Poly", "'WarmupPolyLR'"),
    ("MODEL.SEGVIT.OUTPUT", "best", "'mix' 'softmax'"),
    ("MODEL.SEGVIT.OUTPUT", "softmax", "MODEL.SEGVIT.LOSS"),
    ("MODEL.VIT.REDUCTION", "shrink", "'shrunk++'"),
    ("INPUT.CROP.TYPE", "relative", "INPUT.CROP.SIZE fractions"),
    ("INPUT.CROP.SIZE", "[0.5,0.5]", "'absolute' pixels"),
    ("SOLVER.BASE_LR", "1e400", "finite"),
    ("MODEL.SEGVIT.CONTINUAL.GROUPS", "[0,1,2]", "lists [[0,"),
    ("MODEL.SEGVIT.CONTINUAL.ITERATIONS", "[4,-1]", "whole 0"),
    ("MODEL.SEGVIT.CONTINUAL.CLASSES", "[1,2]", "names"),
    ("MODEL.SEGVIT.DETAIL.SOURCE", "edges", "'image' 'stem' 'tokens'"),
    ("MODEL.SEGVIT.QUERY_UPSAMPLING", "nearest", "'block1', 'block0' [8, 8] 'none'"),
    ("MODEL.SEGVIT.CLASS_WEIGHTS", "auto", "list"),
    ("MODEL.SEGVIT.CLASS_WEIGHTS", "['auto',['pole',0.0]]", "pairs above"),
    ("MODEL.SEGVIT.CLASS_WEIGHTS", "[['pole',3.0]]", "names of classes"),
    ("INPUT.DATASET_MAPPER_NAME", "x", "segvit_semantic"),
    ("TRACKING.TO", "comet", "'wandb', 'mlflow'"),
    ("MODEL.BACKBONE.NAME", "PlainVit", "PlainViT"),
    ("MODEL.DEVICE", "gpu", "cuda"),
    ("MODEL.DEVICE", "cuda", "GPU cpu"),
    ("MODEL.VIT.OUT_INDICES", "[0,5]", "0 1"),
    ("MODEL.SEM_SEG_HEAD.IN_FEATURES", "['block5']", "block0 MODEL.VIT.OUT_INDICES"),
    ("MODEL.SEM_SEG_HEAD.IN_FEATURES", "[]", "empty"),
    ("MODEL.VIT.NAME", "resnet50", "patch_size"),
    ("INPUT.CROP.SIZE", "[48,64]", "MODEL.VIT.IMG_SIZE"),
    ("SOLVER.NO_WEIGHT_DECAY", "['*.biass']", "backbone."),
]

COMBINATIONS = [
    Case("too many heads for the width", "MODEL.VIT.NAME num_heads", ("MODEL.VIT.NUM_HEADS", "5")),
    Case(
        "stride longer than the window",
        "TEST.WINDOW.STRIDE",
        ("TEST.WINDOW.ENABLED", "True", "TEST.WINDOW.SIZE", "[64,64]", "TEST.WINDOW.STRIDE", "[64,65]"),
    ),
    Case(
        "no scale in multi-scale evaluation",
        "TEST.AUG.MIN_SIZES",
        (*EVALUATION, "TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "()"),
        checkpoint(),
    ),
    Case(
        "reduction in a missing block",
        "MODEL.VIT.REDUCTION_BLOCK 7",
        ("MODEL.VIT.REDUCTION", "shrunk", "MODEL.VIT.REDUCTION_BLOCK", "7"),
    ),
    Case(
        "merging in a missing block",
        "MODEL.VIT.MERGE.BLOCK 7",
        ("MODEL.VIT.REDUCTION", "merge", "MODEL.VIT.MERGE.BLOCK", "7"),
    ),
    *(
        Case(
            f"second merging in blocks {blocks}",
            "MODEL.VIT.MERGE.GLOBAL_BLOCKS whole each once",
            ("MODEL.VIT.REDUCTION", "merge", "MODEL.VIT.MERGE.BLOCK", "0", "MODEL.VIT.MERGE.GLOBAL_BLOCKS", blocks),
        )
        for blocks in ("[2.5]", "['2']", "[2,2]", "[True]")
    ),
    Case(
        "second merging before the first",
        "MODEL.VIT.MERGE.GLOBAL_BLOCKS [1]",
        ("MODEL.VIT.REDUCTION", "merge", "MODEL.VIT.MERGE.GLOBAL_BLOCKS", "[1]"),
    ),
    Case(
        "a frozen encoder with a reduction that nothing trains",
        "MODEL.WEIGHTS MODEL.VIT.REDUCTION MODEL.VIT.FROZEN",
        ("MODEL.VIT.FROZEN", "True", "MODEL.VIT.REDUCTION", "cells", "MODEL.SEGVIT.ENCODER_WEIGHT", "0.0"),
    ),
    Case(
        "detail from a stem that the encoder lacks",
        "MODEL.SEGVIT.DETAIL.SOURCE MODEL.VIT.STEM convolutional",
        ("MODEL.SEGVIT.DETAIL.SOURCE", "stem", "MODEL.VIT.STEM", "linear"),
    ),
    Case(
        "detail at a stride of three",
        "MODEL.SEGVIT.DETAIL.STRIDE 3",
        ("MODEL.SEGVIT.DETAIL.SOURCE", "image", "MODEL.SEGVIT.DETAIL.STRIDE", "3"),
    ),
    Case(
        "ignore value that is a class of a registered dataset",
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE 255 MODEL.SEM_SEG_HEAD.NUM_CLASSES 300",
        ("DATASETS.FOLDER", "", "DATASETS.TRAIN", "('own',)", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "300"),
    ),
    Case(
        "ignore value that is a class of a dataset, not of the model",
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE 5 10 65535 ignore_label",
        (
            *("DATASETS.FOLDER", "", "DATASETS.TRAIN", "('toy_scenes_sem_seg_train',)", "DATASETS.TEST", "()"),
            *("MODEL.SEM_SEG_HEAD.NAME", "ContinualHead", "MODEL.SEGVIT.OUTPUT", "diagonal"),
            *("MODEL.SEGVIT.CONTINUAL.PROTOCOL", "1-1", "MODEL.SEGVIT.CONTINUAL.CLASSES", "['tree','car']"),
            *("MODEL.SEGVIT.CONTINUAL.STEP", "0", "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "5"),
        ),
        lambda world: world.toy_scenes(),
    ),
    Case(
        "steps of a protocol with one decoder",
        "MODEL.SEGVIT.CONTINUAL MODEL.SEM_SEG_HEAD.NAME ContinualHead train_continual.py",
        ("MODEL.SEGVIT.CONTINUAL.PROTOCOL", "2-1"),
    ),
    Case(
        "a later step without the model of the step before",
        "MODEL.WEIGHTS frozen model_final.pth",
        (
            *("MODEL.SEM_SEG_HEAD.NAME", "ContinualHead", "MODEL.SEGVIT.OUTPUT", "diagonal"),
            *("MODEL.SEGVIT.CONTINUAL.PROTOCOL", "2-1"),
        ),
    ),
    Case(
        "a sampler that repeats no image, before --overwrite deletes a run",
        "DATALOADER.REPEAT_THRESHOLD 0.0",
        ("--overwrite", "DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"),
    ),
    Case(
        "a sampler of a dataset that is not trained on",
        "DATASETS.TRAIN_REPEAT_FACTOR foo",
        (
            *("DATALOADER.SAMPLER_TRAIN", "WeightedTrainingSampler"),
            *("DATASETS.TRAIN_REPEAT_FACTOR", "[['foo',2.0]]"),
        ),
    ),
    Case(
        "a width of later groups that no whole number of heads fills",
        "MODEL.SEGVIT.CONTINUAL.HIDDEN_DIM 13 8",
        ("MODEL.SEGVIT.CONTINUAL.PROTOCOL", "2-1", "MODEL.SEGVIT.CONTINUAL.HIDDEN_DIM", "13"),
    ),
    Case(
        "classes of another dataset",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES toy_scenes_sem_seg_train 3 10",
        ("DATASETS.TRAIN", "('folder_train','toy_scenes_sem_seg_train')"),
        lambda world: world.toy_scenes(),
    ),
]

CONFIG_CASES = [
    *COMMAND_LINES,
    *FILES,
    *(Case(f"{key} {value}", f"{key} {others}", (key, value)) for key, value, others in VALUES),
    *COMBINATIONS,
]
