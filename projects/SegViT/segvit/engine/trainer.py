"""`DefaultTrainer` for SegViT: its mapper, solver, step, evaluator, exact resuming, and the best checkpoint by mIoU."""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer, HookBase, create_ddp_model, hooks
from detectron2.utils import comm
from torch import nn

from segvit.checkpoint.checkpointer import SegViTCheckpointer
from segvit.checkpoint.resume import load_newest
from segvit.config.continual_step import continual_step
from segvit.d2.multi_scale import SemanticSegmentorWithTTA
from segvit.d2.solver import build_lr_scheduler, build_optimizer
from segvit.data import SegViTSemanticDatasetMapper
from segvit.data.train_loader import build_train_loader, survive_one_sigterm
from segvit.engine.auto_scale import parts_of_batch, scale_to_processes
from segvit.engine.hooks.best_checkpoint import BestCheckpoint
from segvit.engine.hooks.ema import build_weight_average
from segvit.engine.hooks.evaluation_hook import Evaluation
from segvit.engine.hooks.seeded_run import SeededRun
from segvit.engine.hooks.statistics_average import AverageStatistics
from segvit.engine.hooks.stop_on_sigterm import StopOnSigterm
from segvit.engine.non_finite_guard import NonFiniteGuard
from segvit.engine.optimization_step import OptimizationStep, build_precision
from segvit.errors import UserError
from segvit.evaluation import ContinualEvaluator, SemSegConfusionEvaluator

logger = logging.getLogger(__name__)

MAPPERS = {"segvit_semantic": SegViTSemanticDatasetMapper}


def build_mapper(cfg: CfgNode, *, is_train: bool) -> SegViTSemanticDatasetMapper:
    """The mapper that INPUT.DATASET_MAPPER_NAME names. Raises UserError for an unknown one."""
    name = cfg.INPUT.DATASET_MAPPER_NAME
    if name not in MAPPERS:
        raise UserError(f"INPUT.DATASET_MAPPER_NAME {name!r} is unknown; known are {sorted(MAPPERS)}")
    return MAPPERS[name](cfg, is_train=is_train)


class Trainer(DefaultTrainer):
    """Train SegViT by config.

    Differs from `DefaultTrainer` in what its constructor cannot be told, the step and its precision, and processes
    without a GPU each; and in that an interrupted run goes on as if nothing had been (docs/training.md).
    """

    def __init__(self, cfg: CfgNode) -> None:
        super(DefaultTrainer, self).__init__()
        cfg = scale_to_processes(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        self._average = build_weight_average(cfg, model)
        self._device = model.device
        device_type = model.device.type
        # torch wants no device ids where each process owns a CPU model; Detectron2 passes its local rank.
        ddp_options = {"device_ids": None} if device_type == "cpu" else {}
        model = create_ddp_model(model, broadcast_buffers=False, **ddp_options)
        self._evaluated = model if self._average is None else self._average.averaged
        self._trainer = _build_step(cfg, model, data_loader, optimizer, self._device)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        step = continual_step(cfg)
        self.checkpointer = SegViTCheckpointer(
            self._evaluated,
            cfg.OUTPUT_DIR,
            strict=False,
            new_tensors=step.new_tensors if step else "",
            trainer=weakref.proxy(self),
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> torch.utils.data.DataLoader:
        return build_train_loader(cfg, build_mapper(cfg, is_train=True))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> torch.utils.data.DataLoader:
        loader = build_detection_test_loader(cfg, dataset_name, mapper=build_mapper(cfg, is_train=False))
        loader.worker_init_fn = survive_one_sigterm
        return loader

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> SemSegConfusionEvaluator | ContinualEvaluator:
        several = len(cfg.DATASETS.TEST) > 1
        options = {
            "output_dir": str(Path(cfg.OUTPUT_DIR, dataset_name)) if several else cfg.OUTPUT_DIR,
            "with_boundary_iou": cfg.TEST.BOUNDARY_IOU,
            "save_predictions": cfg.TEST.SAVE_PREDICTIONS,
        }
        step = continual_step(cfg)
        if step is None:
            return SemSegConfusionEvaluator(dataset_name, **options)
        return ContinualEvaluator(dataset_name, step=step, **options)

    @classmethod
    def test_with_TTA(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict[str, dict[str, float]]:
        """Evaluate as `test` does, at the scales of TEST.AUG; metrics get the suffix "_TTA", files their own folder.

        Named as in Detectron2's projects. Scales are made from the images as they are: INPUT.MIN_SIZE_TEST is not read.
        """
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.MIN_SIZE_TEST = 0
        cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, "tta"))
        logger.info("Evaluating again at the scales of TEST.AUG, short sides %s", cfg.TEST.AUG.MIN_SIZES)
        results = cls.test(cfg, SemanticSegmentorWithTTA(cfg, model))
        return OrderedDict((f"{name}_TTA", values) for name, values in results.items())

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from OUTPUT_DIR's newest checkpoint, where `resume` and there is one; else load MODEL.WEIGHTS."""
        if resume and self.checkpointer.has_checkpoint():
            load_newest(self.checkpointer)
            self.start_iter = self.iter + 1
        else:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])

    def before_train(self) -> None:
        self.iter = self.start_iter - 1  # the last one done, should a checkpoint be written here
        super().before_train()

    def state_dict(self) -> dict[str, object]:
        """As Detectron2's, but a checkpoint written after the last step holds that step's iteration, not one more."""
        return {**super().state_dict(), "iteration": min(self.iter, self.max_iter - 1)}

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's, with what a run needs to go on where it stopped, and the best mIoU as model_best.pth."""
        stock = [hook for hook in super().build_hooks() if hook is not None]
        built = [SeededRun(self._trainer.data_loader.batch_sampler), AverageStatistics(self.model)]
        built += [] if self._average is None else [self._average]
        for hook in stock:
            built += self._evaluation_hooks() if isinstance(hook, hooks.EvalHook) else [hook]
        return [*built, StopOnSigterm(self.checkpointer, self._device)]

    def _evaluation_hooks(self) -> list[HookBase]:
        period, names = self.cfg.TEST.EVAL_PERIOD, self.cfg.DATASETS.TEST
        built: list[HookBase] = [Evaluation(period=period, evaluate=self._evaluate)]
        if comm.is_main_process() and names and period > 0:
            metric = f"{names[0]}/sem_seg/mIoU" if len(names) > 1 else "sem_seg/mIoU"
            built.append(BestCheckpoint(period=period, checkpointer=self.checkpointer, metric=metric))
        return built

    def _evaluate(self) -> OrderedDict[str, dict[str, float]]:
        self._last_eval_results = self.test(self.cfg, self._evaluated)
        return self._last_eval_results


def _build_step(
    cfg: CfgNode,
    model: nn.Module,
    data_loader: torch.utils.data.DataLoader,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> OptimizationStep:
    return OptimizationStep(
        model,
        data_loader,
        optimizer,
        precision=build_precision(cfg, device.type),
        guard=NonFiniteGuard(action=cfg.SOLVER.NON_FINITE, folder=cfg.OUTPUT_DIR),
        parts=parts_of_batch(cfg, comm.get_world_size()),
    )
