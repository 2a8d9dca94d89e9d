"""`Trainer`: Detectron2's `DefaultTrainer` with SegViT's data, solver, step and evaluator, EMA and exact resuming."""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer, HookBase, create_ddp_model, hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from timm.utils import distribute_bn
from torch import nn

from segvit.assembly.encoder_weights import without_pretrained
from segvit.checkpoint.checkpointer import SegViTCheckpointer, has_checkpoint
from segvit.checkpoint.resume import load_newest
from segvit.checkpoint.run_record import RunRecord
from segvit.config.continual_step import continual_step
from segvit.config.first_config import require_no_first_config
from segvit.config.validation import value_of
from segvit.d2.multi_scale import SemanticSegmentorWithTTA
from segvit.d2.solver import build_lr_scheduler, build_optimizer
from segvit.data.class_weights import with_counted_weights
from segvit.data.dataset_mapper import build_mapper
from segvit.data.train_loader import build_train_loader, survive_one_sigterm
from segvit.dataset_tools.parallel import available_cpus
from segvit.engine.auto_scale import parts_of_batch, scale_to_processes
from segvit.engine.hooks.ema import build_ema
from segvit.engine.hooks.evaluation import BestCheckpoint, Evaluation, WriteEvaluations
from segvit.engine.hooks.seeded_run import SeededRun
from segvit.engine.hooks.stop_on_sigterm import StopOnSigterm
from segvit.engine.non_finite_guard import NonFiniteGuard
from segvit.engine.optimization_step import OptimizationStep
from segvit.engine.precision import build_precision
from segvit.engine.run_model import write_run_model
from segvit.evaluation import ContinualEvaluator, SemSegConfusionEvaluator
from segvit.tracking.event_writer import tracking_writers

logger = logging.getLogger(__name__)

# Iterations between two lines of the log: the period of Detectron2's `PeriodicWriter` in `DefaultTrainer.build_hooks`.
LOG_PERIOD = 20


class Trainer(DefaultTrainer):
    """Train SegViT as a config says.

    An interrupted run that is resumed ends with the weights of an unbroken one, bit for bit (docs/training.md).

    Args:
        cfg: the config of the run.
        loads_encoder: False leaves out MODEL.VIT.PRETRAINED, because a checkpoint will fill the encoder.

    Attributes:
        judged_datasets: names of test sets about whose ground truth evaluations need not warn, or no more.
        wants_stop: whether this process got SIGTERM when the training was at its end.
    """

    def __init__(self, cfg: CfgNode, *, loads_encoder: bool = True) -> None:
        # `DefaultTrainer.__init__` fixes the step, the checkpointer and the arguments of DDP, and has no method to
        # override for them. Detectron2's projects skip it in this way; the rest of the class is used as it is.
        super(DefaultTrainer, self).__init__()
        require_no_first_config(cfg, remedy="set MODEL.WEIGHTS to its final weights")
        cfg = scale_to_processes(cfg, comm.get_world_size())
        weighted = with_counted_weights(cfg, resumes=has_checkpoint(cfg.OUTPUT_DIR))
        model = self.build_model(weighted if loads_encoder else without_pretrained(weighted))
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        self._device = model.device
        self._ema = build_ema(cfg, model)
        parts = parts_of_batch(cfg, comm.get_world_size())
        model = create_ddp_model(
            model,
            broadcast_buffers=False,
            # With a device id, which Detectron2 would pass, DDP sends batches to the GPU itself and waits for it.
            device_ids=None,
            # Gradients are averaged where they are.
            gradient_as_bucket_view=True,
            # Every step uses every trained parameter; but such a graph cannot run in parts.
            static_graph=parts == 1,
        )
        self._trainer = OptimizationStep(
            model,
            data_loader,
            optimizer,
            precision=build_precision(cfg, self._device.type),
            guard=NonFiniteGuard(action=cfg.SOLVER.NON_FINITE, folder=cfg.OUTPUT_DIR),
            parts=parts,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        # The model that is evaluated and saved.
        self._evaluated = model if self._ema is None else self._ema.averaged
        step = continual_step(cfg)
        self.checkpointer = SegViTCheckpointer(
            self._evaluated,
            cfg.OUTPUT_DIR,
            strict=False,
            new_tensors=step.new_tensors if step else "",
            run=RunRecord.of(cfg),
            trainer=weakref.proxy(self),
        )
        self.judged_datasets: set[str] = set()
        self.wants_stop = False
        self.cfg, self.start_iter, self.max_iter = cfg, 0, cfg.SOLVER.MAX_ITER
        self._writers = [*super().build_writers(), *tracking_writers(cfg)] if comm.is_main_process() else []
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
        # More workers than CPUs are slower, and PyTorch warns of them. Results do not depend on their number.
        workers = min(cfg.DATALOADER.NUM_WORKERS, available_cpus())
        mapper = build_mapper(cfg, is_train=False)
        loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper, num_workers=workers)
        loader.worker_init_fn = survive_one_sigterm
        return loader

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, *, warns: bool = True
    ) -> SemSegConfusionEvaluator | ContinualEvaluator:
        output_dir = str(Path(cfg.OUTPUT_DIR, dataset_name)) if len(cfg.DATASETS.TEST) > 1 else cfg.OUTPUT_DIR
        options = {"with_boundary_iou": cfg.TEST.BOUNDARY_IOU, "save_predictions": cfg.TEST.SAVE_PREDICTIONS}
        options["warns"] = warns
        step = continual_step(cfg)
        if step is None:
            return SemSegConfusionEvaluator(dataset_name, output_dir=output_dir, **options)
        options["confidence_temperature"] = value_of(cfg, "TEST.CONFIDENCE_TEMPERATURE")
        return ContinualEvaluator(dataset_name, step=step, output_dir=output_dir, **options)

    @classmethod
    def test_with_TTA(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict[str, dict[str, float]]:
        """Evaluate with test-time augmentation, at the scales of TEST.AUG; named as in Detectron2's projects.

        Names of metrics get the suffix "_TTA", and files go into OUTPUT_DIR/tta. The scales apply to the images at
        their original size, so INPUT.MIN_SIZE_TEST is not used.
        """
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.MIN_SIZE_TEST = 0
        cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR, "tta"))
        logger.info("Evaluating with test-time augmentation, short sides %s", cfg.TEST.AUG.MIN_SIZES)
        results = cls.test(cfg, SemanticSegmentorWithTTA(cfg, model))
        return OrderedDict((f"{name}_TTA", values) for name, values in results.items())

    @property
    def last_results(self) -> dict[str, dict[str, float]] | None:
        """The metrics of the last evaluation; None before the first one."""
        return getattr(self, "_last_eval_results", None)

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the newest checkpoint in OUTPUT_DIR if `resume` and there is one, else load MODEL.WEIGHTS."""
        if resume and self.checkpointer.has_checkpoint():
            load_newest(self.checkpointer)
            self.start_iter = self.iter + 1
        else:
            self.checkpointer.load(self.cfg.MODEL.WEIGHTS, checkpointables=[])

    def train(self) -> Any:
        """Train to the end, then write the model folder, OUTPUT_DIR/model."""
        results = super().train()
        if comm.is_main_process():
            write_run_model(self.cfg)
        return results

    def before_train(self) -> None:
        # The last finished iteration, in case a hook saves a checkpoint before the first step.
        self.iter = self.start_iter - 1
        super().before_train()

    def after_step(self) -> None:
        # Each process has updated the batch-norm statistics (of a convolutional stem) from its part of the batch.
        # All of them continue with the mean, before the hooks average, evaluate or save the model.
        if comm.get_world_size() > 1:
            distribute_bn(self.model, comm.get_world_size(), reduce=True)
        super().after_step()

    def state_dict(self) -> dict[str, Any]:
        """As Detectron2's, but after the last step "iteration" is that step's, not one more."""
        return {**super().state_dict(), "iteration": min(self.iter, self.max_iter - 1)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of hooks, step and schedule; older checkpoints call `EMAHook` "WeightAverage"."""
        hook_states = {
            "EMAHook" if name == "WeightAverage" else name: state for name, state in state_dict.get("hooks", {}).items()
        }
        super().load_state_dict({**state_dict, "hooks": hook_states})
        # Learning rates follow from the config and the iteration alone.
        self.scheduler.base_lrs = [group["initial_lr"] for group in self.optimizer.param_groups]
        for group, lr in zip(self.optimizer.param_groups, self.scheduler.get_lr(), strict=True):
            group["lr"] = lr

    def build_writers(self) -> list[EventWriter]:
        return self._writers

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's hooks, with exact resuming, EMA, SIGTERM handling and model_best.pth (highest mIoU)."""
        built: list[HookBase] = [
            SeededRun(self._trainer.data_loader.batch_sampler),
            hooks.CallbackHook(after_step=Trainer._settle_if_due),
        ]
        if self._ema is not None:
            built.append(self._ema)
        for hook in super().build_hooks():
            if isinstance(hook, hooks.EvalHook):
                built += self._evaluation_hooks()
            elif hook is not None:
                built.append(hook)
        return [*built, StopOnSigterm(self.checkpointer, self._trainer)]

    def _settle_if_due(self) -> None:
        """Before the hooks that log, save or evaluate: read the outcome of this iteration, which they include."""
        done = self.iter + 1
        periods = (LOG_PERIOD, self.cfg.SOLVER.CHECKPOINT_PERIOD, self.cfg.TEST.EVAL_PERIOD)
        if done == self.max_iter or any(period > 0 and done % period == 0 for period in periods):
            self._trainer.settle()

    def _evaluation_hooks(self) -> list[HookBase]:
        period, names = self.cfg.TEST.EVAL_PERIOD, self.cfg.DATASETS.TEST
        built: list[HookBase] = [Evaluation(period=period, evaluate=self._evaluate)]
        if comm.is_main_process() and names and period > 0:
            metric = f"{names[0]}/sem_seg/mIoU" if len(names) > 1 else "sem_seg/mIoU"
            built.append(BestCheckpoint(period=period, checkpointer=self.checkpointer, metric=metric))
            built.append(WriteEvaluations(period=period, writers=self._writers))
        return built

    def _evaluate(self) -> OrderedDict[str, dict[str, float]]:
        names = self.cfg.DATASETS.TEST
        evaluators = [self.build_evaluator(self.cfg, name, warns=name not in self.judged_datasets) for name in names]
        # Another evaluation of the same ground truth would repeat the warnings.
        self.judged_datasets.update(names)
        self._last_eval_results = self.test(self.cfg, self._evaluated, evaluators)
        return self._last_eval_results
