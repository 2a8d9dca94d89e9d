"""A run of some iterations on toy scenes in which everything is random that can be, for tests that break it off."""

import torch

from segvit.d2 import get_segvit_cfg
from segvit.engine import Trainer


def toy_run_cfg(output, **changes):
    """The tiny model on scenes of 32 x 48 pixels, with dropout, augmentation and an evaluation."""
    cfg = get_segvit_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = "cpu", 10
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block1", "block0"]
    vit, segvit = cfg.MODEL.VIT, cfg.MODEL.SEGVIT
    vit.NAME, vit.IMG_SIZE, vit.OUT_INDICES = "vit_tiny_patch16_224", [32, 48], [0, 1]
    vit.PATCH_SIZE, vit.EMBED_DIM, vit.DEPTH, vit.NUM_HEADS, vit.STEM = 8, 24, 2, 2, "conv"
    vit.DROP_PATH_RATE, segvit.DROPOUT = 0.2, 0.1
    segvit.HIDDEN_DIM, segvit.NUM_HEADS, segvit.NUM_LAYERS = 16, 2, 1
    cfg.INPUT.FORMAT = "RGB"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 48
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 32, 48
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [32, 48]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("toy_scenes_sem_seg_train",), ("toy_scenes_sem_seg_val",)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS = 2, 6, 1e-3, 2
    cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD = 2, 3
    cfg.OUTPUT_DIR = str(output)
    cfg.merge_from_list([item for pair in changes.items() for item in (pair[0].replace("__", "."), pair[1])])
    return cfg


def final_state(folder):
    """What a finished run leaves: the checkpoints of its end and of its best evaluation."""
    return {name: torch.load(folder / f"{name}.pth", weights_only=True) for name in ("model_final", "model_best")}


def assert_same(first, second, path=""):
    """Two nests of dicts, lists and tensors hold the same bits."""
    assert type(first) is type(second), path
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert list(first) == list(second), path
        for key in first:
            assert_same(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for index, pair in enumerate(zip(first, second)):
            assert_same(*pair, f"{path}/{index}")
    else:
        assert first == second, path


def run(cfg, *, resume, hooks=()):
    """Train, from the start or from the last checkpoint."""
    trainer = Trainer(cfg)
    trainer.register_hooks(list(hooks))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer
