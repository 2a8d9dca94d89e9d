"""A few iterations on six toy scenes: what they write, what resuming restores, precision, seeds, errors."""

import json
import statistics
import types

import pytest
import torch
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng
from torch import nn

from helpers.processes import run_in_two_processes
from segvit.config import device as devices
from segvit.dataset_tools.parallel import available_cpus
from segvit.engine import Trainer
from segvit.errors import UserError
from segvit.visualization.curves import read_all_metrics

LOSSES = {f"{name}{suffix}" for name in ("loss_ce", "loss_mask", "loss_dice") for suffix in ("", "_0")}


@pytest.fixture
def cfg(tiny_cfg, toy_scenes_root, tmp_path, monkeypatch):
    """The tiny model on toy scenes of 32 x 48 pixels: three iterations of two images."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # `seed_all_rng` writes it
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 10
    tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = ("toy_scenes_sem_seg_train",), ("toy_scenes_sem_seg_val",)
    tiny_cfg.INPUT.MIN_SIZE_TEST, tiny_cfg.INPUT.MAX_SIZE_TEST = 32, 48
    tiny_cfg.DATALOADER.NUM_WORKERS, tiny_cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = 0, False
    solver = tiny_cfg.SOLVER
    solver.IMS_PER_BATCH, solver.MAX_ITER, solver.BASE_LR, solver.WARMUP_ITERS = 2, 3, 1e-3, 0
    tiny_cfg.TEST.EVAL_PERIOD = 3
    tiny_cfg.OUTPUT_DIR = str(tmp_path / "output")
    return tiny_cfg


class Recorder(HookBase):
    """Keeps what every iteration logs."""

    def before_train(self):
        self.losses = []

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.losses.append({name: value for name, (value, _) in latest.items() if "loss" in name})


def train(cfg, seed=0):
    seed_all_rng(seed)
    trainer, recorder = Trainer(cfg), Recorder()
    trainer.register_hooks([recorder])
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer, recorder.losses


def read_metrics(folder):
    """The latest value of everything in metrics.json; losses are medians over the iterations since the last line."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    last_trained = max(line["iteration"] for line in lines if "total_loss" in line)
    return {name: value for line in lines for name, value in line.items()} | {"iteration": last_trained}


def test_training_writes_its_results(cfg, tmp_path):
    trainer, losses = train(cfg)
    folder = tmp_path / "output"
    assert {"metrics.json", "model_best.pth", "model_final.pth", "sem_seg_evaluation.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert any(path.stat().st_size for path in folder.glob("events.out.tfevents.*"))
    last = read_metrics(folder)
    assert last["iteration"] == 2
    assert LOSSES | {"total_loss", "lr", "sem_seg/mIoU", "sem_seg/IoU-sky"} <= set(last)
    assert last["total_loss"] == pytest.approx(statistics.median(step["total_loss"] for step in losses))
    assert losses[0]["total_loss"] == pytest.approx(sum(losses[0][name] for name in LOSSES))
    evaluation = json.loads((folder / "sem_seg_evaluation.json").read_text())
    assert evaluation["metrics"]["mIoU"] == pytest.approx(last["sem_seg/mIoU"])
    final = torch.load(folder / "model_final.pth", weights_only=False)
    assert final["iteration"] == 2
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(final["model"][name], tensor)


def test_the_best_checkpoint_is_kept(cfg, tmp_path):
    """Evaluated after each iteration, model_best.pth is that of the highest mIoU, not the last."""
    cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD = 3, 1
    trainer = scripted([20.0, 40.0, 30.0])(cfg)
    trainer.train()
    best = torch.load(tmp_path / "output" / "model_best.pth", weights_only=False)
    assert best["iteration"] == 1
    assert any(not torch.equal(best["model"][name], tensor) for name, tensor in trainer.model.state_dict().items())


def scripted(scores):
    """A trainer whose evaluations give these mIoU, one after the other."""

    class Scripted(Trainer):
        @classmethod
        def test(cls, cfg, model, evaluators=None):
            return {"sem_seg": {"mIoU": scores.pop(0)}}

    return Scripted


def test_every_evaluation_is_logged(cfg, tmp_path):
    """The event storage holds the last one alone."""
    cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD = 5, 2
    scripted([20.0, 40.0, 30.0])(cfg).train()
    assert read_all_metrics(tmp_path / "output")["sem_seg/mIoU"] == ([1, 3, 5], [20.0, 40.0, 30.0])


def test_a_resumed_run_remembers_what_was_best(cfg, tmp_path):
    """The first evaluation after the interruption is worse: model_best.pth stays."""
    cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD = 4, 1, 1
    first = scripted([20.0, 40.0])(cfg)
    first.register_hooks([Stop()])
    with pytest.raises(RuntimeError, match="stopped"):
        first.train()
    resumed = scripted([30.0, 10.0])(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 2
    resumed.train()
    best = torch.load(tmp_path / "output" / "model_best.pth", weights_only=False)
    assert best["iteration"] == 1


def test_a_finished_run_whose_last_evaluation_is_best_resumes_behind_its_end(cfg):
    cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD = 2, 1
    scripted([20.0, 40.0])(cfg).train()
    resumed = scripted([])(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 2


class Stop(HookBase):
    """Ends the training after its second iteration, as a crash would."""

    def after_step(self):
        if self.trainer.iter == 1:
            raise RuntimeError("stopped")


@pytest.mark.parametrize("eval_period", [0, 2])
def test_resuming_restores_iteration_optimizer_and_schedule(cfg, tmp_path, eval_period):
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD = 4, 2, eval_period
    first = Trainer(cfg)
    first.register_hooks([Stop()])
    with pytest.raises(RuntimeError, match="stopped"):
        first.train()
    resumed = Trainer(cfg)
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 2
    assert resumed.scheduler.state_dict() == first.scheduler.state_dict()
    assert resumed.scheduler.state_dict()["last_epoch"] == 2
    before, after = first.optimizer.state_dict(), resumed.optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["param_groups"][0]["lr"] == pytest.approx(cfg.SOLVER.BASE_LR / 2)
    assert after["state"].keys() == before["state"].keys() and after["state"]
    for index, state in before["state"].items():
        assert all(torch.equal(after["state"][index][name], tensor) for name, tensor in state.items())
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor)
    resumed.train()
    assert resumed.iter == 4
    assert read_metrics(tmp_path / "output")["iteration"] == 3
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_seed_decides(cfg):
    first, second, other = (train(cfg, seed)[1] for seed in (1, 1, 2))
    assert len(first) == 3 and first == second
    assert all(one["total_loss"] != another["total_loss"] for one, another in zip(first, other, strict=True))


@pytest.mark.parametrize(("has_units", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_on_the_cpu(has_units, dtype, cfg, monkeypatch):
    """Whatever this processor has; without the units training falls back to float32."""
    monkeypatch.setattr(devices, "cpu_computes_bfloat16", lambda: has_units)
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION, cfg.SOLVER.MAX_ITER = True, "bfloat16", 1
    seed_all_rng(0)
    trainer, types = Trainer(cfg), []
    layer = trainer.model.backbone.encoder.blocks[0].mlp.fc1
    layer.register_forward_hook(lambda module, args, out: types.append(out.dtype))
    before = layer.weight.detach().clone()
    trainer.train()
    assert types[0] == dtype
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert not torch.equal(layer.weight, before)
    assert "grad_scaler" in trainer.state_dict()["_trainer"]


def test_bfloat16_losses_are_close_to_float32(cfg, monkeypatch):
    monkeypatch.setattr(devices, "cpu_computes_bfloat16", lambda: True)
    _, full = train(cfg)
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION = True, "bfloat16"
    _, half = train(cfg)
    assert half[0] == pytest.approx(full[0], rel=0.05, abs=0.02)
    assert half[0] != full[0]


@pytest.mark.parametrize(
    ("precision", "message"),
    [("float16", r"SOLVER\.AMP\.PRECISION float16 needs a GPU"), ("half", r"SOLVER\.AMP\.PRECISION 'half' must be")],
)
def test_precisions_that_cannot_run(cfg, precision, message):
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION = True, precision
    with pytest.raises(ValueError, match=message):
        Trainer(cfg)


def test_evaluation_has_no_more_workers_than_cpus(cfg, recwarn):
    cfg.DATALOADER.NUM_WORKERS = 4096
    assert Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0]).num_workers == available_cpus()
    assert not [warning for warning in recwarn if "worker" in str(warning.message)]  # PyTorch's, of too many


def test_an_unknown_mapper_is_an_error_that_names_the_key(cfg):
    cfg.INPUT.DATASET_MAPPER_NAME = "mask_former_semantic"
    with pytest.raises(UserError, match=r"INPUT\.DATASET_MAPPER_NAME 'mask_former_semantic'.* 'segvit_semantic'"):
        Trainer(cfg)


def test_checkpoints_from_before_the_ema_hook_was_renamed_restore_the_trained_weights(cfg):
    """They call it "WeightAverage"."""
    cfg.SOLVER.EMA.ENABLED = True
    trainer = Trainer(cfg)
    state = trainer.state_dict()
    trained = {name: torch.full_like(tensor, 7) for name, tensor in trainer.model.state_dict().items()}
    state["hooks"]["WeightAverage"] = {**state["hooks"].pop("EMAHook"), "trained_model": trained}
    trainer.load_state_dict(state)
    assert all((tensor == 7).all() for tensor in trainer.model.state_dict().values())


def average_statistics(rank, folder):
    trainer = Trainer.__new__(Trainer)
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.LayerNorm(4))
    model[1].running_mean.fill_(float(rank))
    model[1].running_var.copy_(torch.tensor([1.0, 3.0 + rank]))
    trainer._trainer, trainer._hooks = types.SimpleNamespace(model=model), []
    trainer.after_step()
    torch.save((model[1].running_mean, model[1].running_var, model[1].num_batches_tracked), folder / f"{rank}.pt")


def test_two_processes_average_their_batch_norm_statistics(tmp_path):
    run_in_two_processes(average_statistics, tmp_path)
    for rank in range(2):
        mean, variance, batches = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert mean.tolist() == [0.5, 0.5]
        assert variance.tolist() == [1.0, 3.5]
        assert batches == 0
