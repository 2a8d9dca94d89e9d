"""Two processes train as one does with the images of both: losses, weights, evaluation; an image without labels."""

import json
import os

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng
from PIL import Image

from helpers.processes import run_in_two_processes
from helpers.toy_run import toy_run_cfg
from segvit.dataset_tools.toy_scenes import generate_toy_scenes
from segvit.engine import Trainer


class PlainTrainer(Trainer):
    """With plain gradient steps: AdamW divides rounding by rounding where a gradient is zero by construction."""

    @classmethod
    def build_optimizer(cls, cfg, model):
        return torch.optim.SGD(model.parameters(), lr=0.1)


class Recorder(HookBase):
    """Keeps the losses, averaged over the processes as they are logged."""

    def before_train(self):
        self.losses = []

    def after_step(self):
        latest = self.trainer.storage.latest()
        self.losses.append({name: value for name, (value, _) in latest.items() if "loss" in name})


def train(root, output):
    """Three steps of two images: all six of the dataset."""
    os.environ["DETECTRON2_DATASETS"] = root
    torch.set_num_threads(1)
    seed_all_rng(1)
    still = {"MODEL__VIT__DROP_PATH_RATE": 0.0, "MODEL__SEGVIT__DROPOUT": 0.0, "MODEL__VIT__STEM": "linear"}
    trainer, recorder = PlainTrainer(toy_run_cfg(output, SOLVER__MAX_ITER=3, SEED=1, **still)), Recorder()
    trainer.register_hooks([recorder])
    trainer.train()
    return recorder.losses


def train_one_of_two(rank, folder, root):
    losses = train(root, folder / "two")
    if rank == 0:
        torch.save(losses, folder / "losses.pt")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Six scenes; the first has no label, so that one process has nothing to learn in a step."""
    generate_toy_scenes(tmp_path / "data", seed=0, num_train=6, num_val=3)
    path = sorted((tmp_path / "data").rglob("annotations/train/*.png"))[0]
    Image.fromarray(np.full_like(np.asarray(Image.open(path)), 255)).save(path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # `seed_all_rng` writes it
    return str(tmp_path / "data")


def test_two_processes_train_as_one_with_both_images(root, tmp_path):
    losses = train(root, tmp_path / "one")
    run_in_two_processes(train_one_of_two, tmp_path, root)
    shared = torch.load(tmp_path / "losses.pt", weights_only=True)
    assert len(losses) == len(shared) == 3
    for step, (alone, together) in enumerate(zip(losses, shared)):
        assert together == pytest.approx(alone, rel=1e-5, abs=1e-5), step
    one, two = (torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    first, second = (json.loads((tmp_path / name / "sem_seg_evaluation.json").read_text()) for name in ("one", "two"))
    assert np.sum(first["confusion_matrix"], axis=1).tolist() == np.sum(second["confusion_matrix"], axis=1).tolist()
